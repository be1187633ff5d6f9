"""`edgeflownas search` on a ranking and on a run."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numeric import FLOAT32
from runs import BRIEF, Place, command, contents, table, told

from edgeflownas.hardware.costs import space_costs
from edgeflownas.search.candidates import Problem
from edgeflownas.search.ranking import Ranking, block_words, ranks, read_ranking, write_ranking
from edgeflownas.space import SPACES, Arch, SearchSpace, get_space

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("no_trial", "one_picture")]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[SearchSpace]:
    """v1 without two of its choices: 2,187 subnets are read ten times as fast as 19,683."""
    choices = tuple(choice for choice in get_space("v1").choices if choice.name not in ("EB1", "DB1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "small", SearchSpace("small", choices, ("0000000",), "0001222"))
        yield SPACES["small"]


@pytest.fixture(scope="module")
def ranking(small: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the space with true costs and made-up errors."""
    folder, archs = tmp_path_factory.mktemp("ranking"), list(small)
    digits = np.array(archs, dtype=np.float64)
    epe = 9.0 - np.sqrt(digits) @ np.linspace(0.3, 0.9, 7) + 0.2 * np.cos(digits @ np.linspace(0.5, 3.0, 7))
    columns = {"epe": epe, "rank": ranks(epe), **space_costs(small, 8, (32, 48))}
    write_ranking(folder, Ranking("small", tuple(map(str, archs)), columns, block_words(small, archs), {}))
    return folder


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("run", *BRIEF, "--train.space=small")


