"""The file of every sample's error: same bytes for the same evaluation, and no half-read file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from edgeflownas.errors import DataError
from edgeflownas.evaluate.sample_errors import SampleErrors, read_sample_errors, sample_errors_name

ERRORS = np.array([[1.5, np.nan, 3.25], [2.5, np.nan, 0.125]], np.float32)
MEASURED = SampleErrors(("0,0,0", "0,1,2"), ERRORS, np.array([100, 0, 2**40]), "ab12", 12)


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(MEASURED.to_bytes())
    again = read_sample_errors(path)
    np.testing.assert_array_equal(again.sample_epe, ERRORS)
    assert (again.codes, again.eval_set, again.epoch) == (("0,0,0", "0,1,2"), "ab12", 12)
    assert again.valid_pixels.tolist() == [100, 0, 2**40] and again.to_bytes() == path.read_bytes()
    tensors = load_file(path)  # any reader of the format reads it
    assert {name: (array.dtype.name, array.shape) for name, array in tensors.items()} == {
        "sample_epe": ("float32", (2, 3)),
        "valid_pixels": ("int64", (3,)),
    }


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
def test_any_number_of_samples(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(SampleErrors(("0",), np.ones((1, samples)), np.ones(samples), "x", 1).to_bytes())
    assert read_sample_errors(path).sample_epe.shape == (1, samples)


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = MEASURED.to_bytes()
    short = SampleErrors(("0,0,0",), ERRORS, np.array([1, 0, 1]), "x", 1).to_bytes()
    path = tmp_path / "damaged.safetensors"
    for content in (whole[:-1], whole[:20], b"", b"x" * 100, short, whole.replace(b'"codes"', b'"cades"')):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"damaged\.safetensors"):
            read_sample_errors(path)
    with pytest.raises(DataError, match="absent"):
        read_sample_errors(tmp_path / "absent")


def test_names() -> None:
    assert sample_errors_name(12) == "sample_epe/epoch-00012.safetensors"
    assert sample_errors_name(3, "wide") == "sample_epe/wide-00003.safetensors"
