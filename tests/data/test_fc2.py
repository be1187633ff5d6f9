"""What counts as a sample of FlyingChairs2, in a folder and by index lists; and what is said where it does not."""

import json
import pickle

import cv2
import numpy as np
import pytest
from layouts import index_lists, make_folder

from edgeflownas.data.fc2 import index_lines, index_problems, index_report, open_index, read_index, scan_fc2
from edgeflownas.data.formats import write_flo
from edgeflownas.errors import BadSample, DataError

HEIGHT, WIDTH = 12, 17

# --- folders ---


def test_samples_are_sorted_by_name_and_other_files_left_alone(tmp_path):
    make_folder(tmp_path, ["0000010", "0000002", "0000007"])
    for other in ("0000002-flow_10.flo", "0000002-occ_01.png", "notes.txt", "._0000099-img_0.png", "0000003-img_0.flo"):
        (tmp_path / other).write_bytes(b"x")
    dataset = scan_fc2(tmp_path, "train")
    assert dataset.names == ("0000002", "0000007", "0000010") and len(dataset) == 3
    assert dataset.samples[0].image2 == tmp_path / "0000002-img_1.png"
    assert dataset.samples[0].flow == tmp_path / "0000002-flow_01.flo"
    assert (dataset.split, dataset.source, dataset.cache) == ("train", "folder", None)


@pytest.mark.parametrize("suffix", [".png", ".ppm"])
def test_reading_gives_the_written_arrays(tmp_path, suffix):
    dataset = scan_fc2(make_folder(tmp_path, 2, suffix), "val")
    pair = dataset.read(1)
    assert pair.image1.shape == pair.image2.shape == (HEIGHT, WIDTH, 3) and pair.image1.dtype == np.uint8
    assert pair.flow.shape == (HEIGHT, WIDTH, 2) and pair.flow.dtype == np.float32
    assert pair.valid.all() and pair.valid.shape == (HEIGHT, WIDTH)
    assert np.array_equal(pair.image2, cv2.imread(str(dataset.samples[1].image2))[..., ::-1])
    assert not np.array_equal(pair.image1, pair.image2)
    again = pickle.loads(pickle.dumps(dataset))  # as it is sent to a worker
    assert again == dataset and np.array_equal(again.read(0).flow, dataset.read(0).flow)


def test_sizes_must_agree(tmp_path):
    dataset = scan_fc2(make_folder(tmp_path, 2), "train")
    write_flo(dataset.samples[1].flow, np.zeros((WIDTH, HEIGHT, 2), np.float32))
    with pytest.raises(BadSample, match=r"0000001-img_0.png: is 12x17, expected 17x12"):
        dataset.read(1)
    cv2.imwrite(str(dataset.samples[0].image2), np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(BadSample, match=r"0000000-img_1.png: is 12x18"):
        dataset.read(0)


@pytest.mark.parametrize("part", ["img_0.png", "img_1.png", "flow_01.flo"])
def test_a_file_that_is_missing_or_there_twice_is_named(tmp_path, part):
    make_folder(tmp_path, 3)
    (tmp_path / f"0000001-{part}").unlink()
    (tmp_path / "0000002-img_1.ppm").write_bytes(b"")
    said = (
        rf"^data.val_dir: 2 incomplete samples (.*\n)+.*0000001-{part}: is missing.*\n.*there twice: 0000002-img_1.png"
    )
    with pytest.raises(DataError, match=said) as caught:
        scan_fc2(tmp_path, "val", "data.val_dir")
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("name", "said"),
    [("none", "no folder"), ("file", "no folder"), ("empty", "an empty folder"), (".", "'empty', 'file'")],
)
def test_a_missing_or_empty_folder_names_key_folder_pattern_and_remedy(tmp_path, name, said):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        scan_fc2(tmp_path / name, "val", "data.val_dir")
    for words in ("data.val_dir", str(tmp_path / name), "NNNNNNN-img_0.png", "data synth", said):
        assert words in str(caught.value)


def test_a_generated_set_says_so(tmp_path):
    made = tmp_path / "made"
    for split in ("train", "val"):
        make_folder(made / split, 1)
    (made / "dataset.json").write_text(json.dumps({"generated": True, "seed": 1}))
    (tmp_path / "link").symlink_to(made / "val")  # the truth is beside the real folder
    assert scan_fc2(made / "train", "train").source == "generated"
    assert scan_fc2(tmp_path / "link", "val").source == "generated"
    (made / "dataset.json").write_text("{}")
    for content in ('{"generated": false}', "[]", '{"generated": "yes"}'):
        (made / "train" / "dataset.json").write_text(content)
        assert scan_fc2(made / "train", "train").source == "folder"
    for content in ("", "{", "[" * 100_000, "\udcff"):
        (made / "dataset.json").write_text(content, errors="surrogateescape")
        with pytest.raises(DataError, match="dataset.json"):
            scan_fc2(made / "train", "train")


# --- index lists: counts and what they leave out; entries that lead out of the data are never followed ---


def entries(*names):
    return [f"/Datasets/FlyingChairs2/train/{name}-img_0.png" for name in names]


def test_the_published_lists(shared):
    report = index_report(read_index(shared / "data" / "fc2_index_lists"))
    assert [report["splits"][split]["count"] for split in ("train", "val", "test")] == [17785, 0, 4446]
    assert report["lines"] == 22232 and report["not_in_train"]["arithmetic"] == "4,447 = 22,232 - 17,785"
    assert report["in_no_split"] == {"count": 1, "first": [{"index": 13847, "sample": "train/0002112"}]}
    assert {row["count"] for row in report["overlaps"].values()} == {0}
    assert report["prefix"] == "/Datasets/FlyingChairs2"
    assert report["on_disk"] is None and index_problems(report) == []
    words = "\n".join(index_lines(report))
    assert "17,785 / 0 / 4,446" in words and "in no split: 1: index 13847 (train/0002112)" in words
    assert "4,447 = 22,232 - 17,785" in words and "not looked at (give --root)" in words


