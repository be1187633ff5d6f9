"""Rules on steps, clipping, learning rate, data and time."""

from __future__ import annotations

import math

import numpy as np

from edgeflownas.report.diagnosis.curves import LEAST, fit, plateau
from edgeflownas.report.diagnosis.findings import Finding, Unjudged, finding, needs
from edgeflownas.report.diagnosis.series import comparable, mean_noise, series, span, values_of
from edgeflownas.report.diagnosis.statistics import Array, binomial_interval, recent
from edgeflownas.report.histories import History

ALWAYS = 0.9
"""Share of clipped checks above which even the 10 % quantile of the norms is over the threshold."""
NEVER = 0.01
"""Share of clipped checks below which the threshold is beyond the 99 % quantile of the norms."""
BARELY = 0.25
"""Decay of the rate below which the noise it makes (about its square root) has fallen by less than an eighth."""
COVERED = 0.25
"""Share of the split an epoch must see; below it the epoch's own averages carry over three times (1 / share - 1) the
sampling variance of half a pass."""
WAIT = 0.1
"""Share of the time spent waiting whose removal saves a tenth."""
WEIGHT = 0.03
"""Typical initial size of a weight: He normal, 3x3 kernel over 8 x 32 channels, sqrt(2 / 2304)."""


def _clips(history: History) -> tuple[Array, Array, Array]:
    """Epochs, clipped checks and checks, where clipping is on."""
    rate = values_of(history, "clip_rate")
    if all("clip_threshold" in row for row in history.rows):  # the TF1 tool has no such column and always clips
        on = np.isfinite(history.column("clip_threshold")) & (history.column("clip_threshold") > 0)
        needs(bool(on.any()), "clipping, which is off (no clip_threshold)")
    else:
        on = np.ones(len(rate), dtype=bool)
    there = np.isfinite(rate) & (rate >= 0) & (rate <= 1) & on
    needs(bool(there.any()), "a clip_rate between 0 and 1")
    checks, counts = history.column("clip_checks"), history.column("clip_count")
    with np.errstate(divide="ignore", invalid="ignore"):
        derived = np.where(rate > 0, np.round(counts / rate), np.nan)  # the TF1 tool logs count and rate
    checks = np.where(np.isfinite(checks), checks, derived)
    usual = np.nanmedian(checks[there]) if np.isfinite(checks[there]).any() else 50.0  # an epoch has as many steps
    checks = np.where(np.isfinite(checks) & (checks > 0), checks, usual)
    return history.epochs[there].astype(np.float64), rate[there] * checks[there], checks[there]


def clip_saturated(history: History) -> Finding | None:
    """Nearly every check clips."""
    epochs, hits, checks = _clips(history)
    last = recent(len(hits), 3)
    low, high = binomial_interval(float(hits[last].sum()), float(checks[last].sum()))
    needs(checks[last].sum() >= 30, f"at least 30 clip checks, there are {int(checks[last].sum())}")
    if low <= ALWAYS:
        return None
    rate = float(hits[last].sum() / checks[last].sum())
    figures, norms = _thresholds(history)
    since = int(epochs[_saturated_from(hits / checks)])
    figures |= {"clip_rate": rate, "clip_rate_low": low, "clip_rate_high": high, "since_epoch": since}
    text = f"{100 * rate:.1f} % of the checks clip in the last {len(hits[last])} evaluated epochs"
    text += f", above {100 * ALWAYS:.0f} % since epoch {since}{norms}"
    return finding("clip_saturated", "warning", text, figures, (since, int(epochs[-1])))


def _saturated_from(rates: Array) -> int:
    """Place from which on nine of ten epochs clip more than ``ALWAYS`` of their checks, itself one of them."""
    high = rates > ALWAYS
    shares = np.cumsum(high[::-1]) / np.arange(1, len(high) + 1)
    places = np.nonzero((shares >= 0.9) & high[::-1])[0]
    return len(high) - 1 - int(places[-1]) if len(places) else int(recent(len(rates), 3).start)


def clip_idle(history: History) -> Finding | None:
    """No epoch clips more than one check in a hundred."""
    epochs, hits, checks = _clips(history)
    total = float(checks.sum())
    needs(total >= 300, f"at least 300 clip checks to call a rate below 1 %, there are {int(total)}")
    rates = hits / checks
    pooled = binomial_interval(float(hits.sum()), total)
    lows = [binomial_interval(float(h), float(c))[0] for h, c in zip(hits, checks, strict=True)]
    if pooled[1] >= NEVER or max(lows) > NEVER:
        return None
    figures, norms = _thresholds(history)
    rate, highest = float(hits.sum() / total), float(rates.max())
    figures |= {"clip_rate": rate, "clip_rate_high": pooled[1], "clip_rate_max": highest}
    text = f"{100 * rate:.2f} % of {int(total)} checks clip (at most {100 * highest:.2f} % in an epoch)"
    return finding("clip_idle", "note", text + norms, figures, (int(epochs[0]), int(epochs[-1])))


