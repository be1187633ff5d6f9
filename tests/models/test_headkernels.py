"""The heads' cheap forms are the plain layers: up2, convolution and batch norm; flow channels in blocks."""

from __future__ import annotations

import pytest
import torch
from numeric import relative_difference
from torch.nn import functional as F

from edgeflownas.models.blocks import up2_pooled
from edgeflownas.models.headkernels import (
    block_pixels,
    flow_conv,
    flow_kernels,
    fold,
    pixels_relu,
    up2_conv,
    up_kernels,
)
from edgeflownas.models.phases import to_pixels

LIMIT = 1e-14  # of the largest value: some 50 roundings of float64


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("kernel", [3, 5, 7, 9])
@pytest.mark.parametrize("size", [(12, 16), (4, 4), (5, 3)])
def test_up2_convolution_with_folded_batch_norm(kernel: int, size: tuple[int, int]) -> None:
    x, weight = normal(2, 5, *size).to(memory_format=torch.channels_last), normal(6, 5, kernel, kernel)
    scale, shift = normal(6), normal(6)
    plain = F.conv2d(up2_pooled(x), weight, padding=kernel // 2)
    assert relative_difference(to_pixels(up2_conv(x, up_kernels(weight))), plain) <= LIMIT
    folded = up2_conv(x, fold(up_kernels(weight), scale, shift))
    expected = plain * scale[:, None, None] + shift[:, None, None]
    assert relative_difference(to_pixels(folded), expected) <= LIMIT
    assert torch.equal(pixels_relu(folded), to_pixels(folded).relu())


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_flow_in_blocks(kernel: int) -> None:
    x, weight = normal(2, 6, 12, 20).to(memory_format=torch.channels_last), normal(4, 6, kernel, kernel)
    plain = F.conv2d(x, weight, padding=kernel // 2)[:, :2] * 4.0
    first, second = (flow_conv(x, flow_kernels(weight, factor)) for factor in (4.0, 8.0))
    assert relative_difference(block_pixels(first), plain) <= LIMIT
    both = block_pixels(torch.cat([first, second], 1))  # several predictions side by side
    assert relative_difference(both, torch.cat([plain, plain * 2], 1)) <= LIMIT
