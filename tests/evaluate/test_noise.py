"""Statistics of a pool and its ranking; standard errors against simulation and resampling; ties; intervals of tau."""

import csv
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import FLOAT32
from scipy import stats
from scipy.stats import kendalltau

from edgeflownas.evaluate.noise import (
    best_criterion,
    kendall_tau_b,
    kendall_taus,
    paired_change,
    pool_noise,
    pool_statistics,
    rank_order,
    rank_string,
    split_half_tau,
    student95,
    tau_interval,
    tied_ranks,
)


def errors(rng, samples, shift=(0.0, 0.1, 0.3)):
    """Errors [A, N] that share each sample's difficulty, and unequal numbers of valid pixels."""
    difficulty = rng.gamma(4.0, 1.0, samples)
    counts = rng.integers(50, 1000, samples)
    own = rng.normal(0.0, 0.2, (len(shift), samples)) * np.sqrt(difficulty)
    return difficulty + np.array(shift)[:, None] + own, counts


def test_paired_standard_errors_against_the_bootstrap():
    rng = np.random.default_rng(1)
    means, counts = errors(rng, 300)
    found = pool_noise(means, counts)
    draws = rng.integers(0, 300, (4000, 300))
    epes = np.stack([(means[:, d] * counts[d]).sum(axis=1) / counts[d].sum() for d in draws])
    assert found.epes == pytest.approx((means * counts).sum(axis=1) / counts.sum(), rel=1e-6)
    assert found.standard_errors == pytest.approx(epes.std(axis=0, ddof=1), rel=0.06)
    assert found.mean_standard_error == pytest.approx(epes.mean(axis=1).std(ddof=1), rel=0.06)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert found.paired[one, other] == pytest.approx((epes[:, one] - epes[:, other]).std(ddof=1), rel=0.06)
    # Unpaired, the difficulty of the samples would hide the difference.
    assert found.paired[0, 1] < 0.3 * math.hypot(*found.standard_errors[:2])
    assert found.samples == 300 and np.array_equal(found.paired, found.paired.T) and not np.diag(found.paired).any()


@pytest.mark.property
@pytest.mark.parametrize("samples", [4, 8, 16, 64])
def test_intervals_cover_95_percent_of_small_sets(samples):
    """Normal errors and equal pixels, the case that Student's t is exact for: pairs, single archs and the mean."""
    rng, hits = np.random.default_rng(samples), []
    for _ in range(4000):
        means = rng.normal(0.0, 1.0, samples) + rng.normal(0.0, 0.5, (3, samples)) + 10.0
        found = pool_noise(means, np.full(samples, 100))
        difference, mean = abs(found.epes[1] - found.epes[0]), abs(found.epes.mean() - 10.0)
        single = abs(found.epes[0] - 10.0)
        hits.append((difference <= found.bounds[0, 1], single <= found.margins()[0], mean <= found.mean_margin))
    assert np.mean(hits, axis=0) == pytest.approx(0.95, abs=0.014)  # four standard errors of 4,000 draws


def test_quantiles_are_those_of_the_table():
    assert [student95(n) for n in (2, 4, 32, 10**12)] == pytest.approx([12.7062, 3.1824, 2.0395, 1.95996], abs=1e-4)
    assert student95(4, 4) == pytest.approx(stats.t.ppf(1 - 0.05 / 8, 3)) and math.isnan(student95(1))


@pytest.mark.property
def test_intervals_cover_95_percent_of_simulated_sets():
    """The truth is that of the whole population of samples: a pixel-weighted mean, so pixels and errors may depend."""
    rng = np.random.default_rng(2)
    population, pixels = errors(rng, 200_000)
    truth = (population * pixels).sum(axis=1) / pixels.sum()
    hits = []
    for _ in range(600):
        chosen = rng.integers(0, 200_000, 100)
        found = pool_noise(population[:, chosen], pixels[chosen])
        difference = found.epes[2] - found.epes[1] - (truth[2] - truth[1])
        hits.append((abs(difference) <= found.bounds[1, 2], abs(found.epes[0] - truth[0]) <= found.margins()[0]))
    assert np.mean(hits, axis=0) == pytest.approx(0.95, abs=0.025)


