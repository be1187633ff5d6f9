"""Flow magnitudes of a data set: what the network will have to measure, and what ``data.flow_clip`` cuts off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset, Sample, read_true_flow
from edgeflownas.data.parallel import Progress, default_workers, in_order
from edgeflownas.errors import DataError

__all__ = ["FlowStatistics", "flow_statistics"]

_BIN = 0.01  # px; the error of a percentile is at most this
_BINS = 400_000  # up to 4000 px, anything beyond is counted in the last


@dataclass(frozen=True)
class FlowStatistics:
    """Over the valid pixels of all samples; magnitudes in px."""

    samples: int
    pixels: int
    invalid_share: float
    mean: float
    median: float
    p90: float
    p99: float
    maximum: float
    share_beyond_50: float
    """Share of pixels with a component beyond +-50 px, the default of ``data.flow_clip``."""


def flow_statistics(dataset: FlowDataset, progress: Progress | None = None) -> FlowStatistics:
    """Read every flow once; percentiles come from a histogram of 0.01 px, so memory does not grow with the set.

    Raises:
        BadSample: a flow cannot be read.
        DataError: no pixel is valid.
    """
    counts = np.zeros(_BINS, dtype=np.int64)
    beyond = invalid = 0
    total = largest = 0.0
    for done, (sums, sample_counts) in enumerate(in_order(_measure, dataset.samples, default_workers()), start=1):
        total += sums[0]
        largest = max(largest, sums[1])
        beyond += int(sums[2])
        invalid += int(sums[3])
        counts[: len(sample_counts)] += sample_counts
        if progress is not None:
            progress(done, len(dataset))
    pixels = int(counts.sum())
    if pixels == 0:
        raise DataError(f"{dataset.directory}: no pixel of its {len(dataset)} flows is valid")
    # The middle of a bin may lie beyond the largest value in it.
    median, p90, p99 = (min(_percentile(counts, share), largest) for share in (0.5, 0.9, 0.99))
    return FlowStatistics(
        len(dataset), pixels, invalid / (pixels + invalid), total / pixels, median, p90, p99, largest, beyond / pixels
    )


def _measure(sample: Sample) -> tuple[tuple[float, float, int, int], NDArray[np.int64]]:
    """(sum, maximum, pixels beyond 50, invalid pixels) and the histogram of one flow."""
    flow, valid = read_true_flow(sample)
    known = flow[valid]
    magnitude = np.hypot(known[:, 0], known[:, 1]).astype(np.float64)
    beyond = int((np.abs(known) > 50.0).any(axis=1).sum())
    bins = np.minimum(magnitude / _BIN, _BINS - 1).astype(np.int64)
    sums = (float(magnitude.sum()), float(magnitude.max(initial=0.0)), beyond, int((~valid).sum()))
    return sums, np.bincount(bins, minlength=1)


def _percentile(counts: NDArray[np.int64], share: float) -> float:
    """Middle of the bin in which the value lies."""
    rank = max(1, int(np.ceil(share * counts.sum())))
    return (float(np.searchsorted(np.cumsum(counts), rank)) + 0.5) * _BIN
