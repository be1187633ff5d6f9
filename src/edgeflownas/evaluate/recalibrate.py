"""Batch-norm recalibration: pooled moments of fixed calibration batches, for many subnets at once.

Each batch is forwarded in training mode, normalised by its own statistics; every batch norm then receives the pooled
E[x] and E[x^2] - E[x]^2 (biased, pixel-weighted, float64) -- not an average of variances, not a moving average.
The network's own buffers are never touched, so nothing has to be restored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from edgeflownas.evaluate.walk import Node, walk
from edgeflownas.models.batchnorm import record_moments
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.space import Arch

Statistics = dict[int, tuple[torch.Tensor, torch.Tensor]]
NodeStatistics = dict[Node, Statistics]


class _Pooled:
    """Running sums of one batch norm at one node, in float64."""

    def __init__(self) -> None:
        self.count = 0.0
        self.sum: torch.Tensor | float = 0.0
        self.square: torch.Tensor | float = 0.0

    def add(self, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        mean, var = mean.double(), var.double()
        self.count += count
        self.sum = self.sum + count * mean
        self.square = self.square + count * (var + mean * mean)

    def statistics(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(self.sum, torch.Tensor) and isinstance(self.square, torch.Tensor)
        mean = self.sum / self.count
        return mean.to(dtype), (self.square / self.count - mean * mean).clamp_min(0.0).to(dtype)


class MomentTree:
    """Files the moments of the node being computed: a recorder for models/batchnorm.py (``record_moments``)."""

    precise = True

    def __init__(self) -> None:
        self.nodes: dict[Node, dict[int, _Pooled]] = {}
        self.current: dict[int, _Pooled] = {}

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Moments that come meanwhile belong to ``node``."""
        self.current = self.nodes.setdefault(node, {})
        yield

    def add(self, slot: int, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        """Moments [C] of one batch at batch norm ``slot`` of the node."""
        self.current.setdefault(slot, _Pooled()).add(mean, var, count)

    def statistics(self, dtype: torch.dtype) -> NodeStatistics:
        """Pooled (mean, variance) of everything so far."""
        return {
            node: {slot: pooled.statistics(dtype) for slot, pooled in slots.items()}
            for node, slots in self.nodes.items()
        }


def recalibrate(
    net: StagedNet,
    archs: Sequence[Arch],
    calibration: Iterable[FlowBatch],
    check_stop: Callable[[], None] = lambda: None,
) -> NodeStatistics:
    """Recalibrated (mean, variance) of every batch norm at every node of the archs' prefix tree (empty without any).

    ``check_stop`` is called before each batch and may raise to abandon; nothing of the network changes either way.
    """
    return recalibrate_prefixes(net, archs, calibration, (), check_stop)[-1]


@torch.no_grad()
def recalibrate_prefixes(
    net: StagedNet,
    archs: Sequence[Arch],
    calibration: Iterable[FlowBatch],
    sizes: Collection[int],
    check_stop: Callable[[], None] = lambda: None,
) -> list[NodeStatistics]:
    """:func:`recalibrate` with the first n batches for each n of ``sizes`` (ascending), then with all of them.

    One walk: the pooled sums of more batches contain those of fewer.
    """
    if not net.batchnorms:  # frozen ones: they are evaluated as they are
        return [{} for _ in range(len(sizes) + 1)]
    recorder, found = MomentTree(), []
    dtype = next(net.parameters()).dtype
    was_training = net.training
    net.train()
    try:
        with record_moments(net, recorder):
            for done, batch in enumerate(calibration, start=1):
                check_stop()
                walk(net, archs, net.prepare(batch.images), recorder.at)
                if done in sizes:
                    found.append(recorder.statistics(dtype))
    finally:
        net.train(was_training)
    return [*found, recorder.statistics(dtype)]


@torch.no_grad()
def set_buffers(net: StagedNet, calibration: Iterable[FlowBatch], advance: Callable[[], None] = lambda: None) -> None:
    """Recalibrate the network of one arch and write the moments into its buffers; ``advance``: before each batch."""
    for slots in recalibrate(net, list(net.space), calibration, advance).values():
        for slot, (mean, var) in slots.items():
            net.batchnorms[slot].running_mean.copy_(mean)
            net.batchnorms[slot].running_var.copy_(var)
