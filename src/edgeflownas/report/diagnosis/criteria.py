"""Which epoch each criterion of the best checkpoint would have chosen, and what that costs under the others."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from edgeflownas.evaluate.noise import PoolStatistics, best_criterion
from edgeflownas.report.histories import History

CRITERIA: tuple[Literal["mean", "median", "p90", "mix"], ...] = ("mean", "median", "p90", "mix")
COLUMNS = ("mean_epe_12", "std_epe_12", "median_epe_12", "p90_epe_12", "per_arch_epe_min", "per_arch_epe_max")


def criteria(history: History) -> tuple[dict[str, Any], ...]:
    """One row a criterion (``mix`` with the run's eval.best_mix, else equal weights).

    Each row has ``criterion``, ``epoch``, ``value_px`` and ``costs_px``: by criterion, how much higher than its own
    lowest value the chosen epoch is.  Criteria whose columns are missing are left out.
    """
    mix = history.run.key("eval.best_mix") if history.run is not None else None
    weights = (1.0, 1.0, 1.0)
    if isinstance(mix, (list, tuple)) and len(mix) == 3 and sum(map(float, mix)) > 0:
        weights = (float(mix[0]), float(mix[1]), float(mix[2]))
    table = np.stack([history.column(name) for name in COLUMNS], axis=1)
    curves: dict[str, Any] = {}
    for name in CRITERIA:
        needed = [0, 2, 3] if name == "mix" else [COLUMNS.index(f"{name}_epe_12")]
        whole = np.isfinite(table[:, needed]).all(axis=1)
        values = np.full(len(table), np.nan)
        values[whole] = [best_criterion(name, weights, PoolStatistics(*row)) for row in table[whole].tolist()]
        if np.isfinite(values).any():
            curves[name] = np.where(np.isfinite(values), values, np.inf)
    chosen = {name: int(np.argmin(values)) for name, values in curves.items()}
    return tuple(
        {
            "criterion": name,
            "epoch": int(history.epochs[place]),
            "value_px": float(curves[name][place]),
            "costs_px": {
                other: float(values[place] - values[chosen[other]])
                for other, values in curves.items()
                if np.isfinite(values[place])
            },
        }
        for name, place in chosen.items()
    )
