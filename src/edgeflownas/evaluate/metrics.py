"""End-point error.

EPE = mean over valid pixels of the Euclidean distance between predicted and true flow, pooled over pixels (not over
samples).  Sums are kept per sample in float64, so that any grouping of samples gives the same figure.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeflownas.errors import DataError


def sample_errors(
    prediction: Tensor, flow: Tensor, valid: Tensor | None = None, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Sum of end-point errors (float64 [B], px) and number of valid pixels (int64 [B]) of each sample.

    Args:
        prediction: [B,2 or more,h,w], flow in the first two channels; may lie on the padded grid (cropped here).
        flow: true flow [B,2,H,W] in pixels.
        valid: [B,H,W] bool; None means every pixel.
        stride: 1 for A2; 2 for A1 and 4 for A0, compared with ``flow[::stride, ::stride]``, values unscaled.

    Raises:
        DataError: the prediction does not cover the label.
    """
    label = flow[:, :, ::stride, ::stride]
    height, width = label.shape[2:]
    if prediction.shape[0] != label.shape[0] or prediction.shape[2] < height or prediction.shape[3] < width:
        raise DataError(
            f"prediction {list(prediction.shape)} does not cover the label {list(label.shape)} (stride {stride})"
        )
    difference = prediction[:, :2, :height, :width].float() - label.float()
    distance = torch.linalg.vector_norm(difference, dim=1)
    if valid is None:
        counts = torch.full((len(label),), height * width, dtype=torch.int64, device=label.device)
        return distance.sum((1, 2), dtype=torch.float64), counts
    mask = valid[:, ::stride, ::stride]
    distance = distance.masked_fill(~mask, 0.0)
    return distance.sum((1, 2), dtype=torch.float64), mask.sum((1, 2))


def epe(sums: Tensor, counts: Tensor) -> float:
    """Pooled end-point error in px of per-sample sums and counts.  Raises DataError without any valid pixel."""
    pixels = int(counts.sum())
    if pixels == 0:
        raise DataError("no valid pixel in the evaluated samples: their EPE is undefined; check the flow files")
    return float(sums.double().sum()) / pixels
