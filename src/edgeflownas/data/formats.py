"""Files of optical flow: Middlebury's .flo, .pfm, KITTI's 16-bit .png and Spring's .flo5, chosen by suffix.

A file is untrusted.  Regular file, header, dimensions and length are checked before anything of the size the header
claims is allocated: the readers this replaces filled a 28-byte file that claimed 30000x30000 up to full size.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.images import (
    MAX_SIDE,
    Header,
    check_length,
    check_size,
    plausible,
    png_header,
    size_of,
    values_of,
)
from edgeflownas.data.images import read_mask as read_mask  # docs/data.md names it as part of this module
from edgeflownas.errors import BadSample, DataError, StorageError
from edgeflownas.files import PathLike, open_regular, replace_file

FLO_UNKNOWN = 1.6666666752e9  # what Middlebury's tools write into both components of a pixel whose flow is not known
UNKNOWN_ABOVE = 1e9  # a flow component beyond this means that the flow is not known (Middlebury's convention)

Flow = tuple[NDArray[np.float32], NDArray[np.bool_]]
_FLO_MAGIC = struct.pack("<f", 202021.25)  # spells PIEH
_FLO_HEADER = 12
# Some writers leave blanks at the ends of the lines; one line feed ends the header.
_PFM_HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[0-9.]{1,20}(?:[eE][-+]?\d{1,2})?)[ \t]*\r?\n")
_KITTI_KIND = (16, 2)  # bits, PNG's colour type
_KITTI_ZERO = 2**15


def read_flow(path: PathLike) -> Flow:
    """Flow float32 [H,W,2] (u right, v down, px; 0 where unknown) and valid bool [H,W].

    Raises BadSample: a suffix that is no flow's, or a faulty file.  DataError: .flo5 without h5py.
    """
    return _format_of(path).read(path)


def flow_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of the images a flow belongs to, from its checked header.  Raises as :func:`read_flow`."""
    return _format_of(path).size(path)


def write_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write a flow as .flo, .pfm or KITTI .png; the file appears whole or not at all.

    Raises ValueError: another suffix, or what the format cannot hold.  StorageError: the file cannot be written.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    write = _FORMATS[suffix].write if suffix in _FORMATS else None
    if write is None:
        written = ", ".join(name for name, each in _FORMATS.items() if each.write)
        raise ValueError(f"{path}: flow is written as {written}, not {suffix or 'without a suffix'}")
    write(path, flow, valid)


