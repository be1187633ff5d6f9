"""Rules on what evaluations measured: the EPE of the pool, its curve beside the loss, its archs and their ranking.

A docstring is the rule's section of docs/diagnosis.md; findings repeat its Why and Try.
"""

from __future__ import annotations

import math
from contextlib import suppress
from statistics import NormalDist

import numpy as np

from edgeflownas.report.diagnosis import statistics as stats
from edgeflownas.report.diagnosis.rule import Found, Unjudged, mean_noise, needs, rule, series, values_of, whole_pool
from edgeflownas.report.history import History
from edgeflownas.report.logs import ROUNDING

PROPORTION = 0.2  # least elasticity (relative change of the EPE for one of the loss) that still counts as in proportion
RECOVERED = 0.10  # least share of the motion that a network which works recovers
YOUNG = 5  # evaluations below which an EPE near that of zero flow may be nothing but the start of training
STABLE_TAU = 0.5  # Kendall's tau at which one pair in four changes its order between two evaluations


@rule("Non finite EPE", 595, "epe", whole=True, dated=True)
def non_finite_epe(history: History) -> Found | None:
    """`mean_epe_12` or `train_loss` is NaN or infinite.  Stop where it is the last evaluation.

    Why: An EPE that is not a number says that weights or statistics are broken; later figures build on them.
    Try: Go back to the last checkpoint before it; lower train.lr or set train.grad_clip_global_norm.
    """
    names = ("mean_epe_12", "train_loss")
    given = [[row.get(name) is not None for row in history.rows] for name in names]
    bad = history.epochs[(~np.isfinite([history.column(name) for name in names]) & given).any(axis=0)]
    if not len(bad):
        return None
    text = f"mean_epe_12 or train_loss is no finite number in {len(bad)} of {history.evaluated} evaluations, first in"
    figures, now = {"evaluations": len(bad), "of": history.evaluated}, bad[-1] == history.epochs[-1]
    return Found("stop" if now else "warning", f"{text} epoch {bad[0]}", figures, bad)


@rule("Impossible values", 590, "epe", "archs", whole=True, dated=True)
def impossible_values(history: History) -> Found | None:
    """An EPE below 0, a `zero_flow_epe` not above 0, or a `mean_epe_12` of exactly 0 in every evaluation.

    The EPE of the pool or of an arch.  No statistic: such a value cannot be measured, so it is a stop and names the
    epochs.

    Why: An EPE is a mean distance: it is never negative, and exactly zero only for the truth itself. What wrote these
    figures measured something else, so no other finding about the EPE can be trusted.
    Try: Look at what wrote the file: the mask of valid pixels, the truth, and whether the columns are the right ones.
    """
    mean, zero = history.column("mean_epe_12"), history.column("zero_flow_epe")
    kinds = {
        "an EPE below 0": (mean < 0.0) | (history.epes < 0.0).any(axis=1),
        "zero_flow_epe not above 0": zero <= 0.0,
        "mean_epe_12 exactly 0 in every evaluation": (mean == 0.0) & (mean[np.isfinite(mean)] == 0.0).all(),
    }
    bad = history.epochs[np.logical_or.reduce(list(kinds.values()))]
    if not len(bad):
        return None
    words = [
        f"{kind} ({int(where.sum())} evaluations, first in epoch {int(history.epochs[where][0])})"
        for kind, where in kinds.items()
        if where.any()
    ]
    figures = {"evaluations": len(bad), "of": history.evaluated, "first_epoch": int(bad[0])}
    return Found("stop", "; ".join(words), figures, bad)