@given(st.integers(0, 10**6), st.floats(0.01, 100.0), st.floats(-3.0, 3.0))
@settings(max_examples=40, deadline=None)
def test_properties(seed, scale, offset):
    """Order of samples does not matter, a constant offset is no noise, pixels and scale cancel in ties."""
    rng = np.random.default_rng(seed)
    means, counts = errors(rng, 20)
    found, order = pool_noise(means, counts), rng.permutation(20)
    shuffled = pool_noise(means[:, order], counts[order])
    for name in ("epes", "standard_errors", "paired", "mean_standard_error", "smallest_differences"):
        assert getattr(shuffled, name) == pytest.approx(getattr(found, name), rel=1e-6, abs=1e-9), name
    apart = pool_noise(np.stack([means[0], np.float32(means[0]) + np.float64(offset)]), counts)
    assert apart.paired[0, 1] <= 4 * FLOAT32 * apart.epes.max() and apart.standard_errors[0] > 0.1
    larger = pool_noise(means * scale, counts * 7)
    assert larger.paired == pytest.approx(found.paired * scale, rel=1e-4)
    assert larger.ranks() == found.ranks() and larger.tied_pairs == found.tied_pairs
    mirrored = pool_noise(means[::-1], counts)
    assert mirrored.tied_pairs == found.tied_pairs and mirrored.smallest_difference == found.smallest_difference


def test_more_samples_tell_smaller_differences_apart():
    means, counts = errors(np.random.default_rng(3), 4000)
    few, many = pool_noise(means[:, :400], counts[:400]), pool_noise(means, counts)
    assert few.smallest_difference is not None and many.smallest_difference is not None
    assert many.smallest_difference == pytest.approx(few.smallest_difference / math.sqrt(10), rel=0.1)
    assert few.samples_needed(many.smallest_difference) == pytest.approx(4000, rel=0.2)
    assert few.samples_needed(few.smallest_difference) == 400
    assert few.samples_needed(0.0) is None and few.samples_needed(1e9) == 2


def test_samples_needed_are_the_fewest_that_are_enough():
    means, counts = errors(np.random.default_rng(3), 6)
    found = pool_noise(means, counts)
    paired = float(np.median(found.paired[np.triu_indices(3, 1)]))
    for resolution in (0.01, 0.1, 0.3, 2.0):
        needed = found.samples_needed(resolution)
        assert needed is not None
        limits = [stats.t.ppf(0.975, n - 1) * paired * math.sqrt(6 / n) for n in (needed, max(2, needed - 1))]
        assert limits[0] <= resolution * (1 + 1e-6) and (needed == 2 or limits[1] > resolution)
    assert found.samples_needed(1e-300) is None and found.samples_needed(1e-9) is None  # more than MOST_SAMPLES
    same = pool_noise(np.stack([means[0], means[0]]), counts)
    assert same.smallest_difference == 0.0 and same.samples_needed(1e-300) == 2


def test_samples_without_valid_pixels_count_nowhere():
    means, counts = errors(np.random.default_rng(4), 30)
    holes = np.insert(means, [3, 9], math.nan, axis=1)
    found, plain = pool_noise(holes, np.insert(counts, [3, 9], 0)), pool_noise(means, counts)
    assert found.samples == 30 and np.array_equal(found.paired, plain.paired) and found.ranks() == plain.ranks()


@pytest.mark.parametrize("samples", [0, 1])
def test_one_sample_says_nothing_about_noise(samples):
    means, counts = errors(np.random.default_rng(5), 1)
    found = pool_noise(means, counts * samples)
    assert found.samples == samples and np.isnan(found.standard_errors).all() and math.isnan(found.mean_standard_error)
    assert found.smallest_difference is None and found.tied_pairs is None and found.samples_needed(1.0) is None
    assert found.margins() == [] and split_half_tau(means, counts * samples) is None
    assert pool_noise(means, counts).ranks([3.0, 1.0, 2.0]) == [3, 1, 2]  # nothing is tied


