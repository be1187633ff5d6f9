"""The fingerprint moves with content, and with nothing else."""

import json
import os
import shutil

import pytest
from layouts import damage, make_folder

from edgeflownas.data import check as module
from edgeflownas.data.check import Fingerprint, difference, fingerprint, mixed_validation
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.errors import StorageError


def scan(folder):
    return scan_fc2(folder, "val")


@pytest.mark.parametrize("limit", [2**32, 0], ids=["full", "edges"])
def test_place_and_time_do_not_matter(tmp_path, limit):
    first = fingerprint(scan(make_folder(tmp_path / "a", 3)), full_limit=limit)
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "moved")
    for path in (tmp_path / "b" / "moved").iterdir():
        os.utime(path, (1, 1))
    (tmp_path / "link").symlink_to(tmp_path / "b" / "moved")
    second = fingerprint(scan(tmp_path / "link"), full_limit=limit)
    assert second.hash == first.hash and difference(first, second) == []
    assert first.label == f"fc2/folder:val/3/{first.hash[:4]}"
    assert first.crc_kind == ("full" if limit else "edges") and len(first.table) == 9


def test_every_change_of_content_is_seen_and_named(tmp_path):
    folder = make_folder(tmp_path / "a", 3)
    old = fingerprint(scan(folder))
    damage(folder / "0000001-img_0.png", 200)
    shutil.copy(folder / "0000000-img_0.png", folder / "0000002-img_1.png")
    make_folder(folder, ["0000009"])
    for path in folder.glob("0000000-*"):
        path.unlink()
    new = fingerprint(scan(folder))
    assert new.hash != old.hash
    lines = difference(old, new)
    assert "changed: 0000001-img_0.png (same size, other content)" in lines
    parts = ("flow_01.flo", "img_0.png", "img_1.png")
    others = {
        f"{what}: {name}-{part}" for what, name in (("removed", "0000000"), ("added", "0000009")) for part in parts
    }
    changed = {"changed: 0000001-img_0.png", "changed: 0000002-img_1.png"}
    assert {line.split(" (")[0] for line in lines} == others | changed
    assert difference(old, new, limit=3)[-1] == "and 5 more files"
    for part in parts:
        (folder / f"0000001-{part}").rename(folder / f"0000008-{part}")
    assert fingerprint(scan(folder)).hash != new.hash, "a name is content"


def test_with_the_old_table_only_touched_files_are_opened(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "a", 4)
    old = fingerprint(scan(folder))
    opened: list[str] = []
    real = module.open_regular
    monkeypatch.setattr(module, "open_regular", lambda path: (opened.append(path.name), real(path))[1])
    assert fingerprint(scan(folder), old) == old and opened == []
    os.utime(folder / "0000002-img_0.png", (1, 1))
    touched = fingerprint(scan(folder), old)
    assert opened == ["0000002-img_0.png"] and touched.hash == old.hash and touched.table != old.table
    opened.clear()
    assert fingerprint(scan(folder), old, full_limit=0).crc_kind == "edges" and len(opened) == 12


def test_content_that_changed_behind_its_time_is_read_again(tmp_path):
    """Size and time of modification can be set back; the time of change cannot."""
    folder = make_folder(tmp_path / "a", 2)
    old = fingerprint(scan(folder))
    damage(folder / "0000001-img_0.png", 200)
    new = fingerprint(scan(folder), old)
    assert difference(old, new) == ["changed: 0000001-img_0.png (same size, other content)"]
    older = Fingerprint.from_json({**old.to_json(), "table": [list(row[:4]) for row in old.table]})
    assert older.hash == old.hash and fingerprint(scan(folder), older).hash == new.hash


def test_large_sets_are_summed_at_the_edges(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_EDGE", 64)
    folder = make_folder(tmp_path / "a", 1)
    flow = folder / "0000000-flow_01.flo"
    length = flow.stat().st_size
    hashes = [fingerprint(scan(folder), full_limit=0).hash]
    for position in (20, length - 1, length // 2):
        damage(flow, position)
        hashes.append(fingerprint(scan(folder), full_limit=0).hash)
    assert len(set(hashes[:3])) == 3  # first and last bytes count
    assert hashes[3] == hashes[2]  # the middle is not looked at, which crc_kind says


def test_a_file_that_cannot_be_read_has_its_place(tmp_path):
    folder = make_folder(tmp_path / "a", 2)
    dataset = scan(folder)
    old = fingerprint(dataset)
    (folder / "0000001-img_0.png").unlink()
    (folder / "0000001-img_0.png").symlink_to(folder / "gone")
    new = fingerprint(dataset, old)
    assert new.hash != old.hash and [row.size for row in new.table].count(-1) == 1
    assert fingerprint(dataset, new) == new


def test_json_round_trip_and_refusal(tmp_path):
    found = fingerprint(scan(make_folder(tmp_path / "a", 2)))
    content = json.loads(json.dumps(found.to_json()))
    assert Fingerprint.from_json(content) == found
    altered = json.loads(json.dumps(content))
    altered["table"][0][1] += 1
    with pytest.raises(StorageError, match="manifest.json: the hash is not that of its table"):
        Fingerprint.from_json(altered, "manifest.json")
    for broken in ({}, {**content, "table": [[1, 2]]}, {**content, "table": 3}, {**content, "count": None}):
        with pytest.raises(StorageError, match="no data fingerprint"):
            Fingerprint.from_json(broken)


# --- the official 640 and the hold-out of the training folder must not meet in silence ---


def mark(name, source, split, count):
    return Fingerprint("9f3a" * 16, count, split, source, "edges", (), name)


OFFICIAL = mark("fc2", "folder", "val", 640)


@pytest.mark.parametrize(
    ("other", "warned"),
    [
        (mark("fc2", "index", "test", 4446), True),
        (mark("fc2", "folder", "val", 4447), True),
        (mark("flying_chairs", "index", "x", 4447), True),
        (OFFICIAL, False),
        (mark("fc2", "index", "train", 17785), False),
        (mark("sintel", "folder", "clean", 4447), False),
        (mark("fc2", "generated", "val", 4447), False),
    ],
)
def test_both_are_named(other, warned):
    assert mixed_validation([OFFICIAL]) is None
    warning = mixed_validation([other, OFFICIAL])
    assert (warning is not None) == warned
    for said in (OFFICIAL.label, other.label, "4,447 = 22,232 - 17,785"):
        assert warning is None or said in warning
