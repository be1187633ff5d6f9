"""Images: headers of PNG, JPEG, PPM and PGM files, their pixels as RGB, and masks.

Images of a data set are refused unless they are exactly what they should be: 8-bit RGB, PNG or binary PPM, whole to
the last checksum, without a byte to spare.  A picture from a camera (:func:`read_picture`) is turned into RGB instead,
and whoever asked is told.  Every file is untrusted: its header and length are judged before anything of the size that
the header claims is allocated or decoded.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike, fill, open_regular

MAX_SIDE = 16384
MAX_PIXELS = 2**27
SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm")  # what pictures are called

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}
# P6 (or P5), width, height, largest value, apart by white space or comments, then ONE white space
# (netpbm.sourceforge.net/doc/ppm.html)
_PNM = re.compile(rb"P[56]" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" + rb"\s")
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_IMAGE_HEAD = 512  # bytes read for a header: a PPM's is a few lines with comments
_PICTURE_HEAD = 2**18  # holds the header of a JPEG behind the usual preview and colour profile
_LARGEST_PICTURE = 2**30  # bytes


class Header(NamedTuple):
    """What a file of values [height,width,channels] says of itself."""

    height: int
    width: int
    channels: int
    dtype: str
    offset: int  # where the values begin; 0 in a PNG, which has to be decoded


HeaderOf = Callable[[PathLike, int, int], Header]
"""From (path, descriptor, length of the file) to its header; BadSample where the file is not what it should be."""


def size_of(path: PathLike, header_of: HeaderOf) -> tuple[int, int]:
    """(height, width) of a file from its header; no value is read."""
    with open_regular(path) as (descriptor, status):
        return header_of(path, descriptor, status.st_size)[:2]


def values_of(path: PathLike, header_of: HeaderOf, size: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The values [H,W,channels] of a file as they are stored; of a PNG its RGB, or [H,W] where it is gray.

    Raises BadSample as ``header_of`` does, and for another (height, width) than ``size`` or pixels that do not decode.
    """
    with open_regular(path) as (descriptor, status):
        header = header_of(path, descriptor, status.st_size)
        height, width = header[:2]
        if size is not None and size != (height, width):
            raise BadSample(path, f"is {height}x{width}, expected {size[0]}x{size[1]} (height x width) as the flow")
        if not header.offset:
            return _decode_png(path, descriptor, status.st_size, header)
        values = np.empty((height, width, header.channels), dtype=header.dtype)
        fill(path, descriptor, values.reshape(-1).view(np.uint8).data, header.offset)
    return values


def plausible(height: int, width: int) -> bool:
    """Whether an image or a flow may have this size."""
    return 1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS


def check_size(path: PathLike, height: int, width: int) -> None:
    """Raise BadSample for dimensions that no sample has."""
    if not plausible(height, width):
        raise BadSample(
            path, f"claims {height}x{width} pixels, expected 1 to {MAX_SIDE} a side and at most 2^27 in all"
        )


def check_length(path: PathLike, length: int, expected: int, what: str) -> None:
    """Raise BadSample where a file is not exactly as long as its header says."""
    if length != expected:
        fault = "cut off" if length < expected else "too long"
        raise BadSample(path, f"is {fault}: {length} bytes, {what} takes exactly {expected}")


# --- images and masks of a data set ---


def image_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of an 8-bit RGB PNG or binary PPM from its header; its pixels are not decoded.

    A PPM's length is checked exactly, a PNG's by its closing chunk, so that a cut-off file is found without decoding.
    Raises BadSample: another kind of file or pixel, absurd dimensions, a file that is cut off or has bytes to spare.
    """
    return size_of(path, _image_header)


def read_image(path: PathLike, size: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Image uint8 [H,W,3], RGB, of a PNG or binary PPM file.

    With ``size`` (height, width) an image of another size is refused before it is decoded.
    Raises BadSample: as :func:`image_size`, or another size, a damaged chunk, pixels that do not decode.
    """
    return values_of(path, _image_header, size)


def mask_size(path: PathLike) -> tuple[int, int]:
    """(height, width) of an 8-bit gray or RGB PNG.  Raises BadSample as :func:`image_size`."""
    return size_of(path, _mask_header)


def read_mask(path: PathLike, size: tuple[int, ...] | None = None) -> NDArray[np.bool_]:
    """Mask bool [H,W]: True where the PNG (gray, or RGB with equal or unequal channels) is not zero.

    Raises BadSample as :func:`read_image`.
    """
    pixels = values_of(path, _mask_header, size)
    mask: NDArray[np.bool_] = pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=2)
    return mask


