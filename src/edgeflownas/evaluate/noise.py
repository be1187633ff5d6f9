"""What an evaluation set can tell apart: standard errors of end-point errors from the errors of its samples.

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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.evaluate.rank_statistics import kendall_taus, rank_order
from edgeflownas.randomness import uniforms

MOST_SAMPLES = 10**12
"""No answer of :meth:`PoolNoise.samples_needed` is larger."""

Floats = NDArray[np.float64]


def student95(count: int, comparisons: int = 1) -> float:
    """Standard errors on either side of a figure from ``count`` independent values that hold 95 %; nan below two.

    Student's t with count - 1 degrees of freedom: 3.18 for 4 values, 2.04 for 32, 1.96 for very many.  With several
    ``comparisons`` all of them hold together with at least 95 % (Bonferroni).
    """
    from scipy.special import stdtrit  # a third of a second to import, needed once an evaluation

    return float(stdtrit(count - 1, 1.0 - 0.025 / comparisons)) if count > 1 else math.nan


@dataclass(frozen=True)
class PoolNoise:
    """Noise of A archs on the same samples, px; everything is nan where fewer than two samples have a valid pixel."""

    epes: Floats
    """[A], pooled over pixels, from the sample errors."""
    standard_errors: Floats
    """[A], of each EPE."""
    paired: Floats
    """[A, A], of the difference of two EPEs on the same pixels; 0 on the diagonal."""
    mean_standard_error: float
    """Of the mean of the A EPEs."""
    samples: int
    """Samples with at least one valid pixel."""

    @property
    def bounds(self) -> Floats:
        """[A, A] difference in px that the set can tell apart at 95 %: ``paired`` times :func:`student95`."""
        return student95(self.samples) * self.paired

    @property
    def smallest_differences(self) -> Floats:
        """:attr:`bounds` of every pair of archs: [A (A - 1) / 2], nan left out.

        Pairs in the order (0, 1), (0, 2), ..., (1, 2), ...
        """
        found = self.bounds[np.triu_indices(len(self.epes), 1)]
        return np.asarray(found[np.isfinite(found)], dtype=np.float64)

    @property
    def smallest_difference(self) -> float | None:
        """Median of :attr:`smallest_differences`; None without a pair or with fewer than two samples."""
        found = self.smallest_differences
        return float(np.median(found)) if found.size else None

    @property
    def tied_pairs(self) -> float | None:
        """Share of the pairs of archs whose difference is within noise; None as for :attr:`smallest_difference`."""
        rows, columns = np.triu_indices(len(self.epes), 1)
        bound = self.bounds[rows, columns]
        known = np.isfinite(bound)
        if not known.any():
            return None
        return float(np.mean(np.abs(self.epes[rows] - self.epes[columns])[known] <= bound[known]))

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
    epes, residuals, scale, samples = _spread(sample_epe, valid_pixels)
    with np.errstate(invalid="ignore"):  # a network that diverged has no noise: nan
        paired = np.stack([_norm(residuals - row) for row in residuals]) * scale
        errors, mean_error = _norm(residuals) * scale, _norm(residuals.mean(axis=0)) * scale
    return PoolNoise(epes, errors, paired, float(mean_error), samples)


def standard_errors(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> Floats:
    """``PoolNoise.standard_errors`` alone, px [A]: for so many archs that their pairs are too many."""
    _, residuals, scale, _ = _spread(sample_epe, valid_pixels)
    with np.errstate(invalid="ignore"):
        return np.asarray(_norm(residuals) * scale, dtype=np.float64)


def _spread(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> tuple[Floats, Floats, float, int]:
    """EPEs [A], residuals [A, n], what the norm of residuals is multiplied by, and the samples n that count."""
    sums, counts = _sums(sample_epe, valid_pixels)
    samples, pixels = len(counts), counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        epes = sums.sum(axis=1) / pixels
        residuals = sums - epes[:, None] * counts
        scale = float(np.sqrt(samples / (samples - 1)) / pixels) if samples > 1 else math.nan
    return epes, residuals, scale, samples


def _sums(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> tuple[Floats, Floats]:
    """Sum of errors [A, n] and valid pixels [n] of the samples that have any."""
    counts = np.asarray(valid_pixels, dtype=np.float64)
    means = np.asarray(np.asarray(sample_epe, dtype=np.float32), dtype=np.float64)
    assert means.ndim == 2 and counts.shape == means.shape[1:], "errors [archs, samples] and counts [samples]"
    return means[:, counts > 0] * counts[counts > 0], counts[counts > 0]


def _norm(values: Floats) -> Any:
    """Root of the sum of squares along the last axis, without overflow of what is finite."""
    return np.sqrt(np.square(values).sum(axis=-1))


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


class TauInterval(NamedTuple):
    """Kendall's tau-b with the interval that holds 95 % of its bootstrap draws; nan where it is undefined."""

    tau: float
    low: float
    high: float


