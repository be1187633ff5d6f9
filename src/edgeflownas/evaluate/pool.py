"""End-point error of many subnets on frozen batches, each with batch norm recalibrated from scratch.

The flow that is scored is A2, the accumulated sum, never the last raw prediction.

A calibration sweep tells whether an arch is hard or only badly calibrated (docs/evaluation.md): the run's frozen
calibration set is compared with a second, random sequence of training samples, disjoint from it as far as the split
allows.  Its first n batches are the calibration sets of growing size; the prefix of the run's own size is the other.
Everything is scored on the same evaluation pixels, so changes have paired standard errors.  A change that is not seen
may still be there, so "not calibration" is said only where changes are shown to be smaller than what would have to be
explained: the gap to the pool's median EPE (equivalence by interval, Schuirmann, J. Pharmacokin. Biopharm. 15, 1987).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset, center_window
from edgeflownas.data.formats import image_size
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.calibration import NodeStatistics, predict, recalibrate, recalibrate_prefixes
from edgeflownas.evaluate.frozen import FrozenBatches, FrozenSplit
from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.metrics import epe, sample_errors
from edgeflownas.evaluate.noise import Floats, PoolNoise, kendall_tau_b, paired_change, pool_noise, student95
from edgeflownas.models.blocks import FlowBatch, StagedNet, resolve
from edgeflownas.randomness import permutation
from edgeflownas.space import Arch

SIZES = (8, 16, 32, 64)
"""Calibration batches that a sweep always tries, as far as the split holds them."""

Batch = FlowBatch | tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]


class PoolResult(NamedTuple):
    """Result of one arch: EPE (px, pooled over all valid pixels) and the mean error of every sample (px, [N])."""

    epe: float
    sample_epe: torch.Tensor


@dataclass(frozen=True)
class ArchScore:
    """Everything measured of one arch on the evaluation pixels."""

    arch: Arch
    epe: float
    epe_a0: float
    epe_a1: float
    loss_total: float
    loss_optical: float
    loss_uncertainty: float
    sample_epe: torch.Tensor  # float64 [N], mean error of each sample's valid pixels (nan where it has none)


@dataclass(frozen=True)
class PoolEvaluation:
    """Scores in the order of the archs, the zero-flow reference of the same pixels, and the two durations."""

    scores: list[ArchScore]
    zero_flow_epe: float
    valid_pixels: torch.Tensor  # int64 [N], of each sample, on the host
    recal_seconds: float
    eval_seconds: float
    statistics: NodeStatistics

    @property
    def samples(self) -> int:
        """Evaluated samples, those without a valid pixel included."""
        return len(self.valid_pixels)

    @property
    def epes(self) -> list[float]:
        """EPE of every arch, px."""
        return [score.epe for score in self.scores]

    @property
    def sample_epe(self) -> torch.Tensor:
        """Mean error of every arch (rows) on every sample, px, float64 [A, N]; nan without a valid pixel."""
        return torch.stack([score.sample_epe for score in self.scores])

    @property
    def noise(self) -> PoolNoise:
        """What the set can tell apart."""
        return pool_noise(self.sample_epe, self.valid_pixels)


class _Tally:
    """Sums of one arch over the evaluation batches, float64 on the host.

    Errors are in pixels: predictions are multiplied by ``divisor`` (data.flow_divisor).  Losses are in the units of
    training, as the training loss is, and the truth is divided for them.
    """

    def __init__(self, divisor: float) -> None:
        self.divisor = divisor
        self.errors: list[torch.Tensor] = []
        self.coarse = torch.zeros(2, 2, dtype=torch.float64)  # (A0, A1) x (sum of errors, valid pixels)
        self.loss = torch.zeros(3, dtype=torch.float64)

    def add(self, predictions: list[torch.Tensor], batch: FlowBatch) -> None:
        accumulated = [flow * self.divisor if self.divisor != 1.0 else flow for flow in accumulate(predictions)]
        for scale, stride in enumerate((4, 2, 1)):
            sums, counts = sample_errors(accumulated[scale], batch.flow, batch.valid, stride)
            if stride == 1:
                self.errors.append(torch.stack([sums, counts.double()]).cpu())
            else:
                self.coarse[scale] += torch.stack([sums.sum(), counts.sum().double()]).cpu()
        terms = multiscale_loss(predictions, batch.flow / self.divisor, batch.valid)
        self.loss += torch.stack(list(terms)).double().cpu() * len(batch.images)

    def score(self, arch: Arch) -> ArchScore:
        sums, counts = torch.cat(self.errors, dim=1)
        a0, a1 = (self.coarse[:, 0] / self.coarse[:, 1]).tolist()
        total, optical, uncertainty = (self.loss / len(sums)).tolist()
        return ArchScore(arch, epe(sums, counts), a0, a1, total, optical, uncertainty, sums / counts)


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 on a GPU for a while, whatever training uses and torch's default is: figures are fp32 figures."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@full_precision()
def score_pool(
    net: StagedNet,
    archs: Sequence[Arch],
    calibration: Sequence[FlowBatch],
    evaluation: Sequence[FlowBatch],
    check_stop: Callable[[], None] = lambda: None,
    flow_divisor: float = 1.0,
) -> PoolEvaluation:
    """Recalibrate and score ``archs``, sharing what their prefixes share; the network is left as it was.

    ``check_stop`` is called before every batch and may raise to abandon the evaluation.  ``flow_divisor`` is what the
    labels of training were divided by (data.flow_divisor); those of ``evaluation`` are in pixels, and so is every EPE.
    """
    started = time.monotonic()
    statistics = recalibrate(net, archs, calibration, check_stop)
    seconds = time.monotonic() - started
    result = score_recalibrated(net, archs, statistics, evaluation, check_stop, flow_divisor)
    return replace(result, recal_seconds=seconds)


@full_precision()
def score_recalibrated(
    net: StagedNet,
    archs: Sequence[Arch],
    statistics: NodeStatistics,
    evaluation: Iterable[FlowBatch],
    check_stop: Callable[[], None] = lambda: None,
    flow_divisor: float = 1.0,
) -> PoolEvaluation:
    """The second half of :func:`score_pool`, so that several sets share one recalibration.

    ``statistics`` are those of the very archs (``PoolEvaluation.statistics``); the figures are those of a
    :func:`score_pool` with the same calibration, to the bit.  ``recal_seconds`` is 0.
    """
    started = time.monotonic()
    tallies = [_Tally(flow_divisor) for _ in archs]
    zero = torch.zeros(2, dtype=torch.float64)
    pixels: list[torch.Tensor] = []
    for batch in evaluation:
        check_stop()
        predict(net, archs, batch.images, statistics, lambda i, found, batch=batch: tallies[i].add(found, batch))  # type: ignore[misc]
        sums, counts = sample_errors(torch.zeros_like(batch.flow), batch.flow, batch.valid)
        zero += torch.stack([sums.sum(), counts.sum().double()]).cpu()
        pixels.append(counts.cpu())
    scores = [tally.score(arch) for tally, arch in zip(tallies, archs, strict=True)]
    seconds = time.monotonic() - started
    return PoolEvaluation(scores, epe(zero[0], zero[1]), torch.cat(pixels), 0.0, seconds, statistics)


def evaluate_pool(
    net: StagedNet, archs: Sequence[Arch | str], calibration: Sequence[Batch], evaluation: Sequence[Batch]
) -> list[PoolResult]:
    """EPE and per-sample errors of every arch, batch norm recalibrated from scratch for each.

    Args:
        net: the supernet; neither its weights nor its buffers change.
        archs: arch codes of the net's space.
        calibration: batches (images [B,6,H,W] in [-1, 1], flow [B,2,H,W] px, valid [B,H,W] bool or None); only the
            images are used.
        evaluation: batches of the same form that are scored.

    Returns:
        One ``PoolResult(epe, sample_epe)`` per arch, in order.

    Raises:
        ConfigError: an arch of another space, or an empty list of batches.
    """
    if not calibration or not evaluation:
        raise ConfigError("evaluate_pool needs at least one calibration and one evaluation batch")
    codes = [resolve(net.space, arch) for arch in archs]
    result = score_pool(net, codes, [_flow_batch(b) for b in calibration], [_flow_batch(b) for b in evaluation])
    return [PoolResult(score.epe, score.sample_epe) for score in result.scores]


def _flow_batch(batch: Batch) -> FlowBatch:
    images, flow, valid = batch
    if flow.shape != (len(images), 2, *images.shape[2:]):
        raise ConfigError(f"flow has shape {tuple(flow.shape)}, images {tuple(images.shape)}: flow must be [B,2,H,W]")
    if valid is None:
        valid = torch.ones_like(flow[:, 0], dtype=torch.bool)
    if valid.shape not in (flow[:, 0].shape, flow[:, :1].shape):
        raise ConfigError(f"valid has shape {tuple(valid.shape)}, flow {tuple(flow.shape)}: valid must be [B,H,W]")
    return FlowBatch(images, flow, valid.reshape(flow[:, 0].shape).bool())


# ---- calibration sweep ----


class Change(NamedTuple):
    """Change of the archs' EPE [A], px, and half of its interval; both nan where one of them is unknown."""

    value: Floats
    margin: Floats

    @property
    def beyond(self) -> Floats:
        """Sign of a change beyond noise, else 0."""
        return np.where(np.abs(self.value) > self.margin, np.sign(self.value), 0.0)

    def within(self, relevant: Floats) -> NDArray[np.bool_]:
        """Whether the whole interval is nearer to zero than ``relevant``."""
        return np.abs(self.value) + self.margin < relevant


