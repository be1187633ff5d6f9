from __future__ import annotations

from typing import Any

from edgeflownas.report.console import counted, scaled
from edgeflownas.report.ranking_text import ranking_text, workload_text

ROW = {"rank": 1, "code": "0,0", "macs": 1e9, "parameters": 7, "sram_kib": 1.0}
FIGURES = ("epe", "epe_margin", "epe_median", "epe_p90")


def document(epe: float | None, tied: int | None) -> dict[str, Any]:
    row = {**ROW, **dict.fromkeys(FIGURES, epe)}
    facts = {"space": "v1", "run": "a", "checkpoint": "latest", "epe": "training"}
    return {
        **{"facts": facts, "subnets": 1, "within_noise_of_best": tied, "top": [row]},
        **{"worst": row, "baseline": None},
    }


def test_how_many_are_as_good_as_the_best() -> None:
    assert ranking_text(document(None, 0)).endswith("no subnet has a finite EPE: all of them diverged")
    assert ranking_text(document(1.0, 1)).endswith("95 %): 1 subnet, itself included")
    assert ranking_text(document(1.0, None)).endswith("nothing is known of the noise")


def test_a_small_piece_of_work() -> None:
    names = ("calibration_macs", "evaluation_macs", "one_by_one_macs", "memory_bytes", "data_bytes", "disk_bytes")
    work = {**dict.fromkeys(names, 774_144), "seconds": 3.0}
    work |= {"subnets": 1, "units": 1, "units_done": 0, "nodes": 9, "processes": 1}
    text = workload_text(work)
    assert text.startswith("1 subnet in 1 unit, 9 nodes; 1.55 MMAC, one by one")
    assert text.endswith("memory 774 kB beside 774 kB of data, disk 774 kB")


def test_figures_with_units() -> None:
    assert [scaled(value, "B") for value in (0, 999, 1000, 1.5e9, 2e15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.5 GB",
        "2000 TB",
    ]
    assert [counted(number, "unit") for number in (0, 1, 1200)] == ["0 units", "1 unit", "1,200 units"]
