"""Result rows: what is written is read, and a damaged line is an error with its number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.errors import StorageError
from edgeflownas.evaluate.results import FIGURES, ResultRow, append_results, read_results

ROW = ResultRow(
    model="supernet/step-00000004",
    code="0,0,0,0,2,1,2,2,2",
    protocol="standard",
    split_label="fc2/folder:val/640/9f3a",
    precision="fp32",
    batch_shape="1x6x384x512",
    samples=640,
    epe=2.75,
    epe_per_image=2.5,
    fl_all=0.25,
    px1=0.5,
    px3=0.75,
    px5=0.875,
    s0_10=1.0,
    s10_40=4.0,
    s40_plus=None,
    epe_occluded=None,
    epe_visible=None,
    source="ab" * 32,
)
figure = st.floats(0, 1e9, allow_subnormal=True)
rows = st.builds(
    ResultRow,
    *[st.text(), st.none() | st.text(), st.text(), st.text(), st.text(), st.text(), st.integers(1, 10**9)],
    *[figure] * 6,
    *[st.none() | figure] * 5,
    st.none() | st.text(),
)


@given(rows)
def test_json_and_back(row: ResultRow) -> None:
    assert ResultRow.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False))) == row


def test_the_fields_are_the_agreed_ones() -> None:
    labels = ["model", "code", "protocol", "split_label", "precision", "batch_shape"]
    assert list(ROW.to_json()) == [*labels, *FIGURES, "source"]


def test_append_and_read(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.jsonl"
    assert read_results(path) == []
    append_results(path, [ROW, replace(ROW, code=None)])
    append_results(path, [replace(ROW, model="näher\n2")])
    assert [row.model for row in read_results(path)] == [ROW.model, ROW.model, "näher\n2"]
    assert read_results(path)[0] == ROW and path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2 is not a result row"),
        ("[1]", "expected an object"),
        ("", "line 2"),
        ("[" * 100_000, "line 2"),
        (json.dumps({**ROW.to_json(), "epe": float("nan")}), "epe must be a finite number, got nan"),
        (json.dumps({**ROW.to_json(), "epe": None}), "epe must be a finite number"),
        (json.dumps({**ROW.to_json(), "px1": True}), "px1 must be"),
        (json.dumps({**ROW.to_json(), "samples": 0}), "samples must be a positive count"),
        (json.dumps({**ROW.to_json(), "protocol": None}), "protocol must be text"),
        (json.dumps({**ROW.to_json(), "wauc": 1}), "unknown wauc"),
        (json.dumps({"model": "x"}), "lacks code, protocol"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "evaluations.jsonl"
    append_results(path, [ROW])
    path.write_text(path.read_text() + line + "\n" + json.dumps(ROW.to_json()) + "\n")
    with pytest.raises(StorageError) as caught:
        read_results(path)
    assert problem in str(caught.value) and str(path) in str(caught.value) and "--record" in str(caught.value)


def test_a_line_that_was_cut_off_is_not_written_onto(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.jsonl"
    append_results(path, [ROW])
    cut = path.read_bytes()[:-5]
    path.write_bytes(cut)
    with pytest.raises(StorageError, match="cut off"):
        append_results(path, [ROW])
    assert path.read_bytes() == cut
    with pytest.raises(StorageError, match="line 1"):
        read_results(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    for place in (tmp_path / "missing" / "evaluations.jsonl", tmp_path):
        with pytest.raises(StorageError, match="cannot be written"):
            append_results(place, [ROW])
    with pytest.raises(StorageError, match="cannot be read"):
        read_results(tmp_path)


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    broken: dict[str, Any] = {"epe": float("inf")}
    with pytest.raises(ValueError):
        append_results(tmp_path / "x.jsonl", [replace(ROW, **broken)])
    assert not (tmp_path / "x.jsonl").exists()
