"""Readers of files that cannot be trusted: only sound files are read, everything else is refused by name."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeflownas.data.formats import FLO_UNKNOWN, flo_size, images, read_flo, write_flo
from edgeflownas.data.images import image_size, read_image
from edgeflownas.errors import BadSample

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def flo_bytes(width: int, height: int, values: NDArray[np.float32], magic: bytes = b"PIEH") -> bytes:
    return magic + struct.pack("<ii", width, height) + values.astype("<f4").tobytes()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bytes(width: int, height: int, raw: bytes, depth: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def some_image(height: int = 6, width: int = 9, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_png(path: Path, image: NDArray[np.uint8], *flags: int) -> None:
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image, list(flags))


# --- .flo ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_written_flow_is_read_back_to_the_bit(height: int, width: int, data: st.DataObject) -> None:
    value = st.floats(-1e9, 1e9, width=32)
    flow = np.array(data.draw(st.lists(value, min_size=height * width * 2, max_size=height * width * 2)), np.float32)
    flow = flow.reshape(height, width, 2)
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
    valid = valid.reshape(height, width)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.flo"
        write_flo(path, flow, valid)
        read, read_valid = read_flo(path)
        assert flo_size(path) == (height, width)
        assert os.listdir(folder) == ["a.flo"]
    assert read.dtype == np.float32 and read_valid.dtype == np.bool_
    assert np.array_equal(read_valid, valid)
    assert np.array_equal(read[valid], flow[valid]) and (read[~valid] == 0).all()


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=64),
        st.builds(
            lambda w, h, body: b"PIEH" + struct.pack("<ii", w, h) + body,
            st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3),
            st.integers(-(2**31), 2**31 - 1) | st.integers(0, 3),
            st.binary(max_size=80),
        ),
    )
)
def test_any_bytes_give_a_finite_flow_or_a_bad_sample(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.flo"
        path.write_bytes(content)
        try:
            flow, valid = read_flo(path)
        except BadSample as error:
            assert str(path) in str(error)
            return
    assert np.isfinite(flow).all() and flow.shape == (*valid.shape, 2)
    assert len(content) == 12 + flow.nbytes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "too short"),
        (b"PIEH\x02\0\0\0", "too short"),
        (flo_bytes(3, 2, np.zeros(12, np.float32), b"HEIP"), "big-endian"),
        (flo_bytes(3, 2, np.zeros(12, np.float32), b"PIEG"), "not a .flo file"),
        (flo_bytes(3, 2, np.zeros(11, np.float32)), "cut off: 56 bytes, a 2x3 flow takes exactly 60"),
        (flo_bytes(3, 2, np.zeros(12, np.float32)) + b"\0", "too long: 61 bytes"),
        (flo_bytes(30000, 30000, np.zeros(4, np.float32)), "claims 30000x30000"),
        (flo_bytes(16384, 16384, np.zeros(4, np.float32)), "at most 2^27"),
        (flo_bytes(0, 2, np.zeros(0, np.float32)), "claims 2x0"),
        (flo_bytes(-1, 2, np.zeros(0, np.float32)), "claims 2x-1"),
        (flo_bytes(3, 1, np.array([0, 0, 0, np.nan, 0, 0], np.float32)), "not finite, first at row 0, column 1"),
        (flo_bytes(3, 1, np.array([0, 0, 0, 0, -np.inf, 2e9], np.float32)), "not finite, first at row 0, column 2"),
    ],
)
def test_faulty_flo_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "0000007-flow_01.flo"
    path.write_bytes(content)
    with pytest.raises(BadSample) as caught:
        read_flo(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert caught.value.exit_code == 65


def test_every_sixteenth_of_a_flo_is_refused(tmp_path: Path) -> None:
    whole = flo_bytes(16, 12, np.ones(16 * 12 * 2, np.float32))
    path = tmp_path / "a.flo"
    for part in range(16):
        path.write_bytes(whole[: len(whole) * part // 16])
        for reader in (read_flo, flo_size):
            with pytest.raises(BadSample):
                reader(path)


def test_absurd_claims_allocate_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flo"
    path.write_bytes(flo_bytes(8192, 16384, np.zeros(4, np.float32)))  # 1 GiB claimed by 28 bytes, size itself allowed
    monkeypatch.setattr(np, "empty", lambda *a, **k: pytest.fail("allocated before the length was checked"))
    with pytest.raises(BadSample, match="cut off"):
        read_flo(path)


def test_unknown_flow_is_invalid_and_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    values = np.array([[1, 2], [FLO_UNKNOWN, FLO_UNKNOWN], [3, -1.5e9], [1e9, -1e9]], np.float32)
    path.write_bytes(flo_bytes(4, 1, values))
    flow, valid = read_flo(path)
    assert valid.tolist() == [[True, False, False, True]]
    assert flow.tolist() == [[[1, 2], [0, 0], [0, 0], [1e9, -1e9]]]


def test_flow_that_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.flo"
    for bad in (np.nan, np.inf, 2e9):
        flow = np.zeros((2, 3, 2), np.float32)
        flow[1, 1, 0] = bad
        with pytest.raises(ValueError, match="not finite or is beyond"):
            write_flo(path, flow)
        valid = np.ones((2, 3), bool)
        valid[1, 1] = False
        write_flo(path, flow, valid)
        assert np.array_equal(read_flo(path)[1], valid)
    with pytest.raises(ValueError, match=r"\[H,W,2\]"):
        write_flo(path, np.zeros((2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="valid must be bool"):
        write_flo(path, np.zeros((2, 2, 2), np.float32), np.ones((2, 2), np.uint8))  # type: ignore[arg-type]


# --- images -------------------------------------------------------------------------------------------------------


def test_png_and_ppm_are_read_as_rgb(tmp_path: Path) -> None:
    image = some_image()
    write_png(tmp_path / "a.png", image)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# made by hand\n 9\t6 # size\n255\n" + image.tobytes())
    for name in ("a.png", "a.ppm"):
        assert image_size(tmp_path / name) == (6, 9)
        assert np.array_equal(read_image(tmp_path / name, (6, 9)), image)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.ppm"))[..., ::-1], image)  # our own header is a PPM to others


def test_image_of_another_size_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", some_image())
    monkeypatch.setattr(images, "decode_png", lambda *a: pytest.fail("decoded"))
    with pytest.raises(BadSample, match="is 6x9, expected 9x6"):
        read_image(tmp_path / "a.png", (9, 6))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 5), np.uint8), "8-bit gray"),
        (np.zeros((4, 5), np.uint16), "16-bit gray"),
        (np.zeros((4, 5, 3), np.uint16), "16-bit RGB"),
        (np.zeros((4, 5, 4), np.uint8), "8-bit RGB with alpha"),
    ],
)
def test_other_pixels_are_refused(tmp_path: Path, array: NDArray[np.uint8], said: str) -> None:
    write_png(tmp_path / "a.png", array)
    for reader in (image_size, read_image):
        with pytest.raises(BadSample, match=f"is {said}, expected 8-bit RGB"):
            reader(tmp_path / "a.png")


RAW = b"".join(b"\0" + row.tobytes() for row in some_image())
SOUND = png_bytes(9, 6, RAW)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"", "neither PNG nor"),
        ("a.png", SIGNATURE, "no PNG header"),
        ("a.png", b"\xff\xd8\xff\xe0 jpeg", "neither PNG nor"),
        ("a.ppm", SOUND, "is named .ppm but holds a .png"),
        ("a.png", b"P6 1 1 255\nabc", "is named .png but holds a .ppm"),
        ("a.png", png_bytes(60000, 60000, b"\0" * 1000), "claims 60000x60000"),
        ("a.png", png_bytes(2**31 - 1, 1, b""), "claims 1x2147483647"),
        ("a.png", png_bytes(16384, 8192, RAW), "which no 8192x16384 PNG can be"),
        ("a.png", png_bytes(9, 6, RAW, colour=3), "8-bit palette"),
        ("a.png", SOUND + b"\0", "does not end"),
        ("a.png", SOUND[:-20], "does not end"),
        ("a.png", SOUND[:60] + bytes([SOUND[60] ^ 1]) + SOUND[61:], "fails its checksum"),
        ("a.png", SOUND[:-12] + chunk(b"IDAT", b"")[:9] + SOUND[-12:], "damaged"),
        ("a.png", png_bytes(9, 6, RAW[:50]), "pixel data is damaged"),
        ("a.png", png_bytes(9, 6, b""), "pixel data is damaged"),
        ("a.pgm", b"P5 1 1 255\na", "gray PGM"),
        ("a.ppm", b"P6 1 1 65535\nabcdef", "up to 65535"),
        ("a.ppm", b"P6 1 1 255\nab", "cut off: 13 bytes"),
        ("a.ppm", b"P6 1 1 255\nabcd", "too long: 15 bytes"),
        ("a.ppm", b"P6 1 1 255", "no readable PPM header"),
        ("a.ppm", b"P6 -1 1 255\nabc", "no readable PPM header"),
        ("a.ppm", b"P6 1 1 # 255\nabc", "no readable PPM header"),
        ("a.ppm", b"P6 99999999 1 255\nabc", "claims 1x99999999"),
    ],
)
def test_faulty_images_are_refused_by_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSample) as caught:
        read_image(tmp_path / name)
    assert said in str(caught.value) and str(tmp_path / name) in str(caught.value)


@settings(max_examples=250, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255), st.integers(0, len(SOUND)))
def test_an_altered_or_cut_png_is_never_read(position: int, change: int, length: int) -> None:
    altered = SOUND[:position] + bytes([SOUND[position] ^ change]) + SOUND[position + 1 :]
    with tempfile.TemporaryDirectory() as folder:
        for content in (altered, SOUND[:length]):
            path = Path(folder) / "a.png"
            path.write_bytes(content)
            if content == SOUND:
                assert np.array_equal(read_image(path), some_image())
                continue
            with pytest.raises(BadSample):
                read_image(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"P6", b"P6 2 2 255\n", SIGNATURE, SOUND[:33]]))
def test_any_bytes_give_an_image_or_a_bad_sample(content: bytes, start: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz"
        path.write_bytes(start + content)
        try:
            image = read_image(path)
        except BadSample:
            return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
