"""Portable float maps: both byte orders, one and three channels, rows from the bottom up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.data.formats import flow_size, pfm_size, read_flow, read_pfm, write_flow, write_pfm
from edgeflownas.errors import BadSample


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-1e9, 1e9, width=32)),
    st.booleans(),
    st.booleans(),
)
def test_written_values_are_read_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, big_endian: bool, three: bool
) -> None:
    path = tmp_path_factory.mktemp("pfm") / "a.pfm"
    stored = np.stack([values, values + 1, -values], axis=2) if three else values
    write_pfm(path, stored, big_endian)
    assert pfm_size(path) == values.shape
    read = read_pfm(path)
    assert read.dtype == np.float32 and np.array_equal(read, stored)


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    """Bottom row first, u and v first; written by hand, so that reader and writer cannot share a mistake."""
    path = tmp_path / "OpticalFlowIntoFuture_0006_L.pfm"
    bottom, top = [[5, 6, 0], [7, 8, 0]], [[1, 2, 0], [3, 4, 0]]
    for order, scale in (("<", b"-1.0"), (">", b"1")):
        path.write_bytes(b"PF\n2 2\n" + scale + b"\n" + np.array([bottom, top], f"{order}f4").tobytes())
        flow, valid = read_flow(path)
        assert flow.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]] and valid.all() and flow_size(path) == (2, 2)
    write_flow(path, flow)
    assert path.read_bytes() == b"PF\n2 2\n-1.0\n" + np.array([bottom, top], "<f4").tobytes()


def test_what_is_not_finite_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    values = np.zeros((3, 4, 3), np.float32)
    values[1, 2, 0] = np.nan
    write_pfm(path, values)
    assert flow_size(path) == (3, 4)  # the header is sound
    for reader in (read_flow, read_pfm):
        with pytest.raises(BadSample, match="not finite, first at row 1, column 2"):
            reader(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no readable PFM header"),
        (b"P6\n2 2\n255\n" + bytes(12), "no readable PFM header"),
        (b"PF\n2 2\n-1.0" + bytes(48), "no readable PFM header"),
        (b"PF\n2 2\n0\n" + bytes(48), "scale 0, expected 1 "),
        (b"PF\n2 2\n-0.5\n" + bytes(48), "scale -0.5"),
        (b"PF\n2 2\n1.0.0\n" + bytes(48), "scale 1.0.0"),
        (b"PF\n0 2\n-1\n", "claims 2x0"),
        (b"PF\n99999 99999\n-1\n", "claims 99999x99999"),
        (b"PF\n2 2\n-1\n" + bytes(47), "cut off: 57 bytes, this 2x2 PFM with 3 channels takes exactly 58"),
        (b"PF\n2 2\n-1\n" + bytes(49), "too long"),
        (b"Pf\n2 2\n-1\n" + bytes(16), "one channel"),
    ],
)
def test_faulty_files_are_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(content)
    with pytest.raises(BadSample) as caught:
        read_flow(path)
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_what_the_format_cannot_hold_is_not_written(tmp_path: Path) -> None:
    flow = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="cannot mark invalid pixels"):
        write_flow(tmp_path / "a.pfm", flow, np.array([[True, False], [True, True]]))
    for values in (flow, flow[..., :1], np.zeros((0, 3), np.float32)):
        with pytest.raises(ValueError, match=r"holds \[H,W\] or"):
            write_pfm(tmp_path / "a.pfm", values)
    assert list(tmp_path.iterdir()) == []
