from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.space import Arch, Choice, SearchSpace, get_space
from edgeflownas.train.samplers import assert_fair, fair_cycle, fairness_gap, option_counts

V1 = get_space("v1")
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
