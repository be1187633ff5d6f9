"""Multi-scale loss of flow and uncertainty, and the feature loss of distillation.

Predictions p0 (1/4), p1 (1/2), p2 (1/1) are residuals: A0 = p0, A(s) = up2(A(s-1)) + p(s).  The flow is A2, never
p2 alone.  Labels are subsampled, never resized: label[::k, ::k] with unscaled values.
Shapes: predictions [B,4,h,w] (flow u, v; uncertainty of u, v), flow [B,2,H,W] in pixels, valid [B,H,W] bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.models.blocks import up2

SCALES = ((4, 0.125), (2, 0.25), (1, 0.5))  # (label stride, weight) of A0, A1, A2
FLOOR = 1e-3  # added before and bounding after softplus, as in EdgeFlowNet


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
    Predictions may lie on the padded grid: they are cropped to ceil(H/k) x ceil(W/k).

    Raises:
        DataError: shapes of flow, valid and predictions do not belong together.
    """
    _check(predictions, flow, valid)
    if valid is not None:  # whatever stands at an unknown pixel, even NaN, must not reach the gradient
        flow = flow.masked_fill(~valid[:, None], 0.0)
    optical = flow.new_zeros(())
    uncertainty = flow.new_zeros(())
    for prediction, (stride, weight) in zip(accumulate(predictions), SCALES, strict=True):
        label = flow[:, :, ::stride, ::stride]
        mask = None if valid is None else valid[:, ::stride, ::stride]
        cropped = prediction[:, :, : label.shape[2], : label.shape[3]]
        distance = (cropped[:, :2] - label).abs()
        spread = cropped[:, 2:]
        weighted = distance / F.softplus(spread + FLOOR).clamp(min=FLOOR)
        optical = optical + weight * _mean(distance, mask)
        uncertainty = uncertainty + weight * _mean(weighted + F.softplus(spread), mask)
    return LossTerms(optical + uncertainty, optical, uncertainty)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over a sample's valid pixels and components, then over samples."""
    if mask is None:
        return values.mean()
    counts = mask.sum((1, 2)).clamp(min=1) * values.shape[1]
    sums = (values * mask[:, None]).sum((1, 2, 3))
    return (sums / counts).mean()


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
        if (
            prediction.dim() != 4
            or prediction.shape[1] != 4
            or any(h < n for h, n in zip(prediction.shape[2:], need, strict=True))
        ):
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
