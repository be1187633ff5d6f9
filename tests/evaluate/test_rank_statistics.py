"""Pool statistics and ranking, against hand counts, numpy and the users' sample histories."""

import csv
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.evaluate.rank_statistics import (
    best_criterion,
    kendall_tau_b,
    pool_statistics,
    rank_order,
    rank_string,
)

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
    statistics = pool_statistics([1.0, 2.0, 6.0])
    for name in ("mean", "median", "p90"):
        assert best_criterion(name, (1.0, 0.0, 0.0), statistics) == getattr(statistics, name)
    assert best_criterion("mix", (2.0, 1.0, 1.0), statistics) == pytest.approx((2 * 3.0 + 2.0 + 5.2) / 4)
    assert best_criterion("mix", (0.0, 3.0, 0.0), pool_statistics([1.0, INF, 2.0])) == 2.0  # weight 0 is left out


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
