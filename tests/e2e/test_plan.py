"""`edgeflownas plan` as a newcomer uses it: bare numbers, recipes, mistakes, and a few timed steps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from runs import Ended, Place, command, contents

from edgeflownas.train import measure

pytestmark = pytest.mark.e2e

BARE = ("--train-samples", 17785, "--batch-size", 32, "--steps-per-epoch", 50, "--num-epochs", 200)
OWN = "supernet_fc2_180x240_run1"


def facts(ended: Ended) -> dict[str, str]:
    """Values of the first table by the name of their row."""
    assert ended.code == 0, ended.err
    rows = (re.split(r"\s{2,}", line) for line in ended.out.split("\n\n")[0].splitlines()[2:])
    return {row[0].removesuffix(" *"): row[1] for row in rows}


def figures(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    document: dict[str, Any] = json.loads(ended.out)
    return document


def test_bare_numbers_give_the_figures_the_users_know() -> None:
    shown = facts(command("plan", *BARE))
    expected = {
        "training samples N": "17,785",
        "samples per epoch": "1,600",
        "share of the split": "8.996 %",
        "unique samples, with replacement": "about 1,530 (8.60 %)",
        "steps for a full pass": "555 (floor) / 556 (ceil)",
        "present steps over a full pass": "9.01 %",
        "total samples": "320,000",
        "equivalent passes": "18.02",
        "passes by samples": "17.99",
        "optimizer updates": "10,000",
        "clip checks, position step": "10,000",
        "clip checks, position micro_step": "30,000",
        "learning rate, start": "1.00e-04",
        "learning rate, 25 % of the plan": "8.54e-05",
        "learning rate, 50 % of the plan": "5.00e-05",
        "learning rate, end": "0",
    }
    assert {name: shown[name] for name in expected} == expected


def test_json_holds_the_numbers_of_the_table() -> None:
    words = (*BARE, "--eval.batch_size=8", "--val-samples=640")
    shown, ended = facts(command("plan", *words)), command("plan", *words)
    plan = figures(command("plan", *words, "--json"))
    for name in ("samples_per_epoch", "total_samples", "optimizer_updates", "forward_passes", "steps_per_epoch"):
        assert shown[name.replace("_", " ")] == f"{plan[name]:,}"
    assert shown["equivalent passes"] == f"{plan['equivalent_passes']:.2f}"
    assert shown["evaluation samples per arch"] == f"{plan['evaluation']['samples_per_arch']} (20.00 %)"
    modes = [re.split(r"\s{2,}", line) for line in ended.out.split("\n\n")[1].splitlines()[2:]]
    assert [row[0].removesuffix(" *") for row in modes] == [mode["mode"] for mode in plan["modes"]]
    assert [row[2] for row in modes] == [f"{mode['samples_per_epoch']:,}" for mode in plan["modes"]]
    assert all(f"warning: {warning}" in ended.out for warning in plan["warnings"]) and len(plan["warnings"]) == 2


def test_a_recipe_counts_its_data_and_agrees_with_the_dry_run(place: Place) -> None:
    plan = figures(command("plan", *place.words("unborn"), "--json"))
    dry = figures(place.train("unborn", "--dry-run", "--json"))
    assert (plan["train_samples"], plan["val_samples"]) == (6, 3) == (dry["train_samples"], dry["val_samples"])
    same = {
        "steps_per_epoch": "steps_per_epoch",
        "optimizer_updates": "total_steps",
        "samples_per_epoch": "draws_per_epoch",
        "total_samples": "planned_samples",
        "unique_without_replacement": "unique_samples_per_epoch",
    }
    assert {ours: plan[ours] for ours in same} == {ours: dry[theirs] for ours, theirs in same.items()}
    assert plan["evaluation"]["samples_per_arch"] == dry["eval_samples_per_arch"]
    assert plan["calibration"]["samples_per_arch"] == dry["calibration_samples"]
    assert any(str(place.data / "train") in note for note in plan["notes"])
    assert figures(command("plan", "--config", *place.words("unborn"), "--json")) == plan


def test_a_recipe_without_its_data_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command("plan", "smoke")
    assert ended.code == 65 and "data.train_dir" in ended.err and "--train-samples N --val-samples N" in ended.err
    ended = command("plan", "smoke", "--train-samples", 64, "--data.val_dir", "elsewhere")
    assert ended.code == 65 and "data.val_dir" in ended.err and "--val-samples N" in ended.err
    unknown = figures(command("plan", "smoke", "--train-samples", 64, "--json"))
    assert unknown["val_samples"] is None and "no data at data.val_dir here" in unknown["notes"][0]
    named = command("plan", "smoke", "--data.train_dir", "sintel:clean")
    assert named.code == 64 and "no folder is known" in named.err and "--train-samples N" in named.err
    plan = figures(command("plan", OWN, "--train-samples", 17785, "--val-samples", 640, "--json"))
    assert plan["expected_clip_checks"] == {"step": 10_000, "micro_step": 60_000} and plan["measured"] is None


def test_short_forms_override_the_recipe_and_say_so() -> None:
    words = ("--train-samples", 17785, "--val-samples", 640, "--json")
    plan = figures(command("plan", "supernet_fc2_180x240", "--steps-per-epoch", 50, *words))
    assert plan["epoch_mode"] == "fixed_steps" and plan["samples_per_epoch"] == 1600
    assert plan["notes"] == [
        "--steps-per-epoch set train.epoch_mode to fixed_steps (supernet_fc2_180x240 has full_pass)"
    ]
    plan = figures(command("plan", OWN, "--steps-per-epoch", 25, "--batch-size", 16, "--num-epochs", 10, *words))
    assert (plan["samples_per_epoch"], plan["total_samples"], plan["notes"]) == (400, 4000, [])
    own = ("--train.train_sampling_mode=random_with_replacement", "--steps-per-epoch=50")
    plan = figures(command("plan", "supernet_fc2_180x240", *own, *words))  # only allowed with the fixed steps
    assert plan["sampling"] == "random_with_replacement"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "give a recipe ("),
        ("--batch-size 32", "--train-samples 17785"),
        ("--train-samples 17785 --batch-sise 32", "did you mean --batch-size?"),
        ("--train-samples 17785 --lr 1e-3", "did you mean --train.lr?"),
        ("--train-samples -5", "--train-samples -5 must be a whole number from 1"),
        ("--train-samples 0", "--train-samples 0 must be"),
        ("--train-samples 1.5", "--train-samples 1.5 must be"),
        ("--train-samples many", "--train-samples many must be"),
        ("--train-samples " + "9" * 5000, "must be a whole number"),
        ("--train-samples 1000000000000 --batch-size 1000000000000 --steps-per-epoch 1000000000000", "10^18"),
        ("--train-samples 100 --batch-size 8 --train.batch_size 4", "--batch-size and --train.batch_size exclude"),
        (
            "--train-samples 100 --steps-per-epoch 8 --train.epoch_mode full_pass",
            "--train.epoch_mode exclude each other",
        ),
        ("--train-samples 100 --train.epoch_mode fixed_steps", "needs train.steps_per_epoch"),
        ("smoke --config smoke", "given twice"),
        ("smokee --train-samples 100", "did you mean 'smoke'?"),
        ("nowhere/recipe.yaml --train-samples 100", "nowhere/recipe.yaml not found"),
        ("--train-samples 100 --eval.eval_pool_size 20000", "larger than space"),
        (
            "--train-samples 100 --measure --train.task distil --train.arch 000000000 --train.teacher t",
            "--measure cannot time train.task distil",
        ),
        ("--train-samples 100 --measure --train.gpu_device 99", "train.gpu_device 99 does not exist"),
    ],
)
def test_mistakes_are_explained(words: str, message: str) -> None:
    ended = command("plan", *words.split())
    assert ended.code == 64 and message in ended.err and ended.out == "" and len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("data", [True, False])
def test_measuring_writes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch, data: bool) -> None:
    monkeypatch.chdir(place.folder)
    before = contents(place.folder)
    cache = f"--data.cache_dir={place.folder / 'cache'}"
    counts = () if data else ("--train-samples", 6, "--val-samples", 3)
    words = ("--data.num_workers=1", "--eval.train_batches=2")
    plan = figures(command("plan", *place.words("timed", cache, *words), *counts, "--measure", "--json"))
    assert contents(place.folder) == before and not (place.folder / "cache").exists()
    found = plan["measured"]
    assert found["input"] == ("batches of the training split" if data else "noise of the right shape, no loading")
    assert found["device"] == "cpu" and found["timed_steps"] == measure.TIMED_STEPS
    times = ("step_seconds", "pass_seconds", "calibration_batch_seconds", "evaluation_batch_seconds")
    assert all(0 < found[name] < 60 for name in times)
    assert found["epoch_seconds"] == pytest.approx(24 * found["pass_seconds"])  # 2 steps of 4 pairs x 3 paths
    evaluation = found["calibration_batch_seconds"] + found["evaluation_batch_seconds"]
    evaluation += found["evaluation_batch_seconds"] * 2 * 2  # 6 training samples in batches of 3, in two crops
    assert found["run_seconds"] == pytest.approx(2 * found["epoch_seconds"] + evaluation)  # smoke: every 3 epochs
    assert found["memory_peak_resident_mib"] >= found["memory_resident_before_mib"] > 10
    dry = figures(place.train("timed", "--dry-run", "--json", *words))
    memory = [name for name in dry if name.startswith("memory_")]
    assert len(memory) == 5 and {name: found[name] for name in memory} == {name: dry[name] for name in memory}


def test_the_frozen_single_model_is_measured_too(place: Place) -> None:
    words = ("--train.task=edgeflownet", "--train.batch_norm=frozen", "--train.width=2", "--data.crop_size=32x48")
    shown = facts(command("plan", "--train-samples", 6, "--batch-size", 2, *words, "--measure"))
    assert shown["calibration samples per arch"] == "none" and shown["calibration batch"] == "0 s"
    assert "step" in shown and "estimated run" in shown


def test_interrupting_a_measurement_ends_it(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure.SupernetTask, "step", interrupted)
    ended = command("plan", *place.words("timed"), "--measure")
    assert (ended.code, ended.out) == (130, "") and ended.err.endswith("error: interrupted\n")
