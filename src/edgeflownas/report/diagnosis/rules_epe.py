"""Rules on the curves of loss and EPE."""

from __future__ import annotations

import math

import numpy as np

from edgeflownas.report.diagnosis.curves import LEAST, fit, plateau
from edgeflownas.report.diagnosis.findings import Finding, Severity, Unjudged, finding, needs
from edgeflownas.report.diagnosis.series import label, mean_noise, series, span
from edgeflownas.report.diagnosis.statistics import Array, noise_of, outliers, recent, resolution, slope_of
from edgeflownas.report.histories import History

PROPORTION = 0.2
"""Least elasticity (relative change of the EPE for one of the loss) that still counts as in proportion."""


def non_finite_epe(history: History) -> Finding | None:
    """Evaluations whose mean EPE or loss is NaN or infinite."""
    bad = [
        int(epoch)
        for epoch, row in zip(history.epochs, history.rows, strict=True)
        if any(isinstance(v := row.get(n), float) and not math.isfinite(v) for n in ("mean_epe_12", "train_loss"))
    ]
    if not bad:
        return None
    now = bad[-1] == int(history.epochs[-1])
    text = f"mean_epe_12 or train_loss is no finite number in {len(bad)} of {len(history.rows)} evaluations, first in"
    figures = {"evaluations": len(bad), "of": len(history.rows)}
    return finding("non_finite_epe", "stop" if now else "warning", f"{text} epoch {bad[0]}", figures, bad)


def change(values: Array) -> float:
    """Plain change from first to last in percent."""
    return float(100.0 * (values[-1] / values[0] - 1.0))


def elasticity(history: History, loss_name: str, epe_name: str) -> tuple[float, float, float, float]:
    """Relative change of EPE for one of loss, with its upper 95 % bound, and both plain changes in percent.

    Both ends are those of fitted curves; their errors are carried through the logarithms.  Leaves the rule as not
    judged where the loss has not fallen by a tenth, or not beyond its noise: there is nothing to be in proportion to.
    """
    epochs, loss = series(history, loss_name)
    times, epe = series(history, epe_name)
    needs(bool((loss > 0).all() and (epe > 0).all()), f"positive values of {loss_name} and {epe_name}")
    curves = fit(epochs, loss), fit(times, epe)
    needs(all(c.first > 0 and c.last > 0 for c in curves), f"positive levels of {loss_name} and {epe_name}")
    logs = [math.log(c.last / c.first) for c in curves]
    errors = [c.end_error * math.hypot(1.0 / c.first, 1.0 / c.last) for c in curves]
    fell = logs[0] + 1.645 * errors[0] < 0.0 and logs[0] < math.log(0.9)
    needs(fell, f"{loss_name} to fall by a tenth and beyond its noise, it changed by {change(loss):.1f} %")
    ratio = logs[1] / logs[0]
    error = math.hypot(errors[1] / logs[0], ratio * errors[0] / logs[0])
    return ratio, ratio + 1.645 * error, change(loss), change(epe)


def loss_epe_divergence(history: History) -> Finding | None:
    """The loss keeps falling and the EPE does not follow."""
    ratio, bound, loss, epe = elasticity(history, "train_loss", "mean_epe_12")
    if bound >= PROPORTION:
        return None
    figures = {"loss_change_pct": loss, "epe_change_pct": epe, "elasticity": ratio, "elasticity_bound": bound}
    text = (
        f"train_loss {loss:+.1f} %, mean_epe_12 {epe:+.2f} % from epoch {history.epochs[0]} to {history.epochs[-1]}: "
        f"the EPE takes {ratio:.3f} of the loss's relative fall (at most {bound:.3f}; in proportion is 1)"
    )
    return finding("loss_epe_divergence", mismatch_severity(epe), text, figures, span(history.epochs))


def mismatch_severity(epe_change_pct: float) -> Severity:
    """A warning, but a note where the EPE too has fallen by the tenth that the loss has to fall to be judged."""
    return "note" if epe_change_pct <= -10.0 else "warning"


def plateau_of_epe(history: History) -> Finding | None:
    """The mean EPE has stopped falling."""
    epochs, values = series(history, "mean_epe_12")
    found = plateau(epochs, values, mean_noise(history, values))
    if found is None:
        return None
    last = int(epochs[-1])
    figures: dict[str, float | int] = {"epe_from_epoch": found.start, "epe_level": found.level}
    figures |= {"pace_before_px": found.before, "pace_after_px": found.after.slope}
    figures |= {"pace_after_error_px": found.after.error, "evaluations_since": int((epochs >= found.start).sum())}
    text = (
        f"mean_epe_12 is level at {found.level:.4f} px since epoch {found.start} (to {last}): {found.after.slope:+.2g} "
        f"+- {1.96 * found.after.error:.2g} px an epoch lately, {found.before:+.2g} before"
    )
    try:
        loss = plateau(*series(history, "train_loss"))
    except Unjudged:
        loss = None
    if loss is not None:
        figures["loss_from_epoch"] = loss.start
        text += f"; the loss is level since epoch {loss.start}"
    return finding("plateau", "warning", text, figures, (found.start, last))