def test_every_fault_of_the_lists_is_counted(tmp_path):
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


def test_samples_are_those_of_the_lines(tmp_path):
    here = tmp_path / "here"
    make_folder(here / "train", 4)
    folder = index_lists(tmp_path, entries("0000003", "0000000", "0000002", "0000001"), train="3 0", test="1")
    dataset = open_index(folder, here, "train", "key")
    assert dataset.names == ("train/0000001", "train/0000003") and dataset.source == "index"
    files = [dataset.file_name(path) for path in dataset.samples[0].files]
    assert files == [f"train/0000001-{part}" for part in ("img_0.png", "img_1.png", "flow_01.flo")]
    with pytest.raises(DataError, match="FC2_val.txt is empty"):
        open_index(folder, here, "val", "key")
    (here / "train" / "0000003-img_1.png").unlink()
    with pytest.raises(DataError, match=r"1 files of .*FC2_train.txt are not below (.*\n)+.*0000003-img_1.png"):
        open_index(folder, here, "train", "key")


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
def test_what_leaves_the_root_is_refused(tmp_path, entry, said):
    make_folder(tmp_path / "data" / "train", 1)
    folder = index_lists(tmp_path, [*entries("0000000"), entry, *entries("0000000")], train="1", test="0")
    report = index_report(read_index(folder), tmp_path / "data")
    (row,) = report["refused"]["first"]
    assert row["line"] == 2 and row["entry"] == entry and said in row["problem"]
    assert "1 entries are refused" in index_problems(report)
    with pytest.raises(DataError, match="FC2_dirnames.txt:2: ") as caught:
        open_index(folder, tmp_path / "data", "train", "key")
    assert said in str(caught.value)


def test_links_out_of_the_root_are_refused_and_others_are_not(tmp_path):
    outside = make_folder(tmp_path / "outside", 2)
    inside = make_folder(tmp_path / "data" / "store", ["0000005"])
    data = tmp_path / "data"
    (data / "train").symlink_to(inside)
    (data / "away").symlink_to(outside)
    (data / "mixed").mkdir()
    for part in ("img_0.png", "img_1.png", "flow_01.flo"):
        (data / "mixed" / f"0000000-{part}").symlink_to(outside / f"0000000-{part}")
    names = ["train/0000005", "away/0000000", "mixed/0000000", "away/0000001"]
    entries_ = [f"/x/FlyingChairs2/{name}-img_0.png" for name in names]
    folder = index_lists(tmp_path, entries_, train="0", val="1 3", test="2")
    report = index_report(read_index(folder), data)
    assert report["on_disk"]["complete"] == 1
    assert [row["line"] for row in report["refused"]["first"]] == [2, 3, 4]
    assert all(f"is a link out of {data}" in row["problem"] for row in report["refused"]["first"])
    assert open_index(folder, data, "train", "key").names == ("train/0000005",)
    for split in ("val", "test"):
        with pytest.raises(DataError, match="is a link out of"):
            open_index(folder, data, split, "key")


@pytest.mark.parametrize("prefix", [None, r"D:\data\FlyingChairs2", "D:/data/FlyingChairs2"])
def test_a_list_made_on_windows(tmp_path, prefix):
    make_folder(tmp_path / "data" / "train", 1)
    folder = index_lists(tmp_path / "lists", [r"D:\data\FlyingChairs2\train\0000000-img_0.png"], train="0")
    report = index_report(read_index(folder, prefix), tmp_path / "data")
    assert report["prefix"] == "D:/data/FlyingChairs2" and report["on_disk"]["complete"] == 1
    assert index_report(read_index(folder, "elsewhere"))["refused"]["count"] == 1


@pytest.mark.parametrize(
    ("first", "prefix", "stem"),
    [
        ("/a/b/FlyingChairs2/train/1-img_0.png", "/a/b/FlyingChairs2", "train/1"),
        ("/a/chairs/train/1-img_0.png", "/a/chairs", "train/1"),
        ("FlyingChairs2/train/1-img_0.png", "FlyingChairs2", "train/1"),
        ("train/1-img_0.ppm", "", "train/1"),
    ],
)
def test_the_prefix_is_read_off_the_first_entry(tmp_path, first, prefix, stem):
    lists = read_index(index_lists(tmp_path, [first], train="0"))
    assert lists.prefix == prefix and lists.stem(0) == stem
    if first.startswith("/"):
        with pytest.raises(ValueError, match="is absolute"):
            read_index(tmp_path, "/elsewhere").stem(0)


def test_missing_lists_are_named(tmp_path):
    with pytest.raises(DataError, match="FC2_dirnames.txt: no such file; it is the list of first images"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("count", "train", "said"),
    [
        (0, b"", "is empty"),
        (1, b"0\nx\n", "FC2_train.txt:2: 'x' is no index"),
        *((1, f"{wrong}\n".encode(), "FC2_train.txt:1: ") for wrong in ("-1", "1.5", "99999999999", "\u0663")),
        (1, b"\xff\n", "is no text"),
        (1, None, "is no regular file"),
        (1, b"0\n5\n", "index 5 is beyond the 1 lines"),
        (1, b"0\n0\n", "1 indices are there more than once"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path, count, train, said):
    index_lists(tmp_path, entries("1")[:count])
    path = tmp_path / "FC2_train.txt"
    path.unlink()
    path.mkdir() if train is None else path.write_bytes(train)
    with pytest.raises(DataError, match=said):
        open_index(tmp_path, tmp_path, "train", "key")
