"""Frames from two images, a folder or a video, and every way in which they are not usable."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.data.frames import open_frames
from edgeflownas.errors import BadSample, ConfigError, DataError


def frame(number: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), 20 * number + 10, np.uint8)


def folder_of(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), frame(number))
    return folder


def video_of(path: Path, count: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for number in range(count):
        writer.write(frame(number))
    writer.release()
    return path


def names(inputs: list[Path], notes: list[str] | None = None) -> list[tuple[str, str]]:
    said: list[str] = [] if notes is None else notes
    return [(first.name, second.name) for first, second in open_frames(inputs).pairs(said.append)]


def test_two_images_are_one_pair(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "b.png", "a.png")
    assert names([folder / "b.png", folder / "a.png"]) == [("b", "a")]  # in the order given


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", "f10.png", "f9.png", "f1.jpg", "f2.ppm")
    (folder / "notes.txt").write_text("no frame")
    (folder / ".f3.png").write_text("hidden")
    frames = open_frames([folder])
    assert frames.count == 4 and names([folder]) == [("f1", "f2"), ("f2", "f9"), ("f9", "f10")]


def test_what_was_converted_is_said_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png", "b.png", "c.png")
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), frame(3)[..., 0])
    notes: list[str] = []
    assert len(names([folder], notes)) == 2
    assert len(notes) == 1 and "gray" in notes[0] and "a.png" in notes[0]


def test_a_video_gives_its_frames(tmp_path: Path) -> None:
    frames = open_frames([video_of(tmp_path / "v.avi", 4)])
    pairs = list(frames.pairs(lambda text: pytest.fail(text)))
    assert (frames.kind, frames.count) == ("video", 4)
    assert [first.name for first, _ in pairs] == ["frame_000000", "frame_000001", "frame_000002"]
    assert abs(int(pairs[2][1].image.mean()) - 70) <= 2


def test_a_video_with_one_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 readable frame, flow needs at least two"):
        open_frames([video_of(tmp_path / "v.avi", 1)])


def test_a_file_that_is_neither_image_nor_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"hello" * 100)
    with pytest.raises(BadSample, match="nor a video that OpenCV can read"):
        open_frames([path])


def test_numbers_of_inputs(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png", "b.png", "c.png")
    with pytest.raises(ConfigError, match="3 inputs: give two images"):
        open_frames([folder / name for name in ("a.png", "b.png", "c.png")])
    with pytest.raises(DataError, match="a single image; flow needs two"):
        open_frames([folder / "a.png"])
    with pytest.raises(BadSample, match="does not exist"):
        open_frames([tmp_path / "missing"])
    with pytest.raises(BadSample, match="does not exist"):
        open_frames([folder / "a.png", folder / "missing.png"])
    with pytest.raises(BadSample, match="is not a regular file"):
        open_frames([folder / "a.png", folder])


@pytest.mark.parametrize(("files", "text"), [((), "no frames"), (("a.png",), r"one frame \(a.png\)")])
def test_too_few_frames_in_a_folder(tmp_path: Path, files: tuple[str, ...], text: str) -> None:
    with pytest.raises(DataError, match=text):
        open_frames([folder_of(tmp_path / "in", *files)])


def test_two_frames_of_one_name_would_write_one_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a is there twice"):
        open_frames([folder_of(tmp_path, "a.png", "a.jpg", "b.png")])


def test_sizes_are_compared_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a.png", "b.png", "c.png")
    cv2.imwrite(str(folder / "c.png"), frame(0, 20, 30))
    with pytest.raises(DataError, match=r"c.png: 20x30, but .*b.png is 24x32"):
        open_frames([folder])
