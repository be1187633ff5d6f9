"""Hypervolume: the part of the box below a reference point that a set of rows dominates (Zitzler and Thiele 1998)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.search.pareto import front

MOST_OBJECTIVES = 3
"""With more the exact volume takes too long for the fronts of a whole space."""

Floats = NDArray[np.float64]


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Exact volume dominated by rows of ``values`` [A, K] (to be minimised) up to ``reference`` [K], K = 1, 2 or 3.

    In units of the objectives multiplied.  Rows that are not smaller than the reference everywhere add nothing, nor do
    rows with a nan.  Two objectives: a staircase of rectangles; three: the staircases between one value of the third
    and the next, times their height (slicing, as in Fonseca, Paquete and Lopez-Ibanez 2006, without the tree).
    """
    corner = np.asarray(reference, dtype=np.float64)
    rows = np.asarray(values, dtype=np.float64).reshape(-1, corner.size)
    assert 1 <= corner.size <= MOST_OBJECTIVES, f"at most {MOST_OBJECTIVES} objectives"
    rows = rows[(rows < corner).all(axis=1)]
    rows = np.unique(rows[front(rows)], axis=0)  # sorted by the first objective
    if not rows.size:
        return 0.0
    if corner.size == 1:
        return float(corner[0] - rows[0, 0])
    if corner.size == 2:
        return _staircase(rows, corner)
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    heights = np.diff(np.append(rows[:, 2], corner[2]))
    slices = [_slice(rows[: place + 1, :2], corner[:2]) if height else 0.0 for place, height in enumerate(heights)]
    return float(np.dot(heights, slices))


def _slice(rows: Floats, corner: Floats) -> float:
    """Area of rows [A, 2] of which some may be dominated."""
    ordered = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    lowest = np.minimum.accumulate(ordered[:, 1])
    kept = np.append(True, ordered[1:, 1] < lowest[:-1])
    return _staircase(ordered[kept], corner)


def _staircase(rows: Floats, corner: Floats) -> float:
    """Area below a front [F, 2] sorted by the first objective."""
    heights = np.append(corner[1], rows[:-1, 1]) - rows[:, 1]
    return float(np.dot(corner[0] - rows[:, 0], heights))
