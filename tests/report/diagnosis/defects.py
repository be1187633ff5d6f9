"""One planted defect a rule, of stated size, on random histories of any length, pool size and noise.

As a program it measures how often each rule speaks where it should and where it should not (docs/diagnosis.md):

    python tests/report/diagnosis/defects.py [SEEDS]
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from planted_steps import (  # noqa: E402
    Planted,
    Rows,
    anything,
    clip_checks_mismatch,
    clip_idle,
    clip_saturated,
    coverage_low,
    data_wait_high,
    edited,
    fairness_gap_open,
    generator,
    label_changed,
    lr_barely_moved,
    lr_too_low,
    non_finite_steps,
    resumed_with_changes,
)  # fmt: skip
from synthetic import Recipe, random_healthy  # noqa: E402

from edgeflownas.report.diagnosis import RULES, Finding, diagnose  # noqa: E402
from edgeflownas.report.diagnosis.findings import Unjudged  # noqa: E402


def non_finite_epe(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "nan")
    place = int(rng.integers(0, recipe.epochs))

    def edit(rows: Rows, epes: Any) -> None:
        rows[place]["mean_epe_12"] = float(rng.choice([math.nan, math.inf]))

    return edited(recipe, edit), lambda f: place + 1 in f.epochs


def impossible_values(seed: int) -> Planted:
    """One EPE below zero, one zero-flow EPE that is not above it, or only zeros."""
    recipe, rng = random_healthy(seed), generator(seed, "impossible")
    kind, place = int(rng.integers(3)), int(rng.integers(0, recipe.epochs))

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows if kind == 2 else [rows[place]]:
            row["zero_flow_epe" if kind == 1 else "mean_epe_12"] = -1.0 if kind == 0 else 0.0

    return edited(recipe, edit), lambda f: place + 1 in f.epochs and (kind == 2) == (len(f.epochs) > 1)


def near_zero_flow(seed: int) -> Planted:
    """The pool stays within 5 % of zero flow, above or below."""
    recipe, rng = random_healthy(seed), generator(seed, "zero")
    recipe.first, recipe.last = 1.02 * recipe.zero, recipe.zero * float(rng.uniform(0.95, 1.02))
    recipe.spread, recipe.jitter, recipe.noise = 0.01 * recipe.zero, 0.002 * recipe.zero, 0.002 * recipe.zero
    return recipe, anything


def loss_epe_divergence(seed: int) -> Planted:
    """The loss falls by 30 to 70 %, the EPE by at most 3 %, with noise of up to 0.3 % of it."""
    recipe, rng = random_healthy(seed), generator(seed, "parts")
    recipe.last = recipe.first * float(rng.uniform(0.97, 1.0))
    recipe.noise, recipe.jitter = (recipe.first * float(10 ** rng.uniform(-4.5, -2.5)) for _ in range(2))
    recipe.loss_last = recipe.loss_first * float(rng.uniform(0.3, 0.7))
    recipe.constant = min(recipe.constant, 0.5)
    return recipe, lambda f: float(f.figures["loss_change_pct"]) < -20


def plateau(seed: int) -> Planted:
    """Straight down to a knee at 20 to 60 %, or exponentially; noise up to 2 % of the fall; found near the truth."""
    recipe, rng = random_healthy(seed), generator(seed, "plateau")
    recipe.epochs = max(recipe.epochs, 24)
    recipe.noise = (recipe.first - recipe.last) * float(10 ** rng.uniform(-4, -1.7))
    recipe.correlation = float(rng.uniform(0, 0.4))
    if rng.random() < 0.5:
        knee = max(5, int(recipe.epochs * rng.uniform(0.2, 0.6)))
        recipe.knee, low, high = knee, knee - 2 - 0.15 * knee, knee + 2 + 0.15 * knee
    else:
        recipe.constant = float(rng.uniform(0.07, 0.16))
        tau = recipe.constant * recipe.epochs
        low, high = 2.0 * tau, 4.7 * tau + 2
    return recipe, lambda f: low <= float(str(f.figures["epe_from_epoch"])) <= high


def epe_rising(seed: int) -> Planted:
    """From half way the EPE rises by a tenth to half of its fall, over noise of at most 1 % of it."""
    recipe, rng = random_healthy(seed), generator(seed, "rise")
    recipe.epochs = max(recipe.epochs, 20)
    fall = recipe.first - recipe.last
    recipe.noise = fall * float(10 ** rng.uniform(-4, -2))
    share = float(rng.uniform(0.1, 0.5))

    def edit(rows: Rows, epes: Any) -> None:
        half = len(rows) // 2
        for place in range(half, len(rows)):
            base = rows[half]["mean_epe_12"]
            rows[place]["mean_epe_12"] = (
                base + (place - half) / (len(rows) - half) * share * fall + float(rng.normal(0, recipe.noise))
            )

    return edited(recipe, edit), anything


def objective_mismatch(seed: int) -> Planted:
    recipe, check = loss_epe_divergence(seed)

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows:
            row["eval_loss_total"] = 0.9 * row["train_loss"]
            row["eval_loss_optical"] = 0.3 * row["train_loss"]
            row["eval_loss_uncertainty"] = 0.6 * row["train_loss"]

    return edited(recipe, edit), check


def input_differs(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "crop")

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows:
            row["train_epe_12"] = row["mean_epe_12"] * 0.95
            row["train_epe_random_crop_12"] = row["train_epe_12"] * 1.25 + float(rng.normal(0, 0.05))

    return edited(recipe, edit), anything


def train_eval_gap(seed: int) -> Planted:
    """The EPE of new pairs stops at half of the fall, that of training pairs goes on."""
    recipe = random_healthy(seed)
    recipe.constant, recipe.epochs = 0.6, max(recipe.epochs, 30)
    recipe.noise = min(recipe.noise, 0.005 * (recipe.first - recipe.last))
    rng = generator(seed, "gap")

    def edit(rows: Rows, epes: Any) -> None:
        floor = (recipe.first + recipe.last) / 2
        for row in rows:
            row["train_epe_12"] = 0.97 * row["mean_epe_12"]
            row["mean_epe_12"] = max(row["mean_epe_12"], floor + float(rng.normal(0, recipe.noise)))

    return edited(recipe, edit), anything


def ranking_below_noise(seed: int) -> Planted:
    """The archs differ by at most half of their jitter."""
    recipe, rng = random_healthy(seed), generator(seed, "ranks")
    recipe.jitter = 0.02 * (recipe.first - recipe.last)
    recipe.spread = recipe.jitter * float(rng.uniform(0, 0.5))
    return recipe, anything


def ranking_unstable(seed: int) -> Planted:
    """The archs differ by at most half of their jitter, which brings tau to about 0.2 at most."""
    recipe, check = ranking_below_noise(seed)
    return recipe, check


def wide_disagrees(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "wide")

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows[:: max(1, len(rows) // 6)]:
            row["wide_difference_12"] = -0.3 + float(rng.normal(0, 0.02))
            row["mean_epe_standard_error_12"] = 0.05

    return edited(recipe, edit), anything


def hard_arch(seed: int) -> Planted:
    """One arch stands seven spreads above the others' mean, in pools of at least eight."""
    recipe, rng = random_healthy(seed), generator(seed, "hard")
    recipe.size = max(recipe.size, 8)
    offsets = rng.normal(0, recipe.spread, recipe.size)
    worst = int(rng.integers(recipe.size))
    offsets[worst] = 7 * recipe.spread
    recipe.offsets = offsets
    return recipe, lambda f: f.figures["arch_index"] == worst


