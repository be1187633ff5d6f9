"""The figure: a panel a label, one colour a run, values where the axes say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.evaluate.results import Label, Result
from edgeflownas.report.comparison import label_columns
from edgeflownas.report.comparison_figure import COLOURS, PANEL, Series, comparison_figure, ticks

ONE = Label("standard", "fc2/folder:val/640/9f3a", "640 samples")
OTHER = Label("standard", "sintel/clean/23/0123", "23 samples")


def result(label: Label, epe: float, run: str = "a") -> Result:
    return Result(run, "m", None, label, "model", {"epe": epe})


def count(picture: np.ndarray, place: int) -> int:
    return int((picture == np.array(COLOURS[place])).all(-1).sum())


def course(*epes: float) -> list[tuple[float, float, float, float]]:
    return [(100.0 * (i + 1), epe, epe, epe) for i, epe in enumerate(epes)]


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_within(start: float, length: float) -> None:
    found = ticks(start, start + length)
    tolerance = 1e-6 * (start + length)
    assert 1 <= len(found) <= 6
    assert start - tolerance <= min(found) and max(found) <= start + length + tolerance


def test_runs_of_one_label_share_a_panel_and_differ_in_colour() -> None:
    columns = label_columns([result(ONE, 4.0), result(ONE, 5.0, "b")])
    picture = comparison_figure(columns, {ONE: [Series("a", course(8, 6, 4)), Series("b", course(9, 7, 5))]})
    assert picture.shape[0] == PANEL and min(count(picture, 0), count(picture, 1)) > 200


def test_a_lower_line_is_drawn_lower() -> None:
    columns = label_columns([result(ONE, 4.0), result(ONE, 5.0, "b")])
    picture = comparison_figure(columns, {ONE: [Series("a", course(8, 4)), Series("b", course(9, 5))]})[:, :900]
    rows = [np.nonzero((picture == np.array(COLOURS[place])).all(-1))[0].mean() for place in (0, 1)]
    assert rows[0] > rows[1]


def test_each_label_has_its_own_panel_and_a_run_keeps_its_colour() -> None:
    columns = label_columns([result(ONE, 4.0), result(OTHER, 5.0, "b")])
    picture = comparison_figure(columns, {ONE: [Series("a", course(8, 4))], OTHER: [Series("b", course(9, 5))]})
    assert picture.shape[0] == 2 * PANEL
    upper, lower = picture[:PANEL], picture[PANEL:]
    assert count(upper, 0) and not count(upper, 1) and count(lower, 1) and not count(lower, 0)


def test_results_without_a_course_are_bars() -> None:
    picture = comparison_figure(label_columns([result(ONE, 4.0), result(ONE, 8.0, "b")]), {})
    assert count(picture, 1) == pytest.approx(2 * count(picture, 0), rel=0.05) and picture.shape[0] < PANEL


def test_figures_that_are_not_finite_do_not_break_it() -> None:
    bad = [(100.0, math.nan, math.nan, math.nan), (200.0, 4.0, math.nan, math.inf)]
    columns = label_columns([result(ONE, math.nan)])
    assert count(comparison_figure(columns, {ONE: [Series("a", bad)]}), 0) > 20
    assert comparison_figure(columns, {}).shape[0] < PANEL
    assert comparison_figure(columns, {ONE: [Series("a", course(0.0))]}).shape[0] == PANEL
