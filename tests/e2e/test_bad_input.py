"""Unreadable samples and non-finite steps: stop or go on as configured, and say which samples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import Place, command, newest, rows, state, table, tensors, told
from tiny import tiny_options

from edgeflownas.errors import StorageError
from edgeflownas.evaluate.losses import LossTerms, multiscale_loss
from edgeflownas.train import start, step

pytestmark = pytest.mark.e2e
EPOCHS = ("--train.num_epochs=1",)


def with_corrupt(place: Place, name: str, *samples: str, header: bool = False) -> Path:
    """A copy of the data in which the second image of some training samples cannot be decoded."""
    data = place.folder / name
    shutil.copytree(place.data, data)
    for sample in samples:
        file = data / "train" / f"{sample}-img_1.png"
        content = bytearray(file.read_bytes())
        if header:
            content[:8] = bytes(8)
        else:
            content[60:-20] = bytes(len(content) - 80)  # size and header stay, the pixels are gone
        file.write_bytes(content)
    return data


# Of six samples, 1, 3 and 5 are the calibration batch; 0, 2 and 4 are met in training only.


@pytest.mark.parametrize("sample", ["0000001", "0000002"])
def test_the_message_of_a_stop_names_ways_that_work(place: Place, sample: str) -> None:
    """Sample 1 is met before anything is committed, sample 2 in training; both ways work in either state."""
    data = with_corrupt(place, f"ways{sample}", sample)
    name = f"stopped{sample}"
    ended = place.train(name, *EPOCHS, data=data)
    run = place.runs / name
    assert ended.code == 65 and f"edgeflownas train --resume {run} --accept-data-change" in ended.err
    fork = ("--fork", f"again{sample}", "--data.on_bad_sample", "quarantine")
    assert f"--resume {run} --fork NEW_NAME --data.on_bad_sample quarantine" in ended.err
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert command("train", "--resume", run, *fork).code == 0
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert state(place.runs / f"again{sample}")["step"] == 2
    picture = data / "train" / f"{sample}-img_1.png"
    shutil.copy(place.data / "train" / picture.name, picture)
    assert "add --accept-data-change" in command("train", "--resume", run).err
    assert command("train", "--resume", run, "--accept-data-change").code == 0
    (change,) = json.loads((run / "run_manifest.json").read_text())["manifest"]["data_changes"]
    assert change["files"] == [f"changed: {picture.name} (same size, other content)"]
    (data / "train" / f"{sample}-img_0.png").rename(data / "train" / "0000009-img_0.png")
    ended = command("data", "check", "--full", "--against", run)
    assert ended.code == 65 and f"{sample}-img_0.png" in ended.err


def test_a_start_that_fails_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*anything: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(start, "_store_session", refuse)
    ended = place.train("failed", *EPOCHS)
    assert ended.code == 74 and "no room" in ended.err
    assert not list(place.runs.glob("*failed*")) and not list(place.runs.glob(".new-*"))


def test_names_that_are_no_text_work_everywhere(place: Place) -> None:
    root = place.folder / "caf\udce9"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for file in (place.data / split).iterdir():
            shutil.copy(file, root / split / f"\udcff-{file.name}")
    ended = command(
        "train", "smoke", *tiny_options(root, root, "run"), "--train.width=2", *EPOCHS, "--runtime.tensorboard=true"
    )
    assert ended.code == 0, ended.err
    run = root / "run"
    assert list((run / "tensorboard").iterdir())
    for words in (("train", "--resume", run), ("evaluate", run), ("status", root), ("report", run)):
        ended = command(*words)
        assert ended.code == 0, ended.err
        ended.out.encode(), ended.err.encode()


def test_stop_names_the_file(place: Place) -> None:
    data = with_corrupt(place, "stop", "0000002")
    assert command("data", "check", "--train-dir", data / "train", "--val-dir", data / "val").code == 0
    ended = place.train("stop", *EPOCHS, data=data)
    assert ended.code == 65 and "0000002-img_1.png" in ended.err and "Traceback" not in ended.err
    assert command("data", "check", "--full", "--train-dir", data / "train", "--val-dir", data / "val").code == 65


def test_the_steps_before_a_bad_sample_are_committed(place: Place) -> None:
    data = with_corrupt(place, "late", "0000002")
    words = ("--train.train_sampling_mode=sequential", "--train.batch_size=1", "--eval.train_batches=0", *EPOCHS)
    assert place.train("late", *words, data=data).code == 65
    run = place.runs / "late"
    assert state(run)["step"] == 2 and len(rows(run, "step")) == 2  # samples 0 and 1
    assert place.resume("late").code == 65 and state(run)["step"] == 2
    other = ("--data.on_bad_sample=quarantine", "--data.quarantine_cap=0.5")
    assert place.resume("late", "--fork", "mended", *other).code == 0  # the remedy, from where it stopped


@pytest.mark.parametrize("workers", [0, 2])
def test_quarantine_replaces_and_logs(place: Place, workers: int) -> None:
    data = place.folder / "quarantine"
    if not data.exists():
        with_corrupt(place, "quarantine", "0000002")
    words = (*EPOCHS, "--data.on_bad_sample=quarantine", f"--data.num_workers={workers}")
    run = place.trained(f"quarantine{workers}", *words, data=data)
    (row,) = [json.loads(line) for line in (run / "quarantine.jsonl").read_text().splitlines()]
    assert (row["sample"], row["replaced_by"]) == ("0000002", "0000003") and "img_1.png" in row["reason"]
    assert state(run)["quarantined"] == ["0000002"]
    assert table(run / "eval_history.csv")[0]["quarantined_samples"] == "1"
    assert "0000002 quarantined, replaced by 0000003" in (run / "train.log").read_text()
    other = place.runs / f"quarantine{2 - workers}"
    if other.exists():
        assert (run / "events.jsonl").read_bytes() == (other / "events.jsonl").read_bytes()
        assert (run / "quarantine.jsonl").read_bytes() == (other / "quarantine.jsonl").read_bytes()
    assert command("evaluate", run).code == 0


def test_quarantine_cap(place: Place) -> None:
    data = with_corrupt(place, "capped", "0000002", "0000004")
    words = ("--data.on_bad_sample=quarantine", *EPOCHS)
    ended = place.train("capped", *words, data=data)
    assert ended.code == 65 and "data.quarantine_cap" in ended.err and "allows 1 of 6" in ended.err
    assert place.train("raised", *words, "--data.quarantine_cap=0.5", data=data).code == 0
    assert sorted(state(place.runs / "raised")["quarantined"]) == ["0000002", "0000004"]


@pytest.mark.parametrize("header", [True, False])
def test_quarantine_of_a_calibration_sample(place: Place, header: bool) -> None:
    """Calibration samples are training samples: a bad one gives way to the next that reads."""
    name = f"calibration{header}"
    data = with_corrupt(place, name, "0000003", header=header)
    run = place.trained(name, *EPOCHS, "--data.on_bad_sample=quarantine", data=data)
    names = json.loads((run / "eval_set.json").read_text())["calibration"]["names"]
    assert names == ["0000001", "0000004", "0000005"]
    assert "0000003" in (run / "train.log").read_text()
    document = told("evaluate", run)
    assert document["frozen"] and [row["epe"] for row in document["results"]] == state(run)["last_epes"]
    assert place.resume(name).code == 0


def test_a_bad_header_stops_at_the_start(place: Place) -> None:
    data = with_corrupt(place, "header", "0000000", header=True)
    ended = place.train("header", *EPOCHS, data=data)
    assert ended.code == 65 and "0000000-img_1.png" in ended.err and not (place.runs / "header").exists()


def test_a_bad_validation_sample_always_stops(place: Place) -> None:
    data = place.folder / "validation"
    shutil.copytree(place.data, data)
    flow = data / "val" / "0000001-flow_01.flo"
    flow.write_bytes(flow.read_bytes()[:-4])
    ended = place.train("validation", "--data.on_bad_sample=quarantine", data=data)
    assert ended.code == 65 and "0000001-flow_01.flo" in ended.err


# ---- non-finite steps ----


def broken_loss(spoil: Callable[[int], bool], value: float = float("nan")) -> Callable[..., LossTerms]:
    """multiscale_loss whose n-th call (from 0) comes out as ``value`` where ``spoil(n)``; three calls are a step."""
    calls = [-1]

    def loss(*args: torch.Tensor) -> LossTerms:
        calls[0] += 1
        terms = multiscale_loss(*args)
        return LossTerms(terms.total * value, *terms[1:]) if spoil(calls[0]) else terms

    return loss


def test_a_non_finite_step_is_dropped_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--train.num_epochs=2", "--train.ema_decay=0.9", "--checkpoint.every_steps=1", "--checkpoint.keep=20")
    monkeypatch.setattr(step, "multiscale_loss", broken_loss(lambda call: call == 7))  # second path of step 3
    run = place.trained("dropped", *words)
    steps = rows(run, "step")
    assert [row["accepted"] for row in steps] == [True, True, False, True]
    bad = steps[2]
    assert len(bad["samples"]) == 4 and len(bad["codes"]) == 3 and bad["loss"] == "nan"
    assert bad["seen"] == 12 and bad["expected_clip_checks"] == 0 and bad["clip_count"] == 0
    assert steps[3]["lr"] < steps[1]["lr"]  # dropped draws count for the learning rate
    before, after = (place.runs / "dropped" / "checkpoints" / f"step-{step:08d}" for step in (2, 3))
    for file in ("model", "optimizer", "ema"):
        assert (before / f"{file}.safetensors").read_bytes() == (after / f"{file}.safetensors").read_bytes()
    last = table(run / "eval_history.csv")[-1]
    assert (last["dropped_steps"], last["clip_checks"], last["expected_clip_checks"]) == ("1", "1", "1")
    assert state(run)["accepted"] == 3 and state(run)["nonfinite_in_a_row"] == 0
    assert "step 3 dropped" in (run / "train.log").read_text()


@pytest.mark.parametrize("position", ["step", "micro_step"])
def test_too_many_non_finite_steps_stop_the_run(place: Place, monkeypatch: pytest.MonkeyPatch, position: str) -> None:
    words = ("--train.max_nonfinite_steps=2", "--train.num_epochs=9", f"--train.grad_clip_position={position}")
    name = f"nonfinite_{position}"
    with monkeypatch.context() as patch:
        patch.setattr(step, "multiscale_loss", broken_loss(lambda call: call >= 6, float("inf")))
        ended = place.train(name, *words)
    assert ended.code == 70 and "train.max_nonfinite_steps" in ended.err and "Traceback" not in ended.err
    run = place.runs / name
    steps = rows(run, "step")
    assert [row["accepted"] for row in steps] == [True, True, False, False]
    assert all(sample in ended.err for sample in steps[-1]["samples"])
    assert all(np.isfinite(array).all() for array in tensors(run).values())
    assert state(run)["nonfinite_in_a_row"] == 2 and state(run)["step"] == 4
    (row,) = told("status", run)
    assert row["state"] == "interrupted" and row["lock_owner"] is None


def test_an_epoch_of_dropped_steps_has_empty_columns(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "multiscale_loss", broken_loss(lambda call: True))
    run = place.trained("nothing", *EPOCHS, "--train.max_nonfinite_steps=5")
    (row,) = table(run / "eval_history.csv")
    assert row["train_loss"] == row["grad_norm_p50"] == row["clip_rate"] == "" and row["dropped_steps"] == "2"
    assert row["clip_checks"] == row["expected_clip_checks"] == "0" and newest(run).name == "step-00000002"


def test_resume_in_an_epoch_with_a_dropped_step(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch's figures are summed from events that hold "nan" by then."""
    words = (*EPOCHS, "--train.epoch_mode=fixed_steps", "--train.steps_per_epoch=3")
    for name, limit in (("at_once", None), ("in_two", 1e-9)):
        with monkeypatch.context() as patch:
            patch.setattr(step, "multiscale_loss", broken_loss(lambda call: call == 0))
            if limit is None:
                assert place.train(name, *words).code == 0
            else:
                from edgeflownas.train.machine import StopFlag

                asked = [0]

                def second_step(self: StopFlag, asked: list[int] = asked) -> bool:
                    asked[0] += 1
                    self.reason = "planted" if asked[0] > 5 else None
                    return self.reason is not None

                patch.setattr(StopFlag, "requested", second_step)
                assert place.train(name, *words).code == 75
        if limit is not None:
            assert state(place.runs / name)["step"] == 1
            assert place.resume(name).code == 0
    one, two = place.runs / "at_once", place.runs / "in_two"
    assert (one / "events.jsonl").read_bytes() == (two / "events.jsonl").read_bytes()
