"""Gradient readings: which path and which block pulls how hard, and whether the paths agree.

Every train.monitor_every steps, on the batch and the fair cycle of the step that comes next and before it is made.  A
reading changes no weight, buffer, moment or random number: the bits of a run are the same with it and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from edgeflownas.data.loader import Batch
from edgeflownas.evaluate.columns import MONITOR_COLUMNS, format_value
from edgeflownas.space import Arch
from edgeflownas.train.step import SupernetTask

if TYPE_CHECKING:
    from edgeflownas.train.loop import Training

ALL = "all"


@dataclass(frozen=True)
class GradientReading:
    """Gradients of the mean loss of each path, after ``step`` steps of the run; without weight decay, not clipped.

    ``norms`` holds each block's L2 norms (blocks are the network's stages), ``all`` the global ones: one a path.
    ``path_cosine`` is the mean over pairs of paths of the cosine between their gradients on the fixed stages, whose
    weights all paths share; None where there is one path or no fixed stage.
    """

    step: int
    epoch: int
    paths: list[Arch]
    norms: dict[str, list[float]]
    all: list[float]
    path_cosine: float | None


def reading_due(training: Training, batch: Batch) -> GradientReading | None:
    """The reading before the next step, where its turn has come.

    A function of the position alone, so that a resumed run reads at the same places.  It is logged together with its
    step (:func:`log_reading`): a stop in between leaves no trace of it.

    Raises StopRequested where a rank was asked to stop.
    """
    every, state = training.config.train.monitor_every, training.state
    if every is None or state.step % every:
        return None
    with training.clock.lap("monitor"):
        return read_gradients(training.task, batch, state.step, state.epoch + 1, training.stop.check)


def read_gradients(
    task: SupernetTask, batch: Batch, step: int, epoch: int, check_stop: Callable[[], None]
) -> GradientReading:
    """One gradient-only pass on ``batch``; takes 1.1 to 1.6 times as long as the step.  Raises StopRequested."""
    blocks = {stage.name: list(task.net.get_submodule(stage.name).parameters()) for stage in task.net.stages}
    fixed = [p for stage in task.net.stages if stage.choice is None for p in blocks[stage.name]]
    paths, total, shared = [], [], []
    norms: dict[str, list[float]] = {name: [] for name in blocks}
    for path in task.path_gradients(batch, step, check_stop):
        paths.append(path)
        total.append(task.gradient.norm())
        for name, parameters in blocks.items():
            each = torch._foreach_norm(_gradients(parameters))
            norms[name].append(float(torch.linalg.vector_norm(torch.stack(each).double())) if each else 0.0)
        if fixed:
            shared.append(torch.cat([gradient.flatten() for gradient in _gradients(fixed)]))
    cosine = None
    if len(shared) > 1:  # NaN where one is zero or not finite
        units = torch.stack(shared).double()
        units = units / torch.linalg.vector_norm(units, dim=1, keepdim=True)
        pairs = [(i, j) for j in range(len(units)) for i in range(j)]
        cosine = float(torch.stack([units[i] @ units[j] for i, j in pairs]).mean())
    return GradientReading(step, epoch, paths, norms, total, cosine)


def _gradients(parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def log_reading(training: Training, reading: GradientReading) -> None:
    """An event, rows of monitor.csv and points of the curves (means over paths)."""
    blocks = {**reading.norms, ALL: reading.all}
    codes = [str(path) for path in reading.paths]
    if (directory := training.directory) is not None:
        place = {"step": reading.step, "epoch": reading.epoch}
        facts = {"norms": reading.norms, "all": reading.all, "path_cosine": reading.path_cosine}
        directory.events.append({"event": "monitor", **place, "paths": codes, **facts})
        for path, code in enumerate(codes):
            for block, norms in blocks.items():
                row: dict[str, Any] = {**place, "path": path, "code": code, "block": block, "grad_norm": norms[path]}
                directory.monitor.append({name: format_value(name, row[name]) for name in MONITOR_COLUMNS})
    means: dict[str, float | None] = {
        f"monitor/grad_norm {name}": sum(norms) / len(norms) for name, norms in blocks.items()
    }
    training.tracker.scalars(reading.step, {**means, "monitor/path_cosine": reading.path_cosine})