def _format_of(path: PathLike) -> _Format:
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in _FORMATS:
        raise BadSample(path, f"is no flow file by its suffix {suffix!r}, expected {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def _known(path: PathLike, flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a flow [H,W,2] just read is known; it is set to 0 elsewhere.  NaN is no way of saying unknown."""
    valid: NDArray[np.bool_] = np.ones(flow.shape[:2], dtype=np.bool_)
    largest = max(float(flow.max()), -float(flow.min()))  # NaN stays NaN in both
    if not np.isfinite(largest):
        row, column, _ = np.argwhere(~np.isfinite(flow))[0]
        raise BadSample(path, f"holds a flow that is not finite, first at row {row}, column {column}")
    if largest > UNKNOWN_ABOVE:
        valid = np.all(np.abs(flow) <= UNKNOWN_ABOVE, axis=-1)
        flow[~valid] = 0.0
    return valid


def _writable(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The validity of a flow that is to be written (None: every pixel is valid)."""
    if flow.ndim != 3 or flow.shape[2] != 2 or not plausible(flow.shape[0], flow.shape[1]):
        raise ValueError(f"{path}: flow must have shape [H,W,2] within {MAX_SIDE} a side, got {flow.shape}")
    if valid is None:
        valid = np.ones(flow.shape[:2], dtype=np.bool_)
    if valid.shape != flow.shape[:2] or valid.dtype != np.bool_:
        raise ValueError(f"{path}: valid must be bool {list(flow.shape[:2])}, got {valid.dtype} {list(valid.shape)}")
    if not (np.abs(flow[valid]) <= UNKNOWN_ABOVE).all():
        raise ValueError(f"{path}: a valid flow is not finite or is beyond +-1e9 px; mark such pixels invalid")
    return valid


def read_flo(path: PathLike) -> Flow:
    """Flow float32 [H,W,2] (u right, v down, px) and valid bool [H,W] of a Middlebury .flo file.

    ``PIEH``, int32 width, int32 height, then u, v interleaved by row, all little-endian: the format of
    vision.middlebury.edu/flow (flowIO.cpp), and of FlyingChairs, FlyingChairs2 and Sintel.  A pixel with a component
    beyond +-1e9 is unknown: valid is False and the flow 0 there.  NaN and infinity are no way of saying unknown and
    are refused.

    Raises BadSample: not a .flo file, absurd dimensions, a length that does not fit them, or a value that is not
    finite.
    """
    flow = values_of(path, _flo_header).astype(np.float32, copy=False)
    return flow, _known(path, flow)


def write_flo(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2] as .flo; where ``valid`` [H,W] is False the unknown-flow value is written.

    Raises ValueError: shapes that do not fit, or a valid flow that is not finite or is beyond +-1e9 px.
    Raises StorageError: the file cannot be written.
    """
    values = np.array(flow, dtype="<f4", order="C")
    values[~_writable(path, values, valid)] = FLO_UNKNOWN
    header = _FLO_MAGIC + struct.pack("<ii", values.shape[1], values.shape[0])
    replace_file(path, [header, values.reshape(-1).view(np.uint8).data])


def _flo_header(path: PathLike, descriptor: int, length: int) -> Header:
    head = os.pread(descriptor, _FLO_HEADER, 0)
    if len(head) < _FLO_HEADER:
        raise BadSample(path, f"is {len(head)} bytes long, too short for the 12-byte header of a .flo file")
    if head[:4] == _FLO_MAGIC[::-1]:
        raise BadSample(path, "is a big-endian .flo file; the format is little-endian: convert it")
    if head[:4] != _FLO_MAGIC:
        raise BadSample(path, f"is not a .flo file: it starts with {head[:4]!r}, expected {_FLO_MAGIC!r}")
    width, height = struct.unpack("<ii", head[4:])
    check_size(path, height, width)
    check_length(path, length, _FLO_HEADER + 8 * height * width, f"a {height}x{width} flow")
    return Header(height, width, 2, "<f4", _FLO_HEADER)


def read_pfm(path: PathLike) -> NDArray[np.float32]:
    """Values float32 [H,W] (``Pf``) or [H,W,3] (``PF``) of a portable float map, top row first.

    ``PF`` or ``Pf``, width, height, scale, then float32 rows from the bottom up; the scale's sign gives the byte order
    (negative: little-endian).

    Raises BadSample: not a .pfm file, absurd dimensions, a length that does not fit them, or a value that is not
    finite.
    """
    values = _pfm_values(path)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0][:2]
        raise BadSample(path, f"holds a value that is not finite, first at row {row}, column {column}")
    return values


def write_pfm(path: PathLike, values: NDArray[np.float32], big_endian: bool = False) -> None:
    """Write values [H,W] or [H,W,3]; the file appears whole or not at all.

    Raises ValueError: another shape.  StorageError: the file cannot be written.
    """
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or 0 in values.shape:
        raise ValueError(f"{path}: a .pfm file holds [H,W] or [H,W,3], got {list(values.shape)}")
    stored = np.array(values[::-1], dtype=">f4" if big_endian else "<f4", order="C")
    kind = "Pf" if values.ndim == 2 else "PF"
    header = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{'1.0' if big_endian else '-1.0'}\n"
    replace_file(path, [header.encode(), stored.reshape(-1).view(np.uint8).data])


def _read_pfm_flow(path: PathLike) -> Flow:
    """FlyingThings3D stores u, v and a third channel of no meaning."""
    values = _pfm_values(path)
    if values.ndim == 2:
        raise BadSample(path, "has one channel (Pf, a disparity?), expected the three of a flow (PF)")
    flow = np.ascontiguousarray(values[..., :2])
    return flow, _known(path, flow)


def _write_pfm_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    if not _writable(path, flow, valid).all():
        raise ValueError(f"{path}: a .pfm flow cannot mark invalid pixels; write .flo or KITTI .png")
    write_pfm(path, np.concatenate([flow, np.zeros_like(flow[..., :1])], axis=2))


def _pfm_values(path: PathLike) -> NDArray[np.float32]:
    values = np.ascontiguousarray(values_of(path, _pfm_header)[::-1]).astype(np.float32, copy=False)
    return values[..., 0] if values.shape[2] == 1 else values


def _pfm_header(path: PathLike, descriptor: int, length: int) -> Header:
    head = os.pread(descriptor, 128, 0)
    match = _PFM_HEADER.match(head)
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
    what = f"this {height}x{width} PFM with {channels} channel{'s' if channels > 1 else ''}"
    check_length(path, length, match.end() + 4 * channels * height * width, what)
    return Header(height, width, channels, "<f4" if scale < 0 else ">f4", match.end())


def is_kitti_flow(path: PathLike) -> bool:
    """Whether a file says that it is a 16-bit RGB PNG.  Raises BadSample where it cannot be opened."""
    with open_regular(path) as (descriptor, _):
        return os.pread(descriptor, 26, 0)[24:26] == bytes(_KITTI_KIND)


def read_kitti(path: PathLike) -> Flow:
    """Flow float32 [H,W,2] (u right, v down, px; 0 where unknown) and valid bool [H,W] of a 16-bit RGB PNG.

    u = (R - 2^15) / 64, v = (G - 2^15) / 64, and B is not 0 where the flow is known: steps of 1/64 px, from -512 to
    511.98 px.  KITTI 2012 and 2015 and HD1K use it.

    Raises BadSample: another kind of file, absurd dimensions, a file that is cut off, has bytes to spare or a damaged
    chunk, or pixels that do not decode.
    """
    pixels = values_of(path, _kitti_header)
    valid: NDArray[np.bool_] = pixels[..., 2] != 0
    flow = (pixels[..., :2].astype(np.float32) - np.float32(_KITTI_ZERO)) / np.float32(64.0)
    flow[~valid] = 0.0
    return flow, valid


def write_kitti(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2], rounded to 1/64 px; pixels where ``valid`` is False are all zero, as in KITTI's own files.

    Raises as :func:`write_flo`, and for a valid flow outside -512 to 511.98 px.
    """
    import cv2

    valid = _writable(path, flow, valid)
    steps = np.rint(np.where(valid[..., None], flow, 0).astype(np.float64) * 64.0) + _KITTI_ZERO
    if steps.min() < 0 or steps.max() > 65535:
        raise ValueError(f"{path}: a valid flow is outside -512 to 511.98 px, which a KITTI .png cannot hold")
    stored = np.zeros((*valid.shape, 3), np.uint16)  # OpenCV's order: valid, v, u
    stored[..., 0] = valid
    stored[..., 1] = np.where(valid, steps[..., 1], 0)
    stored[..., 2] = np.where(valid, steps[..., 0], 0)
    done, content = cv2.imencode(".png", stored)
    assert done, "OpenCV cannot encode PNG"
    replace_file(path, [content.tobytes()])


def _kitti_header(path: PathLike, descriptor: int, length: int) -> Header:
    return png_header(path, descriptor, length, "16-bit RGB (a KITTI flow)", _KITTI_KIND)


# --- Spring's .flo5 ---


def _flo5_size(path: PathLike) -> tuple[int, int]:
    with _opened_flo5(path) as stored:
        return (int(stored.shape[0]) + 1) // 2, (int(stored.shape[1]) + 1) // 2


def _read_flo5(path: PathLike) -> Flow:
    """Values are pixels of the images at twice their size: every second one of each axis is the flow on their grid."""
    with _opened_flo5(path) as stored:
        whole = np.asarray(stored[...], dtype=np.float32)
    flow = np.ascontiguousarray(whole[::2, ::2])
    unknown = np.isnan(flow).any(axis=2)
    flow[unknown] = 0.0
    return flow, _known(path, flow) & ~unknown


@contextmanager
def _opened_flo5(path: PathLike) -> Iterator[Any]:
    """The data set ``flow`` of an HDF5 file, its kind, size and stored length checked; NaN in it is unknown flow."""
    try:
        import h5py  # nothing else needs it
    except ImportError:
        raise DataError(
            f"{path}: reading .flo5 (Spring) needs h5py, which is not installed: pip install 'edgeflownas[spring]'"
        ) from None
    with open_regular(path) as (_, status):
        length = status.st_size
    try:
        with h5py.File(path, "r") as file:
            stored = file.get("flow")
            shape = getattr(stored, "shape", None)
            if shape is None or len(shape) != 3 or shape[2] != 2 or stored.dtype.kind != "f":
                raise BadSample(path, "holds no data set 'flow' of shape [2H,2W,2] and floating-point values")
            check_size(path, int(shape[0]), int(shape[1]))
            if shape[0] * shape[1] * 8 > 1100 * length:  # deflate packs at most 1032 to 1
                raise BadSample(path, f"is {length} bytes long, which no {shape[0]}x{shape[1]} flow can be")
            yield stored
    except BadSample:
        raise
    except OSError as error:
        if error.errno:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        raise BadSample(path, f"cannot be read as HDF5: {error}") from None
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        raise BadSample(path, f"cannot be read as HDF5: {error}") from None


class _Format(NamedTuple):
    size: Callable[[PathLike], tuple[int, int]]
    read: Callable[[PathLike], Flow]
    write: Callable[[PathLike, NDArray[np.float32], NDArray[np.bool_] | None], None] | None


_FORMATS = {
    ".flo": _Format(partial(size_of, header_of=_flo_header), read_flo, write_flo),
    ".pfm": _Format(partial(size_of, header_of=_pfm_header), _read_pfm_flow, _write_pfm_flow),
    ".png": _Format(partial(size_of, header_of=_kitti_header), read_kitti, write_kitti),
    ".flo5": _Format(_flo5_size, _read_flo5, None),
}
