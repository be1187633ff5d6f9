"""Rank correlations and the criteria of the best checkpoint."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.evaluate.noise import kendall_tau_b, tau_interval
from edgeflownas.evaluate.results import SampleErrors, sample_errors_name
from edgeflownas.report.diagnosis.criteria import criteria
from edgeflownas.report.diagnosis.stability import stability, tau_bootstrap

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import Recipe  # noqa: E402


def test_taus_are_those_of_scipy(tmp_path: Path) -> None:
    history = Recipe(epochs=12, size=9, jitter=0.3).history(tmp_path)
    facts = stability(history)
    best = int(np.argmin(history.epes.mean(axis=1)))
    for place, row in enumerate(facts["epochs"]):
        for name, other in (("tau_final", -1), ("tau_best", best), ("tau_prev", place - 1)):
            if place or name != "tau_prev":
                expected = kendall_tau_b(history.epes[place].tolist(), history.epes[other].tolist())
                assert row[name] == pytest.approx(expected)
    assert facts["epochs"][0]["tau_prev"] is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth = 2 / np.pi * np.arcsin(0.7)  # of a bivariate normal with correlation 0.7
    inside = 0
    for _ in range(100):
        first = rng.normal(size=24)
        found = tau_bootstrap(first, 0.7 * first + np.sqrt(1 - 0.49) * rng.normal(size=24))
        inside += found["low"] <= truth <= found["high"]  # type: ignore[operator]
    assert 85 <= inside <= 100


def test_trivial_rankings_where_codes_are_known(tmp_path: Path) -> None:
    codes = ["0" * 9, "1" * 9, "2" * 9, "012012012"]
    Recipe(size=4).history(tmp_path)
    lines = [f'60,{a},{3 + a},"{",".join(code)}",' for a, code in enumerate(codes)]
    (tmp_path / "per_arch_epe.csv").write_text("epoch,arch_index,epe,code,epe_ema\n" + "\n".join(lines) + "\n")
    from edgeflownas.report.histories import read_history

    assert set(stability(read_history(tmp_path))["trivial"]) == {"macs", "parameters"}


def test_criteria_choose_their_own_lowest_and_say_what_it_costs(tmp_path: Path) -> None:
    rows = {row["criterion"]: row for row in criteria(Recipe(jitter=0.2).history(tmp_path))}
    assert set(rows) == {"mean", "median", "p90", "mix"}
    for name, row in rows.items():
        assert row["costs_px"][name] == 0.0 and min(row["costs_px"].values()) >= 0.0


def test_tau_of_the_last_two_over_samples_where_their_errors_were_kept(tmp_path: Path) -> None:
    history = replace(Recipe(epochs=12, size=4, jitter=0.3).history(tmp_path), source=tmp_path)
    assert "samples" not in stability(history)  # nothing kept
    errors = np.random.default_rng(0).uniform(1, 5, (2, 4, 30)).astype(np.float32)
    last = [int(epoch) for epoch in history.epochs[-2:]]
    files = [tmp_path / sample_errors_name(epoch) for epoch in last]
    files[0].parent.mkdir()

    def keep(place: int, eval_set: str) -> None:
        stored = SampleErrors(("0,0",) * 4, errors[place], np.full(30, 100), eval_set, last[place])
        files[place].write_bytes(stored.to_bytes())

    keep(0, "aa"), keep(1, "aa")
    found = stability(history)["samples"]
    tau = tau_interval(errors[0], errors[1], np.full(30, 100))
    assert (found["tau"], found["low"], found["high"]) == tau and found["low"] < found["high"]
    assert found["epochs"] == last and found["samples"] == 30
    keep(1, "bb")
    assert "other samples" in stability(history)["samples"]["reason"]
    files[1].write_bytes(files[1].read_bytes()[:-5])
    assert files[1].name in stability(history)["samples"]["reason"]
