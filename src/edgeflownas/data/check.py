"""What a data set is before it costs a run: unusable files, flow magnitudes, and its fingerprint.

A fingerprint is what a run was trained on as one hash, which moves with content only, never with place, time or listing
order.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset, Progress, Sample, default_workers, in_order, read_true_flow
from edgeflownas.data.formats import flow_size, image_form, is_kitti_flow, mask_size, read_flow, read_image, read_mask
from edgeflownas.errors import BadSample, DataError, StorageError
from edgeflownas.files import fill, first_of, open_regular

_CHUNK = 64  # samples handed to a thread at a time: a header check is shorter than handing it over
# Threads share the round trips of a network disk, and there minutes are lost; on a local disk they only fight for the
# interpreter lock (22,872 samples on 2 cores: 1 s alone, 1.2 to 6 s with 8 threads).  So the first chunk is timed.
_SLOW_DISK_THREADS = 8
_SLOW_DISK = 0.001  # seconds a sample
_BIN = 0.01  # px, of the histogram that percentiles are read off: their error is at most this
_BINS = 400_000  # up to 4000 px, anything beyond is counted in the last


# --- unusable files: names, headers, lengths and sizes in seconds, or every pixel ---


@dataclass
class Findings:
    """What a check found: a problem for each unusable file, and what the user should know of the others."""

    problems: list[BadSample]
    converted: Counter[str]  # images that are not 8-bit RGB, by what makes them so
    pixels: int  # of the flows, all and those without a known flow; 0 unless they were decoded
    unknown: int

    @property
    def notes(self) -> list[str]:
        """The facts in words."""
        found = [f"{count:,} images: {words}" for words, count in sorted(self.converted.items())]
        return found + [f"{self.unknown:,} of {self.pixels:,} pixels without a known flow"] * bool(self.unknown)


class _Checked(NamedTuple):
    """A sample: its problems, what was done to its images, pixels of its flow, those not known."""

    problems: list[BadSample]
    converted: list[tuple[Path, str]]
    pixels: int
    unknown: int


def check_dataset(
    dataset: FlowDataset, full: bool = False, progress: Progress | None = None, notes: list[str] | None = None
) -> list[BadSample]:
    """The problems that :func:`look_through` finds, none if all is well; ``notes`` are given the facts in words."""
    found = look_through(dataset, full, progress)
    if notes is not None:
        notes += found.notes
    return found.problems


def look_through(dataset: FlowDataset, full: bool = False, progress: Progress | None = None) -> Findings:
    """Look at every file of a data set; problems are in the order of the samples.

    The quick check reads headers and lengths (a PNG's end chunk stands for its length) and compares the sizes
    of a sample; ``full`` also decodes every file, with checksums, on all cores.
    Raises StorageError: a fault of the machine, which says nothing about the files.
    """
    size = 4 if full else _CHUNK
    first, others = dataset.samples[:size], dataset.samples[size:]
    started = time.monotonic()
    checked = [_check_sample(sample, full) for sample in first]
    slow = time.monotonic() - started > _SLOW_DISK * size
    workers = default_workers() if full else _SLOW_DISK_THREADS if slow else 1
    found = in_order(lambda sample: _check_sample(sample, full), others, workers, size)
    for done, more in enumerate(found, start=size + 1):
        checked.append(more)
        if progress is not None and (done % size == 0 or done == len(dataset)):
            progress(done, len(dataset))
    # A frame of two samples is named, and counted, once.
    problems = {str(problem): problem for sample in checked for problem in sample.problems}
    converted = {path: words for sample in checked for path, words in sample.converted}
    pixels, unknown = sum(sample.pixels for sample in checked), sum(sample.unknown for sample in checked)
    return Findings(list(problems.values()), Counter(converted.values()), pixels, unknown)


def _check_sample(sample: Sample, full: bool) -> _Checked:
    """The problems of one sample: at most one for each file, or one if the sizes differ."""
    problems: list[BadSample] = []
    converted: list[tuple[Path, str]] = []
    sizes: list[tuple[int, ...]] = []
    pixels = unknown = 0
    for path in sample.files:
        try:
            if path == sample.flow and full:
                valid = read_flow(path)[1]
                pixels, unknown = valid.size, valid.size - int(np.count_nonzero(valid))
                sizes.append(valid.shape)
            elif path == sample.flow or (path == sample.occluded and is_kitti_flow(path)):
                sizes.append(read_flow(path)[1].shape if full else flow_size(path))
            elif path in (sample.invalid, sample.occluded):
                sizes.append(read_mask(path).shape if full else mask_size(path))
            else:
                size, words = image_form(path)
                sizes.append(read_image(path).shape[:2] if full else size)
                converted += [(path, words)] if words else []
        except BadSample as problem:
            problems.append(problem)
    if not problems and len(set(sizes)) > 1:
        shown = ", ".join(f"{path.name} {h}x{w}" for path, (h, w) in zip(sample.files, sizes, strict=True))
        problems.append(BadSample(sample.flow, f"the sizes of the sample differ (height x width): {shown}"))
    return _Checked(problems, converted, pixels, unknown)


def refuse(dataset: FlowDataset, problems: Sequence[BadSample]) -> None:
    """Raises DataError where :func:`check_dataset` found problems; the message lists the first ten."""
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
    """Read every flow once; memory does not grow with the set.  Raises BadSample; DataError: no pixel is valid."""
    counts = np.zeros(_BINS, dtype=np.int64)
    beyond = invalid = 0
    total = largest = 0.0
    for sums, histogram in in_order(_measure, dataset.samples, default_workers(), progress=progress):
        total, largest = total + sums[0], max(largest, sums[1])
        beyond, invalid = beyond + sums[2], invalid + sums[3]
        counts[: len(histogram)] += histogram
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


# --- fingerprints ---

FULL_LIMIT = 4 * 2**30  # bytes of a set up to which every byte is summed; of a larger one the edges of each file
OFFICIAL = 640  # samples of the folder val/ (FlyingChairs2) and of the 2s in FlyingChairs_train_val.txt
HOLD_OUT = (4446, 4447)
"""The fifth of the 22,232 training samples that FC2_test.txt lists, without and with the one in no list."""

_EDGE = 64 * 1024  # bytes at the beginning and at the end of a file
_BLOCK = 2**20
_CHUNK_OF_FILES = 16  # files handed to a thread at a time
CrcKind = Literal["full", "edges"]


class FileRow(NamedTuple):
    """One file: its name relative to the folder of the set, bytes, times of its last change and CRC-32."""

    name: str
    size: int
    mtime_ns: int
    crc: int
    ctime_ns: int = 0  # of content, name or rights: no program sets it back; 0 in a table of an older version


@dataclass(frozen=True)
class Fingerprint:
    """The content of one split."""

    hash: str  # sha256 over names, sizes and checksums (hexadecimal)
    count: int  # samples
    split: str
    source: str
    crc_kind: CrcKind
    table: tuple[FileRow, ...]  # one row a file, sorted by name
    name: str = "fc2"  # the data set

    @property
    def label(self) -> str:
        """The set in words, e.g. ``fc2/folder:val/640/9f3a``: data set/source:split/samples/start of the hash."""
        return f"{self.name}/{self.source}:{self.split}/{self.count}/{self.hash[:4]}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**vars(self), "table": [list(row) for row in self.table]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], path: str = "data fingerprint") -> Fingerprint:
        """The inverse of :meth:`to_json`.  Raises StorageError naming ``path``: none, or with another table's hash."""
        try:
            table = tuple(FileRow(str(n), *map(int, rest)) for n, *rest in content["table"])
            kind: CrcKind = "full" if content["crc_kind"] == "full" else "edges"
            split, source = str(content["split"]), str(content["source"])
            name = str(content.get("name", "fc2"))  # older runs knew that layout only
            found = cls(content["hash"], int(content["count"]), split, source, kind, table, name)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{path}: is no data fingerprint ({type(error).__name__}: {error})") from None
        if found.hash != _hash(kind, table):
            raise StorageError(f"{path}: the hash is not that of its table; the file was altered")
        return found


def fingerprint(
    dataset: FlowDataset,
    previous: Fingerprint | None = None,
    progress: Progress | None = None,
    full_limit: int = FULL_LIMIT,
) -> Fingerprint:
    """Fingerprint the files of a data set; a frame of a film belongs to two samples and counts once.

    With ``previous`` (stored by the run) a file of unchanged size and times keeps its checksum and is not opened, which
    makes a resume cheap: 22,872 samples take seconds.  A file that is missing, no regular file or may not be read
    enters as size -1: whether it stops a run is for ``data.on_bad_sample`` to say.  Raises StorageError.
    """
    names = {path: dataset.file_name(path) for sample in dataset.samples for path in sample.files}
    states = {path: _stat(path) for path in sorted(names, key=names.__getitem__)}
    kind: CrcKind = "full" if sum(state[0] for state in states.values()) <= full_limit else "edges"
    usable = previous.table if previous is not None and previous.crc_kind == kind else ()
    known = {(row.name, row.size, row.mtime_ns, row.ctime_ns): row for row in usable}
    rows = {path: known.get((names[path], *state)) for path, state in states.items()}
    unknown = [path for path, row in rows.items() if row is None]
    sums = in_order(lambda path: _sum(path, names[path], kind), unknown, default_workers(), _CHUNK_OF_FILES, progress)
    rows.update(zip(unknown, sums, strict=True))
    table = tuple(row for row in rows.values() if row is not None)
    return Fingerprint(_hash(kind, table), len(dataset), dataset.split, dataset.source, kind, table, dataset.name)


def difference(old: Fingerprint, new: Fingerprint, limit: int = 20) -> list[str]:
    """What changed, one line a file (``added``, ``removed``, ``changed``), at most ``limit`` and a count."""
    before = {row.name: row for row in old.table}
    after = {row.name: row for row in new.table}
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            lines.append(f"added: {name}")
        elif name not in after:
            lines.append(f"removed: {name}")
        elif before[name].size != after[name].size:
            lines.append(f"changed: {name} ({before[name].size} bytes, now {after[name].size})")
        elif old.crc_kind == new.crc_kind and before[name].crc != after[name].crc:
            lines.append(f"changed: {name} (same size, other content)")
    if len(lines) > limit:
        lines[limit:] = [f"and {len(lines) - limit} more files"]
    return lines


def mixed_validation(marks: Iterable[Fingerprint]) -> str | None:
    """A warning where the official validation set and the hold-out of the training folder are used together."""
    chairs = [mark for mark in marks if mark.name in ("fc2", "flying_chairs") and mark.source != "generated"]
    official = [mark.label for mark in chairs if mark.count == OFFICIAL]
    hold_out = [mark.label for mark in chairs if mark.count in HOLD_OUT]
    if not official or not hold_out:
        return None
    return (
        f"{official[0]} looks like the official validation set (640 samples) and {hold_out[0]} like the hold-out of "
        "the training folder (4,447 = 22,232 - 17,785): both are called validation, and figures of the two must not "
        "be compared"
    )


def _hash(kind: CrcKind, table: tuple[FileRow, ...]) -> str:
    content = [kind, [[row.name, row.size, row.crc] for row in table]]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def _stat(path: Path) -> tuple[int, int, int]:
    """(size, mtime_ns, ctime_ns); (-1, 0, 0) for a file that is not there."""
    try:
        state = os.stat(path)
        return state.st_size, state.st_mtime_ns, state.st_ctime_ns
    except OSError:
        return -1, 0, 0


def _sum(path: Path, name: str, kind: CrcKind) -> FileRow:
    try:
        with open_regular(path) as (descriptor, status):
            size = status.st_size
            if kind == "full" or size <= 2 * _EDGE:
                spans = [(start, min(_BLOCK, size - start)) for start in range(0, size, _BLOCK)]
            else:
                spans = [(0, _EDGE), (size - _EDGE, _EDGE)]
            crc = 0
            for start, length in spans:
                block = bytearray(length)
                fill(path, descriptor, memoryview(block), start)
                crc = zlib.crc32(block, crc)
    except BadSample:
        return FileRow(name, -1, 0, 0)
    return FileRow(name, size, status.st_mtime_ns, crc, status.st_ctime_ns)
