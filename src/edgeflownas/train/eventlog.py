"""Append-only logs: exactly one copy of every committed row, whatever interrupts the run.

A log's length is stored with each checkpoint.  At resume a log of facts is cut back to the length of the
checkpoint that is loaded, and the rows after it are produced again, byte for byte; a log of times only grows.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.errors import StorageError
from edgeflownas.train.storage import parse_json, row_text, storing, write_all

__all__ = ["AppendLog", "CsvLog", "JsonLog", "csv_rows", "read_rows"]


class AppendLog:
    """Lines appended to one file, each by a single write, so that a kill leaves whole lines but perhaps the last.

    The file is opened (and created) by the first append.  Its descriptor is not inherited by other programs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def append(self, line: str) -> None:
        """Append one line (without its newline).  Raises StorageError."""
        assert "\n" not in line, "a row is one line"
        with storing(self.path, "append a line"):
            write_all(self._open(), (line + "\n").encode())

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":  # torn by a kill: close the line
                write_all(self._descriptor, b"\n")
        return self._descriptor

    def offset(self) -> int:
        """Length of the file, bytes; 0 where there is none yet."""
        with storing(self.path, "measure"):
            return self.path.stat().st_size if self.path.exists() else 0

    def holds(self, offset: int) -> bool:
        """Whether the file reaches ``offset`` and a line ends there."""
        if offset == 0:
            return True
        if self.offset() < offset:
            return False
        with storing(self.path, "read"), self.path.open("rb") as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"

    def truncate(self, offset: int) -> None:
        """Cut everything behind ``offset``, durably.  Raises StorageError when the file is shorter."""
        if not self.holds(offset):
            raise StorageError(
                f"{self.path}: {self.offset()} bytes, the checkpoint was made with {offset}: rows are missing"
            )
        if self.offset() == offset:
            return
        self.close()
        with storing(self.path, "cut back"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(descriptor, offset)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def sync(self) -> None:
        """Bring what was appended to the disk.  A failure is final: a second fsync may report success falsely."""
        if self._descriptor is not None:
            with storing(self.path, "bring to the disk"):
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


class JsonLog(AppendLog):
    """One JSON object a line, keys sorted; non-finite numbers as "nan", "inf", "-inf"."""

    def append(self, row: Mapping[str, Any]) -> None:  # type: ignore[override]  # a row is this log's line
        """Append one row.  Raises StorageError."""
        super().append(row_text(dict(row)))


class CsvLog(AppendLog):
    """Comma-separated rows under a header made by the first row's keys.

    A row with other keys (a resume with another pool size) is put under a header line of its own; the first cell of
    every header line is the same, so a reader can tell them from rows.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._header: list[str] | None = None  # None: not known, the file has to be read

    def columns(self) -> list[str]:
        """The header that the last row stands under, empty where nothing was written."""
        if self.offset() == 0:
            return []
        with storing(self.path, "read"), self.path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            for row in rows:
                header = row if row[:1] == header[:1] else header
        return header

    def append(self, row: Mapping[str, Any]) -> None:  # type: ignore[override]  # a row is this log's line
        """Append one row; None is an empty cell.  Raises StorageError."""
        if (self._header or self.columns()) != list(row):
            super().append(_csv_line(list(row)))
        self._header = list(row)
        super().append(_csv_line(list(row.values())))

    def close(self) -> None:
        """Close the file; what is in it is read again before the next append."""
        self._header = None
        super().close()


def _csv_line(cells: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue().replace("\n", " ")


def read_rows(path: Path, containing: bytes = b"") -> Iterator[dict[str, Any]]:
    """Rows of a JSON log, oldest first; lines torn by a kill are left out.  A missing file has none.

    ``containing`` skips other lines unread: a long run logs hundreds of thousands of steps.
    """
    if not path.exists():
        return
    with storing(path, "read"), path.open("rb") as file:
        for line in file:
            if containing not in line:
                continue
            try:
                row = parse_json(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def csv_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV log, oldest first, each under the header it stands under.  A missing file has none."""
    if not path.exists():
        return
    with storing(path, "read"), path.open(newline="", encoding="utf-8", errors="replace") as file:
        header: list[str] = []
        for cells in csv.reader(file):
            if not header or cells[:1] == header[:1]:
                header = cells
            elif len(cells) == len(header):  # a line torn by a kill is shorter
                yield dict(zip(header, cells, strict=True))
