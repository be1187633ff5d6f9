"""Further data sets that are evaluated while a run trains (eval.also), each on its own schedule, with its own best.

The pool is scored under a labelled protocol, one pair at a time, on the calibration of the same epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeflownas.config import Config
from edgeflownas.config.values import also_name
from edgeflownas.data.check import fingerprint
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.order import spread
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import NonFiniteError
from edgeflownas.evaluate.calibration import recalibrate
from edgeflownas.evaluate.noise import pool_statistics, rank_string
from edgeflownas.evaluate.pool import PoolEvaluation, full_precision
from edgeflownas.evaluate.predictors import SubnetPredictor, evaluate_labelled
from edgeflownas.evaluate.protocols import Protocol, make_protocol
from edgeflownas.run.checkpoint import Position
from edgeflownas.train.machine import StopRequested

if TYPE_CHECKING:
    from edgeflownas.train.loop import Training


@dataclass(frozen=True)
class Also:
    """One entry of eval.also, opened."""

    name: str
    every: int
    dataset: FlowDataset
    protocol: Protocol
    split_label: str

    def is_due(self, epoch: int, last: bool) -> bool:
        """Whether it is evaluated after ``epoch``."""
        return last or epoch % self.every == 0


def open_also(config: Config) -> list[Also]:
    """The sets of eval.also.  Raises ConfigError or DataError for what cannot be read, or does not fit its protocol."""
    found = []
    for entry in config.eval.also:
        dataset = open_dataset(str(entry["data"]), "val", "eval.also", config.data.roots)
        if (most := entry.get("max_samples")) is not None:
            samples = tuple(dataset.samples[int(i)] for i in spread(len(dataset), int(most)))
            dataset = replace(dataset, samples=samples)
        frame = dataset.read(0).flow.shape[:2]
        crop, name = config.data.crop_size, str(entry["protocol"])
        protocol = make_protocol(name, frame, crop if name == "deploy" else None, (crop, config.data.flow_clip))
        label = fingerprint(dataset).label
        found.append(Also(also_name(entry), int(entry["every_epoch"]), dataset, protocol, label))
    return found


def evaluate_also(training: Training, result: PoolEvaluation | None, last: bool) -> None:
    """Score what is due after this epoch, log it, and name its best checkpoint.  Raises StopRequested on every rank.

    ``result`` is the pool's evaluation of this epoch, whose calibration is taken; None where none was due.
    """
    state, epoch, evaluator = training.state, training.state.epoch + 1, training.evaluator
    due = [also for also in training.also if also.is_due(epoch, last)]
    if not due:
        return
    if result is None:
        training.commit()  # nothing of the epoch is lost where this is interrupted
    archs = [evaluator.archs[i] for i in evaluator.mine]
    with training.clock.lap("eval"):
        for also in due:
            epes = _scores(training, also, archs, result)
            figures = pool_statistics(epes)
            before = state.also.get(also.name)
            key = f"{also.protocol.label} on {also.split_label}"
            best = before if before is not None and before["on"] == key else None
            if math.isfinite(figures.mean) and (best is None or figures.mean < best["value"]):
                name = Position(state.step, epoch, 0).name
                best = {"value": figures.mean, "epoch": epoch, "checkpoint": name, "criterion": "mean", "on": key}
            if best is not None:
                state.also = {**state.also, also.name: best}
            _log(training, also, epes, best)


def _scores(training: Training, also: Also, archs: list[Any], result: PoolEvaluation | None) -> list[float]:
    """EPE of every arch of the pool; NaN where a prediction is not finite."""
    task, evaluator, world = training.task, training.evaluator, training.task.world
    table, stopped = torch.zeros(len(evaluator.archs), dtype=torch.float64), ""
    check: Callable[[], None] = training.stop.check
    try:
        if archs:
            with full_precision():
                known = result.statistics if result else recalibrate(task.net, archs, evaluator.calibration, check)
            model = SubnetPredictor(task.net, archs, known, "", "", training.config.data.flow_divisor)
            pairs = ((name, also.dataset.read(i)) for i, name in enumerate(also.dataset.names))
            rows = evaluate_labelled(pairs, [model], also.protocol, also.split_label, advance=check)
            for index, row in zip(evaluator.mine, rows, strict=True):
                table[index] = row.epe
    except NonFiniteError:
        table[evaluator.mine] = math.nan
    except StopRequested as stop:
        stopped = str(stop) or "another rank"
    if world.any(bool(stopped)):
        raise StopRequested(stopped)
    world.sum(table)
    return [float(epe) for epe in table]


def _log(training: Training, also: Also, epes: list[float], best: dict[str, Any] | None) -> None:
    """An event, a row of also_history.csv, points of the curves, and a line."""
    state, figures = training.state, pool_statistics(epes)
    place = {"epoch": state.epoch + 1, "global_step": state.step, "name": also.name}
    place |= {"protocol": also.protocol.label, "split_label": also.split_label}
    facts = {"mean_epe": figures.mean, "median_epe": figures.median, "p90_epe": figures.p90}
    chosen = {} if best is None else {"best_epe": best["value"], "best_epoch": best["epoch"]}
    if (directory := training.directory) is not None:
        codes = [str(arch) for arch in training.evaluator.archs]
        directory.events.append({"event": "also", **place, **facts, "codes": codes, "epes": epes, **chosen})
        texts = {name: f"{value:.4f}" for name, value in facts.items()}
        told = (
            {"best_epe": f"{best['value']:.4f}", "best_epoch": best["epoch"]}
            if best
            else {"best_epe": "", "best_epoch": ""}
        )
        directory.also.append({**place, **texts, **told, "arch_rank": rank_string(epes)})
    training.tracker.scalars(state.step, {f"also/{also.name} {name}": value for name, value in facts.items()})
    known = "" if best is None else f", best {best['value']:.4f} (epoch {best['epoch']})"
    mean = f"{np.float64(figures.mean):.4f}"
    training.console.info(f"epoch {state.epoch + 1}: {also.name} EPE {mean} under {also.protocol.label}{known}")
