"""Statistics of the pool's end-point errors (EPE, px; lower is better), their ranking, and what noise leaves of it.

An arch's EPE is a ratio of two sums over samples, r = sum s_i / sum n_i (error and number of the valid pixels of
sample i), so its standard error is that of the ratio estimator: residuals e_i = s_i - r n_i and
se = sqrt(N / (N - 1) * sum e_i^2) / sum n_i  (Cochran, Sampling Techniques, 3rd ed., ch. 6).  Two archs are scored on
the same pixels, so the standard error of their difference comes from the differences of their residuals: the difficulty
of a sample cancels (Miller, Adding Error Bars to Evals, arXiv 2411.00640).  Intervals are Student's, with N - 1 degrees
of freedom, because the standard error is itself an estimate from N samples.  docs/evaluation.md has the formulas in
words and what they leave out: samples count as independent draws of the data set.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.randomness import uniforms

MOST_SAMPLES = 10**12
"""No answer of :meth:`PoolNoise.samples_needed` is larger."""

Floats = NDArray[np.float64]


# ---- pool and ranking ----


class PoolStatistics(NamedTuple):
    """Of the EPEs of one pool, px."""

    mean: float
    std: float  # over the pool itself (ddof 0), not an estimate for a larger one
    median: float
    p90: float  # linear interpolation between order statistics (numpy's default)
    min: float
    max: float


def pool_statistics(epes: Sequence[float]) -> PoolStatistics:
    """Statistics of at least one EPE; one NaN makes all of them NaN, infinities go through where they can."""
    values = np.asarray(epes, dtype=np.float64)
    assert values.ndim == 1 and values.size, "a pool has at least one subnet"
    if np.isnan(values).any():
        return PoolStatistics(*[math.nan] * len(PoolStatistics._fields))
    with np.errstate(invalid="ignore"):  # inf - inf
        middle = [values.mean(), values.std(ddof=0), np.median(values), np.percentile(values, 90)]
    return PoolStatistics(*map(float, [*middle, values.min(), values.max()]))


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's rank correlation, variant b (ties corrected), of two score lists over the same subnets.

    -1 (reversed) to 1 (same order); None where it is undefined: fewer than two subnets, all scores of one list equal,
    or a NaN.
    """
    from scipy.stats import kendalltau  # most of a second to import, needed once an evaluation

    assert len(first) == len(second), "scores of the same subnets"
    if len(first) < 2 or np.isnan(first).any() or np.isnan(second).any():
        return None
    tau = float(kendalltau(first, second, variant="b").statistic)
    return None if math.isnan(tau) else tau


