"""Figures for papers: every one, the same bytes each time, names as they are."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from report_histories import made_history  # noqa: E402

from edgeflownas.errors import ConfigError
from edgeflownas.report.diagnosis import Diagnosis
from edgeflownas.report.paper_figures import write_figures

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra figures)")
HEALTHY = Diagnosis("healthy", (), ())


def written(folder: Path, *histories, only: str) -> dict[str, bytes]:
    """The SVG figures whose names begin with ``only``."""
    write_figures(histories, [HEALTHY] * len(histories), folder)
    return {path.name: path.read_bytes() for path in folder.glob(f"{only}*.svg")}


@pytest.mark.e2e
def test_same_history_same_bytes(tmp_path: Path):
    history = made_history(3, 3, "$x_1$ <&>")
    first = written(tmp_path / "a", history, only="")
    assert first == written(tmp_path / "b", history, only="")
    assert {"epe.svg", "loss.svg", "ranks.svg", "archs.svg", "pool.svg", "time.svg"} <= set(first)
    assert not any(b"<dc:date>" in data for data in first.values())
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "a").glob("*.png"))


@pytest.mark.e2e
def test_runs_are_overlaid_by_their_names(tmp_path: Path):
    found = written(tmp_path, made_history(2, 2, "$one$"), made_history(2, 2, "_two"), only="epe")
    assert b"$one$" in found["epe.svg"] and b"_two" in found["epe.svg"]


@pytest.mark.e2e
def test_single_epoch_and_nan(tmp_path: Path):
    history = made_history(1, 3)
    history.epes[0, 1] = float("nan")
    assert "pool.svg" in written(tmp_path, replace(history, rows=({**history.rows[0], "arch_rank_12": ""},)), only="")


def test_without_matplotlib_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"edgeflownas\[figures\]"):
        write_figures([made_history(1, 2)], [HEALTHY], tmp_path)
