"""The trunk of the tree, kept between neighbouring units: both walks, for all batches.

Features of a level (those that a branching stage takes) are kept for the current path only, so the bound is one set
of features a kept level.  Whatever is not kept is computed again from the nearest kept level above, with the same
operations on the same shapes: the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeflownas.evaluate.recalibrate import MomentTree, NodeStatistics, Statistics
from edgeflownas.evaluate.tree.pieces import Pieces
from edgeflownas.evaluate.walk import Node
from edgeflownas.models.batchnorm import record_moments, use_statistics
from edgeflownas.models.stages import StagedNet

__all__ = ["Trunk", "choose_levels"]


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


@dataclass
class _Level:
    """Features of all calibration batches and evaluation pieces at one level of the current path."""

    options: tuple[int, ...]
    calibration: Sequence[Tensor]
    evaluation: Sequence[Tensor]


@dataclass
class Trunk:
    """Stages 0 to ``length`` - 1 of ``net`` over fixed inputs (prepared images); ``levels`` are kept."""

    net: StagedNet
    length: int
    calibration: Sequence[Tensor]
    evaluation: Sequence[Tensor]
    levels: Sequence[int]
    kept: dict[int, _Level] = field(default_factory=dict)
    moments: NodeStatistics = field(default_factory=dict)

    def enter(self, options: tuple[int, ...], pieces: Pieces) -> _Level:
        """Bring the kept levels to the path with ``options`` (one a trunk stage); the deepest of them."""
        start, level = 0, _Level((), self.calibration, self.evaluation)
        for depth in self.levels:
            if depth not in self.kept or self.kept[depth].options != options[:depth]:
                self.kept = {place: old for place, old in self.kept.items() if place < depth}
                tree = MomentTree()
                calibration = list(self._calibrate(level, options, depth, tree, pieces))
                self.moments.update(tree.statistics(self.dtype))
                evaluation = list(self.evaluate(level, options, depth, pieces))
                self.kept[depth] = _Level(options[:depth], calibration, evaluation)
            start, level = depth, self.kept[depth]
        return level

    @property
    def dtype(self) -> torch.dtype:
        """Of the network, hence of the statistics."""
        return next(self.net.parameters()).dtype
