"""eval.also: further data sets scored while a run trains, on their own schedule and with their own best checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Place, command, outcome, rows, stop_when, table, told
from tiny import make_tiny

pytestmark = pytest.mark.e2e


def words(place: Place, every: int = 1, protocol: str = "standard", **more: object) -> tuple[str, ...]:
    other = place.folder / "other"
    if not other.exists():
        make_tiny(other, train=1, val=2, seed=7)
    entry = {"data": str(other / "val"), "every_epoch": every, "protocol": protocol, **more}
    return (f"--eval.also={json.dumps([entry])}", "--train.num_epochs=3", "--eval.eval_every_epoch=2")


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("also", *words(place))


def test_it_has_a_row_each_time_and_a_best_of_its_own(run: Path) -> None:
    found = table(run / "also_history.csv")
    assert [(row["epoch"], row["name"], row["protocol"]) for row in found] == [(e, "val", "standard") for e in "123"]
    facts = rows(run, "also")
    assert all(len(row["epes"]) == len(row["codes"]) == 4 and row["mean_epe"] > 0 for row in facts)
    best = json.loads((run / "best-val.json").read_text())
    lowest = min(facts, key=lambda row: row["mean_epe"])
    assert (best["value"], best["epoch"]) == (lowest["mean_epe"], lowest["epoch"])
    assert (run / "checkpoints" / best["checkpoint"]).is_dir()
    scored = told(
        "evaluate", run, "--checkpoint", "best-val", "--data", run.parents[1] / "other" / "val", "--references=none"
    )
    assert [row["epe"] for row in scored["results"]] == pytest.approx(lowest["epes"], rel=1e-5)
    assert command("evaluate", run, "--checkpoint", "best-sintel").code == 74


def test_interrupted_it_ends_in_the_same_bits(run: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_when(monkeypatch, lambda asked: asked in (9, 23, 31))
    codes = [place.train("broken", *words(place)).code]
    while codes[-1] == 75:
        codes.append(place.resume("broken").code)
    assert codes[-1] == 0 and len(codes) == 4
    assert outcome(place.runs / "broken") == outcome(run)
    assert (place.runs / "broken" / "best-val.json").read_bytes() == (run / "best-val.json").read_bytes()


@pytest.mark.parametrize(
    ("entry", "code", "said"),
    [
        ([{"data": "nowhere"}], 65, "eval.also: "),
        ([{"data": "D", "evry_epoch": 2}], 64, "unknown key 'evry_epoch'; did you mean 'every_epoch'?"),
        ([{"data": "D", "every_epoch": 0}], 64, "every_epoch must be a whole number above 0"),
        ([{"data": "D", "protocol": "edgeflownt"}], 64, "protocol must be one of standard, edgeflownet"),
        ([{"data": "D"}, {"data": "D"}], 64, "two sets called"),
        ([{"data": "D"}], 64, "edgeflownet is published for frames of"),
        (["sintel"], 64, "each entry is a mapping with data"),
    ],
)
def test_what_cannot_be_is_said_before_there_is_a_folder(place: Place, entry: object, code: int, said: str) -> None:
    words(place)
    text = json.dumps(entry).replace('"D"', json.dumps(str(place.folder / "other" / "val")))
    ended = place.train("refused", f"--eval.also={text}")
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert not (place.runs / "refused").exists() and "Traceback" not in ended.err
