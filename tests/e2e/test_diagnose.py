"""Diagnosis of runs as they are made: begun, resumed with another key, forked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Place, command, contents

pytestmark = pytest.mark.e2e


def test_a_run_a_resumed_one_and_a_fork(place: Place) -> None:
    run = place.trained("judged", "--eval.eval_every_epoch=1", "--train.num_epochs=1")
    resumed = ("--train.num_epochs=2", "--train.lr_plan=keep", "--eval.eval_batches_per_arch=1")
    assert place.resume("judged", *resumed).code == 0
    before = contents(run)
    ended = command("diagnose", run, "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["evaluations"] == 2 and document["planned_epochs"] == 2 and "continuation" not in document
    found = {finding["id"]: finding for finding in document["findings"]}
    assert "train.num_epochs" in found["resumed_with_changes"]["figures"]["changed"]
    assert set(document["stability"]["trivial"]) == {"macs", "parameters"}
    assert contents(run) == before  # it only reads
    assert command("train", "--resume", run, "--fork", "child", "--train.num_epochs=1").code == 0
    forked = json.loads(command("diagnose", place.runs / "child", "--json").out)
    assert forked["continuation"]["verdict"] in ("go", "stop") and Path(forked["continuation"]["parent"]) == run
    text = command("diagnose", place.runs / "child").out
    assert f"against {run}:" in text


def test_a_folder_of_runs_names_them(place: Place) -> None:
    run = place.trained("lone")
    ended = command("diagnose", run.parent)
    assert ended.code == 74 and "give one of" in ended.err and "lone" in ended.err
