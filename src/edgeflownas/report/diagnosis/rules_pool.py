"""Rules on the archs of the pool and on their ranking."""

from __future__ import annotations

import math

import numpy as np

from edgeflownas.report.diagnosis.findings import Finding, finding, needs
from edgeflownas.report.diagnosis.series import jitter, label, recent_levels, span, values_of, whole_pool
from edgeflownas.report.diagnosis.statistics import Array, extreme_members, recent
from edgeflownas.report.histories import History

STABLE_TAU = 0.5
"""Kendall's tau at which one pair in four changes its order between two evaluations."""


def hard_arch(history: History) -> Finding | None:
    """An arch worse than the spread of the others explains, epoch after epoch."""
    needs(history.pool_size >= 5, f"a pool of at least 5 archs, it has {history.pool_size}")
    epochs, epes = whole_pool(history, 3)
    levels = recent_levels(epes)
    found = extreme_members(levels)
    if not found:
        return None
    worst = found[0]
    others = np.delete(levels, found)
    gap = float(levels[worst] - np.median(others))
    since = _since(epochs, epes, worst, found)
    if since is None:
        return None
    drag = float(levels.mean() - others.mean())
    p90 = float(np.percentile(levels, 90))
    figures = {"arch_index": worst, "arch_code": history.codes[worst] or None, "archs": found, "gap_px": gap}
    figures |= {"others_std_px": float(others.std(ddof=1)), "drags_mean_px": drag, "since_epoch": since}
    figures |= {"mean_px": float(levels.mean()), "median_px": float(np.median(levels)), "p90_px": p90}
    text = (
        f"{label(history, worst)} is {gap:.4f} px above the median of the others ({float(np.median(others)):.4f} px, "
        f"spread {others.std(ddof=1):.4f}) since epoch {since}; it lifts the mean by {drag:.4f} px "
        f"(mean {levels.mean():.4f}, median {np.median(levels):.4f}, p90 {p90:.4f})"
    )
    if len(found) > 1:
        text += f"; so do {', '.join(label(history, index) for index in found[1:])}"
    return finding("hard_arch", "warning", text, figures, (since, int(epochs[-1])))


def _since(epochs: np.ndarray, epes: Array, worst: int, apart: list[int]) -> int | None:
    """First epoch from which the arch is above all others in nine of ten evaluations; None where it is not now."""
    others = np.delete(epes, apart, axis=1).max(axis=1)
    above = epes[:, worst] > others
    if above[recent(len(above), 3)].mean() < 0.9:
        return None
    shares = np.cumsum(above[::-1]) / np.arange(1, len(above) + 1)
    place = len(above) - 1 - int(np.nonzero((shares >= 0.9) & above[::-1])[0][-1])
    return int(epochs[place])


def ranking_below_noise(history: History) -> Finding | None:
    """More than half of the pairs of archs cannot be told apart."""
    needs(history.pool_size >= 3, f"a pool of at least 3 archs, it has {history.pool_size}")
    epochs, epes = whole_pool(history, 1)
    last = recent(len(epes), 3)
    tied = history.column("tied_pairs_12")
    tied = tied[np.isfinite(tied)]
    differences = history.column("smallest_difference_12")
    differences = differences[np.isfinite(differences)]
    if len(tied):
        share = float(np.median(tied[recent(len(tied), 3)]))
        smallest = float(np.median(differences[recent(len(differences), 3)])) if len(differences) else math.nan
        by = "paired errors of the samples"
    else:
        needs(len(epes) >= 8, f"tied_pairs_12, or at least 8 evaluations with every arch, there are {len(epes)}")
        smallest = 1.96 * math.sqrt(2.0) * jitter(epes)
        if len(differences):
            smallest = max(smallest, float(np.median(differences[recent(len(differences), 3)])))
        levels = recent_levels(epes)
        pairs = np.abs(levels[:, None] - levels[None, :])[np.triu_indices(len(levels), 1)]
        share = float((pairs < smallest).mean())
        by = "jitter from epoch to epoch"
    if share <= 0.5:
        return None
    spread = float(np.median(epes[last].std(axis=1)))
    figures = {"tied_pairs_pct": 100 * share, "smallest_difference_px": smallest, "std_epe_px": spread, "noise_by": by}
    text = (
        f"{100 * share:.0f} % of the pairs of archs are within noise: the pool's spread is {spread:.4f} px, one "
        f"evaluation tells {smallest:.4f} px apart at 95 % (from the {by}; medians of the last {len(epes[last])})"
    )
    return finding("ranking_below_noise", "warning", text, figures, span(epochs[last]))


