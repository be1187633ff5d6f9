"""The flow of image pairs of any size, by one subnet with batch norm recalibrated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.errors import NonFiniteError
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.recalibrate import recalibrate
from edgeflownas.evaluate.walk import walk
from edgeflownas.models.batches import FlowBatch, to_flow_batch
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import Arch

__all__ = ["SubnetFlow"]

LARGEST = 1e9  # px; what a .flo file calls unknown


class SubnetFlow:
    """One subnet of ``net``, calibrated on construction; the network itself is left as it was.

    ``check_stop`` is called before every calibration batch and may raise to abandon.
    """

    def __init__(
        self,
        net: FlowNet,
        arch: Arch,
        calibration: Sequence[FlowBatch],
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.net, self.arch = net, arch
        self.statistics = recalibrate(net, [arch], calibration, check_stop)

    @torch.no_grad()
    def __call__(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow float32 [H,W,2] (u right, v down, px) from image 1 to image 2, both uint8 [H,W,3] RGB of one size.

        Sizes off the grid of 16 are padded by repeating the edge, and the padding is cut off again: nothing is
        resized.

        Raises:
            NonFiniteError: the network predicts NaN, infinity or absurd lengths.
        """
        height, width = image1.shape[:2]
        vectors = self._predict(np.concatenate([image1, image2], axis=-1)[None])[0, :2, :height, :width]
        flow: NDArray[np.float32] = np.ascontiguousarray(vectors.permute(1, 2, 0).float().cpu().numpy())
        if not (np.abs(flow) <= LARGEST).all():
            raise NonFiniteError(
                "the network predicts a flow that is not finite: its training diverged; choose another --checkpoint"
            )
        return flow

    def _predict(self, images_BHW6: NDArray[np.uint8]) -> torch.Tensor:
        """Accumulated prediction [B,4,h,w] on the padded grid."""
        first = next(self.net.parameters())
        shape = images_BHW6.shape[:3]
        no_truth = np.zeros((*shape, 2), np.float32), np.zeros(shape, np.bool_)
        batch = to_flow_batch(images_BHW6, *no_truth, first.device, first.dtype)
        leaves: list[list[torch.Tensor]] = []
        was_training = self.net.training
        self.net.eval()
        try:
            walk(
                self.net,
                [self.arch],
                self.net.prepare(batch.images),
                lambda node: use_statistics(self.net, self.statistics.get(node, {})),
                lambda _, predictions: leaves.append(predictions),
            )
        finally:
            self.net.train(was_training)
        return accumulate(leaves[0])[-1]