def _thresholds(history: History) -> tuple[dict[str, float], str]:
    """Threshold and recent quantiles of the norms, as figures and in words."""
    names = ("clip_threshold", "grad_norm_p50", "grad_norm_p90", "grad_norm_p99", "clip_suggested")
    figures = {}
    for name in names:
        values = history.column(name)
        values = values[np.isfinite(values)]
        if len(values):
            figures[name] = float(np.median(values[recent(len(values), 3)]))
    words = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    return figures, f"; {words}" if words else ""


def clip_checks_mismatch(history: History) -> Finding | None:
    """Counted and expected clip checks of an epoch differ."""
    counted, expected = values_of(history, "clip_checks"), values_of(history, "expected_clip_checks")
    there = np.isfinite(counted) & np.isfinite(expected)
    needs(bool(there.any()), "clip_checks and expected_clip_checks in one row")
    places = np.nonzero(there & (counted != expected))[0]
    if not len(places):
        return None
    last = places[-1]
    epochs = history.epochs[places]
    figures = {"counted": int(counted[last]), "expected": int(expected[last]), "evaluations": len(places)}
    text = (
        f"clip_checks {int(counted[last])}, expected_clip_checks {int(expected[last])} in epoch {epochs[-1]}; they "
        f"differ in {len(places)} of {int(there.sum())} evaluated epochs"
    )
    return finding("clip_checks_mismatch", "warning", text, figures, span(epochs))


def non_finite_steps(history: History) -> Finding | None:
    """Steps that were dropped because loss or gradient was not finite."""
    dropped = values_of(history, "dropped_steps")
    there = np.isfinite(dropped) & (dropped > 0)
    if not there.any():
        return None
    epochs, total = history.epochs[there], int(dropped[there].sum())
    steps = history.column("global_step")
    figures: dict[str, float] = {"dropped_steps": total, "evaluations": len(epochs)}
    share = float(total / np.nanmax(steps)) if np.isfinite(steps).any() and np.nanmax(steps) > 0 else math.nan
    text = f"{total} dropped steps in epochs {', '.join(map(str, epochs[:8]))}{' and more' if len(epochs) > 8 else ''}"
    if math.isfinite(share):
        figures["share_pct"] = 100 * share
        text += f" ({100 * share:.3g} % of all steps)"
    now = bool(there[recent(len(there), 3)].any())
    return finding("non_finite_steps", "warning" if now or share > 0.01 else "note", text, figures, list(epochs))


def _rates(history: History) -> tuple[Array, Array]:
    rate = values_of(history, "lr")
    there = np.isfinite(rate) & (rate >= 0)
    return history.epochs[there].astype(np.float64), rate[there]


def lr_barely_moved(history: History) -> Finding | None:
    """The learning rate is still near its highest value after the first evaluations."""
    epochs, rates = _rates(history)
    needs(len(rates) >= 10, f"at least 10 evaluations with lr, there are {len(rates)}")
    top = float(rates.max())
    needs(top > 0, "a learning rate above zero")
    decay = 1.0 - float(rates[-1]) / top
    warming = rates[0] < (1 - BARELY) * top and decay < 0.01  # still on its way up
    if decay >= BARELY or warming:
        return None
    planned = history.planned_epochs
    constant = decay == 0.0 and float(rates.min()) == top
    figures = {"decay_pct": 100 * decay, "lr_first": float(rates[0]), "lr_last": float(rates[-1])}
    figures |= {"epochs": int(epochs[-1])} | ({} if planned is None else {"planned_epochs": planned})
    text = f"lr {rates[0]:.2e} to {rates[-1]:.2e}: {100 * decay:.1f} % below its highest value after epoch "
    text += f"{int(epochs[-1])}" + ("" if planned is None else f" of {planned}")
    text += ": constant" if constant else ""
    advice = "It is constant: choose a train.lr_schedule that falls (cosine, fast_anneal)." if constant else ""
    return finding("lr_barely_moved", "warning" if _stuck(history) else "note", text, figures, (), advice)


def _stuck(history: History) -> bool:
    """Whether the mean EPE is on a plateau."""
    history = comparable(history)
    try:
        epochs, values = series(history, "mean_epe_12")
        return plateau(epochs, values, mean_noise(history, values)) is not None
    except Unjudged:
        return False