def png_header(path: PathLike, descriptor: int, length: int, expected: str, *kinds: tuple[int, int]) -> Header:
    """The header of a PNG of one of the ``kinds`` (bits, PNG's colour type).

    Raises BadSample: no PNG, another kind, absurd dimensions, or a file that is cut off or has bytes to spare.
    """
    head = os.pread(descriptor, 33, 0)
    if not head.startswith(_PNG):
        raise BadSample(path, f"is no PNG: it starts with {head[:8]!r}")
    if len(head) < 33 or head[8:16] != b"\0\0\0\rIHDR":
        raise BadSample(path, "has no PNG header (IHDR)")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    check_size(path, height, width)
    if (bits, colour) not in kinds:
        found = f"{bits}-bit {_PNG_COLOURS.get(colour, f'colour type {colour}')}"
        raise BadSample(path, f"is {found}, expected {expected}: convert it")
    if os.pread(descriptor, len(_PNG_END), max(0, length - len(_PNG_END))) != _PNG_END:
        raise BadSample(path, "does not end with the PNG end chunk (IEND): it is cut off or has bytes after its end")
    channels = 3 if colour else 1
    pixels = height * (1 + channels * bits // 8 * width)
    if not pixels // 1100 <= length <= 2 * pixels + 2**24:  # deflate packs at most 1032 to 1
        raise BadSample(path, f"is {length} bytes long, which no {height}x{width} PNG can be")
    return Header(height, width, channels, f"u{bits // 8}", 0)


def _mask_header(path: PathLike, descriptor: int, length: int) -> Header:
    return png_header(path, descriptor, length, "8-bit gray or RGB", (8, 0), (8, 2))


def _image_header(path: PathLike, descriptor: int, length: int) -> Header:
    head = os.pread(descriptor, _IMAGE_HEAD, 0)
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    kind = ".png" if head.startswith(_PNG) else {b"P6": ".ppm", b"P5": ".pgm"}.get(head[:2])
    if kind is None:
        raise BadSample(path, f"is neither PNG nor binary PPM: it starts with {head[:8]!r}")
    if suffix in (".png", ".ppm", ".pgm") and suffix != kind:
        raise BadSample(path, f"is named {suffix} but holds a {kind} image: rename or convert it")
    if kind == ".pgm":
        raise BadSample(path, "is a gray PGM, expected RGB: convert it")
    if kind == ".png":
        return png_header(path, descriptor, length, "8-bit RGB without alpha", (8, 2))
    match = _PNM.match(head)
    if match is None:
        raise BadSample(path, "has no readable PPM header (P6, width, height, 255)")
    width, height, largest = (int(number) for number in match.groups())
    check_size(path, height, width)
    if largest != 255:
        raise BadSample(path, f"has PPM values up to {largest}, expected 255 (8-bit RGB): convert it")
    check_length(path, length, match.end() + 3 * height * width, f"this {height}x{width} PPM")
    return Header(height, width, 3, "u1", match.end())


def _decode_png(path: PathLike, descriptor: int, length: int, header: Header) -> NDArray[Any]:
    """The pixels of a PNG, with every chunk's checksum verified first."""
    import cv2  # not needed, and not imported, to check headers

    data = np.empty(length, dtype=np.uint8)
    fill(path, descriptor, data.data, 0)
    _check_chunks(path, data.data, to_the_end=True)
    flags = cv2.IMREAD_GRAYSCALE if header.channels == 1 else cv2.IMREAD_COLOR
    flags |= cv2.IMREAD_ANYDEPTH if header.dtype == "u2" else 0
    decoded = _decoded(path, data, flags | cv2.IMREAD_IGNORE_ORIENTATION, header[:2], header.dtype, " as PNG")
    return decoded if header.channels == 1 else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


# --- pictures as people have them ---


def is_picture(path: Path) -> bool:
    """Whether the file begins like a picture of a known kind.  Raises BadSample or StorageError where unreadable."""
    head = _beginning(path, _PICTURE_HEAD)
    return head.startswith((_PNG, _JPEG)) or _PNM.match(head) is not None


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header.  Raises BadSample: no known kind, 16 bits a channel, or absurd dimensions."""
    head = _beginning(path, _PICTURE_HEAD)
    if head.startswith(_JPEG) and len(head) == _PICTURE_HEAD and _jpeg_frame(head) is None:
        head = _beginning(path, _LARGEST_PICTURE)
    return _picture_size(path, head)


def read_picture(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Pixels uint8 [H,W,3] RGB, and what was done to get them (empty: nothing).

    Gray is repeated, an alpha channel dropped, EXIF orientation left alone.
    Raises BadSample: as :func:`picture_size`, or a file that is cut off or does not decode.
    """
    import cv2

    data = _beginning(path, _LARGEST_PICTURE)
    size = _picture_size(path, data)
    if data.startswith(_PNG):
        _check_chunks(path, data, to_the_end=False)
    elif data.startswith(_JPEG):
        if data.rfind(b"\xff\xd9") < (_jpeg_frame(data) or 0):  # a preview has an end mark too, before the frame
            raise BadSample(path, "is cut off: the end mark of a JPEG is missing")
    elif match := _PNM.match(data):
        expected = match.end() + size[0] * size[1] * (3 if data[:2] == b"P6" else 1)
        if len(data) < expected:
            raise BadSample(path, f"is cut off: {len(data)} bytes, expected {expected}")
    decoded = _decoded(path, np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, size, "u1", "")
    code, words = {
        1: (cv2.COLOR_GRAY2RGB, "gray repeated in the three channels"),
        3: (cv2.COLOR_BGR2RGB, ""),
        4: (cv2.COLOR_BGRA2RGB, "alpha channel dropped"),
    }[1 if decoded.ndim == 2 else decoded.shape[2]]
    return np.asarray(cv2.cvtColor(decoded, code)), words


def _beginning(path: Path, limit: int) -> bytes:
    with open_regular(path) as (descriptor, status):
        if status.st_size > _LARGEST_PICTURE:
            raise BadSample(path, f"is {status.st_size} bytes long, expected a picture of at most {_LARGEST_PICTURE}")
        data = bytearray(min(limit, status.st_size))
        fill(path, descriptor, memoryview(data), 0)
    return bytes(data)


def _picture_size(path: Path, head: bytes) -> tuple[int, int]:
    if head.startswith(_PNG) and len(head) >= 33:
        width, height, bits = struct.unpack(">IIB", head[16:25])
    elif head.startswith(_JPEG) and (frame := _jpeg_frame(head)) is not None:
        bits, height, width = struct.unpack(">BHH", head[frame + 4 : frame + 9])
    elif (match := _PNM.match(head)) is not None:
        width, height, largest = (int(number) for number in match.groups())
        bits = largest.bit_length()
        if bits <= 8 and largest != 255:
            raise BadSample(path, f"has values up to {largest}, expected 255 (8 bits a channel): convert it")
    else:
        raise BadSample(path, f"is no PNG, JPEG, PPM or PGM with a readable header (it starts with {head[:8]!r})")
    if bits > 8:
        raise BadSample(path, f"has {bits} bits a channel, expected 8: convert it")
    if not plausible(height, width):
        raise BadSample(path, f"claims {height}x{width} pixels, expected 1 to {MAX_SIDE} a side and at most 2^27")
    return height, width


def _jpeg_frame(data: bytes) -> int | None:
    """Position of the frame header (SOF), which holds the size; None where the data end before it."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _JPEG_FRAMES:
            return position
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _JPEG_BARE:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


# --- both ---


def _check_chunks(path: PathLike, data: bytes | memoryview, to_the_end: bool) -> None:
    """Every chunk's CRC: a decoder may hand back half an image where a disk or a copy lost some bytes.

    ``to_the_end`` goes on to the last byte of the file; otherwise what follows the end chunk is left alone.
    """
    position = len(_PNG)
    while position < len(data) if to_the_end else data[position : position + len(_PNG_END)] != _PNG_END:
        body = position + 4
        end = body + 4 + int.from_bytes(data[position:body], "big")
        if end + 4 > len(data):
            which = f"damaged: the PNG chunk at byte {position}" if to_the_end else "cut off: its last PNG chunk"
            raise BadSample(path, f"is {which} runs past the end of the file")
        if zlib.crc32(data[body:end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} fails its checksum")
        position = end + 4


def _decoded(
    path: PathLike, data: NDArray[np.uint8], flags: int, size: tuple[int, int], dtype: str, kind: str
) -> NDArray[Any]:
    """The pixels in OpenCV's order."""
    import cv2

    try:
        decoded = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise BadSample(path, f"cannot be decoded{kind}: {error.err}") from None
    if decoded is None or decoded.shape[:2] != size or decoded.dtype != dtype:
        raise BadSample(path, f"cannot be decoded{kind}: its pixel data is damaged")
    return np.asarray(decoded)
