"""What a user may write: NAME[:VARIANT][@ROOT], or a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import layouts
import pytest
from fc2_folder import make_folder

from edgeflownas.data import synthetic
from edgeflownas.data.fingerprint import fingerprint
from edgeflownas.data.sets import is_named, open_dataset
from edgeflownas.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_folder_and_the_name_give_the_same_set(tmp_path: Path) -> None:
    make_folder(tmp_path / "train", 3)
    make_folder(tmp_path / "val", 2)
    folder = open_dataset(str(tmp_path / "val"), "val", "data.val_dir")
    for spec in (f"fc2:val@{tmp_path}", f"fc2@{tmp_path}"):
        assert open_dataset(spec, "val", "data.val_dir") == folder
    assert fingerprint(folder).label.startswith("fc2/folder:val/2/")
    assert len(open_dataset(f"fc2@{tmp_path}", "train", "data.train_dir")) == 3


def test_a_folder_that_bears_a_name_is_given_by_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "sintel", 2)
    assert open_dataset("./sintel", "val", "x").name == "fc2"
    assert open_dataset("sintel/", "val", "x").name == "fc2"
    with pytest.raises(ConfigError, match="sintel: no folder is known for this data set"):
        open_dataset("sintel", "val", "x")
    assert [is_named(spec) for spec in ("sintel", "sintel:clean", "sintel@x", "sintel/", "./sintel", "x:y", "")] == [
        *(True, True, True, False),
        *(False, False, False),
    ]


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
        (
            "fc2:val",
            ConfigError,
            "EDGEFLOWNAS_DATA_FC2, or add a line 'fc2: FOLDER' to .*config/edgeflownas/datasets.yaml",
        ),
    ],
)
def test_mistakes_are_explained(spec: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        open_dataset(spec, "val", "data.val_dir")
    assert str(caught.value).startswith("data.val_dir: ")


def test_generated_must_be_generated(tmp_path: Path) -> None:
    synthetic.generate_dataset(tmp_path / "made", 1, 1, 0, height=64, width=64, occlusion=True)
    made = open_dataset(f"generated:val@{tmp_path / 'made'}", "val", "x")
    assert fingerprint(made).label == fingerprint(open_dataset(str(tmp_path / "made" / "val"), "val", "x")).label
    assert fingerprint(made).label.startswith("fc2/generated:val/1/")
    with_masks = open_dataset(f"generated:val-occ@{tmp_path / 'made'}", "val", "x")
    occluded = with_masks.read(0).occluded
    assert occluded is not None and 0 < occluded.mean() < 0.5 and made.read(0).occluded is None
    assert with_masks.samples == tuple(
        replace(s, occluded=s.flow.with_name(f"{s.name}-occ_01.png")) for s in made.samples
    )
    make_folder(tmp_path / "real" / "val", 1)
    with pytest.raises(DataError, match=r"is no generated set.*write fc2:val@"):
        open_dataset(f"generated:val@{tmp_path / 'real'}", "val", "x")
    with pytest.raises(DataError, match="1 files are missing"):
        open_dataset(f"fc2:val-occ@{tmp_path / 'real'}", "val", "x")


def test_the_lists_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "data" / "train", 3)
    entries = [f"/old/FlyingChairs2/train/000000{i}-img_0.png" for i in (2, 0, 1)]
    lists = layouts.index_lists(tmp_path / "lists", entries, train="0 2", test="1")
    roots = {"fc2": str(tmp_path / "data"), "fc2_lists": str(lists)}
    assert open_dataset("fc2:index-train", "train", "x", roots).names == ("train/0000001", "train/0000002")
    monkeypatch.setenv("EDGEFLOWNAS_DATA_FC2_LISTS", str(lists))
    found = open_dataset(f"fc2:index-test@{tmp_path / 'data'}", "val", "x")
    assert found.names == ("train/0000000",) and fingerprint(found).label.startswith("fc2/index:test/1/")
    assert found.read(0).flow.shape == (12, 17, 2)


def test_the_fingerprint_covers_masks_and_moves_with_the_folder(tmp_path: Path) -> None:
    first = fingerprint(open_dataset(f"sintel:clean@{layouts.sintel(tmp_path / 'a')}", "val", "x"))
    (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(open_dataset(f"sintel:clean@{tmp_path / 'b'}", "val", "x"), first) == first
    assert len(first.table) == 2 * (3 + 2 + 2 + 2)  # three frames of two films, each once, two flows, four masks
    mask = tmp_path / "b/training/invalid/alley_1/frame_0001.png"
    mask.write_bytes(mask.with_name("frame_0002.png").read_bytes())
    assert fingerprint(open_dataset(f"sintel:clean@{tmp_path / 'b'}", "val", "x"), first).hash != first.hash
    mask.unlink()
    with pytest.raises(DataError, match="1 files are missing"):
        open_dataset(f"sintel:clean@{tmp_path / 'b'}", "val", "x")
