"""The pool evaluation of a run: frozen sets held in memory, archs dealt to ranks, results joined in one sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.evaluate.evalset import WIDE, EvalSet, FrozenBatches
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.pool import ArchScore, PoolEvaluation, score_pool, score_recalibrated
from edgeflownas.evaluate.walk import walk
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.stages import StagedNet
from edgeflownas.space import Arch
from edgeflownas.train.distributed import World
from edgeflownas.train.faults import crash_point
from edgeflownas.train.tasks import StopRequested

__all__ = ["Evaluator", "FlowPicture"]

FIGURES = ("epe", "epe_a0", "epe_a1", "loss_total", "loss_optical", "loss_uncertainty")  # of ArchScore


@dataclass(frozen=True)
class FlowPicture:
    """A fixed evaluation pair with a subnet's prediction: tensors on the host, [6,H,W], [2,H,W], [2,H,W], [H,W]."""

    name: str
    images: torch.Tensor
    predicted: torch.Tensor
    true: torch.Tensor
    valid: torch.Tensor


class Evaluator:
    """Evaluates a pool of archs on a frozen set and its monitors; decodes samples once, but those of the wide set."""

    def __init__(
        self,
        archs: list[Arch],
        eval_set: EvalSet,
        train: FlowDataset,
        val: FlowDataset,
        net: StagedNet,
        world: World = World(),  # noqa: B008  (frozen)
        flow_divisor: float = 1.0,
        like: Evaluator | None = None,
    ) -> None:
        """``like`` is an evaluator of another network on the same data: equal frozen samples are held once."""
        first = next(net.parameters())
        self.archs, self.eval_set, self.world, self.flow_divisor = archs, eval_set, world, flow_divisor
        place = (eval_set.flow_clip, first.device, first.dtype, net.input_form)
        self.calibration: FrozenBatches
        self.evaluation: FrozenBatches
        self.monitors: dict[str, FrozenBatches]
        if like is not None and _samples(like.eval_set) == _samples(eval_set):
            self.calibration, self.evaluation, self.monitors = like.calibration, like.evaluation, like.monitors
        else:
            self.calibration = FrozenBatches(eval_set.calibration, train, *place)
            self.evaluation = FrozenBatches(eval_set.evaluation, val, *place)
            self.monitors = {
                name: FrozenBatches(split, val if name == WIDE else train, *place, hold=name != WIDE)
                for name, split in eval_set.monitors.items()
            }
        self.mine = list(range(world.rank, len(archs), world.size))

    def evaluate(self, net: StagedNet, check_stop: Callable[[], None]) -> PoolEvaluation:
        """Scores of all archs in order.  Raises StopRequested on every rank where any was asked to stop."""
        mine = [self.archs[i] for i in self.mine]

        def score(check: Callable[[], None]) -> PoolEvaluation:
            return score_pool(net, mine, self.calibration, self.evaluation, check, self.flow_divisor)

        return self._together(score, check_stop)

    def monitor(
        self, name: str, net: StagedNet, result: PoolEvaluation, check_stop: Callable[[], None]
    ) -> PoolEvaluation | None:
        """The same of a monitor (None where the frozen set has none of that name), calibrated as ``result`` was."""
        if name not in self.monitors:
            return None
        mine, batches = [self.archs[i] for i in self.mine], self.monitors[name]

        def score(check: Callable[[], None]) -> PoolEvaluation:
            return score_recalibrated(net, mine, result.statistics, batches, check, self.flow_divisor)

        return self._together(score, check_stop)

    def _together(
        self, score: Callable[[Callable[[], None]], PoolEvaluation], check_stop: Callable[[], None]
    ) -> PoolEvaluation:
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
        return own if self.world.size == 1 else self._join(own)

    def _join(self, own: PoolEvaluation) -> PoolEvaluation:
        """Scores of all ranks: each fills its rows of a table of zeros, and the tables are added.

        Every rank looks at every sample, so the numbers of valid pixels are the same on all of them.
        """
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

    @torch.no_grad()
    def pictures(self, net: StagedNet, evaluation: PoolEvaluation, arch: Arch, count: int) -> list[FlowPicture]:
        """Predictions of ``arch`` (recalibrated as just evaluated) for the first ``count`` evaluation pairs."""
        found: list[FlowPicture] = []
        was_training = net.training
        net.eval()
        for index in range(len(self.evaluation)):
            if len(found) >= count:
                break
            batch = self.evaluation[index]
            leaves: list[list[torch.Tensor]] = []
            walk(
                net,
                [arch],
                net.prepare(batch.images),
                lambda node: use_statistics(net, evaluation.statistics.get(node, {})),
                lambda _, predictions, leaves=leaves: leaves.append(predictions),  # type: ignore[misc]
            )
            height, width = batch.flow.shape[-2:]
            flow = accumulate(leaves[0])[2][:, :2, :height, :width] * self.flow_divisor
            names = self.eval_set.evaluation.names[index * self.eval_set.evaluation.batch_size :]
            for row, name in zip(range(min(len(flow), count - len(found))), names, strict=False):
                parts = (batch.images[row], flow[row], batch.flow[row], batch.valid[row])
                found.append(FlowPicture(name, *(part.cpu() for part in parts)))
        net.train(was_training)
        return found


def _samples(eval_set: EvalSet) -> tuple[object, ...]:
    return eval_set.calibration, eval_set.evaluation, eval_set.monitors, eval_set.flow_clip
