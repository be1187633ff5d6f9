"""What a data set is worth before it costs a run: unusable files, and flow magnitudes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset, Sample, read_true_flow
from edgeflownas.data.formats import flow_size, is_kitti_flow, read_flow
from edgeflownas.data.images import image_size, mask_size, read_image, read_mask
from edgeflownas.data.parallel import Progress, default_workers, in_order
from edgeflownas.errors import BadSample, DataError
from edgeflownas.files import first_of

_CHUNK = 64  # samples handed to a thread at a time: a header check is shorter than handing it over
# Threads share the round trips of a network disk, and there minutes are lost; on a local disk they only fight for the
# interpreter lock (22,872 samples on 2 cores: 1 s alone, 1.2 to 6 s with 8 threads).  So the first chunk is timed.
_SLOW_DISK_THREADS = 8
_SLOW_DISK = 0.001  # seconds a sample
_BIN = 0.01  # px; the error of a percentile is at most this
_BINS = 400_000  # up to 4000 px, anything beyond is counted in the last


# --- unusable files: names, headers, lengths and sizes in seconds, or every pixel ---


def check_dataset(dataset: FlowDataset, full: bool = False, progress: Progress | None = None) -> list[BadSample]:
    """One problem for each unusable file, in the order of the samples; empty if all is well.

    The quick check reads headers and lengths (a PNG's end chunk stands for its length) and compares the sizes
    of a sample; ``full`` also decodes every file, with checksums, on all cores.

    Raises StorageError: a fault of the machine, which says nothing about the files.
    """
    size = 4 if full else _CHUNK
    chunks = [dataset.samples[i : i + size] for i in range(0, len(dataset), size)]

    def check_chunk(samples: Sequence[Sample]) -> list[BadSample]:
        return [problem for sample in samples for problem in _check_sample(sample, full)]

    started = time.monotonic()
    problems = check_chunk(chunks[0]) if chunks else []
    slow = time.monotonic() - started > _SLOW_DISK * size
    workers = default_workers() if full else _SLOW_DISK_THREADS if slow else 1
    for done, found in enumerate(in_order(check_chunk, chunks[1:], workers), start=2):
        problems += found
        if progress is not None:
            progress(min(done * size, len(dataset)), len(dataset))
    return list({str(problem): problem for problem in problems}.values())  # a frame of two samples is named once


def _check_sample(sample: Sample, full: bool) -> list[BadSample]:
    """The problems of one sample: at most one for each file, or one if the sizes differ."""
    problems: list[BadSample] = []
    sizes: list[tuple[int, ...]] = []
    for path in sample.files:
        try:
            if path == sample.flow or (path == sample.occluded and is_kitti_flow(path)):
                sizes.append(read_flow(path)[1].shape if full else flow_size(path))
            elif path in (sample.invalid, sample.occluded):
                sizes.append(read_mask(path).shape if full else mask_size(path))
            else:
                sizes.append(read_image(path).shape[:2] if full else image_size(path))
        except BadSample as problem:
            problems.append(problem)
    if not problems and len(set(sizes)) > 1:
        shown = ", ".join(f"{path.name} {h}x{w}" for path, (h, w) in zip(sample.files, sizes, strict=True))
        problems.append(BadSample(sample.flow, f"the sizes of the sample differ (height x width): {shown}"))
    return problems


def refuse(dataset: FlowDataset, problems: Sequence[BadSample]) -> None:
    """Stop a command on what :func:`check_dataset` found.

    Raises DataError: there are problems; the message lists the first ten.
    """
    if problems:
        raise DataError(
            f"{dataset.directory}: {len(problems)} bad files in the {dataset.split} split of {len(dataset)} samples:"
            f"{first_of(problems, 10)}\nReplace these files, or remove all files of these samples."
        )


# --- flow magnitudes: what the network will have to measure, and what data.flow_clip cuts off ---


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
    share_beyond_50: float  # share of pixels with a component beyond +-50 px, the default of data.flow_clip


def flow_statistics(dataset: FlowDataset, progress: Progress | None = None) -> FlowStatistics:
    """Read every flow once; percentiles come from a histogram of 0.01 px, so memory does not grow with the set.

    Raises BadSample: a flow cannot be read.  DataError: no pixel is valid.
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
    ranks = [max(1, int(np.ceil(share * pixels))) for share in (0.5, 0.9, 0.99)]
    # The middle of the bin in which the value lies, which may be beyond the largest value in it.
    median, p90, p99 = (min((float(bin_) + 0.5) * _BIN, largest) for bin_ in np.searchsorted(np.cumsum(counts), ranks))
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
