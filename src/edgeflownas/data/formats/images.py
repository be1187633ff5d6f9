"""Images (8-bit RGB PNG, binary PPM) and masks (8-bit PNG, gray or RGB)."""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.common import check_length, check_size
from edgeflownas.data.formats.png import GRAY8, PNG_SIGNATURE, RGB8, PngHeader, decode_png, png_header
from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike, fill, open_regular

__all__ = ["image_size", "mask_size", "read_image", "read_mask"]

# P6, width, height, 255, apart by white space or comments, then ONE white space (netpbm.sourceforge.net/doc/ppm.html)
_PPM_HEADER = re.compile(rb"P6" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" + rb"\s")
_IMAGE_HEAD = 512  # bytes read for a header: a PPM's is a few lines with comments
_RGB = "8-bit RGB without alpha"
_MASK = "8-bit gray or RGB"


def image_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of an 8-bit RGB PNG or binary PPM from its header; its pixels are not decoded.

    A PPM's length is checked exactly, a PNG's by its closing chunk, so that a cut-off file is found without decoding.

    Raises:
        BadSample: another kind of file or pixel, absurd dimensions, or a file that is cut off or has bytes to spare.
    """
    with open_regular(path) as (descriptor, status):
        header, _ = _image_header(path, descriptor, status.st_size)
        return header.height, header.width


def read_image(path: PathLike, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Image uint8 [H,W,3], RGB, of a PNG or binary PPM file.

    With ``size`` (height, width) an image of another size is refused before it is decoded.

    Raises:
        BadSample: as :func:`image_size`, or another size, a damaged chunk, pixels that do not decode.
    """
    with open_regular(path) as (descriptor, status):
        header, offset = _image_header(path, descriptor, status.st_size)
        _check_same_size(path, header, size)
        if not offset:
            return decode_png(path, descriptor, status.st_size, header).astype(np.uint8, copy=False)
        data = np.empty((header.height, header.width, 3), dtype=np.uint8)
        fill(path, descriptor, data.reshape(-1).data, offset)
    return data


def mask_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of an 8-bit gray or RGB PNG.  Raises BadSample as :func:`image_size`."""
    with open_regular(path) as (descriptor, status):
        return png_header(path, descriptor, status.st_size, (GRAY8, RGB8), _MASK)[:2]


def read_mask(path: PathLike, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Mask bool [H,W]: True where the PNG (gray, or RGB with equal or unequal channels) is not zero.

    Raises:
        BadSample: as :func:`read_image`.
    """
    with open_regular(path) as (descriptor, status):
        header = png_header(path, descriptor, status.st_size, (GRAY8, RGB8), _MASK)
        _check_same_size(path, header, size)
        pixels = decode_png(path, descriptor, status.st_size, header)
    mask: NDArray[np.bool_] = pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=2)
    return mask


def _check_same_size(path: PathLike, header: PngHeader, size: tuple[int, int] | None) -> None:
    if size is not None and size != header[:2]:
        raise BadSample(
            path, f"is {header.height}x{header.width}, expected {size[0]}x{size[1]} (height x width) as the flow"
        )


def _image_header(path: PathLike, descriptor: int, length: int) -> tuple[PngHeader, int]:
    """(header, offset of the raw pixels, 0 for PNG), with all checks that need no decoding."""
    head = os.pread(descriptor, _IMAGE_HEAD, 0)
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if head.startswith(PNG_SIGNATURE):
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
    return png_header(path, descriptor, length, (RGB8,), _RGB), 0


def _ppm_header(path: PathLike, head: bytes, length: int) -> tuple[PngHeader, int]:
    match = _PPM_HEADER.match(head)
    if match is None:
        raise BadSample(path, "has no readable PPM header (P6, width, height, 255)")
    width, height, largest = (int(number) for number in match.groups())
    check_size(path, height, width)
    if largest != 255:
        raise BadSample(path, f"has PPM values up to {largest}, expected 255 (8-bit RGB): convert it")
    offset = match.end()
    check_length(path, length, offset + 3 * height * width, f"this {height}x{width} PPM")
    return PngHeader(height, width, RGB8), offset
