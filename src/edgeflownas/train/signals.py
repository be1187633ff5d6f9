"""When to stop: SIGTERM, SIGINT, SIGUSR1 or the clock raise a flag; the work looks at it at each micro-batch."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edgeflownas.errors import Interrupted
from edgeflownas.train.tasks import StopRequested

__all__ = ["StopFlag"]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopFlag:
    """Asked by :meth:`check`; a handler only notes the signal, so that nothing is ever cut in the middle."""

    def __init__(self, max_seconds: float | None = None) -> None:
        self.reason: str | None = None
        self.started = time.monotonic()
        self.max_seconds = max_seconds

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals for a while; earlier handlers come back afterwards."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @staticmethod
    @contextmanager
    def at_once() -> Iterator[None]:
        """For the start-up, where there is nothing to commit: a signal ends it there and then (exit 75)."""

        def stop(number: int, frame: FrameType | None) -> None:
            name = signal.Signals(number).name
            raise Interrupted(
                f"{name} outside the training loop: nothing is lost, give the same command again (or --resume, if the "
                "run directory exists)"
            )

        before = {number: signal.signal(number, stop) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    def requested(self) -> bool:
        """Whether a signal came or the time is over."""
        if self.reason is None and self.max_seconds is not None:
            elapsed = time.monotonic() - self.started
            if elapsed >= self.max_seconds:
                self.reason = f"time limit of {self.max_seconds:g} s"
        return self.reason is not None

    def check(self) -> None:
        """Raise StopRequested once a signal came or the time is over."""
        if self.requested():
            raise StopRequested(self.reason)
