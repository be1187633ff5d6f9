"""Files of flow that cannot be trusted: only sound ones are read, everything else is refused by name."""

import struct
import sys
import zlib
from collections import namedtuple
from types import SimpleNamespace
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from layouts import damage
from numpy.typing import NDArray

from edgeflownas.data import formats as fm
from edgeflownas.errors import BadSample, DataError

Flow = NDArray[np.float32]
ONE_FOLDER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIDE = st.integers(1, 6)
ANY_FLOAT = st.floats(-1e9, 1e9, width=32)


def flo_bytes(width, height, values, magic=b"PIEH"):
    return magic + struct.pack("<ii", width, height) + np.asarray(values, "<f4").tobytes()


# --- what is written is read back, and the bytes are those of the format ---


@ONE_FOLDER
@given(st.data(), st.integers(1, 9), st.integers(1, 9))
def test_flo_is_read_back_to_the_bit(tmp_path, data, height, width):
    flow = data.draw(arrays(np.float32, (height, width, 2), elements=ANY_FLOAT))
    valid = data.draw(arrays(np.bool_, (height, width)))
    path = tmp_path / "a.flo"
    fm.write_flo(path, flow, valid)
    read, read_valid = fm.read_flo(path)
    assert fm.flow_size(path) == (height, width) and list(tmp_path.iterdir()) == [path]
    assert read.dtype == np.float32 and read_valid.dtype == np.bool_ and np.array_equal(read_valid, valid)
    assert np.array_equal(read[valid], flow[valid]) and (read[~valid] == 0).all()


@ONE_FOLDER
@given(arrays(np.int32, (3, 4, 2), elements=st.integers(-(2**15), 2**15 - 1)), arrays(np.bool_, (3, 4)))
def test_kitti_keeps_its_steps_exactly(tmp_path, steps, valid):
    path = tmp_path / "000000_10.png"
    flow = (steps / 64).astype(np.float32)
    fm.write_kitti(path, flow, valid)
    read, read_valid = fm.read_kitti(path)
    assert fm.flow_size(path) == (3, 4) and fm.is_kitti_flow(path)
    assert np.array_equal(read_valid, valid) and (read[~valid] == 0).all()
    assert np.array_equal(read[valid], flow[valid])


@ONE_FOLDER
@given(arrays(np.float32, st.tuples(SIDE, SIDE), elements=ANY_FLOAT), st.booleans(), st.booleans())
def test_pfm_is_read_back_to_the_bit(tmp_path, values, big_endian, three):
    path = tmp_path / "a.pfm"
    stored = np.stack([values, values + 1, -values], axis=2) if three else values
    fm.write_pfm(path, stored, big_endian)
    read = fm.read_pfm(path)
    assert fm.flow_size(path) == values.shape and read.dtype == np.float32 and np.array_equal(read, stored)


def test_unknown_flow_is_invalid_and_zero(tmp_path):
    path = tmp_path / "a.flo"
    values = [[1, 2], [fm.FLO_UNKNOWN, fm.FLO_UNKNOWN], [3, -1.5e9], [1e9, -1e9]]
    path.write_bytes(flo_bytes(4, 1, values))
    flow, valid = fm.read_flo(path)
    assert valid.tolist() == [[True, False, False, True]]
    assert flow.tolist() == [[[1, 2], [0, 0], [0, 0], [1e9, -1e9]]]


def test_kitti_channels_are_those_of_the_devkit(tmp_path):
    """Written with OpenCV alone (its order is B, G, R), so that reader and writer cannot share a mistake."""
    path = tmp_path / "a.png"
    known, unknown, also_known = (1, 2**15 + 32, 2**15 - 640), (0, 50000, 50000), (7, 2**15, 65535)  # v 0.5, u -10
    assert cv2.imwrite(str(path), np.array([[known, unknown, also_known]], np.uint16))
    flow, valid = fm.read_flow(path)
    assert valid.tolist() == [[True, False, True]]
    assert flow.tolist() == [[[-10.0, 0.5], [0.0, 0.0], [511.984375, 0.0]]]
    between = np.array([[[0.3, -0.3], [100.004, 1 / 128]]], np.float32)
    fm.write_kitti(path, between)
    assert np.abs(fm.read_kitti(path)[0] - between).max() <= 1 / 128  # rounded to a step


