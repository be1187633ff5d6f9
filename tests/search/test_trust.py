"""Agreement of a score with the true order, and its bootstrap: known cases, other implementations, coverage."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from edgeflownas.search.trust import agreement, attainable_tau, bootstrap_weights, change, tops

RNG = np.random.default_rng(3)


def tied(count, levels):
    return RNG.integers(0, levels, count).astype(np.float64)


def test_an_identical_ranking_is_perfect_and_a_reversed_one_the_opposite_in_every_draw():
    truth = RNG.permutation(24).astype(np.float64)
    found = agreement(truth, truth, bootstrap_weights(24))
    for figure in (found.tau, found.spearman, *found.precision.values()):
        assert figure == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)
    assert all(figure == (0.0, 0.0, 0.0) for figure in found.regret.values())
    found = agreement(truth, -truth, bootstrap_weights(24))
    for figure in (found.tau, found.spearman):
        assert figure == pytest.approx((-1.0, -1.0, -1.0), abs=1e-12)
    assert found.precision[5].value == found.precision[10].value == 0.0
    assert (found.regret[1].value, found.regret[5].value) == (23.0, 19.0)


@pytest.mark.parametrize("levels", [3, 7, 1000])
def test_every_draw_is_the_figure_of_the_drawn_subnets(levels):
    truth, score = RNG.random(12), tied(12, levels)
    weights = bootstrap_weights(12, seed=4, draws=30)
    assert (weights == bootstrap_weights(12, 4, 30)).all() and (weights != bootstrap_weights(12, 3, 30)).any()
    assert (weights.sum(axis=1) == 12).all() and (weights[0] == 1).all()
    assert tops(9) == () and tops(32) == (5, 10) and tops(100) == (5, 10, 50)
    taus = agreement(truth, score, weights).tau_draws
    for counts, tau in zip(weights, taus, strict=True):
        which = np.repeat(np.arange(12), counts.astype(int))
        assert tau == pytest.approx(kendalltau(truth[which], score[which]).statistic, abs=1e-12, nan_ok=True)
        alone = agreement(truth, score, counts[None])
        assert alone.spearman.value == pytest.approx(spearmanr(truth[which], score[which]).statistic, nan_ok=True)


def by_lot(truth, score, k):
    """Every way to choose the k best by the score, ties in every order."""
    orders = itertools.permutations(range(len(truth)))
    return [list(order[:k]) for order in orders if (np.diff(score[list(order)]) >= 0).all()]


@pytest.mark.property
@pytest.mark.parametrize("k", [1, 5])
def test_regret_is_the_mean_over_ties(k):
    for _ in range(20):
        truth = RNG.random(7)
        score = np.concatenate([tied(4, 2), [1.0, 1.0, 2.0]])
        expected = np.mean([truth[top].min() for top in by_lot(truth, score, k)]) - truth.min()
        if k == 5:  # of seven subnets no five are looked at: four copies that are worse make room
            truth, score = np.append(truth, [9.0] * 4), np.append(score, [9.0] * 4)
        found = agreement(truth, score, np.ones((1, len(truth))))
        assert found.regret[k].value == pytest.approx(expected, abs=1e-12)


def test_precision_shares_what_is_tied_at_the_edge():
    truth = np.arange(10.0)
    score = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2], dtype=np.float64)  # three for the fifth place, one of them right
    assert agreement(truth, score, np.ones((1, 10))).precision[5].value == pytest.approx((4 + 1 / 3) / 5)
    same = np.zeros(10)
    assert agreement(truth, same, np.ones((1, 10))).precision[5].value == 0.5, "nothing is known: chance"


@pytest.mark.property
def test_intervals_hold_the_truth_about_as_often_as_they_say():
    # 200 samples of 30 subnets, correlation 0.6, tau = 2 asin(0.6) / pi.  The count of hits of a right interval has a
    # standard deviation of 1.5 %; percentile intervals of 30 are known to be a little narrow.
    rng, tau, hits = np.random.default_rng(11), 2 / math.pi * math.asin(0.6), 0
    for trial in range(200):
        noise = rng.standard_normal((2, 30))
        found = agreement(noise[0], 0.6 * noise[0] + 0.8 * noise[1], bootstrap_weights(30, trial, 300)).tau
        hits += found.low <= tau <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_a_paired_change_is_seen_where_the_single_intervals_overlap():
    truth = RNG.standard_normal(40)
    noise = RNG.standard_normal(40)
    weights = bootstrap_weights(40)
    before, after = (agreement(truth, truth + scale * noise, weights) for scale in (1.0, 0.7))
    found = change(before, after)
    assert found.value == pytest.approx(after.tau.value - before.tau.value)
    assert found.half_width < 0.6 * before.tau.half_width
    assert change(before, before) == (0.0, 0.0, 0.0)


def test_attainable_tau_is_that_of_a_simulation():
    rng = np.random.default_rng(0)
    true = rng.standard_normal(4000)
    one, other = (true + 0.5 * rng.standard_normal(4000) for _ in range(2))
    between, perfect = (float(kendalltau(a, b).statistic) for a, b in ((one, other), (true, one)))
    assert attainable_tau(between) == pytest.approx(perfect, abs=0.02)
    assert attainable_tau(1.0) == pytest.approx(1.0) and attainable_tau(0.0) is None