def test_a_pool_of_one_and_a_diverged_arch():
    means, counts = errors(np.random.default_rng(6), 20)
    alone = pool_noise(means[:1], counts)
    assert alone.smallest_difference is None and alone.tied_pairs is None and len(alone.margins()) == 1
    assert split_half_tau(means[:1], counts) is None
    means[1, 3] = math.inf
    found = pool_noise(means, counts)
    assert len(found.smallest_differences) == 1 and found.ranks()[1] == 3 and math.isinf(found.epes[1])
    means[1] = math.nan
    assert split_half_tau(means, counts) is None  # and no warning, here or below
    assert np.isnan(tau_interval(means, means[::-1], counts, draws=20)).all()


def test_ranks_are_shared_with_the_best_of_the_group():
    bounds = np.full((4, 4), 0.1)
    assert tied_ranks([1.0, 1.05, 1.12, 1.3], bounds) == [1, 1, 3, 4]  # 1.12 is near 1.05, but not near 1.0
    assert tied_ranks([1.3, 1.12, 1.05, 1.0], bounds) == [4, 3, 1, 1]
    assert tied_ranks([1.0, 1.0, math.nan, math.nan], np.zeros((4, 4))) == [1, 1, 3, 4]
    assert rank_string([9.2, 9.1, 9.3], [1, 1, 3]) == "1:1:9.1000|1:0:9.2000|3:2:9.3000"
    assert tied_ranks([], np.zeros((0, 0))) == []


def test_change_of_every_arch():
    means, counts = errors(np.random.default_rng(7), 50)
    after = means + np.array([0.0, 0.5, 0.0])[:, None]
    after[2] += np.random.default_rng(8).normal(0, 0.1, 50)
    change, error = paired_change(means, after, counts)
    rounding = FLOAT32 * means.max()
    assert change[:2] == pytest.approx([0.0, 0.5], abs=rounding) and error[:2] == pytest.approx([0, 0], abs=rounding)
    expected = ((after[2] - means[2]) * counts).sum() / counts.sum()
    assert change[2] == pytest.approx(expected, rel=1e-4) and error[2] == pytest.approx(0.1 / math.sqrt(50), rel=0.5)


# ---- ranks ----


def test_many_taus_at_once_are_those_of_scipy():
    rng = np.random.default_rng(9)
    one, other = rng.integers(0, 6, (50, 8)), rng.normal(size=(50, 8))
    expected = [kendalltau(a, b, variant="b").statistic for a, b in zip(one, other, strict=True)]
    assert kendall_taus(one, other) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(kendall_taus([[1.0, 1.0]], [[1.0, 2.0]])).all()


@pytest.mark.property
def test_interval_of_tau_against_a_plain_bootstrap():
    rng = np.random.default_rng(10)
    means, counts = errors(rng, 60, tuple(np.linspace(0, 0.3, 6)))
    again = means + rng.normal(0, 0.3, means.shape)
    found = tau_interval(means, again, counts, draws=2000, seed=3)
    plain = []
    for draw in rng.integers(0, 60, (2000, 60)):
        epes = [(errors_[:, draw] * counts[draw]).sum(axis=1) / counts[draw].sum() for errors_ in (means, again)]
        plain.append(kendalltau(*epes).statistic)
    low, high = np.percentile(plain, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.14) and found.low < found.high
    epes = [pool_noise(e, counts).epes for e in (means, again)]
    assert found.value == pytest.approx(kendalltau(*epes).statistic)
    assert found == tau_interval(means, again, counts, draws=2000, seed=3)
    assert tau_interval(means, means, counts) == (1.0, 1.0, 1.0)
    assert np.isnan(tau_interval(means[:, :1], again[:, :1], counts[:1])[1:]).all()


def test_split_halves_tell_a_ranking_from_noise():
    rng = np.random.default_rng(11)
    means, counts = errors(rng, 200, tuple(np.linspace(0, 5, 6)))
    noise = np.tile(means[0], (6, 1)) + rng.normal(0, 1, means.shape)
    clear, unclear = split_half_tau(means, counts), split_half_tau(noise, counts)
    assert clear == pytest.approx(1.0) and unclear is not None and unclear < 0.5


NAN, INF = math.nan, math.inf


