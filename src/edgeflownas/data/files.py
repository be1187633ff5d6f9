"""Opening, reading and replacing files.

A fault of the file itself is a :class:`BadSample`, which may be quarantined.  A fault of the machine (EIO, too many
open files) is a :class:`StorageError`, which never is: a run that replaces samples because the network was down for a
minute would not be the run it claims to be.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgeflownas.errors import BadSample, DataError, StorageError

PathLike = str | os.PathLike[str]

_LARGEST_LIST = 64 * 2**20  # bytes
_FAULTS_OF_THE_FILE = {
    errno.ENOENT: "does not exist (or is a dangling link)",
    errno.ENOTDIR: "does not exist (a part of its path is not a folder)",
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENAMETOOLONG: "has too long a name",
    errno.EACCES: "may not be read by this user (check its permissions)",
    errno.EPERM: "may not be read by this user (check its permissions)",
    errno.ENXIO: "is not a regular file",
}


@contextmanager
def open_regular(path: PathLike) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file (or a link to one) for reading; gives its descriptor and its ``fstat``.

    Raises:
        BadSample: missing, unreadable, or a folder, pipe or device (never waited for).
        StorageError: any other fault of the operating system, also while the block runs.
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
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def fill(path: PathLike, descriptor: int, target: memoryview, offset: int) -> None:
    """Read exactly ``len(target)`` bytes at ``offset`` into ``target`` (one ``pread`` may return fewer).

    Raises:
        BadSample: the file ends before that.
    """
    done = 0
    while done < len(target):
        count = os.preadv(descriptor, [target[done:]], offset + done)
        if count == 0:
            raise BadSample(path, "shrank while it was being read")
        done += count


def replace_file(path: PathLike, parts: Iterable[bytes | memoryview], durable: bool = False) -> None:
    """Write a file under a temporary name beside ``path`` and rename it, so that no reader sees half of it.

    ``durable`` also forces it to disk; without it the file survives a killed process, but not a power failure.

    Raises:
        StorageError: the folder is missing, full or not writable; nothing is left behind.
    """
    target = Path(path)
    temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.writelines(parts)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
        if durable:
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a list file, blanks at their ends removed, empty lines at the end left out.

    Raises:
        DataError: missing, no regular file, too large or no text; ``what`` says what it is for.
        StorageError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}; it is {what}")
        if path.stat().st_size > _LARGEST_LIST:
            raise DataError(f"{path}: has {path.stat().st_size} bytes, too many for {what}")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text (byte {error.start} is not UTF-8), expected {what}") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []


def first_of(items: Sequence[object], limit: int = 5) -> str:
    """The first of many, each on an indented line of its own, and how many more there are: the body of a message."""
    more = f"\n  and {len(items) - limit} more" if len(items) > limit else ""
    return "".join(f"\n  {item}" for item in items[:limit]) + more
