"""The stages before the first choice, run once for all paths of a micro-batch.

Paths back-propagate into a detached copy of the stem's output; on leaving, the summed gradient goes through the stem
once.  Exact: the gradient of a sum of losses is the sum of their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from edgeflownas.models.batches import FlowBatch
from edgeflownas.models.stages import StagedNet

__all__ = ["SharedStem"]


class SharedStem:
    """``with SharedStem(net, batch, autocast) as features:`` run paths on ``features`` and call their backward."""

    def __init__(self, net: StagedNet, batch: FlowBatch, autocast: Callable[[], AbstractContextManager[None]]) -> None:
        with autocast():
            features = net.prepare(batch.images)
            for index in range(net.shared_stages):
                features = net.run_stage(index, features, 0)
        self.output = features
        self.leaf = features.detach().requires_grad_()

    def __enter__(self) -> torch.Tensor:
        return self.leaf

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            torch.autograd.backward(self.output, self.leaf.grad)
