"""Files of a sample: flow (Middlebury's .flo, .pfm, KITTI's 16-bit .png, Spring's .flo5), images and masks.

A file is refused unless it is exactly what it should be: an image PNG, binary PPM or PGM, whole to the last checksum,
without a byte to spare; what is not 8-bit RGB becomes that (:func:`as_rgb`).  Every file is untrusted: its header and
length are judged before anything of the size that the header claims is allocated or decoded (the readers this replaces
filled a 28-byte file that claimed 30000x30000 up to full size).
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas import limits
from edgeflownas.errors import BadSample, DataError, StorageError
from edgeflownas.files import PathLike, fill, open_regular, replace_file

SIZES = f"expected 1 to {limits.SIDE} a side and at most 2^{limits.PIXELS.bit_length() - 1} in all"
FLO_UNKNOWN = 1.6666666752e9  # what Middlebury's tools write into both components of a pixel whose flow is not known
UNKNOWN_ABOVE = 1e9  # a flow component beyond this means that the flow is not known (Middlebury's convention)

PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_PNG_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ANY_KIND = [(8, 2), *((bits, 0) for bits in (1, 2, 4, 8, 16)), (16, 2), *((bits, 3) for bits in (1, 2, 4, 8))]
_ANY_KIND += [(bits, colour) for bits in (8, 16) for colour in (4, 6)]
# P6 (or P5), width, height, largest value, apart by white space or comments, then ONE white space
# (netpbm.sourceforge.net/doc/ppm.html)
PNM = re.compile(rb"P[56]" + 3 * rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})" + rb"\s")
_IMAGE_HEAD = 512  # bytes read for a header: a PPM's is a few lines with comments
_FLO_MAGIC = struct.pack("<f", 202021.25)  # spells PIEH
_FLO_HEADER = 12
# Some writers leave blanks at the ends of the lines; one line feed ends the header.
_PFM_HEADER = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[0-9.]{1,20}(?:[eE][-+]?\d{1,2})?)[ \t]*\r?\n")
_KITTI_KIND = (16, 2)  # bits, PNG's colour type
_KITTI_ZERO = 2**15

Flow = tuple[NDArray[np.float32], NDArray[np.bool_]]
Size = tuple[int, int]  # (height, width)


class _Header(NamedTuple):
    """What a file of values [height,width,channels] says of itself."""

    height: int
    width: int
    channels: int
    dtype: str
    offset: int  # where the values begin; 0 in a PNG, which has to be decoded
    as_rgb: str = ""  # of an image that is not 8-bit RGB: what makes it so, in words


_HeaderOf = Callable[[PathLike, int, int], _Header]
"""From (path, descriptor, length of the file) to its header; BadSample where the file is not what it should be."""


def _size_of(path: PathLike, header_of: _HeaderOf) -> Size:
    """(height, width) of a file from its header; no value is read."""
    with open_regular(path) as (descriptor, status):
        return header_of(path, descriptor, status.st_size)[:2]


def _values_of(path: PathLike, header_of: _HeaderOf, size: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The values [H,W,channels] of a file as they are stored; of a PNG its RGB, or [H,W] where it is gray."""
    with open_regular(path) as (descriptor, status):
        header = header_of(path, descriptor, status.st_size)
        height, width = header[:2]
        if size is not None and size != (height, width):
            raise BadSample(path, f"is {height}x{width}, expected {size[0]}x{size[1]} (height x width) as the flow")
        if not header.offset:
            return _decode_png(path, descriptor, status.st_size, header)
        values = np.empty((height, width, header.channels), dtype=header.dtype)
        fill(path, descriptor, values.reshape(-1).view(np.uint8).data, header.offset)
    if header.as_rgb:  # a PGM, or 16 bits
        return np.ascontiguousarray(np.broadcast_to(_eight_bits(values), (height, width, 3)))
    return values


def plausible(height: int, width: int) -> bool:
    """Whether an image or a flow may have this size."""
    return 1 <= height <= limits.SIDE and 1 <= width <= limits.SIDE and height * width <= limits.PIXELS


def _check_size(path: PathLike, height: int, width: int) -> None:
    if not plausible(height, width):
        raise BadSample(path, f"claims {height}x{width} pixels, {SIZES}")


def _check_length(path: PathLike, length: int, expected: int, what: str) -> None:
    if length != expected:
        fault = "cut off" if length < expected else "too long"
        raise BadSample(path, f"is {fault}: {length} bytes, {what} takes exactly {expected}")


# --- images and masks of a data set ---