def ranking_unstable(history: History) -> Finding | None:
    """The recent rankings agree little from one evaluation to the next."""
    size = history.pool_size
    needs(size >= 4, f"a pool of at least 4 archs, it has {size}")
    tau = history.column("kendall_tau_prev")
    there = np.isfinite(tau)
    count = int(there.sum())
    needs(count >= 4, f"at least 4 evaluations with kendall_tau_prev, there are {count}")
    last = slice(min(count // 2, count - 4), count)
    epochs, values = history.epochs[there][last], tau[there][last]
    mean = float(values.mean())
    null = math.sqrt(2.0 * (2 * size + 5) / (9.0 * size * (size - 1)))  # of one tau between independent rankings
    error = max(float(values.std(ddof=1)), null if abs(mean) < null else 0.0) / math.sqrt(len(values))
    if mean + 1.645 * error >= STABLE_TAU:
        return None
    chance = mean <= 1.645 * null / math.sqrt(len(values))
    figures = {"tau_mean": mean, "tau_error": error, "tau_of_chance": null, "evaluations": len(values)}
    text = (
        f"kendall_tau_prev is {mean:.2f} +- {1.96 * error:.2f} over the last {len(values)} evaluations: "
        + ("what independent rankings give" if chance else f"{50 * (1 - mean):.0f} % of the pairs change their order")
        + f" (chance of one: 0 +- {1.96 * null:.2f} for {size} archs)"
    )
    return finding("ranking_unstable", "warning", text, {**figures, "like_chance": int(chance)}, span(epochs))


def wide_disagrees(history: History) -> Finding | None:
    """The wide evaluation differs from the frequent one by more than the noise of both, or ranks otherwise."""
    difference = values_of(history, "wide_difference_12")
    there = np.isfinite(difference)
    epochs, values = history.epochs[there], difference[there]
    needs(len(values) >= 1, "a wide evaluation")
    error = history.column("mean_epe_standard_error_12")[there]
    sampling = float(np.nanmedian(error)) if np.isfinite(error).any() else math.nan
    needs(len(values) >= 3 or math.isfinite(sampling), "mean_epe_standard_error_12, or at least 3 wide evaluations")
    middle = float(np.median(values))
    # the same samples each time: the sampling error does not shrink with the number of evaluations
    own = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) >= 3 else 0.0
    noise = math.hypot(own, 0.0 if math.isnan(sampling) else sampling)
    taus = history.column("wide_kendall_tau")
    taus = taus[np.isfinite(taus)]
    tau = float(np.median(taus[-3:])) if len(taus) and history.pool_size >= 4 else None
    apart = math.isfinite(sampling) and abs(middle) > 1.96 * noise
    if not apart and (tau is None or tau >= STABLE_TAU):
        return None
    figures = {"difference_px": middle, "error_px": noise, "kendall_tau": tau, "evaluations": len(values)}
    text = f"frequent minus wide mean EPE is {middle:+.4f} +- {1.96 * noise:.4f} px in {len(values)} wide evaluations"
    text += "" if tau is None else f"; the rankings agree with tau {tau:.2f}"
    return finding("wide_disagrees", "warning", text, figures, span(epochs))
