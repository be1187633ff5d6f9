"""Histories made for tests: any number of epochs and subnets, with every column that the report draws."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgeflownas.report.history import History


def made_history(epochs=20, archs=12, name="run", seed=0, **changes):
    """A falling EPE with noise; ``changes`` replaces columns (a value, or a function of the row's index)."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-np.arange(epochs) / max(epochs / 3, 1))
    epes = 5.0 + 4.0 * decay[:, None] + 0.05 * np.arange(archs) + rng.normal(0, 0.02, (epochs, archs))
    rows = []
    for place in range(epochs):
        values = epes[place]
        order = np.argsort(values)
        row: dict[str, Any] = {
            **{"epoch": place + 1, "global_step": 50 * (place + 1), "seen_samples": 1600 * (place + 1)},
            **{"lr": 1e-4 * (1 - place / (2 * epochs)), "train_loss": 10.0 * decay[place], "pool_size": archs},
            **{"train_loss_optical": 4.0 * decay[place] + 1, "train_loss_uncertainty": 6.0 * decay[place] - 1},
            **{"grad_norm_p50": 20.0, "grad_norm_p90": 30.0, "grad_norm_p99": 60.0, "clip_threshold": 50.0},
            **{"clip_rate": 0.02, "unique_samples": 1530, "train_samples": 17785, "data_wait_share": 0.01},
            **{"mean_epe_12": values.mean(), "std_epe_12": values.std(), "median_epe_12": float(np.median(values))},
            **{"p90_epe_12": float(np.percentile(values, 90)), "per_arch_epe_min": values.min()},
            **{"per_arch_epe_max": values.max(), "zero_flow_epe": 9.94, "eval_samples_per_arch": 128},
            **{"kendall_tau_prev": 0.8 if place and archs > 1 else None, "split_label": "fc2/folder:val/640/0000"},
            **{"eval_set": "aaaa", "epoch_seconds": 60.0, "eval_seconds": 20.0, "bn_recal_seconds": 5.0},
            "arch_rank_12": "|".join(f"{rank}:{arch}:{values[arch]:.4f}" for rank, arch in enumerate(order, start=1)),
        }
        for column, value in changes.items():
            row[column] = value(place) if callable(value) else value
        rows.append({key: float(v) if isinstance(v, np.floating) else v for key, v in row.items()})
    codes = tuple(",".join(np.base_repr(arch, 3).zfill(9)) for arch in range(archs))
    filled = frozenset(key for row in rows for key, value in row.items() if value is not None)
    return History(
        name, Path(f"{name}.csv"), archs, tuple(rows), epes, codes, 6 if archs > 6 else None, 200, None, (), filled
    )


def with_record(history, **facts):
    """The same as if it came from a run directory."""
    from dataclasses import replace

    record = {"config": {}, "manifest": {}, "timing": (), "per_option": (), "monitor": (), "eval_sizes": (), **facts}
    made = SimpleNamespace(**record, key=lambda dotted, default=None: default)
    return replace(history, run=made)  # type: ignore[arg-type]
