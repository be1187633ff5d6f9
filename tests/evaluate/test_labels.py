"""Rows of evaluations.jsonl: strict on what decides the label, lenient on the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest

from edgeflownas.evaluate.labels import Label, parse_result

ROW: dict[str, Any] = {
    "model": "a/step-00000004",
    "code": "0,0,0,0,2,1,2,2,2",
    "protocol": "edgeflownet:352x480,clip50",
    "split_label": "fc2/folder:val/640/9f3a",
    "samples": 640,
    "epe": 2.5,
}


def test_a_row_with_what_is_needed() -> None:
    found = parse_result(ROW, "a")
    assert found.label == Label(ROW["protocol"], ROW["split_label"], "640 samples")
    assert (found.run, found.model, found.code, found.epe) == ("a", ROW["model"], ROW["code"], 2.5)


def test_missing_optional_fields_are_tolerated_and_null_is_missing() -> None:
    bare = {key: ROW[key] for key in ("protocol", "split_label", "epe")} | {"px1": None, "later_field": 3}
    found = parse_result(bare, "a")
    assert found.model == "a" and dict(found.figures) == {"epe": 2.5}
    assert found.label.samples != parse_result(bare, "b").label.samples  # unknown pixels are nobody else's
    assert math.isnan(parse_result(ROW | {"epe": "nan"}, "a").epe)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"protocol": None}, "protocol must be text"),
        ({"protocol": " "}, "protocol must be text"),
        ({"protocol": "mine"}, "protocol 'mine' is unknown: expected standard"),
        ({"protocol": "standardised"}, "unknown"),
        ({"split_label": None}, "split_label must be text"),
        ({"split_label": 640}, "split_label must be text"),
        ({"epe": None}, "epe is missing"),
        ({"epe": True}, "epe must be a number"),
        ({"epe": "2.5"}, "epe must be a number"),
        ({"epe": -1.0}, "epe must not be negative"),
        ({"samples": 0}, "samples must be a positive count"),
        ({"samples": 2.5}, "samples must be a positive count"),
        ({"model": 3}, "model must be text"),
        ({"px1": "many"}, "px1 must be a number"),
    ],
)
def test_what_makes_a_figure_worthless_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse_result(ROW | change, "a")


def test_references_belong_to_no_run() -> None:
    assert parse_result(ROW | {"model": "zero", "code": None}, "a").run == ""
    assert parse_result(ROW | {"model": "zero"}, "a").run == "a"  # a run that somebody called zero
