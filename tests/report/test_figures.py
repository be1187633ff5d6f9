"""Figures as data: what shares an axis, what is left out, the pool of the last evaluation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_histories import made_history, with_record

from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.evaluate.results import SampleErrors, sample_errors_name
from edgeflownas.report.diagnosis import Diagnosis
from edgeflownas.report.figures import Chart, Panel, Scope, Series, all_charts, series, stretches
from edgeflownas.report.pool import pool_rows

HEALTHY = Diagnosis("healthy", (), ())


def charts(*histories):
    found = all_charts(Scope(histories), [HEALTHY] * len(histories))
    return {chart.id: chart for group in found.values() for chart in group}


def test_a_chart_as_json_holds_six_digits_no_nan_and_nothing_that_is_default():
    assert series("x", "e0", np.full(3, np.nan)) is None, "a line without a finite value is no line"
    line = series("x", "e0", [1 / 3, math.inf], low=[0.5, np.nan], high=np.full(2, np.nan), arch=0)
    assert line == Series("x", "e0", (0.333333, None), low=(0.5, None), arch=0)
    chart = Chart("a", "epe", "A", "about", "EPE (px)", "multiples", panels=(Panel("p", (line,), 0),), scale="log")
    drawn = {"name": "x", "x": "e0", "y": [0.333333, None], "low": [0.5, None], "arch": 0}
    facts = {"id": "a", "topic": "epe", "title": "A", "about": "about", "y_label": "EPE (px)", "kind": "multiples"}
    assert chart.document() == {**facts, "scale": "log", "panels": [{"title": "p", "series": [drawn], "arch": 0}]}


# -- labels --


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({}, 1),
        ({"eval_set": "bbbb"}, 2),
        ({"split_label": "fc2/folder:val/640/1111"}, 2),
        ({"epe_protocol": "standard"}, 2),
        ({"eval_set": None}, 2),
        ({"archs": 11}, 2),
    ],
    ids=str,
)
def test_another_set_split_protocol_or_pool_is_another_label(changes, labels):
    assert len(stretches([made_history(name="a"), made_history(**{"name": "b", "seed": 1, **changes})])) == labels


def test_other_codes_and_sets_that_are_unknown_are_never_taken_for_the_same():
    one, other = made_history(name="a"), made_history(name="b")
    assert len(stretches([one, replace(other, codes=other.codes[::-1])])) == 2
    assert len(stretches([made_history(name="a", eval_set=None), made_history(name="b", eval_set=None)])) == 2


@given(st.lists(st.sampled_from(["aaaa", "bbbb", None]), min_size=1, max_size=12))
def test_no_epe_figure_holds_rows_of_two_labels(sets):
    scope = Scope([made_history(len(sets), 3, eval_set=lambda place: sets[place])])
    found = [chart for chart in all_charts(scope, [HEALTHY])["Accuracy"] if chart.id.split("-")[0] == "epe"]
    shown = [[int(x) - 1 for x in scope.axes[chart.series[0].x] if x is not None] for chart in found]
    assert sorted(row for rows in shown for row in rows) == list(range(len(sets)))
    assert all(len({sets[row] for row in rows}) == 1 for rows in shown)


# -- figures of columns and of monitors --


def test_shares_add_up_and_measured_ones_are_preferred():
    found = charts(made_history())
    assert found["coverage"].series[0].y[0] == pytest.approx(100 * 1530 / 17785, abs=1e-3)
    assert found["time"].kind == "stack" and found["time"].limits == (0.0, 100.0)
    np.testing.assert_allclose(np.sum([line.y for line in found["time"].series], axis=0), 100.0, atol=1e-3)
    measured = charts(made_history(share_step=0.7, share_eval=0.3))["time"]
    assert {line.name: line.y[0] for line in measured.series} == {"training steps": 70.0, "evaluation": 30.0}


def test_what_was_not_measured_gets_no_figure():
    gone = ("clip_rate", "lr", "data_wait_share", "epoch_seconds", "unique_samples")
    found = charts(made_history(**dict.fromkeys(gone)))
    assert set(found) == {"epe", "loss", "archs", "ranks", "spread", "tau", "gradient"}


def test_options_and_blocks_of_the_monitors():
    facts = [{"option": str(n), "meaning": f"depth {n + 1}", "train_loss_relative": n - 1} for n in range(3)]
    options = [{"epoch": epoch, "block": "EB0", **own} for epoch in (1, 2) for own in facts]
    norms = [("all", 5.0 + path) for path in range(3)] + [("EB0", 1.0 + path) for path in range(3)]
    monitor = [{"step": 10, "block": block, "grad_norm": norm} for block, norm in [*norms, ("EB0", "")]]  # one is torn
    found = charts(with_record(made_history(), per_option=options, monitor=monitor))
    lines = [(line.name, line.y) for line in found["options"].panels[0].series]
    assert lines == [("depth 1", (-1.0, -1.0)), ("depth 2", (0.0, 0.0)), ("depth 3", (1.0, 1.0))]
    (line,) = found["blocks"].panels[1].series
    assert (line.name, line.y, line.low, line.high) == ("EB0", (2.0,), (1.0,), (3.0,))
    assert found["blocks"].x_label == "step" and found["blocks"].scale == "log"


def test_every_figure_says_its_unit_and_runs_go_by_name_and_colour():
    one, two = charts(made_history(name="a")), charts(made_history(name="a"), made_history(name="b"))
    for chart in [*one.values(), *two.values()]:
        assert "(" in chart.y_label or chart.y_label in ("passes", "pairs per second", "rank"), chart.id
    assert [(line.name, line.colour) for line in two["lr"].series] == [("a", "c0"), ("b", "c1")]
    assert [panel.title for panel in two["gradient"].panels] == ["median", "90 %", "99 %"]
    assert two["archs-1"].title == "EPE of each subnet of b" and two["archs-1"].run == 1


# -- the pool --


def stored(folder, eval_set="aaaa"):
    """A history of one evaluation with the errors of its samples beside it."""
    rng = np.random.default_rng(0)
    history = made_history(1, 3)
    errors = (5 + rng.random((1, 40)) + 0.3 * np.arange(3)[:, None] + 0.01 * rng.random((3, 40))).astype(np.float32)
    pixels = rng.integers(50, 100, 40)
    noise = pool_noise(errors, pixels)
    history = replace(history, source=folder, epes=noise.epes[None], rows=({**history.rows[0], "arch_rank_12": ""},))
    path = folder / sample_errors_name(1)
    path.parent.mkdir()
    path.write_bytes(SampleErrors(history.codes, errors, pixels, eval_set, 1).to_bytes())
    return history, noise


def test_best_first_and_differences_from_it():
    history = made_history()
    rows = pool_rows(history)
    assert [row.epe for row in rows] == sorted(history.epes[-1].tolist())
    assert rows[0].behind == 0.0 and [row.rank for row in rows[:3]] == ["1", "2", "3"]
    assert [row.arch for row in rows if row.baseline] == [6] and {row.interval for row in rows} == {None}


def test_intervals_are_paired_and_of_the_same_set(tmp_path):
    history, noise = stored(tmp_path)
    rows = {row.arch: row for row in pool_rows(history)}
    assert rows[2].interval == pytest.approx(noise.bounds[0, 2])
    assert rows[2].interval < noise.margins()[2] / 5, "the difficulty of the samples cancels"
    assert not rows[2].tied and rows[0].interval is None
    (tmp_path / "other").mkdir()
    assert all(row.interval is None for row in pool_rows(stored(tmp_path / "other", eval_set="bbbb")[0]))


def test_shared_ranks_are_tied_and_nan_comes_last():
    history = made_history(1, 3)
    tied = replace(history, rows=({**history.rows[0], "arch_rank_12": "1:0:5.0|1:1:5.0|3:2:5.1"},))
    assert [(row.rank, row.tied) for row in pool_rows(tied)] == [("1", True), ("1", True), ("3", False)]
    history.epes[0, 0] = math.nan
    assert pool_rows(history)[-1].arch == 0 and math.isnan(pool_rows(history)[-1].behind)
