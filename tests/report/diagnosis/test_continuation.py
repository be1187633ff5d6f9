"""The go / stop rule of a continued run: two of three, and never across different evaluations."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.report.diagnosis.continuation import continuation

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
