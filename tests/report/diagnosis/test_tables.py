"""The tables beside the findings: criteria, rank correlations, and the go / stop rule of a continued run."""

import math
from dataclasses import replace

import numpy as np
import pytest
from synthetic import Recipe, set_in

from edgeflownas.evaluate.noise import kendall_tau_b, tau_interval
from edgeflownas.evaluate.results import SampleErrors, sample_errors_name
from edgeflownas.report.diagnosis.tables import continuation, criteria, stability, tau_bootstrap
from edgeflownas.report.history import read_history

EVERY = slice(None)


def keep_errors(folder, epoch, errors, eval_set="aa"):
    """Stored errors [A, N] of an evaluation's samples, 100 pixels each."""
    file = folder / sample_errors_name(epoch)
    file.parent.mkdir(exist_ok=True)
    codes, pixels = ("0,0",) * len(errors), np.full(errors.shape[1], 100)
    file.write_bytes(SampleErrors(codes, errors.astype(np.float32), pixels, eval_set, epoch).to_bytes())
    return file


def test_criteria_choose_their_own_lowest_and_say_what_it_costs(tmp_path):
    rows = {row["criterion"]: row for row in criteria(Recipe(jitter=0.2).history(tmp_path))}
    assert set(rows) == {"mean", "median", "p90", "mix"}
    for name, row in rows.items():
        assert row["costs_px"][name] == 0.0 and min(row["costs_px"].values()) >= 0.0


def test_taus_are_those_of_scipy(tmp_path):
    history = Recipe(epochs=12, size=9, jitter=0.3).history(tmp_path)
    facts = stability(history)
    best = int(np.argmin(history.epes.mean(axis=1)))
    for place, row in enumerate(facts["epochs"]):
        for name, other in (("tau_final", -1), ("tau_best", best), ("tau_prev", place - 1)):
            expected = kendall_tau_b(history.epes[place].tolist(), history.epes[other].tolist())
            assert row[name] == (None if name == "tau_prev" and not place else pytest.approx(expected))


@pytest.mark.property
def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    truth = 2 / np.pi * np.arcsin(0.7)  # of a bivariate normal with correlation 0.7
    inside = 0
    for _ in range(100):
        first = rng.normal(size=24)
        found = tau_bootstrap(first, 0.7 * first + np.sqrt(1 - 0.49) * rng.normal(size=24))
        inside += found["low"] <= truth <= found["high"]
    assert 85 <= inside <= 100


def test_trivial_rankings_where_codes_are_known(tmp_path):
    Recipe(size=4).history(tmp_path)
    codes = ("0,0,0,0,0,0,0,0,0", "1,1,1,1,1,1,1,1,1", "2,2,2,2,2,2,2,2,2", "0,1,2,0,1,2,0,1,2")
    lines = [f'60,{a},{3 + a},"{code}",\n' for a, code in enumerate(codes)]
    (tmp_path / "per_arch_epe.csv").write_text("epoch,arch_index,epe,code,epe_ema\n" + "".join(lines))
    assert set(stability(read_history(tmp_path))["trivial"]) == {"macs", "parameters"}


def test_tau_of_the_last_two_over_samples_where_their_errors_were_kept(tmp_path):
    history = replace(Recipe(epochs=12, size=4, jitter=0.3).history(tmp_path), source=tmp_path)
    assert "samples" not in stability(history)  # nothing kept
    errors = np.random.default_rng(0).uniform(1, 5, (2, 4, 30)).astype(np.float32)
    last = history.epochs[-2:].tolist()
    file = [keep_errors(tmp_path, *pair) for pair in zip(last, errors, strict=True)][1]
    found = stability(history)["samples"]
    tau = tau_interval(errors[0], errors[1], np.full(30, 100))
    assert (found["tau"], found["low"], found["high"]) == tau and found["low"] < found["high"]
    assert found["epochs"] == last and found["samples"] == 30
    keep_errors(tmp_path, last[1], errors[1], "bb")
    assert "other samples" in stability(history)["samples"]["reason"]
    file.write_bytes(file.read_bytes()[:-5])
    assert file.name in stability(history)["samples"]["reason"]


