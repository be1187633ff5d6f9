"""Pairs made in memory, with the faults a loader has to survive."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from edgeflownas.config import DataConfig
from edgeflownas.data.dataset import FlowPair
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import BadSample

HEIGHT, WIDTH = 20, 28


@dataclass
class Reads:
    """Counts reads."""

    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self):
        with self.lock:
            self.count += 1


@dataclass(frozen=True)
class FakePairs:
    size: int
    bad: frozenset = frozenset()
    stuck: frozenset = frozenset()
    seconds: float = 0.0
    reads: Reads = field(default_factory=Reads)

    def __len__(self):
        return self.size

    @property
    def names(self):
        return tuple(f"{i:07d}" for i in range(self.size))

    def read(self, index):
        self.reads.add()
        time.sleep(1e6 if index in self.stuck else self.seconds)
        if index in self.bad:
            raise BadSample(f"{index:07d}-flow_01.flo", "is truncated")
        values = np.random.Philox(key=index).random_raw(HEIGHT * WIDTH).view(np.uint8).reshape(HEIGHT, WIDTH, 8)
        flow = (values[..., 6:].astype(np.float32) - 128) / 2
        valid = values[..., 0] > 10
        return FlowPair(values[..., :3].copy(), values[..., 3:6].copy(), flow * valid[..., None], valid)


AUGMENTED = {
    "crop_size": (9, 12),
    "horizontal_flip": 0.5,
    "vertical_flip": 0.3,
    "brightness": 0.2,
    "contrast": 0.3,
    "noise_std": 0.05,
}


def make_loader(pairs, *, batch=4, epoch_draws=10, seed=3, stop_requested=lambda: False, **data):
    plan = BatchPlan(len(pairs), batch, 1, "by_samples", "shuffle_no_replacement", None, epoch_draws, seed)
    return Loader(pairs, plan, DataConfig(**(AUGMENTED | data)), seed, stop_requested)


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