def journal(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_all_strategies_on_a_ranking(ranking: Path, tmp_path: Path):
    words = ("search", "--table", ranking, "--strategy", "all", "--seeds", "0,1", "--budget", 160, "--population", 20)
    ended = command(*words, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "share of the hypervolume of the exact front" in ended.out and "of 2 seeds" in ended.out
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written >= {"search.json", "front.csv", "curve.csv", "curve.png"}
    document = json.loads((tmp_path / "out/search.json").read_text())
    curves = document["curve"]["strategies"]
    assert set(curves) == {"nsga2", "random", "evolution"}
    assert curves["random"]["mean"][0] == curves["nsga2"]["mean"][0]  # one beginning
    assert min(curves["nsga2"]["mean"][-1], curves["evolution"]["mean"][-1]) > curves["random"]["mean"][-1]
    before = contents(tmp_path / "out")
    again = command(*words, "--out", tmp_path / "out", "--json")
    assert json.loads(again.out) == document
    assert contents(tmp_path / "out") == before


def test_conditions_hold_for_everything_evaluated(ranking: Path, tmp_path: Path):
    where = "macs<30e6,EB0=depth2,H2!=k3"
    words = ("search", "--table", ranking, "--budget", 60, "--population", 10, "--where", where)
    ended = command(*words, "--out", tmp_path)
    assert ended.code == 0, ended.err
    rows = journal(tmp_path)
    assert rows[0]["signature"]["where"] == "macs<30000000,EB0=depth2,H2!=k3" and len(rows) == 61
    assert all(row["code"][0] == "1" and row["code"][10] != "0" and row["values"]["macs"] < 30e6 for row in rows[1:])
    assert {row["EB0"] for row in table(tmp_path / "front.csv")} == {"depth 2"}


def test_a_run_is_searched_and_gone_on_with(run: Path, place: Place, tmp_path: Path):
    before = contents(run)
    words = ("search", run, "--population", 4, "--yes")
    ended = command(*words, "--budget", 12, "--out", tmp_path / "whole")
    assert ended.code == 0, ended.err
    assert "s a subnet, 4 at a time" in ended.err
    rows = journal(tmp_path / "whole")[1:]
    assert [row["generation"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({row["code"] for row in rows}) == 12
    codes = [word for row in rows for word in ("--arch", row["code"])]
    alone = told("evaluate", run, *codes)["results"]
    assert [row["values"]["epe"] for row in rows] == pytest.approx([one["epe"] for one in alone], rel=16 * FLOAT32)

    assert command(*words, "--budget", 6, "--out", tmp_path / "parts").code == 0
    path = tmp_path / "parts/journal.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    resumed = command(*words, "--budget", 12, "--out", tmp_path / "parts")
    assert resumed.code == 0 and "cut off by a kill" in resumed.err
    assert path.read_bytes() == (tmp_path / "whole/journal.jsonl").read_bytes()
    assert contents(run) == before


def test_the_default_folder_is_in_the_run(place: Place, run: Path):
    copy = place.copy("run", "copy")
    ended = command("search", copy, "--population", 4, "--budget", 4, "--strategy", "random", "--seed", 3)
    assert ended.code == 0, ended.err
    assert (copy / "search/random-seed3/journal.jsonl").exists()


def test_without_pymoo_the_extra_is_named(ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.moo.nsga2", None)
    ended = command("search", "--table", ranking, "--out", tmp_path / "out")
    assert ended.code == 64 and 'pip install "edgeflownas[search]"' in ended.err
    assert not (tmp_path / "out").exists()


def test_a_signal_ends_it_with_75_and_it_goes_on(ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = ("search", "--table", ranking, "--budget", 30, "--population", 10)
    assert command(*words, "--out", tmp_path / "whole").code == 0
    values, calls = Problem.values, []

    def stopped(self: Problem, archs: Sequence[Arch]) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return values(self, archs)

    with monkeypatch.context() as patch:
        patch.setattr(Problem, "values", stopped)
        ended = command(*words, "--out", tmp_path / "parts")
    assert ended.code == 75 and "the same command goes on" in ended.err
    assert len(journal(tmp_path / "parts")) == 21
    assert command(*words, "--out", tmp_path / "parts").code == 0
    assert (tmp_path / "parts/journal.jsonl").read_bytes() == (tmp_path / "whole/journal.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--budget", "3000"], "has 2187 subnets; lower it"),
        (["--budget", "100", "--where", "EB0=depth2,DB0=depth2,H2=k3"], "has 81 subnets that fit --where"),
        (["--where", "macs<0"], "has 0 subnets that fit"),
        (["--strategy", "nsga3"], "'nsga3' is unknown"),
        (["--minimise", "epe,mac"], "did you mean 'macs'?"),
        (["--minimise", "macs,parameters"], "costs alone need no search"),
        (["--minimise", "epe,epe"], "each column once"),
        (["--minimise", "epe,macs,parameters,int8_weight_kib"], "at most 3 columns"),
        (["--where", "epe<3"], "only after the evaluation"),
        (["--where", "EB9=1"], "there is no 'EB9'"),
        (["--population", "3"], "at least 4"),
        (["--checkpoint", "latest"], "--table takes no --compare"),
        (["--budget", "3"], "--budget 3: must be at least 4"),
        (["--population", "900"], "not above --budget 800"),
        (["--seeds", "1,x"], "whole numbers"),
        (["--seed", "-1"], "whole numbers"),
        (["--seed", "1", "--seeds", "2"], "not both"),
        (["--compare", "somewhere"], "takes no --compare"),
        (["some_run"], "a run directory or --table"),
        (["--train.width", "3"], "no keys"),
    ],
)
def test_bad_input_is_one_line(ranking: Path, tmp_path: Path, words: list[str], told: str):
    ended = command("search", "--table", ranking, "--out", tmp_path / "out", *words)
    assert ended.code == 64 and told in ended.err, ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_other_searches_and_other_rankings_are_refused(ranking: Path, run: Path, tmp_path: Path):
    words = ("search", "--table", ranking, "--population", 4, "--budget", 4, "--out", tmp_path / "out")
    assert command(*words).code == 0
    other = command(*words, "--seed", 1)
    assert other.code == 64 and "seed 0 then, 1 now" in other.err
    assert command("search", "--table", tmp_path).code == 65
    assert command("search", tmp_path / "none").code == 74
    words = ("search", run, "--population", 4, "--budget", 4, "--out", tmp_path / "compared")
    compared = command(*words, "--compare", ranking)
    assert compared.code == 65 and "another checkpoint" in compared.err


def test_part_of_a_ranking_is_no_space(ranking: Path, tmp_path: Path):
    lines = (ranking / "ranking.csv").read_text().splitlines(keepends=True)
    (tmp_path / "ranking.csv").write_text("".join(lines[:500]))
    ended = command("search", "--table", tmp_path / "ranking.csv")
    assert ended.code == 65 and "499 of the 2187" in ended.err


def test_a_cost_that_never_differs_is_refused(ranking: Path, tmp_path: Path):
    found = read_ranking(ranking)
    found.columns["sram_kib"] = np.full(len(found), 108.0)
    write_ranking(tmp_path, found)
    ended = command("search", "--table", tmp_path, "--minimise", "epe,sram_kib", "--budget", 10)
    assert ended.code == 64 and "--minimise sram_kib: it is 108 for every subnet" in ended.err
    assert command("search", "--table", tmp_path, "--budget", 10, "--strategy", "random").code == 0
