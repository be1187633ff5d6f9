"""Charts as data: what is left out, what is rounded."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from edgeflownas.report.html.charts import Chart, Panel, Series, compact, series


def test_six_digits_and_none_for_what_is_not_finite():
    assert compact([1 / 3, math.nan, math.inf, 2.0]) == (0.333333, None, None, 2.0)


def test_a_line_without_a_finite_value_is_no_line():
    assert series("x", "e0", np.full(3, np.nan)) is None
    line = series("x", "e0", [1.0, np.nan], low=[0.5, np.nan], high=np.full(2, np.nan))
    assert line == Series("x", "e0", (1.0, None), low=(0.5, None), high=None)


def test_document_holds_everything_that_is_not_default():
    chart = Chart(
        "a", "epe", "A", "about", "EPE (px)", "multiples", panels=(Panel("p", (Series("x", "e0", (1.0,), arch=0),), 0),)
    )
    document = json.loads(json.dumps(chart.document()))
    assert document["panels"] == [
        {"title": "p", "series": [{"name": "x", "x": "e0", "y": [1.0], "colour": "c0", "arch": 0}], "arch": 0}
    ]
    assert "note" not in document and "scale" not in document
    assert [line.name for line in chart.lines] == ["x"]


@pytest.mark.parametrize("scale", ["log", "percent"])
def test_scale_is_kept(scale: str):
    assert Chart("a", "epe", "A", "", "x", scale=scale).document()["scale"] == scale
