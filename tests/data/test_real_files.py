"""Readers on every real file they cover: the flow must take image 1 to image 2 (catches swaps, signs, byte order)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgeflownas.data.formats import flo_size, image_size, read_flo, read_image
from edgeflownas.errors import BadSample

REAL = [
    *[f"flying_chairs_fc2_layout/{name}-{{}}" for name in ("train/0000000", "train/0000001", "train/0000002")],
    *[f"flying_chairs_fc2_layout/{name}-{{}}" for name in ("train/0000003", "val/0000004", "val/0000005")],
    "middlebury/RubberWhale/{}",
    "middlebury/Venus/{}",
    *[f"sintel/training/{{}}/{scene}/{{}}" for scene in ("alley_1", "market_5")],
]


def real_pairs(data: Path, stem: str) -> list[tuple[Path, Path, Path]]:
    """(image 1, image 2, flow) of a real sample; Sintel has two looks of the same flow."""
    if stem.startswith("flying"):
        names = ("img_0.png", "img_1.png", "flow_01.flo")
        one, two, flow = (data / stem.format(name) for name in names)
        return [(one, two, flow)]
    if stem.startswith("middlebury"):
        one, two, flow = (data / stem.format(name) for name in ("frame10.png", "frame11.png", "flow10.flo"))
        return [(one, two, flow)]
    flow = data / stem.format("flow", "frame_0002.flo")
    looks = ("clean", "final")
    return [(data / stem.format(x, "frame_0002.png"), data / stem.format(x, "frame_0003.png"), flow) for x in looks]


def warp_error(
    image1: NDArray[np.uint8], image2: NDArray[np.uint8], flow: NDArray[np.float32], valid: NDArray[np.bool_]
) -> float:
    """Mean |image 1 - image 2 sampled at x + flow| over valid pixels that stay inside."""
    height, width = valid.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside = valid & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    warped = cv2.remap(image2, x, y, cv2.INTER_LINEAR)
    return float(np.abs(warped.astype(np.float32) - image1)[inside].mean())


@pytest.mark.parametrize("stem", REAL)
def test_real_flow_takes_image_one_to_image_two(shared: Path, stem: str) -> None:
    for one, two, label in real_pairs(shared / "data", stem):
        flow, valid = read_flo(label)
        image1, image2 = (read_image(path, flo_size(label)) for path in (one, two))
        still = warp_error(image1, image2, np.zeros_like(flow), valid)
        right = warp_error(image1, image2, flow, valid)
        assert right < 0.75 * still
        for wrong in (flow[..., ::-1], -flow, flow[::-1], flow[:, ::-1]):  # u and v swapped, sign, rows, columns
            assert right < 0.9 * warp_error(image1, image2, np.ascontiguousarray(wrong), valid)
        assert valid.all() == ("RubberWhale" not in stem)  # the one with unknown flow


def test_every_other_real_file_is_read_or_refused_for_a_reason(shared: Path) -> None:
    data = shared / "data"
    seen = 0
    for path in sorted(data.rglob("*.flo")):
        assert read_flo(path)[0].shape[:2] == flo_size(path)
        seen += 1
    for path in sorted(data.rglob("*.png")):
        seen += 1
        if path.name.startswith("flow_"):  # KITTI: 16 bits
            with pytest.raises(BadSample, match="16-bit RGB"):
                read_image(path)
        elif path.parts[-3] in ("invalid", "occlusions"):
            with pytest.raises(BadSample, match="8-bit gray"):
                read_image(path)
        else:
            assert read_image(path).shape == (*image_size(path), 3)
    assert seen > 40
