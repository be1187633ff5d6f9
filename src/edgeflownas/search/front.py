"""Fronts of tables of objectives, how far they can be trusted, and what each choice of a space is worth.

All objectives are minimised (negate what is to be maximised).  Row a dominates row b where it is nowhere larger and
somewhere smaller; the front is the rows that nothing dominates.  Equal rows do not dominate one another, so they are
on it together or not at all.

Costs are exact, errors are measured on samples and therefore noisy.  Two rows can be told apart in a noisy objective
where they differ by more than t(95 %) standard errors of their difference (evaluate/noise.py).  Row d *surely
dominates* row b where it dominates it, is not worse in any exact objective, and is better by more than noise in every
noisy one.  From this follow two questions (docs/choosing.md):

- a *tie* is off the front, but no row surely dominates it: with other samples it might be on it;
- a member of the front is *sure* where no other row could dominate it with other samples, that is where every row that
  is at most as costly is worse by more than noise.

Every pair is judged by itself at 95 %; nothing is corrected for the number of pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.evaluate.noise import pool_noise, residuals_of, student95
from edgeflownas.search.candidates import MOST_OBJECTIVES
from edgeflownas.search.ranking import Ranking

BLOCK = 256  # rows that are compared with the table at once: bounds memory

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


# ---- the front ----


def front(values: ArrayLike) -> Mask:
    """Whether each of A rows is on the front of ``values`` [A, K], exactly; a row with a nan never is.

    The first row in lexicographic order is on the front; it removes itself and what it dominates, and so on: the work
    is A times K times the size of the front.
    """
    table = np.asarray(values, dtype=np.float64)
    assert table.ndim == 2 and table.shape[1], "rows of at least one objective"
    found = np.zeros(len(table), dtype=np.bool_)
    known = np.flatnonzero(~np.isnan(table).any(axis=1))
    left = known[np.lexsort(table[known].T[::-1])]
    while left.size:
        row, rows = table[left[0]], table[left]
        found[left[(rows == row).all(axis=1)]] = True
        left = left[(rows < row).any(axis=1)]
    return found


def _normalised(values: ArrayLike) -> Floats:
    """``values`` [A, K] with each column from 0 (its smallest) to 1 (its largest); 0 where a column is constant."""
    table = np.asarray(values, dtype=np.float64)
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
    scaled = _normalised(members)
    if len(scaled) < 3:
        return None
    distance = (1.0 - scaled.sum(axis=1)) / np.sqrt(scaled.shape[1])
    best = int(distance.argmax())
    return best if (scaled.max(axis=0) > 0).all() and distance[best] > 1e-12 else None


def spread(values: ArrayLike, chosen: Sequence[int], count: int) -> list[int]:
    """``count`` rows of ``values`` [A, K] that cover them: ``chosen`` first, then always the row farthest from all.

    Distances are Euclidean after scaling each column to 0..1 (farthest-first traversal; Gonzalez 1985, at most twice
    the best possible largest gap).  Of equally far rows the first; without ``chosen`` it starts with the first row.
    Rows equal to a chosen one come last.
    """
    scaled = _normalised(values)
    given = list(dict.fromkeys(chosen))[:count]
    gap, picked = np.full(len(scaled), np.inf), list[int]()
    while len(picked) < min(count, len(scaled)):
        picked.append(given[len(picked)] if len(picked) < len(given) else int(gap.argmax()))
        gap = np.minimum(gap, np.sqrt(np.square(scaled - scaled[picked[-1]]).sum(axis=1)))
        if len(picked) >= len(given):
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

    def nearer(row: int) -> Floats:
        distance = np.sqrt(np.square(places[others] - places[row]).sum(axis=1))
        return np.asarray(np.minimum(gap, distance), dtype=np.float64)

    for member in members:
        behind = rows - scaled[member]
        needed = np.where((behind >= 0).all(axis=1), behind[:, by_noise].min(axis=1, initial=np.inf), 0.0)
        shortfall, gap = np.maximum(shortfall, needed), nearer(member)
    picked: list[int] = []
    while len(picked) < min(count, len(rows)):
        best = int((gap - shortfall).argmax())
        picked.append(others[best])
        gap = nearer(others[best])
        gap[best] = -np.inf
    return picked


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Exact volume dominated by rows of ``values`` [A, K] up to ``reference`` [K], K = 1, 2 or 3.

    In units of the objectives multiplied (Zitzler and Thiele 1998).  Rows that are not smaller than the reference
    everywhere add nothing, nor do rows with a nan.  A staircase of rectangles; with three objectives the staircases
    between one value of the third and the next, times their height (Fonseca, Paquete and Lopez-Ibanez 2006).
    """
    corner = np.asarray(reference, dtype=np.float64)
    rows = np.asarray(values, dtype=np.float64).reshape(-1, corner.size)
    assert 1 <= corner.size <= MOST_OBJECTIVES, f"at most {MOST_OBJECTIVES} objectives"
    rows = rows[(rows < corner).all(axis=1)]
    if not rows.size:
        return 0.0
    if corner.size == 1:
        return float(corner[0] - rows.min())
    if corner.size == 2:
        rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
        lowest = np.minimum.accumulate(rows[:, 1])
        rows = rows[np.append(True, rows[1:, 1] < lowest[:-1])]  # the front, by the first objective
        return float(np.dot(corner[0] - rows[:, 0], np.append(corner[1], rows[:-1, 1]) - rows[:, 1]))
    rows = np.unique(rows[front(rows)], axis=0)
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    heights = np.diff(np.append(rows[:, 2], corner[2]))
    slices = [hypervolume(rows[: n + 1, :2], corner[:2]) if height else 0.0 for n, height in enumerate(heights)]
    return float(np.dot(heights, slices))


