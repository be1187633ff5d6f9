"""Random histories with stated properties, as the text of an eval_history.csv."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeflownas.evaluate.columns import columns, csv_file, format_value
from edgeflownas.evaluate.noise import pool_statistics, rank_string
from edgeflownas.report.history import read_history

Array = np.ndarray[Any, np.dtype[np.float64]]


def tau(first, second):
    """Kendall's tau of two lists without ties (scipy's takes most of the time otherwise)."""
    signs = [np.sign(values[:, None] - values[None, :]) for values in (first, second)]
    return float((signs[0] * signs[1]).sum() / (len(first) * (len(first) - 1)))


@dataclass
class Recipe:
    """What a history is made of; the defaults are a healthy one."""

    seed: int = 0
    epochs: int = 60
    size: int = 12
    zero: float = 10.9  # px
    first: float = 8.8
    last: float = 3.1
    constant: float = 0.4  # time constant of the fall as a share of the length
    knee: int | None = None  # instead: straight down to this epoch, then level
    spread: float = 0.25  # px between archs
    jitter: float = 0.015  # px of one arch from epoch to epoch
    noise: float = 0.01  # px of the pool's mean from epoch to epoch
    correlation: float = 0.0  # of that noise from epoch to epoch
    loss_first: float = 11.5
    loss_last: float = 3.2
    loss_noise: float = 0.03
    clip_start: float = 0.5
    clip_end: float = 0.001
    checks: int = 556
    planned: int | None = None  # of the cosine
    rate: float = 1e-4
    coverage: float = 1.0
    wait: float = 0.012
    offsets: Array | None = None  # px of each arch instead of random ones
    edit: Callable[[list[dict[str, Any]], Array], None] | None = None  # last touch: rows, EPE [E, A]

    def table(self):
        """Rows with the names of a pool of 12."""
        rng = np.random.default_rng(self.seed)
        epes = self.epes(rng)
        times = np.arange(self.epochs) / max(self.constant * self.epochs, 1e-9)
        loss = self.loss_last + (self.loss_first - self.loss_last) * np.exp(-times)
        loss += rng.normal(0, self.loss_noise, self.epochs)
        planned, size, train = self.planned or self.epochs, self.size, 17785
        rows: list[dict[str, Any]] = []
        for e in range(self.epochs):
            figures = pool_statistics(epes[e].tolist())
            rate = self.clip_end + (self.clip_start - self.clip_end) * math.exp(-6 * e / self.epochs)
            clips = int(rng.binomial(self.checks, min(max(rate, 0.0), 1.0)))
            norm = float(rng.normal(1, 0.02)) * 20 * (1 + 2 * math.exp(-times[e]))
            draws = int(self.coverage * train) if self.coverage < 1 else 17792
            rows.append(
                {
                    "epoch": e + 1, "global_step": self.checks * (e + 1), "seen_samples": draws * (e + 1),
                    "lr": self.rate * 0.5 * (1 + math.cos(math.pi * (e + 1) / planned)), "train_loss": float(loss[e]),
                    "train_loss_optical": 0.38 * float(loss[e]), "train_loss_uncertainty": 0.62 * float(loss[e]),
                    "grad_norm_mean": norm, "grad_norm_p50": 0.92 * norm, "grad_norm_p90": 1.3 * norm,
                    "grad_norm_p99": 1.9 * norm, "clip_threshold": 60, "clip_checks": self.checks,
                    "expected_clip_checks": self.checks, "clip_count": clips, "clip_rate": clips / self.checks,
                    "unique_samples": int(min(1.0, self.coverage) * train), "train_samples": train,
                    "dropped_steps": 0, "mean_epe_12": figures.mean, "std_epe_12": figures.std,
                    "median_epe_12": figures.median, "p90_epe_12": figures.p90, "per_arch_epe_min": figures.min,
                    "per_arch_epe_median": figures.median, "per_arch_epe_max": figures.max, "zero_flow_epe": self.zero,
                    "kendall_tau_prev": tau(epes[e - 1], epes[e]) if e else None,
                    "fairness_gap": 0, "eval_seconds": 41.2, "bn_recal_seconds": 63.5, "data_wait_share": self.wait,
                    "eval_samples_per_arch": 128, "split_label": "fc2/folder:val/640/0000",
                    "arch_rank_12": rank_string(epes[e].tolist()), "eval_set": "aa", "calibration_set": "bb",
                    "epe_protocol": "training",
                }
            )  # fmt: skip
            assert size == len(epes[e])
        if self.edit is not None:
            self.edit(rows, epes)
        return rows

    def epes(self, rng):
        """EPE [E, A] in px."""
        x = np.arange(self.epochs)
        if self.knee is None:
            curve = self.last + (self.first - self.last) * np.exp(-x / max(self.constant * self.epochs, 1e-9))
        else:
            curve = self.first + (self.last - self.first) * np.minimum(x / max(self.knee - 1, 1), 1.0)
        noise, shocks = np.zeros(self.epochs), rng.normal(0, self.noise, self.epochs)
        for e in range(self.epochs):
            before = noise[e - 1] if e else 0.0
            noise[e] = self.correlation * before + math.sqrt(1 - self.correlation**2) * shocks[e]
        offsets = self.offsets if self.offsets is not None else rng.normal(0, self.spread, self.size)
        jitter = rng.normal(0, self.jitter, (self.epochs, self.size))
        return np.maximum((curve + noise)[:, None] + offsets[None, :] + jitter, 1e-3)

    def text(self):
        """The CSV file."""
        names, table = columns(self.size), self.table()
        rows = [{name.replace("_12", f"_{self.size}"): value for name, value in row.items()} for row in table]
        new = sorted({name for row in rows for name in row} - set(names))  # of evaluations that this version lacks
        lines = [[*names, *new]]
        for row in rows:
            known = [format_value(name, row.get(name)) for name in names]
            lines.append([*known, *("" if row.get(name) is None else f"{row[name]:.4f}" for name in new)])
        return csv_file(lines).decode()

    def history(self, folder):
        """Written and read back."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "eval_history.csv"
        file.write_text(self.text())
        return read_history(file)


def set_in(part, **values):
    """An edit that sets columns in some rows, to a value or to a function of the row."""

    def edit(rows, epes):
        for row in rows[part]:
            for name, value in values.items():
                row[name] = value(row) if callable(value) else value

    return edit


def random_healthy(seed):
    """A healthy run of any length, pool size and noise, finished, or stopped after at least half of its plan."""
    rng = np.random.default_rng([seed, 7])
    epochs = int(rng.integers(12, 201))
    first = float(rng.uniform(6, 12))
    last = first * float(rng.uniform(0.25, 0.6))
    fall = first - last

    def drawn(low, high):
        return float(rng.uniform(low, high))

    return Recipe(
        **{"seed": seed, "epochs": epochs, "size": int(rng.integers(5, 41)), "zero": first * drawn(1.0, 1.4)},
        **{"first": first, "last": last, "constant": drawn(0.35, 1.0), "spread": fall * drawn(0.02, 0.06)},
        **{"jitter": fall * drawn(0.0003, 0.003), "noise": fall * float(10 ** rng.uniform(-4, -1.7))},
        **{"correlation": drawn(0.0, 0.6), "loss_last": drawn(3, 7), "loss_noise": drawn(0.0, 0.05)},
        **{"planned": int(epochs * rng.uniform(1.0, 1.8)), "coverage": float(rng.choice([0.3, 0.5, 1.0]))},
        wait=drawn(0.0, 0.08),
    )