def test_pfm_bytes_are_those_of_the_format(tmp_path):
    """Bottom row first, u and v first; written by hand, so that reader and writer cannot share a mistake."""
    path = tmp_path / "OpticalFlowIntoFuture_0006_L.pfm"
    bottom, top = [[5, 6, 0], [7, 8, 0]], [[1, 2, 0], [3, 4, 0]]
    for order, scale in (("<", b"-1.0"), (">", b"1")):
        path.write_bytes(b"PF\n2 2\n" + scale + b"\n" + np.array([bottom, top], f"{order}f4").tobytes())
        flow, valid = fm.read_flow(path)
        assert flow.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]] and valid.all() and fm.flow_size(path) == (2, 2)
    fm.write_flow(path, flow)
    assert path.read_bytes() == b"PF\n2 2\n-1.0\n" + np.array([bottom, top], "<f4").tobytes()
    fm.write_pfm(path, np.float32([[0, 1, 2], [3, 4, np.nan]]))
    assert fm.flow_size(path) == (2, 3)  # the header is sound
    with pytest.raises(BadSample, match="holds a value that is not finite, first at row 1, column 2"):
        fm.read_pfm(path)


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.flo", b"", "too short"),
        ("a.flo", b"PIEH\x02\0\0\0", "too short"),
        ("a.flo", flo_bytes(3, 2, np.zeros(12), b"HEIP"), "big-endian"),
        ("a.flo", flo_bytes(3, 2, np.zeros(12), b"PIEG"), "not a .flo file"),
        ("a.flo", flo_bytes(3, 2, np.zeros(11)), "cut off: 56 bytes, a 2x3 flow takes exactly 60"),
        ("a.flo", flo_bytes(3, 2, np.zeros(12)) + b"\0", "too long: 61 bytes"),
        ("a.flo", flo_bytes(30000, 30000, np.zeros(4)), "claims 30000x30000"),
        ("a.flo", flo_bytes(16384, 16384, np.zeros(4)), "at most 2^27"),
        ("a.flo", flo_bytes(0, 2, np.zeros(0)), "claims 2x0"),
        ("a.flo", flo_bytes(-1, 2, np.zeros(0)), "claims 2x-1"),
        ("a.flo", flo_bytes(3, 1, [np.nan, 0, 0, np.inf, 0, 0]), "not finite, first at row 0, column 1"),
        ("a.flo", flo_bytes(3, 1, [0, 0, 0, 0, -np.inf, 2e9]), "not finite, first at row 0, column 2"),
        ("a.pfm", b"", "no readable PFM header"),
        ("a.pfm", b"P6\n2 2\n255\n" + bytes(12), "no readable PFM header"),
        ("a.pfm", b"PF\n2 2\n-1.0" + bytes(48), "no readable PFM header"),
        ("a.pfm", b"PF\n2 2\n0\n" + bytes(48), "scale 0, expected 1 "),
        ("a.pfm", b"PF\n2 2\n-0.5\n" + bytes(48), "scale -0.5"),
        ("a.pfm", b"PF\n2 2\n1.0.0\n" + bytes(48), "scale 1.0.0"),
        ("a.pfm", b"PF\n0 2\n-1\n", "claims 2x0"),
        ("a.pfm", b"PF\n99999 99999\n-1\n", "claims 99999x99999"),
        ("a.pfm", b"PF\n2 2\n-1\n" + bytes(47), "cut off: 57 bytes, this 2x2 PFM with 3 channels takes exactly 58"),
        ("a.pfm", b"PF\n2 2\n-1\n" + bytes(49), "too long"),
        ("a.pfm", b"Pf\n2 2\n-1\n" + bytes(16), "one channel"),
        ("a.pfm", b"PF\n2 1\n-1\n" + np.array([0, 0, 0, 0, np.inf, 0], "<f4").tobytes(), "first at row 0, column 1"),
        ("a.txt", b"", "'.txt', expected .flo, .pfm, .png, .flo5"),
    ],
)
def test_faulty_files_are_refused_by_name(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadSample) as caught:
        fm.read_flow(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and caught.value.exit_code == 65


def test_other_pictures_and_damage_are_no_kitti_flow(tmp_path):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(BadSample, match="is 8-bit RGB, expected 16-bit RGB"):
        fm.read_flow(path)
    assert not fm.is_kitti_flow(path)
    fm.write_kitti(path, np.zeros((4, 5, 2), np.float32))
    damage(path, 45)
    content = path.read_bytes()
    assert fm.flow_size(path) == (4, 5)
    with pytest.raises(BadSample, match="fails its checksum"):
        fm.read_flow(path)
    path.write_bytes(content[:-5])
    with pytest.raises(BadSample, match="cut off"):
        fm.flow_size(path)


@pytest.mark.parametrize("suffix", [".flo", ".pfm"])
def test_nan_is_unknown_flow(tmp_path, suffix):
    """Middlebury's reference (unknown_flow of flowIO.cpp) counts it so, and FlyingThings3D has such pixels."""
    values = np.arange(12, dtype="<f4").reshape(2, 3, 2)
    values[1, 2, 0] = values[0, 0, 1] = np.nan
    planes = np.dstack([values, np.zeros((2, 3, 1), "<f4")])[::-1]
    content = flo_bytes(3, 2, values) if suffix == ".flo" else b"PF\n3 2\n-1\n" + planes.astype("<f4").tobytes()
    (tmp_path / f"a{suffix}").write_bytes(content)
    flow, valid = fm.read_flow(tmp_path / f"a{suffix}")
    assert valid.tolist() == [[False, True, True], [True, True, False]]
    assert flow[valid].tolist() == values[valid].tolist() and not flow[~valid].any()


@pytest.mark.parametrize("suffix", [".flo", ".png"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 2e9, 512.0, -512.1])
def test_a_flow_that_cannot_be_read_back_is_not_written(tmp_path, suffix, value):
    path = tmp_path / f"a{suffix}"
    flow = np.zeros((2, 3, 2), np.float32)
    flow[1, 1, 0] = value
    if suffix == ".png" or not abs(value) < 1e9:
        with pytest.raises(ValueError, match="512 to 511.98|not finite or is beyond"):
            fm.write_flow(path, flow)
        assert not path.exists()
    valid = np.ones((2, 3), bool)
    valid[1, 1] = False
    fm.write_flow(path, flow, valid)  # an unknown pixel may be anything
    assert np.array_equal(fm.read_flow(path)[1], valid)


@pytest.mark.parametrize(
    ("write", "name", "values", "said"),
    [
        (fm.write_flo, "a.flo", (np.zeros((2, 2, 3), np.float32),), r"\[H,W,2\]"),
        (fm.write_flo, "a.flo", (np.zeros((2, 2, 2), np.float32), np.ones((2, 2), np.uint8)), "valid must be bool"),
        (fm.write_flow, "a.pfm", (np.zeros((2, 2, 2), np.float32), np.eye(2) > 0), "cannot mark invalid pixels"),
        (fm.write_pfm, "a.pfm", (np.zeros((2, 2, 2), np.float32),), r"holds \[H,W\] or"),
        (fm.write_pfm, "a.pfm", (np.zeros((2, 2, 1), np.float32),), r"holds \[H,W\] or"),
        (fm.write_pfm, "a.pfm", (np.zeros((0, 3), np.float32),), r"holds \[H,W\] or"),
        (fm.write_flow, "a.flo5", (np.zeros((1, 1, 2), np.float32),), "flow is written as .flo, .pfm, .png"),
        (fm.write_flow, "a", (np.zeros((1, 1, 2), np.float32),), "flow is written as .flo, .pfm, .png"),
    ],
)
def test_what_a_format_cannot_hold_is_not_written(tmp_path, write, name, values, said):
    with pytest.raises(ValueError, match=said):
        write(tmp_path / name, *values)
    assert list(tmp_path.iterdir()) == []


# --- .flo5 needs h5py and says so ---


def test_without_h5py_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.flo5").write_bytes(b"x")
    for reader in (fm.read_flow, fm.flow_size):
        with pytest.raises(DataError, match=r"pip install 'edgeflownas\[spring\]'") as caught:
            reader(tmp_path / "a.flo5")
        assert not isinstance(caught.value, BadSample)  # no file's fault: nothing to quarantine


def fake_h5py(monkeypatch, stored, link=0):
    """h5py as far as the reader uses it; the real one reads a real file in the test after the next."""
    file = MagicMock(side_effect=stored if isinstance(stored, Exception) else None)
    inside = file.return_value.__enter__.return_value
    inside.id.links.exists.return_value = stored is not None
    inside.id.links.get_info.return_value.type = link
    inside.__getitem__.return_value = stored
    file.return_value.__exit__.return_value = False
    named = {"h5l": SimpleNamespace(TYPE_HARD=0), "Dataset": type("Dataset", (), {})}
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=file, **named))
    return inside


