"""Task qat: from a trained subnet to one that is fine-tuned, evaluated and used as its int8 file will compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from edgeflownas.train.reading import read_run
from runs import Place, command, newest, outcome, rows, tensors

from edgeflownas.models.deployed.rounded import RoundedNet
from edgeflownas.train.machine import StopFlag
from edgeflownas.train.step import StopRequested

pytestmark = pytest.mark.e2e
CODE, OTHER = "0,0,0,0,2,1,2,2,2", "0,0,0,0,0,0,0,0,0"
ALONE = ("--train.task=standalone", f"--train.arch={CODE}", "--eval.eval_pool_size=1")
QAT = ("--train.task=qat", f"--train.arch={CODE}", "--eval.eval_pool_size=1", "--eval.eval_every_epoch=1")
# Micro-batches of 3 and 1, and everything that a step may have beside them.
KEYS = (*QAT, "--train.micro_batch_size=3", "--train.ema_decay=0.9", "--train.monitor_every=1", "--checkpoint.keep=9")


@pytest.fixture(scope="module")
def source(place: Place) -> Path:
    """The subnet trained alone."""
    return place.trained("source", *ALONE, "--train.lr=1e-3")


@pytest.fixture(scope="module")
def tuned(place: Place, source: Path) -> Path:
    return place.trained("tuned", *KEYS, f"--train.init_from={source}")


def model(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


def test_statistics_and_ranges_are_set_once(tuned: Path, source: Path) -> None:
    first, last = model(tuned / "checkpoints/step-00000000"), model(newest(tuned))
    assert set(first) == {*model(newest(source)), "ranges"}
    frozen = [name for name in first if "running_" in name or name == "ranges"]
    assert all(np.array_equal(first[name], last[name]) for name in frozen) and np.ptp(first["ranges"], 1).min() > 0
    moved = [name for name in first if name not in frozen and not np.array_equal(first[name], last[name])]
    assert set(moved) == set(first) - set(frozen)
    run = read_run(source)
    calibrated = tensors(source)["model/E0.bn.running_mean"]
    assert not np.allclose(first["E0.bn.running_mean"], calibrated, rtol=1e-3)  # recalibrated, not copied
    assert torch.equal(torch.from_numpy(first["E0.k7.weight"]), run.net.get_parameter("E0.k7.weight").contiguous())
    facts = json.loads((tuned / "run_manifest.json").read_text())["manifest"]["initialised_from"]
    assert facts["ranges"].startswith("minmax, calibration ids ")


def test_interrupted_and_resumed(tuned: Path, source: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [0]

    def check(self: StopFlag) -> None:
        asked[0] += 1
        if asked[0] % 8 == 0:
            self.reason = "SIGTERM"
            raise StopRequested(self.reason)

    monkeypatch.setattr(StopFlag, "check", check)
    assert place.train("cut", *KEYS, f"--train.init_from={source}").code == 75
    lives = 0
    while (ended := place.resume("cut")).code != 0:
        assert ended.code == 75 and (lives := lives + 1) < 20, ended.err
    assert lives >= 1 and outcome(place.runs / "cut") == outcome(tuned)


def test_every_evaluation_says_what_it_measured(tuned: Path, place: Place) -> None:
    row = rows(tuned, "evaluation")[-1]
    assert row["epe_protocol"] == "training, int8 simulated"
    ended = command("evaluate", tuned, "--json")
    found = json.loads(ended.out)
    assert found["results"][0]["epe"] == row["mean_epe_1"] and found["arithmetic"] == "int8 simulated"
    assert found["float_epe"] not in (None, row["mean_epe_1"]) and "int8" in ended.err
    average = json.loads(command("evaluate", tuned, "--weights", "ema", "--json").out)
    assert average["results"][0]["epe"] == row["mean_epe_1_ema"] != row["mean_epe_1"]
    rounded = command("evaluate", tuned, "--data", place.data / "val", "--references", "none", "--json")
    assert json.loads(rounded.out)["precision"] == "int8 simulated"
    compared = json.loads(command("compare", tuned, "--json").out)
    assert "int8 simulated" in json.dumps(compared)
    assert "nothing is calibrated" in command("evaluate", tuned, "--calibration-sweep").err


def test_infer_uses_the_rounded_network_without_the_training_data(tuned: Path, place: Place, tmp_path: Path) -> None:
    frames = [place.data / "val" / f"0000000-img_{image}.png" for image in (0, 1)]
    ended = command("infer", "--weights", tuned, *frames, "--out", tmp_path, "--formats", "flo", "--json")
    assert ended.code == 0 and "int8" in ended.err
    document = json.loads(ended.out)
    assert document["calibration_samples"] == 0
    flow = np.fromfile(next(tmp_path.glob("*.flo")), np.float32)[3:]
    net = read_run(tuned, json.loads((tuned / "best.json").read_text())["checkpoint"]).net
    assert isinstance(net, RoundedNet)
    low, high = net.tensor_ranges()["flow"]
    assert (
        len(np.unique(flow)) <= 256
        and low - (high - low) / 200 <= flow.min() <= flow.max() <= high + (high - low) / 200
    )


def test_from_a_supernet_and_back_to_floating_point(tuned: Path, place: Place) -> None:
    supernet = place.trained("supernet", "--train.lr=1e-3")
    run = place.trained("from-supernet", *QAT, f"--train.init_from={supernet}", "--checkpoint.keep=9")
    theirs, first = model(newest(supernet)), model(run / "checkpoints/step-00000000")
    kept = [name for name in first if name != "ranges" and "running_" not in name]
    assert kept and all(np.array_equal(first[name], theirs[name]) for name in kept)
    place.trained("back", *ALONE, f"--train.init_from={tuned}", "--train.lr=1e-30")
    ours = tensors(place.runs / "back")
    assert np.array_equal(ours["model/E0.k7.weight"], tensors(tuned)["model/E0.k7.weight"])


@pytest.mark.parametrize(
    "words", [("--train.grad_clip_position=micro_step", "--train.micro_batch_size=3"), ("--train.precision=fp64",)]
)
def test_other_ways_to_step(source: Path, place: Place, words: tuple[str, ...]) -> None:
    name = words[0].rpartition("=")[2]
    run = place.trained(name, *QAT, f"--train.init_from={source}", *words)
    assert all(row["accepted"] for row in rows(run, "step"))
    assert rows(run, "evaluation")[-1]["clip_checks"] == rows(run, "evaluation")[-1]["expected_clip_checks"]


def test_refused(source: Path, tuned: Path, place: Place) -> None:
    start = f"--train.init_from={source}"
    for words, said in (
        (QAT, "train.init_from"),
        ((*QAT, start, "--train.precision=bf16"), "train.precision bf16"),
        ((*QAT, start, "--train.qat_calibrate=often"), "often"),
        ((QAT[0], f"--train.arch={OTHER}", *QAT[2:], start), "same arch"),
        ((*ALONE, "--train.qat_calibrate=mse"), "train.qat_calibrate"),
        ((*ALONE, "--train.task=distil", f"--train.teacher={tuned}"), "task qat"),
        ((QAT[0], *QAT[2:], start), "needs train.arch"),
    ):
        ended = place.train("refused", *words)
        assert ended.code == 64 and said in ended.err, (words, ended)
        assert not (place.runs / "refused").exists() and "Traceback" not in ended.err
    assert command("rank", tuned).code == 64
    assert place.train("dry", *QAT, start, "--dry-run").code == 0
