"""The deploy folder: whole, or not there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from edgeflownas.errors import StorageError

__all__ = ["require_free", "write_folder"]


def require_free(out: Path) -> None:
    """Raises StorageError where :func:`write_folder` could not write ``out``; asked before long work."""
    if out.is_dir() and any(out.iterdir()):
        raise StorageError(f"{out}: holds files already, and an export replaces none: give another --out, or remove it")
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: is a file; --out needs a folder")
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise StorageError(f"{out}: cannot be made: {above} is no folder, or read-only; give another --out")


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` (by path below ``out``) under a temporary name beside ``out``, and rename it.

    Raises:
        StorageError: ``out`` holds files by now, or the disk is full or read-only; nothing is left behind.
    """
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"
    try:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.rename(temporary, out)  # takes the place of an empty folder, of no other
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
