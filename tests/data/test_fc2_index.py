"""Index lists: counts and what they leave out; entries that lead out of the data are never followed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fc2_folder import make_folder

sys.path.insert(0, str(Path(__file__).parent / "registry"))
from layouts import index_lists  # noqa: E402

from edgeflownas.data.fc2 import index_lines, index_problems, index_report, open_index, read_index  # noqa: E402  # noqa: E402
from edgeflownas.errors import DataError  # noqa: E402

OLD = "/Datasets/FlyingChairs2/train/"


def entries(*names: str) -> list[str]:
    return [f"{OLD}{name}-img_0.png" for name in names]


def test_the_published_lists(shared: Path) -> None:
    lists = read_index(shared / "data" / "fc2_index_lists")
    report = index_report(lists)
    assert [report["splits"][split]["count"] for split in ("train", "val", "test")] == [17785, 0, 4446]
    assert report["lines"] == 22232 and report["not_in_train"]["arithmetic"] == "4,447 = 22,232 - 17,785"
    assert report["in_no_split"] == {"count": 1, "first": [{"index": 13847, "sample": "train/0002112"}]}
    assert {row["count"] for row in report["overlaps"].values()} == {0} and report[
        "prefix"
    ] == "/Datasets/FlyingChairs2"
    assert report["on_disk"] is None and index_problems(report) == []
    words = "\n".join(index_lines(report))
    assert "17,785 / 0 / 4,446" in words and "in no split: 1: index 13847 (train/0002112)" in words
    assert "4,447 = 22,232 - 17,785" in words and "not looked at (give --root)" in words


def test_every_fault_of_the_lists_is_counted(tmp_path: Path) -> None:
    make_folder(tmp_path / "data" / "train", ["0000000", "0000001", "0000002", "0000003"])
    (tmp_path / "data" / "train" / "0000003-flow_01.flo").unlink()
    names = ["0000000", "0000001", "0000002", "0000003", "0000001"]
    folder = index_lists(tmp_path, entries(*names), train="0 1 1 3", val="9", test="2 0")
    report = index_report(read_index(folder), tmp_path / "data")
    splits = report["splits"]
    assert splits["train"]["duplicates"] == {"count": 1, "first": [1]} and splits["train"]["complete"] == 3
    assert splits["val"]["out_of_range"] == {"count": 1, "first": [9]} and splits["val"]["complete"] == 0
    assert report["overlaps"]["train/test"] == {"count": 1, "first": [0]}
    assert report["duplicate_entries"]["count"] == 1 and report["in_no_split"]["first"][0]["index"] == 4
    assert report["on_disk"] == {"root": str(tmp_path / "data"), "complete": 4, "incomplete": 1}
    assert index_problems(report) == [
        "train: 1 indices duplicates",
        "train: 1 samples are not complete on disk",
        "val: 1 indices out of range",
        "val: 1 samples are not complete on disk",
        "train/test share 1 indices",
        "1 entries are there twice",
    ]


def test_samples_are_those_of_the_lines(tmp_path: Path) -> None:
    make_folder(tmp_path / "here" / "train", 4)
    folder = index_lists(tmp_path, entries("0000003", "0000000", "0000002", "0000001"), train="3 0", test="1")
    dataset = open_index(folder, tmp_path / "here", "train", "key")
    assert dataset.names == ("train/0000001", "train/0000003") and dataset.source == "index"
    assert [dataset.file_name(path) for path in dataset.samples[0].files] == [
        f"train/0000001-{part}" for part in ("img_0.png", "img_1.png", "flow_01.flo")
    ]
    with pytest.raises(DataError, match="FC2_val.txt is empty"):
        open_index(folder, tmp_path / "here", "val", "key")
    (tmp_path / "here" / "train" / "0000003-img_1.png").unlink()
    with pytest.raises(DataError, match=r"1 files of .*FC2_train.txt are not below (.*\n)+.*0000003-img_1.png"):
        open_index(folder, tmp_path / "here", "train", "key")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("/etc/0000001-img_0.png", "is absolute: it does not begin with the prefix"),
        ("/Datasets/FlyingChairs2/../secret/0000001-img_0.png", "leaves the root"),
        ("/Datasets/FlyingChairs2//etc/0000001-img_0.png", "is absolute"),
        ("/Datasets/FlyingChairs22/train/0000001-img_0.png", "is absolute"),
        ("~/0000001-img_0.png", "is absolute"),
        ("/Datasets/FlyingChairs2/train/0000001-img_1.png", "is no first image"),
        ("/Datasets/FlyingChairs2/train/-img_0.png", "is no first image"),
        ("/Datasets/FlyingChairs2/train/\0-img_0.png", "is no first image"),
        ("", "is no first image"),
    ],
)
def test_what_leaves_the_root_is_refused(tmp_path: Path, entry: str, said: str) -> None:
    make_folder(tmp_path / "data" / "train", 1)
    folder = index_lists(tmp_path, [*entries("0000000"), entry, *entries("0000000")], train="1", test="0")
    report = index_report(read_index(folder), tmp_path / "data")
    (row,) = report["refused"]["first"]
    assert row["line"] == 2 and row["entry"] == entry and said in row["problem"]
    assert "1 entries are refused" in index_problems(report)
    with pytest.raises(DataError, match="FC2_dirnames.txt:2: ") as caught:
        open_index(folder, tmp_path / "data", "train", "key")
    assert said in str(caught.value)


def test_links_out_of_the_root_are_refused_and_others_are_not(tmp_path: Path) -> None:
    outside = make_folder(tmp_path / "outside", 2)
    inside = make_folder(tmp_path / "data" / "store", ["0000005"])
    data = tmp_path / "data"
    (data / "train").symlink_to(inside)
    (data / "away").symlink_to(outside)
    (data / "mixed").mkdir()
    for part in ("img_0.png", "img_1.png", "flow_01.flo"):
        (data / "mixed" / f"0000000-{part}").symlink_to(outside / f"0000000-{part}")
    names = ["train/0000005", "away/0000000", "mixed/0000000"]
    folder = index_lists(tmp_path, [f"/x/{name}-img_0.png" for name in names], train="0", val="1", test="2")
    report = index_report(read_index(folder, "/x"), data)
    assert report["on_disk"]["complete"] == 1
    assert [row["line"] for row in report["refused"]["first"]] == [2, 3]
    assert all(f"is a link out of {data}" in row["problem"] for row in report["refused"]["first"])
    assert open_index(folder, data, "train", "key", "/x").names == ("train/0000005",)
    for split in ("val", "test"):
        with pytest.raises(DataError, match="is a link out of"):
            open_index(folder, data, split, "key", "/x")


@pytest.mark.parametrize(
    ("first", "prefix", "stem"),
    [
        ("/a/b/FlyingChairs2/train/1-img_0.png", "/a/b/FlyingChairs2", "train/1"),
        ("/a/chairs/train/1-img_0.png", "/a/chairs", "train/1"),
        ("FlyingChairs2/train/1-img_0.png", "FlyingChairs2", "train/1"),
        ("train/1-img_0.ppm", "", "train/1"),
    ],
)
def test_the_prefix_is_read_off_the_first_entry(tmp_path: Path, first: str, prefix: str, stem: str) -> None:
    lists = read_index(index_lists(tmp_path, [first], train="0"))
    assert lists.prefix == prefix and lists.stem(0) == stem
    other = read_index(tmp_path, "/elsewhere")
    if first.startswith("/"):
        with pytest.raises(ValueError, match="is absolute"):
            other.stem(0)


def test_lists_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="FC2_dirnames.txt: no such file; it is the list of first images"):
        read_index(tmp_path)
    index_lists(tmp_path, [])
    with pytest.raises(DataError, match="is empty"):
        read_index(tmp_path)
    index_lists(tmp_path, entries("1"), train="0 x")
    with pytest.raises(DataError, match="FC2_train.txt:2: 'x' is no index"):
        read_index(tmp_path)
    for wrong in ("-1", "1.5", "99999999999", "\u0663"):
        (tmp_path / "FC2_train.txt").write_text(f"{wrong}\n")
        with pytest.raises(DataError, match="FC2_train.txt:1"):
            read_index(tmp_path)
    (tmp_path / "FC2_train.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match="is no text"):
        read_index(tmp_path)
    (tmp_path / "FC2_train.txt").unlink()
    (tmp_path / "FC2_train.txt").mkdir()
    with pytest.raises(DataError, match="is no regular file"):
        read_index(tmp_path)
    index_lists(tmp_path / "ok", entries("1"), train="0 5")
    with pytest.raises(DataError, match="index 5 is beyond the 1 lines"):
        open_index(tmp_path / "ok", tmp_path, "train", "key")
    index_lists(tmp_path / "ok", entries("1"), train="0 0")
    with pytest.raises(DataError, match="1 indices are there more than once"):
        open_index(tmp_path / "ok", tmp_path, "train", "key")