@rule("Row contradicts itself", 587, "epe", "archs", dated=True)
def row_contradicts(history: History) -> Found | None:
    """`mean_epe_12` or `std_epe_12` is not that of the EPEs of its own `arch_rank_12`.

    No statistic: beyond the rounding of four decimals, in evaluations whose ranking is complete.  Where more than half
    of at least 8 differ, the column is taken for another average, and no row for wrong.

    Why: One of the two was written by another evaluation, or by hand: no figure of that row can be trusted.
    Try: Look at what wrote the file; evaluate that checkpoint again (edgeflownas evaluate).
    """
    whole = np.isfinite(history.epes).all(axis=1)
    needs(whole.any(), "an evaluation with the EPE of every arch")
    lines, bad = [], set[int]()
    of_archs = {"mean_epe_12": history.epes.mean(axis=1), "std_epe_12": history.epes.std(axis=1)}
    for name, own in of_archs.items():
        values = history.column(name)
        for place in np.flatnonzero(whole & np.isfinite(values) & ~(np.abs(values - own) <= 2 * ROUNDING + 1e-6 * own)):
            bad.add(int(history.epochs[place]))
            lines.append(f"epoch {history.epochs[place]}: {name} {values[place]:.4f}, of its ranking {own[place]:.4f}")
    if not lines or (2 * len(bad) > whole.sum() >= stats.LEAST):
        return None
    text = "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
    return Found("warning", text, {"evaluations": len(bad), "of": int(whole.sum())}, sorted(bad))


@rule("EPE close to zero flow", 585, "epe", "archs")
def near_zero_flow(history: History) -> Found | None:
    """Recent gain 1 - mean EPE / `zero_flow_epe`, with its 95 % error, is below 10 %.

    A predictor with the right directions and a share s of the right lengths has (1 - s) of the zero-flow EPE, so the
    gain is the share of the motion that is recovered; less than a tenth is nothing.  Judged from the first evaluation
    on: a note below 5 evaluations, when it may be nothing but the start, while it still moves away fast, and where only
    noise puts the upper end of the gain above 10 % (from 8 evaluations on such a gain is passed over unless the EPE is
    above zero flow); else stop.  After the last planned epoch an EPE that is not below zero flow is a stop in any case,
    and few evaluations are no excuse.

    Why: Predicting no motion at all is as good. Either the scored prediction is not the accumulated flow, or the
    network predicts (almost) nothing.
    Try: Look at pictures of prediction and truth. Check that the accumulated flow is scored (not the last residual),
    the sign, order and scale of the flow, and the input normalisation; then overfit a few pairs.
    """
    mean, zero = values_of(history, "mean_epe_12"), values_of(history, "zero_flow_epe")
    there = np.isfinite(mean) & np.isfinite(zero) & (zero > 0) & (mean >= 0)
    needs(there.any(), "mean_epe_12 and a zero_flow_epe above 0 in one evaluation")
    gains, count = 1.0 - mean[there] / zero[there], int(there.sum())
    last = stats.recent(count, 3)
    shown = len(gains[last])
    level = float(np.median(gains[last]))
    noise = mean_noise(history, mean[there]) / float(np.median(zero[there]))
    error = 1.96 * 1.253 * noise / math.sqrt(shown)  # 1.253: of a median against a mean
    unclear = level + error >= RECOVERED  # a note where the noise is what may be above the limit
    if level >= RECOVERED or (unclear and level > 0.0 and count >= stats.LEAST):
        return None
    slope = stats.slope_of(history.epochs[there][last].astype(np.float64), gains[last], noise)
    rising = slope.distinguishable and slope.slope * count > RECOVERED
    zero_epe, epe = float(np.median(zero[there][last])), float(np.median(mean[there][last]))
    figures = {"zero_flow_epe": zero_epe, "mean_epe": epe, "gain_pct": 100 * level}
    figures |= {"gain_error_pct": 100 * error} if count > 2 else {}  # no noise is known before
    best = history.column("per_arch_epe_min")[there][last]
    if np.isfinite(best).any():
        figures["best_arch_gain_pct"] = float(100 * np.nanmedian(1 - best / zero[there][last]))
    known = f" +- {100 * error:.2f}" if count > 2 else ""
    side = "below" if level >= 0.0 else "above"
    text = f"mean_epe_12 {epe:.4f} px is {100 * abs(level):.2f}{known} % {side} zero_flow_epe {zero_epe:.4f} px "
    text += f"in the last {shown} evaluations" if shown > 1 else "in the last evaluation"
    planned = history.planned_epochs
    ended = planned is not None and history.epochs[there][-1] >= planned
    if ended and level <= 0.0:
        text += ", at the end of the plan: no better than predicting nothing"
    elif count < YOUNG and not ended:
        still = "still above zero flow" if level < 0.0 else "hardly below zero flow"
        text += f": after {count} evaluation{'s' * (count > 1)} the EPE is {still}, as it may be at the start"
    elif level <= max(error, 0.001):
        text += ": no better than predicting nothing"
    text += "; it still moves away from it" if rising else ""
    early = rising or unclear or count < YOUNG
    if ended:
        early = level > 0.0 and (rising or unclear)
    return Found("note" if early else "stop", text, figures, history.epochs[there][last])


