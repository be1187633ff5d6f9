"""Find unusable files before they cost a run: names, headers, lengths and sizes in seconds, or every pixel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edgeflownas.data.dataset import FlowDataset, Sample
from edgeflownas.data.formats import (
    flow_size,
    image_size,
    is_kitti_flow,
    kitti_size,
    mask_size,
    read_flow,
    read_image,
    read_kitti,
    read_mask,
)
from edgeflownas.data.parallel import Progress, default_workers, in_order
from edgeflownas.errors import BadSample, DataError

__all__ = ["check_dataset", "check_sample", "refuse"]

_CHUNK = 64  # samples handed to a thread at a time: a header check is shorter than handing it over
# Threads share the round trips of a network disk, and there minutes are lost; on a local disk they only fight for the
# interpreter lock (22,872 samples on 2 cores: 1 s alone, 1.2 to 6 s with 8 threads).  So the first chunk is timed.
_SLOW_DISK_THREADS = 8
_SLOW_DISK = 0.001  # seconds a sample


def check_dataset(dataset: FlowDataset, full: bool = False, progress: Progress | None = None) -> list[BadSample]:
    """One problem for each unusable file, in the order of the samples; empty if all is well.

    The quick check reads headers and lengths (a PNG's end chunk stands for its length) and compares the sizes
    of a sample; ``full`` also decodes every file, with checksums, on all cores.

    Raises:
        StorageError: a fault of the machine, which says nothing about the files.
    """
    size = 4 if full else _CHUNK
    chunks = [dataset.samples[i : i + size] for i in range(0, len(dataset), size)]

    def check_chunk(samples: Sequence[Sample]) -> list[BadSample]:
        return [problem for sample in samples for problem in check_sample(sample, full)]

    started = time.monotonic()
    problems = check_chunk(chunks[0]) if chunks else []
    slow = time.monotonic() - started > _SLOW_DISK * size
    workers = default_workers() if full else _SLOW_DISK_THREADS if slow else 1
    for done, found in enumerate(in_order(check_chunk, chunks[1:], workers), start=2):
        problems += found
        if progress is not None:
            progress(min(done * size, len(dataset)), len(dataset))
    return list({str(problem): problem for problem in problems}.values())  # a frame of two samples is named once


def check_sample(sample: Sample, full: bool = False) -> list[BadSample]:
    """The problems of one sample: at most one for each file, or one if the sizes differ."""
    problems: list[BadSample] = []
    sizes: list[tuple[int, ...]] = []
    for path in sample.files:
        try:
            sizes.append(_size_of(path, sample, full))
        except BadSample as problem:
            problems.append(problem)
    if not problems and len(set(sizes)) > 1:
        shown = ", ".join(f"{path.name} {h}x{w}" for path, (h, w) in zip(sample.files, sizes, strict=True))
        problems.append(BadSample(sample.flow, f"the sizes of the sample differ (height x width): {shown}"))
    return problems


def _size_of(path: Path, sample: Sample, full: bool) -> tuple[int, ...]:
    """(height, width) by the header, or of the decoded file."""
    if path == sample.flow:
        return read_flow(path)[0].shape[:2] if full else flow_size(path)
    if path == sample.occluded and is_kitti_flow(path):
        return read_kitti(path)[1].shape if full else kitti_size(path)
    if path in (sample.invalid, sample.occluded):
        return read_mask(path).shape if full else mask_size(path)
    return read_image(path).shape[:2] if full else image_size(path)


def refuse(dataset: FlowDataset, problems: Sequence[BadSample]) -> None:
    """Stop a command on what :func:`check_dataset` found.

    Raises:
        DataError: there are problems; the message lists the first ten.
    """
    if not problems:
        return
    shown = "".join(f"\n  {problem}" for problem in problems[:10])
    more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
    raise DataError(
        f"{dataset.directory}: {len(problems)} bad files in the {dataset.split} split of {len(dataset)} samples:"
        f"{shown}{more}\nReplace these files, or remove all files of these samples."
    )
