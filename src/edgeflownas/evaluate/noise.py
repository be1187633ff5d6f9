"""What an evaluation set can tell apart: standard errors of end-point errors from the errors of its samples.

An arch's EPE is a ratio of two sums over samples, r = sum s_i / sum n_i (error and number of the valid pixels of
sample i), so its standard error is that of the ratio estimator: residuals e_i = s_i - r n_i and
se = sqrt(N / (N - 1) * sum e_i^2) / sum n_i  (Cochran, Sampling Techniques, 3rd ed., ch. 6).  Two archs are scored on
the same pixels, so the standard error of their difference comes from the differences of their residuals: the difficulty
of a sample cancels (Miller, Adding Error Bars to Evals, arXiv 2411.00640).  docs/evaluation.md has the formulas in
words and what they leave out: samples count as independent draws of the data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.evaluate.rank_statistics import rank_order

__all__ = ["Z95", "PoolNoise", "pool_noise", "tied_ranks"]

Z95 = 1.96
"""Standard errors on either side of a figure that hold 95 % of a normal distribution."""

Floats = NDArray[np.float64]


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
    def smallest_differences(self) -> Floats:
        """Difference in px that the set can tell apart at 95 %, of every pair of archs: [A (A - 1) / 2], nan left out.

        1.96 paired standard errors; pairs in the order (0, 1), (0, 2), ..., (1, 2), ...
        """
        found = Z95 * self.paired[np.triu_indices(len(self.epes), 1)]
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
        bound = Z95 * self.paired[rows, columns]
        known = np.isfinite(bound)
        if not known.any():
            return None
        return float(np.mean(np.abs(self.epes[rows] - self.epes[columns])[known] <= bound[known]))

    def samples_needed(self, resolution: float) -> int | None:
        """Samples with which half of the pairs could be told apart at ``resolution`` px; None where it is unknown.

        The paired variance falls with 1 / N, so N times the square of (smallest difference / resolution).
        """
        smallest = self.smallest_difference
        if smallest is None or not resolution > 0.0:
            return None
        return max(2, math.ceil(self.samples * (smallest / resolution) ** 2))

    def margins(self) -> list[float]:
        """1.96 standard errors of each arch, px: its EPE +- this; empty where nothing is known."""
        return [] if self.samples < 2 else [float(Z95 * error) for error in self.standard_errors]

    def ranks(self, epes: Sequence[float] | None = None) -> list[int]:
        """Shared ranks by arch_index (see :func:`tied_ranks`), of the own EPEs or the same ones in full precision."""
        return tied_ranks(self.epes.tolist() if epes is None else epes, self.paired)


def pool_noise(sample_epe: ArrayLike, valid_pixels: ArrayLike) -> PoolNoise:
    """Noise of a pool's EPEs.

    Args:
        sample_epe: [A, N] mean error of each sample's valid pixels, px (anything where there is none).  It is rounded
            to float32 first, as it is stored, so that a stored evaluation gives the same figures.
        valid_pixels: [N] number of valid pixels; a sample without any counts nowhere.
    """
    counts = np.asarray(valid_pixels, dtype=np.float64)
    means = np.asarray(np.asarray(sample_epe, dtype=np.float32), dtype=np.float64)
    assert means.ndim == 2 and counts.shape == means.shape[1:], "errors [archs, samples] and counts [samples]"
    means, counts = means[:, counts > 0], counts[counts > 0]
    samples, pixels = len(counts), counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):  # a network that diverged has no noise: nan
        sums = means * counts
        epes = sums.sum(axis=1) / pixels
        residuals = sums - epes[:, None] * counts
        scale = np.sqrt(samples / (samples - 1)) / pixels if samples > 1 else math.nan
        paired = np.stack([_norm(residuals - row) for row in residuals]) * scale
        errors, mean_error = _norm(residuals) * scale, _norm(residuals.mean(axis=0)) * scale
    return PoolNoise(epes, errors, paired, float(mean_error), samples)


def _norm(values: Floats) -> Any:
    """Root of the sum of squares along the last axis, without overflow of what is finite."""
    return np.sqrt(np.square(values).sum(axis=-1))


def tied_ranks(epes: Sequence[float], paired: Floats) -> list[int]:
    """Competition ranks by arch_index: archs within noise of the best of their group share its rank (1, 1, 3, ...).

    Args:
        epes: EPE of every arch, px; the order is theirs (ties by arch_index, NaN last).
        paired: [A, A] standard errors of differences; where one is nan nothing is tied.
    """
    ranks = [0] * len(epes)
    leader = 0
    for place, index in enumerate(rank_order(epes), start=1):
        tied = place > 1 and epes[index] - epes[leader] <= Z95 * paired[leader, index]
        leader = leader if tied else index
        ranks[index] = ranks[leader] if tied else place
    return ranks
