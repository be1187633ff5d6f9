"""Channel attention and gate against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.models.attention import ContextGate, EfficientChannelAttention, attention_kernel, global_mean
from edgeflownas.models.flownet import initialise

Array = NDArray[np.float64]


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("channels", [16, 32, 48, 64, 128, 256, 512, 1024])
def test_kernel_is_the_odd_number_nearest_to_the_papers_figure(channels: int) -> None:
    wanted = np.log2(channels) / 2 + 0.5
    odd = np.arange(1, 15, 2)
    assert abs(attention_kernel(channels) - wanted) == np.abs(odd - wanted).min()


def test_kernels_of_the_paper() -> None:
    """Its reference code: t = int(abs((log2(C) + b) / gamma)), k = t if t is odd else t + 1."""
    for channels in (2, 4, 8, 16, 64, 100, 256, 512, 2048):
        t = int(abs((np.log2(channels) + 1) / 2))
        assert attention_kernel(channels) == (t if t % 2 else t + 1)
    assert attention_kernel(256) == attention_kernel(512) == 5


@pytest.mark.parametrize("channels", [16, 256])
def test_channel_attention_by_definition(channels: int) -> None:
    x, module = features(3, channels, 4, 5), EfficientChannelAttention(channels).double()
    initialise(module, 3)
    kernel = module.weight.detach().numpy()[0, 0]
    means = np.pad(x.numpy().mean((2, 3)), ((0, 0), (len(kernel) // 2,) * 2))
    scale = np.stack([sigmoid(means[:, c : c + len(kernel)] @ kernel) for c in range(channels)], 1)
    np.testing.assert_allclose(module(x).detach().numpy(), x.numpy() * scale[:, :, None, None], rtol=1e-12)
    assert kernel.std() > 0.2 and module(x[:1]).shape == (1, channels, 4, 5)


def test_gate_by_definition() -> None:
    x, deep, gate = features(2, 4, 6, 7), features(2, 16, 3, 3, seed=1), ContextGate(16, 4).double()
    initialise(gate, 0)
    context = global_mean(deep)
    assert context.shape == (2, 16, 1, 1)
    scale = sigmoid(deep.numpy().mean((2, 3)) @ gate.weight.detach().numpy()[:, :, 0, 0].T)
    np.testing.assert_allclose(gate(x, context).detach().numpy(), x.numpy() * scale[:, :, None, None], rtol=1e-12)


def test_gradients_and_memory_format() -> None:
    eca, gate = EfficientChannelAttention(16).double(), ContextGate(16, 2).double()
    for module in (eca, gate):
        initialise(module, 1)
    x = features(2, 16, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(eca, (x,))
    assert torch.autograd.gradcheck(
        gate, (features(2, 2, 2, 3).requires_grad_(), features(2, 16, 1, 1).requires_grad_())
    )
    last = x.detach().contiguous(memory_format=torch.channels_last)
    assert eca(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(eca(last), eca(x), rtol=1e-14, atol=0)
