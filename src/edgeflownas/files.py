"""Files that survive: atomic and durable writes, strict JSON, append-only logs, and system errors in words.

A fault of a data file itself is a :class:`BadSample`, which may be quarantined.  A fault of the machine (EIO, a full
disk, too many open files) is a :class:`StorageError`, which never is: a run that replaces samples because the network
was down for a minute would not be the run it claims to be.

``EDGEFLOWNAS_CRASH_AT=commit.renamed:2`` ends the process without any clean-up (``os._exit(137)``, as after
``kill -9``) at the second passage of the place ``commit.renamed``.  ``EDGEFLOWNAS_PHASE_FILE`` names a small file in
which every passage leaves its name, so that a kill at a random moment can be told where it hit.
"""

import contextlib
import csv
import errno
import io
import json
import math
import os
import shutil
import stat
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from edgeflownas import limits
from edgeflownas.errors import BadSample, ConfigError, DataError, StorageError, UserError

PathLike = str | os.PathLike[str]
Refusal = Callable[[str], UserError]

PROTOCOL_POINTS = (
    *("create.written", "create.renamed", "lock.acquired", "lock.lease_written"),
    *("resume.temporaries_removed", "resume.damaged_set_aside", "resume.log_truncated"),
    *("commit.logs_synced", "commit.temporary_made", "commit.file_written", "commit.manifest_written"),
    *("commit.temporary_synced", "commit.renamed", "commit.verified", "commit.marked"),
    *("atomic.temporary_written", "atomic.replaced", "prune.renamed", "prune.removed"),
)
"""Every step of the run directory's protocol (run/), in about the order of their passage."""

TRAINING_POINTS = (
    *("step.started", "step.accumulated", "step.applied", "step.logged"),
    *("evaluation.started", "evaluation.batch", "evaluation.logged", "epoch.ended"),
)
"""Places of the training loop."""

CONVERSION_POINTS = ("convert.kept", "convert.written", "convert.done")
"""Places of a resume that brings a run of format 1 to today's."""

CRASH_POINTS = PROTOCOL_POINTS + CONVERSION_POINTS + TRAINING_POINTS
_passages: Counter[str] = Counter()
_PHASE_BYTES = 64


def crash_point(name: str) -> None:
    """Pass the place ``name``: note it, and die here if the environment asks for it.  Raises ConfigError."""
    assert name in CRASH_POINTS, name
    if phase_file := os.environ.get("EDGEFLOWNAS_PHASE_FILE"):
        descriptor = os.open(phase_file, os.O_WRONLY | os.O_CREAT, 0o644)
        # Padded, so that one small write replaces the former name whole.
        os.pwrite(descriptor, name.ljust(_PHASE_BYTES).encode(), 0)
        os.close(descriptor)
    wanted = os.environ.get("EDGEFLOWNAS_CRASH_AT")
    if not wanted:
        return
    place, _, count = wanted.partition(":")
    if place not in CRASH_POINTS or not (count or "1").isdecimal():  # a typing error would test nothing
        known = ", ".join(CRASH_POINTS)
        raise ConfigError(f"EDGEFLOWNAS_CRASH_AT={wanted!r} is not NAME or NAME:COUNT with a name of {known}; unset it")
    _passages[name] += 1
    if name == place and _passages[name] == int(count or "1"):
        os._exit(137)


