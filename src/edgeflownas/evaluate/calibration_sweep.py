"""Whether an arch is hard or only badly calibrated: its EPE under more, fewer and other calibration batches.

The run's frozen calibration set is compared with a second, random sequence of training samples, disjoint from it as far
as the split allows.  Its first n batches are the calibration sets of growing size (one walk, moments of a longer prefix
contain those of a shorter one), and the prefix of the run's own size is the other set.  Everything is scored on the
same evaluation pixels, so changes have paired standard errors.

A change that is not seen may still be there.  So "not calibration" is said only of an arch whose changes are shown to
be smaller than what would have to be explained: its gap to the pool's median EPE (a test of equivalence by interval,
Schuirmann, J. Pharmacokin. Biopharm. 15, 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeflownas.data.dataset import FlowDataset, center_window
from edgeflownas.data.formats import image_size
from edgeflownas.evaluate.frozen import FrozenBatches, FrozenSplit
from edgeflownas.evaluate.noise import paired_change, student95
from edgeflownas.evaluate.pool import PoolEvaluation, full_precision, score_pool, score_recalibrated
from edgeflownas.evaluate.rank_statistics import kendall_tau_b
from edgeflownas.evaluate.recalibrate import recalibrate_prefixes
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.randomness import permutation
from edgeflownas.space import Arch

SIZES = (8, 16, 32, 64)
"""Calibration batches that are always tried, as far as the split holds them."""

Change = tuple[float | None, float | None]
"""Of an arch's EPE and half of its interval, px; None where it is unknown."""


@dataclass(frozen=True)
class ArchVerdict:
    """What calibration does to one arch; px, None where it cannot be told."""

    more: float | None
    """Change of its EPE from a random set of the run's size to the largest set, which contains it."""
    more_margin: float | None
    """Half of its interval that holds at 95 % for the whole pool; this decides the verdict."""
    other: float | None
    """Change of its EPE from the run's own set to a random one of the same size."""
    other_margin: float | None
    total: float | None
    """Change of its EPE from the run's own set to the largest random one."""
    total_margin: float | None
    relevant: float
    """A change as large as this would explain where it stands: see :meth:`CalibrationSweep.relevant`."""
    verdict: str


@dataclass(frozen=True)
class CalibrationSweep:
    """EPEs of a pool under several calibration sets, on the same evaluation pixels."""

    own: PoolEvaluation
    own_batches: int
    others: dict[int, PoolEvaluation]
    """By number of batches of the random sequence, ascending."""

    def verdicts(self) -> list[ArchVerdict]:
        """One for each arch; intervals hold at 95 % for the whole pool (Bonferroni)."""
        same, largest = self.others[self.own_batches], self.others[max(self.others)]
        other, total = self._change(self.own, same), self._change(self.own, largest)
        more = self._change(same, largest) if largest is not same else [(None, None)] * len(other)
        rows = zip(more, other, total, self.relevant(), strict=True)
        return [ArchVerdict(*m, *o, *t, size, _verdict(m, o, t, size)) for m, o, t, size in rows]

    def relevant(self) -> list[float]:
        """Change of EPE in px that would explain where an arch stands, by arch.

        Its gap to the pool's median EPE, and at least the median of all gaps: an arch in the middle stands out from
        nothing, there a change is small beside the usual difference between archs.  0 in a pool of one.
        """
        epes = np.asarray(self.own.epes)
        gaps = np.abs(epes - np.median(epes))
        return [float(gap) for gap in np.maximum(gaps, np.median(gaps))]

    def _change(self, before: PoolEvaluation, after: PoolEvaluation) -> list[Change]:
        """Change and margin of every arch."""
        changes, errors = paired_change(before.sample_epe, after.sample_epe, before.valid_pixels)
        margins = errors * student95(int((before.valid_pixels > 0).sum()), comparisons=len(changes))
        known = np.isfinite(changes) & np.isfinite(margins)
        pairs = zip(changes.tolist(), margins.tolist(), known, strict=True)
        return [(change, margin) if sound else (None, None) for change, margin, sound in pairs]

    def taus(self) -> dict[int, float | None]:
        """Kendall's tau between the ranking by the run's own set and that of each other set, by batches."""
        return {size: kendall_tau_b(self.own.epes, result.epes) for size, result in self.others.items()}


def _verdict(more: Change, other: Change, total: Change, relevant: float) -> str:
    """See docs/evaluation.md, "Calibration sweep"."""
    if all(_within(change, relevant) for change in (more, other, total)):
        return "not calibration"
    if _beyond(more) < 0 and _beyond(total) < 0:
        return "under-calibrated"
    return "depends on the samples" if _beyond(more) or _beyond(other) else "cannot be told"


def _beyond(change: Change) -> int:
    """Sign of a change beyond noise, else 0."""
    value, margin = change
    if value is None or margin is None or abs(value) <= margin:
        return 0
    return 1 if value > 0 else -1


def _within(change: Change, relevant: float) -> bool:
    """Whether the whole interval is nearer to zero than ``relevant``."""
    value, margin = change
    return value is not None and margin is not None and abs(value) + margin < relevant


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
    statistics = recalibrate_prefixes(net, archs, other, sizes[:-1], check_stop)
    found = {
        size: score_recalibrated(net, archs, known, evaluation, check_stop, flow_divisor)
        for size, known in zip(sizes, statistics, strict=True)
    }
    return CalibrationSweep(
        mine, min(len(own), sizes[-1]), {size: replace(r, statistics={}) for size, r in found.items()}
    )
