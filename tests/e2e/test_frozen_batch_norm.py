"""Fine-tuning under stored batch-norm statistics: a trained network is trained on, and evaluated with the same."""

import json

import numpy as np
import pytest
from runs import BRIEF, command, newest, outcome, rows, told
from safetensors.numpy import load_file
from test_interruption import resume_to_the_end, stop_at

pytestmark = pytest.mark.e2e
CODE, OTHER = "0,0,0,0,2,1,2,2,2", "0,0,0,0,0,0,0,0,0"
ALONE = ("--train.task=standalone", f"--train.arch={CODE}", "--eval.eval_pool_size=1", "--eval.eval_every_epoch=1")
FROZEN = (*ALONE, "--train.batch_norm=frozen", "--checkpoint.keep=9")
# Micro-batches of 3 and 1, and everything that a step may have beside them.
KEYS = (*FROZEN, "--train.micro_batch_size=3", "--train.ema_decay=0.9", "--train.monitor_every=1")


@pytest.fixture(scope="module")
def source(place):
    """The subnet trained alone."""
    return place.trained("source", *ALONE, "--train.lr=1e-3")


@pytest.fixture(scope="module")
def tuned(place, source):
    return place.trained("tuned", *KEYS, f"--train.init_from={source}")


def model(folder):
    return load_file(folder / "model.safetensors")


def begun_with(run):
    facts: dict[str, str] = json.loads((run / "run_manifest.json").read_text())["manifest"]["initialised_from"]
    return facts["batch_norm"]


def epe(*words):
    found = told("evaluate", *words)["results"][0]["epe"]
    return found


def test_statistics_are_set_once_and_everything_else_moves(tuned, source):
    theirs, first, last = model(newest(source)), model(tuned / "checkpoints/step-00000000"), model(newest(tuned))
    assert set(first) == set(last) == set(theirs) and begun_with(tuned).startswith("recalibrated, calibration ids ")
    for name in first:
        kept = "running_" in name
        assert np.array_equal(first[name], last[name]) == kept and np.array_equal(first[name], theirs[name]) != kept


def test_it_begins_with_the_figure_of_its_source(place, source):
    run = place.trained("still", *FROZEN, *BRIEF, f"--train.init_from={source}", "--train.lr=1e-30")
    assert epe(run) == pytest.approx(epe(source), rel=1e-5)


def test_every_evaluation_takes_the_stored_statistics(tuned, place):
    row = rows(tuned, "evaluation")[-1]
    assert epe(tuned) == row["mean_epe_1"] == epe(tuned, "--eval.bn_recal_batches=1")
    assert epe(tuned, "--weights", "ema") == row["mean_epe_1_ema"] != row["mean_epe_1"]
    assert "nothing is calibrated" in command("evaluate", tuned, "--calibration-sweep").err
    frames = [place.data / "val" / f"0000000-img_{image}.png" for image in (0, 1)]
    ended = command("infer", tuned, *frames, "--out", place.folder / "flow", "--json")
    assert ended.code == 0 and json.loads(ended.out)["calibration_samples"] == 0


def test_interrupted_and_resumed(tuned, source, place, monkeypatch):
    stop_at(monkeypatch, 11)
    assert place.train("cut", *KEYS, f"--train.init_from={source}").code == 75
    resume_to_the_end(place, "cut")
    assert outcome(place.runs / "cut") == outcome(tuned)


def test_a_fork_and_a_run_of_its_weights_keep_the_statistics(tuned, place):
    ended = command("train", "--resume", tuned, "--fork", "forked", "--train.lr=1e-3")
    assert ended.code == 0, ended.err
    again = place.trained("again", *FROZEN, *BRIEF, f"--train.init_from={tuned}")
    assert begun_with(again) == "copied"
    ours, theirs, more = (model(newest(run)) for run in (tuned, place.runs / "forked", again))
    for name in ours:
        assert (
            np.array_equal(ours[name], theirs[name]) == np.array_equal(ours[name], more[name]) == ("running_" in name)
        )


def test_from_a_supernet_as_student_and_back_to_batch_statistics(tuned, place):
    supernet = place.trained("supernet", *BRIEF, "--train.lr=1e-3")
    words = ("--train.task=distil", f"--train.teacher={tuned}", f"--train.init_from={supernet}")
    run = place.trained("student", *FROZEN, *BRIEF, *words)
    theirs, first, last = model(newest(supernet)), model(run / "checkpoints/step-00000000"), model(newest(run))
    for name in first:
        kept = "running_" in name
        assert np.array_equal(first[name], last[name]) == kept and np.array_equal(first[name], theirs[name]) != kept
    back = place.trained("back", *ALONE, *BRIEF, f"--train.init_from={tuned}")
    assert begun_with(back) == "copied"
    assert not np.array_equal(model(newest(back))["E0.bn.running_mean"], model(newest(tuned))["E0.bn.running_mean"])


@pytest.mark.parametrize(
    "words",
    [
        ("--train.grad_clip_position=micro_step", "--train.micro_batch_size=3"),
        ("--train.precision=fp64",),
        ("--train.precision=bf16",),
        ("--train.channels_last=false",),
    ],
)
def test_other_ways_to_step(source, place, words):
    run = place.trained(words[0].rpartition("=")[2], *FROZEN, *BRIEF, f"--train.init_from={source}", *words)
    assert all(row["accepted"] for row in rows(run, "step"))


def test_refused(source, place):
    start = f"--train.init_from={source}"
    for words, said in (
        (FROZEN, "needs train.init_from"),
        ((*FROZEN[4:], start), "train.batch_norm frozen is for single models"),
        ((FROZEN[0], f"--train.arch={OTHER}", *FROZEN[2:], start), "same arch"),
        ((*ALONE, "--train.task=qat", start), "recipe finetune_frozen_bn"),
    ):
        ended = place.train("refused", *words)
        assert ended.code == 64 and said in ended.err, (words, ended)
        assert not (place.runs / "refused").exists() and "Traceback" not in ended.err
    assert place.train("dry", *FROZEN, start, "--dry-run").code == 0