def level(folder, mean, std, p90, error=None):
    """Nine evaluations with the same figures."""
    figures = {"mean_epe_12": mean, "std_epe_12": std, "p90_epe_12": p90, "mean_epe_standard_error_12": error}
    made = Recipe(
        epochs=9, size=4, first=3.0, last=3.0, jitter=0.0, noise=0.0, offsets=np.zeros(4), edit=set_in(EVERY, **figures)
    )
    return replace(made.history(folder), source=folder)


@pytest.mark.parametrize(
    ("gain", "spread", "tail", "verdict", "met"),
    [
        (0.0010, 0.008, 0.0, "go", [True, True, True]),
        (0.0009, 0.008, 0.0, "go", [False, True, True]),
        (0.0010, 0.009, 0.0, "go", [True, False, True]),
        (0.0010, 0.008, 0.1, "go", [True, True, False]),
        (0.0009, 0.009, 0.0, "stop", [False, False, True]),
        (0.0009, 0.008, 0.1, "stop", [False, True, False]),
    ],
)
def test_two_of_three(tmp_path, gain, spread, tail, verdict, met):
    parent = level(tmp_path / "a", 3.0, 0.02, 3.2)
    facts = continuation(level(tmp_path / "b", 3.0 - gain, spread, 3.2 + tail), parent)
    assert facts["verdict"] == verdict and [rule["met"] for rule in facts["rules"]] == met


def test_other_samples_are_not_comparable(tmp_path):
    other, parent = Recipe(edit=set_in(EVERY, eval_set="cc")).history(tmp_path / "a"), Recipe().history(tmp_path / "b")
    facts = continuation(other, parent)
    assert facts["verdict"] == "not comparable" and "eval_set" in facts["reason"]


def with_errors(folder, mean, shift):
    """A level history with stored errors of 40 samples; ``shift`` moves half of them."""
    history = level(folder, mean, 0.005, 3.0, 0.05)
    errors = np.random.default_rng(0).uniform(1, 5, (4, 40))
    errors[:, ::2] += shift
    keep_errors(folder, 1, errors)
    return history


def test_a_difference_below_the_noise_is_called_none_but_the_rule_stands(tmp_path):
    parent, own = with_errors(tmp_path / "a", 3.0, 0.0), with_errors(tmp_path / "b", 2.995, -0.1)
    facts = continuation(own, parent)
    # half of the samples moved by 0.1: the differences have the spread 0.05, the mean of 40 an error of about 0.008
    assert facts["evaluation_noise_px"] == pytest.approx(2.023 * 0.05 / math.sqrt(39), rel=0.01)
    assert facts["noise_from"] == "paired errors of 40 samples" and facts["within_noise"]
    assert facts["verdict"] == "go" and facts["rules"][0]["met"]
    noise = f"the noise of the evaluation ({facts['evaluation_noise_px']:.4f} px)"
    assert facts["caveat"] == f"met by rule, but smaller than {noise}: no difference"
    clear = continuation(with_errors(tmp_path / "c", 2.9, -0.1), parent)
    assert not clear["within_noise"] and clear["caveat"] is None


def test_without_stored_errors_the_columns_count(tmp_path):
    parent, own = with_errors(tmp_path / "a", 3.0, 0.0), with_errors(tmp_path / "b", 2.9, -0.1)
    (tmp_path / "a" / sample_errors_name(1)).unlink()
    facts = continuation(own, parent)
    assert facts["evaluation_noise_px"] == pytest.approx(1.96 * 0.05 * math.sqrt(2))
    assert "not paired" in facts["noise_from"] and facts["within_noise"]
    facts = continuation(Recipe().history(tmp_path / "d"), Recipe().history(tmp_path / "e"))  # nothing known
    assert facts["evaluation_noise_px"] is None and facts["caveat"] is None and not facts["within_noise"]
