"""The screen, curves and pictures that training is given."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from edgeflownas.report.console import Console, Tracker
from edgeflownas.report.pictures import draw
from edgeflownas.train.loop import Front


def standard_front() -> Front:
    """Progress on stderr, TensorBoard, comparison pictures, the page of the run."""
    return Front(console=_console, tracker=Tracker, draw=draw, report=_report)


def _console(log: Callable[[str], None] | None) -> Console:
    return Console(io.StringIO(), plain=True) if log is None else Console(log=log)


def _report(run: Path) -> None:
    from edgeflownas.report.html import write_report

    write_report({run.resolve().name: run}, run / "report.html")
