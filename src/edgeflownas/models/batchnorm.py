"""Batch normalisation whose running statistics are written by the trainer alone.

``torch.nn.BatchNorm2d`` moves its buffers during every training-mode forward.  Here a forward never writes them:
three paths of one supernet step, a dropped step or an evaluation would otherwise leave traces.  Whoever wants the
moments of a forward attaches a recorder; whoever evaluates under other statistics passes them for a while.
Shapes: features [B,C,H,W], moments [C].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflownas.errors import ConfigError

EPS = 1e-5
GROUP = 256  # pixels whose float32 sum is formed at once


class MomentRecorder(Protocol):
    """Receives the batch moments of every training-mode forward it is attached to."""

    @property
    def precise(self) -> bool:
        """True asks for float64 sums (recalibration); False takes the moments the normalisation itself used."""

    def add(self, slot: int, mean: Tensor, var: Tensor, count: int) -> None:
        """``mean`` and biased ``var`` [C] over ``count`` pixels of batch norm ``slot``."""


class BatchNorm(nn.Module):
    """Normalisation by batch statistics in training mode, by running (or lent) statistics in eval mode.

    One that is ``frozen`` (:func:`edgeflownas.models.blocks.number_batchnorms`) takes its running statistics in both
    modes; scale and shift are learned.  It has nothing to recalibrate, so no recorder and no lent statistics reach it.
    With mean 0 and variance 1 (the initial values) it is a learned affine: what TF1 code computes that leaves out
    ``training=``.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps = eps
        self.frozen = False
        self.slot = -1  # position in net.batchnorms and module path: set by the network that holds it
        self.name = ""
        self.recorder: MomentRecorder | None = None
        self.lent: tuple[Tensor, Tensor] | None = None
        self.lending = False

    def forward(self, features: Tensor) -> Tensor:
        """Normalised features.  Raises ConfigError where a batch is too small to have a variance."""
        if self.frozen or not self.training:
            mean, var = self._eval_statistics()
            return F.batch_norm(features, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        count = features.numel() // features.shape[1]
        if count < 2:
            raise ConfigError(
                f"batch norm {self.name} sees one pixel only ({tuple(features.shape)}): training needs more than one "
                "sample or images larger than 16x16"
            )
        if self.recorder is None:
            return self._by_batch(features, exact=False)[0]
        output, mean, var = self._by_batch(features, self.recorder.precise)
        self.recorder.add(self.slot, mean, var, count)
        return output

    def _by_batch(self, features: Tensor, exact: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Features normalised by their own moments, mean, biased variance."""
        if _groupable(features):  # exact to about 1e-8 anyway
            grouped: tuple[Tensor, Tensor, Tensor] = _GroupedBatchNorm.apply(features, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
            return grouped
        # With momentum 1 the buffers handed in receive exactly this batch's mean and unbiased variance.
        mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        output = F.batch_norm(features, mean, var, self.weight, self.bias, True, 1.0, self.eps)
        if exact:
            return output, *moments(features.detach())
        count = features.numel() // features.shape[1]
        return output, mean, var * ((count - 1) / count)

    def _eval_statistics(self) -> tuple[Tensor, Tensor]:
        if self.lent is not None:
            return self.lent
        if self.lending:
            raise ConfigError(
                f"no statistics given for batch norm {self.name}: calibrate the same arch that is evaluated"
            )
        return self.running_mean, self.running_var

    def extra_repr(self) -> str:
        """Channels, for printing."""
        return f"{self.weight.numel()}"


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C] in float64, by float64 sums.

    The second sum is of squared differences from the rounded mean, so nothing cancels; float32 products are
    exact enough (6e-8 each, of either sign) once they are summed in float64.
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    count = features.numel() // features.shape[1]
    mean = features.sum((0, 2, 3), dtype=torch.float64) / count
    rounded = mean.to(features.dtype)
    second = (features - rounded[:, None, None]).square_().sum((0, 2, 3), dtype=torch.float64) / count
    return mean, second - (mean - rounded.double()).square()


def precise_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`moments`, by :func:`grouped_moments` where that is possible: wrong by about 1e-8 at most."""
    return grouped_moments(features) if _groupable(features) else moments(features)


def _groupable(features: Tensor) -> bool:
    wide = features.dtype in (torch.float32, torch.float64)
    return wide and features.device.type == "cpu" and features.is_contiguous(memory_format=torch.channels_last)


def grouped_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C] in float64 of channels_last features, at the speed of torch's own kernel.

    That kernel adds up a channel's pixels one after the other in float32: on 8x16x192x240 its variance is wrong by
    1e-4, on 32 such samples by 1e-3, depending on the number of threads.  Groups of at most 256 pixels are therefore
    handed to it as channels of their own (a view) and pooled here in float64: wrong by about 1e-8.
    """
    channels = features.shape[1]
    pixels, groups = features.numel() // channels, 1
    while pixels > GROUP and pixels % 2 == 0:
        pixels, groups = pixels // 2, groups * 2
    view = features.permute(0, 2, 3, 1).reshape(1, pixels, 1, groups * channels).permute(0, 3, 1, 2)
    mean, var = torch.ops.aten.batch_norm_update_stats(view, None, None, 0.0)
    means, variances = mean.view(groups, channels).double(), var.view(groups, channels).double()
    pooled = means.mean(0)
    return pooled, variances.mean(0) + (means - pooled).square().mean(0)


class _GroupedBatchNorm(torch.autograd.Function):
    """Training-mode batch norm by :func:`grouped_moments`; also returns them.  The backward is torch's own."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = grouped_moments(features)
        rounded, inverse = mean.to(weight), (var + eps).rsqrt().to(weight)
        ctx.save_for_backward(features, weight, rounded, inverse)
        ctx.mark_non_differentiable(mean, var)
        ctx.eps = eps
        return F.batch_norm(features, rounded, var.to(weight), weight, bias, False, 0.0, eps), mean, var

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, mean, inverse = ctx.saved_tensors
        result: tuple[Tensor | None, ...] = torch.ops.aten.native_batch_norm_backward(
            gradient, features, weight, None, None, mean, inverse, True, ctx.eps, ctx.needs_input_grad[:3]
        )
        return *result, None


def _batchnorms(net: nn.Module) -> Sequence[BatchNorm]:
    """Those that are not frozen: as a network has numbered them, or by a walk over its modules."""
    numbered: Sequence[BatchNorm] | None = getattr(net, "batchnorms", None)
    return numbered or [module for module in net.modules() if isinstance(module, BatchNorm) and not module.frozen]


@contextmanager
def record_moments(net: nn.Module, recorder: MomentRecorder) -> Iterator[None]:
    """Report the batch moments of every training-mode forward of ``net`` to ``recorder`` for a while."""
    layers = _batchnorms(net)
    before = [layer.recorder for layer in layers]
    for layer in layers:
        layer.recorder = recorder
    try:
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer.recorder = previous


@contextmanager
def use_statistics(net: nn.Module, statistics: Mapping[int, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Let eval-mode forwards use ``statistics`` (slot -> mean, biased var, each [C]) for a while; buffers stay.

    A batch norm that runs without an entry raises ConfigError: its buffers belong to the training run and
    would be a silent fallback.
    """
    layers = _batchnorms(net)
    before = [{"lent": layer.lent, "lending": layer.lending} for layer in layers]
    for layer in layers:
        given = statistics.get(layer.slot)
        lent = None if given is None else (given[0].to(layer.weight), given[1].to(layer.weight))
        vars(layer).update(lent=lent, lending=True)  # past the checks of Module: this is done for every node of a tree
    try:
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            vars(layer).update(previous)
