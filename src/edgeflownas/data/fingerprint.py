"""What a run was trained on, as one hash that moves with content only, never with place, time or listing order."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.parallel import Progress, default_workers, in_order
from edgeflownas.errors import BadSample, StorageError
from edgeflownas.files import fill, open_regular

FULL_LIMIT = 4 * 2**30
"""Bytes of a set up to which every byte is summed; of a larger one the first and last 64 KiB of each file."""

OFFICIAL = 640  # samples of the folder val/ (FlyingChairs2) and of the 2s in FlyingChairs_train_val.txt
HOLD_OUT = (4446, 4447)
"""The fifth of the 22,232 training samples that FC2_test.txt lists, without and with the one in no list."""

_EDGE = 64 * 1024
_BLOCK = 2**20
_CHUNK = 16  # files handed to a thread at a time
CrcKind = Literal["full", "edges"]


class FileRow(NamedTuple):
    """One file: its name relative to the folder of the set, bytes, modification time and CRC-32."""

    name: str
    size: int
    mtime_ns: int
    crc: int


_ABSENT = FileRow("", -1, 0, 0)


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
        """The inverse of :meth:`to_json`.

        Raises StorageError: not a fingerprint, or one whose hash is not that of its table; ``path`` names it.
        """
        try:
            table = tuple(FileRow(str(n), int(s), int(m), int(c)) for n, s, m, c in content["table"])
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
    """Fingerprint the files of a data set.

    With ``previous`` (stored by the run) a file of unchanged size and modification time keeps its checksum and is not
    opened, which makes a resume cheap: 22,872 samples take seconds.  A file that is missing, no regular file or may not
    be read enters as size -1: whether it stops a run is for ``data.on_bad_sample`` to say.

    Raises StorageError: a fault of the machine.
    """
    names = {path: dataset.file_name(path) for sample in dataset.samples for path in sample.files}
    paths = sorted(names, key=lambda path: names[path])  # a frame of a film belongs to two samples and counts once
    states = []
    for path in paths:
        try:
            status = os.stat(path)
            states.append((status.st_size, status.st_mtime_ns))
        except OSError:
            states.append(_ABSENT[1:3])
    kind: CrcKind = "full" if sum(size for size, _ in states) <= full_limit else "edges"
    known = {row[:3]: row for row in previous.table} if previous is not None and previous.crc_kind == kind else {}
    rows = [known.get((names[path], *state)) for path, state in zip(paths, states, strict=True)]
    unknown = [i for i, row in enumerate(rows) if row is None]
    chunks = [unknown[i : i + _CHUNK] for i in range(0, len(unknown), _CHUNK)]
    sums = in_order(lambda chunk: [_sum(paths[i], names[paths[i]], kind) for i in chunk], chunks, default_workers())
    for done, (chunk, summed) in enumerate(zip(chunks, sums, strict=True), start=1):
        for i, row in zip(chunk, summed, strict=True):
            rows[i] = row
        if progress is not None:
            progress(min(done * _CHUNK, len(unknown)), len(unknown))
    table = tuple(row for row in rows if row is not None)
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
        return _ABSENT._replace(name=name)
    return FileRow(name, size, status.st_mtime_ns, crc)
