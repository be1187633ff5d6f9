"""The verdict on the clip threshold, what is told about it, and the comparison of models trained side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeflownas.files import CsvLog, csv_rows
from edgeflownas.train.records import clip_facts, clip_note, write_comparison

NORMS = [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("threshold", "norms", "clipped", "verdict", "suggested"),
    [
        (0.5, NORMS, 5, "saturated", 4.6),
        (9.0, NORMS, 0, "idle", 4.6),
        (3.5, NORMS, 2, "active", 4.6),
        (None, NORMS, 0, "off", 4.6),
        (5.0, [], 0, None, None),  # every step was dropped
        (None, [], 0, None, None),
        (5.0, [0.0, 0.0], 0, "idle", None),  # no threshold follows from gradients of zero
        (5.0, [np.inf, 2.0], 1, "active", 2.0),
    ],
)
def test_verdict_and_suggestion(
    threshold: float | None, norms: list[float], clipped: int, verdict: str | None, suggested: float | None
) -> None:
    facts = clip_facts(threshold, norms, clipped)
    assert facts["clip_verdict"] == verdict and facts["clip_suggested"] == pytest.approx(suggested)


def test_the_suggestion_clips_one_check_in_ten() -> None:
    norms = np.random.default_rng(0).lognormal(4.0, 1.0, 1000)
    suggested = clip_facts(5.0, norms.tolist(), 1000)["clip_suggested"]
    assert (norms > suggested).mean() == pytest.approx(0.1, abs=0.002)


def facts(verdict: str | None, threshold: float | None = 5.0, suggested: float | None = 171.4) -> dict[str, object]:
    return {"clip_verdict": verdict, "clip_threshold": threshold, "clip_suggested": suggested}


def test_what_is_told_and_when() -> None:
    assert clip_note(facts("saturated"), None) == (
        "clipping saturated: every step of the epoch was cut at 5 (p90 of the norms 171): try "
        "train.grad_clip_global_norm 171"
    )
    assert clip_note(facts("saturated"), "saturated") is None
    assert clip_note(facts("saturated", suggested=1714.0), "active").endswith("grad_clip_global_norm 1710")
    idle = clip_note(facts("idle", 200.0, 12.34), "saturated")
    assert idle == "clipping idle: no norm of the epoch reached 200 (p90 of the norms 12.3)"
    for quiet in ("active", "off", None):
        assert clip_note(facts(quiet), "saturated") is None
    assert clip_note(facts("idle", suggested=None), None) is None


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
