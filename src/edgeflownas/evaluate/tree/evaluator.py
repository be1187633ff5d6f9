"""Every arch of a list on fixed sets, by units of the prefix tree.

For each unit (the archs below one trunk prefix) two walks: one over whole calibration batches in training mode with
moments pooled at every node, one over the evaluation samples with those statistics.  Prefix-sharing is exact: a
node's features depend on the digits before it alone (docs/concepts.md).

Two paths.  ``exact``: the network's own stages on whole batches, so that moments and predictions are those of
``net.subnet(code)`` to the bit at equal batch shapes and threads, and the errors those of evaluate/pool.py.  Otherwise
the trunk is the network's own, one sample at a time, and the heads are fused (evaluate/tree/heads.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.metrics import sample_errors
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.evaluate.recalibrate import MomentTree
from edgeflownas.evaluate.tree.errors import Pixels
from edgeflownas.evaluate.tree.heads import Heads, can_fuse
from edgeflownas.evaluate.tree.pieces import Pieces
from edgeflownas.evaluate.tree.trial import Trial, quickest
from edgeflownas.evaluate.tree.trunk import Level, Trunk, choose_levels
from edgeflownas.evaluate.tree.units import Estimate, Size, Unit, node_counts, tree_work, trunk_length, units_of
from edgeflownas.evaluate.walk import Node, State, advance, walk
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.models.graph import stage_macs
from edgeflownas.space import Arch

PROBE = 32  # rows and columns of the image by which features are measured
GPU_PIECE = 16  # samples of a piece where one device runs all; a CPU's threads take one sample each
WORKING_MAPS = 8  # maps of the last features' size that a piece holds at a time, the errors' working set included


@dataclass(frozen=True)
class UnitScores:
    """What one unit's archs did on every sample."""

    unit: Unit
    sums: tuple[Tensor, ...]
    """float64 [A_unit, N_set] on the host, one a set: end-point errors (px) summed over a sample's valid pixels."""


class _Unit(NamedTuple):
    """A unit being worked on: its archs, one option a trunk stage, and where the trunk stands."""

    prefix: tuple[int, ...]
    archs: list[Arch]
    path: tuple[int, ...]
    trunk: Trunk
    level: Level
    pieces: Pieces