def clean(text: str) -> str:
    """Text safe for a log line: control characters (a file name may hold them) are spelt out (backslash x1b)."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


# ---- reading files that others made ----

_FAULTS_OF_THE_FILE = {
    errno.ENOENT: "does not exist (or is a dangling link)",
    errno.ENOTDIR: "does not exist (a part of its path is not a folder)",
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENAMETOOLONG: "has too long a name",
    errno.EACCES: "may not be read by this user (check its permissions)",
    errno.EPERM: "may not be read by this user (check its permissions)",
    errno.ENXIO: "is not a regular file",
}


@contextlib.contextmanager
def open_regular(path: PathLike) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file (or a link to one) for reading; gives its descriptor and its ``fstat``.

    Raises BadSample where it is missing, unreadable, or a folder, pipe or device (never waited for), StorageError for
    any other fault of the operating system, also while the block runs.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise BadSample(path, f"is not a file name ({error})") from None
    except OSError as error:
        if error.errno in _FAULTS_OF_THE_FILE:
            raise BadSample(path, _FAULTS_OF_THE_FILE[error.errno]) from None
        raise StorageError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadSample(path, "is not a regular file")
        yield descriptor, status
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def fill(path: PathLike, descriptor: int, target: memoryview, offset: int) -> None:
    """Fill ``target`` from ``offset`` on (one ``pread`` may return fewer).  Raises BadSample where the file ends."""
    done = 0
    while done < len(target):
        count = os.preadv(descriptor, [target[done:]], offset + done)
        if count == 0:
            raise BadSample(path, "shrank while it was being read")
        done += count


@contextlib.contextmanager
def open_stream(path: PathLike, cap: int = limits.TEXT, refusal: Refusal = StorageError) -> Iterator[BinaryIO]:
    """A regular file of at most ``cap`` bytes as a stream; what open_regular calls a BadSample is a ``refusal``."""
    try:
        with open_regular(path) as (descriptor, status):
            if status.st_size > cap:
                raise BadSample(path, f"has {status.st_size} bytes, expected at most {cap}")
            with os.fdopen(os.dup(descriptor), "rb") as stream:
                yield stream
    except BadSample as error:
        raise refusal(f"{path}: cannot be read: it {error.problem}") from None


def read_file(path: PathLike, cap: int = limits.TEXT, refusal: Refusal = StorageError) -> bytes:
    """The content of a regular file; else as :func:`open_stream`.  What grows meanwhile is not read."""
    with open_stream(path, cap, refusal) as stream:
        return stream.read(os.fstat(stream.fileno()).st_size)


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a list file (``what`` says what of), without blanks at their ends and empty lines at the end.

    Raises DataError where it is missing, no regular file, too large or no text, StorageError where it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}; it is {what}")
    try:
        text = read_file(path, limits.LIST, lambda said: DataError(f"{said}; it is {what}")).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text (byte {error.start} is not UTF-8), expected {what}") from None
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []


def read_paths(path: Path, what: str) -> list[Path]:
    """The paths of a list file, also of one made on Windows, without empty lines and comments; else as read_lines."""
    return [Path(line.replace("\\", "/")) for line in read_lines(path, what) if line and line[0] != "#"]


def first_of(items: Sequence[object], limit: int = 5) -> str:
    """The first of many, each on an indented line of its own, and how many more there are: the body of a message."""
    more = f"\n  and {len(items) - limit} more" if len(items) > limit else ""
    return "".join(f"\n  {item}" for item in items[:limit]) + more


# ---- writing ----


@contextlib.contextmanager
def storing(path: Path, doing: str) -> Iterator[None]:
    """Turn the system's refusal (disk full, read-only, I/O error) into a StorageError that names ``path``."""
    try:
        yield
    except StorageError:  # said already
        raise
    except OSError as error:
        place = error.filename or path
        raise StorageError(f"{place}: cannot {doing}: {error.strerror or error}. {_what_is_left(path)}") from error


def _what_is_left(path: Path) -> str:
    """What is true after a failed write, and the remedy: a run may be new, or its folder removed while it ran."""
    folders = (path, path.parent, path.parent.parent)
    if not any(folder.is_dir() for folder in folders[:2]):
        return "Its folder is not there any more: restore it from a copy, or begin anew"
    committed = any(next((folder / "checkpoints").glob("step-*"), None) for folder in folders)
    kept = "What was committed before is intact; make" if committed else "Make"
    return f"{kept} room or give write access, then go on"


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; the system may take fewer than asked for."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_durably(path: Path, data: bytes) -> None:
    """Create ``path``, which must not exist, and return once its content is on the disk."""
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        write_all(descriptor, data)
        os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Make names in a folder durable: creations, renames and removals."""
    with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def replace_file(path: PathLike, content: bytes | Iterable[bytes | memoryview], durable: bool = False) -> None:
    """Write a file under a temporary name beside ``path`` and rename it: a reader sees the old content or the new.

    ``durable`` also forces it to disk; without it the file survives a killed process, but not a power failure.
    Raises StorageError where the folder is missing, full or not writable; nothing is left behind.
    """
    try:
        _replace(Path(path), content, durable)
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def replace_committed(path: Path, content: bytes) -> None:
    """:func:`replace_file`, durable, for a file of a run: its StorageError says that what was committed is intact."""
    with storing(path, "write"):
        _replace(path, content, durable=True)


def _replace(target: Path, content: bytes | Iterable[bytes | memoryview], durable: bool) -> None:
    temporary = target.with_name(f".tmp-{target.name}-{uuid.uuid4().hex[:8]}")
    parts = [content] if isinstance(content, bytes) else content
    try:
        if durable:
            write_durably(temporary, b"".join(parts))
            crash_point("atomic.temporary_written")
        else:
            with open(temporary, "xb") as file:
                file.writelines(parts)
        os.replace(temporary, target)
        if durable:
            sync_folder(target.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if durable:
        crash_point("atomic.replaced")


def remove_temporaries(folder: Path) -> None:
    """Remove ``.tmp-*`` that an interrupted write left behind.  Raises OSError."""
    for leftover in folder.glob(".tmp-*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


# ---- JSON: written in ONE form (sorted keys, no spaces) and read strictly: no damaged file is half understood ----


def canonical_json(document: Any) -> bytes:
    """The one byte form of a JSON document, newline at the end.  Raises ValueError for NaN and infinities."""
    text = json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return encoded(text + "\n")


def encoded(text: str) -> bytes:
    """UTF-8; bytes of a file name that are none (surrogates in Python) are spelt as JSON reads them back."""
    return text.encode(errors="backslashreplace")


def row_text(row: Mapping[str, Any], ascii: bool = False) -> str:
    """One line of a JSON log: sorted keys, non-finite floats as the strings "nan", "inf", "-inf"."""
    return json.dumps(_with_nonfinite(row, str), sort_keys=True, allow_nan=False, ensure_ascii=ascii)


def encode_floats(value: Any) -> Any:
    """Replace non-finite floats by ``{"float": "nan"}`` so that a state can be stored and read back exactly."""
    return _with_nonfinite(value, lambda number: {"float": str(number)})


def _with_nonfinite(value: Any, form: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return form(value)
    if isinstance(value, Mapping):
        return {str(key): _with_nonfinite(item, form) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nonfinite(item, form) for item in value]
    return value


def decode_floats(value: Any) -> Any:
    """Inverse of :func:`encode_floats`."""
    if isinstance(value, dict):
        if value.keys() == {"float"} and value["float"] in ("nan", "inf", "-inf"):
            return float(value["float"])
        return {key: decode_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode_floats(item) for item in value]
    return value


def parse_json(data: bytes) -> Any:
    """Strict reading.  Raises ValueError for anything but one well-formed document without duplicate keys."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise ValueError(f"key {twice!r} occurs twice")
        return document

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not a JSON number")

    try:
        return json.loads(data.decode(), object_pairs_hook=no_duplicates, parse_constant=no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path, cap: int = limits.JSON, refusal: Refusal = StorageError) -> Any:
    """Document of a JSON file.  A ``refusal`` naming it: missing, no file, above ``cap`` bytes or malformed."""
    try:
        return parse_json(read_file(path, cap, refusal))
    except UserError:  # said already
        raise
    except ValueError as error:
        raise refusal(f"{path}: not a readable JSON document: {error}") from error


