"""Small durable files: strict JSON, fsync, replacement by rename, and system errors in words.

JSON is written in ONE canonical form (sorted keys, no spaces) and read strictly: duplicate keys, NaN and files
above a size cap are refused, so that a damaged or doctored file is never half understood.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeflownas.errors import StorageError
from edgeflownas.train.faults import crash_point

__all__ = ["canonical_json", "decode_floats", "encode_floats", "read_json", "replace_file", "row_text", "storing"]

JSON_CAP = 64 * 2**20
"""Largest JSON file read, bytes; our own are kilobytes."""


@contextlib.contextmanager
def storing(path: Path, doing: str) -> Iterator[None]:
    """Turn the system's refusal (disk full, read-only, I/O error) into a StorageError that names ``path``."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise StorageError(
            f"{place}: cannot {doing}: {error.strerror or error}. What was committed before is intact; make room "
            "or give write access, then go on"
        ) from error


def canonical_json(document: Any) -> bytes:
    """The one byte form of a JSON document, newline at the end.  Raises ValueError for NaN and infinities."""
    text = json.dumps(document, sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return (text + "\n").encode()


def row_text(row: dict[str, Any]) -> str:
    """One line of a JSON log: sorted keys, non-finite floats as the strings "nan", "inf", "-inf"."""
    return json.dumps(_words_for_nonfinite(row), sort_keys=True, allow_nan=False, ensure_ascii=False)


def _words_for_nonfinite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _words_for_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_words_for_nonfinite(item) for item in value]
    return value


def encode_floats(value: Any) -> Any:
    """Replace non-finite floats by ``{"float": "nan"}`` so that a state can be stored and read back exactly."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, dict):
        return {key: encode_floats(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode_floats(item) for item in value]
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


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} occurs twice")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def parse_json(data: bytes) -> Any:
    """Strict reading.  Raises ValueError for anything but one well-formed document without duplicate keys."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path, cap: int = JSON_CAP) -> Any:
    """Document of a JSON file.  Raises StorageError naming it when missing, above ``cap`` bytes or malformed."""
    try:
        size = path.stat().st_size
        if size > cap:
            raise ValueError(f"{size} bytes, expected at most {cap}")
        return parse_json(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StorageError(f"{path}: not a readable JSON document: {error}") from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; the system may take fewer than asked for."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_durably(path: Path, data: bytes) -> None:
    """Create ``path``, which must not exist, and return once its content is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make names in a folder durable: creations, renames and removals."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Write ``path`` so that at any moment a reader sees the old content or the new.  Raises StorageError."""
    temporary = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:8]}")
    with storing(path, "write"):
        try:
            write_durably(temporary, data)
            crash_point("atomic.temporary_written")
            os.rename(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    crash_point("atomic.replaced")


def remove_temporaries(folder: Path) -> None:
    """Remove ``.tmp-*`` that an interrupted write left behind.  Raises OSError."""
    for leftover in folder.glob(".tmp-*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