def test_every_second_value_of_spring_is_the_flow_of_the_images(tmp_path, monkeypatch):
    values = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)
    values[2, 4, 1] = np.nan
    path = tmp_path / "a.flo5"
    path.write_bytes(bytes(200))
    fake_h5py(monkeypatch, values)
    flow, valid = fm.read_flow(path)
    assert fm.flow_size(path) == (2, 3) == valid.shape
    assert np.array_equal(flow[0], values[0, ::2]) and not valid[1, 2] and valid.sum() == 5
    assert flow[1, 2].tolist() == [0, 0]
    values[0, 0, 0] = np.inf
    with pytest.raises(BadSample, match="not finite"):
        fm.read_flow(path)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, "no data set 'flow'"),
        (np.zeros((2, 2)), "no data set 'flow'"),
        (np.zeros((2, 2, 2), np.int32), "no data set 'flow'"),
        (np.broadcast_to(np.float32(0), (40000, 2, 2)), "claims 40000x2"),
        (np.broadcast_to(np.float32(0), (9000, 9000, 2)), "claims 9000x9000 values"),
        (np.broadcast_to(np.float32(0), (4000, 4000, 2)), "which no 4000x4000 flow can be"),
        (OSError("file signature not found"), "cannot be read as HDF5: file signature not found"),
        (RuntimeError("bad object"), "cannot be read as HDF5"),
    ],
)
def test_faulty_hdf5_is_refused(tmp_path, monkeypatch, stored, said):
    path = tmp_path / "a.flo5"
    path.write_bytes(bytes(100))
    fake_h5py(monkeypatch, stored)
    for reader in (fm.read_flow, fm.flow_size):
        with pytest.raises(BadSample, match=f"a.flo5: [^/]*{said}"):  # the file is named once
            reader(path)


