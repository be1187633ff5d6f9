"""The trunk of the tree, kept between neighbouring units: both walks, for all batches.

Features of a level (those that a branching stage takes) are kept for the current path only, so the bound is one set
of features a kept level.  Whatever is not kept is computed again from the nearest kept level above, with the same
operations on the same shapes: the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeflownas.evaluate.recalibrate import MomentTree, NodeStatistics, Statistics
from edgeflownas.evaluate.tree.pieces import Pieces
from edgeflownas.evaluate.walk import Node, State, advance
from edgeflownas.models.batchnorm import record_moments, use_statistics
from edgeflownas.models.blocks import StagedNet


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
    best = (float("inf"), 0, ())  # type: tuple[float, int, tuple[int, ...]]
    for count in range(len(levels) + 1):
        for kept in itertools.combinations(levels, count):
            total = sum(sizes[level] for level in kept)
            if total <= memory:
                ends = [next((level for level in kept if level > stage), len(costs)) for stage in range(len(costs))]
                work = sum(cost * visits[end - 1] for cost, end in zip(costs, ends, strict=True))
                best = min(best, (work, total, kept))
    return list(best[2])


class Level(NamedTuple):
    """States of all calibration batches and evaluation pieces where the first stages of a path have ``options``."""

    options: tuple[int, ...]
    calibration: Sequence[State]
    evaluation: Sequence[State]


@dataclass
class Trunk:
    """The stages of ``net`` before ``length`` over fixed inputs (prepared images); ``levels`` are kept."""

    net: StagedNet
    length: int
    images: Level
    levels: Sequence[int]
    kept: dict[int, Level] = field(default_factory=dict)
    statistics: NodeStatistics = field(default_factory=dict)
    """Of the nodes of the current path, as far as they are known."""

    def options(self, prefix: Sequence[int]) -> tuple[int, ...]:
        """One option a stage for the digits of the choices among them."""
        digits = iter(prefix)
        return tuple(0 if stage.choice is None else next(digits) for stage in self.net.stages[: self.length])

    def enter(self, options: tuple[int, ...], pieces: Pieces) -> Level:
        """Bring the kept levels to the path ``options`` (one a stage); the deepest of them."""
        level = self.images
        for depth in self.levels:
            if depth not in self.kept or self.kept[depth].options != options[:depth]:
                for stale in [place for place in self.kept if place >= depth]:
                    del self.kept[stale]  # before the new ones are made
                tree, path = MomentTree(), options[:depth]
                calibration = list(self.calibrate(level, path, tree, pieces))
                self.learn(tree)
                self.kept[depth] = Level(path, calibration, list(self.evaluate(level, path, pieces)))
            level = self.kept[depth]
        return level

    def calibrate(self, level: Level, path: tuple[int, ...], tree: MomentTree, pieces: Pieces) -> Iterator[State]:
        """Run every calibration batch on from ``level`` to the end of ``path``, moments into ``tree``."""
        with _mode(self.net, training=True), record_moments(self.net, tree):
            for state in level.calibration:
                pieces.check_stop()
                for index, node in self._nodes(level, path):
                    with tree.at(node):
                        state = advance(self.net, index, state, node[2])
                yield state

    def learn(self, tree: MomentTree) -> None:
        """Take over the pooled moments of ``tree``; those of other paths at the same stages are forgotten."""
        stages = {node[0] for node in tree.nodes}
        others = {node: found for node, found in self.statistics.items() if node[0] not in stages}
        self.statistics = {**others, **tree.statistics(next(self.net.parameters()).dtype)}

    def advance(self, level: Level, path: tuple[int, ...], state: State) -> State:
        """Run one piece on from ``level`` to the end of ``path``; within :meth:`evaluating` only."""
        for index, node in self._nodes(level, path):
            state = advance(self.net, index, state, node[2])
        return state

    def evaluate(self, level: Level, path: tuple[int, ...], pieces: Pieces) -> Iterator[State]:
        """Run every evaluation piece on from ``level`` to the end of ``path`` with the statistics learned."""
        with self.evaluating(level, path):
            yield from pieces.map(lambda state: self.advance(level, path, state), level.evaluation)

    @contextmanager
    def evaluating(self, level: Level, path: tuple[int, ...]) -> Iterator[None]:
        """Evaluation mode with the statistics of the nodes between ``level`` and the end of ``path``."""
        lent: Statistics = {}  # along one path every batch norm has one place
        for _, node in self._nodes(level, path):
            lent.update(self.statistics.get(node, {}))
        with _mode(self.net, training=False), use_statistics(self.net, lent):
            yield

    def _nodes(self, level: Level, path: tuple[int, ...]) -> list[tuple[int, Node]]:
        choices = [stage.choice is not None for stage in self.net.stages]
        return [
            (index, (index, tuple(itertools.compress(path[:index], choices)), path[index]))
            for index in range(len(level.options), len(path))
        ]


@contextmanager
def _mode(net: StagedNet, training: bool) -> Iterator[None]:
    was_training = net.training
    net.train(training)
    try:
        yield
    finally:
        net.train(was_training)
