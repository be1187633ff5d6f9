"""Strategies and the journal: what is proposed, and interrupted like uninterrupted."""

import json
import random
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as given_values
from search_spaces import UNEVEN, costs, measured, problem

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.search import evolve
from edgeflownas.search.candidates import Candidates
from edgeflownas.search.front import front
from edgeflownas.space import Arch, get_space

NAMES = sorted(evolve.STRATEGIES)


def searched(name, space, budget, seed=0, population=8, where=""):
    """The codes in the order in which they are proposed, until ``budget`` or until there are no more."""
    asked = problem(space, where)
    strategy = evolve.new_strategy(
        name, candidates=Candidates(space, asked.fits, seed), population=population, seed=seed
    )
    found: list[Arch] = []
    while len(found) < budget and (archs := strategy.propose(strategy.batch)):
        strategy.tell(archs, asked.values(archs))
        found += archs
    return found[:budget]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=given_values.integers(0, 10**9), population=given_values.integers(4, 20))
def test_proposals_are_valid_unique_and_a_function_of_the_seed(name, seed, population):
    codes = searched(name, UNEVEN, 40, seed, population)
    assert len(set(codes)) == len(codes) == 40
    assert all(code in set(UNEVEN) and code.space == "uneven" for code in codes)
    assert codes == searched(name, UNEVEN, 40, seed, population)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["", "macs<9", "D<=depth2,B=k5", "sram_kib<3,A!=depth2,macs>4"])
def test_only_fitting_codes_are_proposed_and_all_of_them_once(name, where):
    fitting = [code for code in UNEVEN if problem(UNEVEN, where).fits([code])[0]]
    assert 4 < len(fitting) < len(UNEVEN) or not where
    assert sorted(searched(name, UNEVEN, 999, population=4, where=where)) == fitting
    assert searched(name, UNEVEN, 10, where="macs<0") == []


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generators_neither_matter_nor_change(name):
    np.random.seed(1)
    random.seed(1)
    before = np.random.get_state()[1].tolist(), random.getstate()
    first = searched(name, get_space("v1"), 100)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before
    np.random.seed(2)
    random.seed(2)
    assert searched(name, get_space("v1"), 100) == first
    assert searched(name, get_space("v1"), 100, seed=1) != first
    assert first[:8] == searched("random", get_space("v1"), 8)  # all begin with the same codes


def test_a_space_with_other_kinds_of_choices():
    space = get_space("v3")
    codes = searched("nsga2", space, 60, where="E1!=5x5")
    assert len(set(codes)) == 60 and {code.space for code in codes} == {"v3"}
    assert {code[1] for code in codes} == {0, 2}


def share(name, seed):
    """Of the exact hypervolume of v1 after 400 evaluations."""
    space = get_space("v1")
    every = list(space)
    table = np.stack([measured(every)["epe"], costs(every)["macs"]], axis=1)
    found = problem(space).values(searched(name, space, 400, seed, 40))
    return evolve.shares(found, table[front(table)], evolve.reference_point(table), [400])[0]


@pytest.mark.e2e  # whole searches, 8 s
def test_learning_beats_chance_at_equal_budget():
    mean = {name: np.mean([share(name, seed) for seed in range(3)]) for name in NAMES}
    assert mean["nsga2"] > mean["random"] + 0.02  # measured: 0.97 against 0.89
    assert mean["evolution"] > mean["random"] + 0.02


def test_standing_is_rank_then_crowding():
    values = np.array([[3.0, 3.0], [0.0, 4.0], [1.0, 1.5], [4.0, 0.0], [1.1, 1.4], [5.0, 5.0]])
    # the front is rows 1, 2, 3, 4; its ends have no neighbour on one side; of the middle two, 4 is the less crowded
    assert evolve.standing(values).tolist() == [4, 0, 3, 1, 2, 5]