@dataclass(frozen=True)
class ArchVerdict:
    """What calibration does to one arch: changes of its EPE, px, None where it cannot be told.

    ``more`` is the change from a random set of the run's size to the largest set, which contains it, ``other`` that
    from the run's own set to a random one of the same size, ``total`` that to the largest random one.  Margins are half
    of the interval that holds at 95 % for the whole pool: they decide the verdict.  A change as large as ``relevant``
    would explain where the arch stands: see :meth:`CalibrationSweep.relevant`.
    """

    more: float | None
    more_margin: float | None
    other: float | None
    other_margin: float | None
    total: float | None
    total_margin: float | None
    relevant: float
    verdict: str


@dataclass(frozen=True)
class CalibrationSweep:
    """EPEs of a pool under several calibration sets, on the same evaluation pixels."""

    own: PoolEvaluation
    own_batches: int
    others: dict[int, PoolEvaluation]
    """By number of batches of the random sequence, ascending."""

    def verdicts(self) -> list[ArchVerdict]:
        """One for each arch; intervals hold at 95 % for the whole pool (Bonferroni).

        The words are explained in docs/evaluation.md, "Calibration sweep".
        """
        same, largest, relevant = self.others[self.own_batches], self.others[max(self.others)], self.relevant()
        more, other, total = self._change(same, largest), self._change(self.own, same), self._change(self.own, largest)
        small = more.within(relevant) & other.within(relevant) & total.within(relevant)
        under = (more.beyond < 0) & (total.beyond < 0)
        moved = (more.beyond != 0) | (other.beyond != 0)
        words = ["not calibration", "under-calibrated", "depends on the samples"]
        verdicts = np.select([small, under, moved], words, "cannot be told")
        figures = np.stack([*more, *other, *total]).T.tolist()
        known: list[list[Any]] = [[None if math.isnan(figure) else figure for figure in row] for row in figures]
        rows = zip(known, relevant.tolist(), verdicts.tolist(), strict=True)
        return [ArchVerdict(*[*row, size, word]) for row, size, word in rows]

    def relevant(self) -> Floats:
        """Change of EPE in px that would explain where an arch stands, by arch.

        Its gap to the pool's median EPE, and at least the median of all gaps: an arch in the middle stands out from
        nothing, there a change is small beside the usual difference between archs.  0 in a pool of one.
        """
        epes = np.asarray(self.own.epes)
        gaps = np.abs(epes - np.median(epes))
        return np.asarray(np.maximum(gaps, np.median(gaps)))

    def _change(self, before: PoolEvaluation, after: PoolEvaluation) -> Change:
        """Unknown where both are the very same set."""
        value, errors = paired_change(before.sample_epe, after.sample_epe, before.valid_pixels)
        margin = errors * student95(int((before.valid_pixels > 0).sum()), comparisons=len(value))
        known = np.isfinite(value) & np.isfinite(margin) & (before is not after)
        return Change(np.where(known, value, np.nan), np.where(known, margin, np.nan))

    def taus(self) -> dict[int, float | None]:
        """Kendall's tau between the ranking by the run's own set and that of each other set, by batches."""
        return {size: kendall_tau_b(self.own.epes, result.epes) for size, result in self.others.items()}


