"""Every arch of a list on fixed sets, exactly, by the tree of shared prefixes (docs/adr/0019-prefix-tree-in-units.md).

``for scores in TreeEvaluator(net, calibration, [evaluation]).score(list(net.space))`` gives, unit by unit, the
positions of its archs (``scores.unit.members``) and their summed errors on every sample (``scores.sums[0]``).

The trunk is every stage before the first prediction.  All archs that agree on its choices share its features, so a unit
(the archs below one trunk prefix; v1: 81 units of 243 archs) is the piece of work that is done, kept, resumed and dealt
to processes as a whole.  For each unit two walks: one over whole calibration batches in training mode with moments
pooled at every node, one over the evaluation samples with those statistics.  Prefix-sharing is exact: a node's features
depend on the digits before it alone (docs/concepts.md).

Two paths.  ``exact``: the network's own stages on whole batches, so that moments and predictions are those of
``net.subnet(code)`` to the bit at equal batch shapes and threads, and the errors those of evaluate/pool.py.  Otherwise
the trunk is the network's own, one sample at a time, and the heads are fused (evaluate/heads.py).
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.calibration import (
    MomentTree,
    Node,
    NodeStatistics,
    State,
    Statistics,
    advance,
    network_mode,
    walk,
)
from edgeflownas.evaluate.heads import Heads, ValidPixels, Workers, can_fuse
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.metrics import epe, sample_errors
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.models.batchnorm import record_moments, use_statistics
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.models.graph import stage_macs
from edgeflownas.space import Arch

Size = tuple[int, int]  # rows and columns of a frame, padded as the network pads them
Path = tuple[int, ...]  # one option a stage, from the first on

PROBE = 32  # rows and columns of the image by which features are measured
GPU_CHUNK = 16  # samples of a chunk where one device runs all; a CPU's threads take one sample each
WORKING_MAPS = 8  # maps of the last features' size that a chunk holds at a time, the errors' working set included
TRIAL_SECONDS = 0.15  # about what one timed pass may take, unless the smallest piece of work takes longer
TRIAL_UNITS = 9  # timed at most
TRIAL_SIZES = 3  # frame sizes timed at most, those with the most pixels in all
TRIAL_COPIES = 8  # batches or chunks added at most to see what one of them costs


# ---- units and what they cost ----


@dataclass(frozen=True)
class Unit:
    """``prefix``: digits of the trunk's choices in chain order; ``members``: positions of its archs in the list."""

    prefix: tuple[int, ...]
    members: tuple[int, ...]


@dataclass(frozen=True)
class UnitScores:
    """What one unit's archs did on every sample."""

    unit: Unit
    sums: tuple[Tensor, ...]
    """float64 [A_unit, N_set] on the host, one a set: end-point errors (px) summed over a sample's valid pixels."""


@dataclass(frozen=True)
class Estimate:
    """What a list of archs will cost; multiply-adds are nominal (models/graph.py), over all samples."""

    units: int
    nodes: int
    """Distinct (prefix, option) stages, predictions included."""
    calibration_macs: int
    evaluation_macs: int
    one_by_one_macs: int
    """What the same archs cost one after the other, calibration and evaluation together."""
    memory_bytes: int
    """Largest memory for features at a time, beside the data sets themselves (``data_bytes``)."""
    data_bytes: int
    seconds: float
    """Scaled from a timed trial."""


class Work(NamedTuple):
    """Nominal multiply-adds of one sample.  Calibration runs no prediction: none holds a batch norm."""

    calibration: int
    evaluation: int


def trunk_length(net: StagedNet) -> int:
    """Number of stages before the first prediction."""
    return next(i for i, stage in enumerate(net.stages) if stage.output is not None)


def units_of(net: StagedNet, archs: Sequence[Arch]) -> list[Unit]:
    """Units of ``archs`` in tree order (by prefix); members in the order of ``archs``."""
    groups: dict[tuple[int, ...], list[int]] = {}
    choices = [stage.choice for stage in net.stages[: trunk_length(net)] if stage.choice is not None]
    for position, arch in enumerate(archs):
        groups.setdefault(tuple(arch[choice] for choice in choices), []).append(position)
    return [Unit(prefix, tuple(members)) for prefix, members in sorted(groups.items())]