def image_size(path: PathLike) -> Size:
    """(height, width) of a PNG, binary PPM or PGM from its header; its pixels are not decoded.

    A PPM's length is checked exactly, a PNG's by its closing chunk, so that a cut-off file is found without decoding.
    Raises BadSample: another kind of file or pixel, absurd dimensions, a file that is cut off or has bytes to spare.
    """
    return image_form(path)[0]


def image_form(path: PathLike) -> tuple[Size, str]:
    """As :func:`image_size`, and what makes 8-bit RGB of the image (empty where it is that)."""
    with open_regular(path) as (descriptor, status):
        header = _image_header(path, descriptor, status.st_size)
    return header[:2], header.as_rgb


def read_image(path: PathLike, size: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Image uint8 [H,W,3], RGB, of a PNG, binary PPM or PGM file; other pixels become that (:func:`as_rgb`).

    With ``size`` (height, width) an image of another size is refused before it is decoded.
    Raises BadSample: as :func:`image_size`, or another size, a damaged chunk, pixels that do not decode.
    """
    return _values_of(path, _image_header, size)


def as_rgb(decoded: NDArray[Any]) -> NDArray[np.uint8]:
    """8-bit RGB [H,W,3] of pixels in OpenCV's order (BGR, BGRA or gray; 8 or 16 bits): see :func:`form_in_words`."""
    import cv2

    channels = 1 if decoded.ndim == 2 else decoded.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(_eight_bits(decoded), code))


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype.itemsize == 1:
        return values
    return np.asarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def form_in_words(bits: int, gray: bool, alpha: bool = False, palette: bool = False) -> str:
    """What makes 8-bit RGB of such an image; empty where it is that."""
    said = (
        (gray, "gray repeated in the three channels"),
        (palette, "colours taken from its palette"),
        (alpha, "alpha channel dropped"),
        (bits > 8, "16 bits scaled to 8"),
    )
    return ", ".join(words for true, words in said if true)


def mask_size(path: PathLike) -> Size:
    """(height, width) of an 8-bit gray or RGB PNG.  Raises BadSample as :func:`image_size`."""
    return _size_of(path, _mask_header)


def read_mask(path: PathLike, size: tuple[int, ...] | None = None) -> NDArray[np.bool_]:
    """Mask bool [H,W]: True where the PNG (gray or RGB) is not zero.  Raises BadSample as :func:`read_image`."""
    pixels = _values_of(path, _mask_header, size)
    return np.asarray(pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=2))


