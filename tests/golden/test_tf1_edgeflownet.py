"""EdgeFlowNet against raw and accumulated outputs of the TF1 graph (width 8, statistics as stored, BGR 0..255)."""

import numpy as np
import pytest
import torch
from numeric import relative_difference

from edgeflownas.evaluate.losses import accumulate
from edgeflownas.models.flownet import EdgeFlowNet
from edgeflownas.models.tf1 import load_tf1_weights, tf1_model, tf1_width

pytestmark = pytest.mark.golden
TOLERANCE = 5e-6  # of the largest number of an output: 9 to 44 px here, and correct programs are within 6e-5 px of TF1


@pytest.fixture(scope="module")
def path(shared):
    return shared / "golden" / "tf1_edgeflownet_width8.npz"


@pytest.fixture(scope="module")
def golden(path):
    with np.load(path, allow_pickle=False) as file:
        yield file


def to_nchw(array):
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def loaded(path, **options):
    net = EdgeFlowNet(tf1_width(path), seed=None, **options)
    load_tf1_weights(net, path)
    return net


@torch.no_grad()
def largest_differences(net, golden):
    """Of the three raw predictions, then of the three sums."""
    predictions = net(to_nchw(golden["input_bgr_0_255_nhwc"]))
    named = [(p, f"pred{i}") for i, p in enumerate(predictions)]
    named += [(a, f"accumulated{i}") for i, a in enumerate(accumulate(predictions))]
    return [relative_difference(ours, to_nchw(golden[name])) for ours, name in named]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_frozen_batch_norm_as_published(path, golden, training, channels_last):
    assert (tf1_model(path), tf1_width(path)) == ("edgeflownet", 8)
    net = loaded(path, channels_last=channels_last).train(training)
    assert max(largest_differences(net, golden)) < TOLERANCE


def test_trained_batch_norm_with_the_stored_statistics_is_the_same_function(path, golden):
    net = loaded(path, batch_norm="trained")
    assert max(largest_differences(net.eval(), golden)) < TOLERANCE
    assert max(largest_differences(net.train(), golden)) > 0.5  # by the batch's own statistics: another function


def test_the_comparison_can_tell(path, golden):
    """Another epsilon, or statistics left at 0 and 1, are visible."""
    net = loaded(path)
    for name, module in net.layers():
        if name.endswith(("bn", "bn1", "bn2")):
            module.eps = 1e-5  # type: ignore[assignment]
    assert max(largest_differences(net, golden)) > 100 * TOLERANCE
    net = loaded(path)
    for name, buffer in net.named_buffers():
        buffer.fill_(float(name.endswith("var")))
    assert max(largest_differences(net, golden)) > 0.5