@rule("EPE rising", 495, "epe", "loss")
def epe_rising(history: History) -> Found | None:
    """The mean EPE rises.

    Its recent slope is upwards by more than 2.6 standard errors (99 %), and its level is above the lowest running
    median by more than the lowest of n such medians is too low by chance.  Stop where half of the fall is lost.

    Why: The evaluation gets worse although training goes on.
    Try: Take the best checkpoint; lower train.lr, clip lower, or look for overfitting (train_epe against EPE).
    """
    rise = _rise(history, "mean_epe_12")
    if rise is None:
        return None
    slope, error, above, lowest, fall = rise
    figures = {"slope_px": slope, "error_px": error, "above_lowest_px": above, "lowest_epoch": lowest}
    text = f"mean_epe_12 rises by {slope:.2g} +- {1.96 * error:.2g} px an epoch and is {above:.4f} px above its level "
    text += f"around epoch {lowest}"
    return Found("stop" if above > 0.5 * fall else "warning", text, figures, (lowest, int(history.epochs[-1])))


def _rise(history: History, name: str) -> tuple[float, float, float, int, float] | None:
    """Slope an epoch and its error, height above the lowest level, its epoch and the fall before it; None: no rise."""
    epochs, values = series(history, name)
    noise = max(stats.noise_of(values), 1e-12)
    last = stats.recent(len(values), stats.LEAST)
    slope = stats.slope_of(epochs[last], values[last], noise)
    smooth = np.array([np.median(values[max(0, p - 2) : p + 3]) for p in range(len(values))])
    lowest = int(np.argmin(smooth))
    above = float(np.median(values[-3:])) - float(smooth[lowest])
    # the lowest of n medians is about two errors too low by chance
    limit = noise * (math.sqrt(2 * math.log(len(values))) / math.sqrt(3.0) + 1.96 / math.sqrt(3.0))
    if slope.slope <= 2.6 * slope.error or above <= limit:
        return None
    return slope.slope, slope.error, above, int(epochs[lowest]), float(smooth[0] - smooth[lowest])


