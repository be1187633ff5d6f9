"""Masks; tests/data/test_formats.py has the images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data.images import mask_size, read_mask
from edgeflownas.errors import BadSample


def test_what_is_not_zero_is_set(tmp_path: Path) -> None:
    gray = np.array([[0, 1, 255], [0, 0, 128]], np.uint8)
    assert cv2.imwrite(str(tmp_path / "gray.png"), gray)
    rgb = np.zeros((2, 3, 3), np.uint8)
    rgb[0, 1, 0], rgb[0, 2, 1], rgb[1, 2, 2] = 1, 255, 128
    assert cv2.imwrite(str(tmp_path / "rgb.png"), rgb)
    for name in ("gray.png", "rgb.png"):
        assert mask_size(tmp_path / name) == (2, 3)
        assert np.array_equal(read_mask(tmp_path / name, (2, 3)), gray != 0)


def test_other_sizes_and_depths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.zeros((2, 3), np.uint8))
    with pytest.raises(BadSample, match="is 2x3, expected 3x2"):
        read_mask(path, (3, 2))
    assert cv2.imwrite(str(path), np.zeros((2, 3), np.uint16))
    with pytest.raises(BadSample, match="16-bit gray, expected 8-bit gray or RGB"):
        mask_size(path)
    path.write_bytes(b"P5 1 1 255\n\0")
    with pytest.raises(BadSample, match="is no PNG"):
        read_mask(path)
