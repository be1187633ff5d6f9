"""The parts of reading any PNG: header, end chunk, checksums, decoding."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats.common import check_size
from edgeflownas.errors import BadSample
from edgeflownas.files import PathLike, fill

__all__ = ["GRAY8", "PNG_SIGNATURE", "RGB16", "RGB8", "PngHeader", "decode_png", "png_header"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY8, RGB8, RGB16 = (8, 0), (8, 2), (16, 2)  # bit depth, colour type
_CHANNELS = {0: 1, 2: 3}
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}


class PngHeader(NamedTuple):
    """Size and kind of a PNG."""

    height: int
    width: int
    kind: tuple[int, int]


def png_header(
    path: PathLike, descriptor: int, length: int, accepted: Collection[tuple[int, int]], expected: str
) -> PngHeader:
    """The header of a PNG of one of the ``accepted`` kinds, and that the file ends with its end chunk.

    Raises:
        BadSample: no PNG, another kind, absurd dimensions, or a file that is cut off or has bytes to spare.
    """
    head = os.pread(descriptor, 33, 0)
    if not head.startswith(PNG_SIGNATURE):
        raise BadSample(path, f"is no PNG: it starts with {head[:8]!r}")
    if len(head) < 33 or head[8:16] != b"\0\0\0\rIHDR":
        raise BadSample(path, "has no PNG header (IHDR)")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:26])
    check_size(path, height, width)
    if (depth, colour) not in accepted:
        found = f"{depth}-bit {_PNG_COLOURS.get(colour, f'colour type {colour}')}"
        raise BadSample(path, f"is {found}, expected {expected}: convert it")
    if os.pread(descriptor, len(_PNG_END), max(0, length - len(_PNG_END))) != _PNG_END:
        raise BadSample(path, "does not end with the PNG end chunk (IEND): it is cut off or has bytes after its end")
    pixels = height * (1 + _CHANNELS[colour] * depth // 8 * width)
    if not pixels // 1100 <= length <= 2 * pixels + 2**24:  # deflate packs at most 1032 to 1
        raise BadSample(path, f"is {length} bytes long, which no {height}x{width} PNG can be")
    return PngHeader(height, width, (depth, colour))


def decode_png(path: PathLike, descriptor: int, length: int, header: PngHeader) -> NDArray[np.generic]:
    """Pixels [H,W] (gray) or [H,W,3] (RGB), uint8 or uint16, with every chunk's checksum verified first.

    Raises:
        BadSample: a damaged chunk, or pixels that do not decode.
    """
    import cv2  # not needed, and not imported, to check headers

    data = np.empty(length, dtype=np.uint8)
    fill(path, descriptor, data.data, 0)
    _check_chunks(path, data.data)
    flags = cv2.IMREAD_GRAYSCALE if header.kind == GRAY8 else cv2.IMREAD_COLOR
    flags |= cv2.IMREAD_ANYDEPTH if header.kind == RGB16 else 0
    try:
        decoded = cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadSample(path, f"cannot be decoded as PNG: {error.err}") from None
    shape = (header.height, header.width) + ((3,) if header.kind != GRAY8 else ())
    if decoded is None or decoded.shape != shape or decoded.dtype.itemsize * 8 != header.kind[0]:
        raise BadSample(path, "cannot be decoded as PNG: its pixel data is damaged")
    return np.asarray(decoded if header.kind == GRAY8 else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _check_chunks(path: PathLike, data: memoryview) -> None:
    """Every chunk's CRC: a decoder may hand back half an image where a disk or a copy lost some bytes."""
    position = len(PNG_SIGNATURE)
    while position < len(data):
        body = position + 4
        end = body + 4 + int.from_bytes(data[position:body], "big")
        if end + 4 > len(data):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} runs past the end of the file")
        if zlib.crc32(data[body:end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} fails its checksum")
        position = end + 4