@rule("Loss and EPE part ways", 490, "loss", "epe")
def loss_epe_divergence(history: History) -> Found | None:
    """The loss keeps falling and the EPE does not follow.

    Elasticity: ln(EPE last / first) over ln(loss last / first) at the ends of fitted curves.  In proportion is 1, since
    both measure the error.  Reported where its upper 95 % bound is below 0.2 (a fifth of the proportion) and the loss
    has fallen by a tenth and beyond its noise; else there is nothing to be in proportion to.  The figures are plain
    changes from first to last.  A note instead of a warning where the EPE has fallen by a tenth as well: early in
    training the uncertainty term falls fast by itself.

    Why: What is minimised and what is wanted part ways: more training of this kind will hardly lower the EPE.
    Try: Look at the loss terms apart (optical against uncertainty), at train_epe on the same protocol, and at the
    scored prediction; try a lower weight of the uncertainty term or the same crop for training and evaluation.
    """
    ratio, bound, loss, epe = _elasticity(history, "train_loss", "mean_epe_12")
    if bound >= PROPORTION:
        return None
    figures = {"loss_change_pct": loss, "epe_change_pct": epe, "elasticity": ratio, "elasticity_bound": bound}
    text = (
        f"train_loss {loss:+.1f} %, mean_epe_12 {epe:+.2f} % from epoch {history.epochs[0]} to {history.epochs[-1]}: "
        f"the EPE takes {ratio:.3f} of the loss's relative fall (at most {bound:.3f}; in proportion is 1)"
    )
    return Found("note" if epe <= -10.0 else "warning", text, figures, history.epochs)


def _change(values: stats.Array) -> float:
    """Plain change from first to last in percent."""
    return float(100.0 * (values[-1] / values[0] - 1.0))


def _elasticity(history: History, loss_name: str, epe_name: str) -> tuple[float, float, float, float]:
    """Relative change of EPE for one of loss, with its upper 95 % bound, and both plain changes in percent.

    Both ends are those of fitted curves; their errors are carried through the logarithms.
    """
    epochs, loss = series(history, loss_name)
    times, epe = series(history, epe_name)
    needs((loss > 0).all() and (epe > 0).all(), f"positive values of {loss_name} and {epe_name}")
    curves = stats.fit(epochs, loss), stats.fit(times, epe)
    needs(all(c.values[0] > 0 and c.values[-1] > 0 for c in curves), f"positive levels of {loss_name} and {epe_name}")
    logs = [math.log(c.values[-1] / c.values[0]) for c in curves]
    errors = [c.end_error * math.hypot(1.0 / c.values[0], 1.0 / c.values[-1]) for c in curves]
    fell = logs[0] + 1.645 * errors[0] < 0.0 and logs[0] < math.log(0.9)
    needs(fell, f"{loss_name} to fall by a tenth and beyond its noise, it changed by {_change(loss):.1f} %")
    ratio = logs[1] / logs[0]
    error = math.hypot(errors[1] / logs[0], ratio * errors[0] / logs[0])
    return ratio, ratio + 1.645 * error, _change(loss), _change(epe)


@rule("Objective mismatch", 485, "loss", "epe")
def objective_mismatch(history: History) -> Found | None:
    """On the same pixels, in evaluation mode, the loss falls and the EPE does not follow.

    The elasticity of `loss_epe_divergence` for `eval_loss_total` with `mean_epe_12`, and `train_eval_loss_total` with
    `train_epe_12`: neither new data nor crops explain it.  The terms (optical, uncertainty) stand beside.

    Why: On the very same pixels the loss falls far more than the EPE, so neither new data nor other crops explain it.
    Try: Compare optical and uncertainty term: where only the uncertainty falls, the network learns to state its error
    instead of lowering it. Lower that term's weight or anneal the rate.
    """
    pairs = (("train_eval_loss_total", "train_epe_12"), ("eval_loss_total", "mean_epe_12"))
    known = [(loss, epe) for loss, epe in pairs if {loss, epe} <= history.columns]
    needs(known, "eval_loss_total, or train_eval_loss_total with train_epe_12")
    for loss_name, epe_name in known:
        ratio, bound, loss, epe = _elasticity(history, loss_name, epe_name)
        if bound >= PROPORTION:
            continue
        figures = {"loss_change_pct": loss, "epe_change_pct": epe, "elasticity": ratio}
        text = f"{loss_name} {loss:+.1f} %, {epe_name} {epe:+.2f} % on the same pixels"
        for term in ("optical", "uncertainty"):
            values = history.known(loss_name.replace("total", term))
            if len(values) > 1 and values[0]:
                figures[f"{term}_change_pct"] = _change(values)
                text += f"; {term} term {_change(values):+.1f} %"
        return Found("note" if epe <= -10.0 else "warning", text, figures, history.epochs)
    return None


