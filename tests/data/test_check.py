"""The check finds what reading would trip over, and says which file."""

import os
import struct
import threading
import time
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from layouts import damage, make_folder

from edgeflownas.data import check, formats
from edgeflownas.data.check import check_dataset, refuse
from edgeflownas.data.dataset import in_order
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.formats import write_flo
from edgeflownas.errors import DataError, StorageError


def break_files(folder):
    os.truncate(folder / "0000001-flow_01.flo", 100)
    os.truncate(folder / "0000003-img_1.png", 100)
    write_flo(folder / "0000005-flow_01.flo", np.zeros((5, 6, 2), np.float32))
    (folder / "0000007-img_0.png").unlink()
    (folder / "0000007-img_0.png").symlink_to(folder / "gone")


def test_the_quick_check_lists_every_bad_file_once_in_order(tmp_path):
    dataset = scan_fc2(make_folder(tmp_path, 9), "train")
    assert check_dataset(dataset) == []
    break_files(tmp_path)
    rows = check_dataset(dataset)
    names = ["0000001-flow_01.flo", "0000003-img_1.png", "0000005-flow_01.flo", "0000007-img_0.png"]
    assert [Path(row.path).name for row in rows] == names
    assert "0000005-img_0.png 12x17, 0000005-img_1.png 12x17, 0000005-flow_01.flo 5x6" in rows[2].problem
    said = r"4 bad files in the train split of 9 samples:\n.*0000001-flow_01.flo: is cut off"
    with pytest.raises(DataError, match=said):
        refuse(dataset, rows)
    refuse(dataset, [])


def test_only_the_full_check_decodes(tmp_path, monkeypatch):
    dataset = scan_fc2(make_folder(tmp_path, 6), "val")
    damage(tmp_path / "0000002-img_0.png", 60, 4)
    flow = tmp_path / "0000004-flow_01.flo"
    flow.write_bytes(flow.read_bytes()[:-4] + np.float32(np.inf).tobytes())
    names = [Path(row.path).name for row in check_dataset(dataset, full=True)]
    assert names == ["0000002-img_0.png", "0000004-flow_01.flo"]
    monkeypatch.setattr(formats, "fill", lambda *_: pytest.fail("the quick check read pixels"))
    assert check_dataset(dataset) == []


@pytest.mark.parametrize("threshold", [-1.0, 1e9], ids=["threads", "alone"])
def test_threads_change_nothing(tmp_path, monkeypatch, threshold):
    dataset = scan_fc2(make_folder(tmp_path, 9), "train")
    break_files(tmp_path)
    expected = [str(row) for row in check_dataset(dataset)]
    monkeypatch.setattr(check, "_SLOW_DISK", threshold)
    monkeypatch.setattr(check, "_CHUNK", 2)
    seen: list[tuple[int, int]] = []
    assert [str(row) for row in check_dataset(dataset, progress=lambda *at: seen.append(at))] == expected
    assert seen[-1] == (9, 9)


def test_a_fault_of_the_machine_stops_the_check(tmp_path, monkeypatch):
    dataset = scan_fc2(make_folder(tmp_path, 1), "train")
    monkeypatch.setattr(os, "pread", Mock(side_effect=OSError(5, "Input/output error")))
    with pytest.raises(StorageError):
        check_dataset(dataset)


def test_thousands_of_samples_take_a_moment(tmp_path):
    """Files of full length without content: the check must look at headers and lengths only."""
    header = struct.pack(">IIBBBBB", 512, 384, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header + crc
    count = 500
    for i in range(count):
        for part in ("img_0", "img_1"):
            with open(tmp_path / f"{i:07d}-{part}.png", "wb") as file:
                file.write(head)
                file.seek(300_000)
                file.write(b"\0\0\0\0IEND\xaeB`\x82")
        with open(tmp_path / f"{i:07d}-flow_01.flo", "wb") as file:
            file.write(b"PIEH" + struct.pack("<ii", 512, 384))
            file.truncate(12 + 8 * 512 * 384)
    dataset = scan_fc2(tmp_path, "train")
    started = time.process_time()
    assert check_dataset(dataset) == []
    assert time.process_time() - started < 0.5  # measured 0.02 to 0.05 s of processor; decoding takes seconds


def test_in_order_keeps_order_bounds_work_and_cancels():
    assert list(in_order(lambda x: x * x, range(50), 4)) == [x * x for x in range(50)]
    started: list[int] = []
    gate = threading.Event()

    def work(item):
        started.append(item)
        gate.wait(5)
        if item == 1:
            raise ValueError("one")
        return item

    results = in_order(work, range(1000), 2)
    threading.Timer(0.05, gate.set).start()
    assert next(results) == 0
    with pytest.raises(ValueError, match="one"):
        list(results)
    assert len(started) < 12
