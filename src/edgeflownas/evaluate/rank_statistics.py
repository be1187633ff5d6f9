"""Statistics of the pool's end-point errors (EPE, px; lower is better) and of their ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class PoolStatistics(NamedTuple):
    """Of the EPEs of one pool, px."""

    mean: float
    std: float
    """Over the pool itself (ddof 0), not an estimate for a larger one."""
    median: float
    p90: float
    """Linear interpolation between order statistics (numpy's default)."""
    min: float
    max: float


def pool_statistics(epes: Sequence[float]) -> PoolStatistics:
    """Statistics of at least one EPE; one NaN makes all of them NaN, infinities go through where they can."""
    values = np.asarray(epes, dtype=np.float64)
    assert values.ndim == 1 and values.size, "a pool has at least one subnet"
    if np.isnan(values).any():
        return PoolStatistics(*[math.nan] * len(PoolStatistics._fields))
    with np.errstate(invalid="ignore"):  # inf - inf
        figures = (
            values.mean(),
            values.std(ddof=0),
            np.median(values),
            np.percentile(values, 90, method="linear"),
            values.min(),
            values.max(),
        )
    return PoolStatistics(*map(float, figures))


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's rank correlation, variant b (ties corrected), of two score lists over the same subnets.

    Returns:
        -1 (reversed) to 1 (same order), or None where it is undefined: fewer than two subnets, all scores of one
        list equal, or a NaN.
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
        signs = [np.sign(scores[:, rows] - scores[:, columns]) for scores in (one, other)]
        scale = np.sqrt(np.abs(signs[0]).sum(axis=1) * np.abs(signs[1]).sum(axis=1))
        return np.asarray((signs[0] * signs[1]).sum(axis=1) / scale, dtype=np.float64)


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


def best_criterion(
    best_by: Literal["mean", "median", "p90", "mix"],
    best_mix: tuple[float, float, float],
    statistics: PoolStatistics,
) -> float:
    """The figure in px that chooses the best checkpoint (lowest), after eval.best_by and eval.best_mix.

    ``mix`` is the average of mean, median and p90 with the three weights; the configuration refuses all-zero weights.
    """
    if best_by != "mix":
        return float(getattr(statistics, best_by))
    figures = (statistics.mean, statistics.median, statistics.p90)
    return math.fsum(w * figure for w, figure in zip(best_mix, figures, strict=True) if w) / math.fsum(best_mix)
