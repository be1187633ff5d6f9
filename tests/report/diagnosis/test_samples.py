"""The stated example histories: what has to be found in them, and what may not be."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.report.diagnosis import diagnose
from edgeflownas.report.histories import read_history

SAMPLES = ("healthy", "loss_falls_epe_flat", "clip_saturated")
TF1 = {
    "epoch": "epoch",
    "mean_epe_12": "mean_epe_12",
    "std_epe_12": "std_epe_12",
    "fairness_gap": "fairness_gap",
    "lr": "lr",
    "train_loss": "train_loss_epoch_avg",
    "grad_norm_mean": "train_grad_norm_epoch_avg",
    "grad_norm_p50": "train_grad_norm_p50",
    "grad_norm_p90": "train_grad_norm_p90",
    "grad_norm_p99": "train_grad_norm_p99",
    "clip_count": "clip_trigger_count",
    "clip_rate": "clip_trigger_rate",
    "arch_rank_12": "arch_rank_12",
}
NOT_IN_TF1 = {"near_zero_flow", "clip_checks_mismatch", "coverage_low", "label_changed"}


def fits(found: Any, wanted: Any, name: str) -> bool:
    """A list [a, b] is a range; percentages to 0.3 of a point."""
    if isinstance(wanted, list):
        return bool(wanted[0] <= found <= wanted[1])
    return bool(abs(found - wanted) <= (0.3 if name.endswith("_pct") else 0))


def check(path: Path, expected: dict[str, Any], skipped: set[str]) -> None:
    document = diagnose(read_history(path)).to_json()
    found = {finding["id"]: finding for finding in document["findings"]}
    for wanted in expected["must"]:
        if wanted["id"] in skipped:
            assert wanted["id"] in {rule["id"] for rule in document["not_judged"]}
            continue
        finding = found[wanted["id"]]
        for name, value in wanted.items():
            if name != "id":
                assert fits({**finding, **finding["figures"]}[name], value, name), (wanted, finding)
    assert not set(expected["must_not"]) & set(found)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(shared: Path, name: str) -> None:
    folder = shared / "samples" / name
    expected = json.loads((folder / "expected.json").read_text())
    for path in (folder, folder / "eval_history.csv"):
        check(path, expected, set())


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_apart_from_its_folder_is_judged_by_its_own_columns(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shared / "samples" / name
    copy = tmp_path / "renamed.csv"
    copy.write_bytes((folder / "eval_history.csv").read_bytes())
    check(copy, json.loads((folder / "expected.json").read_text()), set())


@pytest.mark.parametrize("kind", ["csv", "console"])
@pytest.mark.parametrize("name", SAMPLES)
def test_tf1_forms_of_a_sample(shared: Path, tmp_path: Path, name: str, kind: str) -> None:
    folder = shared / "samples" / name
    rows = list(csv.DictReader((folder / "eval_history.csv").read_text().splitlines()))
    for row in rows:
        row["clip_count"] = str(round(float(row["clip_rate"]) * int(row["clip_checks"])))
    if kind == "csv":
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(TF1.values())
        writer.writerows([row[key] for key in TF1] for row in rows)
        file, content = tmp_path / "eval_epe_history.csv", text.getvalue()
    else:
        file, content = tmp_path / "train.log", "2024-01-01 00:00:00 INFO building the graph\n"
        for row in rows:
            pairs = {("loss" if key == "train_loss" else tf1): row[key] for key, tf1 in TF1.items()}
            content += "INFO " + " ".join(f"{key}={value}" for key, value in pairs.items()) + "\nstep 12 loss 3.1\n"
    file.write_text(content)
    check(file, json.loads((folder / "expected.json").read_text()), NOT_IN_TF1)


def test_findings_stand_in_order_of_severity(shared: Path) -> None:
    for name in SAMPLES:
        severities = [f.severity for f in diagnose(read_history(shared / "samples" / name)).findings]
        assert severities == sorted(severities, key=("stop", "warning", "note", "ok").index)


def test_verdicts(shared: Path) -> None:
    verdicts = [diagnose(read_history(shared / "samples" / name)).verdict for name in SAMPLES]
    assert verdicts == ["healthy", "stop", "look here"]
