"""Multi-scale loss of flow and uncertainty, and the feature loss of distillation.

Predictions p0 (1/4), p1 (1/2), p2 (1/1) are residuals: A0 = p0, A(s) = up2(A(s-1)) + p(s).  The flow is A2, never
p2 alone.  Labels are subsampled, never resized: label[::k, ::k] with unscaled values.
Shapes: predictions [B,4,h,w] (flow u, v; uncertainty of u, v), flow [B,2,H,W] in pixels, valid [B,H,W] bool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.models.blocks import up2, up2_transposed

SCALES = ((4, 0.125), (2, 0.25), (1, 0.5))  # (label stride, weight) of A0, A1, A2
FLOOR = 1e-3  # added before and bounding after softplus, as in EdgeFlowNet
SLOPE = math.expm1(FLOOR)
BELOW_FLOOR = (1 - 1e-6) / FLOOR  # 1 / c where the floor does not hold, to rounding


class LossTerms(NamedTuple):
    """Scalars, already weighted over scales: ``total`` = ``optical`` + ``uncertainty``."""

    total: Tensor
    optical: Tensor
    uncertainty: Tensor


def accumulate(predictions: Sequence[Tensor]) -> list[Tensor]:
    """[A0, A1, A2] of predictions [p0, p1, p2]: the flow (and uncertainty) at 1/4, 1/2 and 1/1, four channels each."""
    total = predictions[0].float() if predictions[0].dtype in (torch.float16, torch.bfloat16) else predictions[0]
    sums = [total]
    for prediction in predictions[1:]:
        total = up2(total) + prediction
        sums.append(total)
    return sums


def multiscale_loss(predictions: Sequence[Tensor], flow: Tensor, valid: Tensor | None = None) -> LossTerms:
    """Loss of three predictions against ``flow`` [B,2,H,W]; ``valid`` [B,H,W] None means every pixel.

    With d = |A_flow - label|: optical = mean d, uncertainty = mean(d / max(softplus(u + 1e-3), 1e-3)) + mean
    softplus(u); total = sum over scales of (0.125, 0.25, 0.5) x (optical + uncertainty).  Every mean is over a
    sample's valid pixels and both components, then over samples; a sample without a valid pixel counts as 0.
    Predictions of 1/2 and 1/1 may be in phases [B,16,h/2,w/2] (models/fast.py); all may lie on the padded grid: what is
    beyond ceil(H/k) x ceil(W/k) does not count.

    Raises:
        DataError: shapes of flow, valid and predictions do not belong together.
    """
    _check(predictions, flow, valid)
    if valid is not None and bool(valid.all()):
        valid = None
    if valid is not None:  # whatever stands at an unknown pixel, even NaN, must not reach the gradient
        flow = flow.masked_fill(~valid[:, None], 0.0)
    optical, uncertainty = _MultiscaleLoss.apply(flow, valid, *predictions)  # type: ignore[no-untyped-call]
    return LossTerms(optical + uncertainty, optical, uncertainty)


class _MultiscaleLoss(torch.autograd.Function):
    """Optical and uncertainty loss, their gradient by hand.

    Maps of four channels in channels_last memory leave vector units idle, and a dozen operators pass over each.  So
    everything here lies in planes (:func:`_planes`), in which x2 upsampling is a few sums of whole planes.
    """

    @staticmethod
    def forward(ctx: Any, flow: Tensor, valid: Tensor | None, *predictions: Tensor) -> tuple[Tensor, Tensor]:
        terms, kept, coarser = [], [], None
        for prediction, (stride, weight) in zip(predictions, SCALES, strict=True):
            wide = torch.promote_types(prediction.dtype, torch.float32)
            total = _planes(prediction, 1 if coarser is None else 2).to(
                wide, memory_format=torch.contiguous_format, copy=True
            )
            if coarser is not None:
                _add_up2(total, coarser)
            mask = None if valid is None else valid[:, ::stride, ::stride]
            sums, saved = _scale_loss(total, flow[:, :, ::stride, ::stride], mask)
            terms.append(weight * sums)
            kept += saved
            coarser = _pixels(total) if stride > 1 else None
        ctx.save_for_backward(*kept)
        ctx.forms = [(prediction.shape, prediction.dtype) for prediction in predictions]
        optical, uncertainty = torch.stack(terms).sum(0)
        return optical, uncertainty

    @staticmethod
    def backward(ctx: Any, optical: Tensor, uncertainty: Tensor) -> tuple[Tensor | None, ...]:
        finer, found = None, []
        for place in reversed(range(len(SCALES))):
            saved, weight = ctx.saved_tensors[4 * place : 4 * place + 4], SCALES[place][1]
            gradient = _scale_gradient(saved, optical * weight, uncertainty * weight)
            side = gradient.shape[1]
            if finer is not None:
                gradient += _planes(finer.transpose(0, 1), side)
            if place > 0:
                rows = up2_transposed(gradient[:, :, 0], gradient[:, :, 1], 4)
                finer = up2_transposed(rows[:, 0], rows[:, 1], 2)
            shape, dtype = ctx.forms[place]
            pixels = torch.empty(shape, dtype=dtype, device=gradient.device, memory_format=torch.channels_last)
            _planes(pixels, side).copy_(gradient)
            found.append(pixels)
        return None, None, *reversed(found)


def _planes(maps: Tensor, side: int) -> Tensor:
    """[B,4,H,W] -> the view [4,side,side,B,H/side,W/side]: channel, then row and column modulo ``side``.

    Of a prediction in phases [B,16,H/2,W/2] with ``side`` 2.
    """
    if maps.shape[1] == 16:
        return maps.view(len(maps), 2, 2, 4, *maps.shape[2:]).permute(3, 1, 2, 0, 4, 5)
    split: Tensor = maps.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return split.permute(1, 3, 5, 0, 2, 4)


def _pixels(planes: Tensor) -> Tensor:
    """[C,s,s,B,h,w] -> the map [C,B,s h,s w]."""
    return planes.permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)


def _add_up2(planes: Tensor, x: Tensor) -> None:
    """Add to planes [C,2,2,B,h,w] the up2 of x [C,B,h,w] (models/blocks.py:up2)."""
    right = _halfway(x, 3)
    for row, column, term in ((0, 0, x), (0, 1, right), (1, 0, _halfway(x, 2)), (1, 1, _halfway(right, 2))):
        planes[:, row, column] += term


def _halfway(x: Tensor, axis: int) -> Tensor:
    """Mean of each pixel and the next along ``axis``; the last one is repeated."""
    result, count = x.clone(), x.shape[axis] - 1
    result.narrow(axis, 0, count).add_(x.narrow(axis, 1, count)).mul_(0.5)
    return result


def _scale_loss(total: Tensor, label: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """[optical, uncertainty] of one scale in planes, and what its gradient needs: difference, 1/c, sigmoid, weights."""
    batch, height, width = label.shape[0], *label.shape[2:]
    side = total.shape[1]
    rows, columns = side * total.shape[4] - height, side * total.shape[5] - width
    if rows or columns:
        mask = mask if mask is not None else label.new_ones(label[:, 0].shape, dtype=torch.bool)
        label, mask = F.pad(label, (0, columns, 0, rows)), F.pad(mask, (0, columns, 0, rows))
        inside = F.pad(label.new_ones((1, 1, height, width), dtype=torch.bool), (0, columns, 0, rows))
        total = total.masked_fill(~_planes(inside, side), 0.0)  # not even NaN counts beyond the label
    difference = total[:2] - _planes(label, side)
    spread = total[2:]
    sigmoid, softplus = spread.sigmoid(), F.softplus(spread)
    # softplus(u + e) = softplus(u) + log(1 + sigmoid(u) (exp(e) - 1)): no second exponential
    inverse = torch.log1p(sigmoid * SLOPE).add_(softplus).clamp_(min=FLOOR).reciprocal_()
    distance = difference.abs()
    if mask is None:
        weights = total.new_full((), 1.0 / (2 * batch * height * width))
        sums = torch.stack([distance.sum(), distance.mul_(inverse).add_(softplus).sum()]) * weights
    else:
        counts = mask.sum((1, 2)).clamp(min=1).to(total.dtype) * (2 * batch)
        weights = _planes((mask / counts[:, None, None])[:, None], side)
        distance = distance * weights
        sums = torch.stack([distance.sum(), distance.mul_(inverse).add_(softplus * weights).sum()])
    return sums, [difference, inverse, sigmoid, weights]


def _scale_gradient(saved: Sequence[Tensor], optical: Tensor, uncertainty: Tensor) -> Tensor:
    """Gradient of optical x its sum + uncertainty x its sum (both 0-d) with respect to the planes [4,s,s,B,h,w]."""
    difference, inverse, sigmoid, weights = saved
    gradient = inverse.new_empty(4, *inverse.shape[1:])
    of_flow, of_spread = gradient[:2], gradient[2:]
    torch.mul(inverse, uncertainty, out=of_flow).add_(optical).mul_(difference.sign()).mul_(weights)
    # d/du of d / softplus(u + e), 0 where the floor holds: - d / c^2 x sigmoid(u + e)
    torch.mul(sigmoid, SLOPE, out=of_spread).add_(1.0).reciprocal_().mul_(sigmoid).mul_(-1.0 - SLOPE)
    of_spread.mul_(difference.abs().mul_(inverse).mul_(inverse)).mul_(inverse < BELOW_FLOOR)
    of_spread.add_(sigmoid).mul_(weights * uncertainty)
    return gradient


def _check(predictions: Sequence[Tensor], flow: Tensor, valid: Tensor | None) -> None:
    """Raise DataError where broadcasting would hide a mistake."""
    if len(predictions) != len(SCALES):
        raise DataError(f"the loss takes {len(SCALES)} predictions (1/4, 1/2, 1/1), got {len(predictions)}")
    if flow.dim() != 4 or flow.shape[1] != 2 or flow.shape[0] != predictions[-1].shape[0]:
        raise DataError(f"flow must be [{predictions[-1].shape[0]},2,H,W], got {list(flow.shape)}")
    if valid is not None and (valid.dtype != torch.bool or valid.shape != flow[:, 0].shape):
        raise DataError(f"valid must be bool {list(flow[:, 0].shape)}, got {valid.dtype} {list(valid.shape)}")
    for prediction, (stride, _) in zip(predictions, SCALES, strict=True):
        need = [-(-size // stride) for size in flow.shape[2:]]
        side = {4: 1, 16: 2}.get(prediction.shape[1], 0) if prediction.dim() == 4 else 0
        if any(side * size < least for size, least in zip(prediction.shape[2:], need, strict=False)) or not side:
            raise DataError(
                f"prediction at 1/{stride} must be [B,4,>={need[0]},>={need[1]}], got {list(prediction.shape)}"
            )


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The student's strongest response at every pixel should be the teacher's (distillation, 0-d).

    Weighted sum over the three decoder scales of the mean squared difference of attention maps [B,h,w], the
    channel-wise maximum of absolute features, so teacher and student may have any number of channels (the distillation
    of the TF1 tool, its engine/train_step.py; attention by pooling channels: Zagoruyko & Komodakis 2017, arXiv
    1612.03928, section 3.1).

    Args:
        student: features [B,C,h,w] of the scales 1/4, 1/2, 1/1, any number of channels each.
        teacher: features of the same scales; no gradient goes there.
        weights: one for each scale; a scale of weight 0 is not computed.

    Raises:
        ConfigError: the two do not lie on the same grid.
    """
    total = student[0].new_zeros(())
    for s, t, weight in zip(student, teacher, weights, strict=True):
        if weight == 0:
            continue
        if s.shape[0] != t.shape[0] or s.shape[2:] != t.shape[2:]:
            raise ConfigError(f"features of student {list(s.shape)} and teacher {list(t.shape)} lie on different grids")
        wide = s.float() if s.dtype == torch.bfloat16 else s
        difference = wide.abs().amax(1) - t.detach().to(s).abs().amax(1)
        total = total + weight * difference.square().mean()
    return total
