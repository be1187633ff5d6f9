"""Readers and the writer of sample files: Middlebury .flo, 8-bit RGB PNG, binary PPM.

A file is untrusted.  Regular file, header, dimensions and length are checked before anything of the size the header
claims is allocated: the readers this replaces filled a 28-byte file that claimed 30000x30000 up to full size.
"""

from __future__ import annotations

import os
import re
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.files import PathLike, fill, open_regular, replace_file
from edgeflownas.errors import BadSample

__all__ = [
    "FLO_UNKNOWN",
    "MAX_PIXELS",
    "MAX_SIDE",
    "flo_size",
    "image_size",
    "read_flo",
    "read_image",
    "write_flo",
]

MAX_SIDE = 16384
MAX_PIXELS = 2**27
FLO_UNKNOWN = 1.6666666752e9
"""What Middlebury's tools write into both components of a pixel whose flow is not known."""

_UNKNOWN_ABOVE = 1e9
_FLO_MAGIC = struct.pack("<f", 202021.25)  # spells PIEH
_FLO_HEADER = 12
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}
# P6, width, height, 255, apart by white space or comments, then ONE white space (netpbm.sourceforge.net/doc/ppm.html)
_PPM_HEADER = re.compile(rb"P6" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" + rb"\s")
_IMAGE_HEAD = 512  # bytes read for a header: IHDR takes 33, a PPM header a few lines with comments


def flo_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of a .flo file from its header, magic and exact length checked, nothing else read.

    Raises:
        BadSample: not a .flo file, absurd dimensions, or a length that does not fit them.
    """
    with open_regular(path) as (descriptor, status):
        return _flo_header(path, descriptor, status.st_size)


def read_flo(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Flow float32 [H,W,2] (u right, v down, px) and valid bool [H,W] of a Middlebury .flo file.

    Format: magic ``PIEH``, int32 width, int32 height, then u, v interleaved by row, all little-endian
    (vision.middlebury.edu/flow, flowIO.cpp).  A pixel with a component beyond +-1e9 is unknown: valid is False and the
    flow 0 there.  NaN and infinity are no way of saying unknown and are refused.

    Raises:
        BadSample: as :func:`flo_size`, or a value that is not finite.
    """
    with open_regular(path) as (descriptor, status):
        height, width = _flo_header(path, descriptor, status.st_size)
        stored = np.empty((height, width, 2), dtype="<f4")
        fill(path, descriptor, stored.reshape(-1).view(np.uint8).data, _FLO_HEADER)
    flow = stored.astype(np.float32, copy=False)
    valid: NDArray[np.bool_] = np.ones((height, width), dtype=np.bool_)
    largest = max(float(flow.max()), -float(flow.min()))  # NaN stays NaN in both
    if not np.isfinite(largest):
        row, column, _ = np.argwhere(~np.isfinite(flow))[0]
        raise BadSample(path, f"holds a flow that is not finite, first at row {row}, column {column}")
    if largest > _UNKNOWN_ABOVE:
        valid = np.all(np.abs(flow) <= _UNKNOWN_ABOVE, axis=-1)
        flow[~valid] = 0.0
    return flow, valid


def write_flo(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2] as .flo; where ``valid`` [H,W] is False the unknown-flow value is written.

    The file appears whole or not at all.

    Raises:
        ValueError: shapes that do not fit, or a valid flow that is not finite or is beyond +-1e9 px.
        StorageError: the file cannot be written.
    """
    values = np.array(flow, dtype="<f4", order="C")
    if values.ndim != 3 or values.shape[2] != 2 or not _plausible(values.shape[0], values.shape[1]):
        raise ValueError(f"{path}: flow must have shape [H,W,2] within {MAX_SIDE} a side, got {values.shape}")
    if valid is not None:
        if valid.shape != values.shape[:2] or valid.dtype != np.bool_:
            raise ValueError(
                f"{path}: valid must be bool {list(values.shape[:2])}, got {valid.dtype} {list(valid.shape)}"
            )
        values[~valid] = FLO_UNKNOWN
    known = values if valid is None else values[valid]
    if not (np.abs(known) <= _UNKNOWN_ABOVE).all():
        raise ValueError(f"{path}: a valid flow is not finite or is beyond +-1e9 px; mark such pixels invalid")
    header = _FLO_MAGIC + struct.pack("<ii", values.shape[1], values.shape[0])
    replace_file(path, [header, values.reshape(-1).view(np.uint8).data])


def image_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of an 8-bit RGB PNG or binary PPM from its header; its pixels are not decoded.

    A PPM's length is checked exactly, a PNG's by its closing chunk, so that a cut-off file is found without decoding.

    Raises:
        BadSample: another kind of file or pixel, absurd dimensions, or a file that is cut off or has bytes to spare.
    """
    with open_regular(path) as (descriptor, status):
        return _image_header(path, descriptor, status.st_size)[:2]


def read_image(path: PathLike, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Image uint8 [H,W,3], RGB, of a PNG or binary PPM file.

    With ``size`` (height, width) an image of another size is refused before it is decoded.

    Raises:
        BadSample: as :func:`image_size`, or another size, a damaged chunk, pixels that do not decode.
    """
    with open_regular(path) as (descriptor, status):
        height, width, offset = _image_header(path, descriptor, status.st_size)
        if size is not None and size != (height, width):
            raise BadSample(path, f"is {height}x{width}, expected {size[0]}x{size[1]} (height x width) as the flow")
        data = np.empty(status.st_size - offset, dtype=np.uint8)
        fill(path, descriptor, data.data, offset)
    if offset:
        return data.reshape(height, width, 3)
    _check_png_chunks(path, data.data)
    return _decode_png(path, data, (height, width))


def _flo_header(path: PathLike, descriptor: int, length: int) -> tuple[int, int]:
    head = os.pread(descriptor, _FLO_HEADER, 0)
    if len(head) < _FLO_HEADER:
        raise BadSample(path, f"is {length} bytes long, too short for the 12-byte header of a .flo file")
    if head[:4] == _FLO_MAGIC[::-1]:
        raise BadSample(path, "is a big-endian .flo file; the format is little-endian: convert it")
    if head[:4] != _FLO_MAGIC:
        raise BadSample(path, f"is not a .flo file: it starts with {head[:4]!r}, expected {_FLO_MAGIC!r}")
    width, height = struct.unpack("<ii", head[4:])
    _check_size(path, height, width)
    expected = _FLO_HEADER + 8 * height * width
    if length != expected:
        fault = "cut off" if length < expected else "too long"
        raise BadSample(path, f"is {fault}: {length} bytes, a {height}x{width} flow takes exactly {expected}")
    return height, width


def _image_header(path: PathLike, descriptor: int, length: int) -> tuple[int, int, int]:
    """(height, width, offset of the raw pixels, 0 for PNG), with all checks that need no decoding."""
    head = os.pread(descriptor, _IMAGE_HEAD, 0)
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if head.startswith(_PNG_SIGNATURE):
        kind = ".png"
    elif head[:2] in (b"P6", b"P5"):
        kind = ".ppm" if head[:2] == b"P6" else ".pgm"
    else:
        raise BadSample(path, f"is neither PNG nor binary PPM: it starts with {head[:8]!r}")
    if suffix in (".png", ".ppm", ".pgm") and suffix != kind:
        raise BadSample(path, f"is named {suffix} but holds a {kind} image: rename or convert it")
    if kind == ".pgm":
        raise BadSample(path, "is a gray PGM, expected RGB: convert it")
    if kind == ".ppm":
        return _ppm_header(path, head, length)
    return *_png_header(path, head, os.pread(descriptor, len(_PNG_END), max(0, length - len(_PNG_END))), length), 0


def _png_header(path: PathLike, head: bytes, tail: bytes, length: int) -> tuple[int, int]:
    if len(head) < 33 or head[8:16] != b"\0\0\0\rIHDR":
        raise BadSample(path, "has no PNG header (IHDR)")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    _check_size(path, height, width)
    if (depth, colour) != (8, 2):
        found = f"{depth}-bit {_PNG_COLOURS.get(colour, f'colour type {colour}')}"
        raise BadSample(path, f"is {found}, expected 8-bit RGB without alpha: convert it")
    if tail != _PNG_END:
        raise BadSample(path, "does not end with the PNG end chunk (IEND): it is cut off or has bytes after its end")
    pixels = height * (1 + 3 * width)
    if not pixels // 1100 <= length <= 2 * pixels + 2**24:  # deflate packs at most 1032 to 1
        raise BadSample(path, f"is {length} bytes long, which no {height}x{width} PNG can be")
    return height, width


def _ppm_header(path: PathLike, head: bytes, length: int) -> tuple[int, int, int]:
    match = _PPM_HEADER.match(head)
    if match is None:
        raise BadSample(path, "has no readable PPM header (P6, width, height, 255)")
    width, height, largest = (int(number) for number in match.groups())
    _check_size(path, height, width)
    if largest != 255:
        raise BadSample(path, f"has PPM values up to {largest}, expected 255 (8-bit RGB): convert it")
    offset = match.end()
    expected = offset + 3 * height * width
    if length != expected:
        fault = "cut off" if length < expected else "too long"
        raise BadSample(path, f"is {fault}: {length} bytes, this {height}x{width} PPM takes exactly {expected}")
    return height, width, offset


def _check_png_chunks(path: PathLike, data: memoryview) -> None:
    """Every chunk's CRC: a decoder may hand back half an image where a disk or a copy lost some bytes."""
    position = len(_PNG_SIGNATURE)
    while position < len(data):
        body = position + 4
        end = body + 4 + int.from_bytes(data[position:body], "big")
        if end + 4 > len(data):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} runs past the end of the file")
        if zlib.crc32(data[body:end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} fails its checksum")
        position = end + 4


def _decode_png(path: PathLike, data: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    import cv2  # not needed, and not imported, to check headers

    try:
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadSample(path, f"cannot be decoded as PNG: {error.err}") from None
    if decoded is None or decoded.shape != (*size, 3) or decoded.dtype != np.uint8:
        raise BadSample(path, "cannot be decoded as PNG: its pixel data is damaged")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _plausible(height: int, width: int) -> bool:
    return 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS


def _check_size(path: PathLike, height: int, width: int) -> None:
    if not _plausible(height, width):
        raise BadSample(
            path, f"claims {height}x{width} pixels, expected 1 to {MAX_SIDE} a side and at most 2^27 in all"
        )
