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
    checkpoint: str = "latest"  # which one a fork starts from
    overlay: str | None = None  # recipe whose keys go over those of the run that is forked
    reset_optimizer: bool = False
    dry_run: bool = False
    max_seconds: float | None = None
    json: bool = False
    overrides: list[str] | None = None


class LogSink:
    """Console lines for train.log; those said before the first run directory exists are kept until it does."""

    def __init__(self) -> None:
        self._early: list[str] = []
        self._writers: list[Callable[[str], None]] = []

    def __call__(self, line: str) -> None:
        """Keep or write one line."""
        if not self._writers:
            self._early.append(line)
        for write in self._writers:
            write(line)

    def attach(self, write: Callable[[str], None]) -> None:
        """Send lines to ``write``, too, from now on; first those that were kept."""
        self._writers.append(write)
        for line in self._early:
            write(line)

    def detach(self) -> None:
        """Keep lines again."""
        self._writers.clear()
        self._early.clear()


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
    model: str = ""  # its name among several that are trained side by side
