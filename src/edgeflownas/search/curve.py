"""How much of the exact front a search has found after so many evaluations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.search.hypervolume import hypervolume
from edgeflownas.search.pareto import front

MARGIN = 0.1


def reference_point(values: ArrayLike) -> NDArray[np.float64]:
    """The worst value of each objective on the front of ``values`` [A, K], and a tenth of its range beyond it: [K].

    So that the ends of the front count, and subnets that are worse than all of it do not.  Where the front
    is a single value, a tenth of that value (of 1 where it is 0) beyond it.
    """
    table = np.asarray(values, dtype=np.float64)
    members = table[front(table)]
    worst = members.max(axis=0)
    span = np.ptp(members, axis=0)
    return np.asarray(
        worst + MARGIN * np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0)), dtype=np.float64
    )


def shares(values: ArrayLike, exact: ArrayLike, reference: ArrayLike, counts: Sequence[int]) -> list[float]:
    """Hypervolume of the first ``counts[i]`` rows of ``values`` [A, K] as a share of that of ``exact`` [F, K].

    Both up to ``reference`` [K]; a search that ended before a count keeps its last share.
    """
    whole = hypervolume(exact, reference)
    found = np.empty((0, len(np.asarray(reference))))
    result, before = [], 0
    for count in counts:
        found = np.concatenate([found, np.asarray(values, dtype=np.float64)[before:count]])
        found = found[front(found)]
        before = count
        result.append(hypervolume(found, reference) / whole)
    return result


def band(curves: ArrayLike) -> tuple[list[float], list[float], list[float]]:
    """Mean, lowest and highest over seeds of curves [S, C]."""
    table = np.asarray(curves, dtype=np.float64)
    return table.mean(axis=0).tolist(), table.min(axis=0).tolist(), table.max(axis=0).tolist()
