"""Reading list files: split files, index lists, exclusion lists."""

from __future__ import annotations

from pathlib import Path

from edgeflownas.errors import DataError, StorageError

__all__ = ["read_lines"]

_LARGEST = 64 * 2**20  # bytes


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a list file, blanks at their ends removed, empty lines at the end left out.

    Raises:
        DataError: missing, no regular file, too large or no text; ``what`` says what it is for.
        StorageError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'is no regular file' if path.exists() else 'no such file'}; it is {what}")
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: has {path.stat().st_size} bytes, too many for {what}")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text (byte {error.start} is not UTF-8), expected {what}") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
