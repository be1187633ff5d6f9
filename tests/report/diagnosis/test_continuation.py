"""The go / stop rule of a continued run: two of three, and never across different evaluations."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.evaluate.results import SampleErrors
from edgeflownas.report.diagnosis.continuation import continuation
from edgeflownas.report.histories import History

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import Recipe  # noqa: E402

FLAT = {"epochs": 9, "size": 4, "first": 3.0, "jitter": 0.0, "noise": 0.0}


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
def test_two_of_three(tmp_path: Path, gain: float, spread: float, tail: float, verdict: str, met: list[bool]) -> None:
    def recipe(mean: float, std: float, p90: float) -> Recipe:
        def edit(rows, epes):  # type: ignore[no-untyped-def]
            for row in rows:
                row.update(mean_epe_12=mean, std_epe_12=std, p90_epe_12=p90)

        return Recipe(**FLAT, last=3.0, offsets=np.zeros(4), edit=edit)  # type: ignore[arg-type]

    parent = recipe(3.0, 0.02, 3.2).history(tmp_path / "a")
    facts = continuation(recipe(3.0 - gain, spread, 3.2 + tail).history(tmp_path / "b"), parent)
    assert facts["verdict"] == verdict and [rule["met"] for rule in facts["rules"]] == met


def test_other_samples_are_not_comparable(tmp_path: Path) -> None:
    def other(rows, epes):  # type: ignore[no-untyped-def]
        for row in rows:
            row["eval_set"] = "cc"

    facts = continuation(Recipe(edit=other).history(tmp_path / "a"), Recipe().history(tmp_path / "b"))
    assert facts["verdict"] == "not comparable" and "eval_set" in facts["reason"]


def with_errors(folder: Path, level: float, shift: float) -> History:
    """A run's history that is level at ``level`` px, with stored errors of 40 samples; ``shift`` moves half of them."""

    def edit(rows, epes):  # type: ignore[no-untyped-def]
        for row in rows:
            row.update(mean_epe_12=level, std_epe_12=0.005, p90_epe_12=3.0, mean_epe_standard_error_12=0.05)

    history = Recipe(**FLAT, last=3.0, offsets=np.zeros(4), edit=edit).history(folder)  # type: ignore[arg-type]
    errors = np.random.default_rng(0).uniform(1, 5, (4, 40))
    errors[:, ::2] += shift
    stored = SampleErrors(("0,0",) * 4, errors.astype(np.float32), np.full(40, 100), "aa", 1)
    (folder / "sample_epe").mkdir()
    (folder / "sample_epe" / "epoch-00001.safetensors").write_bytes(stored.to_bytes())
    return replace(history, source=folder)


def test_a_difference_below_the_noise_is_called_none_but_the_rule_stands(tmp_path: Path) -> None:
    parent, own = with_errors(tmp_path / "a", 3.0, 0.0), with_errors(tmp_path / "b", 2.995, -0.1)
    facts = continuation(own, parent)
    # half of the samples moved by 0.1: the differences have the spread 0.05, the mean of 40 an error of about 0.008
    assert facts["evaluation_noise_px"] == pytest.approx(2.023 * 0.05 / math.sqrt(39), rel=0.01)
    assert facts["noise_from"] == "paired errors of 40 samples" and facts["within_noise"]
    assert facts["verdict"] == "go" and facts["rules"][0]["met"]
    assert facts["caveat"] == (
        f"met by rule, but smaller than the noise of the evaluation ({facts['evaluation_noise_px']:.4f} px): no "
        "difference"
    )
    clear = continuation(with_errors(tmp_path / "c", 2.9, -0.1), parent)
    assert not clear["within_noise"] and clear["caveat"] is None


def test_without_stored_errors_the_columns_count(tmp_path: Path) -> None:
    parent, own = with_errors(tmp_path / "a", 3.0, 0.0), with_errors(tmp_path / "b", 2.9, -0.1)
    (tmp_path / "a" / "sample_epe" / "epoch-00001.safetensors").unlink()
    facts = continuation(own, parent)
    assert facts["evaluation_noise_px"] == pytest.approx(1.96 * 0.05 * math.sqrt(2))
    assert "not paired" in facts["noise_from"] and facts["within_noise"]


def test_nothing_known_of_the_noise_is_said_as_such(tmp_path: Path) -> None:
    facts = continuation(Recipe().history(tmp_path / "a"), Recipe().history(tmp_path / "b"))
    assert facts["evaluation_noise_px"] is None and facts["caveat"] is None and not facts["within_noise"]
