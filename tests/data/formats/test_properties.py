"""Whatever a file of a format holds, its reader gives a sound result or names the file: nothing else, ever.

Each example starts from a sound file and is cut, lengthened, altered, given other dimensions, or is another format's
content or no content at all.  A hundred examples by default; ten thousand under the marker ``slow``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeflownas.data.formats import flow_size, pfm_size, read_flow, read_pfm, write_flow, write_pfm
from edgeflownas.data.images import image_size, mask_size, read_image, read_mask
from edgeflownas.errors import BadSample

HEIGHT, WIDTH = 5, 7
QUICK, MANY = 100, 10_000


@dataclass(frozen=True)
class Format:
    suffix: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    size: Callable[[Path], tuple[int, int]]


def some_flow() -> np.ndarray:
    return (np.random.default_rng(1).integers(-900, 900, (HEIGHT, WIDTH, 2)) / 64).astype(np.float32)


def some_image(path: Path, channels: int = 3) -> None:
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    assert cv2.imwrite(str(path), np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))


FORMATS = {
    "flo": Format(".flo", lambda path: write_flow(path, some_flow()), read_flow, flow_size),
    "pfm_flow": Format(".pfm", lambda path: write_flow(path, some_flow()), read_flow, flow_size),
    "pfm": Format(".pfm", lambda path: write_pfm(path, some_flow()[..., 0], big_endian=True), read_pfm, pfm_size),
    "kitti": Format(".png", lambda path: write_flow(path, some_flow()), read_flow, flow_size),
    "png": Format(".png", some_image, read_image, image_size),
    "ppm": Format(".ppm", some_image, read_image, image_size),
    "mask": Format(".png", lambda path: some_image(path, 1), read_mask, mask_size),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The content of a sound file of each format."""
    folder = tmp_path_factory.mktemp("sound")
    contents = {}
    for name, format_ in FORMATS.items():
        path = folder / f"{name}{format_.suffix}"
        format_.make(path)
        contents[name] = path.read_bytes()
    return contents


def with_crcs(content: bytes) -> bytes:
    """A PNG with the checksums of its chunks put right, so that what is altered reaches the decoder."""
    parts = [content[:8]]
    position = 8
    while position + 12 <= len(content):
        end = position + 8 + int.from_bytes(content[position : position + 4], "big")
        if end + 4 > len(content):
            break
        parts += [content[position:end], struct.pack(">I", zlib.crc32(content[position + 4 : end]))]
        position = end + 4
    return b"".join(parts) + content[position:]


def huge(content: bytes, numbers: tuple[int, int]) -> bytes:
    """The file with other dimensions in its header, whatever its format."""
    if content.startswith(b"PIEH"):
        return content[:4] + struct.pack("<II", *numbers) + content[12:]
    if content.startswith(b"\x89PNG"):
        return with_crcs(content[:16] + struct.pack(">II", *numbers) + content[24:])
    return content.replace(f"{WIDTH} {HEIGHT}".encode(), f"{numbers[0]} {numbers[1]}".encode(), 1)


def altered(sound: dict[str, bytes], name: str) -> st.SearchStrategy[bytes]:
    content = sound[name]
    place = st.integers(0, len(content) - 1)
    some = st.binary(max_size=12)
    side = st.integers(0, 2**32 - 1) | st.integers(0, 20) | st.sampled_from([WIDTH, HEIGHT, 16384, 16385, 2**31])
    spliced = st.builds(lambda at, new: content[:at] + new + content[at + len(new) :], place, some)
    swapped = st.builds(lambda a, b: content[:a] + content[b:] + content[a:b], place, place)
    return st.one_of(
        st.just(b""),
        st.binary(max_size=200),
        st.builds(lambda length: content[:length], place),
        st.builds(lambda more: content + more, st.binary(min_size=1, max_size=12)),
        spliced,
        spliced.map(with_crcs) if content.startswith(b"\x89PNG") else spliced,
        swapped,
        st.builds(lambda w, h: huge(content, (w, h)), side, side),
        st.sampled_from(sorted(sound)).map(lambda other: sound[other]),
        st.builds(lambda other, length: sound[other][:length], st.sampled_from(sorted(sound)), place),
    )


def arrays_of(result: object) -> Iterator[np.ndarray]:
    yield from result if isinstance(result, tuple) else (result,)  # type: ignore[misc]


def try_many(name: str, sound: dict[str, bytes], folder: Path, examples: int) -> None:
    format_ = FORMATS[name]
    path = folder / f"fuzz{format_.suffix}"

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(altered(sound, name))
    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read = list(arrays_of(format_.read(path)))
        except BadSample as problem:
            assert str(path) in str(problem)
            return
        assert format_.size(path) == read[0].shape[:2]  # the quick check accepts what the reader accepts
        assert read[0].nbytes <= 2200 * len(content)  # nothing is made of a header alone
        for array in read:
            assert array.shape[:2] == read[0].shape[:2]
            assert array.dtype.kind != "f" or np.isfinite(array).all()
        if len(read) == 2:
            assert (read[0][~read[1]] == 0).all() and np.abs(read[0]).max() <= 1e9

    attempt()


@pytest.mark.parametrize("name", FORMATS)
def test_a_sound_file_is_read(name: str, sound: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffix}"
    path.write_bytes(sound[name])
    assert FORMATS[name].size(path) == (HEIGHT, WIDTH)
    assert next(arrays_of(FORMATS[name].read(path))).shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("name", FORMATS)
def test_any_content_is_read_or_refused(name: str, sound: dict[str, bytes], tmp_path: Path) -> None:
    try_many(name, sound, tmp_path, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_contents_are_read_or_refused(name: str, sound: dict[str, bytes], tmp_path: Path) -> None:
    try_many(name, sound, tmp_path, MANY)


@pytest.mark.parametrize("name", ["flo", "pfm_flow", "pfm", "kitti", "png", "ppm", "mask"])
@pytest.mark.parametrize("claim", [(8192, 16384), (16384, 16384), (2**31 - 1, 2**31 - 1)])
def test_a_huge_claim_allocates_nothing(
    name: str, claim: tuple[int, int], sound: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{FORMATS[name].suffix}"
    path.write_bytes(huge(sound[name], claim))
    monkeypatch.setattr(np, "empty", lambda *a, **k: pytest.fail("allocated before the length was checked"))
    with pytest.raises(BadSample):
        FORMATS[name].read(path)