# ---- its confidence ----


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
    _, residuals, _, samples = residuals_of(sample_epe, valid_pixels)
    if samples < 2:
        return None
    residuals[~np.isfinite(residuals).all(axis=1)] = 0.0  # a network that diverged is no tie of a sound one
    residuals *= student95(samples) * np.sqrt(samples / (samples - 1)) / np.asarray(valid_pixels, np.float64).sum()
    squares = np.square(residuals).sum(axis=1)

    def bounds(rows: Rows, others: Rows) -> Floats:
        total = squares[rows][:, None] + squares[others]
        left = total - 2.0 * (residuals[rows] @ residuals[others].T)
        return np.asarray(np.sqrt(np.where(left > 1e-12 * total, left, 0.0)), dtype=np.float64)

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

    ``on_front`` is :func:`front` of them, ``noise`` that of each objective, None where it is exact (or not known).
    """
    off = ~np.isnan(values).any(axis=1) & ~on_front
    open_rows = off.copy()
    for others in (on_front, off):  # most rows fall to a member of the front
        targets = np.flatnonzero(others)
        for rows in _blocks(open_rows):
            surely = np.ones((len(rows), len(targets)), dtype=np.bool_)
            better = np.zeros_like(surely)
            for objective, own in zip(values.T, noise, strict=True):
                gain = objective[rows][:, None] - objective[targets]
                bound = 0.0 if own is None else own.bounds(rows, targets)
                surely &= (gain > bound) | ((gain >= 0) & (bound == 0))  # without noise equal is equal
                better |= gain > 0
            open_rows[rows] = ~(surely & better).any(axis=1)
    return open_rows


def sure(values: Floats, on_front: Mask, noise: Sequence[Noise | None]) -> Mask:
    """Members of the front that no other row could dominate with other samples; arguments as of :func:`ties`."""
    found = on_front.copy()
    targets = np.flatnonzero(~np.isnan(values).any(axis=1))
    for rows in _blocks(on_front):
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


def _blocks(mask: Mask) -> Iterator[Rows]:
    rows = np.flatnonzero(mask)
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


# ---- what each choice does ----


class Anova(NamedTuple):
    """Effects are in the unit of the values, shares are parts of the variance (all 0 where there is none).

    ``main`` are of each option of each block, ``pairs`` of each pair of options of blocks i < j [options of i, options
    of j]; ``rest_share`` is that of three blocks and more together, below zero perhaps by rounding.
    """

    mean: float
    main: tuple[Floats, ...]
    main_shares: tuple[float, ...]
    pairs: dict[tuple[int, int], Floats]
    pair_shares: dict[tuple[int, int], float]
    rest_share: float


def anova(grid: Floats) -> Anova:
    """Functional ANOVA of a full factorial table: ``grid`` holds finite values with one axis a block; exact.

    The mean over everything, the effect of each option (mean of the archs that have it, less the grand mean) and of
    each pair of options (mean of the archs that have both, less the parts already told) are orthogonal, so that their
    mean squares add up to the variance of the table (Hoeffding 1948; Hutter, Hoos and Leyton-Brown 2014 estimate the
    same from a model).  It needs every combination: where some are missing, the effect of one option carries that of
    others.
    """
    axes = range(grid.ndim)
    mean, variance = float(grid.mean()), float(grid.var())

    def average(*kept: int) -> Floats:
        return np.asarray(grid.mean(axis=tuple(axis for axis in axes if axis not in kept)), dtype=np.float64)

    def share(effects: Floats) -> float:
        return float(np.square(effects).mean() / variance) if variance else 0.0

    main = tuple(average(axis) - mean for axis in axes)
    pairs = {(i, j): average(i, j) - mean - main[i][:, None] - main[j] for i, j in itertools.combinations(axes, 2)}
    main_shares, pair_shares = tuple(map(share, main)), {key: share(effects) for key, effects in pairs.items()}
    rest = (1.0 if variance else 0.0) - sum(main_shares) - sum(pair_shares.values())
    return Anova(mean, main, main_shares, pairs, pair_shares, rest)


def factorial(digits: ArrayLike) -> tuple[list[list[int]], Rows] | None:
    """The full factorial that ``digits`` [A, B] form, or None where a combination is missing or there twice.

    The digits that occur, block by block, ascending; and the rows in lexicographic order of their digits.
    """
    table = np.asarray(digits)
    levels = [np.unique(column).tolist() for column in table.T]
    if not len(table) or not len(np.unique(table, axis=0)) == len(table) == int(np.prod([len(own) for own in levels])):
        return None
    return levels, np.lexsort(table.T[::-1])


def marginals(ranking: Ranking, feasible: Mask, target: str, costs: Sequence[str]) -> dict[str, Any] | str:
    """Means by option, shares of variance, gain and cost of each step to the next option, pairwise interactions.

    Over the ``feasible`` subnets [A] where they are a full factorial, else over the whole table where that is one, else
    the reason why there are none.  ``target`` is the column of the errors that are explained, ``costs`` are columns
    that each option costs; those with gaps are left out.
    """
    found = _full_table(ranking, feasible, target)
    if isinstance(found, str):
        return found
    over, rows, levels, order = found
    columns = {name: np.asarray(ranking.columns[name], dtype=np.float64)[rows] for name in (target, *costs)}
    grid = [len(own) for own in levels]
    parts = {name: anova(col[order].reshape(grid)) for name, col in columns.items() if np.isfinite(col).all()}
    varied, names, whole = [place for place, size in enumerate(grid) if size > 1], list(ranking.words), parts[target]
    pairs = sorted(itertools.combinations(varied, 2), key=lambda pair: -whole.pair_shares[pair])  # largest share first
    blocks, options = [], ranking.options
    for place in varied:
        words = [options[place][digit] for digit in levels[place]]
        margins = _step_margins(ranking, rows, place) if target == "epe" else [None] * len(words)
        blocks.append({"name": names[place]} | _block(place, words, parts, len(rows) // len(words), margins))
    return {
        "over": over,
        "subnets": len(rows),
        "target": target,
        "blocks": blocks,
        "shares": {names[place]: whole.main_shares[place] for place in varied},
        "interactions": [
            {"blocks": [names[i], names[j]], "share": whole.pair_shares[i, j], "effects": whole.pairs[i, j].tolist()}
            for i, j in pairs
        ],
        "rest_share": max(0.0, whole.rest_share),
    }


def _full_table(ranking: Ranking, feasible: Mask, target: str) -> tuple[str, Rows, list[list[int]], Rows] | str:
    """What is averaged over: its name, rows, and their :func:`factorial`; or why there is none."""
    tried = {"the subnets that fulfil --where": feasible, "the whole table": np.ones_like(feasible)}
    for over, mask in list(tried.items())[int(feasible.all()) :]:
        rows = np.flatnonzero(mask)
        full = factorial(ranking.digits[rows])
        unknown = int((~np.isfinite(ranking.columns[target][rows])).sum())
        if full is None:
            why = (
                f"{over} ({len(rows)} subnets) does not hold every combination of its options, so that the mean of one "
                "option would carry the effect of others: rank the whole space for it"
            )
        elif unknown:
            why = f"{unknown} of the {len(rows)} subnets of {over} have no finite {target}"
        else:
            return over, rows, *full
    return why


def _block(
    place: int, words: Sequence[str], parts: Mapping[str, Anova], count: int, margins: Sequence[float | None]
) -> dict[str, Any]:
    """Means of the options, and from each option to the next the EPE gained (positive is better) and what it costs.

    ``parts`` are of the EPE, then of the costs; every option has ``count`` subnets.
    """
    options: list[dict[str, Any]] = []
    for level, word in enumerate(words):
        (_, mean), *costs = ((name, part.mean + float(part.main[place][level])) for name, part in parts.items())
        options.append({"option": word, "mean_epe": mean, "mean_cost": dict(costs), "count": count})
    steps: list[dict[str, Any]] = []
    for level, (word, following) in enumerate(itertools.pairwise(words)):
        (_, change), *costs = ((name, float(np.diff(part.main[place])[level])) for name, part in parts.items())
        step = {"from": word, "to": following, "gain": -change, "margin": margins[level], "costs": dict(costs)}
        steps.append(step | {"gain_per_cost": {name: -change / cost if cost > 0 else None for name, cost in costs}})
    return {"options": options, "steps": steps}


def _step_margins(ranking: Ranking, rows: Rows, place: int) -> list[float | None]:
    """Half of the 95 % interval of each step of a block by the samples, px; None where they are not kept.

    The mean over the subnets of an option is, sample by sample, again an error of that sample, so that two options are
    compared like two subnets on the same samples.
    """
    digits = ranking.digits[rows, place]
    options = np.unique(digits)
    if ranking.sample_epe is None or ranking.valid_pixels is None:
        return [None] * len(options)
    means = [ranking.sample_epe[rows[digits == option]].mean(axis=0, dtype=np.float64) for option in options]
    found = pool_noise(np.nan_to_num(np.stack(means)), ranking.valid_pixels)
    margins = student95(found.samples) * np.diagonal(found.paired, 1)
    return [float(margin) if np.isfinite(margin) else None for margin in margins]