@rule("Plateau", 480, "epe")
def plateau(history: History) -> Found | None:
    """The mean EPE has stopped falling.

    Candidates: constant; line; line that bends into a level; two lines; exponential approach to a level; power law.
    Their average, weighted by exp(-BIC / 2), is the curve.  Where candidates with a level hold more than half of the
    weight, the change point is their average: the bend, or three time constants of the exponential (95 % of the way).
    What follows is level where the pace of its second half is at most 5 % of the pace before the change point with 95 %
    confidence; or, where noise hides that, where it is at least half as long as the fall and its slope cannot be told
    from zero at 95 %, or is with 95 % confidence at most a tenth of the pace before.  A constant from the start counts
    from the first epoch.  `loss_from_epoch` says the same of the loss.

    Why: Epochs after this point cost time and bring nothing that can be measured.
    Try: Lower the learning rate now (train.lr_schedule fast_anneal, or fork from here with half the rate), or stop.
    """
    epochs, values = series(history, "mean_epe_12")
    found = stats.plateau(epochs, values, mean_noise(history, values))
    if found is None:
        return None
    after, level = found.after, found.level
    figures = {"epe_from_epoch": found.start, "epe_level": level, "pace_before_px": found.before}
    figures |= {"pace_after_px": after.slope, "pace_after_error_px": after.error}
    figures["evaluations_since"] = int((epochs >= found.start).sum())
    text = (
        f"mean_epe_12 is level at {level:.4f} px since epoch {found.start} (to {int(epochs[-1])}): {after.slope:+.2g} "
        f"+- {1.96 * after.error:.2g} px an epoch lately, {found.before:+.2g} before"
    )
    with suppress(Unjudged):
        if (loss := stats.plateau(*series(history, "train_loss"))) is not None:
            figures["loss_from_epoch"] = loss.start
            text += f"; the loss is level since epoch {loss.start}"
    return Found("warning", text, figures, (found.start, int(epochs[-1])))


@rule("Ranking below the noise", 390, "ranks", "pool")
def ranking_below_noise(history: History) -> Found | None:
    """More than half of the pairs of archs cannot be told apart at 95 %.

    By `tied_pairs_12` where the run has it (paired errors of the samples), else by the share of pairs nearer than
    1.96 sqrt 2 x jitter (or `smallest_difference_12`, the larger).

    Why: Most differences between archs are smaller than what the evaluation can tell apart: the order is chance.
    Try: More samples an arch (eval.eval_batches_per_arch, eval.wide_every_epoch), or read groups instead of ranks.
    """
    needs(history.pool_size >= 3, f"a pool of at least 3 archs, it has {history.pool_size}")
    epochs, epes = whole_pool(history, 1)
    last = stats.recent(len(epes), 3)
    tied, differences = history.known("tied_pairs_12"), history.known("smallest_difference_12")
    smallest = stats.lately(differences) if len(differences) else math.nan
    share, by = stats.lately(tied) if len(tied) else 0.0, "paired errors of the samples"
    if not len(tied):
        needs(len(epes) >= 8, f"tied_pairs_12, or at least 8 evaluations with every arch, there are {len(epes)}")
        smallest = max(1.96 * math.sqrt(2.0) * stats.jitter(epes), smallest)  # in this order: NaN counts nothing
        levels = stats.recent_levels(epes)
        pairs = np.abs(levels[:, None] - levels[None, :])[np.triu_indices(len(levels), 1)]
        share, by = float((pairs < smallest).mean()), "jitter from epoch to epoch"
    if share <= 0.5:
        return None
    spread = float(np.median(epes[last].std(axis=1)))
    figures = {"tied_pairs_pct": 100 * share, "smallest_difference_px": smallest, "std_epe_px": spread, "noise_by": by}
    text = (
        f"{100 * share:.0f} % of the pairs of archs are within noise: the pool's spread is {spread:.4f} px, one "
        f"evaluation tells {smallest:.4f} px apart at 95 % (from the {by}; medians of the last {len(epes[last])})"
    )
    return Found("warning", text, figures, epochs[last])


