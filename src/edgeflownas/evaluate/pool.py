"""End-point error of many subnets on frozen batches, each with batch norm recalibrated from scratch.

The flow that is scored is A2, the accumulated sum, never the last raw prediction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.metrics import epe, sample_errors
from edgeflownas.evaluate.noise import PoolNoise, pool_noise
from edgeflownas.evaluate.recalibrate import NodeStatistics, recalibrate
from edgeflownas.evaluate.walk import Node, walk
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.blocks import FlowBatch, StagedNet, resolve
from edgeflownas.space import Arch

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
        for scale, stride in ((0, 4), (1, 2)):
            sums, counts = sample_errors(accumulated[scale], batch.flow, batch.valid, stride)
            self.coarse[scale] += torch.stack([sums.sum(), counts.sum().double()]).cpu()
        sums, counts = sample_errors(accumulated[2], batch.flow, batch.valid)
        self.errors.append(torch.stack([sums, counts.double()]).cpu())
        terms = multiscale_loss(predictions, batch.flow / self.divisor, batch.valid)
        self.loss += torch.stack(list(terms)).double().cpu() * len(batch.images)

    def score(self, arch: Arch) -> ArchScore:
        errors = torch.cat(self.errors, dim=1)
        loss = (self.loss / errors.shape[1]).tolist()
        coarse = (self.coarse[:, 0] / self.coarse[:, 1]).tolist()
        return ArchScore(
            arch, epe(errors[0], errors[1]), coarse[0], coarse[1], loss[0], loss[1], loss[2], errors[0] / errors[1]
        )


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
    was_training = net.training
    net.eval()
    try:
        for batch in evaluation:
            check_stop()
            _score_batch(net, archs, statistics, batch, tallies)
            sums, counts = sample_errors(torch.zeros_like(batch.flow), batch.flow, batch.valid)
            zero += torch.stack([sums.sum(), counts.sum().double()]).cpu()
            pixels.append(counts.cpu())
    finally:
        net.train(was_training)
    scores = [tally.score(arch) for tally, arch in zip(tallies, archs, strict=True)]
    seconds = time.monotonic() - started
    return PoolEvaluation(scores, epe(zero[0], zero[1]), torch.cat(pixels), 0.0, seconds, statistics)


@torch.no_grad()
def _score_batch(
    net: StagedNet, archs: Sequence[Arch], statistics: NodeStatistics, batch: FlowBatch, tallies: list[_Tally]
) -> None:
    def at_node(node: Node) -> AbstractContextManager[object]:
        return use_statistics(net, statistics.get(node, {}))

    walk(net, archs, net.prepare(batch.images), at_node, lambda i, predictions: tallies[i].add(predictions, batch))


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
