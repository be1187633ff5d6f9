"""What an evaluation found: rows that are appended, what a comparison makes of them, and the errors of every sample."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgeflownas.errors import DataError, StorageError
from edgeflownas.evaluate import results

ROW = results.ResultRow(
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


def test_the_fields_are_the_agreed_ones():
    labels = ["model", "code", "protocol", "split_label", "precision", "batch_shape"]
    assert list(ROW.to_json()) == [*labels, "samples", *results.FIGURES, "source"]


def test_appended_rows_are_lines_of_the_file_and_results_of_a_comparison(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    results.append_results(path, [ROW, replace(ROW, code=None)])
    results.append_results(path, [replace(ROW, model="näher\n2")])
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert rows[0] == ROW.to_json() and [row["model"] for row in rows] == [ROW.model, ROW.model, "näher\n2"]
    found = results.parse_result(rows[0], "supernet")
    assert (
        found.label == results.Label("standard", ROW.split_label, "640 samples")
        and found.batch_shape == ROW.batch_shape
    )
    assert found.figures == {name: value for name in results.FIGURES if (value := getattr(ROW, name)) is not None}


def test_a_line_that_was_cut_off_is_not_written_onto(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    results.append_results(path, [ROW])
    cut = path.read_bytes()[:-5]
    path.write_bytes(cut)
    with pytest.raises(StorageError, match="cut off"):
        results.append_results(path, [ROW])
    assert path.read_bytes() == cut


def test_a_place_that_cannot_be_written(tmp_path):
    for place in (tmp_path / "missing" / "evaluations.jsonl", tmp_path):
        with pytest.raises(StorageError, match="cannot be written"):
            results.append_results(place, [ROW])


def test_what_is_no_number_is_not_written(tmp_path):
    broken: dict[str, Any] = {"epe": float("inf")}
    with pytest.raises(ValueError):
        results.append_results(tmp_path / "x.jsonl", [replace(ROW, **broken)])
    assert not (tmp_path / "x.jsonl").exists()


LINE: dict[str, Any] = {
    "model": "a/step-00000004",
    "code": "0,0,0,0,2,1,2,2,2",
    "protocol": "edgeflownet:352x480,clip50",
    "split_label": "fc2/folder:val/640/9f3a",
    "samples": 640,
    "epe": 2.5,
}


def test_a_row_with_what_is_needed():
    found = results.parse_result(LINE, "a")
    assert found.label == results.Label(LINE["protocol"], LINE["split_label"], "640 samples")
    assert (found.run, found.model, found.code, found.epe) == ("a", LINE["model"], LINE["code"], 2.5)


def test_missing_optional_fields_are_tolerated_and_null_is_missing():
    bare = {key: LINE[key] for key in ("protocol", "split_label", "epe")} | {"px1": None, "later_field": 3}
    found = results.parse_result(bare, "a")
    assert found.model == "a" and dict(found.figures) == {"epe": 2.5}
    assert found.label.samples != results.parse_result(bare, "b").label.samples  # unknown pixels are nobody else's
    assert math.isnan(results.parse_result(LINE | {"epe": "nan"}, "a").epe)


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
def test_what_makes_a_figure_worthless_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        results.parse_result(LINE | change, "a")


def test_references_belong_to_no_run():
    assert results.parse_result(LINE | {"model": "zero", "code": None}, "a").run == ""
    assert results.parse_result(LINE | {"model": "zero"}, "a").run == "a"  # a run that somebody called zero


ERRORS = np.array([[1.5, np.nan, 3.25], [2.5, np.nan, 0.125]], np.float32)
MEASURED = results.SampleErrors(("0,0,0", "0,1,2"), ERRORS, np.array([100, 0, 2**40]), "ab12", 12)


def test_round_trip_and_equal_bytes(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(MEASURED.to_bytes())
    again = results.read_sample_errors(path)
    np.testing.assert_array_equal(again.sample_epe, ERRORS)
    assert (again.codes, again.eval_set, again.epoch) == (("0,0,0", "0,1,2"), "ab12", 12)
    assert again.valid_pixels.tolist() == [100, 0, 2**40] and again.to_bytes() == path.read_bytes()
    tensors = load_file(path)  # any reader of the format reads it
    assert {name: (array.dtype.name, array.shape) for name, array in tensors.items()} == {
        "sample_epe": ("float32", (2, 3)),
        "valid_pixels": ("int64", (3,)),
    }


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
def test_any_number_of_samples(tmp_path, samples):
    path = tmp_path / "a.safetensors"
    path.write_bytes(results.SampleErrors(("0",), np.ones((1, samples)), np.ones(samples), "x", 1).to_bytes())
    assert results.read_sample_errors(path).sample_epe.shape == (1, samples)


def test_damaged_files_are_refused_by_name(tmp_path):
    whole = MEASURED.to_bytes()
    short = results.SampleErrors(("0,0,0",), ERRORS, np.array([1, 0, 1]), "x", 1).to_bytes()
    path = tmp_path / "damaged.safetensors"
    for content in (whole[:-1], whole[:20], b"", b"x" * 100, short, whole.replace(b'"codes"', b'"cades"')):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged\.safetensors"):
            results.read_sample_errors(path)
    with pytest.raises(DataError, match="absent"):
        results.read_sample_errors(tmp_path / "absent")


def test_names():
    assert results.sample_errors_name(12) == "sample_epe/epoch-00012.safetensors"
    assert results.sample_errors_name(3, "wide") == "sample_epe/wide-00003.safetensors"