def _png_header(
    path: PathLike, descriptor: int, length: int, expected: str, kinds: Collection[tuple[int, int]]
) -> _Header:
    """The header of a whole PNG of one of the ``kinds`` (bits, PNG's colour type), called ``expected`` in words."""
    head = os.pread(descriptor, 33, 0)
    if not head.startswith(PNG):
        raise BadSample(path, f"is no PNG: it starts with {head[:8]!r}")
    if len(head) < 33 or head[8:16] != b"\0\0\0\rIHDR":
        raise BadSample(path, "has no PNG header (IHDR)")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    _check_size(path, height, width)
    if (bits, colour) not in kinds:
        found = f"{bits}-bit {_PNG_COLOURS.get(colour, f'colour type {colour}')}"
        raise BadSample(path, f"is {found}, expected {expected}: convert it")
    if os.pread(descriptor, len(_PNG_END), max(0, length - len(_PNG_END))) != _PNG_END:
        raise BadSample(path, "does not end with the PNG end chunk (IEND): it is cut off or has bytes after its end")
    channels = _PNG_CHANNELS[colour]
    pixels = height * (1 + -(-channels * bits * width // 8))
    if not pixels // limits.DEFLATE <= length <= 2 * pixels + 2**24:  # deflate packs at most 1032 to 1
        raise BadSample(path, f"is {length} bytes long, which no {height}x{width} PNG can be")
    return _Header(height, width, channels, "u2" if bits > 8 else "u1", 0)


_mask_header = partial(_png_header, expected="8-bit gray or RGB", kinds=[(8, 0), (8, 2)])
_kitti_header = partial(_png_header, expected="16-bit RGB (a KITTI flow)", kinds=[_KITTI_KIND])


def _image_header(path: PathLike, descriptor: int, length: int) -> _Header:
    head = os.pread(descriptor, _IMAGE_HEAD, 0)
    suffix = _suffix(path)
    kind = ".png" if head.startswith(PNG) else {b"P6": ".ppm", b"P5": ".pgm"}.get(head[:2])
    if kind is None:
        raise BadSample(path, f"is neither PNG nor binary PPM: it starts with {head[:8]!r}")
    if suffix in (".png", ".ppm", ".pgm") and (suffix == ".png") != (kind == ".png"):
        raise BadSample(path, f"is named {suffix} but holds a {kind} image: rename or convert it")
    if kind == ".png":
        header = _png_header(path, descriptor, length, "gray, RGB or a palette", _ANY_KIND)
        bits, colour = head[24:26]
        return header._replace(as_rgb=form_in_words(bits, colour in (0, 4), colour in (4, 6), colour == 3))
    match = PNM.match(head)
    if match is None:
        raise BadSample(path, "has no readable PPM header (P6, width, height, 255)")
    width, height, largest = (int(number) for number in match.groups())
    _check_size(path, height, width)
    if largest not in (255, 65535):
        raise BadSample(path, f"has PPM values up to {largest}, expected 255 or 65535: convert it")
    channels, wide = 3 if kind == ".ppm" else 1, largest == 65535
    taken = match.end() + channels * (1 + wide) * height * width
    _check_length(path, length, taken, f"this {height}x{width} {kind[1:].upper()}")
    words = form_in_words(16 if wide else 8, channels == 1)
    return _Header(height, width, channels, ">u2" if wide else "u1", match.end(), words)


def _decode_png(path: PathLike, descriptor: int, length: int, header: _Header) -> NDArray[Any]:
    """The pixels of a PNG, with every chunk's checksum verified first."""
    import cv2  # not needed, and not imported, to check headers

    data = np.empty(length, dtype=np.uint8)
    fill(path, descriptor, data.data, 0)
    check_chunks(path, data.data, to_the_end=True)
    if not header.as_rgb:
        flags = cv2.IMREAD_GRAYSCALE if header.channels == 1 else cv2.IMREAD_COLOR
        flags |= cv2.IMREAD_ANYDEPTH if header.dtype == "u2" else 0
    else:
        flags = cv2.IMREAD_UNCHANGED
    decoded = decoded_pixels(path, data, flags | cv2.IMREAD_IGNORE_ORIENTATION, header[:2], header.dtype, " as PNG")
    if header.as_rgb:
        return as_rgb(decoded)
    return decoded if header.channels == 1 else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def write_png(path: PathLike, pixels: NDArray[Any], options: Sequence[int] = ()) -> None:
    """Write pixels in OpenCV's order (BGR or gray), whole or not at all.  Raises StorageError."""
    import cv2

    done, content = cv2.imencode(".png", pixels, options)
    assert done, "OpenCV cannot encode PNG"
    replace_file(path, [content.tobytes()])


def check_chunks(path: PathLike, data: bytes | memoryview, to_the_end: bool) -> None:
    """Every chunk's CRC: a decoder may hand back half an image where a disk or a copy lost some bytes.

    ``to_the_end`` goes on to the last byte of the file; otherwise what follows the end chunk is left alone.
    """
    position = len(PNG)
    while position < len(data) if to_the_end else data[position : position + len(_PNG_END)] != _PNG_END:
        body = position + 4
        end = body + 4 + int.from_bytes(data[position:body], "big")
        if end + 4 > len(data):
            which = f"damaged: the PNG chunk at byte {position}" if to_the_end else "cut off: its last PNG chunk"
            raise BadSample(path, f"is {which} runs past the end of the file")
        if zlib.crc32(data[body:end]) != int.from_bytes(data[end : end + 4], "big"):
            raise BadSample(path, f"is damaged: the PNG chunk at byte {position} fails its checksum")
        position = end + 4


def decoded_pixels(
    path: PathLike, data: NDArray[np.uint8], flags: int, size: Size, dtype: str, kind: str
) -> NDArray[Any]:
    """The pixels in OpenCV's order, of ``dtype`` (empty: 8 or 16 bits)."""
    import cv2

    try:
        decoded = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise BadSample(path, f"cannot be decoded{kind}: {error.err}") from None
    if decoded is None or decoded.shape[:2] != size or decoded.dtype not in ([dtype] if dtype else ["u1", "u2"]):
        raise BadSample(path, f"cannot be decoded{kind}: its pixel data is damaged")
    return np.asarray(decoded)


# --- flow ---


def read_flow(path: PathLike) -> Flow:
    """Flow float32 [H,W,2] (u right, v down, px; 0 where unknown), valid bool [H,W].  Raises BadSample, DataError."""
    return _format_of(path).read(path)


def flow_size(path: PathLike) -> Size:
    """(height, width) of the images a flow belongs to, from its checked header.  Raises as :func:`read_flow`."""
    return _format_of(path).size(path)


def write_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write a flow as .flo, .pfm or KITTI .png, whole or not at all.  Raises ValueError, StorageError."""
    suffix = _suffix(path)
    writers = {name: each.write for name, each in _FORMATS.items() if each.write}
    if suffix not in writers:
        raise ValueError(f"{path}: flow is written as {', '.join(writers)}, not {suffix or 'without a suffix'}")
    writers[suffix](path, flow, valid)


def _suffix(path: PathLike) -> str:
    return os.path.splitext(os.fspath(path))[1].lower()


def _format_of(path: PathLike) -> _Format:
    suffix = _suffix(path)
    if suffix not in _FORMATS:
        raise BadSample(path, f"is no flow file by its suffix {suffix!r}, expected {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def _largest(path: PathLike, values: NDArray[np.float32], what: str) -> float:
    """The largest magnitude in [H,W] or [H,W,channels].  Raises BadSample: a value is not finite."""
    largest = max(float(values.max()), -float(values.min()))  # NaN stays NaN in both
    if not np.isfinite(largest):
        row, column = np.argwhere(~np.isfinite(values))[0][:2]
        raise BadSample(path, f"holds a {what} that is not finite, first at row {row}, column {column}")
    return largest


def _known(path: PathLike, flow: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a flow [H,W,2] just read is known; it is set to 0 elsewhere.

    NaN is unknown, as in Middlebury's own reference (flowIO.cpp, unknown_flow); infinity is a fault.
    """
    if max(float(flow.max()), -float(flow.min())) <= UNKNOWN_ABOVE:  # not where one is NaN
        return np.ones(flow.shape[:2], dtype=np.bool_)
    if (infinite := np.isinf(flow)).any():
        row, column = np.argwhere(infinite)[0][:2]
        raise BadSample(path, f"holds a flow that is not finite, first at row {row}, column {column}")
    return _blanked(flow, _both(np.abs(flow) <= UNKNOWN_ABOVE))


def _both(components: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[H,W] of [H,W,2]; ten times faster than numpy's ``all`` over an axis of two."""
    return np.asarray(components[..., 0] & components[..., 1])


def _blanked(flow: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``valid``; a contiguous flow is set to 0 elsewhere, a pixel at a time."""
    np.copyto(flow.view(np.complex64)[..., 0], 0, where=~valid)
    return valid


def _writable(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The validity of a flow that is to be written (None: every pixel is valid)."""
    if flow.ndim != 3 or flow.shape[2] != 2 or not plausible(flow.shape[0], flow.shape[1]):
        raise ValueError(f"{path}: flow must have shape [H,W,2] within {limits.SIDE} a side, got {flow.shape}")
    if valid is None:
        valid = np.ones(flow.shape[:2], dtype=np.bool_)
    if valid.shape != flow.shape[:2] or valid.dtype != np.bool_:
        raise ValueError(f"{path}: valid must be bool {list(flow.shape[:2])}, got {valid.dtype} {list(valid.shape)}")
    sound = np.abs(flow) <= UNKNOWN_ABOVE
    if not sound.all() and not _both(sound)[valid].all():
        raise ValueError(f"{path}: a valid flow is not finite or is beyond +-1e9 px; mark such pixels invalid")
    return valid


def read_flo(path: PathLike) -> Flow:
    """Flow float32 [H,W,2] (u right, v down, px) and valid bool [H,W] of a Middlebury .flo file.

    ``PIEH``, int32 width, int32 height, then u, v interleaved by row, all little-endian: the format of
    vision.middlebury.edu/flow (flowIO.cpp), and of FlyingChairs, FlyingChairs2 and Sintel.  A pixel with a component
    beyond +-1e9, or NaN, is unknown: valid is False and the flow 0 there.
    Raises BadSample: no .flo file, absurd dimensions, a length that does not fit them, or infinity.
    """
    flow = _values_of(path, _flo_header).astype(np.float32, copy=False)
    return flow, _known(path, flow)


def write_flo(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2] as .flo; where ``valid`` [H,W] is False the unknown-flow value is written.

    Raises ValueError: shapes that do not fit, or a valid flow not finite or beyond +-1e9 px.  StorageError.
    """
    values = np.array(flow, dtype="<f4", order="C")
    known = _writable(path, values, valid)
    np.copyto(values, FLO_UNKNOWN, where=~known[..., None])
    header = _FLO_MAGIC + struct.pack("<ii", values.shape[1], values.shape[0])
    replace_file(path, [header, values.reshape(-1).view(np.uint8).data])


def _flo_header(path: PathLike, descriptor: int, length: int) -> _Header:
    head = os.pread(descriptor, _FLO_HEADER, 0)
    if len(head) < _FLO_HEADER:
        raise BadSample(path, f"is {len(head)} bytes long, too short for the 12-byte header of a .flo file")
    if head[:4] == _FLO_MAGIC[::-1]:
        raise BadSample(path, "is a big-endian .flo file; the format is little-endian: convert it")
    if head[:4] != _FLO_MAGIC:
        raise BadSample(path, f"is not a .flo file: it starts with {head[:4]!r}, expected {_FLO_MAGIC!r}")
    width, height = struct.unpack("<ii", head[4:])
    _check_size(path, height, width)
    _check_length(path, length, _FLO_HEADER + 8 * height * width, f"a {height}x{width} flow")
    return _Header(height, width, 2, "<f4", _FLO_HEADER)


def read_pfm(path: PathLike) -> NDArray[np.float32]:
    """Values float32 [H,W] (``Pf``) or [H,W,3] (``PF``) of a portable float map, top row first.

    ``PF`` or ``Pf``, width, height, scale, then float32 rows from the bottom up; the scale's sign gives the byte order
    (negative: little-endian).
    Raises BadSample: no .pfm file, absurd dimensions, a length that does not fit them, NaN or infinity.
    """
    values = np.ascontiguousarray(_pfm_values(path), dtype=np.float32)
    _largest(path, values, "value")
    return values


def write_pfm(path: PathLike, values: NDArray[np.float32], big_endian: bool = False) -> None:
    """Write values [H,W] or [H,W,3], whole or not at all.  Raises ValueError: another shape; StorageError."""
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
    flow = np.empty((*values.shape[:2], 2), dtype=np.float32)
    for component in range(2):  # four times faster than both at once, an inner loop of two
        flow[..., component] = values[..., component]
    return flow, _known(path, flow)


def _write_pfm_flow(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    if not _writable(path, flow, valid).all():
        raise ValueError(f"{path}: a .pfm flow cannot mark invalid pixels; write .flo or KITTI .png")
    write_pfm(path, np.concatenate([flow, np.zeros_like(flow[..., :1])], axis=2))


def _pfm_values(path: PathLike) -> NDArray[np.float32]:
    """A view of the file's values, top row first, in the byte order of the file."""
    values = _values_of(path, _pfm_header)[::-1]
    return values[..., 0] if values.shape[2] == 1 else values


def _pfm_header(path: PathLike, descriptor: int, length: int) -> _Header:
    head = os.pread(descriptor, 128, 0)
    match = _PFM_HEADER.match(head)
    if match is None:
        raise BadSample(path, f"has no readable PFM header (PF or Pf, width, height, scale): it starts {head[:16]!r}")
    channels = 3 if match[1] == b"F" else 1
    width, height = int(match[2]), int(match[3])
    _check_size(path, height, width)
    try:
        scale = float(match[4])
    except ValueError:
        scale = 0.0
    if abs(scale) != 1.0:
        raise BadSample(path, f"has the PFM scale {match[4].decode()}, expected 1 (big-endian) or -1 (little-endian)")
    what = f"this {height}x{width} PFM with {channels} channel{'s' if channels > 1 else ''}"
    _check_length(path, length, match.end() + 4 * channels * height * width, what)
    return _Header(height, width, channels, "<f4" if scale < 0 else ">f4", match.end())


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
    pixels = _values_of(path, _kitti_header)
    valid: NDArray[np.bool_] = pixels[..., 2] != 0
    flow = np.subtract(pixels[..., :2], np.float32(_KITTI_ZERO), dtype=np.float32)
    flow *= np.float32(1 / 64)
    return flow, _blanked(flow, valid)


def write_kitti(path: PathLike, flow: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Write flow [H,W,2], rounded to 1/64 px; pixels where ``valid`` is False are all zero, as in KITTI's own files.

    Raises as :func:`write_flo`, and for a valid flow outside -512 to 511.98 px.
    """
    valid = _writable(path, flow, valid)
    steps = np.array(flow, dtype=np.float32, order="C")
    _blanked(steps, valid)
    steps *= np.float32(64.0)  # exact, and so is every sum below 2^24
    np.rint(steps, out=steps)
    if steps.min() < -_KITTI_ZERO or steps.max() >= _KITTI_ZERO:
        raise ValueError(f"{path}: a valid flow is outside -512 to 511.98 px, which a KITTI .png cannot hold")
    steps += np.float32(_KITTI_ZERO)
    _blanked(steps, valid)
    write_png(path, np.dstack([valid, steps[..., ::-1]]).astype(np.uint16))  # OpenCV's order: valid, v, u


# --- Spring's .flo5 ---


def _flo5_size(path: PathLike) -> Size:
    with _opened_flo5(path) as stored:
        return (int(stored.shape[0]) + 1) // 2, (int(stored.shape[1]) + 1) // 2


def read_flo5(path: PathLike) -> Flow:
    """Flow float32 [H,W,2] (u right, v down, px; 0 where unknown) and valid bool [H,W] of a .flo5 file of Spring.

    The data set ``flow`` of an HDF5 file, on the grid of the images at twice their size: every second value of each
    axis is the flow on their own; NaN is unknown.
    Raises BadSample: another kind of file, one whose values lie in other files (links, virtual data sets, external
    storage: none is opened), absurd sizes of data or chunks, infinity.  DataError: h5py is not installed.
    """
    with _opened_flo5(path) as stored:
        whole = np.asarray(stored[...], dtype=np.float32)
    flow = np.ascontiguousarray(whole[::2, ::2])
    return flow, _known(path, flow)


@contextmanager
def _opened_flo5(path: PathLike) -> Iterator[Any]:
    """The data set ``flow`` of an HDF5 file, its kind, place, size, chunks and stored length checked."""
    try:
        import h5py  # nothing else needs it
    except ImportError:
        needed = "needs h5py, which is not installed: pip install 'edgeflownas[spring]'"
        raise DataError(f"{path}: reading .flo5 (Spring) {needed}") from None
    with open_regular(path) as (_, status):
        length = status.st_size
    try:
        with h5py.File(path, "r") as file:
            links = file.id.links
            if links.exists(b"flow") and links.get_info(b"flow").type != h5py.h5l.TYPE_HARD:
                raise BadSample(path, "its data set 'flow' is a link, perhaps out of the file: such files are not read")
            stored: Any = file["flow"] if links.exists(b"flow") else None
            if isinstance(stored, h5py.Dataset):
                _check_storage(path, stored, h5py)
            shape = getattr(stored, "shape", None)
            if shape is None or len(shape) != 3 or shape[2] != 2 or stored.dtype.kind != "f":
                raise BadSample(path, "holds no data set 'flow' of shape [2H,2W,2] and floating-point values")
            _check_size(path, int(shape[0]), int(shape[1]))
            if shape[0] * shape[1] > limits.HDF5_PIXELS:
                raise BadSample(path, f"claims {shape[0]}x{shape[1]} values, expected at most {limits.HDF5_PIXELS}")
            if shape[0] * shape[1] * 8 > limits.DEFLATE * length:
                raise BadSample(path, f"is {length} bytes long, which no {shape[0]}x{shape[1]} flow can be")
            yield stored
    except BadSample:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
        raise BadSample(path, f"cannot be read as HDF5: {error}") from None


def _check_storage(path: PathLike, stored: Any, h5py: Any) -> None:
    """Raise BadSample where values lie outside the file, or a chunk takes much more memory than the flow."""
    made = stored.id.get_create_plist()  # asked first: the shape of a virtual data set may come from other files
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
        raise BadSample(path, "keeps its flow in other files (virtual or external storage): such files are not read")
    if made.get_layout() == h5py.h5d.CHUNKED:
        chunk = made.get_chunk()
        if math.prod(chunk) * stored.dtype.itemsize > limits.HDF5_CHUNK:
            shown = "x".join(map(str, chunk))
            raise BadSample(path, f"has chunks of {shown} values, expected at most {limits.HDF5_CHUNK} bytes each")


class _Format(NamedTuple):
    size: Callable[[PathLike], Size]
    read: Callable[[PathLike], Flow]
    write: Callable[[PathLike, NDArray[np.float32], NDArray[np.bool_] | None], None] | None


_FORMATS = {
    ".flo": _Format(partial(_size_of, header_of=_flo_header), read_flo, write_flo),
    ".pfm": _Format(partial(_size_of, header_of=_pfm_header), _read_pfm_flow, _write_pfm_flow),
    ".png": _Format(partial(_size_of, header_of=_kitti_header), read_kitti, write_kitti),
    ".flo5": _Format(_flo5_size, read_flo5, None),
}