@np.errstate(invalid="ignore", over="ignore")
def tau_interval(
    sample_a: ArrayLike, sample_b: ArrayLike, counts: ArrayLike, draws: int = 1000, seed: int = 0
) -> TauInterval:
    """Rank correlation of two evaluations of one pool on the same samples, and how far the samples leave it open.

    Samples are drawn with replacement, the same ones for both evaluations (Efron and Tibshirani, An Introduction to
    the Bootstrap, ch. 13, percentile interval).  A draw adds noise to the noise that is in the figures, so the interval
    of a noisy ranking lies rather low.

    Args:
        sample_a: [A, N] mean error of each sample, px, one evaluation.
        sample_b: [A, N] the other.
        counts: [N] valid pixels of each sample.
        draws: bootstrap draws.
        seed: the same seed gives the same interval.
    """
    (sums_a, pixels), (sums_b, _) = _sums(sample_a, counts), _sums(sample_b, counts)
    assert sums_a.shape == sums_b.shape, "two evaluations of the same archs on the same samples"
    tau = float(kendall_taus(sums_a.sum(axis=1)[None] / pixels.sum(), sums_b.sum(axis=1)[None] / pixels.sum())[0])
    number = len(pixels)
    if number < 2:
        return TauInterval(tau, math.nan, math.nan)
    drawn = (uniforms(seed, "tau interval", count=draws * number) * number).astype(np.int64).reshape(draws, number)
    places = (drawn + np.arange(draws)[:, None] * number).ravel()
    weights = np.bincount(places, minlength=draws * number).reshape(draws, number).astype(np.float64)
    total = (weights @ pixels)[:, None]
    taus = kendall_taus(weights @ sums_a.T / total, weights @ sums_b.T / total)
    taus = taus[np.isfinite(taus)]
    low, high = np.percentile(taus, [2.5, 97.5]) if taus.size else (math.nan, math.nan)
    return TauInterval(tau, float(low), float(high))


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
    halves = [weights @ sums.T / (weights @ pixels)[:, None] for weights in (first, 1.0 - first)]
    taus = kendall_taus(*halves)
    taus = taus[np.isfinite(taus)]
    return float(taus.mean()) if taus.size else None


def paired_change(before: ArrayLike, after: ArrayLike, valid_pixels: ArrayLike) -> tuple[Floats, Floats]:
    """Change of every arch's EPE between two evaluations on the same samples, and its paired standard error, px.

    Args:
        before: [A, N] mean error of each sample, px; or [1, N], one arch against which all are held.
        after: [A, N], of the same archs and samples.
        valid_pixels: [N].
    """
    (old, ours, scale, _), (new, theirs, _, _) = _spread(before, valid_pixels), _spread(after, valid_pixels)
    with np.errstate(invalid="ignore"):
        return new - old, np.asarray(_norm(theirs - ours) * scale, dtype=np.float64)
