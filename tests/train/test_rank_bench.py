"""The bench of the ranking on a space of eight: both sides agree, times are scaled, the growth is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from numeric import FLOAT32

from edgeflownas.cli import run
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.report.growth_figure import write_growth
from edgeflownas.space import Choice, SearchSpace
from edgeflownas.train.rank_bench import bench_rank, rank_growth

CPU = torch.device("cpu")
SPACE = SearchSpace(
    "tiny",
    (Choice("EB0", "depth", (1, 2)), Choice("H1", "kernel", (3, 5)), Choice("H2Out", "kernel", (3, 7))),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch's threads wait for each other actively, which on a busy machine takes a hundred times as long."""
    with torch_threads(1):
        yield


@pytest.mark.e2e
def test_bench_and_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflownas.evaluate.tree.evaluator.quickest", lambda *_, **__: 0.1)  # its own test has that
    done: list[None] = []
    result = bench_rank(SPACE, CPU, 2, (28, 32), (2, 1), 3, lambda: done.append(None))
    assert len(done) == 3 and (result["archs"], result["units"]) == (8, 2)
    assert 0 <= result["largest_epe_difference_px"] < 8 * FLOAT32 * 7.0  # EPEs of random networks here: 7 to 10 px
    assert result["one_by_one_seconds"] == pytest.approx(8 * result["one_by_one_seconds_each"])
    assert result["speedup"] == pytest.approx(result["one_by_one_seconds"] / result["tree_seconds"])
    assert 0 < result["share_of_peak"] < 2 and result["arithmetic_speedup"] > 1 and result["peak_memory_mib"] > 0
    rows = rank_growth(SPACE, CPU, 2, (28, 32), 2)
    assert [(row.kind, row.samples, row.codes) for row in rows] == [
        *(("samples", 1, 4), ("samples", 2, 4)),
        *(("codes", 1, 1), ("codes", 1, 3), ("codes", 1, 8)),
    ]
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra figures)")
    paths = write_growth(rows, tmp_path / "growth")
    assert [path.name for path in paths] == ["growth.csv", "growth_samples.png", "growth_codes.png"]
    assert len(paths[0].read_text().splitlines()) == 6 and all(path.stat().st_size > 5000 for path in paths[1:])


def test_impossible_numbers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "rank", "--codes", "0"]) == 64
    assert "--codes 0 must be at least 1" in capsys.readouterr().err
