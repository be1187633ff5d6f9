"""Whether a continued run is worth going on with: two of three against the run it came from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.evaluate.noise import pool_noise, student95
from edgeflownas.evaluate.results import read_sample_errors, sample_errors_name
from edgeflownas.report.diagnosis.series import mean_noise
from edgeflownas.report.diagnosis.statistics import recent
from edgeflownas.report.histories import Array, History

GAIN = 0.0010
"""px by which the best mean EPE must be lower."""
SPREAD = 0.008
"""px that the median of the pool's standard deviation may have."""
ROUNDING = 0.00005
"""px: half a step of four decimals."""
NEEDED = 2
SAME = ("split_label", "eval_set", "epe_protocol", "eval_samples_per_arch", "pool_size")


def continuation(history: History, parent: History) -> dict[str, Any]:
    """The go / stop rule, two of three (figures in px).

    ``best_mean``: lowest mean_epe_12 of the parent minus that of the continuation is at least 0.0010.
    ``median_std``: median of std_epe_12 over all evaluations of the continuation is at most 0.008.
    ``tail``: median of p90_epe_12 over the last third (at least 3) of the continuation's evaluations is not above the
    same of the parent.

    Beside it stands ``evaluation_noise_px``, 95 % of the noise of the difference of the two best mean EPEs, and in
    ``noise_from`` what it was taken from (:func:`_evaluation_noise`).  Where the difference is smaller, ``caveat`` says
    so and ``within_noise`` is true; the answer of the rule stays.

    A figure that one of them lacks is not met.  ``verdict`` is ``go``, ``stop``, or ``not comparable`` where the
    evaluations belong to different samples, protocols or pools (``reason`` says which).
    """
    if (reason := _differing(history, parent)) is not None:
        return {"verdict": "not comparable", "parent": str(parent.source), "reason": reason, "rules": []}
    own, before = _lowest(history), _lowest(parent)
    spread = _median(history, "std_epe_12", slice(None))
    tails = [_median(h, "p90_epe_12", recent(len(h.rows), 3)) for h in (history, parent)]
    gain = None if own is None or before is None else before - own
    worse = None if tails[0] is None or tails[1] is None else tails[0] - tails[1]
    rules = [
        {"id": "best_mean", "value_px": gain, "limit_px": GAIN, "met": gain is not None and gain >= GAIN - 1e-9},
        {"id": "median_std", "value_px": spread, "limit_px": SPREAD, "met": spread is not None and spread <= SPREAD},
        {"id": "tail", "value_px": worse, "limit_px": 0.0, "met": worse is not None and worse <= ROUNDING},
    ]
    met = sum(bool(rule["met"]) for rule in rules)
    values = history.column("mean_epe_12")
    values = values[np.isfinite(values)]
    return {
        "verdict": "go" if met >= NEEDED else "stop",
        "parent": str(parent.source),
        "met": met,
        "needed": NEEDED,
        "noise_px": mean_noise(history, values) if len(values) > 2 else None,
        **_noise_beside(gain, bool(rules[0]["met"]), *_evaluation_noise(history, parent)),
        "rules": rules,
    }


def _noise_beside(gain: float | None, met: bool, noise: float | None, origin: str | None) -> dict[str, Any]:
    """The noise as facts, with a caveat where the gain in px is smaller."""
    facts = {"evaluation_noise_px": noise, "noise_from": origin, "within_noise": False, "caveat": None}
    if gain is None or noise is None or abs(gain) >= noise:
        return facts
    state = "met by rule, but" if met else "not met by rule, and"
    caveat = f"{state} smaller than the noise of the evaluation ({noise:.4f} px): no difference"
    return {**facts, "within_noise": True, "caveat": caveat}


def _evaluation_noise(history: History, parent: History) -> tuple[float | None, str | None]:
    """95 % of the noise (px) of the difference of the two best mean EPEs, and what it comes from.

    From the errors of the same samples in both best evaluations, paired, where both runs kept them; else from
    mean_epe_standard_error_12 of both as if their samples were different ones, which is an upper bound.
    """
    stored = [_best_errors(h) for h in (history, parent)]
    if stored[0] is not None and stored[1] is not None:
        (own, pixels, codes), (before, others, same) = stored[0], stored[1]
        if codes == same and np.array_equal(pixels, others):
            error = float(pool_noise(np.stack([own, before]), pixels).paired[0, 1])
            if np.isfinite(error):
                samples = int((pixels > 0).sum())
                return student95(samples) * error, f"paired errors of {samples} samples"
    errors = [_at_best(h, "mean_epe_standard_error_12") for h in (history, parent)]
    if not np.isfinite(errors).all():
        return None, None
    return 1.96 * math.hypot(*errors), "mean_epe_standard_error_12 of both, not paired"


def _best_errors(history: History) -> tuple[Array, NDArray[np.int64], tuple[str, ...]] | None:
    """EPE [N] of each sample, mean of the pool, in the evaluation of the best mean EPE; pixels [N]; codes and set."""
    values = history.column("mean_epe_12")
    if not np.isfinite(values).any():
        return None
    epoch = int(history.epochs[np.nanargmin(np.where(np.isfinite(values), values, np.nan))])
    try:
        errors = read_sample_errors(history.source / sample_errors_name(epoch))
    except DataError:
        return None
    return errors.sample_epe.mean(axis=0, dtype=np.float64), errors.valid_pixels, (*errors.codes, errors.eval_set)


def _at_best(history: History, name: str) -> float:
    """A column where the mean EPE is lowest, or its median where that row lacks it; NaN where no row has it."""
    means, values = history.column("mean_epe_12"), history.column(name)
    known = np.isfinite(values)
    if not known.any() or not np.isfinite(means).any():
        return float("nan")
    place = int(np.nanargmin(np.where(np.isfinite(means), means, np.nan)))
    return float(values[place] if known[place] else np.median(values[known]))


def _differing(history: History, parent: History) -> str | None:
    """What the two were evaluated on differently; unknown values count as equal."""
    for name in SAME:
        own, before = (next((v for v in reversed(h.text(name)) if v is not None), None) for h in (history, parent))
        if own is not None and before is not None and own != before:
            return f"{name} is {own} here and {before} in the parent"
    return None


def _lowest(history: History) -> float | None:
    values = history.column("mean_epe_12")
    values = values[np.isfinite(values)]
    return float(values.min()) if len(values) else None


def _median(history: History, name: str, part: slice) -> float | None:
    values = history.column(name)[part]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None
