"""How long a ranking will take, from a few neighbouring units timed warm on a few samples.

Of the same units the cost of a calibration sample, of an evaluation sample of each frame size, and what a unit costs
besides are found apart, as differences: the first two grow with their multiply-adds, the rest with nodes.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from edgeflownas.evaluate.tree.units import Size, Unit, Work, node_counts, tree_work
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.space import Arch

SECONDS = 0.15  # about what one pass may take, unless the smallest piece of work takes longer
UNITS = 9  # timed at most
SIZES = 3  # frame sizes timed at most, those with the most pixels in all
COPIES = 8  # batches or pieces added at most to see what one of them costs


class Trial(NamedTuple):
    """What is timed; ``seconds_of`` scores units on batches and says how long those behind the first of them took."""

    net: StagedNet
    archs: Sequence[Arch]
    units: Sequence[Unit]
    work: Mapping[Size, Work]
    """Of all of them on one sample, by size."""
    seconds_of: Callable[[Sequence[Unit], Sequence[FlowBatch], Sequence[FlowBatch]], float]

    def seconds(
        self,
        calibration: Counter[Size],
        evaluation: Counter[Size],
        batch: FlowBatch,
        pieces: Mapping[Size, FlowBatch],
    ) -> float:
        """Seconds of everything.

        Args:
            calibration: samples by padded frame size.
            evaluation: the same.
            batch: a calibration batch.
            pieces: an evaluation piece of each padded frame size.
        """
        threads, sizes = torch.get_num_threads(), sorted(pieces, key=lambda s: -s[0] * s[1] * evaluation[s])[:SIZES]
        least = min(sizes, key=lambda size: size[0] * size[1])
        smallest = [_cut(batch, 1)], [_cut(pieces[least], 1)] * threads
        afford = max(1, int(SECONDS / self.seconds_of(self._middle(1), *smallest)))
        units, few = self._middle(min(UNITS, afford // 2 + 1)), _cut(batch, afford)
        first = [_cut(pieces[least], afford)] * threads
        base = self.seconds_of(units, [few], first)

        more = max(1, min(COPIES, afford) // len(few.images))
        each = (self.seconds_of(units, [few] * (1 + more), first) - base) / (more * len(few.images))
        fixed = base - max(each, 0.0) * len(few.images)
        total = max(each, 0.0) * sum(number * self._ratio(units, size)[0] for size, number in calibration.items())
        measured = macs = 0.0
        for size in sizes:
            larger = size[0] * size[1] / (least[0] * least[1])
            piece = _cut(pieces[size], max(1, int(afford / larger)))
            extra = [piece] * (threads * max(1, int(min(COPIES, afford) / larger / len(piece.images))))
            seconds = self.seconds_of(units, [few], [*first, *extra]) - base
            each = max(seconds, 0.0) / (len(extra) * len(piece.images))
            fixed -= each * len(first) * len(first[0].images) if size == least else 0.0
            measured += each * evaluation[size] * self._ratio(units, size)[1]
            macs += evaluation[size] * self.work[size].evaluation
        whole = sum(self.work[size].evaluation * n for size, n in evaluation.items())
        return total + measured * whole / macs + max(fixed, 0.0) * self._nodes(self.archs) / self._timed_nodes(units)

    def _middle(self, count: int) -> Sequence[Unit]:
        """A unit in the middle of the list and ``count`` behind it, as far as there are so many."""
        start = max(0, min(len(self.units) // 2, len(self.units) - 1 - count))
        return self.units[start : start + count + 1]

    def _ratio(self, units: Sequence[Unit], size: Size) -> tuple[float, float]:
        """Multiply-adds of all archs against those that are timed: calibration, evaluation."""
        whole, first = self.work[size], self._of(units[: len(units) > 1])
        timed = tree_work(self.net, self._of(units), size)[0]
        before = tree_work(self.net, first, size)[0] if first else Work(0, 0)
        return (
            whole.calibration / (timed.calibration - before.calibration),
            whole.evaluation / (timed.evaluation - before.evaluation),
        )

    def _timed_nodes(self, units: Sequence[Unit]) -> int:
        first = self._of(units[: len(units) > 1])
        return self._nodes(self._of(units)) - (self._nodes(first) if first else 0)

    def _nodes(self, archs: Sequence[Arch]) -> int:
        return sum(map(len, node_counts(self.net, archs)))

    def _of(self, units: Sequence[Unit]) -> list[Arch]:
        return [self.archs[member] for unit in units for member in unit.members]


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
        if best > 2 * SECONDS:
            break
    return best


def _cut(batch: FlowBatch, most: int) -> FlowBatch:
    return FlowBatch(*(tensor[:most] for tensor in batch))