def outlier_epoch(seed: int) -> Planted:
    """The pool's spread triples in one epoch."""
    recipe, rng = random_healthy(seed), generator(seed, "outlier")
    recipe.epochs = max(recipe.epochs, 20)
    place = int(rng.integers(4, recipe.epochs))

    def edit(rows: Rows, epes: Any) -> None:
        rows[place]["std_epe_12"] *= 3

    return edited(recipe, edit), lambda f: f.figures["epoch"] == place + 1


def best_on_noise(seed: int) -> Planted:
    recipe, _ = plateau(seed)
    recipe.knee, recipe.noise = max(5, recipe.epochs // 4), 0.005 * (recipe.first - recipe.last)
    recipe.correlation = 0.0
    return recipe, anything


DEFECTS: dict[str, Callable[[int], Planted]] = {
    function.__name__: function
    for function in (
        non_finite_epe, impossible_values, near_zero_flow, label_changed, epe_rising, loss_epe_divergence,
        objective_mismatch, plateau,
        clip_checks_mismatch, non_finite_steps, clip_saturated, lr_too_low, input_differs, train_eval_gap,
        coverage_low, fairness_gap_open, ranking_below_noise, ranking_unstable, wide_disagrees, hard_arch,
        outlier_epoch, best_on_noise, lr_barely_moved, clip_idle, data_wait_high, resumed_with_changes,
    )
}  # fmt: skip


def found(recipe: Recipe, folder: Path) -> dict[str, Finding]:
    """Findings by id."""
    return {finding.id: finding for finding in diagnose(recipe.history(folder)).findings}


def detected(name: str, seed: int, folder: Path) -> bool:
    """Whether the planted defect is found, where it is."""
    recipe, right = DEFECTS[name](seed)
    try:
        finding = RULES[name](recipe.history(folder))
    except Unjudged:
        return False
    return finding is not None and right(finding)


def main(seeds: int) -> None:
    """Prints a table: rule, share of healthy histories it speaks on, share of planted defects it finds."""
    alarms: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(seeds):
            alarms.update(found(random_healthy(seed), folder).keys())
        print(f"{'rule':24}{'false alarms':>14}{'detected':>10}   ({seeds} histories each)")
        for rule in DEFECTS:
            hits = sum(detected(rule, seed, folder) for seed in range(seeds))
            print(f"{rule:24}{100 * alarms[rule] / seeds:>12.1f} %{100 * hits / seeds:>8.1f} %", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