def node_counts(net: StagedNet, archs: Sequence[Arch]) -> list[dict[tuple[int, ...], int]]:
    """For every stage its nodes: the digits that lead to it and its own, with the position of an arch that has them.

    A prediction depends on the features it is made from and on its own digit, not on other predictions' digits.
    """
    found: list[dict[tuple[int, ...], int]] = []
    before: list[int] = []
    for stage in net.stages:
        own = before if stage.choice is None else [*before, stage.choice]
        found.append({tuple(arch[choice] for choice in own): position for position, arch in enumerate(archs)})
        if stage.output is None:
            before = own
    return found


def tree_work(net: StagedNet, archs: Sequence[Arch], size: Size) -> tuple[Work, Work]:
    """Work of the archs' tree on one sample of ``size``, and of the archs one after the other."""
    tree, alone = [0, 0], [0, 0]
    for stage, nodes in zip(net.stages, node_counts(net, archs), strict=True):
        own = [0 if stage.choice is None else arch[stage.choice] for arch in archs]
        examples = dict(zip(own, archs, strict=True))  # a stage costs what its own option does
        costs = {d: stage_macs(net.space, net.width, arch, *size)[stage.name] for d, arch in examples.items()}
        for total, digits in ((tree, [own[position] for position in nodes.values()]), (alone, own)):
            macs = sum(costs[digit] for digit in digits)
            total[0] += macs if stage.output is None else 0
            total[1] += macs
    return Work(*tree), Work(*alone)


# ---- trunk ----


def choose_levels(costs: Sequence[float], visits: Sequence[int], sizes: Sequence[int], memory: int | None) -> list[int]:
    """The levels to keep: those that fit into ``memory`` bytes together and leave the least to compute again.

    Args:
        costs: of every trunk stage, run once.
        visits: distinct prefixes of every stage, itself included; a stage that is not kept behind runs as often as the
            next kept level, or at last the trunk's end, has prefixes.
        sizes: bytes of the features that each stage takes (level i), 0 where nothing branches there.
        memory: bytes; None keeps every branching level.
    """
    levels = [level for level, size in enumerate(sizes) if size]
    if memory is None:
        return levels
    best: tuple[float, int, tuple[int, ...]] = (math.inf, 0, ())
    for kept in itertools.chain.from_iterable(
        itertools.combinations(levels, count) for count in range(len(levels) + 1)
    ):
        total = sum(sizes[level] for level in kept)
        if total <= memory:
            ends = [next((level for level in kept if level > stage), len(costs)) for stage in range(len(costs))]
            work = sum(cost * visits[end - 1] for cost, end in zip(costs, ends, strict=True))
            best = min(best, (work, total, kept))
    return list(best[2])


class Features(NamedTuple):
    """States of all calibration batches and evaluation chunks where the first stages have the options ``path``."""

    path: Path
    calibration: Sequence[State]
    evaluation: Sequence[State]


class Trunk:
    """The stages of ``net`` before the first prediction, kept between neighbouring units: both walks, for all batches.

    Features of the ``levels`` (those that a branching stage takes) are kept for the current path only, so the bound is
    one set of features a kept level.  Whatever is not kept is computed again from the nearest kept level above, with
    the same operations on the same shapes: the same bits.
    """

    def __init__(self, net: StagedNet, images: Features, levels: Sequence[int], workers: Workers) -> None:
        self.net, self.images, self.levels, self.workers = net, images, levels, workers
        self.length = trunk_length(net)
        self.kept: dict[int, Features] = {}
        self.statistics: NodeStatistics = {}
        """Of the nodes of the current path, as far as they are known."""

    def enter(self, prefix: Sequence[int]) -> tuple[Features, Path]:
        """Bring the kept levels to the digits ``prefix``; the deepest of them, and the path to the trunk's end."""
        digits = iter(prefix)
        path = tuple(0 if stage.choice is None else next(digits) for stage in self.net.stages[: self.length])
        features = self.images
        for depth in self.levels:
            if depth not in self.kept or self.kept[depth].path != path[:depth]:
                for stale in [place for place in self.kept if place >= depth]:
                    del self.kept[stale]  # before the new ones are made
                tree, part = MomentTree(), path[:depth]
                calibration = list(self.calibrate(features, part, tree))
                self.learn(tree)
                self.kept[depth] = Features(part, calibration, list(self.evaluate(features, part)))
            features = self.kept[depth]
        return features, path

    def calibrate(self, features: Features, path: Path, tree: MomentTree) -> Iterator[State]:
        """Run every calibration batch on from ``features`` to the end of ``path``, moments into ``tree``."""
        with network_mode(self.net, training=True), record_moments(self.net, tree):
            for state in features.calibration:
                self.workers.check_stop()
                for node in self._nodes(features, path):
                    with tree.at(node):
                        state = advance(self.net, node[0], state, node[2])
                yield state

    def learn(self, tree: MomentTree) -> None:
        """Take over the pooled moments of ``tree``; those of other paths at the same stages are forgotten."""
        stages = {node[0] for node in tree.nodes}
        others = {node: found for node, found in self.statistics.items() if node[0] not in stages}
        self.statistics = {**others, **tree.statistics(next(self.net.parameters()).dtype)}

    def advance(self, features: Features, path: Path, state: State) -> State:
        """Run one chunk on from ``features`` to the end of ``path``; within :meth:`evaluating` only."""
        for node in self._nodes(features, path):
            state = advance(self.net, node[0], state, node[2])
        return state

    def evaluate(self, features: Features, path: Path) -> Iterator[State]:
        """Run every evaluation chunk on from ``features`` to the end of ``path`` with the statistics learned."""
        with self.evaluating(features, path):
            yield from self.workers.map(lambda state: self.advance(features, path, state), features.evaluation)

    @contextmanager
    def evaluating(self, features: Features, path: Path) -> Iterator[None]:
        """Evaluation mode with the statistics of the nodes between ``features`` and the end of ``path``."""
        lent: Statistics = {}  # along one path every batch norm has one place
        for node in self._nodes(features, path):
            lent.update(self.statistics.get(node, {}))
        with network_mode(self.net, training=False), use_statistics(self.net, lent):
            yield

    def _nodes(self, features: Features, path: Path) -> list[Node]:
        choices = [stage.choice is not None for stage in self.net.stages]
        return [
            (index, tuple(itertools.compress(path[:index], choices)), path[index])
            for index in range(len(features.path), len(path))
        ]


