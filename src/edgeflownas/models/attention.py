"""Channel attention of the bottleneck and the gate that the bottleneck puts on finer features.

Both weigh channels by a sigmoid of global means, which are taken over the padded grid that the network runs on, so
the padding has a small part in them.  Neither has a batch norm or a bias.  Shapes: features [B,C,H,W].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def global_mean(features: Tensor) -> Tensor:
    """Mean over the grid, [B,C,1,1].  torch's adaptive pooling has no deterministic CUDA gradient."""
    return features.mean((2, 3), keepdim=True)


def attention_kernel(channels: int) -> int:
    """Kernel size of efficient channel attention: the odd number nearest to log2(C) / 2 + 1 / 2.

    Wang et al. 2020, "ECA-Net" (arXiv 1910.03151), eq. 12 with gamma 2 and b 1: 5 for 256 channels.
    """
    return 2 * int((math.log2(channels) + 1) / 4) + 1


class EfficientChannelAttention(nn.Module):
    """Scales every channel by the sigmoid of a convolution across the channels' means (Wang et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, attention_kernel(channels)))

    def forward(self, x: Tensor, option: int = 0) -> Tensor:
        """Features of the same shape; there is no option but 0."""
        means = global_mean(x).flatten(1).unsqueeze(1)  # [B,1,C]
        scale = F.conv1d(means, self.weight, padding=self.weight.shape[-1] // 2).sigmoid()
        return x * scale.transpose(1, 2).unsqueeze(-1)


class ContextGate(nn.Module):
    """Scales every channel by the sigmoid of a 1x1 convolution of another stage's context."""

    def __init__(self, context: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, context, 1, 1))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Features of the same shape, from them and the context [B,context,1,1]."""
        return x * F.conv2d(context, self.weight).sigmoid()
