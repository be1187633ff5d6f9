"""Functional ANOVA: shares add up, planted effects come back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.search.front import anova, factorial

SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)


def all_shares(grid: np.ndarray) -> dict[tuple[int, ...], float]:
    """Share of every subset of blocks, each by its definition."""
    effects: dict[tuple[int, ...], np.ndarray] = {}
    for size in range(grid.ndim + 1):
        for kept in itertools.combinations(range(grid.ndim), size):
            others = tuple(axis for axis in range(grid.ndim) if axis not in kept)
            lower = [effects[part] for r in range(size) for part in itertools.combinations(kept, r)]
            effects[kept] = grid.mean(axis=others, keepdims=True) - sum(lower)
    return {kept: float(np.mean(part**2) / grid.var()) for kept, part in effects.items() if kept}


@settings(max_examples=50)
@given(SHAPES.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(-20, 20))))
def test_shares_are_those_of_the_full_decomposition_and_sum_to_one(grid: np.ndarray) -> None:
    found = anova(grid)
    if not grid.var():
        assert found.rest_share == 0 and not any(found.main_shares)
        return
    expected = all_shares(grid)
    assert sum(expected.values()) == pytest.approx(1.0)
    assert list(found.main_shares) == pytest.approx([expected[axis,] for axis in range(grid.ndim)], abs=1e-9)
    assert found.pair_shares == pytest.approx({key: expected[key] for key in found.pair_shares}, abs=1e-9)
    rest = sum(share for kept, share in expected.items() if len(kept) > 2)
    assert found.rest_share == pytest.approx(rest, abs=1e-9)


def test_planted_effects_come_back() -> None:
    depth, kernel, other = np.array([-1.0, 0.25, 0.75]), np.array([0.5, -0.5]), np.array([-2.0, 1.0, 1.0])
    both = np.array([[0.3, -0.3], [-0.1, 0.1], [-0.2, 0.2]])
    grid = 7.0 + depth[:, None, None] + kernel[:, None] + other + both[:, :, None]
    found = anova(grid)
    assert found.mean == pytest.approx(7.0) and found.rest_share == pytest.approx(0.0, abs=1e-12)
    for effects, planted in zip(found.main, (depth, kernel, other), strict=True):
        np.testing.assert_allclose(effects, planted, atol=1e-12)
    np.testing.assert_allclose(found.pairs[0, 1], both, atol=1e-12)
    np.testing.assert_allclose(found.pairs[0, 2], 0, atol=1e-12)
    assert found.pair_shares[0, 1] == pytest.approx(np.mean(both**2) / grid.var())


def test_a_factorial_is_found_in_any_order_and_with_options_left_out() -> None:
    rows = np.array(list(itertools.product((0, 2), (1,), (0, 1, 2))))
    shuffled = np.random.default_rng(0).permutation(rows)
    found = factorial(shuffled)
    assert found is not None and found[0] == [[0, 2], [1], [0, 1, 2]]
    np.testing.assert_array_equal((shuffled[:, 0] * 10 + shuffled[:, 2])[found[1]], [0, 1, 2, 20, 21, 22])


def test_a_partial_or_doubled_table_is_none() -> None:
    rows = np.array(list(itertools.product(range(2), range(3))))
    assert factorial(rows[:-1]) is None and factorial(rows[[0, 0, 2, 3, 4, 5]]) is None
    assert factorial(np.concatenate([rows, rows])) is None and factorial(rows[:0]) is None
