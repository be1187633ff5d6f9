"""Rules on values that cannot be, and on an EPE that is no better than predicting no motion."""

from __future__ import annotations

import math

import numpy as np

from edgeflownas.report.diagnosis.curves import LEAST
from edgeflownas.report.diagnosis.findings import Finding, Severity, finding, needs
from edgeflownas.report.diagnosis.series import mean_noise, span, values_of
from edgeflownas.report.diagnosis.statistics import Array, recent, slope_of
from edgeflownas.report.histories import History

RECOVERED = 0.10
"""Least share of the motion that a network which works recovers."""
YOUNG = 5
"""Evaluations below which an EPE near that of zero flow may be nothing but the start of training."""


def impossible_values(history: History) -> Finding | None:
    """An EPE below zero, a zero-flow EPE that is not above it, or an EPE of exactly zero in every evaluation."""
    mean, zero = history.column("mean_epe_12"), history.column("zero_flow_epe")
    empty = (mean == 0.0) & bool((mean[np.isfinite(mean)] == 0.0).all())
    kinds = {
        "an EPE below 0": (mean < 0.0) | (history.epes < 0.0).any(axis=1),
        "zero_flow_epe not above 0": zero <= 0.0,
        "mean_epe_12 exactly 0 in every evaluation": empty,
    }
    bad = np.logical_or.reduce(list(kinds.values()))
    if not bad.any():
        return None
    epochs = [int(epoch) for epoch in history.epochs[bad]]
    words = [
        f"{kind} ({int(where.sum())} evaluations, first in epoch {int(history.epochs[where][0])})"
        for kind, where in kinds.items()
        if where.any()
    ]
    figures = {"evaluations": len(epochs), "of": len(history.rows), "first_epoch": epochs[0]}
    return finding("impossible_values", "stop", "; ".join(words), figures, epochs)


def near_zero_flow(history: History) -> Finding | None:
    """The EPE of the pool is about that of predicting no motion.

    A predictor with the right directions and a share s of the right lengths has 1 - s of the zero-flow EPE, so the
    relative gain is read as the share of the motion that is recovered.
    """
    mean, zero = values_of(history, "mean_epe_12"), values_of(history, "zero_flow_epe")
    there = np.isfinite(mean) & np.isfinite(zero) & (zero > 0) & (mean >= 0)
    needs(bool(there.any()), "mean_epe_12 and a zero_flow_epe above 0 in one evaluation")
    gains = 1.0 - mean[there] / zero[there]
    last = recent(len(gains), 3)
    level = float(np.median(gains[last]))
    noise = mean_noise(history, mean[there]) / float(np.median(zero[there]))
    error = 1.96 * 1.253 * noise / math.sqrt(len(gains[last]))  # 1.253: of a median against a mean
    unclear = level + error >= RECOVERED  # a note where the noise is what may be above the limit
    if level >= RECOVERED or (unclear and level > 0.0 and len(gains) >= LEAST):
        return None
    slope = slope_of(history.epochs[there][last].astype(np.float64), gains[last], noise)
    rising = slope.distinguishable and slope.slope * len(gains) > RECOVERED
    severity: Severity = "note" if rising or unclear or len(gains) < YOUNG else "stop"
    zero_epe, epe = float(np.median(zero[there][last])), float(np.median(mean[there][last]))
    figures = {"zero_flow_epe": zero_epe, "mean_epe": epe, "gain_pct": 100 * level}
    figures |= {"gain_error_pct": 100 * error} if len(gains) > 2 else {}  # no noise is known before
    best = history.column("per_arch_epe_min")[there][last]
    if np.isfinite(best).any():
        figures["best_arch_gain_pct"] = float(100 * np.nanmedian(1 - best / zero[there][last]))
    text = _beside(gains, last, epe, zero_epe, error) + ("; it still moves away from it" if rising else "")
    return finding("near_zero_flow", severity, text, figures, span(history.epochs[there][last]))


def _beside(gains: Array, last: slice, epe: float, zero: float, error: float) -> str:
    """Evidence in words: how far the mean EPE is below or above that of zero flow, and what that means so far."""
    level, count = float(np.median(gains[last])), len(gains)
    side = "below" if level >= 0.0 else "above"
    known = f" +- {100 * error:.2f}" if count > 2 else ""
    text = f"mean_epe_12 {epe:.4f} px is {100 * abs(level):.2f}{known} % {side} zero_flow_epe {zero:.4f} px "
    text += f"in the last {len(gains[last])} evaluations" if len(gains[last]) > 1 else "in the last evaluation"
    if count < YOUNG:
        still = "still above zero flow" if level < 0.0 else "hardly below zero flow"
        return f"{text}: after {count} evaluation{'s' * (count > 1)} the EPE is {still}, as it may be at the start"
    return text + (": no better than predicting nothing" if level <= max(error, 0.001) else "")