def test_missing_pymoo_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.moo.nsga2", None)
    with pytest.raises(ConfigError, match=r"edgeflownas\[search\].*evolution"):
        evolve.new_strategy("nsga2", candidates=Candidates(UNEVEN))
    assert evolve.new_strategy("evolution", candidates=Candidates(UNEVEN)).propose(3)
    with pytest.raises(ConfigError, match="nsga2, random, evolution"):
        evolve.new_strategy("nsga3", candidates=Candidates(UNEVEN))


BUDGET = 22


def signature(name="nsga2", seed=1):
    return {"source": "test", "objectives": ["epe", "macs"], "where": "", "strategy": name, "seed": seed}


def search(path, name="nsga2", budget=BUDGET, asked=None, notes=None):
    given = asked or problem(UNEVEN)
    strategy = evolve.new_strategy(name, candidates=Candidates(UNEVEN, given.fits, 1), population=5, seed=1)
    journal = evolve.Journal(path, UNEVEN, signature(name), (notes if notes is not None else []).append)
    return evolve.run_search(given, strategy, journal, budget)


def counting(calls):
    def measure(archs):
        calls.append(list(archs))
        return measured(archs)

    return replace(problem(UNEVEN), measure=measure)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_a_kill_at_any_byte_of_any_line_ends_in_the_same_journal(tmp_path, name):
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


def test_a_larger_budget_goes_on_and_a_smaller_one_reads_the_beginning(tmp_path):
    whole, grown = tmp_path / "whole.jsonl", tmp_path / "grown.jsonl"
    entries = search(whole)
    for budget in (7, 8, 15, BUDGET):
        search(grown, budget=budget)
    assert grown.read_bytes() == whole.read_bytes()
    assert search(grown, budget=9) == entries[:9]
    assert grown.read_bytes() == whole.read_bytes()


def test_nothing_finished_is_evaluated_again_but_a_generation_cut_in_two(tmp_path):
    calls: list[list[Arch]] = []
    search(tmp_path / "j", asked=counting(calls))
    asked = [arch for call in calls for arch in call]
    assert len(asked) == len(set(asked)) == BUDGET
    assert [len(call) for call in calls] == [5, 5, 5, 5, 2]  # a generation is one request
    whole = (tmp_path / "j").read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut, again in ((0, []), (1, [2]), (4, [5, 2])):
        (tmp_path / "j").write_bytes(b"".join(lines[: len(lines) - cut]))
        calls.clear()
        search(tmp_path / "j", asked=counting(calls))
        assert [len(call) for call in calls] == again and (tmp_path / "j").read_bytes() == whole


def test_values_that_are_not_finite_are_kept_and_never_parents(tmp_path):
    def measure(archs):
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
def test_the_journal_of_another_search_is_refused(tmp_path, key):
    search(tmp_path / "j", budget=5)
    with pytest.raises(ConfigError, match=rf"another search \({key} .* then, .*'other' now\); choose another --out"):
        evolve.Journal(tmp_path / "j", UNEVEN, signature() | {key: "other"})


@pytest.mark.parametrize("content", [b"hello", b"hello\n", b'{"format": "x"}\n', b"[1]\n", b'{"format":1}\nmore\n'])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(ConfigError, match="no journal"):
        evolve.Journal(tmp_path / "j", UNEVEN, signature())
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
def test_a_damaged_line_is_named(tmp_path, line):
    search(tmp_path / "j", budget=5)
    lines = (tmp_path / "j").read_text().splitlines()
    lines[3] = line
    (tmp_path / "j").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="line 4: no entry of a search"):
        search(tmp_path / "j")


def test_edited_codes_are_found_by_the_replay(tmp_path):
    search(tmp_path / "j", budget=12)
    lines = (tmp_path / "j").read_text().splitlines()
    row = json.loads(lines[8])
    taken = {json.loads(line)["code"] for line in lines[1:]}
    lines[8] = json.dumps(row | {"code": next(str(code) for code in UNEVEN if str(code) not in taken)})
    (tmp_path / "j").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="where this search proposes"):
        search(tmp_path / "j")
