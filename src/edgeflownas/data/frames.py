"""Frames to estimate motion between: two pictures, a folder of them, or a video file.

An image of a data set is refused unless it is exactly what it should be (data/formats.py).  A picture from a camera is
turned into RGB instead, and whoever asked is told; it is untrusted no less.
"""

import contextlib
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas import limits
from edgeflownas.data.formats import PNG, PNM, SIZES, as_rgb, check_chunks, decoded_pixels, form_in_words, plausible
from edgeflownas.errors import BadSample, ConfigError, DataError
from edgeflownas.files import fill, open_regular

Note = Callable[[str], None]
SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".pgm")  # what pictures are called

_KINDS = (
    f"expected an image ({', '.join(SUFFIXES)}) or a video that OpenCV can read (mp4, avi, mkv, ...): convert it, "
    "e.g. to a folder of PNG frames"
)
_JPEG = b"\xff\xd8\xff"
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_HEAD = 2**18  # bytes that hold the header of a JPEG behind the usual preview and colour profile


class Frame(NamedTuple):
    """One picture, uint8 [H,W,3] RGB; ``name`` is unique among the frames, ``origin`` says where it is."""

    name: str
    origin: str
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class Frames:
    """Frames in their order, decoded as they are asked for."""

    kind: str  # pair, folder or video
    place: Path  # the folder that holds them
    count: int  # of a video: what the file says, which may be off
    read: Callable[[Note], Iterator[Frame]]
    name: str = "frames"  # of the folder or the video
    rate: float = 10.0  # frames a second; of pictures a guess

    def pairs(self, note: Note) -> Iterator[tuple[Frame, Frame]]:
        """Consecutive frames; ``note`` is told what was converted or is missing.  Raises BadSample, DataError."""
        for first, second in pairwise(self.read(note)):
            _require_one_size(first.origin, first.image.shape, second.origin, second.image.shape)
            yield first, second


def open_frames(inputs: list[Path]) -> Frames:
    """Two pictures, or one folder or video file.  Headers and sizes are checked; nothing is decoded yet.

    Raises ConfigError: another number of inputs.  DataError: a missing file, too few frames, different sizes, no video.
    """
    if len(inputs) == 2:
        return _pictures("pair", inputs[0].parent, inputs)
    if len(inputs) != 1:
        raise ConfigError(f"{len(inputs)} inputs: give two images, or one folder of frames, or one video file")
    (path,) = inputs
    if path.is_dir():
        return _folder(path)
    if is_picture(path):
        raise DataError(f"{path}: a single image; flow needs two: give the next frame as well, or a folder")
    return _video(path)


def _folder(folder: Path) -> Frames:
    def natural(name: str) -> tuple[list[tuple[int, str]], str]:  # frame10 comes after frame9
        parts = re.split(r"(\d+)", name)
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name

    names = [name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    paths = [folder / name for name in sorted(names, key=natural)]
    if len(paths) < 2:
        found = f"one frame ({paths[0].name})" if paths else "no frames"
        raise DataError(f"{folder}: {found}, expected at least two images ({', '.join(SUFFIXES)}) in it")
    halves = [path.stem for path in paths if path.stem.endswith(("-img_0", "-img_1"))]
    if len(halves) > 2:
        raise DataError(
            f"{folder}: holds separate pairs ({halves[0]}, ...), not the frames of one motion: give the two images of "
            "a pair, or score all of them with edgeflownas evaluate --data"
        )
    return _pictures("folder", folder, paths)


def _pictures(kind: str, place: Path, paths: list[Path]) -> Frames:
    sizes = [picture_size(path) for path in paths]
    for (path, size), (other, other_size) in pairwise(zip(paths, sizes, strict=True)):
        _require_one_size(path, size, other, other_size)
    stems = [path.stem for path in paths]
    if kind == "folder" and len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(f"{place}: {twice} is there twice, under two endings: remove or rename one of them")

    def read(note: Note) -> Iterator[Frame]:
        told: set[str] = set()
        for path in paths:
            image, converted = read_picture(path)
            if converted and converted not in told:
                told.add(converted)
                note(f"{path}: {converted}" + (" (said once)" if len(paths) > 2 else ""))
            yield Frame(path.stem, str(path), image)

    return Frames(kind, place, len(paths), read, place.resolve().name if kind == "folder" else stems[0])


def _require_one_size(first: object, size: tuple[int, ...], second: object, other: tuple[int, ...]) -> None:
    if size != other:
        raise DataError(
            f"{second}: {other[0]}x{other[1]}, but {first} is {size[0]}x{size[1]} (height x width): frames of one pair "
            "must have one size; crop or scale them alike"
        )


def _video(path: Path) -> Frames:
    with open_regular(path) as (descriptor, _):  # missing, unreadable, a pipe: said in our words
        head = os.pread(descriptor, 512, 0)
    if head.isascii() and head.decode("ascii").replace("\n", "").replace("\r", "").isprintable():
        raise BadSample(path, f"is text; {_KINDS}")  # a play list would make the reader open what it names
    with _opened(path) as capture:
        sides = [int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        if max(sides) > limits.SIDE or sides[0] * sides[1] > limits.VIDEO_PIXELS:
            most = f"{limits.SIDE} a side and {limits.VIDEO_PIXELS} pixels"
            raise BadSample(path, f"claims frames of {sides[0]}x{sides[1]} pixels, expected at most {most}")
        count, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
        if count < 2:  # not stored in every kind of file
            count = sum(1 for _ in iter(capture.grab, False))
    if count < 2:
        raise DataError(f"{path}: {count or 'no'} readable frame{'' if count else 's'}, flow needs at least two")

    def read(note: Note) -> Iterator[Frame]:
        number = 0
        with _opened(path) as capture:
            while (found := capture.read())[0]:
                rgb = np.asarray(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB), np.uint8)
                yield Frame(f"frame_{number:06d}", f"{path} frame {number}", rgb)
                number += 1
        if number < count:
            note(f"{path}: {number} of {count} frames can be read; the file is cut off, or its header counts wrong")
        if number < 2:
            raise DataError(f"{path}: {number or 'no'} readable frame{'' if number else 's'}, flow needs two")

    return Frames("video", path.parent, count, read, path.stem, rate if 1.0 <= rate <= 1000.0 else 10.0)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path.absolute()))
    try:
        if not capture.isOpened():
            raise BadSample(path, f"cannot be opened; {_KINDS}")
        yield capture
    finally:
        capture.release()