def lr_too_low(history: History) -> Finding | None:
    """All steps together cannot have moved a weight by a tenth of its size, and the loss has not fallen.

    Adam moves a weight by at most about the rate at each step (Kingma and Ba 2015, section 2.1), so the sum of the
    rates over all steps bounds how far it came.
    """
    epochs, rates = _rates(history)
    steps = values_of(history, "global_step")[np.isin(history.epochs, epochs)]
    needs(len(rates) >= LEAST and bool(np.isfinite(steps).all()), f"at least {LEAST} evaluations with lr, global_step")
    done = np.diff(steps, prepend=steps[0] - (steps[1] - steps[0]))
    needs(bool((done > 0).all()), "a global_step that grows")
    moved = float((done * rates).sum())
    if moved >= 0.1 * WEIGHT:
        return None
    _, loss = series(history, "train_loss")
    curve = fit(np.arange(len(loss), dtype=np.float64), loss)
    if curve.first - curve.last > max(3.0 * curve.end_error, 0.1 * abs(curve.first)):
        return None
    figures = {"largest_movement": moved, "weight_size": WEIGHT, "lr_max": float(rates.max())}
    text = (
        f"the rates of all steps add up to {moved:.2g}, {100 * moved / WEIGHT:.1f} % of a weight's usual size "
        f"({WEIGHT}); train_loss {curve.first:.4g} to {curve.last:.4g}"
    )
    return finding("lr_too_low", "stop", text, figures, span(history.epochs))


def coverage_low(history: History) -> Finding | None:
    """An epoch sees less than a quarter of the training split."""
    unique, size = values_of(history, "unique_samples"), values_of(history, "train_samples")
    there = np.isfinite(size) & (unique >= 0) & (unique <= size) & (size > 0)
    needs(bool(there.any()), "unique_samples and train_samples in one row")
    unique, size = unique[there], size[there]
    last = recent(len(unique), 3)
    share = float(np.median(unique[last] / size[last]))
    if share >= COVERED:
        return None
    seen, epochs = history.column("seen_samples")[there], history.epochs[there]
    drawn = history.column("train_drawn")[there]
    with np.errstate(divide="ignore", invalid="ignore"):
        from_seen = np.diff(seen) / np.diff(epochs) if len(seen) > 1 else seen / epochs
    draws = float(np.nanmedian(drawn)) if np.isfinite(drawn).any() else math.nan
    if math.isnan(draws) and np.isfinite(from_seen).any():
        draws = float(np.nanmedian(from_seen))
    count = float(size[-1])
    figures = {"share_pct": 100 * share, "unique_samples": int(unique[-1]), "train_samples": int(count)}
    text = f"an epoch sees {int(unique[-1])} of {int(count)} training samples, {100 * share:.2f} %"
    if math.isfinite(draws) and draws > 0:
        expected = -math.expm1(draws * math.log1p(-1.0 / count)) if count > 1 else 1.0
        passes = float(seen[-1] / count) if np.isfinite(seen[-1]) else math.nan
        figures |= {"expected_share_pct": 100 * expected, "drawn_pct": 100 * draws / count, "passes": passes}
        text += f"; {draws:.0f} draws with replacement give {100 * expected:.2f} %; {passes:.2f} passes so far"
    return finding("coverage_low", "warning", text, figures, span(epochs[last]))


def data_wait_high(history: History) -> Finding | None:
    """Waiting for data takes more than a tenth of the time."""
    name = "share_data_wait" if "share_data_wait" in history.columns else "data_wait_share"
    share = values_of(history, name)
    there = np.isfinite(share)
    needs(bool(there.any()), name)
    last = recent(int(there.sum()), 3)
    epochs, values = history.epochs[there][last], share[there][last]
    wait = float(np.median(values))
    if wait <= WAIT:
        return None
    figures = {"wait_pct": 100 * wait, "faster_times": 1.0 / max(1.0 - wait, 1e-3)}
    text = (
        f"{name} {wait:.3f} (median of the last {len(values)} evaluated epochs): without waiting, training takes "
        f"{100 * wait:.0f} % less time"
    )
    return finding("data_wait_high", "warning", text, figures, span(epochs))


def fairness_gap_open(history: History) -> Finding | None:
    """Options of a block were counted more than once apart (blocks with fewer options than paths reach one)."""
    gap = values_of(history, "fairness_gap")
    places = np.nonzero(np.isfinite(gap) & (gap > 1))[0]
    if not len(places):
        return None
    figures = {"fairness_gap": int(gap[places[-1]]), "evaluations": len(places)}
    text = f"fairness_gap {int(gap[places[-1]])} in epoch {history.epochs[places[-1]]}"
    return finding("fairness_gap_open", "warning", text, figures, span(history.epochs[places]))


def fairness_equal(history: History) -> Finding | None:
    """Says what a fairness_gap of 0 (or 1) means."""
    gap = values_of(history, "fairness_gap")
    gap = gap[np.isfinite(gap)]
    needs(len(gap) > 0, "fairness_gap")
    if (gap > 1).any():
        return None
    text = f"fairness_gap is {int(gap.max())} throughout: equal counts, not equal quality"
    return finding("fairness_equal", "ok", text, {"fairness_gap": int(gap.max())})
