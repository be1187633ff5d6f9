"""End-point errors of sums of flows: A2 = up2(up2(p0) + p1) + p2 is a sum, so 18 maps give 81 errors.

Every part is brought to full size once and reduced to the valid pixels in one gather (crop, layout and mask in one
index); an error is then a handful of operations in place on a tile that stays in cache.  Sums are formed in the
flow's own precision over a tile, in float64 over tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgeflownas.models.blocks import GRID, FlowBatch, up2
from edgeflownas.models.fast import BLOCK, block_pixels

TILE = 98_304  # numbers in each of the two working maps of a tile on a CPU: they stay in its second-level cache


@dataclass(frozen=True)
class Pixels:
    """Where the valid pixels of a piece [B,...] lie, sample after sample (P in all), and the true flow there."""

    label: Tensor
    """[2, P], px"""
    places: Tensor
    """int32 [P]: into the padded grid [B, H, W]."""
    blocks: Tensor
    """int32 [2 P]: into a prediction in blocks, [B, H/4, W/2, 16] (models/fast.py)."""
    counts: tuple[int, ...]
    """Of each sample."""

    @classmethod
    def of(cls, batch: FlowBatch, dtype: torch.dtype) -> Pixels:
        """Pixels of a piece whose images are padded to multiples of 16 on their way into the network."""
        height, width = (size + -size % GRID for size in batch.valid.shape[1:])
        sample, row, column = batch.valid.nonzero(as_tuple=True)
        rows, columns = BLOCK
        block = (sample * (height // rows) + row // rows) * (width // columns) + column // columns
        first = block * (2 * rows * columns) + row % rows * columns + column % columns
        return cls(
            batch.flow[sample, :, row, column].t().to(dtype).contiguous(),
            ((sample * height + row) * width + column).int(),
            torch.cat([first, first + rows * columns]).int(),
            tuple(batch.valid.sum((1, 2)).tolist()),
        )

    def coarse(self, blocks: Tensor, doublings: int) -> Tensor:
        """Predictions [B, n 16, h/4, w/2] in blocks, doubled so often, at the valid pixels: [2, n, P]."""
        maps = block_pixels(blocks)
        for _ in range(doublings):
            maps = up2(maps)
        found = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).index_select(0, self.places)
        return found.view(len(found), maps.shape[1] // 2, 2).permute(2, 1, 0).contiguous()

    def fine(self, blocks: Tensor) -> Tensor:
        """A prediction of full size [B, 16, H/4, W/2] in blocks at the valid pixels: [2, P]."""
        flat = blocks.permute(0, 2, 3, 1).reshape(-1)
        return flat.index_select(0, self.blocks).view(2, len(self.places))


def error_sums(coarse: Tensor, fine: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Sums of |coarse_i + fine| over each sample's pixels: [2,n,P] and [2,P] -> float64 [n,B].

    ``coarse`` already has the true flow taken off.
    """
    number = coarse.shape[1]
    tile = max(TILE // (2 * number), 1024) if coarse.device.type == "cpu" else max(counts, default=1)
    sums = coarse.new_zeros(number, len(counts), dtype=torch.float64)
    work = coarse.new_empty(2 * number * min(tile, max(counts, default=0)))
    start = 0
    for sample, count in enumerate(counts):
        for first in range(start, start + count, tile):
            last = min(first + tile, start + count)
            error = work[: 2 * number * (last - first)].view(2, number, last - first)
            torch.add(coarse[:, :, first:last], fine[:, None, first:last], out=error)
            error.mul_(error)
            sums[:, sample] += error[0].add_(error[1]).sqrt_().sum(1)
        start += count
    return sums
