"""How far a front can be trusted: costs are exact, errors are measured on samples and therefore noisy.

Two rows can be told apart in a noisy objective where they differ by more than t(95 %) standard errors of their
difference (evaluate/noise.py).  Row d *surely dominates* row b where it dominates it, is not worse in any exact
objective, and is better by more than noise in every noisy one.  From this follow two questions (docs/choosing.md):

- a *tie* is off the front, but no row surely dominates it: with other samples it might be on it;
- a member of the front is *sure* where no other row could dominate it with other samples, that is where every row that
  is at most as costly is worse by more than noise.

Every pair is judged by itself at 95 %; nothing is corrected for the number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.evaluate.noise import student95

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
BLOCK = 256  # rows that are compared with the table at once: bounds memory


@dataclass(frozen=True)
class Noise:
    """Of one objective."""

    kind: Literal["paired", "unpaired"]
    samples: int
    bounds: Callable[[Rows, Rows], Floats]
    """Differences within noise at 95 % between rows [R] and others [O]: [R, O], in the objective's unit."""


def paired_noise(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> Noise | None:
    """From the errors [A, N] of the same N samples: what is hard for all cancels.  None with fewer than two samples.

    The residuals are those of the ratio estimator (evaluate/noise.py), their differences are taken by the binomial
    formula, so that many pairs are one matrix product.
    """
    counts = np.asarray(valid_pixels, dtype=np.float64)
    used = counts > 0
    counts = counts[used]
    if len(counts) < 2:
        return None
    samples = len(counts)
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.asarray(sample_epe, dtype=np.float64)[:, used] * counts
        residuals = sums - (sums.sum(axis=1) / counts.sum())[:, None] * counts
    residuals[~np.isfinite(residuals).all(axis=1)] = 0.0  # a network that diverged is no tie of a sound one
    residuals *= student95(samples) * np.sqrt(samples / (samples - 1)) / counts.sum()
    squares = np.square(residuals).sum(axis=1)

    def bounds(rows: Rows, others: Rows) -> Floats:
        total = squares[rows][:, None] + squares[others]
        apart = total - 2.0 * (residuals[rows] @ residuals[others].T)
        return np.asarray(np.sqrt(np.where(apart > 1e-12 * total, apart, 0.0)), dtype=np.float64)

    return Noise("paired", samples, bounds)


def unpaired_noise(standard_errors: ArrayLike, samples: int) -> Noise | None:
    """From the standard error [A] of each row alone, as if each had samples of its own: far too careful, as a rule.

    None where no standard error is known or with fewer than two samples.
    """
    squares = np.square(np.asarray(standard_errors, dtype=np.float64))
    if samples < 2 or not np.isfinite(squares).any():
        return None
    squares = np.nan_to_num(squares, posinf=0.0)
    factor = student95(samples)

    def bounds(rows: Rows, others: Rows) -> Floats:
        return np.asarray(factor * np.sqrt(squares[rows][:, None] + squares[others]), dtype=np.float64)

    return Noise("unpaired", samples, bounds)


def ties(values: Floats, on_front: Mask, noise: Sequence[Noise | None]) -> Mask:
    """Rows of ``values`` [A, K] off the front that no row surely dominates; rows with a nan are none.

    Args:
        values: objectives, to be minimised.
        on_front: pareto.front of them.
        noise: of each objective, None where it is exact (or its noise not known).
    """
    known = ~np.isnan(values).any(axis=1)
    open_rows = known & ~on_front
    for others in (on_front, known & ~on_front):  # most rows fall to a member of the front
        targets = np.flatnonzero(others)
        for rows in _blocks(np.flatnonzero(open_rows)):
            open_rows[rows] = ~_surely_dominated(values, rows, targets, noise).any(axis=1)
    return open_rows


def sure(values: Floats, on_front: Mask, noise: Sequence[Noise | None]) -> Mask:
    """Members of the front that no other row could dominate with other samples."""
    found = on_front.copy()
    targets = np.flatnonzero(~np.isnan(values).any(axis=1))
    for rows in _blocks(np.flatnonzero(on_front)):
        could = rows[:, None] != targets
        may_differ = np.zeros(could.shape, dtype=np.bool_)
        for objective, own in zip(values.T, noise, strict=True):
            bound = 0.0 if own is None else own.bounds(rows, targets)
            could &= objective[targets] - objective[rows][:, None] <= bound
            may_differ |= (objective[targets] < objective[rows][:, None]) | (bound > 0)
        found[rows] = ~(could & may_differ).any(axis=1)
    return found


def like_best(objective: Floats, among: Mask, noise: Noise) -> Mask:
    """Rows of ``among`` whose ``objective`` [A] cannot be told from the lowest one there (itself included)."""
    rows = np.flatnonzero(among)
    best = rows[[int(objective[rows].argmin())]]
    found = np.zeros(len(objective), dtype=np.bool_)
    found[rows] = objective[rows] - objective[best] <= noise.bounds(best, rows)[0]
    return found


def _surely_dominated(values: Floats, rows: Rows, others: Rows, noise: Sequence[Noise | None]) -> Mask:
    """[R, O] whether each of ``rows`` is surely dominated by each of ``others``."""
    all_hold = np.ones((len(rows), len(others)), dtype=np.bool_)
    better = np.zeros_like(all_hold)
    for objective, own in zip(values.T, noise, strict=True):
        gain = objective[rows][:, None] - objective[others]
        bound = 0.0 if own is None else own.bounds(rows, others)
        all_hold &= (gain > bound) | ((gain >= 0) & (bound == 0))  # without noise equal is equal
        better |= gain > 0
    return all_hold & better


def _blocks(rows: Rows) -> Iterator[Rows]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
