"""The tables beside the findings: criteria of the best checkpoint, stability of the ranking, go or stop of a fork."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeflownas.errors import DataError, UserError
from edgeflownas.evaluate import noise
from edgeflownas.evaluate.results import read_sample_errors, sample_errors_name
from edgeflownas.report.diagnosis.rule import mean_noise
from edgeflownas.report.diagnosis.statistics import Array, recent
from edgeflownas.report.history import History
from edgeflownas.report.logs import minutes_per_epoch
from edgeflownas.report.table import counted


def price(history: History, level_since: int | None) -> dict[str, Any] | None:
    """What was spent since the EPE is level, and what the plan still costs; None without times."""
    minutes, last = minutes_per_epoch(history), int(history.epochs[-1])
    if minutes is None:
        return None
    found: dict[str, Any] = {"minutes_per_epoch": minutes, "hours_spent": last * minutes / 60}
    spent = f"not level: {hours(last * minutes)} spent"
    if level_since is not None:
        since = last - level_since
        found |= {"level_since": level_since, "epochs_since": since, "hours_since": since * minutes / 60}
        spent = f"level since epoch {level_since}: {counted(since, 'epoch')}, {hours(since * minutes)} spent since"
    if history.planned_epochs is not None:
        left = max(history.planned_epochs - last, 0)
        found |= {"epochs_left": left, "hours_left": left * minutes / 60}
        spent += f"; {left} left, {hours(left * minutes)}"
    return {**found, "text": spent}


def hours(minutes: float) -> str:
    """``31 h``, ``5.6 h`` or ``12 min``."""
    return f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:.{int(minutes < 600)}f} h"


Criterion = Literal["mean", "median", "p90", "mix"]
COLUMNS = ("mean_epe_12", "std_epe_12", "median_epe_12", "p90_epe_12", "per_arch_epe_min", "per_arch_epe_max")
NEEDED: Mapping[Criterion, list[int]] = {"mean": [0], "median": [2], "p90": [3], "mix": [0, 2, 3]}
"""Places in COLUMNS of what a criterion is computed from."""
DRAWS = 2000
GAIN = 0.0010  # px by which the best mean EPE must be lower
SPREAD = 0.008  # px that the median of the pool's standard deviation may have
ROUNDING = 0.00005  # px: half a step of four decimals
RULES_MET = 2
SAME = ("split_label", "eval_set", "epe_protocol", "eval_samples_per_arch", "pool_size")


def criteria(history: History) -> tuple[dict[str, Any], ...]:
    """Which epoch each criterion of the best checkpoint would have chosen, and what that costs under the others.

    One row a criterion (``mix`` with the run's eval.best_mix, else equal weights): ``criterion``, ``epoch``,
    ``value_px`` and ``costs_px``: by criterion, how much higher than its own lowest value the chosen epoch is.
    Criteria whose columns are missing are left out.
    """
    mix = history.run.key("eval.best_mix") if history.run is not None else None
    weights = (1.0, 1.0, 1.0)
    if isinstance(mix, list | tuple) and len(mix) == 3 and sum(map(float, mix)) > 0:
        weights = (float(mix[0]), float(mix[1]), float(mix[2]))
    table = np.stack([history.column(name) for name in COLUMNS], axis=1)
    curves: dict[str, Array] = {}
    for name, needed in NEEDED.items():
        whole = np.isfinite(table[:, needed]).all(axis=1)
        values = np.full(len(table), np.nan)
        values[whole] = [
            noise.best_criterion(name, weights, noise.PoolStatistics(*row)._asdict()) for row in table[whole].tolist()
        ]
        if np.isfinite(values).any():
            curves[name] = np.where(np.isfinite(values), values, np.inf)
    lowest = {name: int(np.argmin(values)) for name, values in curves.items()}
    return tuple(
        {
            "criterion": name,
            "epoch": int(history.epochs[place]),
            "value_px": float(curves[name][place]),
            "costs_px": {
                other: float(values[place] - values[lowest[other]])
                for other, values in curves.items()
                if np.isfinite(values[place])
            },
        }
        for name, place in lowest.items()
    )


# ---- how much the pool's ranking can be trusted: over time, under resampling, and beside trivial rankings ----


def stability(history: History) -> dict[str, Any]:
    """Rank correlations (Kendall's tau-b) of the pool, empty where fewer than two archs are known in an evaluation.

    ``epochs``: per evaluation tau against the one before (``kendall_tau_prev``), the ``final`` and the ``best`` one;
    ``last_two``: tau of the last two evaluations with its 95 % interval over archs; ``samples``: the same with the
    interval over evaluation samples, where their errors were kept; ``trivial``: tau of the last ranking against "more
    is better" by MACs and by parameters, with intervals, where the codes are known.
    """
    whole = np.isfinite(history.epes).all(axis=1)
    if history.pool_size < 2 or not whole.any():
        return {}
    epochs, epes = history.epochs[whole].tolist(), history.epes[whole]
    best = int(np.argmin(epes.mean(axis=1)))
    others = {"tau_prev": np.roll(epes, 1, axis=0), "tau_final": epes[-1:], "tau_best": epes[best : best + 1]}
    taus = {name: noise.kendall_taus(epes, other) for name, other in others.items()}
    taus["tau_prev"][0] = np.nan
    rows = [
        {"epoch": epoch} | {name: _finite(float(values[place])) for name, values in taus.items()}
        for place, epoch in enumerate(epochs)
    ]
    found: dict[str, Any] = {"final_epoch": epochs[-1], "best_epoch": epochs[best], "epochs": rows}
    if len(epes) > 1:
        found["last_two"] = tau_bootstrap(epes[-2], epes[-1])
        if (by_samples := _over_samples(history.source, epochs[-2:])) is not None:
            found["samples"] = by_samples
    if costs := _costs(history):
        found["trivial"] = {name: tau_bootstrap(-values, epes[-1]) for name, values in costs.items()}
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def tau_bootstrap(first: Array, second: Array) -> dict[str, float | None]:
    """tau-b of two score lists [A] with the 95 % percentile interval over archs drawn with replacement.

    The draws are the same for the same pool size.  An arch drawn twice makes a pair tied in both lists, which tau-b
    leaves out.
    """
    size = len(first)
    tau = noise.kendall_tau_b(first.tolist(), second.tolist())
    if tau is None or size < 4:
        return {"tau": tau, "low": None, "high": None}
    counts = np.random.default_rng(size).multinomial(size, np.full(size, 1.0 / size), DRAWS)
    drawn = np.repeat(np.tile(np.arange(size), DRAWS), counts.ravel()).reshape(DRAWS, size)
    taus = noise.kendall_taus(first[drawn], second[drawn])
    taus = taus[np.isfinite(taus)]
    low, high = np.percentile(taus, [2.5, 97.5]).tolist() if len(taus) else (None, None)
    return {"tau": tau, "low": low, "high": high}


def _over_samples(folder: Path, epochs: Sequence[int]) -> dict[str, Any] | None:
    """tau-b of two evaluations with its interval over samples; None where their errors were not kept.

    ``reason`` in place of the figures where they cannot be compared: a damaged file, or other samples or archs.
    """
    files = [folder / sample_errors_name(epoch) for epoch in epochs]
    if not all(file.is_file() for file in files):
        return None
    try:
        first, second = map(read_sample_errors, files)
    except DataError as error:
        return {"reason": str(error)}
    if (first.eval_set, first.codes) != (second.eval_set, second.codes):
        return {"reason": f"the kept errors of epochs {epochs[0]} and {epochs[1]} are of other samples or archs"}
    found = noise.tau_interval(first.sample_epe, second.sample_epe, first.valid_pixels)
    named = zip(("tau", "low", "high"), found, strict=True)
    figures = {name: _finite(value) for name, value in named}
    return {"epochs": list(epochs), "samples": int((first.valid_pixels > 0).sum()), **figures}


def _costs(history: History) -> dict[str, Array]:
    """MACs and parameters [A] of the pool; empty where codes or space are unknown, or all are equal."""
    if not all(history.codes):
        return {}
    name, width, crop = "v1", 32, (192, 256)
    if history.run is not None:
        name, width = history.run.key("train.space", name), history.run.key("train.width", width)
        crop = history.run.key("data.crop_size", crop)
    from edgeflownas.models.graph import macs, parameters
    from edgeflownas.space import get_space

    try:
        space, height, image_width = get_space(str(name)), int(crop[0]), int(crop[1])
        found = {
            "macs": np.array([macs(space, int(width), code, height, image_width) for code in history.codes], float),
            "parameters": np.array([parameters(space, int(width), code) for code in history.codes], float),
        }
    except (UserError, TypeError, ValueError, IndexError):
        return {}
    return {key: values for key, values in found.items() if len(set(values.tolist())) > 1}


# ---- whether a continued run is worth going on with ----


def continuation(history: History, parent: History) -> dict[str, Any]:
    """The go / stop rule against the run it came from, two of three (figures in px).

    ``best_mean``: lowest mean_epe_12 of the parent minus that of the continuation is at least 0.0010.
    ``median_std``: median of std_epe_12 over all evaluations of the continuation is at most 0.008.
    ``tail``: median of p90_epe_12 over the last third (at least 3) of the continuation's evaluations is not above the
    same of the parent.

    Beside it stands ``evaluation_noise_px``, 95 % of the noise of the difference of the two best mean EPEs, and in
    ``noise_from`` what it was taken from (:func:`_evaluation_noise`).  Where the difference is smaller, ``caveat`` says
    so and ``within_noise`` is true; the answer of the rule stays.

    A figure that one of them lacks is not met.  ``verdict`` is ``go``, ``stop``, or ``not comparable`` where the
    evaluations belong to different samples, protocols or pools (``reason`` says which; unknown ones count as equal).
    """
    for name in SAME:
        own, before = (next((v for v in reversed(h.text(name)) if v is not None), None) for h in (history, parent))
        if own is not None and before is not None and own != before:
            reason = f"{name} is {own} here and {before} in the parent"
            return {"verdict": "not comparable", "parent": str(parent.source), "reason": reason, "rules": []}
    means = [h.known("mean_epe_12") for h in (history, parent)]
    gain = float(means[1].min()) - float(means[0].min()) if all(map(len, means)) else None
    spread = _median(history.column("std_epe_12"))
    tails = [_median(h.column("p90_epe_12")[recent(len(h.rows), 3)]) for h in (history, parent)]
    worse = None if tails[0] is None or tails[1] is None else tails[0] - tails[1]
    rules = [
        {"id": "best_mean", "value_px": gain, "limit_px": GAIN, "met": gain is not None and gain >= GAIN - 1e-9},
        {"id": "median_std", "value_px": spread, "limit_px": SPREAD, "met": spread is not None and spread <= SPREAD},
        {"id": "tail", "value_px": worse, "limit_px": 0.0, "met": worse is not None and worse <= ROUNDING},
    ]
    met = sum(bool(rule["met"]) for rule in rules)
    error, origin = _evaluation_noise(history, parent)
    caveat = None
    if gain is not None and error is not None and abs(gain) < error:
        state = "met by rule, but" if rules[0]["met"] else "not met by rule, and"
        caveat = f"{state} smaller than the noise of the evaluation ({error:.4f} px): no difference"
    return {
        "verdict": "go" if met >= RULES_MET else "stop",
        "parent": str(parent.source),
        "met": met,
        "needed": RULES_MET,
        "noise_px": mean_noise(history, means[0]) if len(means[0]) > 2 else None,
        "evaluation_noise_px": error,
        "noise_from": origin,
        "within_noise": caveat is not None,
        "caveat": caveat,
        "rules": rules,
    }


def _median(values: Array) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _evaluation_noise(history: History, parent: History) -> tuple[float | None, str | None]:
    """95 % of the noise (px) of the difference of the two best mean EPEs, and what it comes from.

    From the errors of the same samples in both best evaluations, paired, where both runs kept them; else from
    mean_epe_standard_error_12 of both as if their samples were different ones, which is an upper bound.
    """
    stored, errors = [], []
    for h in (history, parent):
        means, column = h.column("mean_epe_12"), h.column("mean_epe_standard_error_12")
        if not np.isfinite(means).any():
            return None, None
        best = int(np.argmin(np.where(np.isfinite(means), means, np.inf)))
        known = column[np.isfinite(column)]
        usual = float(np.median(known)) if len(known) else math.nan  # where the best row lacks it
        errors.append(float(column[best]) if np.isfinite(column[best]) else usual)
        with contextlib.suppress(DataError):
            stored.append(read_sample_errors(h.source / sample_errors_name(int(h.epochs[best]))))
    if len(stored) == 2:
        first, second = stored
        same = (first.codes, first.eval_set) == (second.codes, second.eval_set)
        if same and np.array_equal(first.valid_pixels, second.valid_pixels):
            means = np.stack([one.sample_epe.mean(axis=0, dtype=np.float64) for one in stored])
            error = float(noise.pool_noise(means, first.valid_pixels).paired[0, 1])
            if np.isfinite(error):
                samples = int((first.valid_pixels > 0).sum())
                return noise.student95(samples) * error, f"paired errors of {samples} samples"
    if not np.isfinite(errors).all():
        return None, None
    return 1.96 * math.hypot(*errors), "mean_epe_standard_error_12 of both, not paired"
