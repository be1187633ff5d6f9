"""Real pairs with real truth: a classical method must beat predicting no motion, under every protocol."""

from collections.abc import Iterator

import numpy as np
import pytest

from edgeflownas.data.dataset import FlowPair
from edgeflownas.data.formats import read_image, read_kitti
from edgeflownas.data.sets import open_dataset
from edgeflownas.evaluate.predictors import evaluate_labelled, make_baseline
from edgeflownas.evaluate.protocols import Protocol, make_protocol

pytestmark = pytest.mark.golden
Pairs = Iterator[tuple[str, FlowPair]]


def opened(*specs):
    for dataset in (open_dataset(spec, "val", "spec") for spec in specs):
        yield from ((name, dataset.read(i)) for i, name in enumerate(dataset.names))


def sintel(data):
    return opened(f"sintel:clean@{data / 'sintel'}")


def middlebury(data):
    return opened(f"middlebury@{data / 'middlebury'}")


def chairs(data):
    return opened(*(str(data / "flying_chairs_fc2_layout" / split) for split in ("train", "val")))


def kitti(data):
    folder = data / "kitti_pair"
    flow, valid = read_kitti(folder / "flow_gt.png")
    yield "pair", FlowPair(*(read_image(folder / f"frame{i}.png") for i in (1, 2)), flow, valid)


def rows(pairs, protocol):
    found = evaluate_labelled(pairs, [make_baseline(name) for name in ("zero", "dis")], protocol, "real")
    return {row.model: row for row in found}


CROPS = {sintel: (416, 1024), middlebury: (352, 416), chairs: (352, 480), kitti: (352, 1216)}


@pytest.mark.parametrize("source", CROPS)
@pytest.mark.parametrize("name", ["standard", "deploy", "edgeflownet"])
def test_dis_beats_zero_flow(shared, source, name):
    size = {"standard": None, "deploy": (176, 240), "edgeflownet": CROPS[source]}[name]
    found = rows(source(shared / "data"), make_protocol(name, (0, 0), size))
    assert found["dis"].epe < 0.9 * found["zero"].epe
    assert found["dis"].epe_per_image < found["zero"].epe_per_image
    assert found["dis"].fl_all < found["zero"].fl_all + 1e-9 and found["dis"].px3 >= found["zero"].px3


def test_sintel_masks(shared):
    """What is hidden in the second image cannot be matched: its error is larger."""
    found = rows(sintel(shared / "data"), Protocol("standard"))["dis"]
    assert found.epe_occluded is not None and found.epe_visible is not None
    assert found.epe_occluded > 2 * found.epe_visible
    assert found.epe_visible < found.epe < found.epe_occluded


def test_sparse_truth_of_an_odd_size(shared):
    found = rows(kitti(shared / "data"), Protocol("standard"))["zero"]
    ((_, pair),) = kitti(shared / "data")
    lengths = np.linalg.norm(pair.flow[pair.valid].astype(np.float64), axis=1)
    assert found.epe == pytest.approx(lengths.mean(), rel=1e-12) and 0.05 < pair.valid.mean() < 0.5
    assert found.batch_shape == "1x6x{}x{}".format(*pair.valid.shape)
