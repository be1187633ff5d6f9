"""Images and masks that cannot be trusted are read whole or refused by name."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import written

from edgeflownas.data import formats
from edgeflownas.data.formats import image_form, image_size, mask_size, read_image, read_mask
from edgeflownas.errors import BadSample

SIGNATURE = b"\x89PNG\r\n\x1a\n"
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bytes(width, height, raw, depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


RAW = b"".join(b"\0" + row.tobytes() for row in IMAGE)
SOUND = png_bytes(9, 6, RAW)


def test_png_and_ppm_are_read_as_rgb(tmp_path):
    written(tmp_path / "a.png", IMAGE[..., ::-1])
    (tmp_path / "a.ppm").write_bytes(b"P6\n# made by hand\n 9\t6 # size\n255\n" + IMAGE.tobytes())
    for name in ("a.png", "a.ppm"):
        assert image_size(tmp_path / name) == (6, 9)
        assert np.array_equal(read_image(tmp_path / name, (6, 9)), IMAGE)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.ppm"))[..., ::-1], IMAGE)  # our own header is a PPM to others


def test_what_is_not_zero_is_set_in_a_mask(tmp_path):
    gray = np.array([[0, 1, 255], [0, 0, 128]], np.uint8)
    rgb = np.zeros((2, 3, 3), np.uint8)
    rgb[0, 1, 0], rgb[0, 2, 1], rgb[1, 2, 2] = 1, 255, 128
    for path in (written(tmp_path / "gray.png", gray), written(tmp_path / "rgb.png", rgb)):
        assert mask_size(path) == (2, 3) and np.array_equal(read_mask(path, (2, 3)), gray != 0)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_another_size_is_refused_before_decoding(tmp_path, monkeypatch, read):
    monkeypatch.setattr(formats, "_decode_png", lambda *a: pytest.fail("decoded"))
    with pytest.raises(BadSample, match="is 6x9, expected 9x6"):
        read(written(tmp_path / "a.png", IMAGE), (9, 6))


@pytest.mark.parametrize(
    ("shape", "kind", "said", "as_mask"),
    [
        ((4, 5), np.uint8, "gray repeated in the three channels", None),
        ((4, 5), np.uint16, "gray repeated in the three channels, 16 bits scaled to 8", "16-bit gray, expected 8-bit"),
        ((4, 5, 3), np.uint16, "16 bits scaled to 8", "16-bit RGB"),
        ((4, 5, 4), np.uint8, "alpha channel dropped", "with alpha"),
        ((4, 5, 4), np.uint16, "alpha channel dropped, 16 bits scaled to 8", "with alpha"),
    ],
)
def test_other_pixels_become_rgb_but_no_mask(tmp_path, shape, kind, said, as_mask):
    wide = kind is np.uint16
    eight = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    path = written(tmp_path / "a.png", eight.astype(np.uint16) * 257 if wide else eight)
    assert image_form(path) == ((4, 5), said)
    expected = np.dstack([eight] * 3) if len(shape) == 2 else eight[..., 2::-1]
    assert np.array_equal(read_image(path, (4, 5)), expected)
    for reader in (mask_size, read_mask) if as_mask else ():
        with pytest.raises(BadSample, match=as_mask):
            reader(path)


def test_a_palette_and_few_bits_are_read(tmp_path):
    palette = chunk(b"PLTE", bytes([1, 2, 3, 200, 100, 50]))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, 1, 3, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + bytes([0b01010101])))
    (tmp_path / "palette.png").write_bytes(SIGNATURE + header + palette + pixels + chunk(b"IEND", b""))
    (tmp_path / "bits.png").write_bytes(png_bytes(8, 1, b"\0" + bytes([0b01010101]), depth=1, colour=0))
    assert read_image(tmp_path / "palette.png")[0, :2].tolist() == [[1, 2, 3], [200, 100, 50]]
    assert read_image(tmp_path / "bits.png")[0, :2].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert "palette" in image_form(tmp_path / "palette.png")[1] and "gray" in image_form(tmp_path / "bits.png")[1]
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([255, 255, 128, 128]))
    assert read_image(tmp_path / "a.pgm").tolist() == [[[255] * 3, [128] * 3]]
    assert image_form(tmp_path / "a.pgm")[1] == "gray repeated in the three channels, 16 bits scaled to 8"


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
        ("a.png", png_bytes(9, 6, RAW, colour=3), "pixel data is damaged"),
        ("a.png", png_bytes(9, 6, RAW, depth=3), "is 3-bit RGB, expected gray, RGB or a palette"),
        ("a.png", SOUND + b"\0", "does not end"),
        ("a.png", SOUND[:-20], "does not end"),
        ("a.png", SOUND[:60] + bytes([SOUND[60] ^ 1]) + SOUND[61:], "fails its checksum"),
        ("a.png", SOUND[:-12] + chunk(b"IDAT", b"")[:9] + SOUND[-12:], "damaged"),
        ("a.png", png_bytes(9, 6, RAW[:50]), "pixel data is damaged"),
        ("a.png", png_bytes(9, 6, b""), "pixel data is damaged"),
        ("a.pgm", b"P5 1 1 255\nab", "too long: 13 bytes, this 1x1 PGM"),
        ("a.ppm", b"P6 1 1 1023\nabcdef", "up to 1023"),
        ("a.ppm", b"P6 1 1 255\nab", "cut off: 13 bytes"),
        ("a.ppm", b"P6 1 1 255\nabcd", "too long: 15 bytes"),
        ("a.ppm", b"P6 1 1 255", "no readable PPM header"),
        ("a.ppm", b"P6 -1 1 255\nabc", "no readable PPM header"),
        ("a.ppm", b"P6 1 1 # 255\nabc", "no readable PPM header"),
        ("a.ppm", b"P6 99999999 1 255\nabc", "claims 1x99999999"),
        ("mask", b"P5 1 1 255\n\0", "is no PNG"),
    ],
)
def test_faulty_images_are_refused_by_name(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSample) as caught:
        (read_mask if name == "mask" else read_image)(tmp_path / name)
    assert said in str(caught.value) and str(tmp_path / name) in str(caught.value)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(SOUND) - 1), st.integers(1, 255), st.integers(0, len(SOUND)))
def test_an_altered_or_cut_png_is_never_read(tmp_path, position, change, length):
    path = tmp_path / "a.png"
    for content in (SOUND[:position] + bytes([SOUND[position] ^ change]) + SOUND[position + 1 :], SOUND[:length]):
        path.write_bytes(content)
        if content == SOUND:
            assert np.array_equal(read_image(path), IMAGE)
            continue
        with pytest.raises(BadSample):
            read_image(path)
