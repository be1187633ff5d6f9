"""Pictures of `vela`, from plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from edgeflownas.report.vela_figure import write_vela_figures

FACTS = {
    **{"version": "5.2.0", "target": "a-board-with-a-long-name", "accelerator": "ethos-u55-64", "clock": "400 MHz"},
    **{"mode": "performance", "arena": "2 KiB", "constants": "OffChipFlash", "system_config": "System_" * 5},
    **{"memory_mode": "Memory_" * 5, "ini_sha256": "0123456789abcdef"},
}
NAMES = [f"DB1.{number}.sum_x2" for number in range(12)]


def document(name: str) -> dict[str, Any]:
    figures = {"kind": "Conv2D", "cycles": 100, "cascade": 1}
    ranges = {"use": "tensor", "address": 0, "bytes": 2560, "start": 0, "end": 1}
    return {
        **{"name": name, "milliseconds": 1.0, "cycles": 1200, "sram_kib": 2.5, "arena_kept": False, "facts": FACTS},
        **{"layers": [{"name": each, "time": time, **figures} for time, each in enumerate(NAMES)]},
        **{"placed": [{"names": ["a"], **ranges}], "peak": {"time": 1, "operators": NAMES}},
    }


@pytest.mark.parametrize("name", ["model", "a model of many words " * 12, "model_7_" * 18])
def test_titles_stay_inside_and_say_what_decides_the_figures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    def save(figure: Figure, *_: object, **__: object) -> None:
        figure.canvas.draw()
        drawn.append(figure)

    monkeypatch.setattr(Figure, "savefig", save)
    assert len(write_vela_figures(document(name), tmp_path)) == len(drawn) == 2
    for figure in drawn:
        said = figure.get_suptitle().replace("\n", " ") + figure.get_supxlabel().replace("\n", " ")
        for words in (
            "Vela 5.2.0",
            "ethos-u55-64 at 400 MHz",
            "mode performance",
            "arena 2 KiB",
            "0123456789ab",
            "not kept",
        ):
            assert words in said
        for text in (figure._suptitle, figure._supxlabel):  # type: ignore[attr-defined]
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
