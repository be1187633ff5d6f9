"""A recalibrated subnet answers as the pool evaluation would, at any size, and leaves the supernet alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeflownas.errors import NonFiniteError
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.evaluate.predictors import SubnetPredictor, check_finite
from edgeflownas.evaluate.recalibrate import recalibrate
from edgeflownas.models.blocks import FlowBatch, to_flow_batch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

SPACE = get_space("v1")
ARCH = SPACE.parse("021100101")


@pytest.fixture(scope="module")
def net() -> FlowNet:
    return FlowNet(SPACE, 4, seed=3)


def pixels(height: int, width: int, seed: int, count: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 6)).astype(np.uint8)


def batch(images: np.ndarray) -> FlowBatch:
    flow = np.ones((*images.shape[:3], 2), np.float32)
    return to_flow_batch(images, flow, np.ones(images.shape[:3], np.bool_), torch.device("cpu"))


def predictor(net: FlowNet, calibration: list[FlowBatch]) -> SubnetPredictor:
    return SubnetPredictor(net, [ARCH], recalibrate(net, [ARCH], calibration), "net", "here")


def test_the_flow_is_that_of_the_pool_evaluation(net: FlowNet) -> None:
    calibration = [batch(pixels(32, 48, 1, 3)), batch(pixels(32, 48, 2, 2))]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    subnet = predictor(net, calibration)
    images = pixels(30, 44, 5)
    flow = subnet.predict(images[0])[0]
    error = float(np.linalg.norm(flow - 1.0, axis=-1).mean())
    scores = score_pool(net, [SPACE.parse("000000000"), ARCH], calibration, [batch(images)]).scores
    assert error == pytest.approx(scores[1].epe, rel=1e-5) and error != pytest.approx(scores[0].epe, rel=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items()) and net.training


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 33), (48, 16), (50, 70)])
def test_any_size(net: FlowNet, height: int, width: int) -> None:
    subnet = predictor(net, [batch(pixels(32, 48, 1, 3))])
    images = pixels(height, width, 7)
    flow = subnet.predict(images[0])[0]
    assert flow.shape == (height, width, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous


def test_padding_repeats_the_edge(net: FlowNet) -> None:
    subnet = predictor(net, [batch(pixels(32, 48, 1, 3))])
    images = pixels(20, 40, 7)
    padded = np.pad(images, ((0, 0), (0, 12), (0, 8), (0, 0)), mode="edge")
    small = subnet.predict(images[0])[0]
    large = subnet.predict(padded[0])[0]
    assert np.array_equal(small, large[:20, :40])


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e9])
def test_a_diverged_network_is_an_error_in_words(value: float) -> None:
    flow = np.zeros((4, 4, 2), np.float32)
    check_finite(flow)
    flow[1, 2, 0] = value
    with pytest.raises(NonFiniteError, match="--checkpoint"):
        check_finite(flow)
