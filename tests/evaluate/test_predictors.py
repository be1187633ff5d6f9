"""What predicts: subnets as the pool evaluation scores them, at any size, and references that need no weights."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgeflownas.errors import ConfigError, DataError, NonFiniteError
from edgeflownas.evaluate.calibration import recalibrate
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.evaluate.predictors import BASELINES, SubnetPredictor, check_finite, evaluate_labelled, make_baseline
from edgeflownas.evaluate.protocols import Protocol
from edgeflownas.models.blocks import to_flow_batch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

sys.path.insert(0, str(Path(__file__).parent))
from flow_batches import make_batches, random_pair, unchanged  # noqa: E402

SPACE = get_space("v1")
ARCHS = [SPACE.parse(code) for code in ("000000000", "000021222", "210210210")]


@pytest.fixture(scope="module")
def net():
    return FlowNet(SPACE, width=4, seed=3)


def subnets(net):
    statistics = recalibrate(net, ARCHS, make_batches([2, 3]))
    return SubnetPredictor(net, ARCHS, statistics, "run/step-00000001", "f00d")


def test_subnets_score_as_in_the_pool_evaluation(net):
    """The same pairs, one by one with numpy sums against batches with torch sums."""
    pairs = [random_pair(40, 52, seed=seed) for seed in range(3)]
    images = np.stack([np.concatenate([p.image1, p.image2], axis=2) for p in pairs])
    flow, valid = np.stack([p.flow for p in pairs]), np.stack([p.valid for p in pairs])
    batch = to_flow_batch(images, flow, valid, torch.device("cpu"))
    expected = score_pool(net, ARCHS, make_batches([2, 3]), [batch])
    named = [(str(i), pair) for i, pair in enumerate(pairs)]
    rows = evaluate_labelled(named, [subnets(net), make_baseline("zero")], Protocol("standard"), "x/folder:val/3/abcd")
    assert [row.code for row in rows] == [*map(str, ARCHS), None]
    assert [row.epe for row in rows[:3]] == pytest.approx([score.epe for score in expected.scores], rel=1e-5)
    assert rows[3].epe == pytest.approx(expected.zero_flow_epe, rel=1e-6)
    assert rows[0].epe != rows[1].epe
    assert (rows[0].model, rows[0].source, rows[0].precision) == ("run/step-00000001", "f00d", "fp32")
    assert rows[0].batch_shape == "1x6x48x64" and rows[3].batch_shape == "1x6x40x52"
    assert rows[0].epe_occluded is not None and rows[0].samples == 3


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_network_as_it_was(net, training):
    predictor = subnets(net.train(training))
    with unchanged(net):
        predictor.predict(random_images(37, 41))


def test_flow_that_was_divided_in_training_is_multiplied(net):
    plain = subnets(net)
    divided = SubnetPredictor(net, ARCHS, plain.statistics, "run", "x", flow_divisor=12.5)
    images = random_images(40, 52)
    for one, other in zip(plain.predict(images), divided.predict(images), strict=True):
        assert np.array_equal(other, one * np.float32(12.5)) and other.dtype == np.float32


def random_images(height, width):
    return Protocol("standard").prepare(random_pair(height, width)).images


def test_a_network_that_diverged_is_named(net):
    broken = FlowNet(SPACE, width=4, seed=3)
    with torch.no_grad():
        broken.E0.k7.weight.fill_(float("nan"))
    predictor = SubnetPredictor(broken, ARCHS[:1], recalibrate(net, ARCHS[:1], make_batches([2])), "run/best", "x")
    with pytest.raises(NonFiniteError, match="run/best 0,0,0,0,0,0,0,0,0 on scene"):
        evaluate_labelled([("scene", random_pair(32, 48))], [predictor], Protocol("standard"), "label")


def moved(height, width):
    """A smooth texture moved by (3, -2) px."""
    rng = np.random.default_rng(1)
    canvas = cv2.GaussianBlur(rng.integers(0, 256, (height + 20, width + 20, 3)).astype(np.uint8), (0, 0), 2.5)
    canvas = cv2.normalize(canvas, None, 0, 255, cv2.NORM_MINMAX)
    first, second = canvas[10:-10, 10:-10], canvas[12 : 12 + height, 7 : 7 + width]
    return np.concatenate([first, second], axis=2)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(name):
    baseline = make_baseline(name)
    (flow,) = baseline.predict(moved(80, 120))
    assert flow.shape == (80, 120, 2) and flow.dtype == np.float32
    inner = np.median(flow[20:-20, 20:-20].reshape(-1, 2), axis=0)
    assert inner == pytest.approx([0, 0] if name == "zero" else [3, -2], abs=0.3)
    assert baseline.models[0].name == name and baseline.models[0].code is None
    assert baseline.models[0].source == (None if name == "zero" else f"opencv {cv2.__version__}")
    (again,) = baseline.predict(moved(80, 120))
    assert np.array_equal(flow, again)


@pytest.mark.parametrize("name", ["dis", "dis_fast"])
def test_sizes_that_would_end_the_process_are_refused(name):
    """OpenCV's DIS dies of a segmentation fault on 20x500, for instance; at 32 a side it does not."""
    with pytest.raises(DataError, match=f"{name} needs images of at least 32.*these are 20x500.*--references"):
        make_baseline(name).predict(random_images(20, 500))
    for size in ((32, 500), (2000, 32)):
        assert make_baseline(name).predict(random_images(*size))[0].shape == (*size, 2)


def test_an_unknown_baseline():
    with pytest.raises(ConfigError, match="'raft' is unknown: zero, dis, dis_fast, farneback"):
        make_baseline("raft")


def test_pairs_of_different_sizes_one_at_a_time(net):
    """KITTI's odd sizes; a pair is asked for only when the one before is done with."""
    sizes = [(37, 53), (38, 70), (37, 53)]
    done: list[int] = []

    def pairs():
        for i, size in enumerate(sizes):
            assert len(done) == i
            yield str(i), random_pair(*size, seed=i)

    rows = evaluate_labelled(
        pairs(),
        [subnets(net), make_baseline("farneback")],
        Protocol("standard"),
        "label",
        advance=lambda: done.append(1),
    )
    assert [row.batch_shape for row in rows[2:]] == ["1x6x48x64-80", "1x6x37-38x53-70"]
    assert len(done) == 3


def test_every_row_of_one_call_carries_the_same_labels(net):
    predictors = [subnets(net), make_baseline("zero")]
    rows = evaluate_labelled(
        [("a", random_pair(40, 60))], predictors, Protocol("training", (32, 48), 50.0), "s", "fp64"
    )
    assert {(row.protocol, row.split_label, row.precision, row.samples) for row in rows} == {
        ("training:32x48,clip50", "s", "fp64", 1)
    }


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 33), (48, 16), (50, 70)])
def test_any_size(net, height, width):
    for flow in subnets(net).predict(random_images(height, width)):
        assert flow.shape == (height, width, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous


def test_padding_repeats_the_edge(net):
    images = random_images(20, 40)
    padded = np.pad(images, ((0, 12), (0, 8), (0, 0)), mode="edge")
    for small, large in zip(subnets(net).predict(images), subnets(net).predict(padded), strict=True):
        assert np.array_equal(small, large[:20, :40])


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e9])
def test_a_diverged_network_is_an_error_in_words(value):
    flow = np.zeros((4, 4, 2), np.float32)
    check_finite(flow)
    flow[1, 2, 0] = value
    with pytest.raises(NonFiniteError, match="--checkpoint"):
        check_finite(flow)
