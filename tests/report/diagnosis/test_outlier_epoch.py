"""An outlier epoch is named alone: neither its neighbours on a smooth curve nor a step to another level."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from defects import found  # noqa: E402
from synthetic import Recipe  # noqa: E402

from edgeflownas.evaluate.noise import pool_statistics, rank_string  # noqa: E402
from edgeflownas.report.diagnosis import Finding, diagnose  # noqa: E402
from edgeflownas.report.histories import History, read_history  # noqa: E402

PLACES = (6, 12, 18, 25, 40, 55)
SMOOTH: dict[str, Any] = {"epochs": 60, "noise": 0.0, "jitter": 0.0004}
NAMES = ("mean_epe_12", "std_epe_12", "median_epe_12", "p90_epe_12", "per_arch_epe_min", "per_arch_epe_max")


def moved(first: int, last: int, arch: int | None, by: float) -> Recipe:
    """A smooth history whose epochs ``first`` to ``last`` are moved by so many px, in one arch or in all."""

    def edit(rows: list[dict[str, Any]], epes: Any) -> None:
        for place in range(first - 1, last):
            epes[place, slice(None) if arch is None else arch] += by
            figures = pool_statistics(epes[place].tolist())
            values = (figures.mean, figures.std, figures.median, figures.p90, figures.min, figures.max)
            rows[place].update(zip(NAMES, values, strict=True), arch_rank_12=rank_string(epes[place].tolist()))

    return Recipe(**SMOOTH, edit=edit)


def outlier(diagnosis: Any) -> Finding | None:
    return next((f for f in diagnosis.findings if f.id == "outlier_epoch"), None)


@pytest.mark.parametrize("epoch", PLACES)
def test_one_arch_moves(epoch: int, tmp_path: Path) -> None:
    finding = found(moved(epoch, epoch, 4, 1.5), tmp_path)["outlier_epoch"]
    assert finding.epochs == (epoch,) and finding.to_json()["epoch"] == epoch
    assert finding.figures["arch_index"] == 4 and "arch 4" in finding.evidence


@pytest.mark.parametrize("epoch", PLACES)
def test_all_archs_move_alike_and_none_is_named(epoch: int, tmp_path: Path) -> None:
    finding = found(moved(epoch, epoch, None, 0.4), tmp_path)["outlier_epoch"]
    assert finding.epochs == (epoch,) and "arch_index" not in finding.figures


def test_two_outliers_are_both_listed_and_the_larger_is_the_epoch(tmp_path: Path) -> None:
    second = moved(40, 40, 4, 2.5)
    first = moved(20, 20, 4, 1.0)
    edits = [first.edit, second.edit]
    finding = found(Recipe(**SMOOTH, edit=lambda rows, epes: [edit(rows, epes) for edit in edits]), tmp_path)
    document = finding["outlier_epoch"].to_json()
    assert document["epoch"] == 40 and document["epochs"] == document["figures"]["outliers"] == [20, 40]


@pytest.mark.parametrize("arch", [4, None])
@pytest.mark.parametrize("epoch", [10, 31, 57, 59])
def test_a_new_level_is_no_outlier(epoch: int, arch: int | None, tmp_path: Path) -> None:
    assert "outlier_epoch" not in found(moved(epoch, 60, arch, 1.0), tmp_path)


def test_a_smooth_history_has_none(tmp_path: Path) -> None:
    assert "outlier_epoch" not in found(Recipe(**SMOOTH), tmp_path)


def rewritten(history: History, epes: Any, file: Path) -> History:
    lines = ["epoch,mean_epe_12,std_epe_12,arch_rank_12"]
    for epoch, values in zip(history.epochs, epes, strict=True):
        lines.append(f"{epoch},{values.mean():.4f},{values.std():.4f},{rank_string(values.tolist())}")
    file.write_text("\n".join(lines) + "\n")
    return read_history(file)


@pytest.mark.parametrize("epoch", PLACES)
def test_outliers_of_the_samples_may_stand_anywhere(shared: Path, tmp_path: Path, epoch: int) -> None:
    flat, healthy = (read_history(shared / "samples" / name) for name in ("loss_falls_epe_flat", "healthy"))
    epes = flat.epes.copy()
    usual = (epes[45] + epes[47]) / 2
    jump, epes[46] = epes[46] - usual, usual
    if epoch <= len(epes):
        epes[epoch - 1] += jump
        finding = outlier(diagnose(rewritten(flat, epes, tmp_path / "flat.csv")))
        assert finding is not None and finding.epochs == (epoch,)
    for arch, by in ((4, 1.5), (slice(None), 0.3)):
        epes = healthy.epes.copy()
        epes[epoch - 1, arch] += by
        finding = outlier(diagnose(rewritten(healthy, epes, tmp_path / "healthy.csv")))
        assert finding is not None and finding.epochs == (epoch,)


def test_the_samples_themselves(shared: Path) -> None:
    findings = {p.name: outlier(diagnose(read_history(p))) for p in (shared / "samples").iterdir() if p.is_dir()}
    assert {name: f and f.epochs for name, f in findings.items()} == {
        "healthy": None,
        "clip_saturated": None,
        "loss_falls_epe_flat": (47,),
    }
    assert np.isfinite(float(str(findings["loss_falls_epe_flat"].figures["z"])))  # type: ignore[union-attr]
