"""KITTI's own example of an estimate and its truth, against the figures its devkit prints."""

import pytest

from edgeflownas.data.formats import read_kitti
from edgeflownas.evaluate.metrics import FlowMetrics

pytestmark = pytest.mark.golden


def test_devkit_figures(shared):
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