@rule("Ranking not stable", 385, "tau", "ranks")
def ranking_unstable(history: History) -> Found | None:
    """The recent rankings agree little from one evaluation to the next.

    Upper 95 % bound of the mean `kendall_tau_prev` over the last half of the evaluations (at least 4) below 0.5, where
    one pair in four changes its order.  It says whether independent rankings would give the same (one tau of n archs
    then has the variance 2 (2n + 5) / (9 n (n - 1))).

    Why: The order of one epoch does not predict that of the next: the winner of the last epoch is drawn by lot.
    Try: Freeze the evaluation samples, take more of them (eval.eval_batches_per_arch) and more calibration batches
    (eval.bn_recal_batches); train longer before ranking.
    """
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
    means = "what independent rankings give" if chance else f"{50 * (1 - mean):.0f} % of the pairs change their order"
    text = (
        f"kendall_tau_prev is {mean:.2f} +- {1.96 * error:.2f} over the last {len(values)} evaluations: {means} "
        f"(chance of one: 0 +- {1.96 * null:.2f} for {size} archs)"
    )
    return Found("warning", text, {**figures, "like_chance": int(chance)}, epochs)


@rule("Wide disagrees", 380, "epe", "ranks")
def wide_disagrees(history: History) -> Found | None:
    """The wide evaluation differs from the frequent one by more than the noise of both, or ranks otherwise.

    The median of `wide_difference_12` (frequent minus wide mean) is beyond 1.96 of its error
    (`mean_epe_standard_error_12` and the spread of the differences), or `wide_kendall_tau` is below 0.5.

    Why: The small evaluation is not a fair sample of the large one: choices made on it are choices for its samples.
    Try: Trust the wide evaluation; raise eval.eval_batches_per_arch.
    """
    difference = values_of(history, "wide_difference_12")
    there = np.isfinite(difference)
    values = difference[there]
    needs(len(values) >= 1, "a wide evaluation")
    error = history.column("mean_epe_standard_error_12")[there]
    sampling = float(np.nanmedian(error)) if np.isfinite(error).any() else math.nan
    needs(len(values) >= 3 or math.isfinite(sampling), "mean_epe_standard_error_12, or at least 3 wide evaluations")
    middle = float(np.median(values))
    # the same samples each time: the sampling error does not shrink with the number of evaluations
    own = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) >= 3 else 0.0
    noise = math.hypot(own, 0.0 if math.isnan(sampling) else sampling)
    taus = history.known("wide_kendall_tau")
    tau = float(np.median(taus[-3:])) if len(taus) and history.pool_size >= 4 else None
    apart = math.isfinite(sampling) and abs(middle) > 1.96 * noise
    if not apart and (tau is None or tau >= STABLE_TAU):
        return None
    figures = {"difference_px": middle, "error_px": noise, "kendall_tau": tau, "evaluations": len(values)}
    text = f"frequent minus wide mean EPE is {middle:+.4f} +- {1.96 * noise:.4f} px in {len(values)} wide evaluations"
    text += "" if tau is None else f"; the rankings agree with tau {tau:.2f}"
    return Found("warning", text, figures, history.epochs[there])