def kendall_taus(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """:func:`kendall_tau_b` of every row of two arrays [D, A] of scores at once, [D]; nan where it is undefined.

    All pairs are looked at: for pools, not for whole spaces.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    rows, columns = np.triu_indices(one.shape[1], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (np.sign(scores[:, rows] - scores[:, columns]) for scores in (one, other))
        scale = np.sqrt(np.abs(a).sum(axis=1) * np.abs(b).sum(axis=1))
        return np.asarray((a * b).sum(axis=1) / scale, dtype=np.float64)


def rank_order(epes: Sequence[float]) -> list[int]:
    """arch_index from best to worst: ties in order of arch_index, NaN last."""
    return sorted(range(len(epes)), key=lambda index: (math.isnan(epes[index]), epes[index], index))


def rank_string(epes: Sequence[float], ranks: Sequence[int] | None = None) -> str:
    """Column arch_rank: ``rank:arch_index:epe|...``, best first; ranked before the EPE is rounded to four decimals.

    ``ranks`` by arch_index are those of noise.tied_ranks, shared within noise; without them everyone has its own.
    """
    places = enumerate(rank_order(epes), start=1)
    return "|".join(f"{ranks[index] if ranks else place}:{index}:{epes[index]:.4f}" for place, index in places)


def parse_rank_string(text: str) -> tuple[list[float], list[int]]:
    """Inverse of :func:`rank_string`: EPEs (px, four decimals) and ranks by arch_index.  Raises ValueError."""
    entries = sorted((int(i), float(epe), int(rank)) for rank, i, epe in (e.split(":") for e in text.split("|")))
    if [index for index, _, _ in entries] != list(range(len(entries))):
        raise ValueError(f"{text[:40]!r} does not name each arch once")
    return [epe for _, epe, _ in entries], [rank for _, _, rank in entries]


def best_criterion(best_by: str, best_mix: Sequence[float], statistics: Mapping[str, float]) -> float:
    """The figure in px that chooses the best checkpoint (lowest), after eval.best_by and eval.best_mix.

    ``mix`` is the average of mean, median and p90 with the three weights; the configuration refuses all-zero weights.
    """
    if best_by != "mix":
        return float(statistics[best_by])
    figures = (statistics["mean"], statistics["median"], statistics["p90"])
    return math.fsum(w * figure for w, figure in zip(best_mix, figures, strict=True) if w) / math.fsum(best_mix)


# ---- noise ----


def student95(count: int, comparisons: int = 1) -> float:
    """Standard errors on either side of a figure from ``count`` independent values that hold 95 %; nan below two.

    Student's t with count - 1 degrees of freedom: 3.18 for 4 values, 2.04 for 32, 1.96 for very many.  With several
    ``comparisons`` all of them hold together with at least 95 % (Bonferroni).
    """
    from scipy.special import stdtrit  # a third of a second to import, needed once an evaluation

    return float(stdtrit(count - 1, 1.0 - 0.025 / comparisons)) if count > 1 else math.nan


@dataclass(frozen=True)
class PoolNoise:
    """Noise of A archs on the same samples, px; everything is nan where fewer than two samples have a valid pixel.

    Attributes:
        epes: [A], pooled over pixels, from the sample errors; ``standard_errors``: [A], of each.
        paired: [A, A], standard error of the difference of two EPEs on the same pixels; 0 on the diagonal.
        mean_standard_error: of the mean of the A EPEs.
        samples: those with at least one valid pixel.
    """

    epes: Floats
    standard_errors: Floats
    paired: Floats
    mean_standard_error: float
    samples: int

    @property
    def bounds(self) -> Floats:
        """[A, A] difference in px that the set can tell apart at 95 %: ``paired`` times :func:`student95`."""
        return student95(self.samples) * self.paired

    @property
    def _pairs(self) -> tuple[Floats, Floats]:
        """Difference and bound of every pair of archs: (0, 1), (0, 2), ..., (1, 2), ..., unknown bounds left out."""
        rows, columns = np.triu_indices(len(self.epes), 1)
        known = np.isfinite(self.bounds[rows, columns])
        rows, columns = rows[known], columns[known]
        return np.abs(self.epes[rows] - self.epes[columns]), self.bounds[rows, columns]

    @property
    def smallest_differences(self) -> Floats:
        """:attr:`bounds` of every pair of archs: [A (A - 1) / 2], nan left out."""
        return self._pairs[1]

    @property
    def smallest_difference(self) -> float | None:
        """Median of :attr:`smallest_differences`; None without a pair or with fewer than two samples."""
        found = self.smallest_differences
        return float(np.median(found)) if found.size else None

    @property
    def tied_pairs(self) -> float | None:
        """Share of the pairs of archs whose difference is within noise; None as for :attr:`smallest_difference`."""
        differences, bounds = self._pairs
        return float(np.mean(differences <= bounds)) if bounds.size else None

    def samples_needed(self, resolution: float) -> int | None:
        """Samples with which half of the pairs could be told apart at ``resolution`` px.

        The fewest n of at least two with student95(n) * paired * sqrt(N / n) <= resolution, paired being the median:
        the paired variance falls with 1 / n.  None where it is unknown or above MOST_SAMPLES.
        """
        smallest = self.smallest_difference
        if smallest is None or not resolution > 0.0:
            return None
        one_sample = smallest / student95(self.samples) * math.sqrt(self.samples)  # standard error of a set of one

        def enough(count: int) -> bool:  # the tolerance: N samples are enough for what N samples can tell apart
            return student95(count) * one_sample / math.sqrt(count) <= resolution * (1.0 + 1e-9)

        found = bisect_left(range(2, MOST_SAMPLES + 1), True, key=enough) + 2
        return found if found <= MOST_SAMPLES else None

    @property
    def mean_margin(self) -> float:
        """Half of the 95 % interval of the mean of the A EPEs, px."""
        return student95(self.samples) * self.mean_standard_error

    def margins(self) -> list[float]:
        """Half of the 95 % interval of each arch, px: its EPE +- this; empty where nothing is known."""
        return [] if self.samples < 2 else (student95(self.samples) * self.standard_errors).tolist()

    def ranks(self, epes: Sequence[float] | None = None) -> list[int]:
        """Shared ranks by arch_index (see :func:`tied_ranks`), of the own EPEs or the same ones in full precision."""
        return tied_ranks(self.epes.tolist() if epes is None else epes, self.bounds)


def pool_noise(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> PoolNoise:
    """Noise of a pool's EPEs.

    Args:
        sample_epe: [A, N] mean error of each sample's valid pixels, px (anything where there is none).  It is rounded
            to float32 first, as it is stored, so that a stored evaluation gives the same figures.
        valid_pixels: [N] number of valid pixels; a sample without any counts nowhere.
    """
    epes, residuals, error, samples = residuals_of(sample_epe, valid_pixels)
    with np.errstate(invalid="ignore"):  # a network that diverged has no noise: nan
        paired = np.stack([error(residuals - row) for row in residuals])
        return PoolNoise(epes, error(residuals), paired, float(error(residuals.mean(axis=0))), samples)


def standard_errors(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> Floats:
    """``PoolNoise.standard_errors`` alone, px [A]: for so many archs that their pairs are too many."""
    _, residuals, error, _ = residuals_of(sample_epe, valid_pixels)
    with np.errstate(invalid="ignore"):
        return error(residuals)


def residuals_of(
    sample_epe: ArrayLike, valid_pixels: ArrayLike
) -> tuple[Floats, Floats, Callable[[Floats], Floats], int]:
    """EPEs [A], residuals [A, n], the standard error of residuals [..., n], and the samples n that count."""
    sums, counts = _sums(sample_epe, valid_pixels)
    samples, pixels = len(counts), counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        epes = sums.sum(axis=1) / pixels
        residuals = sums - epes[:, None] * counts
        scale = float(np.sqrt(samples / (samples - 1)) / pixels) if samples > 1 else math.nan
    return epes, residuals, lambda own: np.asarray(np.sqrt(np.square(own).sum(axis=-1)) * scale), samples


def _sums(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> tuple[Floats, Floats]:
    """Sum of errors [A, n] and valid pixels [n] of the samples that have any."""
    counts = np.asarray(valid_pixels, dtype=np.float64)
    means = np.asarray(np.asarray(sample_epe, dtype=np.float32), dtype=np.float64)
    assert means.ndim == 2 and counts.shape == means.shape[1:], "errors [archs, samples] and counts [samples]"
    return means[:, counts > 0] * counts[counts > 0], counts[counts > 0]


def tied_ranks(epes: Sequence[float], bounds: Floats) -> list[int]:
    """Competition ranks by arch_index: archs within noise of the best of their group share its rank (1, 1, 3, ...).

    Args:
        epes: EPE of every arch, px; the order is theirs (ties by arch_index, NaN last).
        bounds: [A, A] differences within noise, px (:attr:`PoolNoise.bounds`); where one is nan nothing is tied.
    """
    ranks = [0] * len(epes)
    leader = 0
    for place, index in enumerate(rank_order(epes), start=1):
        tied = place > 1 and epes[index] - epes[leader] <= bounds[leader, index]
        leader = leader if tied else index
        ranks[index] = ranks[leader] if tied else place
    return ranks


class Interval(NamedTuple):
    """A figure and the interval that holds 95 % of its bootstrap draws; nan where it is undefined."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: Floats) -> Interval:
        """By the percentiles of the finite ``draws``."""
        known = draws[np.isfinite(draws)]
        low, high = np.percentile(known, [2.5, 97.5]) if known.size else (math.nan, math.nan)
        return cls(float(value), float(low), float(high))

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


@np.errstate(invalid="ignore", over="ignore")
def tau_interval(
    sample_a: ArrayLike, sample_b: ArrayLike, counts: ArrayLike, draws: int = 1000, seed: int = 0
) -> Interval:
    """Rank correlation (tau-b) of two evaluations of one pool on the same samples, and how far these leave it open.

    ``sample_a`` and ``sample_b`` [A, N] are mean errors of each sample, px, ``counts`` [N] its valid pixels.  Samples
    are drawn with replacement, the same ones for both evaluations (Efron and Tibshirani, An Introduction to the
    Bootstrap, ch. 13, percentile interval).  A draw adds noise to the noise that is in the figures, so the interval
    of a noisy ranking lies rather low.
    """
    (sums_a, pixels), (sums_b, _) = _sums(sample_a, counts), _sums(sample_b, counts)
    assert sums_a.shape == sums_b.shape, "two evaluations of the same archs on the same samples"
    tau = float(kendall_taus(sums_a.sum(axis=1)[None] / pixels.sum(), sums_b.sum(axis=1)[None] / pixels.sum())[0])
    if len(pixels) < 2:
        return Interval(tau, math.nan, math.nan)
    weights = bootstrap_counts(len(pixels), draws, seed, "tau interval")
    total = (weights @ pixels)[:, None]
    return Interval.of(tau, kendall_taus(weights @ sums_a.T / total, weights @ sums_b.T / total))


def bootstrap_counts(number: int, draws: int, seed: int, name: str) -> Floats:
    """How often each of ``number`` things is in each bootstrap draw, with replacement: [draws, number].

    ``name`` keeps the draws of different questions apart under one ``seed``.
    """
    drawn = (uniforms(seed, name, count=draws * number) * number).astype(np.int64)
    places = drawn.reshape(draws, number) + np.arange(draws)[:, None] * number
    counts = np.bincount(places.ravel(), minlength=draws * number)
    return counts.reshape(draws, number).astype(np.float64)


@np.errstate(invalid="ignore", over="ignore")
def split_half_tau(sample_epe: ArrayLike, valid_pixels: ArrayLike, draws: int = 200, seed: int = 0) -> float | None:
    """Mean Kendall tau-b between the rankings by two random halves of the samples; None with fewer than two.

    Near 1: half of the samples already give this ranking.  Near 0: the ranking is noise.
    """
    sums, pixels = _sums(sample_epe, valid_pixels)
    number = len(pixels)
    if number < 2 or len(sums) < 2:
        return None
    order = np.argsort(uniforms(seed, "split half", count=draws * number).reshape(draws, number), axis=1)
    first = (order < number // 2).astype(np.float64)
    taus = kendall_taus(*(weights @ sums.T / (weights @ pixels)[:, None] for weights in (first, 1.0 - first)))
    taus = taus[np.isfinite(taus)]
    return float(taus.mean()) if taus.size else None


def paired_change(before: ArrayLike, after: ArrayLike, valid_pixels: ArrayLike) -> tuple[Floats, Floats]:
    """Change of every arch's EPE between two evaluations on the same samples, and its paired standard error, px [A].

    Both are mean errors of each sample, px [A, N]; ``before`` may be [1, N], one arch against which all are held.
    """
    (old, ours, error, _), (new, theirs, _, _) = residuals_of(before, valid_pixels), residuals_of(after, valid_pixels)
    with np.errstate(invalid="ignore"):
        return new - old, error(theirs - ours)