def test_a_link_is_not_followed(tmp_path, monkeypatch):
    path = tmp_path / "a.flo5"
    path.write_bytes(bytes(100))
    inside = fake_h5py(monkeypatch, np.zeros((2, 2, 2), np.float32), link=64)
    with pytest.raises(BadSample, match="is a link"):
        fm.read_flow(path)
    inside.__getitem__.assert_not_called()


def test_what_leaves_a_real_flo5_or_fills_the_memory_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra: dev)")
    values = np.ones((4, 4, 2), np.float32)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = values
    (tmp_path / "raw").write_bytes(values.tobytes())
    virtual = h5py.VirtualLayout(values.shape, values.dtype)
    virtual[...] = h5py.VirtualSource(tmp_path / "other.h5", "secret", values.shape)
    makers = {
        "is a link": lambda file: file.__setitem__("flow", h5py.ExternalLink("other.h5", "/secret")),
        "is a link, ": lambda file: file.__setitem__("flow", h5py.SoftLink("/other")),
        "virtual or": lambda file: file.create_virtual_dataset("flow", virtual),
        "external storage": lambda file: file.create_dataset(
            "flow", values.shape, values.dtype, external=[(str(tmp_path / "raw"), 0, values.nbytes)]
        ),
        "chunks of 16000x16000x2": lambda file: file.create_dataset(
            "flow", values.shape, values.dtype, maxshape=(None, None, 2), chunks=(16000, 16000, 2)
        ),
        "no data set 'flow'": lambda file: file.create_group("flow"),
    }
    for said, make in makers.items():
        path = tmp_path / "bad.flo5"
        with h5py.File(path, "w") as file:
            make(file)
        for reader in (fm.read_flo5, fm.flow_size):
            with pytest.raises(BadSample, match=said):
                reader(path)


