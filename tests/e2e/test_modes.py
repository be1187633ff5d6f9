"""Ways to train: epoch modes, path batches, clipping, precision, averages, tiny splits, generated data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import BRIEF, ONE_STEP, Place, command, newest, rows, state, table, tensors, told
from tiny import make_tiny

pytestmark = pytest.mark.e2e
ONE = "--train.num_epochs=1"


def indices_of(run: Path) -> list[str]:
    """Checksums of the indices of each step."""
    return [row["draws"] for row in rows(run, "step")]


def test_three_pairs_and_a_batch_of_eight(place: Place) -> None:
    data = make_tiny(place.folder / "three", train=3, val=1)
    run = place.trained("three", "--train.batch_size=8", data=data)
    steps = rows(run, "step")
    assert [row["drawn"] for row in steps] == [8, 8] and steps[-1]["seen"] == 16
    (row,) = table(run / "eval_history.csv")
    assert (row["unique_samples"], row["train_samples"], row["coverage_share"]) == ("3", "3", "1.0000")
    assert "3 samples asked for, split" in (run / "train.log").read_text()  # eval: one batch of 3, one pair there
    assert row["eval_samples_per_arch"] == "1" and row["cumulative_passes"] == "5.3333"


def test_empty_split_is_an_error(place: Place) -> None:
    data = make_tiny(place.folder / "empty", train=2, val=0)
    ended = place.train("empty", data=data)
    assert ended.code == 65 and "data.val_dir" in ended.err and not (place.runs / "empty").exists()


@pytest.mark.parametrize(("share", "draws"), [("0.5", [3]), ("5", [4, 1])])
def test_by_samples(place: Place, share: str, draws: list[int]) -> None:
    words = ("--train.epoch_mode=by_samples", f"--train.train_samples_per_epoch={share}", "--train.num_epochs=3")
    run = place.trained(f"by_samples{share}", *words)
    steps = rows(run, "step")
    assert [row["drawn"] for row in steps] == draws * 3
    (row,) = table(run / "eval_history.csv")
    assert row["train_drawn"] == str(sum(draws)) and row["seen_samples"] == str(3 * sum(draws))
    assert row["unique_samples"] == {"0.5": "3", "5": "4"}[share]  # 5: the third epoch lies across two passes
    assert float(row["cumulative_passes"]) == pytest.approx(3 * sum(draws) / 6, abs=1e-4)


def test_by_samples_covers_the_split_over_epochs(place: Place) -> None:
    from edgeflownas.config import TrainConfig
    from edgeflownas.data.order import BatchPlan

    words = {"epoch_mode": "by_samples", "train_samples_per_epoch": 0.5, "batch_size": 4}
    plan = BatchPlan.from_config(TrainConfig(**words), 6, 3, 0)
    drawn = np.concatenate([plan.indices(epoch, 0) for epoch in range(2)])
    assert sorted(drawn) == list(range(6))


def test_fixed_steps_with_replacement(place: Place) -> None:
    words = ("--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=3", ONE)
    run = place.trained("replaced", *words, "--train.train_sampling_mode=random_with_replacement")
    (row,) = table(run / "eval_history.csv")
    assert row["train_drawn"] == "12" and int(row["unique_samples"]) <= 6
    assert float(row["expected_unique_samples"]) == pytest.approx(6 * (1 - (5 / 6) ** 12), abs=0.05)
    other = place.trained("shuffled", *words)
    assert indices_of(run) != indices_of(other)
    assert [len(rows(path, "step")) for path in (run, other)] == [3, 3]


def test_sequential_draws_in_name_order(place: Place) -> None:
    import zlib

    run = place.trained("sequential", "--train.train_sampling_mode=sequential", ONE)
    expected = [zlib.crc32(np.array(batch, "<i8").tobytes()) for batch in ([0, 1, 2, 3], [4, 5, 0, 1])]
    assert indices_of(run) == [f"{value:08x}" for value in expected]


def test_shifted_path_batches(place: Place) -> None:
    run = place.trained("shifted", "--train.path_batches=shifted", "--train.batch_size=2", ONE)
    (step,) = rows(run, "step")
    assert step["drawn"] == 6 and step["seen"] == 6 and len(step["path_losses"]) == 3
    (row,) = table(run / "eval_history.csv")
    assert row["unique_samples"] == "6" and row["fairness_gap"] == "0" and row["clip_checks"] == "1"
    too_many = place.train("too_many", "--train.path_batches=shifted", "--train.batch_size=4")
    assert too_many.code == 65 and "train.path_batches" in too_many.err and "train.batch_size" in too_many.err


def test_micro_step_clipping(place: Place) -> None:
    words = ("--train.grad_clip_position=micro_step", "--train.micro_batch_size=3", "--train.grad_clip_global_norm=5")
    run = place.trained("micro", *words, ONE)
    (row,) = table(run / "eval_history.csv")
    # Two steps of 3 paths; a batch of 4 in micro-batches of 3 and 1.
    assert row["clip_checks"] == row["expected_clip_checks"] == "12"
    norms = [norm for step in rows(run, "step") for norm in step["grad_norms"]]
    assert len(norms) == 12 and int(row["clip_count"]) == sum(norm > 5 for norm in norms) > 0
    assert float(row["clip_rate"]) == pytest.approx(int(row["clip_count"]) / 12, abs=1e-4)
    assert "differs from expected_clip_checks" not in (run / "train.log").read_text()
    by_samples = place.trained(
        *("micro_partial", *words, ONE, "--train.epoch_mode=by_samples", "--train.train_samples_per_epoch=5")
    )
    (row,) = table(by_samples / "eval_history.csv")
    assert row["clip_checks"] == row["expected_clip_checks"] == "9"  # 3 x 2 for four samples, 3 x 1 for one


def test_micro_batches_and_clipping_position_change_the_result(place: Place) -> None:
    results = {}
    for name, words in {
        "batch": (),
        "micro": ("--train.micro_batch_size=2",),
        "nhwc_off": ("--train.channels_last=false",),
        "unclipped": ("--train.grad_clip_global_norm=null",),
    }.items():
        results[name] = tensors(place.trained(f"mode_{name}", ONE, "--train.lr=1e-4", *words))["model/E0.k7.weight"]
    assert not np.array_equal(results["batch"], results["micro"])  # batch-norm statistics belong to the micro-batch
    assert not np.array_equal(results["batch"], results["unclipped"])
    moved, rounded = (np.linalg.norm(results["batch"] - results[other]) for other in ("micro", "nhwc_off"))
    assert rounded < 1e-3 * moved  # another layout in memory is the same but for rounding


@pytest.mark.parametrize("precision", ["bf16", "fp64"])
def test_precision(place: Place, precision: str) -> None:
    run = place.trained(precision, f"--train.precision={precision}", *BRIEF)
    weights = tensors(run)["model/E0.k7.weight"]
    assert weights.dtype == (np.float64 if precision == "fp64" else np.float32)
    reference = place.runs / "fp32_reference"
    if not reference.exists():
        place.trained("fp32_reference", *BRIEF)
    ours, theirs = rows(run, "step")[0], rows(reference, "step")[0]
    assert ours["loss"] != theirs["loss"] and ours["loss"] == pytest.approx(theirs["loss"], rel=0.1)
    assert f"precision={precision}" in (run / "train.log").read_text()
    document = told("evaluate", run)
    assert [row["epe"] for row in document["results"]] == state(run)["last_epes"]


def test_moving_average(place: Place) -> None:
    run = place.trained("average", *ONE_STEP, "--train.ema_decay=0.5", "--eval.eval_every_epoch=1")
    for row in table(run / "eval_history.csv"):
        epes = [r for r in table(run / "per_arch_epe.csv") if r["epoch"] == row["epoch"]]
        assert float(row["mean_epe_4_ema"]) == pytest.approx(np.mean([float(r["epe_ema"]) for r in epes]), abs=1e-4)
        assert row["mean_epe_4_ema"] != row["mean_epe_4"]
    found = tensors(run)
    names = [name.removeprefix("ema/") for name in found if name.startswith("ema/")]
    assert names and not [name for name in names if "running" in name]
    assert not np.array_equal(found["ema/E0.k7.weight"], found["model/E0.k7.weight"])
    document = told("evaluate", run, "--weights", "ema")
    epes = [row["epe"] for row in document["results"]]
    assert np.mean(epes) == rows(run, "evaluation")[-1]["mean_epe_4_ema"] and epes != state(run)["last_epes"]


def test_best_by_another_statistic(place: Place) -> None:
    run = place.trained("median", "--eval.best_by=p90", *BRIEF)
    best, (row,) = json.loads((run / "best.json").read_text()), rows(run, "evaluation")
    assert best["value"] == row["p90_epe_4"] != row["mean_epe_4"] and best["criterion"] == "p90"


WIDE = ("--eval.eval_every_epoch=1", "--eval.wide_every_epoch=2", "--eval.eval_batches_per_arch=1")


def test_the_wide_evaluation_chooses_and_stops(place: Place) -> None:
    words = ("--eval.best_by=wide_median", "--eval.early_stop_patience=1", "--eval.early_stop_min_delta=99")
    ended = place.train("wide_best", *WIDE, *words, "--eval.batch_size=1", "--train.num_epochs=8")
    run = place.runs / "wide_best"
    assert ended.code == 0 and "early stop after epoch 4: 1 evaluations without a gain" in ended.err
    wide = {row["epoch"]: row["wide_median_epe_4"] for row in rows(run, "evaluation") if "wide_median_epe_4" in row}
    best = json.loads((run / "best.json").read_text())
    assert list(wide) == [2, 4] and best["criterion"] == "wide_median"
    assert best["epoch"] == min(wide, key=wide.__getitem__) and best["value"] == wide[best["epoch"]]
    found = {row["when"].partition(":")[0] for label in told("compare", run)["labels"] for row in label["rows"]}
    assert any("best by wide_median" in words for words in found)


def test_one_frozen_evaluation_set_for_several_runs(place: Place) -> None:
    first = place.trained("set_first", *WIDE, ONE)
    words = (*WIDE, ONE, "--eval.selection=prefix", "--eval.eval_pool_size=5", "--runtime.seed=3")
    other = place.trained("set_other", *words, f"--eval.set={first}")
    ours, theirs = (rows(run, "evaluation")[-1] for run in (first, other))
    for name in ("eval_set", "wide_eval_set", "calibration_set", "codes", "eval_samples_per_arch"):
        assert ours[name] == theirs[name], name
    same = told("evaluate", place.trained("set_own", *words), f"--eval.set={first / 'eval_set.json'}")
    assert same["eval_set"] == ours["eval_set"] and len(same["results"]) == 4
    assert place.resume("set_other", "--train.num_epochs=2", "--train.lr_plan=keep").code == 0
    assert rows(other, "evaluation")[-1]["eval_set"] == ours["eval_set"]
    missing = place.train("set_missing", ONE, "--eval.set=nowhere.json")
    assert missing.code == 65 and "eval.set: nowhere.json" in missing.err and "leave eval.set out" in missing.err
    data = make_tiny(place.folder / "another", train=8, val=5)
    elsewhere = place.train("set_elsewhere", ONE, f"--eval.set={first}", data=data)
    assert elsewhere.code == 65 and "data.train_dir is fc2/" in elsewhere.err
    assert not (place.runs / "set_missing").exists() and not (place.runs / "set_elsewhere").exists()


def test_generated_data_are_noted(place: Place) -> None:
    data = place.folder / "generated"
    shutil.copytree(place.data, data)
    (data / "dataset.json").write_text(json.dumps({"generated": True}))
    run = place.trained("generated", *BRIEF, data=data)
    manifest = json.loads((run / "run_manifest.json").read_text())["manifest"]
    assert manifest["generated_data"] is True and manifest["data"]["train"]["source"] == "generated"
    assert table(run / "eval_history.csv")[0]["split_label"].startswith("fc2/generated:val/")
    (row,) = told("status", run)
    assert row["generated_data"] is True


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_a_gpu_that_is_not_there_is_an_error(place: Place) -> None:
    ended = place.train("gpu", "--train.gpu_device=0")
    assert ended.code == 64 and "train.gpu_device" in ended.err and "no GPU" in ended.err
    assert not (place.runs / "gpu").exists()
    ended = place.train("tf32", "--train.precision=tf32", "--train.gpu_device=auto")
    assert ended.code == 64 and "train.precision" in ended.err


def test_imported_weights_are_evaluated(place: Place, shared: Path) -> None:
    file = shared / "golden" / "tf1_supernet_width8.npz"
    if not file.exists():
        pytest.skip(f"{file} not found")
    out = place.runs / "imported"
    ended = command("import-tf1", file, "--out", out, "--json")
    assert ended.code == 0 and json.loads(ended.out)["width"] == 8
    assert command("import-tf1", file, "--out", out).code == 74
    keys = [word for word in place.words("x")[1:] if word.startswith(("--data", "--eval"))]
    document = told("evaluate", out, *keys, "--runtime.num_threads=1")
    assert len(document["results"]) == 4 and all(np.isfinite(row["epe"]) for row in document["results"])
    assert newest(out).name == "step-00000000" and not (out / "eval_set.json").exists()
    for words in ((), ("--fork", "continued")):
        ended = command("train", "--resume", out, *keys, *words)
        assert ended.code == 64 and "imported from tf1_supernet_width8.npz" in ended.err


def test_real_pairs(place: Place, shared: Path) -> None:
    """Four real FlyingChairs pairs are trained on for two steps, two others evaluated."""
    data = shared / "data" / "flying_chairs_fc2_layout"
    if not data.exists():
        pytest.skip(f"{data} not found")
    words = ("--data.crop_size=64x96", "--train.num_epochs=2", "--eval.eval_pool_size=2")
    run = place.trained("real", *words, data=data)
    (row,) = table(run / "eval_history.csv")
    assert row["split_label"].startswith("fc2/folder:val/2/") and row["train_samples"] == "4"
    assert float(row["zero_flow_epe"]) > 0.5
    document = told("evaluate", run)
    assert [entry["epe"] for entry in document["results"]] == state(run)["last_epes"]