@rule("One subnet drags the mean", 375, "archs", "pool")
def hard_arch(history: History) -> Found | None:
    """An arch worse than the spread of the others explains, epoch after epoch.

    Generalised extreme studentised deviate test (Rosner 1983), upper side, family error 1 %, for up to a quarter of the
    pool, on each arch's recent level; and the arch is above all others in nine of ten evaluations since `since_epoch`.
    A smallest subnet that is merely last of an even spread is not reported: the spread of the others explains it.
    Beside it its gap to the best subnet as a range since then, how far it lifts the mean, and median and p90.

    Why: One subnet stands apart and pulls the mean and the 90 % quantile; curves of the mean show it, not the pool.
    Try: Read the median. Evaluate it with more calibration batches (edgeflownas evaluate RUN --calibration-sweep):
    where its EPE falls it was under-calibrated, else it is hard.
    """
    needs(history.pool_size >= 5, f"a pool of at least 5 archs, it has {history.pool_size}")
    epochs, epes = whole_pool(history, 3)
    levels = stats.recent_levels(epes)
    found = stats.extreme_members(levels)
    if not found:
        return None
    worst = found[0]
    above = epes[:, worst] > np.delete(epes, found, axis=1).max(axis=1)
    place = stats.mostly_since(above)
    if place is None or above[stats.recent(len(above), 3)].mean() < 0.9:
        return None
    others, since = np.delete(levels, found), int(epochs[place])
    middle, spread = float(np.median(others)), float(others.std(ddof=1))
    gap, drag = float(levels[worst] - np.median(others)), float(levels.mean() - others.mean())
    mean, median, p90 = float(levels.mean()), float(np.median(levels)), float(np.percentile(levels, 90))
    figures = {"arch_index": worst, "arch_code": history.codes[worst] or None, "archs": found, "gap_px": gap}
    figures |= {"others_std_px": spread, "drags_mean_px": drag, "since_epoch": since}
    behind = epes[place:, worst] - np.nanmin(epes[place:], axis=1)
    figures |= {"gap_to_best_min_px": float(np.nanmin(behind)), "gap_to_best_max_px": float(np.nanmax(behind))}
    figures |= {"mean_px": mean, "median_px": median, "p90_px": p90}
    text = (
        f"{history.label(worst)} is {gap:.4f} px above the median of the others ({middle:.4f} px, spread "
        f"{spread:.4f}) since epoch {since}, {np.nanmin(behind):.2f} to {np.nanmax(behind):.2f} px above the best of "
        f"the pool; it lifts the mean by {drag:.4f} px (mean {mean:.4f}, median {median:.4f}, p90 {p90:.4f})"
    )
    if len(found) > 1:
        text += f"; so do {', '.join(history.label(index) for index in found[1:])}"
    return Found("warning", text, figures, (since, int(epochs[-1])))