# ---- evaluator ----


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
        check_stop: called between chunks of work; may raise to abandon.

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
        chunk = None if self.exact else GPU_CHUNK if self.device.type == "cuda" else 1
        self.batches = [part for batches in sets for batch in batches for part in _chunks(batch, chunk)]
        dtype = next(net.parameters()).dtype
        self.valid = [] if self.exact else [ValidPixels.of(batch, dtype) for batch in self.batches]
        prepared = ([(net.prepare(batch.images), None) for batch in part] for part in (calibration, self.batches))
        self.images = Features((), *prepared)
        self.sizes = _sizes(self.images.calibration), _sizes(self.images.evaluation)
        self.pixels = [torch.cat([batch.valid.sum((1, 2)).cpu() for batch in batches]) for batches in sets]

    @cached_property
    def zero_flow_epes(self) -> list[float]:
        """EPE of predicting no motion on the same pixels of every set, px.  Raises DataError without a valid pixel."""
        found = []
        for batches, pixels in zip(self.sets, self.pixels, strict=True):
            sums = [sample_errors(torch.zeros_like(b.flow), b.flow, b.valid)[0].cpu() for b in batches]
            found.append(epe(torch.cat(sums), pixels))
        return found

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
        counts = [len(pixels) for pixels in self.pixels]
        with Workers(self.device, self.check_stop, parallel=not self.exact) as workers:
            trunk = Trunk(self.net, self.images, self._levels(archs), workers)
            heads = None if self.exact else Heads(self.net, self.length, self.flow_divisor, workers)
            for unit in chosen:
                members = [archs[member] for member in unit.members]
                with torch.no_grad(), full_precision():
                    if heads is None:
                        found = self._exact(trunk, unit.prefix, members)
                    else:
                        found = self._fused(trunk, heads, unit.prefix, members)
                yield UnitScores(unit, torch.cat(found, 1).cpu().split(counts, 1))

    def epes(self, archs: Sequence[Arch]) -> Tensor:
        """EPE of every arch, px, pooled over the valid pixels of the first set: float64 [A]."""
        sums = torch.zeros(len(archs), dtype=torch.float64)
        for scores in self.score(archs):
            sums[list(scores.unit.members)] = scores.sums[0].sum(1)
        return sums / self.pixels[0].sum()

    def _fused(self, trunk: Trunk, heads: Heads, prefix: tuple[int, ...], archs: list[Arch]) -> list[Tensor]:
        """Summed errors [A_unit, samples of the chunk] of every chunk."""
        (features, path), tree = trunk.enter(prefix), MomentTree()
        for state in trunk.calibrate(features, path, tree):
            heads.calibrate(state[0], archs, prefix, tree)
        trunk.learn(tree)
        folded = heads.fold(trunk.statistics)

        def errors(chunk: int) -> Tensor:
            last = trunk.advance(features, path, features.evaluation[chunk])[0]
            return heads.errors(last, self.valid[chunk], archs, prefix, folded)

        with trunk.evaluating(features, path):
            return list(trunk.workers.map(errors, range(len(self.batches))))

    def _exact(self, trunk: Trunk, prefix: tuple[int, ...], archs: list[Arch]) -> list[Tensor]:
        (features, path), tree, found = trunk.enter(prefix), MomentTree(), []
        for state in trunk.calibrate(features, path, tree):
            walk(self.net, archs, state[0], tree.at, start=self.length, prefix=prefix)
        trunk.learn(tree)
        lend = lambda node: use_statistics(self.net, trunk.statistics.get(node, {}))  # noqa: E731
        for state, batch in zip(trunk.evaluate(features, path), self.batches, strict=True):
            sums = torch.zeros(len(archs), len(batch.images), dtype=torch.float64, device=self.device)

            def at_leaf(member: int, predictions: list[Tensor], batch: FlowBatch = batch, sums: Tensor = sums) -> None:
                flow = accumulate(predictions)[-1]
                flow = flow * self.flow_divisor if self.flow_divisor != 1.0 else flow
                sums[member] = sample_errors(flow, batch.flow, batch.valid)[0]

            walk(self.net, archs, state[0], lend, at_leaf, start=self.length, prefix=prefix)
            found.append(sums)
        return found

    # ---- memory and time ----

    def estimate(self, archs: Sequence[Arch]) -> Estimate:
        """What :meth:`score` will cost.  Times a trial, which takes a few seconds."""
        work = {size: tree_work(self.net, archs, size) for size in self.sizes[0] | self.sizes[1]}
        calibrating, evaluating = ([(work[size], n) for size, n in sizes.items()] for sizes in self.sizes)
        tensors = [tensor for batch in (*self.calibration, *self.batches) for tensor in batch]
        tensors += [state[0] for state in (*self.images.calibration, *self.images.evaluation)]
        tensors += [part for own in self.valid for part in (own.label, own.places, own.blocks)]
        return Estimate(
            units=len(self.units(archs)),
            nodes=sum(map(len, node_counts(self.net, archs))),
            calibration_macs=sum(tree.calibration * n for (tree, _), n in calibrating),
            evaluation_macs=sum(tree.evaluation * n for (tree, _), n in evaluating),
            one_by_one_macs=sum(alone.calibration * n for (_, alone), n in calibrating)
            + sum(alone.evaluation * n for (_, alone), n in evaluating),
            memory_bytes=sum(map(self._kept_bytes, self._levels(archs))) + self._working_bytes(),
            data_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
            seconds=self._seconds(archs, {size: tree for size, (tree, _) in work.items()}),
        )

    def _seconds(self, archs: Sequence[Arch], work: Mapping[Size, Work]) -> float:
        """Seconds of :meth:`score`, from a few neighbouring units timed warm on a few samples.

        ``work`` is that of one sample of each size.  What a node costs, a multiply-add of calibration, and one of
        evaluation at each frame size are told apart by trials of the same units that have more of one of them each.
        """
        units, threads, samples = self.units(archs), torch.get_num_threads(), self.sizes[1]
        chunks = {_size(state): batch for state, batch in zip(self.images.evaluation, self.batches, strict=True)}
        sizes = sorted(chunks, key=lambda size: -size[0] * size[1] * samples[size])[:TRIAL_SIZES]
        least = min(sizes, key=math.prod)

        def costs(
            archs: Sequence[Arch],
            calibration: Counter[Size],
            evaluation: Counter[Size],
            work: Mapping[Size, Work] | None = None,
        ) -> NDArray[np.float64]:
            """Nodes, multiply-adds of calibration, and those of evaluation by size."""
            work = work or {size: tree_work(self.net, archs, size)[0] for size in calibration | evaluation}
            calibrating = sum(work[size].calibration * number for size, number in calibration.items())
            evaluating = [work[size].evaluation * evaluation[size] if evaluation[size] else 0 for size in sizes]
            return np.array([sum(map(len, node_counts(self.net, archs))), calibrating, *evaluating], np.float64)

        def trial(
            count: int, calibration: Sequence[FlowBatch], evaluation: Sequence[FlowBatch]
        ) -> tuple[NDArray[np.float64], float]:
            """Costs of ``count`` units in the middle of the list, and their seconds behind the unit before them."""
            self.check_stop()
            start = max(0, min(len(units) // 2, len(units) - 1 - count))
            few = units[start : start + count + 1]
            members = [[archs[member] for member in unit.members] for unit in few]
            tree = TreeEvaluator(self.net, calibration, [evaluation], exact=self.exact)
            own = costs(sum(members, []), *tree.sizes) - (costs(members[0], *tree.sizes) if len(few) > 1 else 0)
            return own, quickest(lambda: tree.score(archs, few), skip=len(few) > 1)

        smallest = trial(1, [_cut(self.calibration[0], 1)], [_cut(chunks[least], 1)] * threads)[1]
        afford = max(1, int(TRIAL_SECONDS / smallest))
        count, few = min(TRIAL_UNITS, afford // 2 + 1), _cut(self.calibration[0], afford)
        first = [_cut(chunks[least], afford)] * threads
        trials = [trial(count, [few], first)]
        trials.append(trial(count, [few] * (1 + max(1, min(TRIAL_COPIES, afford) // len(few.images))), first))
        for size in sizes:
            larger = math.prod(size) / math.prod(least)
            chunk = _cut(chunks[size], max(1, int(afford / larger)))
            copies = max(1, int(min(TRIAL_COPIES, afford) / larger / len(chunk.images)))
            trials.append(trial(count, [few], [*first, *[chunk] * (threads * copies)]))
        whole = costs(archs, *self.sizes, work)
        evaluating = sum(work[size].evaluation * number for size, number in samples.items())
        whole[2:] *= evaluating / whole[2:].sum()  # sizes that are not timed cost what the others do
        shares = np.stack([own for own, _ in trials]) / whole
        return float(np.linalg.solve(shares, [seconds for _, seconds in trials]).clip(0.0).sum())

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

    def _kept_bytes(self, level: int) -> int:
        """Bytes of all samples' features in front of stage ``level``."""
        return sum(self._state_bytes(size)[level] * n for sizes in self.sizes for size, n in sizes.items())

    def _state_bytes(self, size: Size) -> list[int]:
        """Bytes of one sample's features in front of every stage."""
        return [size[0] * size[1] * pixel // PROBE**2 + context for pixel, context in self.probe]

    @cached_property
    def probe(self) -> list[tuple[int, int]]:
        """Bytes in front of every stage where the image is PROBE x PROBE: features, which grow with it, and context."""
        state: State = (self.images.calibration[0][0].new_zeros(1, 6, PROBE, PROBE), None)
        found = []
        with network_mode(self.net, training=False), torch.no_grad():
            for index, stage in enumerate(self.net.stages):
                features, context = (0 if part is None else part.numel() * part.element_size() for part in state)
                found.append((features, context))
                if stage.output is None:
                    state = advance(self.net, index, state, 0)
        return found

    def _working_bytes(self) -> int:
        """The largest piece of work: a calibration batch through the heads, or the evaluation chunks side by side."""
        threads = 1 if self.exact else torch.get_num_threads()
        found = []
        for state in self.images.calibration:
            shapes = self._state_bytes(_size(state))
            found.append(len(state[0]) * (4 * max(shapes[: self.length + 1]) + 3 * max(shapes)))
        for state in self.images.evaluation:
            found.append(threads * len(state[0]) * WORKING_MAPS * max(self._state_bytes(_size(state))))
        return max(found)


def quickest(score: Callable[[], Iterator[object]], skip: bool) -> float:
    """Seconds of the scores behind the first (with ``skip``), the least of three times unless they take long."""
    best = math.inf
    for _ in range(3):
        started, scores = time.perf_counter(), score()
        if skip:
            next(scores)
            started = time.perf_counter()
        for _ in scores:
            pass
        best = min(best, time.perf_counter() - started)
        if best > 2 * TRIAL_SECONDS:
            break
    return best


def _size(state: State) -> Size:
    """Of prepared images."""
    return state[0].shape[2], state[0].shape[3]


def _sizes(states: Sequence[State]) -> Counter[Size]:
    """Samples by size."""
    return Counter(_size(state) for state in states for _ in state[0])


def _cut(batch: FlowBatch, most: int) -> FlowBatch:
    return FlowBatch(*(tensor[:most] for tensor in batch))


def _chunks(batch: FlowBatch, size: int | None) -> Iterator[FlowBatch]:
    for start in range(0, len(batch.images), size or len(batch.images)):
        yield FlowBatch(*(tensor[start : start + (size or len(batch.images))] for tensor in batch))
