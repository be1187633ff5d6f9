"""The flow of image pairs of any size, by one subnet with batch norm recalibrated once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.errors import NonFiniteError
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.recalibrate import recalibrate
from edgeflownas.models.batches import FlowBatch, to_flow_batch
from edgeflownas.models.flownet import FlowNet, resolve
from edgeflownas.space import Arch

__all__ = ["predict_flow", "recalibrated_subnet"]

LARGEST = 1e9  # px; what a .flo file calls unknown


@torch.no_grad()
def recalibrated_subnet(
    net: FlowNet, arch: Arch, calibration: Iterable[FlowBatch], check_stop: Callable[[], None] = lambda: None
) -> FlowNet:
    """A fixed network of its own, in eval mode, whose batch norms hold the moments of ``calibration``."""
    subnet = net.subnet(arch)
    statistics = recalibrate(subnet, [resolve(subnet.space, None)], calibration, check_stop)
    moments = {slot: pair for slots in statistics.values() for slot, pair in slots.items()}
    for layer in subnet.batchnorms:
        mean, variance = moments[layer.slot]
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
    return subnet.eval()


@torch.no_grad()
def predict_flow(subnet: FlowNet, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Flow float32 [H,W,2] (u right, v down, px) from image 1 to image 2, both uint8 [H,W,3] RGB of one size.

    Sizes off the grid of 16 are padded by repeating the edge, and the padding is cut off again: nothing is resized.

    Raises:
        NonFiniteError: the network predicts NaN, infinity or absurd lengths.
    """
    height, width = image1.shape[:2]
    first = next(subnet.parameters())
    pair = np.concatenate([image1, image2], axis=-1)[None]
    flow, valid = np.zeros((1, height, width, 2), np.float32), np.ones((1, height, width), np.bool_)
    batch = to_flow_batch(pair, flow, valid, first.device, first.dtype)
    found = accumulate(subnet(batch.images))[-1][0, :2, :height, :width]
    vectors: NDArray[np.float32] = np.ascontiguousarray(found.permute(1, 2, 0).float().cpu().numpy())
    if not (np.abs(vectors) <= LARGEST).all():
        raise NonFiniteError(
            "the network predicts a flow that is not finite: its training diverged; choose another --checkpoint"
        )
    return vectors
