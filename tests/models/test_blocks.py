"""SAME padding, upsampling, padding by repetition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numeric import FLOAT32
from torch import Tensor

from edgeflownas.models.blocks import (
    ChainChoice,
    Conv,
    OutputChoice,
    ResidualBlock,
    conv_chain,
    replicate_pad,
    up2,
    up2_pooled,
)


def upsampled_by_definition(x: Tensor) -> Tensor:
    """u[2i] = x[i], u[2i+1] = (x[i] + x[min(i+1, H-1)]) / 2 along both axes, written as loops."""
    for axis in (2, 3):
        parts = []
        for i in range(x.shape[axis]):
            here, following = x.select(axis, i), x.select(axis, min(i + 1, x.shape[axis] - 1))
            parts += [here, (here + following) / 2]
        x = torch.stack(parts, axis)
    return x


@pytest.mark.parametrize("form", [up2, up2_pooled])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (1, 2, 1, 3)])
def test_up2_by_definition(form: object, shape: tuple[int, ...]) -> None:
    assert callable(form)
    x = torch.randn(shape, dtype=torch.float64)
    for layout in (torch.channels_last, torch.contiguous_format):
        torch.testing.assert_close(form(x.contiguous(memory_format=layout)), upsampled_by_definition(x))


def test_up2_gradient() -> None:
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(up2, (x,))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [8, 9, 16])
def test_same_convolution_stride_2(kernel: int, size: int) -> None:
    """Output i is centred as TensorFlow centres it: windows start at 2 i - floor(total padding / 2)."""
    conv = Conv(1, 1, kernel, stride=2)
    torch.nn.init.ones_(conv.weight)
    x = np.random.default_rng(0).normal(size=(size, size))
    with torch.no_grad():
        ours = conv(torch.from_numpy(x).float()[None, None])[0, 0].numpy()
    outputs = -(-size // 2)
    before = max((outputs - 1) * 2 + kernel - size, 0) // 2
    for i in range(outputs):
        top = 2 * i - before
        window = x[max(top, 0) : top + kernel, max(-before, 0) : -before + kernel]
        assert ours[i, 0] == pytest.approx(window.sum(), rel=0, abs=4 * FLOAT32 * np.abs(window).sum())


def test_replicate_pad_and_its_gradient() -> None:
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.pad(x, (0, 3, 0, 2), mode="replicate")
    assert torch.equal(replicate_pad(x, 3, 2), expected)
    assert replicate_pad(x, 0, 0) is x
    assert torch.autograd.gradcheck(lambda t: replicate_pad(t, 3, 2), (x,))


def test_residual_block_starts_from_its_input() -> None:
    """Zero kernels make the block ReLU(x); and its in-place sums must not touch the input."""
    x = torch.randn(2, 4, 6, 6)
    kept = x.clone()
    assert torch.equal(ResidualBlock(4)(x), x.relu())
    assert torch.equal(x, kept)


def test_only_the_chosen_option_gets_a_gradient() -> None:
    choice = OutputChoice(4, (3, 5, 7))
    torch.autograd.backward(choice(torch.randn(1, 4, 6, 6), 1).sum())
    touched = {name for name, parameter in choice.named_parameters() if parameter.grad is not None}
    assert touched == {"k5.weight"}


@pytest.mark.parametrize(
    ("option", "links"),
    [
        ("3x3", [(3, 1)]),
        ("5x5", [(5, 1)]),
        ("3x3+dilated3x3", [(3, 1), (3, 2)]),
        ("11x11+3x3+dilated5x5", [(11, 1), (3, 1), (5, 2)]),
        *((text, None) for text in ("", "3x5", "4x4", "dilated3x3", "3x3+", "3x3 + 3x3", "3x3+3", "0x0")),
    ],
)
def test_chains_in_words(option: str, links: list[tuple[int, int]] | None) -> None:
    assert conv_chain(option) == links


@pytest.mark.parametrize(("option", "kernels"), [("3x3", (3,)), ("5x5", (5,)), ("3x3+dilated3x3", (3, 3))])
def test_chain_of_convolutions_by_definition(option: str, kernels: tuple[int, ...]) -> None:
    """SAME padding of stride 2 puts the larger part after; the dilated link keeps the size."""
    module = ChainChoice(2, 4, (option, "7x7")).double().eval()
    generator = torch.Generator().manual_seed(0)
    convolutions = [link for link in module.get_submodule(module.labels[0]).children() if isinstance(link, Conv)]
    assert tuple(conv.kernel for conv in convolutions) == kernels
    x = torch.randn((2, 2, 12, 16), generator=generator, dtype=torch.float64)
    y, stride, dilation = x, 2, 1
    for conv in convolutions:
        torch.nn.init.normal_(conv.weight, generator=generator)
        reach = (conv.kernel - 1) * dilation
        before = (reach - 1) // 2 if stride == 2 else reach // 2
        y = torch.nn.functional.pad(y, (before, (reach - (stride == 2)) - before) * 2)
        y = torch.nn.functional.conv2d(y, conv.weight, stride=stride, dilation=dilation).relu() / (1 + 1e-5) ** 0.5
        stride, dilation = 1, 2
    torch.testing.assert_close(module(x, 0), y, rtol=1e-12, atol=1e-12)
    assert y.shape == (2, 4, 6, 8)
