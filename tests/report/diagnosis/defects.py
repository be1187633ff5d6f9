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

import numpy as np
from synthetic import Recipe, random_healthy, set_in

from edgeflownas.report.diagnosis import RULES, Finding, diagnose
from edgeflownas.report.diagnosis.rule import Unjudged

Check = Callable[[Finding], bool]
Plant = Callable[[Recipe, np.random.Generator], Check | None]
DEFECTS: dict[str, Callable[[int], tuple[Recipe, Check]]] = {}


def planted(word: str, name: str = "") -> Callable[[Plant], Plant]:
    """The function changes a healthy recipe; it returns what the finding has to say, None where anything will do."""

    def register(plant: Plant) -> Plant:
        def make(seed: int) -> tuple[Recipe, Check]:
            recipe = random_healthy(seed)
            right = plant(recipe, np.random.default_rng([seed, *word.encode()]))
            return recipe, right or (lambda finding: True)

        DEFECTS[name or plant.__name__] = make
        return plant

    return register


def anywhere(recipe: Recipe, rng: np.random.Generator, first: int = 0) -> int:
    return int(rng.integers(first, recipe.epochs))


@planted("nan")
def non_finite_epe(recipe: Recipe, rng: np.random.Generator) -> Check:
    place = anywhere(recipe, rng)
    recipe.edit = set_in(slice(place, place + 1), mean_epe_12=lambda row: float(rng.choice([math.nan, math.inf])))
    return lambda f: place + 1 in f.epochs


@planted("impossible")
def impossible_values(recipe: Recipe, rng: np.random.Generator) -> Check:
    """One EPE below zero, one zero-flow EPE that is not above it, or only zeros."""
    kind = int(rng.integers(3))
    place = anywhere(recipe, rng)
    part = slice(None) if kind == 2 else slice(place, place + 1)
    recipe.edit = set_in(part, **{"zero_flow_epe" if kind == 1 else "mean_epe_12": -1.0 if kind == 0 else 0.0})
    return lambda f: place + 1 in f.epochs and (kind == 2) == (len(f.epochs) > 1)


@planted("contradiction")
def row_contradicts(recipe: Recipe, rng: np.random.Generator) -> Check:
    """The mean or the spread of one evaluation is another by a hundredth."""
    place, name = anywhere(recipe, rng), str(rng.choice(["mean_epe_12", "std_epe_12"]))
    recipe.edit = set_in(slice(place, place + 1), **{name: lambda row: 1.01 * row[name] + 0.001})
    return lambda f: f.epochs == (place + 1,)


@planted("rise")
def epe_rising(recipe: Recipe, rng: np.random.Generator) -> None:
    """From half way the EPE rises by a tenth to half of its fall, over noise of at most 1 % of it."""
    recipe.epochs = max(recipe.epochs, 20)
    fall = recipe.first - recipe.last
    recipe.noise = fall * float(10 ** rng.uniform(-4, -2))
    share = float(rng.uniform(0.1, 0.5))

    def edit(rows: list[dict[str, Any]], epes: Any) -> None:
        half = len(rows) // 2
        for place in range(half, len(rows)):
            climb = (place - half) / (len(rows) - half) * share * fall
            rows[place]["mean_epe_12"] = rows[half]["mean_epe_12"] + climb + float(rng.normal(0, recipe.noise))

    recipe.edit = edit


@planted("parts")
def loss_epe_divergence(recipe: Recipe, rng: np.random.Generator) -> Check:
    """The loss falls by 30 to 70 %, the EPE by at most 3 %, with noise of up to 0.3 % of it."""
    recipe.last = recipe.first * float(rng.uniform(0.97, 1.0))
    recipe.noise, recipe.jitter = (recipe.first * float(10 ** rng.uniform(-4.5, -2.5)) for _ in range(2))
    recipe.loss_last = recipe.loss_first * float(rng.uniform(0.3, 0.7))
    recipe.constant = min(recipe.constant, 0.5)
    return lambda f: float(f.figures["loss_change_pct"]) < -20


