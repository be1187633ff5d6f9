"""Work for worker processes; importable by them."""

import time
from dataclasses import dataclass

from edgeflownas.errors import BadSample


@dataclass(frozen=True)
class Work:
    bad: int = -1
    seconds: float = 0.0

    def __call__(self, item):
        time.sleep(self.seconds)
        if item == self.bad:
            raise BadSample(str(item), "is truncated")
        return item**2
