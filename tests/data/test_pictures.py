"""Pictures as people have them: conversions are said, damage is refused before or while decoding."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeflownas.data.images import is_picture, picture_size, read_picture
from edgeflownas.errors import BadSample

RGB = np.random.default_rng(0).integers(0, 256, (10, 14, 3)).astype(np.uint8)


def written(folder: Path, name: str, image: np.ndarray) -> Path:
    path = folder / name
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.ppm"])
def test_lossless_colour_comes_back_as_rgb_without_a_word(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, RGB[..., ::-1])
    picture = read_picture(path)
    assert picture.converted == "" and (picture.image == RGB).all()
    assert picture_size(path) == (10, 14) and is_picture(path)


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = cv2.resize(RGB[:3, :4], (14, 10), interpolation=cv2.INTER_LINEAR)
    path = written(tmp_path, "a.jpg", smooth[..., ::-1])
    image, converted = read_picture(path)
    assert picture_size(path) == (10, 14) and converted == ""
    assert np.abs(image.astype(int) - smooth).mean() < 12


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.pgm"])
def test_gray_is_repeated_and_said(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, RGB[..., 0])
    image, converted = read_picture(path)
    assert image.shape == (10, 14, 3) and (image[..., 0] == image[..., 2]).all() and "gray" in converted
    if name != "a.jpg":
        assert (image[..., 1] == RGB[..., 0]).all()


def test_alpha_is_dropped_and_said(tmp_path: Path) -> None:
    alpha = np.full((10, 14, 1), 7, np.uint8)
    image, converted = read_picture(written(tmp_path, "a.png", np.concatenate([RGB[..., ::-1], alpha], axis=-1)))
    assert (image == RGB).all() and "alpha" in converted


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match="16 bits a channel, expected 8"):
        read_picture(written(tmp_path, "a.png", RGB.astype(np.uint16) * 200))
    with pytest.raises(BadSample, match="16 bits"):
        picture_size(written(tmp_path, "a.ppm", RGB.astype(np.uint16) * 200))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.ppm", "a.pgm"])
def test_a_copy_that_was_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, RGB if name != "a.pgm" else RGB[..., 0])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 20])
    with pytest.raises(BadSample, match="cut off"):
        read_picture(path)


def test_a_changed_byte_of_a_png_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, "a.png", RGB)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadSample, match="checksum"):
        read_picture(path)


def test_a_header_that_claims_too_much_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0) + b"0000")
    with pytest.raises(BadSample, match="claims 60000x60000"):
        read_picture(path)


def test_a_preview_inside_a_jpeg_is_not_its_size(tmp_path: Path) -> None:
    small = cv2.imencode(".jpg", RGB[:4, :4])[1].tobytes()
    large = written(tmp_path, "a.jpg", RGB).read_bytes()
    preview = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    path = tmp_path / "b.jpg"
    path.write_bytes(large[:2] + preview + large[2:])
    assert picture_size(path) == (10, 14) and read_picture(path).image.shape == (10, 14, 3)
    path.write_bytes((large[:2] + preview + large[2:])[:-30])
    with pytest.raises(BadSample, match="cut off"):
        read_picture(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([".png", ".jpg", ".ppm", ""]), data=st.data())
def test_any_bytes_are_a_picture_or_a_bad_sample(tmp_path: Path, kind: str, data: st.DataObject) -> None:
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
