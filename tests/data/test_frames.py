"""Frames from two images, a folder or a video, every way in which they are not usable, and pictures turned into RGB."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import written

from edgeflownas.data.frames import is_picture, open_frames, picture_size, read_picture
from edgeflownas.errors import BadSample, ConfigError, DataError

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3)).astype(np.uint8)


def frame(number, height=24, width=32):
    return np.full((height, width, 3), 20 * number + 10, np.uint8)


def folder_of(folder, *names):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), frame(number))
    return folder


def video_of(path, count):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for number in range(count):
        writer.write(frame(number))
    writer.release()
    return path


def names(inputs, notes=None):
    said: list[str] = [] if notes is None else notes
    return [(first.name, second.name) for first, second in open_frames(inputs).pairs(said.append)]


def test_two_images_are_one_pair_and_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    folder = folder_of(tmp_path, "b.png", "a.png")
    assert names([folder / "b.png", folder / "a.png"]) == [("b", "a")]  # in the order given
    folder = folder_of(tmp_path / "in", "f10.png", "f9.png", "f1.jpg", "f2.ppm")
    (folder / "notes.txt").write_text("no frame")
    (folder / ".f3.png").write_text("hidden")
    frames = open_frames([folder])
    assert frames.count == 4 and names([folder]) == [("f1", "f2"), ("f2", "f9"), ("f9", "f10")]


def test_what_was_converted_is_said_once(tmp_path):
    folder = folder_of(tmp_path, "a.png", "b.png", "c.png")
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), frame(3)[..., 0])
    notes: list[str] = []
    assert len(names([folder], notes)) == 2 and len(notes) == 1 and "gray" in notes[0] and "a.png" in notes[0]


def test_a_video_gives_its_frames(tmp_path):
    frames = open_frames([video_of(tmp_path / "v.avi", 4)])
    pairs = list(frames.pairs(lambda text: pytest.fail(text)))
    assert (frames.kind, frames.count) == ("video", 4)
    assert [first.name for first, _ in pairs] == ["frame_000000", "frame_000001", "frame_000002"]
    assert abs(int(pairs[2][1].image.mean()) - 70) <= 2


@pytest.mark.parametrize(
    ("inputs", "error", "said"),
    [
        (("a.png", "b.png", "c.png"), ConfigError, "3 inputs: give two images"),
        (("a.png",), DataError, "a single image; flow needs two"),
        (("missing",), BadSample, "does not exist"),
        (("a.png", "missing.png"), BadSample, "does not exist"),
        (("a.png", "."), BadSample, "is not a regular file"),
        (("text.mp4",), BadSample, "is text; expected an image .* or a video that OpenCV can read"),
        (("one.avi",), DataError, "1 readable frame, flow needs at least two"),
        (("empty",), DataError, "no frames"),
        (("single",), DataError, r"one frame \(a.png\)"),
        (("twice",), DataError, "a is there twice"),  # two frames of one name would write one file
        (("sizes",), DataError, r"c.png: 20x30, but .*b.png is 24x32"),  # before anything is decoded
    ],
)
def test_what_is_not_usable_is_refused(tmp_path, inputs, error, said):
    folder_of(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "text.mp4").write_bytes(b"hello" * 100)
    if inputs == ("one.avi",):
        video_of(tmp_path / "one.avi", 1)
    folder_of(tmp_path / "empty")
    folder_of(tmp_path / "single", "a.png")
    folder_of(tmp_path / "twice", "a.png", "a.jpg", "b.png")
    folder_of(tmp_path / "sizes", "a.png", "b.png", "c.png")
    cv2.imwrite(str(tmp_path / "sizes" / "c.png"), frame(0, 20, 30))
    with pytest.raises(error, match=said):
        open_frames([tmp_path / name for name in inputs])


# --- pictures as people have them ---


@pytest.mark.parametrize(
    ("name", "image", "said"),
    [
        ("a.png", RGB[..., ::-1], ""),
        ("a.ppm", RGB[..., ::-1], ""),
        ("a.png", np.dstack([RGB[..., ::-1], np.full((10, 14), 7, np.uint8)]), "alpha"),
        ("a.png", RGB[..., 0], "gray"),
        ("a.pgm", RGB[..., 0], "gray"),
        ("a.jpg", RGB[..., 0], "gray"),
        ("a.jpg", RGB[..., ::-1], ""),
    ],
)
def test_pictures_come_back_as_rgb_and_what_was_done_is_said(tmp_path, name, image, said):
    if name == "a.jpg" and image.ndim == 3:  # smooth, so that what is lost is little
        image = cv2.resize(RGB[:3, :4], (14, 10), interpolation=cv2.INTER_LINEAR)[..., ::-1]
    path = written(tmp_path / name, image)
    read, converted = read_picture(path)
    assert (said in converted) if said else converted == ""
    assert picture_size(path) == (10, 14) and is_picture(path) and read.shape == (10, 14, 3)
    expected = np.dstack([image] * 3) if image.ndim == 2 else image[..., 2::-1]
    if name != "a.jpg":
        assert (read == expected).all()
    elif image.ndim == 2:
        assert (read[..., 0] == read[..., 2]).all()
    else:
        assert np.abs(read.astype(int) - expected).mean() < 12


def test_sixteen_bits_are_scaled(tmp_path):
    for name in ("a.png", "a.ppm"):
        path = written(tmp_path / name, RGB[..., ::-1].astype(np.uint16) * 257)
        read, said = read_picture(path)
        assert picture_size(path) == (10, 14) and said == "16 bits scaled to 8" and np.array_equal(read, RGB)


def absurd(_):
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0) + b"0000"


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        *((name, lambda data: data[:-20], "cut off") for name in ("a.png", "a.jpg", "a.ppm", "a.pgm")),
        ("a.png", lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "checksum"),
        ("a.png", absurd, "claims 60000x60000"),
    ],
)
def test_a_damaged_copy_is_refused_before_decoding(tmp_path, name, damage, said):
    path = written(tmp_path / name, RGB if name != "a.pgm" else RGB[..., 0])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadSample, match=said):
        read_picture(path)


def test_a_preview_inside_a_jpeg_is_not_its_size(tmp_path):
    small = cv2.imencode(".jpg", RGB[:4, :4])[1].tobytes()
    large = written(tmp_path / "a.jpg", RGB).read_bytes()
    preview = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    path = tmp_path / "b.jpg"
    path.write_bytes(large[:2] + preview + large[2:])
    assert picture_size(path) == (10, 14) and read_picture(path)[0].shape == (10, 14, 3)
    path.write_bytes((large[:2] + preview + large[2:])[:-30])
    with pytest.raises(BadSample, match="cut off"):
        read_picture(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([".png", ".jpg", ".ppm", ""]), data=st.data())
def test_any_bytes_are_a_picture_or_a_bad_sample(tmp_path, kind, data):
    good = cv2.imencode(kind, RGB)[1].tobytes() if kind else b""
    place = data.draw(st.integers(0, len(good)))
    content = good[:place] + data.draw(st.binary(max_size=40)) + good[place + data.draw(st.integers(0, 40)) :]
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        image, _ = read_picture(path)
    except BadSample as problem:
        assert str(path) in str(problem)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
