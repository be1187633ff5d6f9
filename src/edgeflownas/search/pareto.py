"""Pareto fronts of tables of objectives, all of them to be minimised (negate what is to be maximised).

Row a dominates row b where it is nowhere larger and somewhere smaller.  The front is the rows that nothing dominates;
equal rows do not dominate one another, so they are on it together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def front(values: ArrayLike) -> NDArray[np.bool_]:
    """Whether each of A rows is on the front of ``values`` [A, K], exactly; a row with a nan never is.

    The first row in lexicographic order is on the front; it removes itself and what it dominates, and so on: the work
    is A times K times the size of the front.
    """
    table = _table(values)
    found = np.zeros(len(table), dtype=np.bool_)
    known = np.flatnonzero(~np.isnan(table).any(axis=1))
    left = known[np.lexsort(table[known].T[::-1])]
    while left.size:
        row = table[left[0]]
        rows = table[left]
        found[left[(rows == row).all(axis=1)]] = True
        left = left[(rows < row).any(axis=1)]
    return found


def normalised(values: ArrayLike) -> Floats:
    """``values`` [A, K] with each column from 0 (its smallest) to 1 (its largest); 0 where a column is constant."""
    table = _table(values)
    low = table.min(axis=0, initial=np.inf)
    span = table.max(axis=0, initial=-np.inf) - low
    return np.asarray((table - low) / np.where(span > 0, span, 1.0), dtype=np.float64)


def knee(members: ArrayLike) -> int | None:
    """Row of the front ``members`` [F, K] that lies farthest below the line between its extremes.

    After each objective is scaled to 0..1 over the front, the extremes of two objectives are (0, 1) and (1, 0), and the
    distance of a row from the line between them is (1 - sum) / sqrt(2); with K objectives it is the plane through the K
    unit points (Das, On characterizing the "knee" of the Pareto curve, 1999).  None where no row lies below it: a front
    of fewer than three different rows, or a concave one.  Of equal rows the first.
    """
    scaled = normalised(members)
    if len(scaled) < 3:
        return None
    distance = (1.0 - scaled.sum(axis=1)) / np.sqrt(scaled.shape[1])
    best = int(distance.argmax())
    varies = scaled.max(axis=0) > 0
    return best if varies.all() and distance[best] > 1e-12 else None


def spread(values: ArrayLike, chosen: Sequence[int], count: int) -> list[int]:
    """``count`` rows of ``values`` [A, K] that cover them: ``chosen`` first, then always the row farthest from all.

    Distances are Euclidean after scaling each column to 0..1 (farthest-first traversal; Gonzalez 1985, at most twice
    the best possible largest gap).  Of equally far rows the first; without ``chosen`` it starts with the first row.
    Rows equal to a chosen one come last.
    """
    scaled = normalised(values)
    picked = list(dict.fromkeys(chosen))[:count]
    gap = np.full(len(scaled), np.inf)
    for row in picked:
        gap = np.minimum(gap, _distance(scaled, row))
    gap[picked] = -1.0
    while len(picked) < min(count, len(scaled)):
        picked.append(int(gap.argmax()))
        gap = np.minimum(gap, _distance(scaled, picked[-1]))
        gap[picked] = -1.0
    return picked


def fill(values: Floats, members: Sequence[int], others: Sequence[int], noisy: Sequence[bool], count: int) -> list[int]:
    """``count`` of the dominated rows ``others`` of ``values`` [A, K] that lie in the gaps of a front, and near it.

    Objectives are scaled to 0..1 over the ``members`` of the front.  A row's shortfall is how much better it would have
    to be in the ``noisy`` objectives [K] to leave the front's shadow; its gap is how far it lies from all members and
    rows taken so far in the exact ones (within the front's range).  Always the row with the largest gap less shortfall
    is next, the first of equal ones.
    """
    low, high = values[members].min(axis=0), values[members].max(axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    rows, by_noise = scaled[others], np.array(noisy, dtype=np.bool_)
    shortfall, gap = np.zeros(len(rows)), np.full(len(rows), np.inf)
    places = np.clip(scaled[:, ~by_noise], 0.0, 1.0)
    for member in members:
        behind = rows - scaled[member]
        needed = np.where((behind >= 0).all(axis=1), behind[:, by_noise].min(axis=1, initial=np.inf), 0.0)
        shortfall = np.maximum(shortfall, needed)
        gap = np.minimum(gap, np.sqrt(np.square(places[others] - places[member]).sum(axis=1)))
    picked: list[int] = []
    while len(picked) < min(count, len(rows)):
        best = int((gap - shortfall).argmax())
        picked.append(others[best])
        gap = np.minimum(gap, np.sqrt(np.square(places[others] - places[others[best]]).sum(axis=1)))
        gap[best] = -np.inf
    return picked


def _distance(scaled: Floats, row: int) -> Floats:
    return np.asarray(np.sqrt(np.square(scaled - scaled[row]).sum(axis=1)), dtype=np.float64)


def _table(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    assert table.ndim == 2 and table.shape[1], "rows of at least one objective"
    return table
