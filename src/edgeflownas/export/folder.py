"""The deploy folder: whole, or not there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from edgeflownas.errors import StorageError


def require_free(out: Path) -> None:
    """Raises StorageError where :func:`write_folder` could not write ``out``; asked before long work."""
    try:
        if out.is_symlink():
            raise StorageError(f"{out}: is a link, which is not replaced: give the folder itself as --out")
        if out.is_dir():
            _require_replaceable(out)
        elif out.exists():
            raise StorageError(f"{out}: is a file; --out needs a folder")
        above = next(folder for folder in out.absolute().parents if folder.exists())
        trial = _temporary(above / out.absolute().name)
        trial.mkdir()
        trial.rmdir()
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"{out}: cannot be made: {error.strerror}; give another --out") from None


def _require_replaceable(folder: Path) -> None:
    """Raises StorageError where a new folder cannot take the place of this one."""
    remedy = "give another --out, such as a folder below it"
    if any(folder.iterdir()):
        raise StorageError(f"{folder}: holds files already, and an export replaces none: give another --out")
    if os.path.ismount(folder):
        raise StorageError(f"{folder}: is a mount point, which cannot be replaced: {remedy}")
    if folder.samefile(Path.cwd()):
        raise StorageError(f"{folder}: is the folder you are in, which is not replaced: {remedy}")


def _temporary(out: Path) -> Path:
    return out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` (by path below ``out``) under a temporary name beside ``out``, and rename it.

    Raises:
        StorageError: ``out`` holds files by now, or the disk is full or read-only; nothing is left behind.
    """
    temporary = _temporary(out)
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
