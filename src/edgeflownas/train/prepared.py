"""What is known of a run before it has a directory: configuration, options, data, plan, model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflownas.config import Config
from edgeflownas.data.order import BatchPlan
from edgeflownas.evaluate.evalset import EvalSet
from edgeflownas.train.distributed import World
from edgeflownas.train.job import Front
from edgeflownas.train.setup import Splits
from edgeflownas.train.tasks import SupernetTask

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

__all__ = ["LaunchOptions", "LogSink", "Prepared"]


@dataclass(frozen=True)
class LaunchOptions:
    """What the command line says beside the configuration."""

    resume: Path | None = None
    fork: str | None = None
    reset_optimizer: bool = False
    dry_run: bool = False
    max_seconds: float | None = None
    json: bool = False
    overrides: list[str] | None = None


class LogSink:
    """Console lines for train.log; those said before the run directory exists are kept until it does."""

    def __init__(self) -> None:
        self._early: list[str] = []
        self._write: Callable[[str], None] | None = None

    def __call__(self, line: str) -> None:
        """Keep or write one line."""
        if self._write is None:
            self._early.append(line)
        else:
            self._write(line)

    def attach(self, write: Callable[[str], None] | None) -> None:
        """Send lines to ``write`` from now on; None keeps them again."""
        self._write = write
        while write is not None and self._early:
            write(self._early.pop(0))


@dataclass(frozen=True)
class Prepared:
    """A checked configuration with everything built that needs no run directory."""

    config: Config
    options: LaunchOptions
    splits: Splits
    plan: BatchPlan
    eval_set: EvalSet
    task: SupernetTask
    world: World
    front: Front
    console: Console
    log: LogSink
