"""Pictures as people have them: PNG, JPEG, PPM or PGM, with 8 bits a channel, gray or with alpha.

Training data are refused unless they are exactly what they should be (data/formats.py); a picture from a camera is
turned into RGB instead, and whoever asked is told.  A file is untrusted here too: its header is read, and its size
judged, before anything is decoded.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import MAX_PIXELS, MAX_SIDE
from edgeflownas.errors import BadSample
from edgeflownas.files import fill, open_regular

__all__ = ["SUFFIXES", "Picture", "is_picture", "picture_size", "read_picture"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm")

_HEAD = 2**18  # bytes: holds the header of a JPEG behind the usual preview and colour profile
_LARGEST_FILE = 2**30
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNM = re.compile(rb"P[56]" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" + rb"\s")
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


class Picture(NamedTuple):
    """Pixels uint8 [H,W,3] RGB, and what was done to get them (empty: nothing)."""

    image: NDArray[np.uint8]
    converted: str


def is_picture(path: Path) -> bool:
    """Whether the file begins like a picture of a known kind.  Raises BadSample or StorageError where unreadable."""
    return _looks_like_one(_bytes(path, _HEAD))


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header.

    Raises:
        BadSample: no picture of a known kind, 16 bits a channel, or absurd dimensions.
    """
    head = _bytes(path, _HEAD)
    if head.startswith(_JPEG) and len(head) == _HEAD and _jpeg_frame(head) is None:
        head = _bytes(path, _LARGEST_FILE)
    return _size(path, head)


def read_picture(path: Path) -> Picture:
    """The picture as RGB; gray is repeated, an alpha channel dropped, EXIF orientation left alone.

    Raises:
        BadSample: as :func:`picture_size`, or a file that is cut off or does not decode.
    """
    import cv2

    data = _bytes(path, _LARGEST_FILE)
    size = _size(path, data)
    _check_whole(path, data)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadSample(path, f"cannot be decoded: {error.err}") from None
    if decoded is None or decoded.dtype != np.uint8 or decoded.shape[:2] != size:
        raise BadSample(path, "cannot be decoded: its pixel data is damaged")
    channels = 1 if decoded.ndim == 2 else decoded.shape[2]
    conversion = {
        1: (cv2.COLOR_GRAY2RGB, "gray repeated in the three channels"),
        3: (cv2.COLOR_BGR2RGB, ""),
        4: (cv2.COLOR_BGRA2RGB, "alpha channel dropped"),
    }
    code, words = conversion[channels]
    return Picture(np.asarray(cv2.cvtColor(decoded, code)), words)


def _bytes(path: Path, limit: int) -> bytes:
    with open_regular(path) as (descriptor, status):
        if status.st_size > _LARGEST_FILE:
            raise BadSample(path, f"is {status.st_size} bytes long, expected a picture of at most {_LARGEST_FILE}")
        data = bytearray(min(limit, status.st_size))
        fill(path, descriptor, memoryview(data), 0)
    return bytes(data)


def _looks_like_one(head: bytes) -> bool:
    return head.startswith((_PNG, _JPEG)) or _PNM.match(head) is not None


def _size(path: Path, head: bytes) -> tuple[int, int]:
    if head.startswith(_PNG) and len(head) >= 33:
        width, height, bits = struct.unpack(">IIB", head[16:25])
    elif head.startswith(_JPEG) and (frame := _jpeg_frame(head)) is not None:
        bits, height, width = struct.unpack(">BHH", head[frame + 4 : frame + 9])
    elif (match := _PNM.match(head)) is not None:
        width, height, largest = (int(number) for number in match.groups())
        bits = 8 if largest == 255 else largest.bit_length()
        if bits <= 8 and largest != 255:
            raise BadSample(path, f"has values up to {largest}, expected 255 (8 bits a channel): convert it")
    else:
        raise BadSample(path, f"is no PNG, JPEG, PPM or PGM with a readable header (it starts with {head[:8]!r})")
    if bits > 8:
        raise BadSample(path, f"has {bits} bits a channel, expected 8: convert it")
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
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


def _check_whole(path: Path, data: bytes) -> None:
    """A decoder may hand back half a picture with gray below it where a copy was cut off."""
    if data.startswith(_PNG):
        _check_chunks(path, data)
    elif data.startswith(_JPEG):
        frame = _jpeg_frame(data)
        if frame is None or data.rfind(b"\xff\xd9") < frame:  # a preview has an end mark too, before the frame
            raise BadSample(path, "is cut off: the end mark of a JPEG is missing")
    else:
        match = _PNM.match(data)
        assert match is not None  # _size has seen it
        expected = match.end() + int(match[1]) * int(match[2]) * (3 if data[:2] == b"P6" else 1)
        if len(data) < expected:
            raise BadSample(path, f"is cut off: {len(data)} bytes, expected {expected}")


def _check_chunks(path: Path, data: bytes) -> None:
    position = len(_PNG)
    while data[position : position + 12] != _PNG_END:
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        if end + 4 > len(data):
            raise BadSample(path, "is cut off: its last PNG chunk runs past the end of the file")
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} fails its checksum")
        position = end + 4
