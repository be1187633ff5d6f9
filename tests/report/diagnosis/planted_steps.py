"""Planted defects of steps, rates, data and labels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import Recipe, random_healthy  # noqa: E402

from edgeflownas.report.diagnosis import Finding  # noqa: E402

Rows = list[dict[str, Any]]
Planted = tuple[Recipe, Callable[[Finding], bool]]


def anything(finding: Finding) -> bool:
    return True


def generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def edited(recipe: Recipe, edit: Callable[[Rows, Any], None]) -> Recipe:
    recipe.edit = edit
    return recipe


def clip_checks_mismatch(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "checks")
    start = int(rng.integers(0, recipe.epochs))

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows[start:]:
            row["expected_clip_checks"] = 2 * row["clip_checks"]

    figures = {"counted": recipe.checks, "expected": 2 * recipe.checks}
    return edited(recipe, edit), lambda f: all(f.figures[name] == value for name, value in figures.items())


def non_finite_steps(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "dropped")
    place, count = int(rng.integers(0, recipe.epochs)), int(rng.integers(1, 5))

    def edit(rows: Rows, epes: Any) -> None:
        rows[place]["dropped_steps"] = count

    return edited(recipe, edit), lambda f: f.figures["dropped_steps"] == count and f.epochs == (place + 1,)


def clip_saturated(seed: int) -> Planted:
    """Between 96 and 100 % of the checks clip."""
    recipe, rng = random_healthy(seed), generator(seed, "saturated")
    recipe.clip_start, recipe.clip_end = 1.0, float(rng.uniform(0.96, 1.0))
    recipe.checks = int(rng.integers(20, 600))
    return recipe, anything


def clip_idle(seed: int) -> Planted:
    """Never more than 0.36 % of the checks clip."""
    recipe, rng = random_healthy(seed), generator(seed, "idle")
    recipe.clip_start, recipe.clip_end = float(rng.uniform(0, 0.0036)), float(rng.uniform(0, 0.001))
    recipe.checks = int(rng.integers(50, 600))
    return recipe, anything


def lr_too_low(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "low")
    recipe.rate = float(10 ** rng.uniform(-11, -9))
    recipe.last = recipe.first
    recipe.loss_last = recipe.loss_first
    return recipe, anything


def coverage_low(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "coverage")
    recipe.coverage = float(rng.uniform(0.02, 0.2))
    return recipe, lambda f: abs(float(str(f.figures["share_pct"])) - 100 * recipe.coverage) < 0.3


def fairness_gap_open(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "fair")

    def edit(rows: Rows, epes: Any) -> None:
        rows[-1]["fairness_gap"] = int(rng.integers(2, 50))

    return edited(recipe, edit), anything


def lr_barely_moved(seed: int) -> Planted:
    """A cosine over five to nine times the epochs that are done."""
    recipe, rng = random_healthy(seed), generator(seed, "lr")
    recipe.planned = int(recipe.epochs * rng.uniform(5, 9))
    return recipe, lambda f: 0 < float(str(f.figures["decay_pct"])) < 15


def data_wait_high(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "wait")
    recipe.wait = float(rng.uniform(0.12, 0.9))
    return recipe, anything


def label_changed(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "label")
    start = int(rng.integers(1, recipe.epochs))
    name, value = [("split_label", "fc2/folder:val/64/0001"), ("eval_set", "cc"), ("eval_samples_per_arch", 32)][
        seed % 3
    ]

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows[start:]:
            row[name] = value

    return edited(recipe, edit), lambda f: f.epochs == (start + 1,) and f.figures["columns"] == [name]


def resumed_with_changes(seed: int) -> Planted:
    recipe, rng = random_healthy(seed), generator(seed, "resumed")
    start = int(rng.integers(1, recipe.epochs))

    def edit(rows: Rows, epes: Any) -> None:
        for row in rows[start:]:
            row["clip_threshold"] = 200

    return edited(recipe, edit), lambda f: f.epochs == (start + 1,)
