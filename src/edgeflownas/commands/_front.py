"""The screen, curves and pictures that training is given."""

from __future__ import annotations

import io
from collections.abc import Callable

from edgeflownas.report.console import Console
from edgeflownas.report.pictures import comparison
from edgeflownas.tracking import Tracker
from edgeflownas.train.job import Front

__all__ = ["standard_front"]


def standard_front() -> Front:
    """Progress on stderr, TensorBoard, comparison pictures."""
    return Front(console=_console, tracker=Tracker, draw=comparison)


def _console(log: Callable[[str], None] | None) -> Console:
    return Console(io.StringIO(), plain=True) if log is None else Console(log=log)
