"""The comparison of models trained side by side."""

from __future__ import annotations

from pathlib import Path

from edgeflownas.files import CsvLog, csv_rows
from edgeflownas.train.records import write_comparison


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
