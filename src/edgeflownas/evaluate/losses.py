"""Multi-scale loss of flow and uncertainty.

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

from edgeflownas.errors import DataError
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
    total = _at_least_float32(predictions[0])
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


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


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
