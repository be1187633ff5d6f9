"""The stated example histories: what has to be found in them, and what may not be."""

import csv
import io
import json

import pytest

from edgeflownas.report.diagnosis import diagnose
from edgeflownas.report.history import read_history

pytestmark = pytest.mark.golden
SAMPLES = {"healthy": ("healthy", ()), "loss_falls_epe_flat": ("stop", (47,)), "clip_saturated": ("look here", ())}
"""Name: verdict, and outliers among the epochs."""
TF1 = {
    **{name: name for name in ("epoch", "mean_epe_12", "std_epe_12", "fairness_gap", "lr", "arch_rank_12")},
    **{"train_loss": "train_loss_epoch_avg", "grad_norm_mean": "train_grad_norm_epoch_avg"},
    **{f"grad_norm_{quantile}": f"train_grad_norm_{quantile}" for quantile in ("p50", "p90", "p99")},
    **{"clip_count": "clip_trigger_count", "clip_rate": "clip_trigger_rate"},
}
"""Column here: column of the TF1 tool."""
NOT_IN_TF1 = {"near_zero_flow", "clip_checks_mismatch", "coverage_low", "label_changed"}


def check(path, sample, skipped=frozenset()):
    """The diagnosis of a history, which says what is expected of a sample."""
    expected = json.loads((sample / "expected.json").read_text())
    diagnosis = diagnose(read_history(path))
    document = diagnosis.to_json()
    found = {finding["id"]: finding for finding in document["findings"]}
    for wanted in expected["must"]:
        if wanted["id"] in skipped:
            assert wanted["id"] in {rule["id"] for rule in document["not_judged"]}
            continue
        finding = {**found[wanted["id"]], **found[wanted["id"]]["figures"]}
        for name, value in wanted.items():
            if name != "id":  # a list is a range; percentages to 0.3 of a point
                slack = 0.3 if name.endswith("_pct") else 0
                low, high = value if isinstance(value, list) else (value - slack, value + slack)
                assert low <= finding[name] <= high, (wanted, finding)
    assert not set(expected["must_not"]) & set(found)
    return diagnosis


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(shared, tmp_path, name):
    folder = shared / "samples" / name
    copy = tmp_path / "renamed.csv"  # apart from its folder, it is judged by its own columns
    copy.write_bytes((folder / "eval_history.csv").read_bytes())
    check(copy, folder)
    diagnosis = check(folder, folder)
    assert read_history(folder).rows == read_history(folder / "eval_history.csv").rows
    severities = [f.severity for f in diagnosis.findings]
    assert severities == sorted(severities, key=("stop", "warning", "note", "ok").index)
    outliers = next((f.epochs for f in diagnosis.findings if f.id == "outlier_epoch"), ())
    assert (diagnosis.verdict, outliers) == SAMPLES[name]


@pytest.mark.parametrize("kind", ["csv", "console"])
@pytest.mark.parametrize("name", SAMPLES)
def test_tf1_forms_of_a_sample(shared, tmp_path, name, kind):
    folder = shared / "samples" / name
    rows = list(csv.DictReader((folder / "eval_history.csv").read_text().splitlines()))
    for row in rows:
        row["clip_count"] = str(round(float(row["clip_rate"]) * int(row["clip_checks"])))
    table = [[row[column] for column in TF1] for row in rows]
    if kind == "csv":
        text = io.StringIO()
        csv.writer(text).writerows([TF1.values(), *table])
        file, content = tmp_path / "eval_epe_history.csv", text.getvalue()
    else:
        names = [{"train_loss": "loss"}.get(here, there) for here, there in TF1.items()]
        lines = [" ".join(f"{key}={value}" for key, value in zip(names, cells, strict=True)) for cells in table]
        file = tmp_path / "train.log"
        content = "2024-01-01 00:00:00 INFO building the graph\n"
        content += "".join(f"INFO {line}\nstep 12 loss 3.1\n" for line in lines)
    file.write_text(content)
    check(file, folder, NOT_IN_TF1)
