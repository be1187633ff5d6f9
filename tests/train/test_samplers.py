from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.space import Arch, Choice, SearchSpace, get_space
from edgeflownas.train.fairness import assert_fair, fair_cycle, fairness_gap, option_counts

V1, V3 = get_space("v1"), get_space("v3")
IRREGULAR = SearchSpace(
    "irregular",
    (
        Choice("EB0", "depth", (1, 2, 3, 4)),
        Choice("EB1", "depth", (1, 2, 3)),
        Choice("H1", "kernel", (3, 5)),
        Choice("DB0", "depth", (1,)),
    ),
)


@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_every_option_in_exactly_one_path(seed: int, step: int) -> None:
    paths = fair_cycle(V1, seed, step)
    assert len(paths) == 3
    for column in zip(*paths, strict=True):
        assert sorted(column) == [0, 1, 2]
    assert_fair(V1, paths, seed, step)


def test_pure_function_of_seed_and_step() -> None:
    assert fair_cycle(V1, 0, 7) == fair_cycle(V1, 0, 7)
    assert fair_cycle(V1, 0, 7) != fair_cycle(V1, 1, 7)
    assert len({tuple(fair_cycle(V1, 0, step)) for step in range(50)}) == 50


@given(st.integers(0, 1000), st.integers(0, 60))
def test_irregular_spaces_stay_balanced_at_every_step(seed: int, steps: int) -> None:
    drawn = [path for step in range(steps) for path in fair_cycle(IRREGULAR, seed, step)]
    counts = IRREGULAR.coverage(drawn)
    assert counts == option_counts(IRREGULAR, seed, steps)
    assert fairness_gap(counts) <= 1
    for step in range(steps):
        assert_fair(IRREGULAR, fair_cycle(IRREGULAR, seed, step), seed, step)


def spaces() -> st.SearchStrategy[SearchSpace]:
    """Any numbers of options a choice."""
    sizes = st.lists(st.integers(1, 5), min_size=1, max_size=6)
    return sizes.map(
        lambda counts: SearchSpace(
            "any", tuple(Choice(f"C{i}", "depth", tuple(range(1, n + 1))) for i, n in enumerate(counts))
        )
    )


@given(spaces(), st.integers(0, 2**31), st.integers(0, 10**6), st.integers(1, 12))
def test_any_space_is_balanced_from_any_step_on(space: SearchSpace, seed: int, first: int, count: int) -> None:
    """Counts are a function of (seed, step): those of a stretch are the difference of the closed forms."""
    steps = [fair_cycle(space, seed, step) for step in range(first, first + count)]
    assert {len(paths) for paths in steps} == {space.num_paths}
    before, after = option_counts(space, seed, first), option_counts(space, seed, first + count)
    drawn = space.coverage([path for paths in steps for path in paths])
    assert drawn == {name: [a - b for a, b in zip(after[name], before[name], strict=True)] for name in after}
    assert fairness_gap(before) <= 1 and fairness_gap(after) <= 1
    for step, paths in enumerate(steps, first):
        assert_fair(space, paths, seed, step)


@given(st.integers(0, 2**31), st.integers(0, 10**5))
def test_v3_runs_three_paths_and_balances_its_heads(seed: int, step: int) -> None:
    paths = fair_cycle(V3, seed, step)
    assert len(paths) == 3 and len(set(map(tuple, paths))) == 3
    columns = list(zip(*paths, strict=True))
    assert all(sorted(column) == [0, 1, 2] for column in columns[:6])
    assert all(sorted(column.count(digit) for digit in (0, 1)) == [1, 2] for column in columns[6:])
    counts = option_counts(V3, seed, step + 1)
    assert all(len(set(counts[choice.name])) == 1 for choice in V3.choices[:6])
    assert fairness_gap(counts) == (step + 1) % 2  # three draws of two options: even after every second step


def test_the_heads_of_v3_do_not_move_together() -> None:
    """Each choice has its own stream, else the tree of heads would be seen along a diagonal only."""
    seen = {tuple(path[6:]) for step in range(200) for path in fair_cycle(V3, 0, step)}
    assert len(seen) == 2**5


def test_fairness_gap_of_v1_is_zero() -> None:
    assert fairness_gap(option_counts(V1, 3, 1234)) == 0
    assert fairness_gap({"EB0": [4, 5, 9]}) == 5


def test_an_unfair_step_is_caught() -> None:
    paths = fair_cycle(V1, 0, 0)
    twice = [paths[0], paths[0], paths[2]]
    with pytest.raises(AssertionError, match="unfair step 0"):
        assert_fair(V1, twice, 0, 0)
    with pytest.raises(AssertionError, match="unfair step 0"):
        assert_fair(V1, paths[:2], 0, 0)
    other = [Arch([*path[:2], 0, *path[3:]], "irregular") for path in fair_cycle(IRREGULAR, 0, 0)]
    with pytest.raises(AssertionError, match="H1 drew"):
        assert_fair(IRREGULAR, other, 0, 0)
