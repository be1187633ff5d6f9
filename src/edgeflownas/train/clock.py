"""Where the wall-clock time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeflownas.data.loader import Loader

__all__ = ["LAPS", "EpochClock"]

#: What time is told apart by; ``other`` is the rest: logging, pictures, other models trained beside this one.
LAPS = ("data_wait", "step", "eval", "recal", "checkpoint", "monitor", "other")


class EpochClock:
    """Wall-clock figures of the current epoch, or of the part of it since the last resume.

    Laps are counted apart from epochs: the commit that ends an epoch comes after its row and belongs to the next.
    """

    def __init__(self, loader: Loader, now: Callable[[], float] = time.monotonic) -> None:
        self._loader, self._now = loader, now
        self._laps = dict.fromkeys(LAPS, 0.0)
        self._began, self._waited_before = now(), loader.wait_seconds
        self._marks: dict[str, dict[str, float]] = {}
        self.restart()

    def restart(self) -> None:
        """Begin an epoch."""
        self._started, self._waited, self.drawn = self._now(), self._loader.wait_seconds, 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return max(self._now() - self._started, 1e-9)

    def figures(self) -> dict[str, float]:
        """Pairs a second and the share of the time spent waiting for data."""
        waited = self._loader.wait_seconds - self._waited
        return {"images_per_second": self.drawn / self.seconds, "data_wait_share": waited / self.seconds}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Count what happens within as ``name``."""
        began = self._now()
        try:
            yield
        finally:
            self._laps[name] += self._now() - began

    def move(self, seconds: float, source: str, target: str) -> None:
        """Count ``seconds`` of a lap as another: recalibration is a part of the evaluation that measures itself."""
        self._laps[source] -= seconds
        self._laps[target] += seconds

    def since(self, mark: str) -> dict[str, float]:
        """Seconds of each lap since ``mark`` was asked for last; the first time, since the clock was made."""
        total = dict(self._laps, data_wait=self._loader.wait_seconds - self._waited_before)
        total["other"] = max(0.0, self._now() - self._began - sum(total.values()))
        before = self._marks.get(mark, dict.fromkeys(LAPS, 0.0))
        self._marks[mark] = total
        return {name: max(0.0, total[name] - before[name]) for name in LAPS}

    def shares(self, mark: str) -> dict[str, float]:
        """The same as shares of their sum: columns ``share_*``."""
        seconds = self.since(mark)
        total = max(sum(seconds.values()), 1e-9)
        return {f"share_{name}": value / total for name, value in seconds.items()}
