"""Whether a continued run is worth going on with: two of three against the run it came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeflownas.report.diagnosis.series import mean_noise
from edgeflownas.report.diagnosis.statistics import recent
from edgeflownas.report.histories import History

__all__ = ["continuation"]

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
        "rules": rules,
    }


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
