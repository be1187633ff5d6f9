"""Middlebury .flo: magic ``PIEH``, int32 width, int32 height, then u, v interleaved by row, all little-endian.

The format of vision.middlebury.edu/flow (flowIO.cpp), and of FlyingChairs, FlyingChairs2 and Sintel.
"""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.common import check_flow, check_length, check_size, known_flow
from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike, fill, open_regular, replace_file

__all__ = ["FLO_UNKNOWN", "flo_size", "read_flo", "write_flo"]

FLO_UNKNOWN = 1.6666666752e9
"""What Middlebury's tools write into both components of a pixel whose flow is not known."""

_FLO_MAGIC = struct.pack("<f", 202021.25)  # spells PIEH
_FLO_HEADER = 12


def flo_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of a .flo file from its header, magic and exact length checked, nothing else read.

    Raises:
        BadSample: not a .flo file, absurd dimensions, or a length that does not fit them.
    """
    with open_regular(path) as (descriptor, status):
        return _flo_header(path, descriptor, status.st_size)


def read_flo(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow float32 [H,W,2] (u right, v down, px) and valid bool [H,W] of a Middlebury .flo file.

    A pixel with a component beyond +-1e9 is unknown: valid is False and the flow 0 there.  NaN and infinity are no
    way of saying unknown and are refused.

    Raises:
        BadSample: as :func:`flo_size`, or a value that is not finite.
    """
    with open_regular(path) as (descriptor, status):
        height, width = _flo_header(path, descriptor, status.st_size)
        stored = np.empty((height, width, 2), dtype="<f4")
        fill(path, descriptor, stored.reshape(-1).view(np.uint8).data, _FLO_HEADER)
    flow = stored.astype(np.float32, copy=False)
    return flow, known_flow(path, flow)


def write_flo(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2] as .flo; where ``valid`` [H,W] is False the unknown-flow value is written.

    The file appears whole or not at all.

    Raises:
        ValueError: shapes that do not fit, or a valid flow that is not finite or is beyond +-1e9 px.
        StorageError: the file cannot be written.
    """
    values = np.array(flow, dtype="<f4", order="C")
    values[~check_flow(path, values, valid)] = FLO_UNKNOWN
    header = _FLO_MAGIC + struct.pack("<ii", values.shape[1], values.shape[0])
    replace_file(path, [header, values.reshape(-1).view(np.uint8).data])


def _flo_header(path: PathLike, descriptor: int, length: int) -> tuple[int, int]:
    head = os.pread(descriptor, _FLO_HEADER, 0)
    if len(head) < _FLO_HEADER:
        raise BadSample(path, f"is {length} bytes long, too short for the 12-byte header of a .flo file")
    if head[:4] == _FLO_MAGIC[::-1]:
        raise BadSample(path, "is a big-endian .flo file; the format is little-endian: convert it")
    if head[:4] != _FLO_MAGIC:
        raise BadSample(path, f"is not a .flo file: it starts with {head[:4]!r}, expected {_FLO_MAGIC!r}")
    width, height = struct.unpack("<ii", head[4:])
    check_size(path, height, width)
    check_length(path, length, _FLO_HEADER + 8 * height * width, f"a {height}x{width} flow")
    return height, width
