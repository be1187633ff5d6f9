"""End-point error, and the other figures that optical-flow papers report of a prediction.

EPE = mean over valid pixels of the Euclidean distance between predicted and true flow, pooled over pixels (not over
samples).  Sums are kept per sample in float64, so that any grouping of samples gives the same figure.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import DataError, NonFiniteError
from edgeflownas.evaluate.results import FIGURES, FlowFigures

BANDS = ((0.0, 10.0), (10.0, 40.0), (40.0, math.inf))
"""Magnitudes of the true flow, px (from, up to but not including), of s0_10, s10_40 and s40_plus."""

_OUTLIER = (3.0, 0.05)  # KITTI: beyond 3 px AND beyond 5 % of the true magnitude
_BELOW = (1.0, 3.0, 5.0)


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


class FlowMetrics:
    """Figures of one predictor from samples that come one by one.

    Errors are formed in float64 and every figure is made of the samples' sums by an exactly rounded addition, so that
    no grouping of the samples, and no order, changes a bit of it.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, tuple[float, int]]] = []  # figure -> (sum, pixels) of each sample

    def add(
        self,
        predicted: NDArray[np.float32],
        flow: NDArray[np.float32],
        valid: NDArray[np.bool_],
        occluded: NDArray[np.bool_] | None = None,
        name: str = "",
    ) -> None:
        """Count one sample: predicted and true flow [H,W,2], px, masks [H,W]; ``name`` is for the message.

        What stands at an invalid pixel is never looked at; ``occluded`` are those hidden in the second image, None
        where nobody knows.

        Raises:
            DataError: shapes that do not belong together.
            NonFiniteError: the prediction is not finite at a valid pixel.
        """
        for what, array, shape in (("prediction", predicted, flow.shape), ("valid mask", valid, flow.shape[:2])):
            if array.shape != shape:
                raise DataError(f"{name}: the {what} is {list(array.shape)}, the true flow {list(flow.shape)}")
        truth = flow[valid].astype(np.float64)
        # Not hypot: differences of KITTI's 1/64 px are exact in float64, and so is then the comparison with 3 px.
        error, magnitude = (
            np.sqrt(np.square(vectors).sum(axis=-1)) for vectors in (predicted[valid].astype(np.float64) - truth, truth)
        )
        if not np.isfinite(error).all():
            raise NonFiniteError(f"{name}: the predicted flow is not finite: these weights cannot be evaluated")
        outlier = (error > _OUTLIER[0]) & (error > _OUTLIER[1] * magnitude)
        shares = {"fl_all": outlier, **{f"px{limit:.0f}": error < limit for limit in _BELOW}}
        row = {key: (float(np.count_nonzero(hits)), hits.size) for key, hits in shares.items()}
        parts = {"epe": error}
        for (low, high), key in zip(BANDS, ("s0_10", "s10_40", "s40_plus"), strict=True):
            parts[key] = error[(magnitude >= low) & (magnitude < high)]
        if occluded is not None:
            parts |= {"epe_occluded": error[occluded[valid]], "epe_visible": error[~occluded[valid]]}
        row |= {key: (float(part.sum()), part.size) for key, part in parts.items()}
        self._rows.append(row)

    def figures(self) -> FlowFigures:
        """Figures of all samples so far.  Raises DataError where not one pixel is valid."""
        own = [(total, pixels) for total, pixels in (row["epe"] for row in self._rows) if pixels]
        count = len(self._rows)
        if not own:
            raise DataError(
                f"no valid pixel in the {count} evaluated samples: their EPE is undefined; check the flow files"
            )
        pooled: dict[str, float | None] = {}
        for key in FIGURES:
            sums = [row[key] for row in self._rows if key in row]
            pixels = sum(number for _, number in sums)
            pooled[key] = math.fsum(total for total, _ in sums) / pixels if pixels else None
        per_image = math.fsum(total / pixels for total, pixels in own) / len(own)
        return FlowFigures(samples=count, **{**pooled, "epe_per_image": per_image})  # type: ignore[arg-type]
