"""Portable float map: ``PF`` (3 channels) or ``Pf`` (1), width, height, scale, then float32 rows from the bottom up.

The scale's sign gives the byte order (negative: little-endian).  FlyingThings3D stores flow so: u, v and a third
channel of no meaning.
"""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.common import check_flow, check_length, check_size, known_flow
from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike, fill, open_regular, replace_file

__all__ = ["pfm_size", "read_pfm", "read_pfm_flow", "write_pfm", "write_pfm_flow"]

# Some writers leave blanks at the ends of the lines; one line feed ends the header.
_HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[0-9.]{1,20}(?:[eE][-+]?\d{1,2})?)[ \t]*\r?\n")
_HEAD = 128  # bytes read for the header


def pfm_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of a .pfm file from its header, its exact length checked.

    Raises:
        BadSample: not a .pfm file, absurd dimensions, or a length that does not fit them.
    """
    with open_regular(path) as (descriptor, status):
        height, width = _pfm_header(path, descriptor, status.st_size)[:2]
        return height, width


def read_pfm(path: PathLike) -> NDArray[np.float32]:
    """Values float32 [H,W] (``Pf``) or [H,W,3] (``PF``), top row first.

    Raises:
        BadSample: as :func:`pfm_size`, or a value that is not finite.
    """
    values = _read(path)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0][:2]
        raise BadSample(path, f"holds a value that is not finite, first at row {row}, column {column}")
    return values


def read_pfm_flow(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow [H,W,2] and valid [H,W] of the first two channels of a 3-channel .pfm file.

    Raises:
        BadSample: as :func:`pfm_size`, one channel only, or a flow that is not finite.
    """
    values = _read(path)
    if values.ndim == 2:
        raise BadSample(path, "has one channel (Pf, a disparity?), expected the three of a flow (PF)")
    flow = np.ascontiguousarray(values[..., :2])
    return flow, known_flow(path, flow)


def write_pfm(path: PathLike, values: NDArray[np.float32], big_endian: bool = False) -> None:
    """Write values [H,W] or [H,W,3]; the file appears whole or not at all.

    Raises:
        ValueError: another shape.  StorageError: the file cannot be written.
    """
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or 0 in values.shape:
        raise ValueError(f"{path}: a .pfm file holds [H,W] or [H,W,3], got {list(values.shape)}")
    stored = np.array(values[::-1], dtype=">f4" if big_endian else "<f4", order="C")
    kind = "Pf" if values.ndim == 2 else "PF"
    header = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{'1.0' if big_endian else '-1.0'}\n"
    replace_file(path, [header.encode(), stored.reshape(-1).view(np.uint8).data])


def write_pfm_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2] with a third channel of zeros, as FlyingThings3D does.

    Raises:
        ValueError: as :func:`edgeflownas.data.formats.flo.write_flo`, or an invalid pixel, which this format cannot
            mark.
    """
    if not check_flow(path, flow, valid).all():
        raise ValueError(f"{path}: a .pfm flow cannot mark invalid pixels; write .flo or KITTI .png")
    write_pfm(path, np.concatenate([flow, np.zeros_like(flow[..., :1])], axis=2))


def _read(path: PathLike) -> NDArray[np.float32]:
    with open_regular(path) as (descriptor, status):
        height, width, channels, order, offset = _pfm_header(path, descriptor, status.st_size)
        stored = np.empty((height, width, channels), dtype=f"{order}f4")
        fill(path, descriptor, stored.reshape(-1).view(np.uint8).data, offset)
    values = np.ascontiguousarray(stored[::-1]).astype(np.float32, copy=False)
    return values[..., 0] if channels == 1 else values


def _pfm_header(path: PathLike, descriptor: int, length: int) -> tuple[int, int, int, str, int]:
    """(height, width, channels, byte order, offset of the values)."""
    head = os.pread(descriptor, _HEAD, 0)
    match = _HEADER.match(head)
    if match is None:
        raise BadSample(path, f"has no readable PFM header (PF or Pf, width, height, scale): it starts {head[:16]!r}")
    channels = 3 if match[1] == b"F" else 1
    width, height = int(match[2]), int(match[3])
    check_size(path, height, width)
    try:
        scale = float(match[4])
    except ValueError:
        scale = 0.0
    if abs(scale) != 1.0:
        raise BadSample(path, f"has the PFM scale {match[4].decode()}, expected 1 (big-endian) or -1 (little-endian)")
    offset = match.end()
    what = f"this {height}x{width} PFM with {channels} channel{'s' if channels > 1 else ''}"
    check_length(path, length, offset + 4 * channels * height * width, what)
    return height, width, channels, "<" if scale < 0 else ">", offset