@planted("parts")
def objective_mismatch(recipe: Recipe, rng: np.random.Generator) -> Check | None:
    shares = {"total": 0.9, "optical": 0.3, "uncertainty": 0.6}
    recipe.edit = set_in(
        slice(None), **{f"eval_loss_{k}": lambda row, s=s: s * row["train_loss"] for k, s in shares.items()}
    )
    return loss_epe_divergence(recipe, rng)


@planted("plateau")
def plateau(recipe: Recipe, rng: np.random.Generator) -> Check:
    """Straight down to a knee at 20 to 60 %, or exponentially; noise up to 2 % of the fall; found near the truth."""
    recipe.epochs = max(recipe.epochs, 24)
    recipe.noise = (recipe.first - recipe.last) * float(10 ** rng.uniform(-4, -1.7))
    recipe.correlation = float(rng.uniform(0, 0.4))
    if rng.random() < 0.5:
        recipe.knee = max(5, int(recipe.epochs * rng.uniform(0.2, 0.6)))
        low, high = recipe.knee - 2 - 0.15 * recipe.knee, recipe.knee + 2 + 0.15 * recipe.knee
    else:
        recipe.constant = float(rng.uniform(0.07, 0.16))
        tau = recipe.constant * recipe.epochs
        low, high = 2.0 * tau, 4.7 * tau + 2
    return lambda f: low <= float(f.figures["epe_from_epoch"]) <= high


@planted("crop")
def input_differs(recipe: Recipe, rng: np.random.Generator) -> None:
    recipe.edit = set_in(
        slice(None),
        train_epe_12=lambda row: row["mean_epe_12"] * 0.95,
        train_epe_random_crop_12=lambda row: row["train_epe_12"] * 1.25 + float(rng.normal(0, 0.05)),
    )


@planted("gap")
def train_eval_gap(recipe: Recipe, rng: np.random.Generator) -> None:
    """The EPE of new pairs stops at half of the fall, that of training pairs goes on."""
    recipe.constant, recipe.epochs = 0.6, max(recipe.epochs, 30)
    recipe.noise = min(recipe.noise, 0.005 * (recipe.first - recipe.last))
    floor = (recipe.first + recipe.last) / 2
    recipe.edit = set_in(
        slice(None),
        train_epe_12=lambda row: 0.97 * row["mean_epe_12"],
        mean_epe_12=lambda row: max(row["mean_epe_12"], floor + float(rng.normal(0, recipe.noise))),
    )


@planted("hard")
def hard_arch(recipe: Recipe, rng: np.random.Generator) -> Check:
    """One arch stands seven spreads above the others' mean, in pools of at least eight."""
    recipe.size = max(recipe.size, 8)
    recipe.offsets = rng.normal(0, recipe.spread, recipe.size)
    worst = int(rng.integers(recipe.size))
    recipe.offsets[worst] = 7 * recipe.spread
    return lambda f: f.figures["arch_index"] == worst


@planted("outlier")
def outlier_epoch(recipe: Recipe, rng: np.random.Generator) -> Check:
    """The pool's spread triples in one epoch."""
    recipe.epochs = max(recipe.epochs, 20)
    place = anywhere(recipe, rng, 4)
    recipe.edit = set_in(slice(place, place + 1), std_epe_12=lambda row: 3 * row["std_epe_12"])
    return lambda f: f.figures["epoch"] == place + 1


@planted("label")
def label_changed(recipe: Recipe, rng: np.random.Generator) -> Check:
    start = anywhere(recipe, rng, 1)
    labels = ({"split_label": "fc2/folder:val/64/0001"}, {"eval_set": "cc"}, {"eval_samples_per_arch": 32})
    changed = labels[recipe.seed % 3]
    recipe.edit = set_in(slice(start, None), **changed)
    return lambda f: f.epochs == (start + 1,) and f.figures["columns"] == list(changed)


@planted("dropped")
def non_finite_steps(recipe: Recipe, rng: np.random.Generator) -> Check:
    place, count = anywhere(recipe, rng), int(rng.integers(1, 5))
    recipe.edit = set_in(slice(place, place + 1), dropped_steps=count)
    return lambda f: f.figures["dropped_steps"] == count and f.epochs == (place + 1,)


