"""What several rules read from a history: cleaned series, their noise, and the pool's levels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.diagnosis.curves import LEAST, cleaned
from edgeflownas.report.diagnosis.findings import needs
from edgeflownas.report.diagnosis.statistics import MAD_TO_SD, noise_of, recent, resolution
from edgeflownas.report.histories import History

Array = NDArray[np.float64]
LABELS = ("split_label", "eval_set", "calibration_set", "eval_samples_per_arch", "epe_protocol", "pool_size")
"""Columns that say what an EPE belongs to."""


def values_of(history: History, name: str) -> Array:
    """A column [E] that must be there.  Leaves the rule as not judged where no row has it."""
    needs(name in history.columns, f"the column {name}")
    return history.column(name)


def series(history: History, name: str, least: int = LEAST) -> tuple[Array, Array]:
    """Epochs and values of a column without gaps, non-finite values and outliers; at least ``least`` of them."""
    values = values_of(history, name)
    finite = int(np.isfinite(values).sum())
    needs(finite >= least, f"at least {least} evaluations with {name}, there are {finite}")
    epochs, kept = cleaned(history.epochs.astype(np.float64), values)
    needs(len(kept) >= least, f"at least {least} evaluations with {name} that are no outliers, there are {len(kept)}")
    return epochs, kept


def whole_pool(history: History, least: int) -> tuple[NDArray[np.int64], Array]:
    """Epochs [e] and EPE [e, A] in px of the evaluations in which every arch of the last pool has a finite EPE."""
    whole = np.isfinite(history.epes).all(axis=1)
    count = int(whole.sum())
    needs(count >= least, f"at least {least} evaluations with the EPE of every arch, there are {count}")
    return history.epochs[whole], history.epes[whole]


def jitter(epes: Array) -> float:
    """Standard deviation in px of one arch's EPE from epoch to epoch.

    The movement common to the pool and each arch's own smooth trend are taken away first: second differences of EPE
    minus the pool's median, by their median absolute deviation.

    Args:
        epes: [e, A], at least three epochs and two archs.
    """
    apart = epes - np.median(epes, axis=1, keepdims=True)
    spread = float(MAD_TO_SD * np.median(np.abs(np.diff(apart, 2, axis=0)))) / math.sqrt(6.0)
    return max(spread, resolution(epes) / math.sqrt(12.0))


def mean_noise(history: History, values: Array) -> float:
    """Standard deviation in px of the pool's mean EPE: from its own second differences, or from the archs' jitter."""
    whole = np.isfinite(history.epes).all(axis=1)
    own = noise_of(values)
    if history.pool_size < 4 or int(whole.sum()) < LEAST:
        return own
    return max(own, jitter(history.epes[whole]) / math.sqrt(history.pool_size))


def recent_levels(epes: Array) -> Array:
    """EPE [A] of each arch in px over the recent evaluations: its median distance to the pool's mean, plus the mean."""
    last = epes[recent(len(epes))]
    means = last.mean(axis=1, keepdims=True)
    return np.asarray(np.median(last - means, axis=0) + float(np.median(means)), dtype=np.float64)


def label(history: History, index: int) -> str:
    """``arch 2 (2,2,2,...)``: an arch by index, with its code where it is known."""
    code = history.codes[index] if index < len(history.codes) else ""
    return f"arch {index}" + (f" ({code})" if code else "")


def comparable(history: History) -> History:
    """The part since the last change of samples, protocol or pool: only its EPEs may stand in one curve."""
    starts = [epoch for name in LABELS for epoch, _, _ in changes(history, name)]
    place = int(np.searchsorted(history.epochs, max(starts))) if starts else 0
    return replace(history, rows=history.rows[place:], epes=history.epes[place:]) if place else history


def span(epochs: NDArray[np.int64]) -> tuple[int, ...]:
    """First and last of some epochs."""
    return (int(epochs[0]), int(epochs[-1])) if len(epochs) > 1 else tuple(map(int, epochs))


def changes(history: History, name: str) -> list[tuple[int, str, str]]:
    """(epoch, before, after) wherever a column takes another value than the last one known."""
    found: list[tuple[int, str, str]] = []
    before: str | None = None
    for epoch, value in zip(history.epochs, history.text(name), strict=True):
        if value is None:
            continue
        if before is not None and value != before:
            found.append((int(epoch), before, value))
        before = value
    return found
