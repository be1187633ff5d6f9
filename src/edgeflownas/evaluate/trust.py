"""How far a ranking can be trusted: agreement with the true order of some subnets, and what the bootstrap leaves open.

All scores are such that smaller is better (EPE in px; sizes negated where larger is taken for better).  Subnets are
drawn with replacement (Efron and Tibshirani, An Introduction to the Bootstrap, ch. 13, percentile interval): an
interval says what other subnets of the same space might have shown.  Copies of a subnet within a draw are ties in both
scores.  Kendall's tau-b leaves such pairs out, so they do not raise it; the top places count copies as drawn and share
those at the edge alike in both lists; the regret is that among the different subnets of a draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.randomness import uniforms

Floats = NDArray[np.float64]
MANY, BLOCK = 2000, 1024  # subnets above which fewer draws are taken; columns of the pairs looked at together
TOPS = (5, 10, 50)


class Interval(NamedTuple):
    """A figure and the interval that holds 95 % of its bootstrap draws; nan where it is undefined."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Agreement:
    """How well one score orders subnets whose true score is known."""

    tau: Interval
    """Kendall's tau-b."""
    spearman: Interval
    """Spearman's rank correlation, ties at the mean of their ranks."""
    precision: dict[int, Interval]
    """k -> share of the k best by the score that are among the k truly best; k / n by chance."""
    regret: dict[int, Interval]
    """k -> true score of the truly best among the k best by the score, minus the best of all; px."""
    tau_draws: Floats
    """Tau of every draw, that of all subnets first."""


class SeedNoise(NamedTuple):
    """Two trainings of the same subnets, with two seeds."""

    rows: tuple[int, int]
    """Which seeds, as rows of the table."""
    subnets: int
    tau: Interval
    """Between the two: what no ranking can beat by much."""
    std: float
    """Standard deviation (ddof 1) of one training of a subnet about its mean, px; an offset of all is left out."""


def used_runs(table: ArrayLike) -> NDArray[np.bool_]:
    """Which runs make up the truth, of errors [seeds, subnets] with nan where there is no run.

    The mean over the seeds that every subnet has, so that what a seed does to all subnets alike (they share first
    weights and order of the data) moves none against another; where no seed has all, the first run of each.
    """
    errors = np.asarray(table, dtype=np.float64)
    there = np.isfinite(errors)
    complete = np.asarray(there.all(axis=1))
    if complete.any():
        return there & complete[:, None]
    return np.asarray(there & (np.cumsum(there, axis=0) == 1), dtype=np.bool_)


def seed_noise(table: ArrayLike, seed: int = 0) -> SeedNoise | None:
    """Of the two seeds with the most subnets in common, at least three; of errors as for :func:`used_runs`."""
    errors = np.asarray(table, dtype=np.float64)
    there = np.isfinite(errors)
    pairs = [(int((there[a] & there[b]).sum()), -a, -b) for a in range(len(errors)) for b in range(a + 1, len(errors))]
    count, one, other = max(pairs, default=(0, 0, 0))
    if count < 3:
        return None
    both = errors[[-one, -other]][:, there[-one] & there[-other]]
    tau = agreement(both[0], both[1], bootstrap_weights(count, seed)).tau
    return SeedNoise((-one, -other), count, tau, float((both[0] - both[1]).std(ddof=1) / math.sqrt(2)))


def bootstrap_weights(subnets: int, seed: int = 0, draws: int | None = None) -> Floats:
    """How often each subnet is in each draw [1 + draws, subnets]; the first row is every subnet once.

    2,000 draws unless said otherwise, 200 of more than 2,000 subnets, whose order hardly depends on the draw.
    """
    draws = draws if draws is not None else 2000 if subnets <= MANY else 200
    drawn = (uniforms(seed, "trust bootstrap", count=draws * subnets) * subnets).astype(np.int64)
    places = (drawn.reshape(draws, subnets) + np.arange(draws)[:, None] * subnets).ravel()
    counts = np.bincount(places, minlength=draws * subnets).reshape(draws, subnets)
    return np.vstack([np.ones(subnets), counts])


def tops(subnets: int) -> tuple[int, ...]:
    """Numbers of best subnets that mean something among so many: at most half of them."""
    return tuple(k for k in TOPS if 2 * k <= subnets)


