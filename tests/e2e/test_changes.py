"""Resuming with other keys, and forking: what is refused, what is allowed, what it means."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import Place, command, contents, newest, rows, state, table, tensors, told

from edgeflownas.config import TrainConfig
from edgeflownas.config.load import parse_yaml
from edgeflownas.train.plan import learning_rate

pytestmark = pytest.mark.e2e
SESSION_FILES = ("timing.jsonl", "train.log", "lease.json", "LOCK")
STEPS = ("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=1", "--train.lr_schedule=cosine", "--train.lr=1e-3")


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    """Two epochs of one step, evaluated after each."""
    return place.trained("base", *STEPS, "--eval.eval_every_epoch=1")


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("train.lr", "5e-4", "dynamics"),
        ("train.batch_size", "3", "dynamics"),
        ("runtime.seed", "1", "dynamics"),
        ("data.on_bad_sample", "quarantine", "dynamics"),
        ("train.width", "4", "identity"),
        ("data.flow_clip", "null", "identity"),
        ("data.crop_size", "32x32", "identity"),
    ],
)
def test_a_changed_key_is_refused_with_a_table(run: Path, key: str, value: str, kind: str) -> None:
    before = contents(run)
    ended = command("train", "--resume", run, f"--{key}={value}")
    assert ended.code == 64 and "--fork" in ended.err and "Traceback" not in ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith(key)]
    assert line.split()[-1] == kind
    assert [word for word in ("key", "run", "now") if word not in ended.err] == []
    assert contents(run) == before  # nothing was touched, not even a log


def test_other_data_are_refused(run: Path, place: Place) -> None:
    ended = command("train", "--resume", run, f"--data.train_dir={place.data / 'val'}")
    assert ended.code == 64 and "data.train fingerprint" in ended.err and "identity" in ended.err
    moved = place.folder / "moved"
    (place.data / "train").rename(moved)  # the same files at another place
    try:
        assert command("train", "--resume", run).code == 65
        ended = command("train", "--resume", run, f"--data.train_dir={moved}")
        assert ended.code == 0 and "nothing left to train" in ended.err
    finally:
        moved.rename(place.data / "train")
    assert command("train", "--resume", run, f"--data.train_dir={place.data / 'train'}").code == 0


# ---- more epochs ----


def test_more_epochs_need_a_plan(run: Path) -> None:
    ended = command("train", "--resume", run, "--train.num_epochs=4")
    assert ended.code == 64
    assert [word for word in ("train.num_epochs", "train.lr_plan", "keep", "restretch") if word not in ended.err] == []


@pytest.mark.parametrize("plan", ["keep", "restretch"])
def test_lr_plan(run: Path, place: Place, plan: str) -> None:
    copy = place.copy("base", plan)
    ended = place.resume(plan, "--train.num_epochs=4", f"--train.lr_plan={plan}")
    assert ended.code == 0, ended.err
    config = TrainConfig(**parse_yaml((copy / "config.yaml").read_text(), "config.yaml")[0]["train"])
    planned = {"keep": 8, "restretch": 16}[plan]  # draws: two or four epochs of one batch of four
    rates = [row["lr"] for row in rows(copy, "step")]
    assert rates[:2] == [learning_rate(config, seen, 8) for seen in (0, 4)]
    assert rates[2:] == [learning_rate(config, seen, planned) for seen in (8, 12)]
    assert (rates[2] == 0.0) == (plan == "keep")  # the old plan ended in its floor
    assert ("100 % of the steps that are left (2 of 2) have learning rate 0" in ended.err) == (plan == "keep")
    before, now = re.findall(r"learning rate of the next step (\S+) before, (\S+) now", ended.err)[0]
    assert float(before) == pytest.approx(0.0) and float(now) == pytest.approx(rates[2], rel=1e-5)
    assert state(copy)["planned"] == planned and state(copy)["num_epochs"] == 4
    assert place.resume(plan).code == 0  # and the new number is the run's own from now on


def test_fewer_epochs_than_done_are_refused(run: Path, place: Place) -> None:
    place.copy("base", "fewer")
    ended = place.resume("fewer", "--train.num_epochs=1", "--train.lr_plan=keep")
    assert ended.code == 64 and "2 epochs already done" in ended.err
    assert place.resume("fewer").code == 0  # the refusal left the run as it was


def test_a_plan_that_no_commit_followed_is_the_runs_plan(run: Path, place: Place) -> None:
    """The first session with a new plan ends before its first step: the next one goes on from the new plan."""
    copy = place.copy("base", "twice")
    at_once = "--max-seconds=1e-9"
    assert place.resume("twice", "--train.num_epochs=4", "--train.lr_plan=restretch", at_once).code == 75
    ended = place.resume("twice", "--train.num_epochs=6", "--train.lr_plan=keep", at_once)
    assert ended.code == 75 and "train.num_epochs 4 -> 6" in ended.err
    assert place.resume("twice").code == 0
    assert (state(copy)["planned"], state(copy)["num_epochs"]) == (16, 6)  # the plan of four epochs, kept
    plan = json.loads((copy / "run_manifest.json").read_text())["manifest"]["plan"]
    assert (plan["planned_samples"], plan["num_epochs"], plan["total_steps"]) == (16, 6, 6)
    assert [row["lr"] > 0 for row in rows(copy, "step")] == [True] * 4 + [False] * 2  # then its floor


def test_a_run_without_a_commit_keeps_its_plan_too(place: Place) -> None:
    assert place.train("uncommitted", *STEPS, "--max-seconds=1e-9").code == 75
    run = place.runs / "uncommitted"
    shutil.rmtree(run / "checkpoints" / "step-00000000")  # as if killed before it
    (run / "checkpoints" / "none-yet").touch()
    assert place.resume("uncommitted", "--train.num_epochs=3", "--train.lr_plan=keep").code == 0
    assert (state(run)["planned"], state(run)["num_epochs"]) == (8, 3)


def test_an_epoch_that_is_begun_is_not_cut_off(place: Place) -> None:
    words = ("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=2", "--train.lr=1e30")
    assert place.train("begun", *words, "--train.max_nonfinite_steps=2", "--eval.eval_every_epoch=9").code == 70
    assert (state(place.runs / "begun")["epoch"], state(place.runs / "begun")["batch"]) == (1, 1)
    ended = place.resume("begun", "--train.num_epochs=1", "--train.lr_plan=keep")
    assert ended.code == 64 and "2 epochs already done or begun" in ended.err


def test_number_of_epochs_edited_by_hand(run: Path, place: Place) -> None:
    copy = place.copy("base", "edited")
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("num_epochs: 2", "num_epochs: 4"))
    ended = place.resume("edited")
    assert ended.code == 64 and "train.num_epochs" in ended.err and "train.lr_plan" in ended.err
    assert place.resume("edited", "--train.lr_plan=restretch").code == 0
    assert state(copy)["num_epochs"] == 4 and state(copy)["planned"] == 16


def test_a_plan_without_another_number_of_epochs_says_that_it_does_nothing(run: Path, place: Place) -> None:
    place.copy("base", "planned")
    ended = place.resume("planned", "--train.lr_plan=restretch")
    assert ended.code == 0 and "train.lr_plan restretch has no effect" in ended.err


# ---- forks ----


def test_fork(run: Path, place: Place) -> None:
    before = contents(run)
    ended = command("train", "--resume", run, "--fork", "forked", "--train.lr=5e-4", "--train.num_epochs=1")
    assert ended.code == 0 and "forked from" in ended.err
    fork = place.runs / "forked"
    (step,) = rows(fork, "step")
    assert (step["step"], step["seen"], step["lr"]) == (1, 4, 5e-4)  # a new plan from its beginning
    assert rows(fork, "evaluation")[0]["kendall_tau_prev"] is None
    manifest = json.loads((fork / "run_manifest.json").read_text())["manifest"]
    assert manifest["forked_from"]["checkpoint"] == "step-00000002" and manifest["forked_from"]["optimizer"] == "kept"
    assert any(line.startswith("train.lr:") for line in manifest["forked_from"]["changed"])
    assert tensors(fork)["optimizer/E0.k7.weight/step"] == 3  # Adam goes on counting
    assert contents(run) == before


def test_fork_begins_with_the_weights_of_the_other_run(run: Path, place: Place) -> None:
    words = ("--max-seconds", "1e-9")  # stopped before its first step
    for name, more in (("kept", ()), ("reset", ("--reset-optimizer",))):
        assert command("train", "--resume", run, "--fork", name, *more, *words).code == 75
        fork, source = tensors(place.runs / name), tensors(run)
        assert all(np.array_equal(fork[key], source[key]) for key in source if key.startswith("model/"))
        moments = [key for key in source if key.startswith("optimizer/")]
        if name == "kept":
            assert all(np.array_equal(fork[key], source[key]) for key in moments)
        else:
            assert not any(fork[key].any() for key in moments) and any(source[key].any() for key in moments)
        assert (state(place.runs / name)["step"], state(place.runs / name)["seen"]) == (0, 0)
        assert place.resume(name, "--train.num_epochs=2").code == 0
    assert len(rows(place.runs / "kept", "step")) == 2


def test_fork_from_a_named_checkpoint_with_the_keys_of_a_recipe(run: Path, place: Place) -> None:
    best = json.loads((run / "best.json").read_text())["checkpoint"]
    words = ("--runtime.tensorboard=false", "--max-seconds", "1e-9")
    for name, mark in (("from_best", "best"), ("from_first", "step-00000001")):
        assert command("train", "continue_fork", "--resume", f"{run}@{mark}", "--fork", name, *words).code == 75
        fork = place.runs / name
        facts = json.loads((fork / "run_manifest.json").read_text())["manifest"]["forked_from"]
        assert facts["checkpoint"] == {"best": best, "step-00000001": "step-00000001"}[mark]
        assert (facts["name"], facts["step"], facts["epoch"]) == ("base", *[int(facts["checkpoint"][5:])] * 2)
        assert facts["id"] == json.loads((run / "run_manifest.json").read_text())["run"]
        source = run / "checkpoints" / facts["checkpoint"] / "model.safetensors"
        assert (newest(fork) / "model.safetensors").read_bytes() == source.read_bytes()
        config = parse_yaml((fork / "config.yaml").read_text(), "config.yaml")[0]
        assert (config["train"]["lr"], config["train"]["num_epochs"]) == (5e-5, 30)
        assert config["train"]["steps_per_epoch"] == 1 and config["runtime"]["experiment_name"] == name  # the run's own
    over = command("train", "continue_fork", "--resume", run, "--fork", "over", "--train.lr=1e-5", "--print-config")
    assert over.code == 0 and "lr: 1.0e-05" in over.out and "num_epochs: 30" in over.out


def test_a_recipe_over_a_fork_changes_no_identity(run: Path, place: Place, tmp_path: Path) -> None:
    recipe = tmp_path / "wider.yaml"
    recipe.write_text("fork: true\ntrain: {width: 4}\n")
    for words in ((), ("--dry-run",)):
        ended = command("train", recipe, "--resume", run, "--fork", "wider", *words)
        assert ended.code == 64 and "train.width" in ended.err and not (place.runs / "wider").exists()
    ended = command("train", "continue_fork", "--resume", f"{run}@step-00000099", "--fork", "late", "--dry-run")
    assert ended.code == 74 and "no such checkpoint" in ended.err


def test_fork_may_change_dynamics_but_not_identity(run: Path, place: Place) -> None:
    refused = command("train", "--resume", run, "--fork", "impossible", "--train.width=4")
    assert refused.code == 64 and "train.width" in refused.err and not (place.runs / "impossible").exists()
    words = ("--train.precision=fp64", "--train.num_epochs=1", "--train.ema_decay=0.5", "--train.batch_size=2")
    assert command("train", "--resume", run, "--fork", "possible", *words).code == 0
    found = tensors(place.runs / "possible")
    assert found["model/E0.k7.weight"].dtype == np.float64 and "ema/E0.k7.weight" in found


def test_fork_on_an_existing_name_is_refused(run: Path, place: Place) -> None:
    before = contents(run)
    ended = command("train", "--resume", run, "--fork", "base")
    assert ended.code == 74 and "exists already" in ended.err and contents(run) == before
    assert command("train", "--resume", run, "--fork", "../outside").code == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fork", "x"), "--resume"),
        (("smoke", "--reset-optimizer"), "--fork"),
        (("--resume", "{run}", "smoke"), "exclude each other"),
        (("--resume", "{run}", "--fork", "x", "--runtime.experiment_name=y"), "--fork"),
    ],
)
def test_options_that_do_not_go_together(run: Path, words: tuple[str, ...], message: str) -> None:
    ended = command("train", *(word.format(run=run) for word in words))
    assert ended.code == 64 and message in ended.err


# ---- evaluation keys ----


def test_another_evaluation_set_starts_best_and_ranking_anew(run: Path, place: Place) -> None:
    copy = place.copy("base", "reevaluated")
    words = ("--eval.batch_size=2", "--train.num_epochs=4", "--train.lr_plan=restretch")
    ended = place.resume("reevaluated", *words)
    assert ended.code == 0 and "evaluation set changed" in ended.err
    evaluations = rows(copy, "evaluation")
    hashes = [row["eval_set"] for row in evaluations]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]
    assert hashes[3] == json.loads((copy / "eval_set.json").read_text())["hash"]
    taus = [row["kendall_tau_prev"] for row in table(copy / "eval_history.csv")]
    assert (taus[0] == "", taus[1] == "", taus[2] == "", taus[3] == "") == (True, False, True, False)
    best = json.loads((copy / "best.json").read_text())
    new = [row["mean_epe_4"] for row in evaluations[2:]]
    assert best["value"] == min(new) and best["epoch"] == 3 + new.index(min(new)) and best["eval_set"] == hashes[3]
    assert evaluations[2]["best_epe"] == evaluations[2]["mean_epe_4"]  # the first of its kind


def test_best_of_the_old_set_is_not_best_of_the_new(run: Path, place: Place) -> None:
    copy = place.copy("base", "stale")
    words = ("--eval.batch_size=2", "--train.num_epochs=4", "--train.lr_plan=restretch", "--max-seconds=1e-9")
    assert place.resume("stale", *words).code == 75
    assert not (copy / "best.json").exists()  # it named a figure of the old set
    assert place.resume("stale", "--train.num_epochs=3", "--train.lr_plan=restretch").code == 0
    assert json.loads((copy / "best.json").read_text())["epoch"] == 3


def test_a_finished_run_keeps_its_evaluation_set(run: Path) -> None:
    before = contents(run, SESSION_FILES)
    ended = command("train", "--resume", run, "--eval.eval_pool_size=5", "--json")
    assert ended.code == 0 and "keeps its evaluation set" in ended.err
    assert contents(run, SESSION_FILES) == before
    assert command("evaluate", run).code == 0


def test_another_pool_size(run: Path, place: Place) -> None:
    copy = place.copy("base", "pool")
    words = ("--eval.eval_pool_size=5", "--train.num_epochs=3", "--train.lr_plan=keep")
    assert place.resume("pool", *words).code == 0
    headers = [line for line in (copy / "eval_history.csv").read_text().splitlines() if line.startswith("epoch,")]
    assert ["mean_epe_4" in header for header in headers] == [True, False] and "mean_epe_5" in headers[1]
    assert len([row for row in table(copy / "per_arch_epe.csv") if row["epoch"] == "3"]) == 5


def test_early_stop(place: Place) -> None:
    words = (*STEPS, "--train.num_epochs=9", "--eval.eval_every_epoch=1", "--eval.early_stop_patience=1")
    ended = place.train("early", *words, "--eval.early_stop_min_delta=1000")
    assert ended.code == 0 and "early stop after epoch 2" in ended.err and "eval.early_stop_patience" in ended.err
    run = place.runs / "early"
    assert len(rows(run, "evaluation")) == 2 and state(run)["stopped_early"]
    again = place.resume("early")
    assert again.code == 0 and "nothing left to train" in again.err
    (row,) = told("status", run)
    assert row["state"] == "finished"
