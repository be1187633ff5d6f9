"""A run from the first command to its last file, and what only looks at it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Place, command, contents, newest, rows, state, table, tensors, told

pytestmark = pytest.mark.e2e

# The header of the users' own eval_history.csv (pool size 4 here); new columns may only follow.
USERS_HEADER = (
    "epoch,global_step,seen_samples,lr,train_loss,train_loss_optical,train_loss_uncertainty,grad_norm_mean,"
    "grad_norm_p50,grad_norm_p90,grad_norm_p99,clip_threshold,clip_checks,expected_clip_checks,clip_rate,"
    "unique_samples,train_samples,mean_epe_4,std_epe_4,median_epe_4,p90_epe_4,per_arch_epe_min,per_arch_epe_median,"
    "per_arch_epe_max,bilinear_arch_epe,zero_flow_epe,kendall_tau_prev,fairness_gap,eval_seconds,bn_recal_seconds,"
    "data_wait_share,eval_samples_per_arch,split_label,arch_rank_4"
)
SESSION_FILES = ("timing.jsonl", "train.log", "lease.json", "LOCK")


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("fresh", "--eval.eval_every_epoch=1", "--runtime.tensorboard=true")


def test_files_of_a_run(run: Path) -> None:
    expected = {"config.yaml", "run_manifest.json", "events.jsonl", "timing.jsonl", "eval_history.csv"}
    expected |= {
        "training_history.csv",
        "per_arch_epe.csv",
        "eval_set.json",
        "train.log",
        "best.json",
        "checkpoints",
        "tensorboard",
    }
    assert expected <= {path.name for path in run.iterdir()}
    assert not list(run.rglob("*.pt")) and not list(run.rglob("*.pkl")) and not list(run.rglob(".tmp*"))
    assert {p.name for p in newest(run).iterdir()} == {
        *("model.safetensors", "optimizer.safetensors"),
        *("state.json", "manifest.json"),
    }
    assert list((run / "tensorboard").iterdir())
    manifest = json.loads((run / "run_manifest.json").read_text())["manifest"]
    assert manifest["plan"] == {
        "num_epochs": 2,
        "steps_per_epoch": 2,
        "total_steps": 4,
        "draws_per_epoch": 8,
        "planned_samples": 16,
    }
    assert manifest["generated_data"] is False and manifest["data"]["train"]["count"] == 6


def test_eval_history(run: Path) -> None:
    header, *lines = (run / "eval_history.csv").read_text().splitlines()
    assert header.startswith(USERS_HEADER + ",") and len(lines) == 2
    first, last = table(run / "eval_history.csv")
    assert (first["epoch"], first["global_step"], first["seen_samples"]) == ("1", "2", "8")
    assert (last["epoch"], last["global_step"], last["seen_samples"]) == ("2", "4", "16")
    assert first["kendall_tau_prev"] == "" and -1 <= float(last["kendall_tau_prev"]) <= 1
    assert last["clip_checks"] == last["expected_clip_checks"] == "2" and last["fairness_gap"] == "0"
    assert (last["unique_samples"], last["train_samples"], last["train_drawn"]) == ("6", "6", "8")
    epes = [float(row["epe"]) for row in table(run / "per_arch_epe.csv") if row["epoch"] == "2"]
    assert float(last["mean_epe_4"]) == pytest.approx(sum(epes) / 4, abs=1e-4)
    assert float(last["per_arch_epe_min"]) == min(epes) and float(last["per_arch_epe_max"]) == max(epes)
    ranked = [entry.split(":") for entry in last["arch_rank_4"].split("|")]
    places = [int(rank) for rank, _, _ in ranked]  # shared within noise, which three samples have much of
    assert all(rank in (place, places[place - 2]) for place, rank in enumerate(places, start=1)) and places[0] == 1
    assert [float(epe) for _, _, epe in ranked] == sorted(epes)
    assert all(float(epe) == epes[int(index)] for _, index, epe in ranked)
    assert last["split_label"].startswith("fc2/folder:val/3/") and last["eval_samples_per_arch"] == "3"
    assert last["mean_epe_4_ema"] == "" and float(last["lr"]) == 0.0


def test_per_arch_rows(run: Path) -> None:
    found = [(row["epoch"], row["arch_index"], row["code"].replace(",", "")) for row in table(run / "per_arch_epe.csv")]
    codes = ["000000000", "111111111", "222222222", "012012012"]
    assert found == [(epoch, str(i), code) for epoch in "12" for i, code in enumerate(codes)]


def test_events(run: Path) -> None:
    kinds = [row["event"] for row in rows(run)]
    assert kinds == ["step", "step", "evaluation"] * 2
    steps = rows(run, "step")
    assert [row["step"] for row in steps] == [1, 2, 3, 4] and [row["seen"] for row in steps] == [4, 8, 12, 16]
    assert [(row["epoch"], row["batch"]) for row in steps] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for row in steps:
        assert row["accepted"] and row["drawn"] == 4 and len(row["path_losses"]) == 3
        assert row["loss"] == pytest.approx(sum(row["path_losses"]) / 3) and "samples" not in row
        assert row["loss"] == pytest.approx(row["loss_optical"] + row["loss_uncertainty"])
    assert len({row["draws"] for row in steps}) == 4
    telling = ("time", "seconds", "host", "pid", str(run))
    text = (run / "events.jsonl").read_text()
    assert not [word for word in telling if word in text]  # deterministic facts only


def test_best_names_a_checkpoint_that_exists(run: Path) -> None:
    best = json.loads((run / "best.json").read_text())
    assert (run / "checkpoints" / best["checkpoint"]).is_dir()
    means = [row["mean_epe_4"] for row in rows(run, "evaluation")]
    assert best["value"] == min(means) and best["epoch"] == means.index(min(means)) + 1
    assert best["eval_set"] == json.loads((run / "eval_set.json").read_text())["hash"]


def test_status_says_finished(run: Path, place: Place) -> None:
    ended = command("status", place.runs, "--json")
    (row,) = [row for row in json.loads(ended.out) if row["run"] == str(run)]
    assert (row["state"], row["step"], row["total_steps"], row["lock_owner"]) == ("finished", 4, 4, None)


def test_resume_of_a_finished_run_says_so_and_changes_nothing(run: Path) -> None:
    before = contents(run, SESSION_FILES)
    ended = command("train", "--resume", run)
    assert ended.code == 0 and "nothing left to train" in ended.err and "2 of 2 epochs" in ended.err
    after = contents(run, SESSION_FILES)
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert [name for name in changed if name != "run_manifest.json"] == []  # it holds the state of a git checkout
    document = json.loads(ended.out) if ended.out else None
    assert document is None
    assert told("train", "--resume", run)["state"] == "finished"


def test_a_name_that_exists_is_refused(run: Path, place: Place) -> None:
    before = contents(run)
    ended = place.train("fresh")
    assert ended.code == 74 and "--resume" in ended.err and "runtime.experiment_name" in ended.err
    assert contents(run) == before


def test_json_result(place: Place) -> None:
    ended = place.train("as_json", "--train.num_epochs=1", "--json")
    document = json.loads(ended.out)
    assert (document["state"], document["step"], document["epoch"]) == ("finished", 2, 1)
    assert [row["epe"] for row in document["pool"]] == sorted(row["epe"] for row in document["pool"])
    assert [row["rank"] for row in document["pool"]] == sorted(row["rank"] for row in document["pool"])
    assert document["pool"][0]["rank"] == 1 and all(row["epe_margin"] > 0 for row in document["pool"])
    assert [row["epe"] for row in document["pool"]] == sorted(row["epe"] for row in document["pool"])
    assert document["best"]["value"] == pytest.approx(sum(row["epe"] for row in document["pool"]) / 4)


def test_same_seed_same_bits_other_seed_other_bits(run: Path, place: Place) -> None:
    again = place.trained("again", "--eval.eval_every_epoch=1")
    assert (again / "events.jsonl").read_bytes() == (run / "events.jsonl").read_bytes()
    ours, theirs = tensors(run), tensors(again)
    assert all((ours[name] == theirs[name]).all() for name in ours)
    other = place.trained("other_seed", "--runtime.seed=1", "--train.num_epochs=1")
    assert rows(other)[0]["loss"] != rows(run)[0]["loss"]


# ---- evaluate ----


def test_evaluate_gives_the_figures_of_the_run_and_writes_nothing(run: Path) -> None:
    before = contents(run)
    document = told("evaluate", run)
    assert [row["epe"] for row in document["results"]] == state(run)["last_epes"]  # to the bit
    assert document["zero_flow_epe"] == state(run)["last_zero_flow_epe"] and document["frozen"]
    event = rows(run, "evaluation")[-1]
    assert document["eval_set"] == event["eval_set"] and document["calibration_set"] == event["calibration_set"]
    assert [row["code"].replace(",", "") for row in document["results"]][3] == "012012012"
    plain = command("evaluate", run)
    assert plain.code == 0 and "1,1,1,1,1,1,1,1,1" in plain.err + plain.out
    assert contents(run) == before


def test_evaluate_any_arch_split_and_checkpoint(run: Path) -> None:
    pool = told("evaluate", run)["results"]
    words = ("--arch", "222222222", "--arch", "0,0,0,0,2,1,2,2,2", "--json")
    document = json.loads(command("evaluate", run, *words).out)
    assert [row["code"] for row in document["results"]] == ["2,2,2,2,2,2,2,2,2", "0,0,0,0,2,1,2,2,2"]
    assert document["results"][0]["epe"] == pool[2]["epe"]  # the company of other archs changes nothing
    every = told("evaluate", run, "--split", "train", "--batches", "all")
    assert every["samples"] == 6 and not every["frozen"] and len(every["results"][0]["sample_epe"]) == 6
    earlier = told("evaluate", run, "--checkpoint", "step-00000004-before-evaluation")
    assert [row["epe"] for row in earlier["results"]] == [row["epe"] for row in pool]  # the same weights


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--arch", "22222222"), 64, "8 digits"),
        (("--split", "test"), 64, "--split 'test'"),
        (("--batches", "0"), 64, "--batches '0'"),
        (("--weights", "ema"), 64, "train.ema_decay"),
        (("--checkpoint", "step-00000099"), 74, "step-00000004"),
        (("--train.width", "4"), 64, "--train.width"),
    ],
)
def test_evaluate_refuses(run: Path, words: tuple[str, ...], code: int, message: str) -> None:
    ended = command("evaluate", run, *words)
    assert ended.code == code and message in ended.err and "Traceback" not in ended.err


def test_evaluate_refuses_other_calibration_data(run: Path, place: Place) -> None:
    ended = command("evaluate", run, f"--data.train_dir={place.data / 'val'}")
    assert ended.code == 65 and "data.train_dir" in ended.err
