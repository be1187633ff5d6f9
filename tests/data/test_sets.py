"""What a user may write: NAME[:VARIANT][@ROOT], or a folder; and where a data set is if no root is written."""

from dataclasses import replace
from pathlib import Path

import layouts
import pytest
from layouts import make_folder

from edgeflownas.data.check import fingerprint
from edgeflownas.data.sets import (
    documented,
    find_root,
    is_named,
    list_datasets,
    open_complete,
    open_dataset,
    roots_file,
    without,
)
from edgeflownas.data.synthetic.generate import generate_dataset
from edgeflownas.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def listed(tmp_path, monkeypatch):
    """The file of roots of a user whose home is a temporary folder; it is not there yet, nor is anything else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in ("sintel", "fc2"):
        monkeypatch.delenv(f"EDGEFLOWNAS_DATA_{name.upper()}", raising=False)
    path = tmp_path / ".config" / "edgeflownas" / "datasets.yaml"
    path.parent.mkdir(parents=True)
    return path


# --- specifications ---


def test_a_folder_and_the_name_give_the_same_set(tmp_path):
    make_folder(tmp_path / "train", 3)
    make_folder(tmp_path / "val", 2)
    folder = open_dataset(str(tmp_path / "val"), "val", "data.val_dir")
    for spec in (f"fc2:val@{tmp_path}", f"fc2@{tmp_path}"):
        assert open_dataset(spec, "val", "data.val_dir") == folder
    assert fingerprint(folder).label.startswith("fc2/folder:val/2/")
    assert len(open_dataset(f"fc2@{tmp_path}", "train", "data.train_dir")) == 3


def test_a_folder_that_bears_a_name_is_given_by_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "sintel", 2)
    assert open_dataset("./sintel", "val", "x").name == "fc2"
    assert open_dataset("sintel/", "val", "x").name == "fc2"
    with pytest.raises(ConfigError, match="sintel: no folder is known for this data set"):
        open_dataset("sintel", "val", "x")
    assert all(is_named(spec) for spec in ("sintel", "sintel:clean", "sintel@x"))
    assert not any(is_named(spec) for spec in ("sintel/", "./sintel", "x:y", ""))


def test_the_guide_lists_every_set() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert page == documented(page), "run: make docs"


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("sintel:claen@/x", ConfigError, "no variant 'claen'.*did you mean sintel:clean?"),
        ("fc2:index-trian@/x", ConfigError, "did you mean fc2:index-train?"),
        ("sintel:@/x", ConfigError, "no variant ''"),
        ("sintel:clean@", ConfigError, "a folder must follow the @"),
        ("sintel:final@/nowhere/at/all", DataError, "no folder /nowhere/at/all"),
        ("sintle:final", DataError, "no data set of that name; did you mean sintel?"),
        ("kitti:occ", DataError, "did you mean kitti20"),
        ("no/such/folder", DataError, "no folder no/such/folder"),
        ("fc2:val", ConfigError, "EDGEFLOWNAS_DATA_FC2, or add a line 'fc2: FOLDER' to .*edgeflownas/datasets.yaml"),
    ],
)
def test_mistakes_are_explained(spec, error, said):
    for opening in (open_dataset, open_complete):
        with pytest.raises(error, match=said) as caught:
            opening(spec, "val", "data.val_dir")
        assert str(caught.value).startswith("data.val_dir: ")


def test_generated_must_be_generated(tmp_path):
    made_in = tmp_path / "made"
    generate_dataset(made_in, 1, 1, 0, height=64, width=64, occlusion=True)
    made = open_dataset(f"generated:val@{made_in}", "val", "x")
    assert fingerprint(made).label == fingerprint(open_dataset(str(made_in / "val"), "val", "x")).label
    assert fingerprint(made).label.startswith("fc2/generated:val/1/")
    with_masks = open_dataset(f"generated:val-occ@{made_in}", "val", "x")
    occluded = with_masks.read(0).occluded
    assert occluded is not None and 0 < occluded.mean() < 0.5 and made.read(0).occluded is None
    masked = [replace(s, occluded=s.flow.with_name(f"{s.name}-occ_01.png")) for s in made.samples]
    assert list(with_masks.samples) == masked
    make_folder(tmp_path / "real" / "val", 1)
    with pytest.raises(DataError, match=r"is no generated set.*write fc2:val@"):
        open_dataset(f"generated:val@{tmp_path / 'real'}", "val", "x")
    with pytest.raises(DataError, match="1 files are missing"):
        open_dataset(f"fc2:val-occ@{tmp_path / 'real'}", "val", "x")


def test_the_lists_may_lie_elsewhere(tmp_path, monkeypatch):
    make_folder(tmp_path / "data" / "train", 3)
    entries = [f"/old/FlyingChairs2/train/000000{i}-img_0.png" for i in (2, 0, 1)]
    lists = layouts.index_lists(tmp_path / "lists", entries, train="0 2", test="1")
    roots = {"fc2": str(tmp_path / "data"), "fc2_lists": str(lists)}
    assert open_dataset("fc2:index-train", "train", "x", roots).names == ("train/0000001", "train/0000002")
    monkeypatch.setenv("EDGEFLOWNAS_DATA_FC2_LISTS", str(lists))
    found = open_dataset(f"fc2:index-test@{tmp_path / 'data'}", "val", "x")
    assert found.names == ("train/0000000",) and fingerprint(found).label.startswith("fc2/index:test/1/")
    assert found.read(0).flow.shape == (12, 17, 2)


def test_the_fingerprint_covers_masks_and_moves_with_the_folder(tmp_path):
    first = fingerprint(open_dataset(f"sintel:clean@{layouts.sintel(tmp_path / 'a')}", "val", "x"))
    (tmp_path / "a").rename(tmp_path / "b")
    spec = f"sintel:clean@{tmp_path / 'b'}"
    assert fingerprint(open_dataset(spec, "val", "x"), first) == first
    assert len(first.table) == 2 * (3 + 2 + 2 + 2)  # three frames of two films, each once, two flows, four masks
    mask = tmp_path / "b/training/invalid/alley_1/frame_0001.png"
    mask.write_bytes(mask.with_name("frame_0002.png").read_bytes())
    assert fingerprint(open_dataset(spec, "val", "x"), first).hash != first.hash
    mask.unlink()
    with pytest.raises(DataError, match="1 files are missing"):
        open_dataset(spec, "val", "x")


# --- roots: configuration before environment before one file ---


def test_configuration_wins_over_environment_over_file(listed, monkeypatch):
    assert roots_file() == listed and find_root("sintel") is None
    listed.write_text("sintel: ~/films\nfc2: /data/fc2\n")
    assert find_root("sintel") == (listed.parents[2] / "films", str(listed))
    monkeypatch.setenv("EDGEFLOWNAS_DATA_SINTEL", "/env")
    assert find_root("sintel") == (Path("/env"), "EDGEFLOWNAS_DATA_SINTEL")
    assert find_root("sintel", {"sintel": "/configured"}) == (Path("/configured"), "data.roots")
    assert find_root("fc2", {"sintel": "/configured"}) == (Path("/data/fc2"), str(listed))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/other")
    assert roots_file() == Path("/other/edgeflownas/datasets.yaml") and find_root("fc2") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"sintle: /x\n", "no data set is called 'sintle' .*did you mean sintel?"),
        (b"sintel: 5\n", "sintel: must be a folder"),
        (b"sintel:\n", "sintel: must be a folder"),
        (b"sintel: data\n", "sintel: 'data' must be an absolute path"),
        (b"- sintel\n", "must hold lines such as"),
        (b"sintel: [\n", "not valid YAML"),
        (b"sintel: /a\nsintel: /b\n", "given twice"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_a_bad_file_is_refused_by_name(listed, content, said):
    listed.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        find_root("sintel")
    assert str(listed) in str(caught.value)
    listed.write_bytes(b"# nothing yet\n")
    assert find_root("sintel") is None
    with pytest.raises(ConfigError, match="data.roots: no data set is called 'kitti' .*did you mean kitti20"):
        open_dataset("sintel", "val", "x", {"kitti": "/x"})


def test_the_list_says_where_and_how_many(listed, tmp_path, monkeypatch):
    listed.write_text(f"sintel: {layouts.sintel(tmp_path / 'films')}\nhd1k: {tmp_path / 'gone'}\n")
    monkeypatch.setenv("EDGEFLOWNAS_DATA_FLYING_THINGS3D", str(layouts.things(tmp_path / "things")))
    rows = {row["name"]: row for row in list_datasets({"kitti2015": str(layouts.kitti(tmp_path / "k", "image_2"))})}
    sintel, things = rows["sintel"], rows["flying_things3d"]
    assert (sintel["found"], sintel["root"], sintel["named_by"]) == (True, str(tmp_path / "films"), str(listed))
    assert [(v["variant"], v["samples"]) for v in sintel["variants"]] == [("clean", 4), ("final", 4), ("both", 8)]
    assert things["named_by"] == "EDGEFLOWNAS_DATA_FLYING_THINGS3D"
    assert [v["samples"] for v in things["variants"]] == [8, 8, 8, 8]
    assert rows["kitti2015"]["named_by"] == "data.roots" and rows["kitti2015"]["found"]
    assert not rows["hd1k"]["found"] and "no folder" in rows["hd1k"]["variants"][0]["problem"]
    assert (rows["spring"]["root"], rows["spring"]["found"], rows["spring"]["variants"]) == (None, False, [])


# --- mixtures and exclusions ---


def test_a_mixture_holds_all_samples_under_the_names_of_their_sets(tmp_path):
    for folder, count in (("a", 3), ("b", 2)):
        make_folder(tmp_path / folder / "train", count)
    spec = f"fc2:train@{tmp_path / 'a'} + {tmp_path / 'b' / 'train'}"
    mixed = open_dataset(spec, "train", "data.train_dir")
    assert len(mixed) == 5 and mixed.names[0].startswith("fc2_train/") and len(set(mixed.names)) == 5
    mark = fingerprint(mixed)
    (tmp_path / "moved").mkdir()
    (tmp_path / "b").rename(tmp_path / "moved" / "b")  # the folders may lie anywhere
    again = spec.replace(str(tmp_path / "b"), str(tmp_path / "moved" / "b"))
    assert fingerprint(open_dataset(again, "train", "x")).table[0].name == mark.table[0].name
    with pytest.raises(ConfigError, match="two of the sets are called fc2_train"):
        open_dataset(f"fc2:train@{tmp_path / 'a'} + fc2:train@{tmp_path / 'a'}", "train", "x")


@pytest.mark.parametrize("form", ["list", "file", "whole path"])
def test_samples_are_left_out_by_their_flow_files(tmp_path, form):
    make_folder(tmp_path / "train", 4)
    folder = open_dataset(str(tmp_path / "train"), "train", "data.train_dir")
    ends = [folder.samples[i].flow.name for i in (0, 2)]
    if form == "file":
        (tmp_path / "bad.txt").write_text("# unusable\n" + "\n".join(ends) + "\n\n")
        ends = [str(tmp_path / "bad.txt")]
    elif form == "whole path":
        ends = [str(folder.samples[0].flow), f"D:\\data\\optical_flow\\{ends[1]}"]
    left = without(folder, ends, "data.train_dir")
    assert left.names == (folder.names[1], folder.names[3]) and "2 samples left out by data.exclude" in left.note
    with pytest.raises(DataError, match="leaves none"):
        without(folder, [s.flow.name for s in folder.samples], "data.train_dir")
