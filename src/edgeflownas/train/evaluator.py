"""The pool evaluation of a run: frozen sets held in memory, archs dealt to ranks, results joined in one sum.

And what it leaves for people to look at: drawn pairs and the refreshed report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import torch

from edgeflownas.evaluate.calibration import predict
from edgeflownas.evaluate.frozen import WIDE, EvalSet, FrozenBatches
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.metrics import sample_errors
from edgeflownas.evaluate.pool import ArchScore, PoolEvaluation, score_pool, score_recalibrated
from edgeflownas.files import crash_point
from edgeflownas.models.blocks import StagedNet
from edgeflownas.run.checkpoint import Position
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.setup import Splits
from edgeflownas.space import Arch
from edgeflownas.train.machine import StopRequested
from edgeflownas.train.step import SupernetTask

if TYPE_CHECKING:
    from edgeflownas.train.loop import Training

FOLDER = "pictures"
FIGURES = ("epe", "epe_a0", "epe_a1", "loss_total", "loss_optical", "loss_uncertainty")  # of ArchScore
Check = Callable[[], None]  # raises StopRequested
# A pair's name; its images, predicted flow, true flow and valid pixels on the host, [6,H,W], [2,H,W], [2,H,W], [H,W].
Picture = tuple[str, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class Evaluator:
    """Evaluates a pool of archs on a frozen set and its monitors; decodes samples once, but those of the wide set."""

    def __init__(
        self, eval_set: EvalSet, splits: Splits, task: SupernetTask, flow_divisor: float, like: Evaluator | None = None
    ) -> None:
        """``like`` is an evaluator of another network on the same data: equal frozen samples are held once."""
        self.eval_set, self.world, self.flow_divisor = eval_set, task.world, flow_divisor
        self.archs = [task.net.space.parse(code) for code in eval_set.pool]
        self.mine = list(range(self.world.rank, len(self.archs), self.world.size))
        self.samples = (eval_set.calibration, eval_set.evaluation, eval_set.monitors, eval_set.flow_clip)
        if like is None or like.samples != self.samples:
            net, clip = task.net, eval_set.flow_clip
            self.calibration = FrozenBatches.of(net, eval_set.calibration, splits.train, clip)
            self.evaluation = FrozenBatches.of(net, eval_set.evaluation, splits.val, clip)
            self.monitors: dict[str, FrozenBatches] = {}
            for name, split in eval_set.monitors.items():
                dataset = splits.val if name == WIDE else splits.train
                self.monitors[name] = FrozenBatches.of(net, split, dataset, clip, hold=name != WIDE)
        else:
            self.calibration, self.evaluation, self.monitors = like.calibration, like.evaluation, like.monitors

    def evaluate(self, net: StagedNet, check_stop: Check) -> PoolEvaluation:
        """Scores of all archs in order.  Raises StopRequested on every rank where any was asked to stop."""
        mine, sets = [self.archs[i] for i in self.mine], (self.calibration, self.evaluation)
        return self._together(lambda check: score_pool(net, mine, *sets, check, self.flow_divisor), check_stop)

    def monitor(self, name: str, net: StagedNet, result: PoolEvaluation, check_stop: Check) -> PoolEvaluation | None:
        """The same of a monitor (None where the frozen set has none of that name), calibrated as ``result`` was."""
        if name not in self.monitors:
            return None
        mine, sets = [self.archs[i] for i in self.mine], (result.statistics, self.monitors[name])
        return self._together(lambda check: score_recalibrated(net, mine, *sets, check, self.flow_divisor), check_stop)

    def _together(self, score: Callable[[Check], PoolEvaluation], check_stop: Check) -> PoolEvaluation:
        """What every rank scored, joined; StopRequested on all where one is asked to stop."""
        own: PoolEvaluation | None = None
        stopped = ""

        def before_batch() -> None:
            crash_point("evaluation.batch")
            check_stop()

        try:
            own = score(before_batch)
        except StopRequested as stop:
            stopped = str(stop) or "another rank"
        if self.world.any(bool(stopped)):
            raise StopRequested(stopped)
        assert own is not None
        if self.world.size == 1:
            return own
        # Each rank fills its rows of a table of zeros, and the tables are added.  Every rank looks at every sample, so
        # the numbers of valid pixels are the same on all of them.
        table = torch.zeros(len(self.archs), 7 + own.samples, dtype=torch.float64)
        for i, s in zip(self.mine, own.scores, strict=True):
            figures = [*(getattr(s, name) for name in FIGURES), own.zero_flow_epe]
            table[i] = torch.cat([torch.tensor(figures, dtype=torch.float64), s.sample_epe])
        self.world.sum(table)
        scores = [
            ArchScore(arch=arch, sample_epe=row[7:].clone(), **dict(zip(FIGURES, row[:6].tolist(), strict=True)))
            for arch, row in zip(self.archs, table, strict=True)
        ]
        return replace(own, scores=scores, zero_flow_epe=float(table[0, 6]))

    def pictures(self, net: StagedNet, evaluation: PoolEvaluation, arch: Arch, count: int) -> list[Picture]:
        """Predictions of ``arch`` (recalibrated as just evaluated) for the first ``count`` evaluation pairs."""
        found: list[Picture] = []
        leaves: list[list[torch.Tensor]] = []
        split = self.eval_set.evaluation
        for index in range(min(len(self.evaluation), -(-count // split.batch_size))):
            batch = self.evaluation[index]
            predict(net, [arch], batch.images, evaluation.statistics, lambda _, leaf: leaves.append(leaf))
            height, width = batch.flow.shape[-2:]
            flow = accumulate(leaves.pop())[2][:, :2, :height, :width] * self.flow_divisor
            for row in range(min(len(flow), count - len(found))):
                images, predicted, true = batch.images[row].cpu(), flow[row].cpu(), batch.flow[row].cpu()
                found.append((split.names[len(found)], images, predicted, true, batch.valid[row].cpu()))
        return found


def show_evaluation(training: Training, result: PoolEvaluation) -> None:
    """Draw eval.pictures pairs (TensorBoard, RUN/pictures) and refresh RUN/report.html, where they are wanted.

    Nothing here is a fact of the run, so nothing here may end it: what fails is said in a warning.
    """
    into = training.directory if training.config.runtime.report else None
    try:
        if training.config.eval.pictures and (into is not None or training.tracker.enabled):
            _draw(training, result, into)
        if into is not None:
            training.front.report(into.path)
    except Exception as error:  # of whatever kind: days of training do not end over a picture
        training.console.warn(
            f"epoch {training.state.epoch + 1}: the report was not refreshed ({type(error).__name__}: {error}); "
            "training goes on, and `edgeflownas report` writes it later"
        )


def _draw(training: Training, result: PoolEvaluation, into: RunDirectory | None) -> None:
    """Best, baseline and worst of the archs calibrated here; TensorBoard gets the baseline's (else the best's)."""
    state, net, evaluator, epes = training.state, training.task.net, training.evaluator, result.epes
    mine = sorted(evaluator.mine, key=lambda i: (not math.isfinite(epes[i]), epes[i], i))
    finite = [i for i in mine if math.isfinite(epes[i])] or mine
    roles = {finite[0]: ["best"]}
    code = net.space.baseline
    baseline = next((i for i in mine if code and evaluator.archs[i] == net.space.parse(code)), None)
    if baseline is not None:
        roles.setdefault(baseline, []).append("baseline")
    if len(mine) > 1:
        roles.setdefault(finite[-1], []).append("worst")
    shown = finite[0] if baseline is None else baseline
    entries: list[dict[str, Any]] = []
    for index, names in [(shown, roles[shown])] if into is None else roles.items():
        score = result.scores[index]
        pairs = evaluator.pictures(net, result, score.arch, training.config.eval.pictures)
        for place, (sample, images, predicted, true, valid) in enumerate(pairs):
            flows = (flow.permute(1, 2, 0).numpy() for flow in (predicted, true))
            both = (net.input_form.picture(images), net.input_form.picture(images[3:]))
            drawn = training.front.draw(both, *flows, valid.numpy())
            if index == shown:
                training.tracker.images(state.step, f"pairs/{sample} arch {score.arch}", drawn.picture)
            file, errors = f"{names[0]}-{place}.png", (score.epe, float(score.sample_epe[place]))
            epe, sample_epe = (value if math.isfinite(value) else None for value in errors)
            entry = {"file": file, "roles": names, "arch_index": index, "code": str(score.arch), "epe": epe}
            still = float(sample_errors(torch.zeros_like(true)[None], true[None], valid[None])[0] / valid.sum())
            entry |= {"zero_flow_epe": still if math.isfinite(still) else None}
            entries.append(entry | {"sample": sample, "panels": list(drawn.labels), "sample_epe": sample_epe})
            if into is not None:
                data = cv2.imencode(".png", cv2.cvtColor(drawn.picture, cv2.COLOR_RGB2BGR))[1]
                into.write_file(f"{FOLDER}/{file}", data.tobytes())
    if into is not None:
        name = Position(state.step, state.epoch + 1, 0).name
        facts = {"epoch": state.epoch + 1, "step": state.step, "checkpoint": name, "pictures": entries}
        into.write_file(f"{FOLDER}/index.json", (json.dumps(facts, indent=1) + "\n").encode())
        named = {entry["file"] for entry in entries}
        for path in (into.path / FOLDER).glob("*.png"):  # of an earlier evaluation
            if path.name not in named:
                path.unlink(missing_ok=True)
