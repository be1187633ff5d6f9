"""What a training step learns about batch norm: the moments of its units, and how the buffers follow them."""

from __future__ import annotations

import torch

from edgeflownas.models.stages import StagedNet

__all__ = ["MOMENTUM", "UnitMoments"]

MOMENTUM = 0.1  # of the training batch-norm buffers, DESIGN "One supernet step"


class UnitMoments:
    """Weighted sums of batch-norm moments over the units of a step, kept in the tail of the flat gradient buffer."""

    precise = False

    def __init__(self, net: StagedNet, tail: torch.Tensor) -> None:
        self.net = net
        self.weight = 0.0
        self.parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        offset = 0
        for bn in net.batchnorms:
            channels = bn.running_mean.numel()
            piece = tail[offset : offset + 1 + 2 * channels]
            self.parts.append((piece[:1], piece[1 : 1 + channels], piece[1 + channels :]))
            offset += len(piece)

    @staticmethod
    def size(net: StagedNet) -> int:
        """Elements needed in the tail."""
        return sum(1 + 2 * bn.running_mean.numel() for bn in net.batchnorms)

    def add(self, slot: int, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        """File one unit's moments under the weight of the unit being computed."""
        total, sum_mean, sum_var = self.parts[slot]
        total += self.weight
        sum_mean.add_(mean.detach(), alpha=self.weight)
        sum_var.add_(var.detach(), alpha=self.weight)

    @torch.no_grad()
    def update_buffers(self) -> None:
        """Move each used batch norm once towards the weighted mean over its units."""
        for bn, (total, mean, var) in zip(self.net.batchnorms, self.parts, strict=True):
            weight = float(total)
            if weight > 0:
                bn.running_mean.lerp_(mean / weight, MOMENTUM)
                bn.running_var.lerp_(var / weight, MOMENTUM)