@planted("plateau")
def best_on_noise(recipe: Recipe, rng: np.random.Generator) -> None:
    plateau(recipe, rng)
    change(recipe, knee=max(5, recipe.epochs // 4), noise=0.005 * (recipe.first - recipe.last), correlation=0.0)


@planted("resumed")
def resumed_with_changes(recipe: Recipe, rng: np.random.Generator) -> Check:
    start = anywhere(recipe, rng, 1)
    recipe.edit = set_in(slice(start, None), clip_threshold=200)
    return lambda f: f.epochs == (start + 1,)


def change(recipe: Recipe, right: Check | None = None, **facts: Any) -> Check | None:
    for name, value in facts.items():
        setattr(recipe, name, value)
    return right


def _overlapping(r: Recipe, rng: np.random.Generator) -> Check | None:
    """The archs differ by at most half of their jitter, which brings tau to about 0.2 at most."""
    jitter = 0.02 * (r.first - r.last)
    return change(r, jitter=jitter, spread=jitter * float(rng.uniform(0, 0.5)))


WORDS: dict[str, tuple[str, Plant]] = {
    # the pool stays within 5 % of zero flow, above or below
    "near_zero_flow": ("zero", lambda r, rng: change(
        r, first=1.02 * r.zero, last=r.zero * float(rng.uniform(0.95, 1.02)), spread=0.01 * r.zero,
        jitter=0.002 * r.zero, noise=0.002 * r.zero,
    )),
    "clip_checks_mismatch": ("checks", lambda r, rng: change(
        r, lambda f: (f.figures["counted"], f.figures["expected"]) == (r.checks, 2 * r.checks),
        edit=set_in(slice(anywhere(r, rng), None), expected_clip_checks=lambda row: 2 * row["clip_checks"]),
    )),
    # between 96 and 100 % of the checks clip
    "clip_saturated": ("saturated", lambda r, rng: change(
        r, clip_start=1.0, clip_end=float(rng.uniform(0.96, 1.0)), checks=int(rng.integers(20, 600)),
    )),
    "lr_too_low": ("low", lambda r, rng: change(
        r, rate=float(10 ** rng.uniform(-11, -9)), last=r.first, loss_last=r.loss_first,
    )),
    "coverage_low": ("coverage", lambda r, rng: change(
        r, lambda f: abs(float(f.figures["share_pct"]) - 100 * r.coverage) < 0.3,
        coverage=float(rng.uniform(0.02, 0.2)),
    )),
    "fairness_gap_open": ("fair", lambda r, rng: change(
        r, edit=set_in(slice(-1, None), fairness_gap=lambda row: int(rng.integers(2, 50))),
    )),
    "ranking_below_noise": ("ranks", _overlapping),
    "ranking_unstable": ("ranks", _overlapping),
    "wide_disagrees": ("wide", lambda r, rng: change(r, edit=set_in(
        slice(None, None, max(1, r.epochs // 6)), mean_epe_standard_error_12=0.05,
        wide_difference_12=lambda row: -0.3 + float(rng.normal(0, 0.02)),
    ))),
    # a cosine over five to nine times the epochs that are done
    "lr_barely_moved": ("lr", lambda r, rng: change(
        r, lambda f: 0 < float(f.figures["decay_pct"]) < 15, planned=int(r.epochs * rng.uniform(5, 9)),
    )),
    # never more than 0.36 % of the checks clip
    "clip_idle": ("idle", lambda r, rng: change(
        r, clip_start=float(rng.uniform(0, 0.0036)), clip_end=float(rng.uniform(0, 0.001)),
        checks=int(rng.integers(50, 600)),
    )),
    "data_wait_high": ("wait", lambda r, rng: change(r, wait=float(rng.uniform(0.12, 0.9)))),
}  # fmt: skip
for name, (word, plant) in WORDS.items():
    planted(word, name)(plant)


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
