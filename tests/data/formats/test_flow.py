"""The format of a flow file is chosen by its suffix; .flo5 needs h5py and says so."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeflownas.data.formats import FLOW_SUFFIXES, flow_size, read_flow, write_flow
from edgeflownas.errors import BadSample, DataError


@pytest.mark.parametrize("suffix", [".flo", ".pfm", ".png"])
def test_every_format_keeps_a_flow(tmp_path: Path, suffix: str) -> None:
    flow = (np.random.default_rng(0).integers(-3000, 3000, (5, 7, 2)) / 64).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    write_flow(path, flow)
    read, valid = read_flow(path)
    assert np.array_equal(read, flow) and valid.all() and flow_size(path) == (5, 7)


def test_another_suffix_is_no_flow(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"'.txt', expected .flo, .pfm, .png, .flo5"):
        read_flow(tmp_path / "a.txt")
    for name in ("a.flo5", "a"):
        with pytest.raises(ValueError, match="flow is written as .flo, .pfm, .png"):
            write_flow(tmp_path / name, np.zeros((1, 1, 2), np.float32))
    assert FLOW_SUFFIXES == (".flo", ".pfm", ".png", ".flo5")


def test_without_h5py_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.flo5").write_bytes(b"x")
    for reader in (read_flow, flow_size):
        with pytest.raises(DataError, match=r"pip install 'edgeflownas\[spring\]'") as caught:
            reader(tmp_path / "a.flo5")
        assert not isinstance(caught.value, BadSample)  # no file's fault: nothing to quarantine


def fake_h5py(monkeypatch: pytest.MonkeyPatch, stored: object) -> None:
    """h5py as far as the reader uses it; the real one reads a real file in the test after the next."""

    @contextlib.contextmanager
    def opened(path: Path, mode: str) -> Iterator[dict[str, object]]:
        assert mode == "r"
        if isinstance(stored, Exception):
            raise stored
        yield {"flow": stored}

    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=opened))


def test_every_second_value_of_spring_is_the_flow_of_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)
    values[2, 4, 1] = np.nan
    path = tmp_path / "a.flo5"
    path.write_bytes(bytes(200))
    fake_h5py(monkeypatch, values)
    flow, valid = read_flow(path)
    assert flow_size(path) == (2, 3) == valid.shape
    assert np.array_equal(flow[0], values[0, ::2]) and not valid[1, 2] and valid.sum() == 5
    assert flow[1, 2].tolist() == [0, 0]
    values[0, 0, 0] = np.inf
    with pytest.raises(BadSample, match="not finite"):
        read_flow(path)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, "no data set 'flow'"),
        (np.zeros((2, 2)), "no data set 'flow'"),
        (np.zeros((2, 2, 2), np.int32), "no data set 'flow'"),
        (np.broadcast_to(np.float32(0), (40000, 2, 2)), "claims 40000x2"),
        (np.broadcast_to(np.float32(0), (4000, 4000, 2)), "which no 4000x4000 flow can be"),
        (OSError("file signature not found"), "cannot be read as HDF5: file signature not found"),
        (RuntimeError("bad object"), "cannot be read as HDF5"),
    ],
)
def test_faulty_hdf5_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: object, said: str) -> None:
    path = tmp_path / "a.flo5"
    path.write_bytes(bytes(100))
    fake_h5py(monkeypatch, stored)
    for reader in (read_flow, flow_size):
        with pytest.raises(BadSample, match=said):
            reader(path)


def test_a_real_flo5_is_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (extra: spring)")
    values = np.random.default_rng(0).normal(0, 9, (8, 12, 2)).astype(np.float32)
    values[2, 2] = np.nan
    path = tmp_path / "a.flo5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", data=values, compression="gzip")
    flow, valid = read_flow(path)
    assert flow_size(path) == (4, 6) and valid.sum() == 23
    assert np.array_equal(flow[valid], values[::2, ::2][valid])
    for length in (0, 7, 100, path.stat().st_size // 2, path.stat().st_size - 1):
        cut = tmp_path / "cut.flo5"
        cut.write_bytes(path.read_bytes()[:length])
        with pytest.raises(BadSample):
            read_flow(cut)