def agreement(truth: ArrayLike, score: ArrayLike, weights: Floats) -> Agreement:
    """Every figure with its interval.

    Args:
        truth: [A] true score of each subnet, finite.
        score: [A] what is judged, finite.
        weights: [D, A] of :func:`bootstrap_weights`.
    """
    true, judged = np.asarray(truth, dtype=np.float64), np.asarray(score, dtype=np.float64)
    assert true.shape == judged.shape == weights.shape[1:], "scores of the same subnets"
    taus = _taus(true, judged, weights)
    present = (weights > 0).astype(np.float64)
    best = np.where(present > 0, true, np.inf).min(axis=1)
    return Agreement(
        _interval(taus),
        _interval(_spearman(true, judged, weights)),
        {k: _interval(_precision(true, judged, weights, k)) for k in tops(len(true))},
        {k: _interval(_best_of_top(true, judged, present, k) - best) for k in (1, 5) if k == 1 or k in tops(len(true))},
        taus,
    )


def change(before: Agreement, after: Agreement) -> Interval:
    """Tau after minus before, both of the same truth and the very same weights: a paired bootstrap.

    Its half width is about the smallest change that could have been seen.
    """
    return _interval(after.tau_draws - before.tau_draws)


def attainable_tau(between: float) -> float | None:
    """About the highest tau that a perfect ranking could show against one training of each subnet.

    From the tau between two trainings: for normal scores r = sin(pi tau / 2) (Kruskal 1958), and the correlation of
    a noisy score with the true one is the root of that between two noisy ones (Spearman 1904).  None where the
    trainings do not agree at all.
    """
    if not between > 0.0:
        return None
    return 2 / math.pi * math.asin(math.sqrt(math.sin(math.pi / 2 * min(between, 1.0))))


def _interval(values: Floats) -> Interval:
    draws = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(draws, [2.5, 97.5]) if draws.size else (math.nan, math.nan)
    return Interval(float(values[0]), float(low), float(high))


@np.errstate(invalid="ignore", divide="ignore")
def _taus(one: Floats, other: Floats, weights: Floats) -> Floats:
    """Tau-b of every draw [D]; a pair counts as often as both are drawn."""
    total = np.zeros((3, len(weights)))
    for start in range(0, len(one), BLOCK):
        part = slice(start, start + BLOCK)
        first, second = (np.sign(values[:, None] - values[None, part]) for values in (one, other))
        for row, pairs in enumerate((first * second, np.abs(first), np.abs(second))):
            total[row] += ((weights @ pairs) * weights[:, part]).sum(axis=1)
    return np.asarray(total[0] / np.sqrt(total[1] * total[2]), dtype=np.float64)


def _places(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Of every subnet in every draw [D, A]: weight of those with a smaller value, and of those with an equal one."""
    level = np.unique(values, return_inverse=True)[1]
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(level.max() + 1))
    by_level = np.add.reduceat(weights[:, order], starts, axis=1)
    before = np.cumsum(by_level, axis=1) - by_level
    return before[:, level], by_level[:, level]


@np.errstate(invalid="ignore", divide="ignore")
def _spearman(one: Floats, other: Floats, weights: Floats) -> Floats:
    """Correlation of the mean ranks of every draw [D]."""
    count = weights.sum(axis=1, keepdims=True)
    centred = []
    for values in (one, other):
        before, equal = _places(values, weights)
        ranks = before + equal / 2
        centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / count)
    first, second = centred
    shared, *own = ((weights * a * b).sum(axis=1) for a, b in ((first, second), (first, first), (second, second)))
    return np.asarray(shared / np.sqrt(own[0] * own[1]), dtype=np.float64)


def _copies_in_top(values: Floats, weights: Floats, k: int) -> Floats:
    """Copies of each subnet among the k best of each draw [D, A]; those tied at the edge share what is left."""
    before, equal = _places(values, weights)
    share = np.clip((k - before) / np.maximum(equal, 1.0), 0.0, 1.0)
    return np.asarray(share * weights, dtype=np.float64)


def _precision(true: Floats, judged: Floats, weights: Floats, k: int) -> Floats:
    both = np.minimum(_copies_in_top(true, weights, k), _copies_in_top(judged, weights, k))
    return np.asarray(both.sum(axis=1) / k, dtype=np.float64)


def _best_of_top(true: Floats, judged: Floats, present: Floats, k: int) -> Floats:
    """Expected true score of the best of the k different subnets judged best [D], ties at the edge drawn by lot."""
    before, tied = _places(judged, present)
    missing = np.ones(len(present))  # probability that no subnet looked at so far is among the k
    passed: dict[float, Floats] = {}  # tied at the edge and looked at so far, by judged value
    expected = np.zeros(len(present))
    for i in np.argsort(true, kind="stable"):
        seen = passed.setdefault(float(judged[i]), np.zeros(len(present)))
        chance = np.clip((k - before[:, i]) / np.maximum(tied[:, i] - seen, 1.0), 0.0, 1.0) * present[:, i]
        expected += missing * chance * true[i]
        missing = missing * (1.0 - chance)
        seen += present[:, i]
    return expected
