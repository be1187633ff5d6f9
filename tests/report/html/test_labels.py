"""Two labels never share an EPE axis."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_histories import made_history

from edgeflownas.report.html.accuracy import accuracy_charts
from edgeflownas.report.html.labels import stretches
from edgeflownas.report.html.scope import Scope


def test_the_same_frozen_set_is_one_label_of_two_runs():
    found = stretches([made_history(name="a"), made_history(name="b", seed=1)])
    assert [[part.run for part in parts] for parts in found.values()] == [[0, 1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"eval_set": "bbbb"},
        {"split_label": "fc2/folder:val/640/1111"},
        {"epe_protocol": "standard"},
        {"eval_set": None},
    ],
    ids=str,
)
def test_another_set_split_or_protocol_is_another_label(changes: dict[str, str]):
    assert len(stretches([made_history(name="a"), made_history(name="b", **changes)])) == 2


def test_another_pool_is_another_label():
    other = made_history(name="b")
    assert len(stretches([made_history(name="a"), replace(other, codes=other.codes[::-1])])) == 2


def test_unknown_sets_are_never_taken_for_the_same():
    assert len(stretches([made_history(name="a", eval_set=None), made_history(name="b", eval_set=None)])) == 2


@given(st.lists(st.sampled_from(["aaaa", "bbbb", None]), min_size=1, max_size=12))
def test_no_epe_figure_holds_rows_of_two_labels(sets: list[str | None]):
    history = made_history(len(sets), 3, eval_set=lambda place: sets[place])
    scope = Scope([history])
    charts = [chart for chart in accuracy_charts(scope) if chart.id.split("-")[0] == "epe"]
    shown = [[int(x) - 1 for x in scope.axes[chart.series[0].x] if x is not None] for chart in charts]
    assert sorted(row for rows in shown for row in rows) == list(range(len(sets)))
    assert all(len({sets[row] for row in rows}) == 1 for rows in shown)