def tau_by_pairs(x, y):
    """The definition: (concordant - discordant) / sqrt(pairs untied in x times pairs untied in y)."""
    pairs = itertools.combinations(zip(x, y, strict=True), 2)
    signs = [((a > b) - (a < b), (c > d) - (c < d)) for (a, c), (b, d) in pairs]
    untied = sum(s != 0 for s, _ in signs) * sum(t != 0 for _, t in signs)
    return sum(s * t for s, t in signs) / math.sqrt(untied) if untied else None


@settings(deadline=None)  # the first call imports scipy
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_tau_b_is_the_count_of_pairs(pairs):
    x, y = zip(*pairs, strict=True)
    assert kendall_tau_b(x, y) == (None if (want := tau_by_pairs(x, y)) is None else pytest.approx(want))


def test_tau_is_none_where_undefined():
    assert kendall_tau_b([1.0], [2.0]) is None
    assert kendall_tau_b([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert kendall_tau_b([1.0, NAN], [1.0, 2.0]) is None
    assert kendall_tau_b([1.0, INF], [1.0, 2.0]) == 1.0


def test_statistics_by_hand():
    statistics = pool_statistics([4.0, 1.0, 3.0, 2.0])
    assert statistics == (2.5, math.sqrt(1.25), 2.5, pytest.approx(3.7), 1.0, 4.0)
    assert pool_statistics([2.0]) == (2.0, 0.0, 2.0, 2.0, 2.0, 2.0)


def test_a_diverged_subnet_is_not_hidden():
    assert all(math.isnan(figure) for figure in pool_statistics([1.0, NAN, 2.0]))
    statistics = pool_statistics([1.0, INF, 2.0])
    assert (statistics.mean, statistics.median, statistics.min, statistics.max) == (INF, 2.0, 1.0, INF)
    assert rank_order([NAN, 2.0, INF, 1.0]) == [3, 1, 2, 0]


def test_ties_are_broken_by_arch_index_and_ranks_use_unrounded_values():
    assert rank_string([2.0, 1.0, 2.0, 1.0]) == "1:1:1.0000|2:3:1.0000|3:0:2.0000|4:2:2.0000"
    assert rank_string([1.00004, 1.00001]) == "1:1:1.0000|2:0:1.0000"


def test_best_criterion():
    statistics = pool_statistics([1.0, 2.0, 6.0])._asdict()
    found = [best_criterion(name, (1.0, 0.0, 0.0), statistics) for name in ("mean", "median", "p90")]
    assert found == [3.0, 2.0, statistics["p90"]]
    assert best_criterion("mix", (2.0, 1.0, 1.0), statistics) == pytest.approx((2 * 3.0 + 2.0 + 5.2) / 4)
    assert (
        best_criterion("mix", (0.0, 3.0, 0.0), pool_statistics([1.0, INF, 2.0])._asdict()) == 2.0
    )  # weight 0 is left out


def test_sample_histories_follow_from_their_per_arch_epes(shared):
    """From the rounded EPEs of the samples: statistics to the last digit printed, ranks and tau exactly."""
    checked = 0
    for folder in sorted(path.parent for path in (shared / "samples").glob("*/per_arch_epe.csv")):
        epes: dict[str, list[float]] = {}
        with open(folder / "per_arch_epe.csv", newline="") as file:
            for row in csv.DictReader(file):
                epes.setdefault(row["epoch"], []).append(float(row["epe"]))
        with open(folder / "eval_history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for before, row in zip([None, *rows], rows, strict=False):
            pool = epes[row["epoch"]]
            names = ("mean_epe_12", "std_epe_12", "median_epe_12", "p90_epe_12", "per_arch_epe_min", "per_arch_epe_max")
            np.testing.assert_allclose(pool_statistics(pool), [float(row[name]) for name in names], atol=1.01e-4)
            if len(set(pool)) == len(pool):
                assert rank_string(pool) == row["arch_rank_12"]
                checked += 1
                if before is not None and len(set(epes[before["epoch"]])) == len(pool):
                    assert round(kendall_tau_b(epes[before["epoch"]], pool), 4) == float(row["kendall_tau_prev"])
    assert checked > 100
