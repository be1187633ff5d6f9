"""Opening regular files only, replacing them whole, and telling a bad file from a broken machine."""

import os
from unittest.mock import Mock

import numpy as np
import pytest

from edgeflownas.data.formats import flow_size, image_size, read_flo, read_image, write_flo
from edgeflownas.errors import BadSample, StorageError


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.flo"
    write_flo(path, np.zeros((2, 3, 2), np.float32))
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left") as caught:
        write_flo(path, np.ones((2, 3, 2), np.float32))
    assert caught.value.exit_code == 74 and path.read_bytes() == before and os.listdir(tmp_path) == ["a.flo"]
    with pytest.raises(StorageError, match="cannot be written"):
        write_flo(tmp_path / "missing" / "a.flo", np.ones((2, 3, 2), np.float32))


def test_only_regular_files_are_opened(tmp_path):
    real = tmp_path / "real.flo"
    write_flo(real, np.zeros((2, 3, 2), np.float32))
    (tmp_path / "link.flo").symlink_to(real)
    assert flow_size(tmp_path / "link.flo") == (2, 3)
    (tmp_path / "dangling.flo").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.flo").symlink_to(tmp_path / "loop.flo")
    (tmp_path / "folder.flo").mkdir()
    os.mkfifo(tmp_path / "pipe.flo")  # opening one to read would wait for a writer for ever
    (tmp_path / "device.flo").symlink_to("/dev/zero")
    faults = {"loop.flo": "leads back", "nul\0.flo": "not a file name", "n" * 300 + ".flo": "too long a name"}
    faults |= dict.fromkeys(("folder.flo", "pipe.flo", "device.flo"), "regular")
    faults |= dict.fromkeys(("dangling.flo", "none.flo", "real.flo/x.flo"), "does not exist")
    for name, said in faults.items():
        for reader in (read_flo, flow_size, read_image, image_size):
            with pytest.raises(BadSample, match=said):
                reader(tmp_path / name)


def test_a_fault_of_the_machine_is_not_a_bad_sample(tmp_path, monkeypatch):
    path = tmp_path / "a.flo"
    write_flo(path, np.zeros((2, 3, 2), np.float32))
    monkeypatch.setattr(os, "preadv", Mock(side_effect=OSError(5, "Input/output error")))
    with pytest.raises(StorageError, match="a.flo: cannot be read: Input/output error"):
        read_flo(path)