def sweep_sizes(own_batches: int, samples: int, batch_size: int) -> list[int]:
    """Numbers of batches to try, ascending: SIZES, the run's own and twice as many, as far as ``samples`` reach."""
    most = -(-samples // batch_size)
    return sorted({min(size, most) for size in (*SIZES, own_batches, 2 * own_batches)})


def other_samples(own: FrozenSplit, dataset: FlowDataset, batches: int, seed: int) -> tuple[FrozenSplit, int]:
    """``batches`` of random training samples, those of ``own`` last, in the same crop size.

    Also returns how many of the first len(own) of them are samples of ``own``: 0 where the split is large enough.
    """
    crop = own.windows[0].height, own.windows[0].width
    taken = set(own.names)
    order = [dataset.samples[i] for i in permutation(len(dataset), seed, "calibration sweep")]
    order.sort(key=lambda sample: sample.name in taken)  # stable: the run's own come last
    chosen = order[: batches * own.batch_size]
    windows = tuple(center_window(*image_size(s.image1), *crop, str(s.image1)) for s in chosen)
    shared = sum(sample.name in taken for sample in chosen[: len(own.names)])
    return FrozenSplit(own.label, tuple(s.name for s in chosen), windows, own.batch_size), shared


@full_precision()
def sweep_calibration(
    net: StagedNet,
    archs: Sequence[Arch],
    own: FrozenBatches,
    other: FrozenBatches,
    evaluation: Sequence[FlowBatch],
    sizes: Sequence[int],
    check_stop: Callable[[], None] = lambda: None,
    flow_divisor: float = 1.0,
) -> CalibrationSweep:
    """Score ``archs`` with the run's calibration batches and with the first n of ``other`` for each n of ``sizes``.

    ``sizes`` end with all batches of ``other`` and contain as many as ``own`` has; ``check_stop`` is called before
    every batch.
    """
    mine = score_pool(net, archs, own, evaluation, check_stop, flow_divisor)
    found: dict[int, PoolEvaluation] = {}
    for size, statistics in zip(sizes, recalibrate_prefixes(net, archs, other, sizes[:-1], check_stop), strict=True):
        result = score_recalibrated(net, archs, statistics, evaluation, check_stop, flow_divisor)
        found[size] = replace(result, statistics={})
    return CalibrationSweep(mine, min(len(own), sizes[-1]), found)
