"""Functional ANOVA of a full factorial table: what each choice, and each pair of choices, does on average; exact.

The mean over everything, the effect of each option (mean of the archs that have it, less the grand mean) and of each
pair of options (mean of the archs that have both, less the parts already told) are orthogonal, so that their mean
squares add up to the variance of the table (Hoeffding 1948; Hutter, Hoos and Leyton-Brown 2014 estimate the same from
a model).  It needs every combination: where some are missing, the effect of one option carries that of others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Factorial(NamedTuple):
    """A table that holds every combination of the options that occur in it, once."""

    levels: tuple[tuple[int, ...], ...]
    """The digits that occur, block by block, ascending."""
    order: NDArray[np.intp]
    """Rows in lexicographic order of their digits."""

    def grid(self, values: ArrayLike) -> Floats:
        """``values`` [A] of the rows, with one axis a block."""
        return np.asarray(values, dtype=np.float64)[self.order].reshape([len(level) for level in self.levels])


class Anova(NamedTuple):
    """Effects are in the unit of the values, shares are parts of the variance (all 0 where there is none)."""

    mean: float
    variance: float
    """Over the table itself (ddof 0)."""
    main: tuple[Floats, ...]
    """Of each option of each block."""
    main_shares: tuple[float, ...]
    pairs: dict[tuple[int, int], Floats]
    """Of each pair of options of blocks i < j: [options of i, options of j]."""
    pair_shares: dict[tuple[int, int], float]

    @property
    def rest_share(self) -> float:
        """Of three blocks and more together; may be below zero by rounding."""
        return (1.0 if self.variance else 0.0) - sum(self.main_shares) - sum(self.pair_shares.values())


def factorial(digits: ArrayLike) -> Factorial | None:
    """The full factorial that ``digits`` [A, B] form, or None where a combination is missing or there twice."""
    table = np.asarray(digits)
    levels = tuple(tuple(map(int, np.unique(column))) for column in table.T)
    if not len(table) or len(np.unique(table, axis=0)) != len(table) != 0:
        return None
    if int(np.prod([len(level) for level in levels])) != len(table):
        return None
    return Factorial(levels, np.lexsort(table.T[::-1]))


def anova(grid: Floats) -> Anova:
    """Main effects and pairwise interactions of ``grid``, an array of finite values with one axis a block."""
    axes = range(grid.ndim)
    mean, variance = float(grid.mean()), float(grid.var())

    def average(kept: Sequence[int]) -> Floats:
        return np.asarray(grid.mean(axis=tuple(axis for axis in axes if axis not in kept)), dtype=np.float64)

    main = tuple(average([axis]) - mean for axis in axes)
    pairs = {(i, j): average([i, j]) - mean - main[i][:, None] - main[j] for i, j in itertools.combinations(axes, 2)}

    def share(effects: Floats) -> float:
        return float(np.square(effects).mean() / variance) if variance else 0.0

    return Anova(mean, variance, main, tuple(map(share, main)), pairs, {key: share(pairs[key]) for key in pairs})
