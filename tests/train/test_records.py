"""The verdict on the clip threshold, what is told about it, and the comparison of models trained side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeflownas.files import CsvLog, csv_rows
from edgeflownas.train.records import clip_advice, clip_facts, clip_note, settled_level, write_comparison

LEVELS = [2900.0, 410.0, 60.0, 30.0, 23.0, 22.0, 22.5, 21.0]  # of grad_norm_p90, as a training begins


@pytest.mark.parametrize(
    ("threshold", "checks", "clipped", "verdict"),
    [
        (0.5, 50, 50, "saturated"),
        (0.5, 50, 45, "saturated"),
        (0.5, 50, 44, "active"),
        (9.0, 50, 0, "idle"),
        (None, 50, 0, "off"),
        (5.0, 0, 0, None),  # every step was dropped
    ],
)
def test_verdict(threshold: float | None, checks: int, clipped: int, verdict: str | None) -> None:
    assert clip_facts(threshold, checks, clipped, []) == {"clip_verdict": verdict, "clip_suggested": None}


def test_the_suggestion_waits_until_the_norms_have_settled() -> None:
    found = [settled_level(LEVELS[:epochs]) for epochs in range(len(LEVELS) + 1)]
    assert found == [None] * 7 + [22.5, 22.0]
    assert settled_level([*LEVELS, *[22.0] * 20, *[100.0] * 2]) == 22.0, "a burst changes nothing yet"
    assert settled_level([*LEVELS, *[22.0] * 3, *[100.0] * 7]) == 100.0
    for moving in ([3.0] * 2, [0.0] * 5, [1.0, 2.0, np.inf, 2.0], list(np.geomspace(9000, 1, 40))):
        assert settled_level(moving) is None


def facts(verdict: str | None, level: float | None = None, rate: float = 1.0) -> dict[str, object]:
    own = {"clip_verdict": verdict, "clip_threshold": 5.0, "grad_norm_p90": 1714.0, "clip_rate": rate}
    return own | {"clip_suggested": level}


def test_what_is_told_and_when() -> None:
    assert clip_note(facts("saturated", rate=0.96), None) == (
        "clipping saturated: 96 % of the checks of the epoch were cut at 5 (p90 of the norms 1710)"
    )
    assert clip_note(facts("saturated"), "saturated") is None
    idle = clip_note(facts("idle"), "saturated")
    assert idle == "clipping idle: no norm of the epoch reached 5 (p90 of the norms 1710)"
    for quiet in ("active", "off", None):
        assert clip_note(facts(quiet), "saturated") is None


def test_the_advice_comes_once_and_again_where_it_changed_by_half() -> None:
    assert clip_advice(facts("saturated"), None) is None, "not settled"
    said = clip_advice(facts("saturated", 171.4), None)
    assert said == "the gradient norms have settled at 171 (p90): try train.grad_clip_global_norm 171"
    assert clip_advice(facts("saturated", 171.4), 171.4) is None is clip_advice(facts("saturated", 120.0), 171.4)
    assert "try train.grad_clip_global_norm 80" in (clip_advice(facts("saturated", 80.0), 171.4) or "")
    assert clip_advice(facts("active", 6.0), None) is None, "the threshold in force is as good"
    assert clip_advice({**facts("off", 50.0), "clip_threshold": None}, None) is None


def test_a_history_whose_columns_changed_at_a_resume_is_read(tmp_path: Path) -> None:
    """A newer version adds columns: its rows stand under a header line of their own."""
    figures = {"global_step": 8, "train_loss": 2.0, "train_loss_optical": 1.0, "train_loss_uncertainty": 1.0}
    for name, epe in (("a", 9.0), ("b", 8.5)):
        (tmp_path / name).mkdir()
        log = CsvLog(tmp_path / name / "eval_history.csv")
        log.append({"epoch": 1, **figures, "mean_epe_1": epe})
        log.append({"epoch": 2, **figures, "mean_epe_1": epe - 1, "clip_verdict": "idle"})
        log.close()
    write_comparison(tmp_path, ["a", "b"])
    rows = list(csv_rows(tmp_path / "comparison.csv"))
    assert [(row["epoch"], row["b_minus_a_epe"]) for row in rows] == [("1", "-0.5000"), ("2", "-0.5000")]
