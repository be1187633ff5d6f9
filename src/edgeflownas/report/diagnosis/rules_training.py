"""Rules on how a run trains: steps, clipping, learning rate, data, time, and what its figures belong to.

A docstring is the rule's section of docs/diagnosis.md; findings repeat its Why and Try.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np

from edgeflownas.report.diagnosis import statistics as stats
from edgeflownas.report.diagnosis.rule import Found, Unjudged, mean_noise, needs, rule, series, values_of
from edgeflownas.report.diagnosis.rules_evaluation import PROPORTION
from edgeflownas.report.history import LABELS, History

ALWAYS = 0.9  # share of clipped checks above which even the 10 % quantile of the norms is over the threshold
NEVER = 0.01  # share of clipped checks below which the threshold is beyond the 99 % quantile of the norms
BARELY = 0.25
"""Decay of the rate below which the noise it makes (about its square root) has fallen by less than an eighth."""
COVERED = 0.25
"""Share of the split an epoch must see; below it the epoch's own averages carry over three times (1 / share - 1) the
sampling variance of half a pass."""
WAIT = 0.1  # share of the time spent waiting whose removal saves a tenth
WEIGHT = 0.03  # typical initial size of a weight: He normal, 3x3 kernel over 8 x 32 channels, sqrt(2 / 2304)
SETTINGS = ("clip_threshold", "train_samples", "train_drawn", "bn_recal_batches", "eval_batches_per_arch")
"""Logged settings whose change inside a history is named."""


@rule("Evaluation label changed", 580, "epe", "pool", whole=True, dated=True)
def label_changed(history: History) -> Found | None:
    """The evaluation's samples, rule or pool are others than before.

    `split_label`, `eval_set`, `calibration_set`, `eval_samples_per_arch`, `epe_protocol` or the pool size.  No
    statistic: any change counts.  Rules on curves of the EPE and on rankings then judge
    each part by itself.

    Why: Figures before and after belong to different samples or rules: their difference is no progress.
    Try: Read the parts apart; keep the evaluation set for the whole run (edgeflownas evaluate measures others).
    """
    known = [name for name in LABELS[:-1] if name in history.columns]
    needs(known, "one of the columns " + ", ".join(LABELS[:-1]))
    found = [(name, *entry) for name in LABELS for entry in history.changes(name)]
    if not found:
        return None
    lines = [f"{name} {before} -> {after} in epoch {epoch}" for name, epoch, before, after in found]
    epochs = sorted({epoch for _, epoch, _, _ in found})
    figures = {"columns": sorted({name for name, *_ in found}), "changes": len(found)}
    text = f"{_first_of(lines, 5)}; each part is judged by itself"
    return Found("warning", text, figures, epochs)


def _first_of(lines: list[str], most: int) -> str:
    return "; ".join(lines[:most]) + (f"; and {len(lines) - most} more" if len(lines) > most else "")


@rule("Clip checks: counted and expected differ", 475, "gradient", whole=True)
def clip_checks_mismatch(history: History) -> Found | None:
    """`clip_checks` differs from `expected_clip_checks` in any epoch.

    `counted` and `expected` are those of the last such epoch.

    Why: Clipping ran another number of times than the plan says: it sits at the wrong place, or steps are missing, so
    the threshold means something else than it seems.
    Try: Look at train.grad_clip_position with train.micro_batch_size.
    """
    counted, expected = values_of(history, "clip_checks"), values_of(history, "expected_clip_checks")
    there = np.isfinite(counted) & np.isfinite(expected)
    needs(there.any(), "clip_checks and expected_clip_checks in one row")
    places = np.nonzero(there & (counted != expected))[0]
    if not len(places):
        return None
    epochs, own, planned = history.epochs[places], int(counted[places[-1]]), int(expected[places[-1]])
    text = (
        f"clip_checks {own}, expected_clip_checks {planned} in epoch {epochs[-1]}; they differ in {len(places)} of "
        f"{int(there.sum())} evaluated epochs"
    )
    return Found("warning", text, {"counted": own, "expected": planned, "evaluations": len(places)}, epochs)


@rule("Non finite steps", 470, "loss", "gradient", whole=True, dated=True)
def non_finite_steps(history: History) -> Found | None:
    """`dropped_steps` above zero: loss or gradient was not finite.

    A warning where it is recent or above 1 % of the steps.

    Why: Dropped steps learn nothing, and they are often the first sign of divergence.
    Try: Look at the named samples in events.jsonl; lower train.lr or set train.grad_clip_global_norm.
    """
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
    now = bool(there[stats.recent(len(there), 3)].any())
    return Found("warning" if now or share > 0.01 else "note", text, figures, epochs)


@rule("Clipping cuts every step", 465, "gradient", whole=True)
def clip_saturated(history: History) -> Found | None:
    """Nearly every check clips.

    Lower 95 % bound (Clopper and Pearson) of the recent share of clipped checks above 0.9: even the 10 % quantile of
    the norms is over the threshold, which then sets the pace.  Needs 30 checks.  `since_epoch` is the first epoch from
    which nine of ten epochs clip more than that.

    Why: Every step is cut to the same length: the threshold, not the gradient, sets the pace, and the rate acts as a
    much smaller one.
    Try: Raise train.grad_clip_global_norm to about the 90 % quantile of the norms (grad_norm_p90).
    """
    epochs, hits, checks = _clips(history)
    last = stats.recent(len(hits), 3)
    low, high = stats.binomial_interval(float(hits[last].sum()), float(checks[last].sum()))
    needs(checks[last].sum() >= 30, f"at least 30 clip checks, there are {int(checks[last].sum())}")
    if low <= ALWAYS:
        return None
    rate = float(hits[last].sum() / checks[last].sum())
    figures, norms = _thresholds(history)
    place = stats.mostly_since(hits / checks > ALWAYS)
    since = int(epochs[last.start if place is None else place])
    figures |= {"clip_rate": rate, "clip_rate_low": low, "clip_rate_high": high, "since_epoch": since}
    text = f"{100 * rate:.1f} % of the checks clip in the last {len(hits[last])} evaluated epochs"
    text += f", above {100 * ALWAYS:.0f} % since epoch {since}{norms}"
    return Found("warning", text, figures, (since, int(epochs[-1])))


def _clips(history: History) -> tuple[stats.Array, stats.Array, stats.Array]:
    """Epochs, clipped checks and checks, where clipping is on."""
    rate = values_of(history, "clip_rate")
    on = np.ones(len(rate), dtype=bool)
    if all("clip_threshold" in row for row in history.rows):  # the TF1 tool has no such column and always clips
        on = np.isfinite(history.column("clip_threshold")) & (history.column("clip_threshold") > 0)
        needs(on.any(), "clipping, which is off (no clip_threshold)")
    there = np.isfinite(rate) & (rate >= 0) & (rate <= 1) & on
    needs(there.any(), "a clip_rate between 0 and 1")
    checks = history.column("clip_checks")
    derived = np.where(rate > 0, np.round(history.column("clip_count") / rate), np.nan)  # the TF1 tool logs these two
    checks = np.where(np.isfinite(checks), checks, derived)
    usual = np.nanmedian(checks[there]) if np.isfinite(checks[there]).any() else 50.0  # an epoch has as many steps
    checks = np.where(np.isfinite(checks) & (checks > 0), checks, usual)
    return history.epochs[there].astype(np.float64), rate[there] * checks[there], checks[there]


def _thresholds(history: History) -> tuple[dict[str, float], str]:
    """Threshold and recent quantiles of the norms, as figures and in words."""
    names = ("clip_threshold", "grad_norm_p50", "grad_norm_p90", "grad_norm_p99", "clip_suggested")
    known = {name: history.known(name) for name in names}
    figures = {name: stats.lately(values) for name, values in known.items() if len(values)}
    words = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    return figures, f"; {words}" if words else ""


@rule("LR too low", 460, "lr", "loss", whole=True)
def lr_too_low(history: History) -> Found | None:
    """All steps together cannot have moved a weight by a tenth of its size, and the loss has not fallen.

    Adam moves a weight by at most about the rate at each step (Kingma and Ba 2015, section 2.1), so the sum of all
    rates bounds how far it came.  Reported where that is below a tenth of a weight's usual size (0.03: He normal, 3x3
    kernels over 256 channels) and the loss has not fallen beyond its noise and a tenth.

    Why: Adam moves a weight by about the rate at each step; all steps together cannot have changed the network.
    Try: Raise train.lr (1e-4 is the usual start), or check the schedule and the plan.
    """
    epochs, rates = _rates(history)
    steps = values_of(history, "global_step")[np.isin(history.epochs, epochs)]
    needs(
        len(rates) >= stats.LEAST and bool(np.isfinite(steps).all()),
        f"at least {stats.LEAST} evaluations with lr, global_step",
    )
    done = np.diff(steps, prepend=steps[0] - (steps[1] - steps[0]))
    needs((done > 0).all(), "a global_step that grows")
    moved = float((done * rates).sum())
    if moved >= 0.1 * WEIGHT:
        return None
    _, loss = series(history, "train_loss")
    curve = stats.fit(np.arange(len(loss), dtype=np.float64), loss)
    if curve.values[0] - curve.values[-1] > max(3.0 * curve.end_error, 0.1 * abs(curve.values[0])):
        return None
    figures = {"largest_movement": moved, "weight_size": WEIGHT, "lr_max": float(rates.max())}
    text = (
        f"the rates of all steps add up to {moved:.2g}, {100 * moved / WEIGHT:.1f} % of a weight's usual size "
        f"({WEIGHT}); train_loss {curve.values[0]:.4g} to {curve.values[-1]:.4g}"
    )
    return Found("stop", text, figures, history.epochs)


def _rates(history: History) -> tuple[stats.Array, stats.Array]:
    rate = values_of(history, "lr")
    there = np.isfinite(rate) & (rate >= 0)
    return history.epochs[there].astype(np.float64), rate[there]


@rule("Input differs", 455, "epe", whole=True)
def input_differs(history: History) -> Found | None:
    """Training and evaluation differ in crop: by configuration, or by what the EPE on training pairs shows.

    The frozen evaluation crops have another size than `data.crop_size`, or `train_epe_12` differs between random and
    centre crops by more than three standard errors and a tenth.  Image values cannot differ: one network has one
    normalisation.

    Why: Training and evaluation see images of different kinds, so the loss of one says little of the other.
    Try: Give both the same crop and normalisation (data.crop_size), or read the EPE on the training crop beside.
    """
    lines: list[str] = []
    figures: dict[str, Any] = {}
    crop = None if history.run is None else history.run.key("data.crop_size")
    sizes = () if history.run is None else history.run.eval_sizes
    wanted = "x".join(map(str, crop)) if isinstance(crop, list | tuple) else None
    if wanted is not None and sizes and set(sizes) != {wanted}:
        figures = {"train_crop": wanted, "eval_crop": list(sizes)}
        lines = [f"training crops {wanted}, evaluation {', '.join(sizes)}"]
    fixed, random = history.column("train_epe_12"), history.column("train_epe_random_crop_12")
    there = np.isfinite(fixed) & np.isfinite(random)
    measured = int(there.sum()) >= 3
    needs(
        history.run is not None or measured,
        "a run directory, or train_epe_12 and train_epe_random_crop_12 in 3 evaluations",
    )
    if measured:
        gap = (random - fixed)[there]
        middle = float(np.median(gap))
        error = float(gap.std(ddof=1)) / math.sqrt(len(gap)) * 1.253
        if abs(middle) > 3.0 * error and abs(middle) > 0.1 * float(np.median(fixed[there])):
            figures |= {"crop_gap_px": middle, "crop_gap_error_px": error}
            lines.append(f"train_epe_12 is {middle:+.4f} +- {1.96 * error:.4f} px on random crops against centre crops")
    return Found("warning", "; ".join(lines), figures) if lines else None


@rule("Train eval gap", 450, "epe", "loss")
def train_eval_gap(history: History) -> Found | None:
    """The EPE on fixed training pairs goes on falling while that on the evaluation pairs does not.

    The slope of the recent `train_epe_12` is downwards beyond 95 %, that of `mean_epe_12` is with 95 % above a fifth of
    it, and the gap is above and has grown by three times the noise of both.

    Why: The network gets better on the pairs it trains on and not on new ones.
    Try: More data or augmentation, a smaller network, weight decay; take the best checkpoint, not the last.
    """
    (times, train), (epochs, held) = series(history, "train_epe_12"), series(history, "mean_epe_12")
    slopes = []
    for when, values in ((times, train), (epochs, held)):
        last = stats.recent(len(values), stats.LEAST)
        slopes.append(stats.slope_of(when[last], values[last], stats.noise_of(values)))
    falls = slopes[0].slope < -1.96 * slopes[0].error
    follows = slopes[1].slope - 1.645 * slopes[1].error < PROPORTION * slopes[0].slope
    gap = stats.lately(held, 5) - stats.lately(train, 5)
    grown = gap - float(np.median(held[:3]) - np.median(train[:3]))
    noise = 3.0 * math.hypot(stats.noise_of(train), stats.noise_of(held))
    if not falls or follows or gap <= noise or grown <= noise:
        return None
    figures = {"gap_px": gap, "grown_px": grown, "train_slope_px": slopes[0].slope, "eval_slope_px": slopes[1].slope}
    text = (
        f"train_epe_12 falls by {-slopes[0].slope:.2g} px an epoch, mean_epe_12 changes by {slopes[1].slope:+.2g}; the "
        f"gap is {gap:.4f} px, {grown:.4f} more than at the start"
    )
    return Found("warning", text, figures, history.epochs)


@rule("Epochs see little of the data", 445, "coverage", whole=True)
def coverage_low(history: History) -> Found | None:
    """An epoch sees less than a quarter of the training split.

    Recent median of `unique_samples` / `train_samples`: below a quarter the sampling variance of an epoch's own
    averages (proportional to 1 / share - 1) is at least three times that of half a pass.  Beside it what as many draws
    with replacement reach, N (1 - (1 - 1/N)^n), and the passes so far.

    Why: An epoch sees a small part of the data, so epoch numbers overstate how far training is.
    Try: train.epoch_mode full_pass, or by_samples with train.train_samples_per_epoch 0.5; draw without replacement.
    """
    unique, size = values_of(history, "unique_samples"), values_of(history, "train_samples")
    there = np.isfinite(size) & (unique >= 0) & (unique <= size) & (size > 0)
    needs(there.any(), "unique_samples and train_samples in one row")
    unique, size, epochs = unique[there], size[there], history.epochs[there]
    share = stats.lately(unique / size)
    if share >= COVERED:
        return None
    seen, drawn = history.column("seen_samples")[there], history.column("train_drawn")[there]
    if not np.isfinite(drawn).any():
        drawn = np.diff(seen) / np.diff(epochs) if len(seen) > 1 else seen / epochs
    draws = float(np.nanmedian(drawn)) if np.isfinite(drawn).any() else math.nan
    count = float(size[-1])
    figures = {"share_pct": 100 * share, "unique_samples": int(unique[-1]), "train_samples": int(count)}
    text = f"an epoch sees {int(unique[-1])} of {int(count)} training samples, {100 * share:.2f} %"
    if math.isfinite(draws) and draws > 0:
        expected = -math.expm1(draws * math.log1p(-1.0 / count)) if count > 1 else 1.0
        passes = float(seen[-1] / count) if np.isfinite(seen[-1]) else math.nan
        figures |= {"expected_share_pct": 100 * expected, "drawn_pct": 100 * draws / count, "passes": passes}
        text += f"; {draws:.0f} draws with replacement give {100 * expected:.2f} %; {passes:.2f} passes so far"
    return Found("warning", text, figures, epochs[stats.recent(len(epochs), 3)])


@rule("Fairness gap open", 395, "ranks", whole=True)
def fairness_gap_open(history: History) -> Found | None:
    """`fairness_gap` above 1, which strict fairness never reaches: some option was counted more than once too often.

    Blocks with fewer options than paths reach 1.

    Why: Some options were trained more often than others: their ranks measure training, not quality.
    Try: Look at the sampler; strict fairness keeps the counts within one of each other.
    """
    gap = values_of(history, "fairness_gap")
    places = np.nonzero(np.isfinite(gap) & (gap > 1))[0]
    if not len(places):
        return None
    last = int(gap[places[-1]])
    text = f"fairness_gap {last} in epoch {history.epochs[places[-1]]}"
    return Found("warning", text, {"fairness_gap": last, "evaluations": len(places)}, history.epochs[places])


@rule("Learning rate hardly moved", 295, "lr", whole=True)
def lr_barely_moved(history: History) -> Found | None:
    """The learning rate is still near its highest value after the first evaluations.

    After at least 10 evaluations the rate is less than 25 % below its highest value (and not still warming up): the
    noise it makes, about its square root, has fallen by less than an eighth.  A warning on a plateau, else a note; a
    constant rate is called constant.

    Why: The rate is still about where it began, so its noise still covers the fine part of the weights.
    Try: Plan fewer epochs, or train.lr_schedule fast_anneal or step_decay.
    """
    epochs, rates = _rates(history)
    needs(len(rates) >= 10, f"at least 10 evaluations with lr, there are {len(rates)}")
    top = float(rates.max())
    needs(top > 0, "a learning rate above zero")
    decay = 1.0 - float(rates[-1]) / top
    warming = rates[0] < (1 - BARELY) * top and decay < 0.01  # still on its way up
    if decay >= BARELY or warming:
        return None
    planned, last = history.planned_epochs, int(epochs[-1])
    figures = {"decay_pct": 100 * decay, "lr_first": float(rates[0]), "lr_last": float(rates[-1])}
    figures |= {"epochs": last} | ({} if planned is None else {"planned_epochs": planned})
    text = f"lr {rates[0]:.2e} to {rates[-1]:.2e}: {100 * decay:.1f} % below its highest value after epoch {last}"
    text += "" if planned is None else f" of {planned}"
    advice = ""
    if decay == 0.0 and float(rates.min()) == top:
        text += ": constant"
        advice = "It is constant: choose a train.lr_schedule that falls (cosine, fast_anneal)."
    same = history.comparable()
    level = None
    with suppress(Unjudged):
        times, epe = series(same, "mean_epe_12")
        level = stats.plateau(times, epe, mean_noise(same, epe))
    return Found("note" if level is None else "warning", text, figures, (), advice)


@rule("Clipping never acts", 290, "gradient", whole=True)
def clip_idle(history: History) -> Found | None:
    """No epoch clips more than one check in a hundred.

    Upper 95 % bound of the share of clipped checks below 1 % over the whole history, and no single epoch above it.
    Needs 300 checks.  Not judged where clipping is off (an empty `clip_threshold`).  A rate that falls from one half to
    nothing is not idle.

    Why: The threshold never acts: clipping is off in all but name and will catch an explosion only.
    Try: Nothing has to change; to make it act, set train.grad_clip_global_norm near grad_norm_p99.
    """
    epochs, hits, checks = _clips(history)
    total = float(checks.sum())
    needs(total >= 300, f"at least 300 clip checks to call a rate below 1 %, there are {int(total)}")
    bound = stats.binomial_interval(float(hits.sum()), total)[1]
    lows = [stats.binomial_interval(float(h), float(c))[0] for h, c in zip(hits, checks, strict=True)]
    if bound >= NEVER or max(lows) > NEVER:
        return None
    figures, norms = _thresholds(history)
    rate, highest = float(hits.sum() / total), float((hits / checks).max())
    figures |= {"clip_rate": rate, "clip_rate_high": bound, "clip_rate_max": highest}
    text = f"{100 * rate:.2f} % of {int(total)} checks clip (at most {100 * highest:.2f} % in an epoch){norms}"
    return Found("note", text, figures, (int(epochs[0]), int(epochs[-1])))


@rule("Waiting for data", 285, "time", whole=True)
def data_wait_high(history: History) -> Found | None:
    """Recent median of `share_data_wait` (or `data_wait_share`) above 0.1: without waiting, a tenth less time.

    Why: The device waits for samples; that time buys nothing.
    Try: data.num_workers, data.prefetch_batches, data.cache; python benchmarks/loader.py.
    """
    name = "share_data_wait" if "share_data_wait" in history.columns else "data_wait_share"
    share = values_of(history, name)
    there = np.isfinite(share)
    needs(there.any(), name)
    last = stats.recent(int(there.sum()), 3)
    epochs, values = history.epochs[there][last], share[there][last]
    wait = float(np.median(values))
    if wait <= WAIT:
        return None
    figures = {"wait_pct": 100 * wait, "faster_times": 1.0 / max(1.0 - wait, 1e-3)}
    text = (
        f"{name} {wait:.3f} (median of the last {len(values)} evaluated epochs): without waiting, training takes "
        f"{100 * wait:.0f} % less time"
    )
    return Found("warning", text, figures, epochs)


@rule("Resumed with changed keys", 280, "epe", "lr", whole=True, dated=True)
def resumed_with_changes(history: History) -> Found | None:
    """A session went on with other keys, or a setting that the history logs changes inside it.

    Keys that a resume noted as changed (`timing.jsonl`), settings that change inside the history (`clip_threshold`,
    `train_samples`, `train_drawn`, `bn_recal_batches`, `eval_batches_per_arch`), or a rate that jumps up by a fifth
    after it had begun to fall: no schedule does that.  A note where only code, environment or `runtime` changed.

    Why: The history is of more than one experiment: before and after differ by more than training time.
    Try: Name the change wherever figures of this run are shown.
    """
    found: list[tuple[str, int | None]] = []  # a change, and its epoch where that is known
    steps, rates, epochs = history.column("global_step"), history.column("lr"), history.epochs.tolist()
    for row in () if history.run is None else history.run.timing:
        changed, step = row.get("changed"), row.get("step")
        if row.get("what") == "resumed" and isinstance(changed, list):
            after = history.epochs[steps > float(step)].tolist() if isinstance(step, int | float) else []
            found += [(str(line), after[0] if after else None) for line in changed]
    for name in SETTINGS:
        found += [(f"{name}: {old} -> {new} (epoch {epoch})", epoch) for epoch, old, new in history.changes(name)]
    for epoch, older, before, now in zip(epochs[2:], rates, rates[1:], rates[2:], strict=False):
        if 0 < before <= older and now > 1.2 * before:
            found.append((f"lr: {before:.3e} -> {now:.3e} (epoch {epoch})", epoch))
    if not found:
        return None
    lines = list(dict.fromkeys(line for line, _ in found))
    keys = {line.partition(":")[0] for line in lines}
    inner = {key for key in keys if key.partition(".")[0] not in ("code", "environment", "runtime")}
    figures = {"changed": sorted(keys), "changes": len(lines)}
    when = sorted({epoch for _, epoch in found if epoch is not None})
    return Found("warning" if inner else "note", _first_of(lines, 6), figures, when)


@rule("Fairness equal", 195, "ranks", whole=True)
def fairness_equal(history: History) -> Found | None:
    """Says that `fairness_gap` of 0 (or 1) means equal counts, not equal progress.

    Beside it stands how much the subnets gained between the first and the last evaluation of one label, the least and
    the most of it.

    Why: Equal counts mean that no option was trained more often. They do not mean that options are equally good.
    Try: Nothing to do.
    """
    values_of(history, "fairness_gap")
    gap = history.known("fairness_gap")
    needs(len(gap) > 0, "fairness_gap")
    if (gap > 1).any():
        return None
    highest = int(gap.max())
    text = f"fairness_gap is {highest} throughout: equal counts, not equal progress"
    figures: dict[str, Any] = {"fairness_gap": highest}
    alike = history.comparable()
    gained = alike.epes[0] - alike.epes[-1]
    if len(alike.rows) > 1 and len(gained) > 1 and np.isfinite(gained).all():
        least, most, since = float(gained.min()), float(gained.max()), int(alike.epochs[0])
        text += f": since epoch {since} {history.label(int(gained.argmin()))} improved by {least:.4f} px, "
        text += f"{history.label(int(gained.argmax()))} by {most:.4f} px"
        figures |= {"improved_least_px": least, "improved_most_px": most, "since_epoch": since}
    return Found("ok", text, figures)
