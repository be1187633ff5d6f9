"""Batch normalisation whose running statistics are written by the trainer alone.

``torch.nn.BatchNorm2d`` moves its buffers during every training-mode forward.  Here a forward never writes them:
three paths of one supernet step, a dropped step or an evaluation would otherwise leave traces.  Whoever wants the
moments of a forward attaches a recorder; whoever evaluates under other statistics passes them for a while.
Shapes: features [B,C,H,W], moments [C].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflownas.errors import ConfigError

EPS = 1e-5
GROUP = 256  # pixels whose float32 sum is formed at once
LANES = 128  # numbers that a pass over features handles side by side
NARROW = 16  # channels from which on torch's own backward is as fast


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

    def forward(self, features: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """Normalised features, plus ``residual`` of the same shape, rectified where ``relu`` asks for it.

        One call, because each further pass over the features costs as much as the normalisation.  Raises ConfigError
        where a batch is too small to have a variance.
        """
        if self.frozen or not self.training:
            mean, var = self._eval_statistics()
            output = F.batch_norm(features, mean, var, self.weight, self.bias, False, 0.0, self.eps)
            return _finished(output, residual, relu)
        count = features.numel() // features.shape[1]
        if count < 2:
            raise ConfigError(
                f"batch norm {self.name} sees one pixel only ({tuple(features.shape)}): training needs more than one "
                "sample or images larger than 16x16"
            )
        if _groupable(features):  # moments exact to about 1e-8
            output, mean, var = _GroupedBatchNorm.apply(features, self.weight, self.bias, self.eps, residual, relu)  # type: ignore[no-untyped-call]
        else:  # with momentum 1 the buffers handed in receive exactly this batch's mean and unbiased variance
            mean, var = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
            output = F.batch_norm(features, mean, var, self.weight, self.bias, True, 1.0, self.eps)
            output = _finished(output, residual, relu)
            var = var * ((count - 1) / count)
            if self.recorder is not None and self.recorder.precise:
                mean, var = moments(features.detach())
        if self.recorder is not None:
            self.recorder.add(self.slot, mean, var, count)
        return output

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
    between, pooled = torch.var_mean(mean.view(groups, channels).double(), 0, correction=0)
    return pooled, between.add_(var.view(groups, channels).mean(0, dtype=torch.float64))


def _finished(output: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """In place on the fresh output of a batch norm, which autograd does not need again."""
    if residual is not None:
        output = output.add_(residual)
    return output.relu_() if relu else output


class _GroupedBatchNorm(torch.autograd.Function):
    """Training-mode batch norm by :func:`grouped_moments`, which it also returns, then residual and ReLU.

    It works on rows of several pixels side by side: torch's kernels take the channels of one pixel at a time, and its
    backward is up to six times slower on few of them.  That one is by the formula of Ioffe & Szegedy 2015 (arXiv
    1502.03167, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float, residual: Tensor | None, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = grouped_moments(features)
        inverse = (var + eps).rsqrt_()
        scale = inverse * weight
        rows = _rows(features)
        shift, factor = torch.stack([bias - mean * scale, scale]).to(weight.dtype).repeat(1, _beside(rows, weight))
        output = torch.empty_like(features)  # not a view, so that whoever takes it may change it in place
        torch.addcmul(shift, rows, factor, out=_rows(output))
        output = _finished(output, residual, relu)
        ctx.save_for_backward(features, weight, mean, inverse, output if relu else None)
        ctx.mark_non_differentiable(mean, var)
        ctx.eps = eps
        return output, mean, var

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, weight, mean, inverse, output = ctx.saved_tensors
        like, rows = (features.shape, features.stride()), _rows(gradient)
        if output is not None:
            rows = torch.ops.aten.threshold_backward(rows, _rows(output), 0.0)
        passed = rows.as_strided(*like)
        if len(weight) >= NARROW:
            single = mean.to(weight.dtype), inverse.to(weight.dtype)
            found = torch.ops.aten.native_batch_norm_backward(
                passed, features, weight, None, None, *single, True, ctx.eps, [True] * 3
            )
        else:
            # weight / deviation x (gradient - its mean - centred / variance x mean of gradient x centred)
            beside = _beside(rows, weight)
            centred = _rows(features) - mean.to(weight.dtype).repeat(beside)
            sums = torch.stack([rows.sum(0), (rows * centred).sum(0)]).view(2, beside, -1).sum(1, dtype=mean.dtype)
            means = sums / -(rows.numel() // len(weight))
            rates = torch.stack([means[0], means[1] * inverse.square(), weight * inverse])
            constant, slope, factor = rates.to(weight.dtype).repeat(1, beside)
            torch.addcmul(constant, centred, slope, out=centred).add_(rows).mul_(factor)
            found = centred.as_strided(*like), (sums[1] * inverse).to(weight.dtype), sums[0].to(weight.dtype)
        return *found, None, passed if ctx.needs_input_grad[4] else None, None


def _rows(features: Tensor) -> Tensor:
    """[B,C,H,W] as [pixels / n, n C], as channels_last memory has it; n a power of two that fills LANES if it can."""
    features = features.contiguous(memory_format=torch.channels_last)
    channels = features.shape[1]
    pixels = features.numel() // channels
    beside = math.gcd(pixels, 1 << (max(LANES // channels, 1) - 1).bit_length())
    return features.as_strided((pixels // beside, beside * channels), (beside * channels, 1))


def _beside(rows: Tensor, channels: Tensor) -> int:
    """Pixels in a row."""
    return rows.shape[1] // len(channels)


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
