"""Figures of gradients, rate, coverage and time."""

from __future__ import annotations

import numpy as np
import pytest
from report_histories import made_history, with_record

from edgeflownas.report.html.scope import Scope
from edgeflownas.report.html.training import gradient_charts, plan_charts, time_charts


def charts(maker, *histories):
    return {chart.id: chart for chart in maker(Scope(histories))}


def test_shares_of_a_stack_add_up_to_the_whole():
    chart = charts(time_charts, made_history())["time"]
    assert chart.kind == "stack" and chart.limits == (0.0, 100.0)
    total = np.sum([line.y for line in chart.series], axis=0)
    np.testing.assert_allclose(total, 100.0, atol=1e-3)


def test_measured_shares_are_preferred():
    chart = charts(time_charts, made_history(share_step=0.7, share_eval=0.3))["time"]
    assert {line.name: line.y[0] for line in chart.series} == {"training steps": 70.0, "evaluation": 30.0}


def test_coverage_is_a_share_of_the_training_set():
    chart = charts(plan_charts, made_history())["coverage"]
    assert chart.series[0].y[0] == pytest.approx(100 * 1530 / 17785, abs=1e-3)


def test_what_was_not_measured_gets_no_figure():
    history = made_history(clip_rate=None, lr=None, data_wait_share=None, epoch_seconds=None, unique_samples=None)
    found = {**charts(gradient_charts, history), **charts(plan_charts, history), **charts(time_charts, history)}
    assert set(found) == {"gradient"}


def test_options_and_blocks_of_the_monitors():
    options = [
        {
            "epoch": epoch,
            "block": "EB0",
            "option": str(digit),
            "meaning": f"depth {digit + 1}",
            "train_loss_relative": digit - 1,
        }
        for epoch in (1, 2)
        for digit in range(3)
    ]
    monitor = [
        {"step": 10, "epoch": 1, "path": path, "code": "0", "block": block, "grad_norm": norm + path}
        for path in range(3)
        for block, norm in (("all", 5.0), ("EB0", 1.0))
    ]
    found = charts(gradient_charts, with_record(made_history(), per_option=options, monitor=monitor))
    assert [line.name for line in found["options"].panels[0].series] == ["depth 1", "depth 2", "depth 3"]
    assert found["options"].panels[0].series[0].y == (-1.0, -1.0)
    block = found["blocks"].panels[1]
    assert (block.title, block.series[0].y, block.series[0].low, block.series[0].high) == (
        "EB0",
        (2.0,),
        (1.0,),
        (3.0,),
    )
    assert found["blocks"].x_label == "step" and found["blocks"].scale == "log"


def test_every_figure_says_its_unit():
    histories = (made_history(name="a"), made_history(name="b"))
    for maker in (gradient_charts, plan_charts, time_charts):
        for chart in [*charts(maker, histories[0]).values(), *charts(maker, *histories).values()]:
            assert "(" in chart.y_label or chart.y_label in ("passes", "pairs per second"), chart.id
