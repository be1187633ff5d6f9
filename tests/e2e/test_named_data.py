"""Runs on data sets by name are those on their folders; a divisor of the labels is identity, undone in evaluation."""

import json

import pytest
from runs import BRIEF, command, state, told

pytestmark = pytest.mark.e2e


def label(run, split):
    part = {"train": "calibration", "val": "evaluation"}[split]
    found: str = json.loads((run / "eval_set.json").read_text())[part]["label"]
    return found


def test_a_name_and_its_folder_are_one_run(place):
    by_folder = place.trained("by-folder", *BRIEF)
    spec = (f"--data.train_dir=fc2@{place.data}", "--data.val_dir=fc2:val", f"--data.roots={{fc2: {place.data}}}")
    by_name = place.trained("by-name", *BRIEF, *spec)
    assert (by_name / "events.jsonl").read_bytes() == (by_folder / "events.jsonl").read_bytes()
    for split in ("train", "val"):
        assert label(by_name, split) == label(by_folder, split)
        assert label(by_name, split).startswith(f"fc2/folder:{split}/")
    assert place.resume("by-name", f"--data.train_dir={place.data / 'train'}").code == 0  # the place is free
    misspelt = place.train("misspelt", *BRIEF, "--data.train_dir=fc2:tarin", spec[2])
    assert misspelt.code == 64 and "did you mean fc2:train?" in misspelt.err


def test_a_divisor_is_identity_and_every_epe_is_in_pixels(place):
    run = place.trained("divided", *BRIEF, "--data.flow_divisor=4")
    document = told("evaluate", run)
    assert document["frozen"] and document["flow_divisor"] == 4.0
    assert [row["epe"] for row in document["results"]] == state(run)["last_epes"]
    labelled = told("evaluate", run, "--protocol=training", "--references=none")["results"]
    assert [row["epe"] for row in labelled] == pytest.approx(state(run)["last_epes"], rel=1e-5)
    plain = place.trained("undivided", *BRIEF)
    assert document["zero_flow_epe"] == told("evaluate", plain)["zero_flow_epe"]
    refused = place.resume("divided", "--data.flow_divisor=1")
    assert refused.code == 64 and "data.flow_divisor" in refused.err
    other = command("evaluate", run, "--data.flow_divisor=1")
    assert other.code == 64 and "--data.flow_divisor differs from the run's 4.0" in other.err