# ---- logs: exactly one copy of every committed row, whatever interrupts the run ----


class AppendLog:
    """Lines appended to one file, each by a single write, so that a kill leaves whole lines but perhaps the last.

    A log's length is stored with each checkpoint.  At resume a log of facts is cut back to the length of the
    checkpoint that is loaded, and the rows after it are produced again, byte for byte.  The file is opened (and
    created) by the first append.  Its descriptor is not inherited by other programs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def append(self, line: str) -> None:
        """Append one line (without its newline).  Raises StorageError."""
        assert "\n" not in line, "a row is one line"
        with storing(self.path, "append a line"):
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
                self._descriptor = os.open(self.path, flags, 0o644)
                status = os.fstat(self._descriptor)
                if not stat.S_ISREG(status.st_mode):
                    self.close()
                    raise StorageError(f"{self.path}: is not a regular file: move it away, then go on")
                size = status.st_size
                if size and os.pread(self._descriptor, 1, size - 1) != b"\n":  # torn by a kill: close the line
                    write_all(self._descriptor, b"\n")
            write_all(self._descriptor, encoded(line + "\n"))

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
        with storing(self.path, "read"), open_stream(self.path) as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"

    def truncate(self, offset: int) -> None:
        """Cut everything behind ``offset``, which the file :meth:`holds`, durably."""
        if self.offset() == offset:
            return
        self.close()
        with storing(self.path, "cut back"), _opened(self.path, os.O_WRONLY) as descriptor:
            os.ftruncate(descriptor, offset)
            os.fsync(descriptor)

    def sync(self) -> None:
        """Bring what was appended to the disk.  A failure is final: a second fsync may report success falsely."""
        if self._descriptor is not None:
            with storing(self.path, "bring to the disk"):
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a later append opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class JsonLog(AppendLog):
    """One JSON object a line, keys sorted; non-finite numbers as "nan", "inf", "-inf"."""

    def append(self, row: Mapping[str, Any]) -> None:  # type: ignore[override]  # a row is this log's line
        """Append one row.  Raises StorageError."""
        super().append(row_text(row))


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
        with storing(self.path, "read"), open_stream(self.path) as file:
            rows = csv.reader(line.decode(errors="replace") for line in file)
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
    csv.writer(buffer, lineterminator="").writerow(["" if cell is None else csv_cell(cell) for cell in cells])
    return buffer.getvalue().replace("\n", " ")


def csv_cell(cell: Any) -> Any:
    """A cell of a CSV; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def read_rows(path: Path, containing: bytes = b"") -> Iterator[dict[str, Any]]:
    """Rows of a JSON log, oldest first; lines torn by a kill are left out.  A missing file has none.

    ``containing`` skips other lines unread: a long run logs hundreds of thousands of steps.
    """
    if not path.exists():
        return
    with storing(path, "read"), open_stream(path) as file:
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
    with storing(path, "read"), open_stream(path) as file:
        header: list[str] = []
        for cells in csv.reader(line.decode(errors="replace") for line in file):
            if not header or cells[:1] == header[:1]:
                header = cells
            elif len(cells) == len(header):  # a line torn by a kill is shorter
                yield dict(zip(header, cells, strict=True))