@rule("Outlier epoch", 370, "epe", "archs", dated=True)
def outlier_epoch(history: History) -> Found | None:
    """Evaluations unlike their neighbours, in the spread of the pool (on a log scale) or in its mean.

    Residual of `mean_epe_12` and of ln `std_epe_12` against a running median over seven (the last three values: against
    a Theil-Sen forecast), over the robust spread of such residuals, locally and overall, and never below the rounding
    of the file.  Beyond the Student quantile for a family error of 0.5 % shared by all epochs (Bonferroni); of the
    spread, jumps upwards only.  The farthest is taken out and all is computed again without it, until none is left: an
    odd value moves its neighbours' medians.  It has to stand off to the same side from what both its sides continue to:
    a step to another level is none, nor are several moved values at the very end.  The first three epochs are not
    judged.  `epoch` is the largest, `outliers` lists all; `arch_index` is given where one arch moved more than all
    others together (squares).

    Why: One evaluation is unlike its neighbours; a best checkpoint or an early stop must not rest on it.
    Try: Evaluate the checkpoints around it again; look at recalibration and at the loss of that epoch.
    """
    found: dict[int, tuple[float, str]] = {}
    judged = False
    for name in ("std_epe_12", "mean_epe_12"):
        values = history.column(name)
        there = np.isfinite(values) & (values > 0)
        if int(there.sum()) < 14:
            continue
        judged = True
        epochs, values = history.epochs[there].tolist(), values[there]
        if name == "std_epe_12":  # of few archs it is now and then very small by chance; jumps are what matters
            scores, odd = stats.outliers(np.log(values), least=stats.resolution(values) / math.sqrt(12.0) / values)
            odd &= scores > 0
        else:
            scores, odd = stats.outliers(values)
        for place in np.nonzero(odd)[0]:
            nearby = float(np.median(values[max(0, place - 3) : place + 4]))
            if abs(scores[place]) > abs(found.get(epochs[place], (0.0, ""))[0]):
                found[epochs[place]] = (float(scores[place]), f"{name} {values[place]:.4f} beside {nearby:.4f}")
    needs(judged, "at least 14 evaluations with std_epe_12 or mean_epe_12")
    if not found:
        return None
    shown = sorted(found, key=lambda epoch: -abs(found[epoch][0]))
    text = "; ".join(f"epoch {epoch}: {found[epoch][1]} px (z {found[epoch][0]:+.1f})" for epoch in shown[:5])
    figures = {"epoch": shown[0], "outliers": sorted(found), "z": found[shown[0]][0]}
    main = int(np.nonzero(history.epochs == shown[0])[0][0])
    around = history.epes[max(0, main - 3) : main + 4]
    if history.pool_size > 1 and np.isfinite(around).all():
        moved = (history.epes[main] - np.median(around, axis=0)) ** 2  # px from each arch's median around
        worst = int(np.argmax(moved))
        if 2.0 * float(moved[worst]) > float(moved.sum()):
            figures["arch_index"] = worst
            text += f"; most of it is {history.label(worst)}"
    return Found("warning", text, figures, sorted(found))


@rule("Best on noise", 365, "epe")
def best_on_noise(history: History) -> Found | None:
    """The best epoch lies on a plateau and is no further below its level than the lowest of n equal values with 95 %.

    By construction one such choice in twenty is missed.

    Why: The best epoch is the luckiest of many equal ones; another evaluation set would choose another.
    Try: Take the last checkpoint or an average, or choose among these epochs on a wide evaluation.
    """
    epochs, values = series(history, "mean_epe_12")
    noise = mean_noise(history, values)
    found = stats.plateau(epochs, values, noise)
    place = int(np.argmin(values))
    if found is None or epochs[place] < found.start:
        return None
    level = epochs >= found.start
    count = int(level.sum())
    sd = max(stats.noise_of(values[level]), noise)
    gain = found.level - float(values[place])
    # the lowest of n normal values is above this with 95 %
    luck = sd * -NormalDist().inv_cdf(1.0 - 0.95 ** (1.0 / count))
    if gain > luck:
        return None
    equal = int((values <= values[place] + 1.96 * math.sqrt(2.0) * sd).sum())
    best, epe = int(epochs[place]), float(values[place])
    figures = {"epoch": best, "best_epe": epe, "gain_px": gain, "luck_px": luck, "equal": equal}
    text = (
        f"the best mean_epe_12 ({epe:.4f} px, epoch {best}) is {gain:.4f} px below the level {found.level:.4f} px; the "
        f"luckiest of {count} equal evaluations reaches {luck:.4f}; {equal} evaluations are within noise of it"
    )
    return Found("note", text, figures, (best,))


@rule("No divergence", 190, "loss", "epe")
def no_divergence(history: History) -> Found | None:
    """Says that neither EPE nor loss rises, by the test of `epe_rising`, and that no value is no number.

    Why: Neither loss nor EPE rises, and every figure is a number.
    Try: Nothing to do.
    """
    if non_finite_epe(history) is not None or _rise(history, "mean_epe_12") is not None:
        return None
    text = "mean_epe_12 does not rise beyond its noise"
    if "train_loss" in history.columns:
        if _rise(history, "train_loss") is not None:
            return None
        text += ", nor does train_loss"
    return Found("ok", text, {"evaluations": history.evaluated})
