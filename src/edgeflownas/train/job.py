"""Everything the training loop works with, in one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.config import Config
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.space import SearchSpace
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.clock import EpochClock
from edgeflownas.train.distributed import World
from edgeflownas.train.evaluation import Evaluator
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.schedule import learning_rate
from edgeflownas.train.signals import StopFlag
from edgeflownas.train.state import TrainState
from edgeflownas.train.tasks import SupernetTask

if TYPE_CHECKING:
    from edgeflownas.report.console import Console
    from edgeflownas.report.pictures import Drawing
    from edgeflownas.tracking import Tracker

__all__ = ["Front", "Job"]


@dataclass(frozen=True)
class Front:
    """What people see, handed in by the command: training itself imports neither screen nor pictures."""

    console: Callable[
        [Callable[[str], None] | None], Console
    ]  # takes the sink of train.log; None: a rank that is silent
    tracker: Callable[[Path, bool, int | None], Tracker]  # folder, enabled, first step to be logged again
    draw: Callable[..., Drawing]  # image 1, predicted flow, true flow, valid -> picture
    report: Callable[[Path], None]  # writes report.html of a run directory


@dataclass
class Job:
    """The parts of a run; ``run`` is None on ranks that do not write."""

    config: Config
    space: SearchSpace
    plan: BatchPlan
    task: SupernetTask
    loader: Loader
    evaluator: Evaluator
    run: RunDirectory | None
    console: Console
    tracker: Tracker
    stop: StopFlag
    world: World
    front: Front
    clock: EpochClock
    steps: list[dict[str, Any]] = field(default_factory=list)  # step events of the current epoch
    model: str = ""  # its name among several that are trained side by side
    clip_verdict: str | None = None  # of the epoch before, in this session
    epoch_ended: Callable[[], None] = lambda: None

    def rate(self, state: TrainState) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.config.train, state.seen, state.planned)

    def position(self, state: TrainState) -> Position:
        """Place of the state among the checkpoints; at the end of an epoch's steps its evaluation is still due."""
        return Position(state.step, state.epoch, state.batch, evaluated=state.batch < self.plan.steps_per_epoch)

    def commit(self, state: TrainState) -> str:
        """Make weights, optimiser, state and logs durable together; returns the checkpoint's name."""
        name = self.position(state).name
        if self.run is not None:
            best = None if state.best is None else dataclasses.asdict(state.best)
            place, facts = self.position(state), state.to_json()
            with self.clock.lap("checkpoint"):
                self.run.commit(place, facts, self.task.tensors(), best=best, finished=state.finished)
        return name