def test_a_real_flo5_is_read(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra: dev)")
    values = np.random.default_rng(0).normal(0, 9, (8, 12, 2)).astype(np.float32)
    values[2, 2] = np.nan
    path = tmp_path / "a.flo5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", data=values, compression="gzip")
    flow, valid = fm.read_flow(path)
    assert fm.flow_size(path) == (4, 6) and valid.sum() == 23
    assert np.array_equal(flow[valid], values[::2, ::2][valid])
    for length in (0, 7, 100, path.stat().st_size // 2, path.stat().st_size - 1):
        cut = tmp_path / "cut.flo5"
        cut.write_bytes(path.read_bytes()[:length])
        with pytest.raises(BadSample):
            fm.read_flow(cut)


# --- whatever a file holds, its reader gives a sound result or names the file: nothing else, ever ---
#
# Each example starts from a sound file and is cut, lengthened, altered, given other dimensions, or is another format's
# content or no content at all.  A hundred examples by default; ten thousand under the marker ``slow``.

HEIGHT, WIDTH = 5, 7


Format = namedtuple("Format", ["suffix", "make", "read", "size"])
SOME_FLOW = (np.random.default_rng(1).integers(-900, 900, (HEIGHT, WIDTH, 2)) / 64).astype(np.float32)


def some_flow(path):
    fm.write_flow(path, SOME_FLOW)


def some_image(path, channels=3):
    shape = (HEIGHT, WIDTH, channels) if channels > 1 else (HEIGHT, WIDTH)
    assert cv2.imwrite(str(path), np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))


FORMATS = {
    "flo": Format(".flo", some_flow, fm.read_flow, fm.flow_size),
    "pfm_flow": Format(".pfm", some_flow, fm.read_flow, fm.flow_size),
    "pfm": Format(".pfm", lambda path: fm.write_pfm(path, SOME_FLOW[..., 0], True), fm.read_pfm, fm.flow_size),
    "kitti": Format(".png", some_flow, fm.read_flow, fm.flow_size),
    "png": Format(".png", some_image, fm.read_image, fm.image_size),
    "ppm": Format(".ppm", some_image, fm.read_image, fm.image_size),
    "mask": Format(".png", lambda path: some_image(path, 1), fm.read_mask, fm.mask_size),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The content of a sound file of each format, which is read."""
    contents = {}
    for name, format_ in FORMATS.items():
        path = tmp_path_factory.mktemp("sound") / f"a{format_.suffix}"
        format_.make(path)
        contents[name] = path.read_bytes()
        assert format_.size(path) == arrays_of(format_.read(path))[0].shape[:2] == (HEIGHT, WIDTH)
    return contents


def with_crcs(content):
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


def huge(content, numbers):
    """The file with other dimensions in its header, whatever its format."""
    if content.startswith(b"PIEH"):
        return content[:4] + struct.pack("<II", *numbers) + content[12:]
    if content.startswith(b"\x89PNG"):
        return with_crcs(content[:16] + struct.pack(">II", *numbers) + content[24:])
    return content.replace(f"{WIDTH} {HEIGHT}".encode(), f"{numbers[0]} {numbers[1]}".encode(), 1)


def altered(sound, name):
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


def arrays_of(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_content_is_read_or_refused(name, examples, sound, tmp_path):
    format_ = FORMATS[name]
    path = tmp_path / f"fuzz{format_.suffix}"

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(altered(sound, name))
    def attempt(content):
        path.write_bytes(content)
        try:
            read = arrays_of(format_.read(path))
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
@pytest.mark.parametrize("claim", [(8192, 16384), (16384, 16384), (2**31 - 1, 2**31 - 1)])
def test_a_huge_claim_allocates_nothing(name, claim, sound, tmp_path, monkeypatch):
    path = tmp_path / f"a{FORMATS[name].suffix}"
    path.write_bytes(huge(sound[name], claim))
    monkeypatch.setattr(np, "empty", lambda *a, **k: pytest.fail("allocated before the length was checked"))
    with pytest.raises(BadSample):
        FORMATS[name].read(path)
