"""One flat gradient, one global-norm clip, one Adam step.

Every ``parameter.grad`` is a view into one vector, so that zeroing, the norm and the sum over ranks are one operation
each.  Views have the strides of their parameter (channels_last kernels included): the fused Adam kernel walks
parameter, gradient and moments in memory order.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from edgeflownas.config import TrainConfig
from edgeflownas.models.stages import StagedNet

__all__ = ["Adam", "FlatGradient", "MovingAverage", "clip_factor"]


class FlatGradient:
    """The gradients of named parameters as views of ``vector`` (shape [number of weights])."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], extra: int = 0) -> None:
        """``extra`` further elements at the end of ``buffer`` travel with the gradient in the sum over ranks."""
        tensors = list(parameters.values())
        size = sum(p.numel() for p in tensors)
        self.buffer = torch.zeros(size + extra, dtype=tensors[0].dtype, device=tensors[0].device)
        self.vector = self.buffer[:size]
        self.extra = self.buffer[size:]
        offset = 0
        for p in tensors:
            piece = self.vector[offset : offset + p.numel()]
            p.grad = piece.as_strided(p.shape, p.stride(), piece.storage_offset())
            offset += p.numel()

    def norm(self) -> torch.Tensor:
        """Global L2 norm (0-d)."""
        norm: torch.Tensor = torch.linalg.vector_norm(self.vector)
        return norm


def clip_factor(norm: float, threshold: float | None) -> float:
    """Factor that brings a gradient of this norm to the threshold; 1 where it is below (or there is none)."""
    return threshold / norm if threshold is not None and norm > threshold else 1.0


class Adam:
    """Adam (Kingma & Ba, arXiv 1412.6980) with coupled L2 on convolution kernels; state stored by parameter name."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], config: TrainConfig) -> None:
        self.parameters = dict(parameters)
        self.weight_decay = config.weight_decay
        self.kernels = [p for p in self.parameters.values() if p.dim() > 2]  # of 1-D (ECA) and 2-D ones
        self.adam = torch.optim.Adam(
            self.parameters.values(),
            lr=config.lr,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            fused=True,
        )
        for p in self.parameters.values():
            self.adam.state[p] = {
                "step": torch.zeros((), dtype=torch.float32, device=p.device),
                "exp_avg": torch.zeros_like(p, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(p, memory_format=torch.preserve_format),
            }

    def decay(self) -> None:
        """Add lambda x w to the gradient of every convolution kernel, once a step, before the norm is taken."""
        if self.weight_decay > 0:
            gradients = [p.grad for p in self.kernels if p.grad is not None]
            torch._foreach_add_(gradients, [p.detach() for p in self.kernels], alpha=self.weight_decay)

    def step(self, rate: float) -> None:
        """Update every weight from its gradient."""
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Moments and step counts by name, for a checkpoint."""
        return {
            f"{name}/{key}": value for name, p in self.parameters.items() for key, value in self.adam.state[p].items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Overwrite the state in place (strides kept)."""
        for name, own in self.tensors().items():
            own.copy_(tensors[name])


class MovingAverage:
    """Exponential moving average of the weights, held by a network of its own so that it can be evaluated as it is.

    Its batch-norm buffers stay unused where every evaluation recalibrates; elsewhere they are those of the weights.
    """

    def __init__(self, net: StagedNet, decay: float) -> None:
        self.decay = decay
        self.source = dict(net.named_parameters())
        self.net = copy.deepcopy(net)
        self.average = dict(self.net.named_parameters())

    def take_buffers(self, net: StagedNet) -> None:
        """Statistics, where they are frozen, belong to the weights: take those of ``net``."""
        self.net.load_state_dict(dict(net.named_buffers()), strict=False)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights by 1 - decay; once per accepted step."""
        torch._foreach_lerp_(
            [p.detach() for p in self.average.values()], [p.detach() for p in self.source.values()], 1.0 - self.decay
        )
