"""`edgeflownas compare` on real runs: one table where labels are equal, a refusal where they are not."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from runs import BRIEF, ONE_STEP, Place, command, contents, rows, told

from edgeflownas.config.load import dump_yaml, parse_yaml

pytestmark = pytest.mark.e2e
EVERY = (*ONE_STEP, "--eval.eval_every_epoch=1")
ROW = {
    "model": "a/step-00000004",
    "code": "0,0,0,0,2,1,2,2,2",
    "protocol": "standard",
    "split_label": "fc2/folder:val/640/9f3a",
    "samples": 640,
    "epe": 2.5,
    "fl_all": 0.2,
}


@pytest.fixture(scope="module")
def runs(place: Place) -> dict[str, Path]:
    """a and b: same evaluation, other training; c: another crop and clip."""
    return {
        "a": place.trained("a", *EVERY),
        "b": place.trained("b", *EVERY, "--train.num_epochs=3", "--train.lr=5e-4"),
        "c": place.trained("c", *EVERY, "--data.crop_size=32x32", "--data.flow_clip=3.0"),
    }


def recorded(place: Place, name: str, *changes: dict[str, Any]) -> Path:
    """A copy of run a with rows of evaluations.jsonl."""
    copy = place.runs / name
    if not copy.exists():
        place.copy("a", name)
    (copy / "evaluations.jsonl").write_text("".join(json.dumps(ROW | change) + "\n" for change in changes))
    return copy


def test_runs_of_one_evaluation_are_ranked_together(runs: dict[str, Path]) -> None:
    before = contents(runs["a"])
    found = told("compare", runs["a"], runs["b"])
    (label,) = found["labels"]
    assert (label["protocol"], label["split_label"]) == (
        "training:32x48,clip50", rows(runs["a"], "evaluation")[0]["split_label"]
    )  # fmt: skip
    means = [row for row in label["rows"] if row["ranked_among"].startswith("mean of pool 4/")]
    for name, run in runs.items():
        if name == "c":
            continue
        events = rows(run, "evaluation")
        own = {row["when"].partition(":")[0]: row for row in means if row["run"] == name}
        assert own[max(own, key=lambda key: "last" in key)]["epe"] == events[-1]["mean_epe_4"]
        best = min(event["mean_epe_4"] for event in events)
        assert min(row["epe"] for row in own.values()) == best
    assert [row["epe"] for row in means] == sorted(row["epe"] for row in means)
    zero = [row for row in label["rows"] if row["model"] == "zero flow"]
    assert len(zero) == 1 and zero[0]["run"] is None
    assert {"learning rate", "updates", "samples seen", "passes over the data"} <= set(found["differing"])
    assert contents(runs["a"]) == before


def test_the_best_is_the_one_that_the_run_chose(runs: dict[str, Path], place: Place) -> None:
    run = place.copy("b", "chosen")
    events = rows(run, "evaluation")
    worst = max(events, key=lambda row: row["mean_epe_4"])
    best = json.loads((run / "best.json").read_text())
    (run / "best.json").write_text(json.dumps(best | {"epoch": worst["epoch"], "criterion": "p90"}))

    def bests() -> list[dict[str, Any]]:
        (label,) = told("compare", run)["labels"]
        return [row for row in label["rows"] if "best by" in row["when"] and row["model"].startswith("mean of")]

    (row,) = bests()
    assert f"best by p90: epoch {worst['epoch']}, step" in row["when"] and row["epe"] == worst["mean_epe_4"]
    (run / "best.json").unlink()
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("best_by: mean", "best_by: median"))
    lowest = min(events, key=lambda row: row["median_epe_4"])
    (row,) = bests()
    assert f"best by median: epoch {lowest['epoch']}, step" in row["when"]


def test_other_pixels_are_refused_and_shown_side_by_side(runs: dict[str, Path], tmp_path: Path) -> None:
    figure, sheet = tmp_path / "f.png", tmp_path / "t.csv"
    words = (runs["a"], runs["c"], "--figure", figure, "--csv", sheet)
    ended = command("compare", *words)
    assert ended.code == 64 and not ended.out and not figure.exists() and not sheet.exists()
    assert "training:32x48,clip50 on fc2/" in ended.err and "training:32x32,clip3 on fc2/" in ended.err
    assert "--side-by-side" in ended.err
    ended = command("compare", *words, "--side-by-side")
    assert ended.code == 0, ended.err
    assert "A: training:32x48,clip50 on " in ended.out and "B: training:32x32,clip3 on " in ended.out
    picture = cv2.imread(str(figure))
    assert picture.shape[0] == 2 * 520
    with sheet.open(newline="") as file:
        for row in csv.DictReader(file):
            filled = {name.partition(" ")[2] for name, value in row.items() if name.startswith("epe [") and value}
            assert len(filled) == 1
    (column,) = told("compare", runs["a"], runs["c"], "--protocol", "training:32x32,clip3")["labels"]
    assert {row["run"] for row in column["rows"]} == {"c", None}


def test_a_single_table_and_one_panel_on_request(runs: dict[str, Path], tmp_path: Path) -> None:
    figure = tmp_path / "f.png"
    ended = command("compare", runs["a"], runs["b"], "--figure", figure)
    assert ended.code == 0 and cv2.imread(str(figure)).shape[0] == 520
    assert "the same in all runs:" in ended.out and "  crop: 32x48" in ended.out
    assert ended.out.index("learning rate") < ended.out.index("the same in all runs:")
    assert "3 of 3 samples per arch, 4 archs, every epoch" in ended.out
    assert command("compare", runs["a"], "--figure", tmp_path / "f.jpg").code == 64
    assert command("compare", runs["a"], "--figure", tmp_path / "no" / "f.png").code == 74


def test_recorded_rows_join_under_their_own_label(runs: dict[str, Path], place: Place) -> None:
    one = recorded(place, "one", {}, {"epe": 2.75}, {"model": "zero", "code": None, "epe": 9.0})
    two = recorded(place, "two", {"model": "two", "epe": 2.25}, {"model": "zero", "code": None, "epe": 9.0})
    assert command("compare", one, two).code == 64  # their histories have another label
    (label,) = told("compare", one, two, "--protocol", "standard")["labels"]
    found = [(row["rank"], row["run"], row["epe"]) for row in label["rows"]]
    assert found == [(1, "two", 2.25), (2, "one", 2.75), (3, None, 9.0)]  # the newest row of a model counts
    assert len(told("compare", one, two, "--side-by-side")["labels"]) == 2


def test_the_two_validation_sets_of_fc2(runs: dict[str, Path], place: Place) -> None:
    one = recorded(place, "official", {})
    two = recorded(place, "holdout", {"split_label": "fc2/index:test/4446/77aa", "samples": 4446})
    ended = command("compare", one, two, "--protocol=standard", "--side-by-side")
    assert ended.code == 0 and "warning:" in ended.err and "official 640" in ended.err
    ended = command("compare", one, two, "--protocol=standard")
    assert ended.code == 64 and "official 640" in ended.err and "fc2/index:test/4446/77aa" in ended.err
    assert told("compare", one, two, "--protocol=standard", "--side-by-side")["warnings"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (json.dumps(ROW | {"protocol": None}), "protocol must be text"),
        (json.dumps({key: value for key, value in ROW.items() if key != "split_label"}), "split_label must be text"),
        ('{"protocol": "standard"', "line 2 is no result"),
        ("[]", "expected an object"),
    ],
)
def test_a_figure_without_its_label_is_refused(runs: dict[str, Path], place: Place, line: str, text: str) -> None:
    run = recorded(place, "damaged", {})
    with (run / "evaluations.jsonl").open("a") as file:
        file.write(line + "\n")
    ended = command("compare", run, "--side-by-side")
    assert ended.code == 65 and text in ended.err and "evaluations.jsonl: line 2" in ended.err


def test_runs_of_another_version_have_dashes(runs: dict[str, Path], place: Place) -> None:
    """An older config.yaml without keys that ours has, and a newer one with keys that ours lacks."""
    old, new = place.copy("a", "old"), place.copy("a", "new")
    config = parse_yaml((old / "config.yaml").read_text(), "config.yaml")[0]
    for group, key in (("train", "lr_schedule"), ("train", "grad_clip_position"), ("data", "flow_clip")):
        del config[group][key]
    (old / "config.yaml").write_text(dump_yaml(config))
    config["train"] |= {"task": "edgeflownet", "input_normalisation": "raw_0_255", "epoch_divisor": 4}
    (new / "config.yaml").write_text(dump_yaml(config))
    details = {run["run"]: run["details"] for run in told("compare", runs["a"], old, new)["runs"]}
    assert details["old"]["flow clip"] == "-" and details["a"]["flow clip"] == "+-50 px"
    assert details["old"]["epoch divisor"] in ("-", "1") and details["new"]["epoch divisor"] == "4"
    assert details["new"]["input normalisation"] == "raw_0_255"


def test_an_evaluation_set_that_was_replaced_is_another_label(runs: dict[str, Path], place: Place) -> None:
    copy = place.copy("a", "changed")
    events = copy / "events.jsonl"
    events.write_text(events.read_text().replace(rows(copy, "evaluation")[-1]["eval_set"], "0" * 16))
    ended = command("compare", runs["a"], copy)
    assert ended.code == 64 and "evaluation set 0000000000000000" in ended.err


def test_a_number_that_is_none_is_named(runs: dict[str, Path], place: Place) -> None:
    copy = place.copy("a", "altered")
    events = copy / "events.jsonl"
    name = next(name for name in rows(copy, "evaluation")[-1] if name.startswith("mean_epe_"))
    events.write_text(re.sub(rf'"{name}": ?[0-9.e-]+', f'"{name}":"abc"', events.read_text()))
    ended = command("compare", runs["a"], copy)
    assert ended.code == 74 and f"{name} is 'abc', expected a number" in ended.err


def test_what_is_no_run_is_named(runs: dict[str, Path], place: Place, tmp_path: Path) -> None:
    assert command("compare").code == 64
    ended = command("compare", tmp_path)
    assert ended.code == 74 and "neither a run directory" in ended.err
    ended = command("compare", tmp_path / "missing")
    assert ended.code == 74 and "not a run directory" in ended.err
    ended = command("compare", runs["a"], place.runs / "." / "a")
    assert ended.code == 64 and "given twice" in ended.err
    ended = command("compare", runs["a"], "--protocol=deploy")
    assert ended.code == 64 and "no result under that label" in ended.err and "training:32x48" in ended.err


def test_a_run_that_has_measured_nothing_yet(runs: dict[str, Path], place: Place, tmp_path: Path) -> None:
    copy = place.copy("a", "fresh")
    for name in ("events.jsonl", "eval_history.csv", "per_arch_epe.csv"):
        (copy / name).unlink()
    ended = command("compare", copy)
    assert ended.code == 0 and "no evaluation yet" in ended.out and "updates: 2 of 2 planned" in ended.out
    ended = command("compare", copy, "--figure", tmp_path / "f.png")
    assert ended.code == 64 and "no" in ended.err
    both = told("compare", copy, runs["b"])
    assert [run["run"] for run in both["runs"]] == ["fresh", "b"] and len(both["labels"]) == 1


def test_a_table_without_events_is_read_as_printed(runs: dict[str, Path], place: Place) -> None:
    copy = place.copy("a", "printed")
    (copy / "events.jsonl").unlink()
    (label,) = told("compare", copy, runs["a"])["labels"]
    mine, theirs = ([row["epe"] for row in label["rows"] if row["run"] == name] for name in ("printed", "a"))
    assert mine == pytest.approx(theirs, abs=5e-5) and mine


def test_a_recorded_row_of_the_same_pixels_ranks_with_the_history(place: Place) -> None:
    """The frozen set is the whole split, so the recorded figure is that of the run's own evaluation."""
    run = place.trained("whole_split", *BRIEF)
    ended = command("evaluate", run, "--protocol", "training", "--references", "none", "--record")
    assert ended.code == 0, ended.err
    ended = command("compare", run, "--json")
    assert ended.code == 0, ended.err
    part = place.trained("part_of_it", *BRIEF, "--eval.batch_size=2")
    assert command("evaluate", part, "--protocol", "training", "--references", "none", "--record").code == 0
    assert command("compare", part).code == 64
