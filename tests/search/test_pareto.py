"""Fronts, knees, coverage and hypervolumes against brute force."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.search.front import front, hypervolume, knee, spread

# A coarse grid, so that duplicates, equal single objectives and chains are common.
VALUES = st.integers(1, 4).flatmap(
    lambda width: arrays(np.float64, st.tuples(st.integers(0, 40), st.just(width)), elements=st.sampled_from(range(7)))
)


def brute_front(table: np.ndarray) -> list[bool]:
    return [not any((b <= a).all() and (b < a).any() for b in table) for a in table]


@given(VALUES)
def test_front_is_what_nothing_dominates(table: np.ndarray) -> None:
    assert front(table).tolist() == brute_front(table)


@given(VALUES, st.randoms(use_true_random=False))
def test_front_does_not_depend_on_the_order(table: np.ndarray, random) -> None:
    order = list(range(len(table)))
    random.shuffle(order)
    assert front(table[order]).tolist() == front(table)[order].tolist()


def test_equal_rows_share_their_place_and_nan_has_none() -> None:
    table = [[1, 2], [1, 2], [2, 2], [np.nan, 0], [2, 1], [np.inf, 0]]
    assert front(table).tolist() == [True, True, False, False, True, True]


def test_front_of_a_whole_space_takes_a_moment() -> None:
    table = np.random.default_rng(0).random((19683, 4))
    began = time.process_time()
    found = front(table)
    assert time.process_time() - began < 10 and 200 < found.sum() < 3000


def by_inclusion_and_exclusion(rows: np.ndarray, corner: np.ndarray) -> float:
    """Volume of a union of boxes; 2^rows terms."""
    kept = [row for row in rows if (row < corner).all()]
    total = 0.0
    for size in range(1, len(kept) + 1):
        for group in itertools.combinations(kept, size):
            total -= (-1) ** size * float(np.prod(corner - np.max(group, axis=0)))
    return total


@settings(max_examples=60)
@given(
    st.integers(1, 3).flatmap(
        lambda width: st.tuples(
            arrays(np.float64, st.tuples(st.integers(0, 8), st.just(width)), elements=st.floats(0, 1) | st.just(0.5)),
            arrays(np.float64, (width,), elements=st.floats(0.3, 1.2)),
        )
    )
)
def test_hypervolume_is_the_volume_of_the_union_of_boxes(case: tuple[np.ndarray, np.ndarray]) -> None:
    rows, corner = case
    assert hypervolume(rows, corner) == pytest.approx(by_inclusion_and_exclusion(rows, corner), abs=1e-9)


def test_hypervolume_of_many_rows_agrees_with_counting_draws() -> None:
    rng = np.random.default_rng(1)
    rows = rng.random((300, 3)) + 0.3
    draws = rng.random((20000, 3)) * 1.3
    share = np.mean([(rows <= draw).all(axis=1).any() for draw in draws])
    sigma = np.sqrt(share * (1 - share) / len(draws)) * 1.3**3
    assert abs(hypervolume(rows, [1.3] * 3) - share * 1.3**3) < 4 * sigma


def test_hypervolume_by_hand() -> None:
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [4, 4]) == 6
    assert hypervolume([[5, 0], [0, 4]], [4, 4]) == 0  # beyond or on the reference
    assert hypervolume(np.empty((0, 2)), [1, 1]) == 0


def test_knee_is_the_row_farthest_below_the_line() -> None:
    assert knee([[0, 10], [1, 4], [2, 2], [10, 0]]) == 2
    assert knee([[0, 10], [1e9, 4], [2e9, 2], [10e9, 0]]) == 2  # units do not matter
    assert knee([[0, 2], [1, 1], [2, 0]]) is None  # a straight line has none
    assert knee([[0, 2], [1.9, 1.9], [2, 0]]) is None  # a concave front has none
    assert knee([[0, 1], [1, 0]]) is None and knee([[0, 1]]) is None and knee([[1, 1]] * 4) is None


def test_spread_fills_the_largest_gap_first() -> None:
    line = [[x, 10 - x] for x in range(11)]
    assert spread(line, [0, 10], 5) == [0, 10, 5, 2, 7]
    assert spread(line, [3, 3], 1) == [3] and spread(line, [], 2) == [0, 10]
    assert sorted(spread(line, [4], 99)) == list(range(11))
    assert spread([[0, 0], [0, 0], [1, 1]], [0], 3) == [0, 2, 1]  # a row equal to a chosen one comes last
