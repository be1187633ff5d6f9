"""Batch-norm recalibration of many subnets at once, along the prefix tree of their codes.

Features flow in a chain, so a stage's output for given samples depends only on the choices up to it (context, where a
stage gives it, is a function of the features there); the prediction heads (output stages) feed nothing but the sum and
therefore do not split the tree.  So every stage is computed once per distinct prefix: see docs/concepts.md, "Sharing".

To recalibrate, each batch is forwarded in training mode, normalised by its own statistics; every batch norm then
receives the pooled E[x] and E[x^2] - E[x]^2 (biased, pixel-weighted, float64) -- not an average of variances, not a
moving average.  The network's own buffers are never touched, so nothing has to be restored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from edgeflownas.models.batchnorm import record_moments, use_statistics
from edgeflownas.models.blocks import FlowBatch, Stage, StagedNet
from edgeflownas.space import Arch

# A node of the tree: stage index, the digits that lead to its input features, and its own option.
Node = tuple[int, tuple[int, ...], int]
State = tuple[Tensor, Tensor | None]  # features, and the context that an earlier stage gave
Statistics = dict[int, tuple[Tensor, Tensor]]  # mean and variance by batch norm
NodeStatistics = dict[Node, Statistics]


# ---- prefix tree ----


def advance(net: StagedNet, index: int, state: State, option: int) -> State:
    """The state behind stage ``index``, one that makes features."""
    features = net.run_stage(index, state[0], option, state[1])
    return features, net.context_of(features) if net.stages[index].context == "gives" else state[1]


def by_option(stage: Stage, archs: Sequence[Arch], members: Iterable[int]) -> dict[int, list[int]]:
    """Positions ``members`` in ``archs`` by their option of ``stage``, in the order of the options."""
    groups: dict[int, list[int]] = {}
    for member in members:
        groups.setdefault(0 if stage.choice is None else archs[member][stage.choice], []).append(member)
    return dict(sorted(groups.items()))


def walk(
    net: StagedNet,
    archs: Sequence[Arch],
    images: Tensor,
    at_node: Callable[[Node], AbstractContextManager[object]],
    at_leaf: Callable[[int, list[Tensor]], None] | None = None,
    start: int = 0,
    prefix: tuple[int, ...] = (),
) -> None:
    """Run ``images`` [B,6,H,W] (already padded) through every arch, depth first.

    With ``start`` they are instead the features that this stage takes, to which the digits ``prefix`` led, and the
    archs agree on those digits; all output stages, and none that takes context, lie behind.

    ``at_node`` wraps the computation of each node (batch-norm statistics are attached there); ``at_leaf`` receives
    the position of an arch in ``archs`` and its three predictions.  Without it no prediction is computed.
    """
    heads: list[dict[int, Tensor]] = []  # predictions of the current path so far, by option

    def descend(index: int, state: State, prefix: tuple[int, ...], members: list[int]) -> None:
        if index == len(net.stages):
            for member in members if at_leaf else []:
                digits = [0 if stage.choice is None else archs[member][stage.choice] for stage in outputs]
                at_leaf(member, [head[digit] for head, digit in zip(heads, digits, strict=True)])  # type: ignore[misc]
            return
        stage = net.stages[index]
        groups = by_option(stage, archs, members)
        if stage.output is not None:
            heads.append({})
            for option in groups if at_leaf else ():
                with at_node((index, prefix, option)):
                    heads[-1][option] = net.run_stage(index, state[0], option, state[1])
            descend(index + 1, state, prefix, members)
            heads.pop()
            return
        for option, group in groups.items():
            with at_node((index, prefix, option)):
                deeper = advance(net, index, state, option)
            descend(index + 1, deeper, prefix if stage.choice is None else (*prefix, option), group)

    outputs = [stage for stage in net.stages if stage.output is not None]
    descend(start, (images, None), prefix, list(range(len(archs))))


@contextmanager
def network_mode(net: StagedNet, training: bool) -> Iterator[None]:
    """Training or evaluation mode for a while."""
    was_training = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(was_training)


@torch.no_grad()
def predict(
    net: StagedNet,
    archs: Sequence[Arch],
    images: Tensor,
    statistics: NodeStatistics | None,
    at_leaf: Callable[[int, list[Tensor]], None],
) -> None:
    """:func:`walk` of images [B,6,H,W] in evaluation mode, under the ``statistics`` of :func:`recalibrate`.

    None takes those in the network's buffers, which are right for the one arch that they were measured on.
    """

    def lent(node: Node) -> AbstractContextManager[object]:
        return nullcontext() if statistics is None else use_statistics(net, statistics.get(node, {}))

    with network_mode(net, training=False):
        walk(net, archs, net.prepare(images), lent, at_leaf)


# ---- recalibration ----


class MomentTree:
    """Files the moments of the node being computed: a recorder for models/batchnorm.py (``record_moments``)."""

    precise = True

    def __init__(self) -> None:
        # By node and batch norm, in float64: number of pixels, sum of x, sum of x^2.
        self.nodes: dict[Node, dict[int, tuple[float, Tensor, Tensor]]] = {}
        self.current: dict[int, tuple[float, Tensor, Tensor]] = {}

    @contextmanager
    def at(self, node: Node) -> Iterator[None]:
        """Moments that come meanwhile belong to ``node``."""
        self.current = self.nodes.setdefault(node, {})
        yield

    def add(self, slot: int, mean: Tensor, var: Tensor, count: int) -> None:
        """Moments [C] of one batch at batch norm ``slot`` of the node."""
        mean, var = mean.double(), var.double()
        new = float(count), count * mean, count * (var + mean * mean)
        old = self.current.get(slot)
        self.current[slot] = new if old is None else (old[0] + new[0], old[1] + new[1], old[2] + new[2])

    def statistics(self, dtype: torch.dtype) -> NodeStatistics:
        """Pooled (mean, variance) of everything so far."""
        found: NodeStatistics = {}
        for node, slots in self.nodes.items():
            found[node] = {}
            for slot, (count, total, square) in slots.items():
                mean = total / count
                found[node][slot] = mean.to(dtype), (square / count - mean * mean).clamp_min(0.0).to(dtype)
        return found


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
    tree, found = MomentTree(), []
    dtype = next(net.parameters()).dtype
    with network_mode(net, training=True), record_moments(net, tree):
        for done, batch in enumerate(calibration, start=1):
            check_stop()
            walk(net, archs, net.prepare(batch.images), tree.at)
            if done in sizes:
                found.append(tree.statistics(dtype))
    return [*found, tree.statistics(dtype)]


@torch.no_grad()
def set_buffers(net: StagedNet, calibration: Iterable[FlowBatch], advance: Callable[[], None] = lambda: None) -> None:
    """Recalibrate the network of one arch and write the moments into its buffers; ``advance``: before each batch."""
    for slots in recalibrate(net, list(net.space), calibration, advance).values():
        for slot, (mean, var) in slots.items():
            net.batchnorms[slot].running_mean.copy_(mean)
            net.batchnorms[slot].running_var.copy_(var)
