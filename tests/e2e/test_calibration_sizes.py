"""`evaluate --calibration-sweep` on a split that holds every size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numeric import FLOAT32
from runs import Place, command
from tiny import make_tiny

pytestmark = pytest.mark.e2e


def test_calibration_sweep_of_all_sizes(place: Place) -> None:
    """A split that holds them: 8 own batches of one sample and 64 others, so nothing is shared."""
    data = make_tiny(place.folder / "many", train=72)
    keys = (
        "--eval.batch_size=1",
        "--eval.bn_recal_batches=8",
        "--eval.eval_batches_per_arch=3",
        "--train.num_epochs=1",
    )
    found = place.trained("many", *keys, "--eval.eval_every_epoch=1", data=data)
    said = command("evaluate", found, "--calibration-sweep", "--json")
    document = json.loads(said.out)
    assert document["shared_samples"] == 0 and document["calibration_batches"] == 8 and "at most" not in said.err
    assert list(document["kendall_tau"]) == ["8", "16", "32", "64"]
    middle = np.median([row["epe"] for row in document["results"]])
    gaps = [abs(row["epe"] - middle) for row in document["results"]]
    for row, gap in zip(document["results"], gaps, strict=True):
        by = row["epe_by_batches"]
        changes = [by["64"] - by["8"], by["8"] - row["epe"], by["64"] - row["epe"]]
        assert [row[name] for name in ("more", "other", "total")] == pytest.approx(changes, abs=FLOAT32 * row["epe"])
        assert row["relevant"] == pytest.approx(max(gap, np.median(gaps))) and row["verdict"]
        reach = [abs(row[name]) + row[f"{name}_margin"] for name in ("more", "other", "total")]
        assert (row["verdict"] == "not calibration") == (max(reach) < row["relevant"])
