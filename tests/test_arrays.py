"""Archives of arrays that were made to do harm are refused before they take memory; the others come back."""

from __future__ import annotations

import io
import json
import resource
import zipfile

import numpy as np
import pytest

from edgeflownas import limits
from edgeflownas.arrays import check_tensors, read_npz
from edgeflownas.errors import DataError
from edgeflownas.evaluate.results import read_tensors


def npy(shape, dtype="<f4", values=b"", version=(1, 0)):
    """An entry that claims what it likes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes(version) + len(header).to_bytes(2, "little") + header + values


def archive(path, packing=zipfile.ZIP_STORED, **entries):
    with zipfile.ZipFile(path, "w", packing) as file:
        for name, content in entries.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_sound_arrays_come_back_in_either_order(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.ones((3, 2), np.int8)), "c": np.float32(2)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert all(
            np.array_equal(found[name], value) and found[name].dtype == value.dtype for name, value in arrays.items()
        )
    assert list(read_npz(tmp_path / "a.npz", lambda names: [name for name in names if name != "b"])) == ["a", "c"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy("(240000000000,)"), "its header says 960000000000 bytes, the archive 0"),
        (npy("(2,)", values=bytes(9)), "its header says 8 bytes, the archive 9"),
        (npy("(2,)", "|O", bytes(16)), "it holds object, expected numbers"),
        (npy("(2,)", "<U9", bytes(72)), "expected numbers"),
        (npy("(1,) * 9"), "malformed|parse"),
        (npy("(1, 1, 1, 1, 1, 1, 1, 1, 1)", values=bytes(4)), "at most 8 dimensions"),
        (npy("(-1,)"), "at most 8 dimensions|shape"),
        (npy("(2,)", version=(3, 0)), "version"),
        (b"\x80\x04pickle", "magic"),
        (b"", "magic|end|EOF"),
        (npy("(2,"), "EOF|parse|header"),
    ],
    ids=range(11),
)
def test_a_bad_entry_is_named(tmp_path, content, said):
    path = archive(tmp_path / "a.npz", sound=npy("(1,)", values=bytes(4)), bad=content)
    with pytest.raises(DataError, match=f"a.npz: bad: .*({said})") as caught:
        read_npz(path)
    assert "allow_pickle" not in str(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    size = 2**28
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, bomb=npy(f"({size // 4},)", values=bytes(size)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="unpack to 268435531, expected at most 67108864"):
        read_npz(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**15  # KiB


def test_altered_archives_are_refused_in_words(tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(99.0), b=np.ones(5))
    content, path = buffer.getvalue(), tmp_path / "a.npz"
    for place in range(0, len(content), 3):
        for altered in (content[:place], content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]):
            path.write_bytes(altered)
            try:
                read_npz(path)
            except DataError as error:
                assert "a.npz" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "its header would be 0 bytes of 0"),
        ((2**40).to_bytes(8, "little") + b"{}", f"its header would be {2**40} bytes"),
        ((2).to_bytes(8, "little") + b"{]", "cannot be read"),
        ((2).to_bytes(8, "little") + b"17", "cannot be read"),
    ],
)
def test_the_header_of_tensors_is_judged_first(tmp_path, content, said):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for reader in (check_tensors, read_tensors):
        with pytest.raises(ValueError, match=said):
            reader(path)
    many = json.dumps(dict.fromkeys(map(str, range(limits.ARRAY_ENTRIES + 1)))).encode()
    path.write_bytes(len(many).to_bytes(8, "little") + many)
    with pytest.raises(ValueError, match="more than"):
        check_tensors(path)