# --- pictures as people have them: their headers, and their pixels as RGB ---


def is_picture(path: Path) -> bool:
    """Whether the file begins like a picture of a known kind.  Raises BadSample or StorageError where unreadable."""
    head = _beginning(path, _HEAD)
    return head.startswith((PNG, _JPEG)) or PNM.match(head) is not None


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header.  Raises BadSample: no known kind, or absurd dimensions."""
    head = _beginning(path, _HEAD)
    if head.startswith(_JPEG) and len(head) == _HEAD and _jpeg_frame(head) is None:
        head = _beginning(path, limits.PICTURE)
    return _picture_size(path, head)


def read_picture(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Pixels uint8 [H,W,3] RGB, and what was done to get them (empty: nothing).

    Gray is repeated, an alpha channel dropped, 16 bits are scaled to 8, EXIF orientation left alone.
    Raises BadSample: as :func:`picture_size`, or a file that is cut off or does not decode.
    """
    data = _beginning(path, limits.PICTURE)
    size = _picture_size(path, data)
    if data.startswith(PNG):
        check_chunks(path, data, to_the_end=False)
    elif data.startswith(_JPEG):
        if data.rfind(b"\xff\xd9") < (_jpeg_frame(data) or 0):  # a preview has an end mark too, before the frame
            raise BadSample(path, "is cut off: the end mark of a JPEG is missing")
    elif match := PNM.match(data):
        expected = match.end() + size[0] * size[1] * (3 if data[:2] == b"P6" else 1) * (1 + (match[3] != b"255"))
        if len(data) < expected:
            raise BadSample(path, f"is cut off: {len(data)} bytes, expected {expected}")
    decoded = decoded_pixels(path, np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, size, "", "")
    form = decoded.dtype.itemsize * 8, decoded.ndim == 2, decoded.ndim == 3 and decoded.shape[2] == 4
    return as_rgb(decoded), form_in_words(*form)


def _beginning(path: Path, limit: int) -> bytes:
    with open_regular(path) as (descriptor, status):
        if status.st_size > limits.PICTURE:
            raise BadSample(path, f"is {status.st_size} bytes long, expected a picture of at most {limits.PICTURE}")
        data = bytearray(min(limit, status.st_size))
        fill(path, descriptor, memoryview(data), 0)
    return bytes(data)


def _picture_size(path: Path, head: bytes) -> tuple[int, int]:
    if head.startswith(PNG) and len(head) >= 33:
        width, height = struct.unpack(">II", head[16:24])
    elif head.startswith(_JPEG) and (frame := _jpeg_frame(head)) is not None:
        bits, height, width = struct.unpack(">BHH", head[frame + 4 : frame + 9])
        if bits > 8:
            raise BadSample(path, f"has {bits} bits a channel, expected 8: convert it")
    elif (match := PNM.match(head)) is not None:
        width, height, largest = (int(number) for number in match.groups())
        if largest not in (255, 65535):
            raise BadSample(path, f"has values up to {largest}, expected 255 or 65535: convert it")
    else:
        raise BadSample(path, f"is no PNG, JPEG, PPM or PGM with a readable header (it starts with {head[:8]!r})")
    if not plausible(height, width):
        raise BadSample(path, f"claims {height}x{width} pixels, {SIZES}")
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
