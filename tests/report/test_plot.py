"""Pictures by matplotlib: every figure, the same bytes each time, names as they are, nothing cut off."""

import math
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from report_histories import made_history

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.results import Label, Result
from edgeflownas.report.compare import label_columns
from edgeflownas.report.diagnosis import Diagnosis
from edgeflownas.report.plot import PANEL, Course, comparison_figure, write_figures, write_vela_figures

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra figures)")
from matplotlib.figure import Figure  # noqa: E402

HEALTHY = Diagnosis("healthy", (), ())
SECONDS = ("epoch_seconds", "eval_seconds", "bn_recal_seconds", "data_wait_share")
LOSSES = ("train_loss", "train_loss_optical", "train_loss_uncertainty", "lr", "std_epe_12", "unique_samples")
CLIPPING = ("clip_rate", "clip_threshold", "grad_norm_p50", "grad_norm_p90", "grad_norm_p99", "seen_samples")
FEW = dict.fromkeys((*SECONDS, *LOSSES, *CLIPPING))  # what is left are figures of the EPE


def written(folder, *histories, only=""):
    """The SVG figures whose names begin with ``only``."""
    write_figures(histories, [HEALTHY] * len(histories), folder)
    return {path.name: path.read_bytes() for path in folder.glob(f"{only}*.svg")}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved while the test runs."""
    found: list[Figure] = []
    save = Figure.savefig

    def kept(figure, *words, **options):
        found.append(figure)
        save(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return found


@pytest.mark.e2e
def test_same_history_same_bytes(tmp_path):
    first = written(tmp_path / "a", made_history(3, 3, "$x_1$ <&>"))
    again = written(tmp_path / "b", made_history(3, 3, "$x_1$ <&>", **FEW))  # of some of them
    assert 3 < len(again) < len(first) and again.items() <= first.items()
    assert {"epe.svg", "loss.svg", "ranks.svg", "archs.svg", "pool.svg", "time.svg"} <= set(first)
    assert not any(b"<dc:date>" in data for data in first.values())
    assert all(path.stat().st_size > 5000 for path in (tmp_path / "a").glob("*.png"))


@pytest.mark.e2e
def test_runs_are_overlaid_by_their_names_and_nan_is_left_out(tmp_path):
    found = written(tmp_path / "a", made_history(2, 2, "$one$", **FEW), made_history(2, 2, "_two", **FEW), only="epe")
    assert b"$one$" in found["epe.svg"] and b"_two" in found["epe.svg"]
    history = made_history(1, 3, **FEW)
    history.epes[0, 1] = float("nan")
    assert "pool.svg" in written(tmp_path / "b", replace(history, rows=({**history.rows[0], "arch_rank_12": ""},)))


def test_without_matplotlib_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"edgeflownas\[figures\]"):
        write_figures([made_history(1, 2)], [HEALTHY], tmp_path)


# -- a comparison of runs --

ONE = Label("standard", "fc2/folder:val/640/9f3a", "640 samples")
OTHER = Label("standard", "sintel/clean/23/0123", "23 samples")


def result(label, epe, run="a", model="m"):
    return Result(run, model, None, label, "model", {"epe": epe})


def course(run, *epes):
    return Course(run, [(100.0 * (i + 1), epe, epe, epe) for i, epe in enumerate(epes)])


def lines_of(axes):
    """Colour and values of the lines by name."""
    return {line.get_label(): (line.get_color(), line.get_ydata().tolist()) for line in axes.get_lines()[:2]}


def size(picture):
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape[:2]


def test_each_label_has_its_own_panel_and_a_run_keeps_its_colour(drawn):
    columns = label_columns([result(ONE, 4.0), result(ONE, 5.0, "b"), result(OTHER, 5.0, "b")])
    curves = {ONE: [course("a", 8, 6, 4), course("b", 9, 7, 5)], OTHER: [course("b", 9, 5)]}
    assert size(comparison_figure(columns, curves)) == (2 * PANEL, 1280)
    upper, lower = map(lines_of, drawn[0].axes)
    assert upper["a"][1] == [8, 6, 4] and lower["b"][1] == [9, 5]
    assert upper["a"][0] != upper["b"][0] == lower["b"][0]


def test_results_without_a_course_are_bars(drawn):
    picture = comparison_figure(label_columns([result(ONE, 4.0), result(ONE, 8.0, "b")]), {})
    assert [bar.get_width() for bar in drawn[0].axes[0].patches] == [4.0, 8.0] and size(picture)[0] < PANEL


def test_zero_flow_is_dashed_and_not_finite_figures_break_nothing(drawn):
    bad = Course("a", [(100.0, math.nan, math.nan, math.nan), (200.0, 4.0, math.nan, math.inf)])
    columns = label_columns([result(ONE, math.nan), result(ONE, 9.0, "", "zero flow")])
    for shown, curves in ((columns, {ONE: [bad]}), (label_columns([result(ONE, math.nan)]), {})):
        comparison_figure(shown, curves)
    comparison_figure(columns[:1], {ONE: [course("a", 0.0)]})
    assert [line.get_ydata()[0] for line in drawn[0].axes[0].get_lines()] == [4.0, 9.0]
    assert "zero flow, 9.00 px" in drawn[0].axes[0].get_legend().get_title().get_text()


# -- vela --

FACTS = {
    **{"version": "5.2.0", "target": "a-board-with-a-long-name", "accelerator": "ethos-u55-64", "clock": "400 MHz"},
    **{"mode": "performance", "arena": "2 KiB", "constants": "OffChipFlash", "system_config": "System_" * 5},
    **{"memory_mode": "Memory_" * 5, "ini_sha256": "0123456789abcdef"},
}
NAMES = [f"DB1.{number}.sum_x2" for number in range(12)]
SAID = ("Vela 5.2.0", "ethos-u55-64 at 400 MHz", "mode performance", "arena 2 KiB", "0123456789ab", "not kept")


def model(name):
    figures = {"kind": "Conv2D", "cycles": 100, "cascade": 1}
    ranges = {"use": "tensor", "address": 0, "bytes": 2560, "start": 0, "end": 1}
    return {
        **{"name": name, "milliseconds": 1.0, "cycles": 1200, "sram_kib": 2.5, "arena_kept": False, "facts": FACTS},
        **{"layers": [{"name": each, "time": time, **figures} for time, each in enumerate(NAMES)]},
        **{"placed": [{"names": ["a"], **ranges}], "peak": {"time": 1, "operators": NAMES}},
    }


@pytest.mark.parametrize("name", ["model", "a model of many words " * 12, "model_7_" * 18])
def test_titles_stay_inside_and_say_what_decides_the_figures(name, tmp_path, monkeypatch):
    shown: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: (figure.canvas.draw(), shown.append(figure)))
    assert len(write_vela_figures(model(name), tmp_path)) == len(shown) == 2
    for figure in shown:
        said = figure.get_suptitle().replace("\n", " ") + figure.get_supxlabel().replace("\n", " ")
        assert [words for words in SAID if words not in said] == []
        for text in (figure._suptitle, figure._supxlabel):  # type: ignore[attr-defined]
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1