class TreeEvaluator:
    """Scores of many archs of ``net`` on ``sets``, batch norm recalibrated on ``calibration``.

    The network is only read: between units it is as it was.

    Args:
        net: the supernet (any chain of stages).
        calibration: batches whose boundaries matter; images only.
        sets: evaluation batches of one or several data sets.
        exact: see the module.
        memory: bytes for features beside the sets themselves; None keeps all that can be used again.  The result does
            not depend on it.
        flow_divisor: what the labels of training were divided by (data.flow_divisor).
        check_stop: called between pieces of work; may raise to abandon.

    Raises:
        ConfigError: no batch, or a bound that the smallest piece of work exceeds.
    """

    def __init__(
        self,
        net: StagedNet,
        calibration: Sequence[FlowBatch],
        sets: Sequence[Sequence[FlowBatch]],
        *,
        exact: bool = False,
        memory: int | None = None,
        flow_divisor: float = 1.0,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        if not calibration or not sets or not all(sets):
            raise ConfigError("ranking needs at least one calibration batch and one evaluation batch a set")
        self.net, self.memory, self.flow_divisor, self.check_stop = net, memory, flow_divisor, check_stop
        self.calibration, self.sets = calibration, sets
        self.length = trunk_length(net)
        self.exact = exact or not can_fuse(net, self.length)
        self.device = calibration[0].images.device
        piece = None if self.exact else GPU_PIECE if self.device.type == "cuda" else 1
        self.batches = [part for batches in sets for batch in batches for part in _parts(batch, piece)]
        dtype = next(net.parameters()).dtype
        self.pixel_lists = [] if self.exact else [Pixels.of(batch, dtype) for batch in self.batches]
        self.images = Level(
            (),
            [(net.prepare(batch.images), None) for batch in calibration],
            [(net.prepare(batch.images), None) for batch in self.batches],
        )
        self.sizes = _sizes(self.images.calibration), _sizes(self.images.evaluation)
        self.pixels = [torch.cat([batch.valid.sum((1, 2)).cpu() for batch in batches]) for batches in sets]

    # ---- scores ----

    def units(self, archs: Sequence[Arch]) -> list[Unit]:
        """Units of ``archs`` in tree order, to be dealt and resumed as a whole."""
        return units_of(self.net, archs)

    def score(self, archs: Sequence[Arch], units: Sequence[Unit] | None = None) -> Iterator[UnitScores]:
        """Scores of ``units`` (all of ``archs``), as they become known.

        Neighbouring units share what their prefixes share, so ask for them in tree order.
        """
        chosen = self.units(archs) if units is None else units
        if not chosen:
            return
        trunk = Trunk(self.net, self.length, self.images, self._levels(archs))
        heads = None if self.exact else Heads(self.net, self.length, self.flow_divisor)
        with Pieces(self.device, self.check_stop, parallel=not self.exact) as pieces:
            for unit in chosen:
                members = [archs[member] for member in unit.members]
                with torch.no_grad(), full_precision():
                    path = trunk.options(unit.prefix)
                    work = _Unit(unit.prefix, members, path, trunk, trunk.enter(path, pieces), pieces)
                    found = self._exact(work) if heads is None else self._fused(work, heads)
                counts = [len(pixels) for pixels in self.pixels]
                yield UnitScores(unit, torch.cat(found, 1).cpu().split(counts, 1))

    def epes(self, archs: Sequence[Arch]) -> Tensor:
        """EPE of every arch, px, pooled over the valid pixels of the first set: float64 [A]."""
        sums = torch.zeros(len(archs), dtype=torch.float64)
        for scores in self.score(archs):
            sums[list(scores.unit.members)] = scores.sums[0].sum(1)
        return sums / self.pixels[0].sum()

    def _fused(self, work: _Unit, heads: Heads) -> list[Tensor]:
        trunk, tree = work.trunk, MomentTree()
        for state in trunk.calibrate(work.level, work.path, tree, work.pieces):
            heads.calibrate(state[0], work.archs, work.prefix, tree, work.pieces)
        trunk.learn(tree)
        folded = heads.fold(trunk.statistics)

        def errors(piece: int) -> Tensor:
            features = trunk.advance(work.level, work.path, work.level.evaluation[piece])[0]
            return heads.errors(features, self.pixel_lists[piece], work.archs, work.prefix, folded)

        with trunk.evaluating(work.level, work.path):
            return list(work.pieces.map(errors, range(len(self.batches))))

    def _exact(self, work: _Unit) -> list[Tensor]:
        net, trunk, tree, found = self.net, work.trunk, MomentTree(), []
        for state in trunk.calibrate(work.level, work.path, tree, work.pieces):
            walk(net, work.archs, state[0], tree.at, start=self.length, prefix=work.prefix)
        trunk.learn(tree)

        def at_node(node: Node) -> AbstractContextManager[object]:
            return use_statistics(net, trunk.statistics.get(node, {}))

        for state, batch in zip(trunk.evaluate(work.level, work.path, work.pieces), self.batches, strict=True):
            sums = torch.zeros(len(work.archs), len(batch.images), dtype=torch.float64, device=self.device)

            def at_leaf(member: int, predictions: list[Tensor], batch: FlowBatch = batch, sums: Tensor = sums) -> None:
                flow = accumulate(predictions)[-1]
                flow = flow * self.flow_divisor if self.flow_divisor != 1.0 else flow
                sums[member] = sample_errors(flow, batch.flow, batch.valid)[0]

            walk(net, work.archs, state[0], at_node, at_leaf, start=self.length, prefix=work.prefix)
            found.append(sums)
        return found

    # ---- memory and time ----

    def estimate(self, archs: Sequence[Arch]) -> Estimate:
        """What :meth:`score` will cost.  Times a trial, which takes a few seconds (evaluate/tree/trial.py)."""
        units = self.units(archs)
        work = {size: tree_work(self.net, archs, size) for size in self.sizes[0] | self.sizes[1]}
        calibrating, evaluating = ([(work[size], n) for size, n in sizes.items()] for sizes in self.sizes)
        pieces = {_size(state): batch for state, batch in zip(self.images.evaluation, self.batches, strict=True)}

        def seconds(few: Sequence[Unit], calibration: Sequence[FlowBatch], evaluation: Sequence[FlowBatch]) -> float:
            self.check_stop()
            tree = TreeEvaluator(self.net, calibration, [evaluation], exact=self.exact)
            return quickest(lambda: tree.score(archs, few), skip=len(few) > 1)

        trial = Trial(self.net, archs, units, {size: tree for size, (tree, _) in work.items()}, seconds)
        return Estimate(
            units=len(units),
            nodes=sum(map(len, node_counts(self.net, archs))),
            calibration_macs=sum(tree.calibration * n for (tree, _), n in calibrating),
            evaluation_macs=sum(tree.evaluation * n for (tree, _), n in evaluating),
            one_by_one_macs=sum(alone.calibration * n for (_, alone), n in calibrating)
            + sum(alone.evaluation * n for (_, alone), n in evaluating),
            memory_bytes=sum(map(self._kept_bytes, self._levels(archs))) + self._working_bytes(),
            data_bytes=self._data_bytes(),
            seconds=trial.seconds(*self.sizes, self.calibration[0], pieces),
        )

    def _kept_bytes(self, level: int) -> int:
        """Bytes of all samples' features in front of stage ``level``."""
        return sum(self._state_bytes(size)[level] * n for sizes in self.sizes for size, n in sizes.items())

    def _levels(self, archs: Sequence[Arch]) -> list[int]:
        """The trunk levels whose features are kept under the memory bound."""
        stages, visits = self.net.stages[: self.length], [len(nodes) for nodes in node_counts(self.net, archs)]
        branching = [bool(level) and stage.choice is not None for level, stage in enumerate(stages)]
        sizes = [self._kept_bytes(level) if branches else 0 for level, branches in enumerate(branching)]
        if self.memory is None or not any(branching):
            return [level for level, size in enumerate(sizes) if size]
        need = self._working_bytes()
        if need > self.memory:
            raise ConfigError(
                f"memory of {self.memory:,} bytes is less than the {need:,} bytes that the smallest piece of work "
                "needs; raise it, or use smaller calibration batches"
            )
        costs = stage_macs(self.net.space, self.net.width, archs[0], *_size(self.images.calibration[0]))
        return choose_levels([costs[stage.name] for stage in stages], visits[: self.length], sizes, self.memory - need)

    def _data_bytes(self) -> int:
        """Bytes of the sets, of the prepared images and of the lists of valid pixels."""
        batches = [*self.calibration, *self.batches]
        tensors = [tensor for batch in batches for tensor in batch]
        tensors += [state[0] for state in (*self.images.calibration, *self.images.evaluation)]
        tensors += [part for pixels in self.pixel_lists for part in (pixels.label, pixels.places, pixels.blocks)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _state_bytes(self, size: Size) -> list[int]:
        """Bytes of one sample's features in front of every stage."""
        return [size[0] * size[1] * pixel // PROBE**2 + context for pixel, context in self.probe]

    @cached_property
    def probe(self) -> list[tuple[int, int]]:
        """Bytes in front of every stage where the image is PROBE x PROBE: features, which grow with it, and context."""
        state: State = (self.images.calibration[0][0].new_zeros(1, 6, PROBE, PROBE), None)
        found, was_training = [], self.net.training
        self.net.eval()
        try:
            for index in range(len(self.net.stages)):
                found.append(tuple(0 if part is None else part.numel() * part.element_size() for part in state))
                if self.net.stages[index].output is None:
                    with torch.no_grad():
                        state = advance(self.net, index, state, 0)
        finally:
            self.net.train(was_training)
        return [(features, context) for features, context in found]

    def _working_bytes(self) -> int:
        """The largest piece of work: a calibration batch through the heads, or the evaluation pieces side by side."""
        threads = 1 if self.exact else torch.get_num_threads()
        found = []
        for state in self.images.calibration:
            shapes = self._state_bytes(_size(state))
            found.append(len(state[0]) * (4 * max(shapes[: self.length + 1]) + 3 * max(shapes)))
        for state in self.images.evaluation:
            found.append(threads * len(state[0]) * WORKING_MAPS * max(self._state_bytes(_size(state))))
        return max(found)


def _size(state: State) -> Size:
    """Of prepared images."""
    return state[0].shape[2], state[0].shape[3]


def _sizes(states: Sequence[State]) -> Counter[Size]:
    """Samples by size."""
    return Counter(_size(state) for state in states for _ in state[0])


def _parts(batch: FlowBatch, size: int | None) -> Iterator[FlowBatch]:
    for start in range(0, len(batch.images), size or len(batch.images)):
        yield FlowBatch(*(tensor[start : start + (size or len(batch.images))] for tensor in batch))