def outlier_epoch(history: History) -> Finding | None:
    """Evaluations unlike their neighbours, in the spread of the pool (on a log scale) or in its mean."""
    found: dict[int, tuple[float, str]] = {}
    judged = False
    for name in ("std_epe_12", "mean_epe_12"):
        values = history.column(name)
        there = np.isfinite(values) & (values > 0)
        if int(there.sum()) < 14:
            continue
        judged = True
        epochs, values = history.epochs[there], values[there]
        if name == "std_epe_12":  # of few archs it is now and then very small by chance; jumps are what matters
            scores, odd = outliers(np.log(values), least=resolution(values) / math.sqrt(12.0) / values)
            odd &= scores > 0
        else:
            scores, odd = outliers(values)
        for place in np.nonzero(odd)[0]:
            nearby = float(np.median(values[max(0, place - 3) : place + 4]))
            text = f"{name} {values[place]:.4f} beside {nearby:.4f}"
            if abs(scores[place]) > abs(found.get(int(epochs[place]), (0.0, ""))[0]):
                found[int(epochs[place])] = (float(scores[place]), text)
    needs(judged, "at least 14 evaluations with std_epe_12 or mean_epe_12")
    if not found:
        return None
    shown = sorted(found, key=lambda epoch: -abs(found[epoch][0]))
    text = "; ".join(f"epoch {epoch}: {found[epoch][1]} px (z {found[epoch][0]:+.1f})" for epoch in shown[:5])
    figures = {"epoch": shown[0], "outliers": sorted(found), "z": found[shown[0]][0]}
    if (worst := _mover(history, shown[0])) is not None:
        figures["arch_index"] = worst
        text += f"; most of it is {label(history, worst)}"
    return finding("outlier_epoch", "warning", text, figures, sorted(found))


def _mover(history: History, epoch: int) -> int | None:
    """The arch that moved more than all others together (squares of px from its median over the epochs around)."""
    place = int(np.nonzero(history.epochs == epoch)[0][0])
    around = history.epes[max(0, place - 3) : place + 4]
    if history.pool_size < 2 or not np.isfinite(around).all():
        return None
    moved = (history.epes[place] - np.median(around, axis=0)) ** 2
    worst = int(np.argmax(moved))
    return worst if 2.0 * float(moved[worst]) > float(moved.sum()) else None


def best_on_noise(history: History) -> Finding | None:
    """The best epoch lies on a level stretch and is no lower than the luckiest of equal ones would be."""
    epochs, values = series(history, "mean_epe_12")
    noise = mean_noise(history, values)
    found = plateau(epochs, values, noise)
    if found is None:
        return None
    level = epochs >= found.start
    place = int(np.argmin(values))
    count = int(level.sum())
    if not level[place]:
        return None
    sd = max(noise_of(values[level]), noise)
    gain = found.level - float(values[place])
    # the lowest of n normal values is above this with 95 %
    luck = sd * -float(_normal_quantile(1.0 - 0.95 ** (1.0 / count)))
    if gain > luck:
        return None
    equal = int((values <= values[place] + 1.96 * math.sqrt(2.0) * sd).sum())
    best = int(epochs[place])
    figures = {"epoch": best, "best_epe": float(values[place]), "gain_px": gain, "luck_px": luck, "equal": equal}
    text = (
        f"the best mean_epe_12 ({values[place]:.4f} px, epoch {best}) is {gain:.4f} px below the level "
        f"{found.level:.4f} px; the luckiest of {count} equal evaluations reaches {luck:.4f}; {equal} evaluations are "
        "within noise of it"
    )
    return finding("best_on_noise", "note", text, figures, (best,))


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)


def epe_rising(history: History) -> Finding | None:
    """The mean EPE rises: its recent slope is upwards and its level is above the lowest one beyond noise."""
    rise = _rise(history, "mean_epe_12")
    if rise is None:
        return None
    figures = {"slope_px": rise[0], "error_px": rise[1], "above_lowest_px": rise[2], "lowest_epoch": rise[3]}
    text = f"mean_epe_12 rises by {rise[0]:.2g} +- {1.96 * rise[1]:.2g} px an epoch and is {rise[2]:.4f} px above its "
    severity: Severity = "stop" if rise[2] > 0.5 * rise[4] else "warning"
    text += f"level around epoch {rise[3]}"
    return finding("epe_rising", severity, text, figures, (rise[3], int(history.epochs[-1])))


def _rise(history: History, name: str) -> tuple[float, float, float, int, float] | None:
    """Slope an epoch and its error, height above the lowest level, its epoch and the fall before it; None: no rise."""
    epochs, values = series(history, name)
    noise = max(noise_of(values), 1e-12)
    last = recent(len(values), LEAST)
    slope = slope_of(epochs[last], values[last], noise)
    smooth = np.array([np.median(values[max(0, p - 2) : p + 3]) for p in range(len(values))])
    lowest = int(np.argmin(smooth))
    now = float(np.median(values[-3:]))
    above = now - float(smooth[lowest])
    # the lowest of n medians is about two errors too low by chance
    limit = noise * (math.sqrt(2 * math.log(len(values))) / math.sqrt(3.0) + 1.96 / math.sqrt(3.0))
    if slope.slope <= 2.6 * slope.error or above <= limit:
        return None
    return slope.slope, slope.error, above, int(epochs[lowest]), float(smooth[0] - smooth[lowest])


def no_divergence(history: History) -> Finding | None:
    """Says that nothing diverges: no rise of loss or EPE, no value that is no number."""
    if non_finite_epe(history) is not None or _rise(history, "mean_epe_12") is not None:
        return None
    text = "mean_epe_12 does not rise beyond its noise"
    if "train_loss" in history.columns:
        if _rise(history, "train_loss") is not None:
            return None
        text += ", nor does train_loss"
    return finding("no_divergence", "ok", text, {"evaluations": len(history.rows)})
