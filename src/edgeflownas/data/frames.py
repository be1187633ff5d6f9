"""Frames to estimate motion between: two pictures, a folder of them, or a video file."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.images import SUFFIXES, is_picture, picture_size, read_picture
from edgeflownas.errors import BadSample, ConfigError, DataError
from edgeflownas.files import open_regular

Note = Callable[[str], None]


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

    def pairs(self, note: Note) -> Iterator[tuple[Frame, Frame]]:
        """Consecutive frames; ``note`` is told what was converted or is missing.

        Raises BadSample: a frame that cannot be read; DataError: two frames of different sizes.
        """
        for first, second in pairwise(self.read(note)):
            if first.image.shape != second.image.shape:
                raise DataError(_sizes_differ(first.origin, first.image.shape, second.origin, second.image.shape))
            yield first, second


def open_frames(inputs: list[Path]) -> Frames:
    """Two pictures, or one folder or video file.  Headers and sizes are checked; nothing is decoded yet.

    Raises ConfigError: another number of inputs.
    Raises DataError: a missing file or folder, fewer than two frames, different sizes, a file that is no video.
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
        if size != other_size:
            raise DataError(_sizes_differ(str(path), size, str(other), other_size))
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

    return Frames(kind, place, len(paths), read)


def _sizes_differ(first: str, size: tuple[int, ...], second: str, other: tuple[int, ...]) -> str:
    return (
        f"{second}: {other[0]}x{other[1]}, but {first} is {size[0]}x{size[1]} (height x width): frames of one pair "
        "must have one size; crop or scale them alike"
    )


def _video(path: Path) -> Frames:
    with open_regular(path):  # missing, unreadable, a pipe: said in our words
        pass
    with _opened(path) as capture:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count < 2:  # not stored in every kind of file
            count = 0
            while capture.grab():
                count += 1
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

    return Frames("video", path.parent, count, read)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path.absolute()))
    try:
        if not capture.isOpened():
            raise BadSample(
                path,
                f"is neither an image ({', '.join(SUFFIXES)}) nor a video that OpenCV can read (mp4, avi, mkv, ...): "
                "convert it, e.g. to a folder of PNG frames",
            )
        yield capture
    finally:
        capture.release()
