"""Ties and sure members on planted noise, against the definitions pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.search import front as module
from edgeflownas.search.front import front, like_best, paired_noise, sure, ties, unpaired_noise


def table(seed: int, archs: int = 30, samples: int = 12, own: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Sample errors [A, N] (difficulty of the sample, quality of the arch, noise of its own) and coarse costs [A]."""
    rng = np.random.default_rng(seed)
    quality, difficulty = rng.integers(0, 8, archs) / 20, 5 * rng.random(samples)
    return quality[:, None] + difficulty + own * rng.standard_normal((archs, samples)), rng.integers(0, 6, archs) * 1.0


def test_paired_bounds_are_those_of_the_noise_module() -> None:
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
def test_ties_and_sure_members_follow_their_definitions(seed: int, paired: bool, own: float) -> None:
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


def test_planted_ties() -> None:
    """Archs 1 and 2 differ by less than the noise, 3 is worse by far more; their costs rise."""
    noise = unpaired_noise([0.1] * 4, 1000)
    values = np.array([[5.0, 1.0], [4.0, 2.0], [4.1, 3.0], [4.9, 4.0]])
    member = front(values)
    assert member.tolist() == [True, True, False, False]
    assert ties(values, member, [noise, None]).tolist() == [False, False, True, False]
    assert sure(values, member, [noise, None]).tolist() == [True, True, False, False]
    assert noise is not None and like_best(values[:, 0], np.ones(4, bool), noise).tolist() == [0, 1, 1, 0]
    close = values - [[0.0, 0.0], [-0.9, 0.0], [-0.9, 0.0], [0.0, 0.0]]  # arch 1 barely better than the cheaper arch 0
    assert sure(close, front(close), [noise, None]).tolist()[:2] == [True, False]


def test_a_member_in_doubt_leaves_it_to_a_surer_dominator() -> None:
    """The best, arch 0, was measured badly; arch 1, off the front, still shows that arch 2 is no tie."""
    noise = unpaired_noise([5.0, 0.01, 0.01], 1000)
    values = np.array([[4.0, 1.0], [4.5, 2.0], [4.9, 3.0]])
    member = front(values)
    assert member.tolist() == [True, False, False]
    assert ties(values, member, [noise, None]).tolist() == [False, True, False]


def test_exact_objectives_know_no_ties() -> None:
    values = np.random.default_rng(2).random((50, 3))
    member = front(values)
    assert not ties(values, member, [None] * 3).any() and (sure(values, member, [None] * 3) == member).all()


def test_equal_errors_are_no_noise() -> None:
    """The same errors for more cost: dominated, whatever the samples."""
    errors = np.tile(np.random.default_rng(3).random(8), (2, 1))
    values = np.stack([errors.mean(axis=1), [1.0, 2.0]], axis=1)
    noise = paired_noise(errors, np.ones(8))
    assert not ties(values, front(values), [noise, None]).any()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, costs = table(4, archs=60)
    values = np.stack([errors.mean(axis=1), costs], axis=1)
    noise, member = [paired_noise(errors, np.ones(12)), None], front(values)
    whole = [ties(values, member, noise), sure(values, member, noise)]
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_array_equal([ties(values, member, noise), sure(values, member, noise)], whole)


def test_unknown_noise_is_none() -> None:
    assert paired_noise([[1.0], [2.0]], [5]) is None and paired_noise([[1.0, 2.0]], [5, 0]) is None
    assert unpaired_noise([np.nan, np.nan], 100) is None and unpaired_noise([0.1], 1) is None


def test_the_true_front_is_found_with_the_ties_and_not_without() -> None:
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
