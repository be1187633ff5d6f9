"""KITTI's 16-bit flow: steps of 1/64 px about 2^15, and a third channel that says where it is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeflownas.data.formats import flow_size, is_kitti_flow, kitti_size, read_flow, read_kitti, write_kitti
from edgeflownas.errors import BadSample


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int32, (3, 4, 2), elements=st.integers(-(2**15), 2**15 - 1)),
    arrays(np.bool_, (3, 4)),
)
def test_steps_are_kept_exactly(tmp_path_factory: pytest.TempPathFactory, steps: np.ndarray, valid: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("kitti") / "000000_10.png"
    flow = (steps / 64).astype(np.float32)
    write_kitti(path, flow, valid)
    read, read_valid = read_kitti(path)
    assert kitti_size(path) == (3, 4) and is_kitti_flow(path)
    assert np.array_equal(read_valid, valid) and (read[~valid] == 0).all()
    assert np.array_equal(read[valid], flow[valid])


def test_the_channels_are_those_of_the_devkit(tmp_path: Path) -> None:
    """Written with OpenCV alone (its order is B, G, R), so that reader and writer cannot share a mistake."""
    path = tmp_path / "a.png"
    stored = np.zeros((1, 3, 3), np.uint16)
    stored[0, 0] = (1, 2**15 + 32, 2**15 - 640)  # known, v 0.5, u -10
    stored[0, 1] = (0, 50000, 50000)  # not known
    stored[0, 2] = (7, 2**15, 65535)  # any B but 0 is known
    assert cv2.imwrite(str(path), stored)
    flow, valid = read_flow(path)
    assert valid.tolist() == [[True, False, True]]
    assert flow.tolist() == [[[-10.0, 0.5], [0.0, 0.0], [511.984375, 0.0]]]


def test_values_between_steps_are_rounded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    flow = np.array([[[0.3, -0.3], [100.004, 1 / 128]]], np.float32)
    write_kitti(path, flow)
    assert np.abs(read_kitti(path)[0] - flow).max() <= 1 / 128


@pytest.mark.parametrize("value", [512.0, -512.1, np.nan, np.inf])
def test_what_the_format_cannot_hold_is_not_written(tmp_path: Path, value: float) -> None:
    flow = np.zeros((2, 2, 2), np.float32)
    flow[0, 1, 1] = value
    with pytest.raises(ValueError, match="512 to 511.98|not finite"):
        write_kitti(tmp_path / "a.png", flow)
    write_kitti(tmp_path / "a.png", flow, np.array([[True, False], [True, True]]))  # an unknown pixel may be anything
    assert read_kitti(tmp_path / "a.png")[1].tolist() == [[True, False], [True, True]]


def test_other_pictures_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(BadSample, match="is 8-bit RGB, expected 16-bit RGB"):
        read_flow(path)
    assert not is_kitti_flow(path)
    write_kitti(path, np.zeros((4, 5, 2), np.float32))
    content = bytearray(path.read_bytes())
    content[45] ^= 1
    path.write_bytes(content)
    assert flow_size(path) == (4, 5)
    with pytest.raises(BadSample, match="fails its checksum"):
        read_flow(path)
    path.write_bytes(content[:-5])
    with pytest.raises(BadSample, match="cut off"):
        flow_size(path)
