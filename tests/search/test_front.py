"""Fronts, hypervolumes and ANOVA against brute force; ties and sure members on planted noise."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.search import front as module
from edgeflownas.search.front import (
    anova,
    factorial,
    front,
    hypervolume,
    knee,
    like_best,
    paired_noise,
    spread,
    sure,
    ties,
    unpaired_noise,
)

# A coarse grid, so that duplicates, equal single objectives and chains are common.
VALUES = st.integers(1, 4).flatmap(
    lambda width: arrays(np.float64, st.tuples(st.integers(0, 40), st.just(width)), elements=st.sampled_from(range(7)))
)


def brute_front(table):
    return [not any((b <= a).all() and (b < a).any() for b in table) for a in table]


@given(VALUES)
def test_front_is_what_nothing_dominates(table):
    assert front(table).tolist() == brute_front(table)


def test_equal_rows_share_their_place_and_nan_has_none():
    table = [[1, 2], [1, 2], [2, 2], [np.nan, 0], [2, 1], [np.inf, 0]]
    assert front(table).tolist() == [True, True, False, False, True, True]


def test_front_of_a_whole_space_takes_a_moment():
    table = np.random.default_rng(0).random((19683, 4))
    began = time.process_time()
    found = front(table)
    assert time.process_time() - began < 10 and 200 < found.sum() < 3000


def by_inclusion_and_exclusion(rows, corner):
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
def test_hypervolume_is_the_volume_of_the_union_of_boxes(case):
    rows, corner = case
    assert hypervolume(rows, corner) == pytest.approx(by_inclusion_and_exclusion(rows, corner), abs=1e-9)


def test_hypervolume_by_hand():
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [4, 4]) == 6
    assert hypervolume([[5, 0], [0, 4]], [4, 4]) == 0  # beyond or on the reference
    assert hypervolume(np.empty((0, 2)), [1, 1]) == 0


def test_knee_is_the_row_farthest_below_the_line():
    assert knee([[0, 10], [1, 4], [2, 2], [10, 0]]) == 2
    assert knee([[0, 10], [1e9, 4], [2e9, 2], [10e9, 0]]) == 2  # units do not matter
    assert knee([[0, 2], [1, 1], [2, 0]]) is None  # a straight line has none
    assert knee([[0, 2], [1.9, 1.9], [2, 0]]) is None  # a concave front has none
    assert knee([[0, 1], [1, 0]]) is None and knee([[0, 1]]) is None and knee([[1, 1]] * 4) is None


def test_spread_fills_the_largest_gap_first():
    line = [[x, 10 - x] for x in range(11)]
    assert spread(line, [0, 10], 5) == [0, 10, 5, 2, 7]
    assert spread(line, [3, 3], 1) == [3] and spread(line, [], 2) == [0, 10]
    assert sorted(spread(line, [4], 99)) == list(range(11))
    assert spread([[0, 0], [0, 0], [1, 1]], [0], 3) == [0, 2, 1]  # a row equal to a chosen one comes last


def table(seed, archs=30, samples=12, own=0.05):
    """Sample errors [A, N] (difficulty of the sample, quality of the arch, noise of its own) and coarse costs [A]."""
    rng = np.random.default_rng(seed)
    quality, difficulty = rng.integers(0, 8, archs) / 20, 5 * rng.random(samples)
    return quality[:, None] + difficulty + own * rng.standard_normal((archs, samples)), rng.integers(0, 6, archs) * 1.0


def test_paired_bounds_are_those_of_the_noise_module():
    errors, _ = table(0)
    pixels = np.random.default_rng(1).integers(0, 50, 12) + np.array([0, *[1] * 11])
    expected = pool_noise(errors.astype(np.float32), pixels)
    noise = paired_noise(errors.astype(np.float32), pixels)
    everyone = np.arange(30)
    assert noise is not None and noise.kind == "paired" and noise.samples == expected.samples
    np.testing.assert_allclose(noise.bounds(everyone, everyone), expected.bounds, atol=1e-9)
    unpaired = unpaired_noise(expected.standard_errors, expected.samples)
    assert unpaired is not None and (unpaired.bounds(everyone, everyone) > noise.bounds(everyone, everyone)).all()


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.01, 0.2]))
def test_ties_and_sure_members_follow_their_definitions(seed, paired, own):
    errors, costs = table(seed, own=own)
    pixels = np.full(12, 100)
    known = pool_noise(errors, pixels)
    noise = paired_noise(errors, pixels) if paired else unpaired_noise(known.standard_errors, 12)
    assert noise is not None
    values = np.stack([known.epes, costs], axis=1)
    member = front(values)
    tied, certain = ties(values, member, [noise, None]), sure(values, member, [noise, None])
    bound = noise.bounds(np.arange(30), np.arange(30))
    for b, (epe, cost) in enumerate(values):
        rivals = [d for d in range(30) if d != b and costs[d] <= cost]
        if member[b]:
            assert not tied[b]
            if own:
                assert certain[b] == all(values[d, 0] - epe > bound[b, d] for d in rivals)
        else:
            better = [d for d in rivals if values[d, 0] < epe or (values[d, 0] == epe and costs[d] < cost)]
            assert not certain[b] and better
            if own:
                assert tied[b] == all(epe - values[d, 0] <= bound[b, d] for d in better)


def test_what_is_like_the_best():
    noise = unpaired_noise([0.1] * 4, 1000)
    assert noise is not None
    assert like_best(np.array([5.0, 4.0, 4.1, 4.9]), np.ones(4, bool), noise).tolist() == [0, 1, 1, 0]


def test_exact_objectives_know_no_ties():
    values = np.random.default_rng(2).random((50, 3))
    member = front(values)
    assert not ties(values, member, [None] * 3).any() and (sure(values, member, [None] * 3) == member).all()


def test_equal_errors_are_no_noise():
    """The same errors for more cost: dominated, whatever the samples."""
    errors = np.tile(np.random.default_rng(3).random(8), (2, 1))
    values = np.stack([errors.mean(axis=1), [1.0, 2.0]], axis=1)
    noise = paired_noise(errors, np.ones(8))
    assert not ties(values, front(values), [noise, None]).any()


def test_blocks_change_nothing(monkeypatch):
    errors, costs = table(4, archs=60)
    values = np.stack([errors.mean(axis=1), costs], axis=1)
    noise, member = [paired_noise(errors, np.ones(12)), None], front(values)
    whole = [ties(values, member, noise), sure(values, member, noise)]
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_array_equal([ties(values, member, noise), sure(values, member, noise)], whole)


def test_unknown_noise_is_none():
    assert paired_noise([[1.0], [2.0]], [5]) is None and paired_noise([[1.0, 2.0]], [5, 0]) is None
    assert unpaired_noise([np.nan, np.nan], 100) is None and unpaired_noise([0.1], 1) is None


def test_the_true_front_is_found_with_the_ties_and_not_without():
    """Known qualities, measured on few samples: most of the true front is off the measured one, but among the ties."""
    counts = np.zeros(6, np.int64)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        digits = np.stack(np.meshgrid(*[range(3)] * 6), axis=-1).reshape(-1, 6)
        quality = 8 - digits @ (0.05 * rng.random(6)) + 0.02 * rng.standard_normal(len(digits))
        costs = 1 + digits @ rng.random(6)
        errors = rng.gamma(2, 2, 40) + quality[:, None] + 0.2 * rng.standard_normal((len(digits), 40))
        values = np.stack([errors.mean(axis=1), costs], axis=1)
        noise, member, true = [paired_noise(errors, np.ones(40)), None], front(values), front(np.c_[quality, costs])
        tied, certain = ties(values, member, noise), sure(values, member, noise)
        masks = (true, member & true, (member | tied) & true, tied, certain, certain & true)
        counts += [mask.sum() for mask in masks]
    true_members, on_front, found, all_ties, certain_ones, certain_and_true = counts.tolist()
    assert on_front < 0.6 * true_members and found > 0.94 * true_members, counts
    assert certain_ones >= 6 and certain_and_true >= 0.8 * certain_ones, counts
    assert all_ties < 0.33 * 6 * len(digits), counts


SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)


def all_shares(grid):
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
def test_shares_are_those_of_the_full_decomposition_and_sum_to_one(grid):
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


def test_planted_effects_come_back():
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


def test_a_factorial_is_found_in_any_order_and_with_options_left_out():
    rows = np.array(list(itertools.product((0, 2), (1,), (0, 1, 2))))
    shuffled = np.random.default_rng(0).permutation(rows)
    found = factorial(shuffled)
    assert factorial(rows[:-1]) is None and factorial(rows[[0, 0, 2, 3, 4, 5]]) is None
    assert factorial(np.concatenate([rows, rows])) is None and factorial(rows[:0]) is None
    assert found is not None and found[0] == [[0, 2], [1], [0, 1, 2]]
    np.testing.assert_array_equal((shuffled[:, 0] * 10 + shuffled[:, 2])[found[1]], [0, 1, 2, 20, 21, 22])
