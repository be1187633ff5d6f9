"""What optical-flow papers report of a prediction, from sums kept per sample.

Errors are formed in float64 and every figure is made of the samples' sums by an exactly rounded addition, so that no
grouping of the samples, and no order, changes a bit of it.  Shares are fractions (0 to 1), errors are in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError, NonFiniteError

BANDS = ((0.0, 10.0), (10.0, 40.0), (40.0, math.inf))
"""Magnitudes of the true flow, px (from, up to but not including), of s0_10, s10_40 and s40_plus."""

_OUTLIER = (3.0, 0.05)  # KITTI: beyond 3 px AND beyond 5 % of the true magnitude
_BELOW = (1.0, 3.0, 5.0)
_POOLED = ("epe", "fl_all", "px1", "px3", "px5", "s0_10", "s10_40", "s40_plus", "epe_occluded", "epe_visible")


@dataclass(frozen=True)
class FlowFigures:
    """Figures of one predictor on one set of pixels; None where no pixel decides."""

    samples: int
    epe: float
    """Mean over all valid pixels of all samples."""
    epe_per_image: float
    """Mean over samples of each sample's own mean; a sample without a valid pixel is left out."""
    fl_all: float
    """Share of pixels wrong by more than 3 px and more than 5 % of the true magnitude."""
    px1: float
    """Share of pixels with an error below 1 px."""
    px3: float
    px5: float
    s0_10: float | None
    """EPE of the pixels that truly move less than 10 px."""
    s10_40: float | None
    s40_plus: float | None
    epe_occluded: float | None
    """EPE of the pixels hidden in the second image; None where the data set has no such masks."""
    epe_visible: float | None


class FlowMetrics:
    """Collects samples one by one; the order and the company of a sample change nothing."""

    def __init__(self) -> None:
        self._rows: list[dict[str, tuple[float, int]]] = []  # figure -> (sum, pixels) of each sample

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        predicted: NDArray[np.float32],
        flow: NDArray[np.float32],
        valid: NDArray[np.bool_],
        occluded: NDArray[np.bool_] | None = None,
        name: str = "",
    ) -> None:
        """Count one sample.

        Args:
            predicted: [H,W,2] px.
            flow: true flow [H,W,2] px; what stands at an invalid pixel is never looked at.
            valid: [H,W].
            occluded: [H,W], True where the pixel is hidden in the second image; None where nobody knows.
            name: of predictor and sample, for the message.

        Raises:
            DataError: shapes that do not belong together.
            NonFiniteError: the prediction is not finite at a valid pixel.
        """
        for what, array, shape in (("prediction", predicted, flow.shape), ("valid mask", valid, flow.shape[:2])):
            if array.shape != shape:
                raise DataError(f"{name}: the {what} is {list(array.shape)}, the true flow {list(flow.shape)}")
        truth = flow[valid].astype(np.float64)
        error = _length(predicted[valid].astype(np.float64) - truth)
        if not np.isfinite(error).all():
            raise NonFiniteError(f"{name}: the predicted flow is not finite: these weights cannot be evaluated")
        magnitude = _length(truth)
        outlier = (error > _OUTLIER[0]) & (error > _OUTLIER[1] * magnitude)
        row = {"epe": _sum(error), "fl_all": _share(outlier)}
        row |= {f"px{limit:.0f}": _share(error < limit) for limit in _BELOW}
        for (low, high), key in zip(BANDS, ("s0_10", "s10_40", "s40_plus"), strict=True):
            row[key] = _sum(error[(magnitude >= low) & (magnitude < high)])
        if occluded is not None:
            hidden = occluded[valid]
            row |= {"epe_occluded": _sum(error[hidden]), "epe_visible": _sum(error[~hidden])}
        self._rows.append(row)

    def merge(self, other: FlowMetrics) -> None:
        """Take over the samples of ``other``."""
        self._rows += other._rows

    def figures(self) -> FlowFigures:
        """Figures of all samples so far.  Raises DataError where not one pixel is valid."""
        own = [(total, pixels) for total, pixels in (row["epe"] for row in self._rows) if pixels]
        if not own:
            raise DataError(
                f"no valid pixel in the {len(self)} evaluated samples: their EPE is undefined; check the flow files"
            )
        per_image = math.fsum(total / pixels for total, pixels in own) / len(own)
        pooled = {key: _ratio(row[key] for row in self._rows if key in row) for key in _POOLED}
        return FlowFigures(samples=len(self), epe_per_image=per_image, **pooled)  # type: ignore[arg-type]


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    # Not hypot: differences of KITTI's 1/64 px are exact in float64, and so is then the comparison with 3 px.
    return np.asarray(np.sqrt(np.square(vectors).sum(axis=-1)))


def _sum(errors: NDArray[np.float64]) -> tuple[float, int]:
    return float(errors.sum()), errors.size


def _share(hits: NDArray[np.bool_]) -> tuple[float, int]:
    return float(np.count_nonzero(hits)), hits.size


def _ratio(parts: Iterable[tuple[float, int]]) -> float | None:
    pairs = list(parts)
    pixels = sum(count for _, count in pairs)
    return math.fsum(total for total, _ in pairs) / pixels if pixels else None
