"""Interrupted and resumed gives the same bytes as uninterrupted; what is damaged or foreign is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from search_spaces import UNEVEN, measured, problem

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.search.candidates import Candidates, Columns, Problem
from edgeflownas.search.evolve import STRATEGIES, Entry, Journal, new_strategy, run_search
from edgeflownas.space import Arch

BUDGET = 22
NAMES = sorted(STRATEGIES)


def signature(name: str = "nsga2", seed: int = 1) -> dict[str, object]:
    return {"source": "test", "objectives": ["epe", "macs"], "where": "", "strategy": name, "seed": seed}


def search(
    path: Path, name: str = "nsga2", budget: int = BUDGET, asked: Problem | None = None, notes: list[str] | None = None
) -> list[Entry]:
    given = asked or problem(UNEVEN)
    strategy = new_strategy(name, candidates=Candidates(UNEVEN, given.fits, 1), population=5, seed=1)
    journal = Journal(path, UNEVEN, signature(name), (notes if notes is not None else []).append)
    try:
        return run_search(given, strategy, journal, budget)
    finally:
        journal.close()


def counting(calls: list[list[Arch]]) -> Problem:
    def measure(archs: Sequence[Arch]) -> Columns:
        calls.append(list(archs))
        return measured(archs)

    return replace(problem(UNEVEN), measure=measure)


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_any_byte_of_any_line_ends_in_the_same_journal(tmp_path: Path, name: str):
    whole = tmp_path / "whole.jsonl"
    entries = search(whole, name)
    assert len({entry.arch for entry in entries}) == BUDGET
    data = whole.read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    assert len(ends) == BUDGET + 1
    for cut in sorted({0, 1, *ends, *(end - 1 for end in ends[::4]), *(end + 7 for end in ends[:-1:4])}):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut])
        notes: list[str] = []
        assert search(path, name, notes=notes) == entries
        assert path.read_bytes() == data, cut
        assert bool(notes) == (cut not in (0, *ends)), cut


def test_a_larger_budget_goes_on_and_a_smaller_one_reads_the_beginning(tmp_path: Path):
    whole, grown = tmp_path / "whole.jsonl", tmp_path / "grown.jsonl"
    entries = search(whole)
    for budget in (7, 8, 15, BUDGET):
        search(grown, budget=budget)
    assert grown.read_bytes() == whole.read_bytes()
    assert search(grown, budget=9) == entries[:9]
    assert grown.read_bytes() == whole.read_bytes()


def test_nothing_finished_is_evaluated_again(tmp_path: Path):
    calls: list[list[Arch]] = []
    search(tmp_path / "j", asked=counting(calls))
    asked = [arch for call in calls for arch in call]
    assert len(asked) == len(set(asked)) == BUDGET
    assert [len(call) for call in calls] == [5, 5, 5, 5, 2]  # a generation is one request
    again: list[list[Arch]] = []
    search(tmp_path / "j", asked=counting(again))
    assert again == []


def test_a_generation_cut_in_two_is_asked_for_as_a_whole(tmp_path: Path):
    search(tmp_path / "j", budget=10)
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join(lines[:-2]))
    calls: list[list[Arch]] = []
    search(tmp_path / "j", budget=10, asked=counting(calls))
    assert [len(call) for call in calls] == [5]
    assert (tmp_path / "j").read_bytes() == b"".join(lines)


def test_values_that_are_not_finite_are_kept_and_never_parents(tmp_path: Path):
    def measure(archs: Sequence[Arch]) -> Columns:
        values = measured(archs)["epe"].copy()
        values[[arch[0] == 0 for arch in archs]] = float("nan")
        return {"epe": values}

    entries = search(tmp_path / "j", asked=replace(problem(UNEVEN), measure=measure))
    lost = [entry for entry in entries if entry.values[0] != entry.values[0]]
    assert lost and all(entry.arch[0] == 0 for entry in lost)
    assert '"epe": "nan"' in (tmp_path / "j").read_text()
    again = search(tmp_path / "j", asked=replace(problem(UNEVEN), measure=measure))
    assert [entry.arch for entry in again] == [entry.arch for entry in entries]


@pytest.mark.parametrize("key", ["seed", "strategy", "source"])
def test_the_journal_of_another_search_is_refused(tmp_path: Path, key: str):
    search(tmp_path / "j", budget=5)
    with pytest.raises(ConfigError, match=rf"another search \({key} .* then, .*'other' now\); choose another --out"):
        Journal(tmp_path / "j", UNEVEN, signature() | {key: "other"})


@pytest.mark.parametrize("content", [b"hello", b"hello\n", b'{"format": "x"}\n', b"[1]\n", b'{"format":1}\nmore\n'])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, content: bytes):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(ConfigError, match="no journal"):
        Journal(tmp_path / "j", UNEVEN, signature())
    assert (tmp_path / "j").read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        '{"code": "0,0,0,0,0"}',
        '{"code": "0,0,0,0,9", "generation": 0, "values": {"epe": 1.0, "macs": 1.0}}',
        '{"code": "0,0,0,0,0", "generation": 0, "values": {"epe": 1.0}}',
        '{"code": "0,0,0,0,0", "generation": 0, "values": {"epe": "x", "macs": 1.0}}',
        '{"code": 7, "generation": 0, "values": {"epe": 1.0, "macs": 1.0}}',
        '{"code": "0,0,0,0,0", "generation": null, "values": {"epe": 1.0, "macs": 1.0}}',
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str):
    search(tmp_path / "j", budget=5)
    lines = (tmp_path / "j").read_text().splitlines()
    lines[3] = line
    (tmp_path / "j").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 4: no entry of a search"):
        search(tmp_path / "j")


def test_edited_codes_are_found_by_the_replay(tmp_path: Path):
    search(tmp_path / "j", budget=12)
    lines = (tmp_path / "j").read_text().splitlines()
    row = json.loads(lines[8])
    taken = {json.loads(line)["code"] for line in lines[1:]}
    lines[8] = json.dumps(row | {"code": next(str(code) for code in UNEVEN if str(code) not in taken)})
    (tmp_path / "j").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="where this search proposes"):
        search(tmp_path / "j")
