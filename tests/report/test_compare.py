"""A ranked column never mixes labels: properties over random results, and planted mismatches."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.results import Label, Result
from edgeflownas.report import compare
from edgeflownas.report.compare import UNKNOWN, Progress, label_columns, require_one_label, select, split_warnings
from edgeflownas.report.run_facts import RunFacts
from edgeflownas.report.table import text_of
from edgeflownas.run.history import Evaluation

STANDARD = Label("standard", "fc2/folder:val/640/9f3a", "640 samples")
CROPPED = Label("training:180x240,clip50", "fc2/folder:val/640/9f3a", "128 samples, 12345678")


def result(label: Label, epe: float, run: str = "a", model: str = "m", **more: Any) -> Result:
    return Result(run, model, None, label, more.pop("kind", "model"), {"epe": epe}, **more)


labels = st.builds(
    Label,
    st.sampled_from(["standard", "edgeflownet:352x480,clip50", "training:180x240,clip50", "deploy:180x240"]),
    st.sampled_from(["fc2/folder:val/640/9f3a", "fc2/folder:val/4446/77aa", "sintel/clean/23/0123"]),
    st.sampled_from(["640 samples", "16 samples"]),
)
results = st.lists(
    st.builds(
        lambda label, epe, run, model, kind: result(label, epe, run, model, kind=kind),
        labels,
        st.floats(0, 100) | st.just(math.nan),
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["x", "y", "zero"]),
        st.sampled_from(["model", "mean of pool 12/ab12"]),
    ),
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(results)
def test_a_ranked_column_and_every_output_hold_one_label_and_lose_nothing(given_results: list[Result]) -> None:
    columns = label_columns(given_results)
    assert len({column.label for column in columns}) == len(columns)
    for column in columns:
        assert {row.result.label for row in column.rows} == {column.label}
        for kind in {row.result.kind for row in column.rows}:
            ranked = [row for row in column.rows if row.result.kind == kind]
            assert [row.rank for row in ranked] == list(range(1, len(ranked) + 1))
            epes = [row.result.epe for row in ranked]
            finite = [epe for epe in epes if not math.isnan(epe)]
            assert finite == sorted(finite) and all(map(math.isnan, epes[len(finite) :]))
    kept = [id(row.result) for column in columns for row in column.rows]
    assert len(kept) == len(set(kept))
    assert {id(r) for r in given_results if r.run} <= set(kept)  # only references may be one row for several
    lines = compare.results_table({"a": {"crop": "1x1"}, "b": {"crop": "2x2"}}, columns).csv().decode()
    table = list(csv.DictReader(io.StringIO(lines)))
    assert len(table) == sum(len(column.rows) for column in columns)
    for row in table:
        filled = {name for name, value in row.items() if "[" in name and value}
        assert len({name.partition(" ")[2] for name in filled}) == 1
    if len(columns) > 1:
        with pytest.raises(ConfigError) as refused:
            require_one_label(columns)
        assert all(str(column.label) in str(refused.value) for column in columns)
    else:
        require_one_label(columns)
    listed = compare.document([RunFacts(run, run, {}, (), {}) for run in "ab"], columns, [])["labels"]
    assert [(e["protocol"], e["split_label"], e["samples"]) for e in listed] == [column.label for column in columns]


@pytest.mark.parametrize("part", [{"protocol": "edgeflownet:352x480"}, {"split": "fc2/x"}, {"samples": "16 samples"}])
def test_each_part_of_a_label_forbids_ranking_together(part: dict[str, str]) -> None:
    other = STANDARD._replace(**part)
    columns = label_columns([result(STANDARD, 2.0, "a"), result(other, 1.0, "b")])
    assert [[row.rank for row in column.rows] for column in columns] == [[1], [1]]
    with pytest.raises(ConfigError) as refused:
        require_one_label(columns)
    message = str(refused.value)
    assert f"{STANDARD}: a" in message and f"{other}: b" in message and "--side-by-side" in message


def test_a_mean_of_a_pool_is_not_ranked_with_models() -> None:
    rows = label_columns([result(CROPPED, 3.0), result(CROPPED, 2.0, kind="mean of pool 12/ab12")])[0].rows
    assert [(row.rank, row.result.kind[:5]) for row in rows] == [(1, "mean "), (1, "model")]


def test_zero_flow_on_the_same_pixels_is_one_row() -> None:
    zero = [result(STANDARD, 10.5, "", "zero"), result(STANDARD, 10.5, "", "zero"), result(CROPPED, 10.5, "", "zero")]
    assert [len(column.rows) for column in label_columns(zero)] == [1, 1]
    assert len(label_columns([zero[0], result(STANDARD, 10.6, "", "zero")])[0].rows) == 2


def course(means: list[float], stds: list[float], name: str, error: float = 0.01, every: int = 100) -> RunFacts:
    """A run of a pool of four with these means and spreads, of which the last subnet gained twice as much."""
    rows = []
    for place, (mean, std) in enumerate(zip(means, stds, strict=True), start=1):
        epes = tuple(mean * (1 - half * place / len(means) / 4) for half in (1, 1, 1, 2))
        figures = {"mean_epe_4": mean, "std_epe_4": std, "mean_epe_standard_error_4": error, "fairness_gap": 0}
        figures |= {"epe_standard_error_4": 2 * error}
        codes = ("0", "1", "2", "3")
        rows.append((STANDARD, Evaluation(place, place * every, place * every, codes, epes, (1, 2, 3, 4), figures)))
    return RunFacts(name, name, {}, (), {}, tuple(rows))


def test_how_steadily_runs_improve_at_equal_samples() -> None:
    smooth = [9.0 - 0.1 * place for place in range(30)]
    rough = [mean + (0.3 if place % 2 else -0.3) for place, mean in enumerate(smooth)]
    wide, narrow = [0.5] * 30, [0.3] * 30
    runs = [course(rough, wide, "a"), course(smooth, narrow, "b"), course(rough, wide, "c"), course(smooth, wide, "d")]
    a, b, c, d = compare.steadiness(runs)
    assert a["roughness_px"] == pytest.approx(1.2) and a["noise_px"] == 0.01 and a["smoothness"] is a["spread"] is None
    assert (b["smoothness"], b["spread"]) == ("smoother", "lower") and b["roughness_px"] == pytest.approx(0.0, abs=1e-9)
    assert (c["smoothness"], c["spread"]) == ("not worse", "not worse") and d["spread"] == "not worse"
    (_, worse) = compare.steadiness(runs[1::-1])
    assert (worse["smoothness"], worse["spread"]) == ("worse", "worse")
    table = text_of(compare.steadiness_view([a, b]))
    assert "smoother" in table and "against a; roughness: median absolute second difference" in table
    gained = a["improved_px"]
    assert gained is not None and f"{gained[0]:.3f} to {gained[1]:.3f}" in table and gained[1] > gained[0]


def test_steadiness_is_read_at_equal_samples_and_equally_often() -> None:
    every, rare = [9.0 - 0.05 * place for place in range(60)], [9.0 - 0.1 * place for place in range(10)]
    often, seldom = course(every, [0.5] * 60, "often", every=50), course(rare, [0.5] * 10, "seldom", every=100)
    first, second = compare.steadiness([often, seldom])
    assert (
        first["evaluations"] == second["evaluations"] == 10 and first["samples_seen"] == second["samples_seen"] == 1000
    )
    assert compare.steadiness([course(rare[:4], [0.5] * 4, "short")]) == []
    other = replace(seldom, name="other", evaluations=tuple((CROPPED, row) for _, row in seldom.evaluations))
    assert [row["smoothness"] for row in compare.steadiness([often, other])] == [None, None], "another label"


def test_select_by_name_parameters_and_split() -> None:
    both = [result(STANDARD, 2.0), result(CROPPED, 1.0)]
    assert select(both, "training", None) == select(both, CROPPED.protocol, CROPPED.split) == [both[1]]
    assert select(both, None, STANDARD.split) == both
    with pytest.raises(ConfigError, match="no result under that label") as refused:
        select(both, "deploy", None)
    assert str(CROPPED) in str(refused.value)


def test_the_views() -> None:
    """One label with all its figures; two in columns of their own; what differs in how the runs train comes first."""
    row = Result("a", "m", None, STANDARD, "model", {"epe": 12.2007, "fl_all": 0.20688})
    columns = label_columns([row, result(CROPPED, 1.0, "b")])
    details = {"a": {"crop": "1x1", "seed": "0", "task": "-"}, "b": {"crop": "2x2", "seed": "0"}}
    assert compare.differing(details) == (["crop"], ["seed", "task"])
    assert text_of(compare.results_view(columns[:1], apart=False)).split("\n") == [
        str(STANDARD),
        "",
        "rank  run  model   EPE px  Fl-all %",
        "----  ---  -----  -------  --------",
        "   1  a    m      12.2007    20.688",
    ]
    facts = [RunFacts(run, run, own, (), {}) for run, own in details.items()]
    assert text_of(compare.comparison_view(facts, columns, True, 160)[1:]).split("\n") == [
        f"      {'a':<76}  b",
        f"----  {'-' * 76}  {'-' * 76}",
        f"crop  {'1x1':<76}  2x2",
        "",
        "the same in all runs:",
        *("  seed: 0", "  task: -", "", f"A: {STANDARD}", f"B: {CROPPED}"),
        "(number. EPE: the rank among models, or among means, of the same column)",
        "",
        "run  model   A: EPE px  B: EPE px",
        "---  -----  ----------  ---------",
        "a    m      1. 12.2007",
        "b    m                  1. 1.0000",
    ]
    assert "  b: 2x2" in text_of(compare.details_view({**details, "c": details["a"]}, 50)).splitlines()


@pytest.mark.parametrize("count", [4446, 4447])
def test_the_two_validation_sets_of_fc2_are_told_apart(count: int) -> None:
    official, hold_out = "fc2/folder:val/640/9f3a", f"fc2/index:test/{count}/77aa"
    (warning,) = split_warnings([official, hold_out])
    assert official in warning and hold_out in warning
    assert not split_warnings([official, official]) and not split_warnings([hold_out])
    assert not split_warnings([official, f"sintel/clean/{count}/77aa"])
    assert not split_warnings([official, f"fc2/folder:val/{count + 2}/77aa"])


# ---- how a run trains ----

NOTHING = Progress(None, None, None, None, None)
PLAN = {"steps_per_epoch": 556, "draws_per_epoch": 17792, "total_steps": 111200, "planned_samples": 3558400}
DATA = {"train": {"label": "fc2/folder:train/17785/ab12", "count": 17785}, "val": {"label": "v", "count": 640}}


def details(config: dict[str, Any] | None = None, progress: Progress = NOTHING, **manifest: Any) -> dict[str, str]:
    whole = Config().model_dump(mode="json")
    for key, value in (config or {}).items():
        group, _, name = key.partition(".")
        whole[group][name] = value
    return compare.training_details(whole, {"plan": PLAN, "data": DATA, **manifest}, progress)


def test_the_usual_words_and_those_of_an_empty_run_of_an_unknown_version() -> None:
    usual, bare = details(), compare.training_details({}, {}, NOTHING)
    assert usual["epoch"] == "full_pass: 556 steps of 32, 17,792 draws, expected 100 % of 17,785 samples"
    assert (usual["initial weights"], usual["network"]) == ("random", "space v1, width 32")
    assert list(bare) == list(usual)
    assert {key for key, value in bare.items() if value == UNKNOWN} >= {"task", "crop", "flow clip", "epoch", "updates"}


CASES = json.loads((Path(__file__).parent / "details.json").read_text())  # what is set, a line of it, and its words


@pytest.mark.parametrize(("given", "key", "text"), CASES)
def test_a_key_or_fact_decides_its_line(given: dict[str, Any], key: str, text: str) -> None:
    facts = {name: Progress(*v) if name == "progress" else v for name, v in given.items() if "." not in name}
    assert details({name: value for name, value in given.items() if "." in name}, **facts)[key] == text
    assert details()[key] != text
