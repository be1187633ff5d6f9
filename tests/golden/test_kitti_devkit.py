"""KITTI's own example of an estimate and its truth, against the figures its devkit prints."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.evaluate.flow_metrics import FlowMetrics

pytestmark = pytest.mark.golden


def read_kitti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """16-bit PNG: u and v as (value - 2^15) / 64, third channel valid; OpenCV hands channels out backwards."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return ((stored[..., 2:0:-1].astype(np.float32) - 2**15) / 64), stored[..., 0] > 0


def test_devkit_figures(shared: Path) -> None:
    folder = shared / "data" / "kitti_devkit"
    if not folder.exists():
        pytest.skip(f"{folder} not found")
    flow, valid = read_kitti(folder / "flow_gt.png")
    metrics = FlowMetrics()
    metrics.add(read_kitti(folder / "flow_est.png")[0], flow, valid)
    figures = metrics.figures()
    assert int(valid.sum()) == 111_326
    assert f"{figures.epe:.4f}" == "12.2007"
    assert f"{100 * figures.fl_all:.3f}" == "20.688"
    assert f"{100 * (1 - figures.px3):.3f}" == "28.605"  # no pixel of this pair is wrong by exactly 3 px
    assert figures.epe_per_image == figures.epe
