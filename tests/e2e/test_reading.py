"""What only looks at a run: evaluation with other keys, damaged small files, diagnosis, costs of its space."""

import json
from pathlib import Path

import pytest
from runs import BRIEF, command, contents, rows, told

from edgeflownas.hardware.costs import space_costs
from edgeflownas.space import get_space

pytestmark = pytest.mark.e2e
NAMES = ("run", "frozen", "eval_seconds", "bn_recal_seconds")  # of a document, not the same in two runs


@pytest.fixture(scope="module")
def run(place):
    return place.trained("base", *BRIEF)


@pytest.mark.parametrize(
    "key", ["eval.bn_recal_batches=2", "eval.eval_pool_size=6", "eval.batch_size=2", "data.crop_size=32x32"]
)
def test_evaluation_keys_are_obeyed_as_in_a_run(run, place, key):
    before = contents(run)
    own, other = told("evaluate", run), told("evaluate", run, f"--{key}")
    assert own["frozen"] and not other["frozen"] and contents(run) == before
    trained = place.trained(key.partition("=")[0], *BRIEF, f"--{key}")  # a run with the key from its start
    (event,) = rows(trained, "evaluation")
    assert (other["eval_set"], other["calibration_set"]) == (event["eval_set"], event["calibration_set"])
    assert other["eval_set"] != own["eval_set"]
    if not key.startswith("data"):  # the same weights, therefore the same figures
        assert other == told("evaluate", trained) | {name: other[name] for name in NAMES}


def test_a_key_that_an_evaluation_does_not_read_is_named(run):
    ended = command("evaluate", run, "--train.lr=5e-4", "--eval.batch_size=3")
    assert ended.code == 0 and "--train.lr has no effect on an evaluation" in ended.err
    assert "--eval.batch_size has no effect" not in ended.err


def test_a_missing_evaluation_set_is_no_reason_to_invent_one(run, place):
    copy = place.copy("base", "noset")
    before = (copy / "eval_set.json").read_bytes()
    (copy / "eval_set.json").unlink()
    ended = command("evaluate", copy)
    assert ended.code == 65 and "eval_set.json" in ended.err and "train --resume" in ended.err
    assert command("train", "--resume", copy).code == 0  # as the message says
    assert (copy / "eval_set.json").read_bytes() == before and told("evaluate", copy)["frozen"]


def test_an_absurd_number_of_batches_is_refused(run):
    ended = command("evaluate", run, "--batches", "9" * 5000)
    assert ended.code == 64 and "--batches" in ended.err


@pytest.mark.parametrize("content", ["{}", "[1]", '{"checkpoint":3}', "", "{"])
@pytest.mark.parametrize("name", ["best.json", "data_fingerprints.json", "run_manifest.json"])
def test_a_damaged_small_file_is_named(run, place, name, content):
    copy = place.runs / "damaged"
    if not copy.exists():
        place.copy("base", "damaged")
    before = (copy / name).read_bytes()
    (copy / name).write_text(content)
    try:
        words = ("evaluate", copy, "--checkpoint=best") if name == "best.json" else ("train", "--resume", copy)
        ended = command(*words)
        assert ended.code == 74 and name in ended.err, ended.err
        assert command("status", copy).code == 0
    finally:
        (copy / name).write_bytes(before)


def test_an_incomplete_manifest_is_refused(run, place):
    copy = place.copy("base", "incomplete")
    document = json.loads((copy / "run_manifest.json").read_text())
    del document["manifest"]["keys"]
    (copy / "run_manifest.json").write_text(json.dumps(document))
    ended = command("train", "--resume", copy)
    assert ended.code == 74 and "run_manifest.json" in ended.err and "keys" in ended.err


# ---- diagnose and profile ----


def test_a_run_a_resumed_one_and_a_fork(place):
    run = place.trained("judged", *BRIEF)
    resumed = ("--train.num_epochs=2", "--train.lr_plan=keep", "--eval.eval_batches_per_arch=1")
    assert place.resume("judged", *resumed).code == 0
    before = contents(run)
    document = told("diagnose", run)
    assert document["evaluations"] == 2 and document["planned_epochs"] == 2 and "continuation" not in document
    found = {finding["id"]: finding for finding in document["findings"]}
    assert "train.num_epochs" in found["resumed_with_changes"]["figures"]["changed"]
    assert set(document["stability"]["trivial"]) == {"macs", "parameters"}
    assert contents(run) == before  # it only reads
    assert command("train", "--resume", run, "--fork", "child", "--train.num_epochs=1").code == 0
    forked = told("diagnose", place.runs / "child")
    assert forked["continuation"]["verdict"] in ("go", "stop") and Path(forked["continuation"]["parent"]) == run
    text = command("diagnose", place.runs / "child").out
    assert f"against {run}:" in text


def test_a_folder_of_runs_names_them(run):
    ended = command("diagnose", run.parent)
    assert ended.code == 74 and "give one of" in ended.err and "base" in ended.err


def test_the_space_of_a_supernet(run):
    found = told("profile", run)
    table = space_costs(get_space("v1"), 2, (32, 48))
    assert (found["space"], found["width"], found["size"]) == ("v1", 2, [32, 48])
    assert found["columns"]["macs"]["max"] == table["macs"].max()
    one = told("profile", run, "--arch", "000021222", "--size", "64x64")
    assert (one["arch"], one["width"], one["size"]) == ("0,0,0,0,2,1,2,2,2", 2, [64, 64])


def test_a_subnet_trained_alone_and_edgeflownet(place):
    alone = place.trained(
        "alone", *BRIEF, "--train.task=standalone", "--train.arch=['000021222']", "--eval.eval_pool_size=1"
    )
    found = told("profile", alone)
    assert found["arch"] == "0,0,0,0,2,1,2,2,2"
    assert (
        found["parameters"]
        == space_costs(get_space("v1"), 2, (32, 48), [get_space("v1").parse("000021222")])["parameters"][0]
    )
    other = place.trained("published", *BRIEF, "--train.task=edgeflownet", "--eval.eval_pool_size=1")
    refused = command("profile", other)
    assert refused.code == 64
    assert "EdgeFlowNet" in refused.err
