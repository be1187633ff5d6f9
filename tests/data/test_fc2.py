"""What counts as a sample, and what is said where one is incomplete."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from fc2_folder import HEIGHT, WIDTH, make_folder

from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.formats import write_flo
from edgeflownas.errors import BadSample, DataError


def test_samples_are_sorted_by_name_and_other_files_left_alone(tmp_path: Path) -> None:
    make_folder(tmp_path, ["0000010", "0000002", "0000007"])
    for other in ("0000002-flow_10.flo", "0000002-occ_01.png", "notes.txt", "._0000099-img_0.png", "0000003-img_0.flo"):
        (tmp_path / other).write_bytes(b"x")
    dataset = scan_fc2(tmp_path, "train")
    assert dataset.names == ("0000002", "0000007", "0000010") and len(dataset) == 3
    assert dataset.samples[0].image2 == tmp_path / "0000002-img_1.png"
    assert dataset.samples[0].flow == tmp_path / "0000002-flow_01.flo"
    assert (dataset.split, dataset.source, dataset.cache) == ("train", "folder", None)


@pytest.mark.parametrize("suffix", [".png", ".ppm"])
def test_reading_gives_the_written_arrays(tmp_path: Path, suffix: str) -> None:
    dataset = scan_fc2(make_folder(tmp_path, 2, suffix), "val")
    pair = dataset.read(1)
    assert pair.image1.shape == pair.image2.shape == (HEIGHT, WIDTH, 3) and pair.image1.dtype == np.uint8
    assert pair.flow.shape == (HEIGHT, WIDTH, 2) and pair.flow.dtype == np.float32
    assert pair.valid.all() and pair.valid.shape == (HEIGHT, WIDTH)
    assert np.array_equal(pair.image2, cv2.imread(str(dataset.samples[1].image2))[..., ::-1])
    assert not np.array_equal(pair.image1, pair.image2)


def test_sizes_must_agree(tmp_path: Path) -> None:
    dataset = scan_fc2(make_folder(tmp_path, 2), "train")
    write_flo(dataset.samples[1].flow, np.zeros((WIDTH, HEIGHT, 2), np.float32))
    with pytest.raises(BadSample, match=r"0000001-img_0.png: is 12x17, expected 17x12"):
        dataset.read(1)
    cv2.imwrite(str(dataset.samples[0].image2), np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(BadSample, match=r"0000000-img_1.png: is 12x18"):
        dataset.read(0)


@pytest.mark.parametrize("part", ["img_0.png", "img_1.png", "flow_01.flo"])
def test_a_missing_file_is_named(tmp_path: Path, part: str) -> None:
    make_folder(tmp_path, 3)
    (tmp_path / f"0000001-{part}").unlink()
    with pytest.raises(DataError) as caught:
        scan_fc2(tmp_path, "val", "data.val_dir")
    assert str(caught.value).startswith("data.val_dir: 1 incomplete samples")
    assert f"0000001-{part}: is missing" in str(caught.value) and caught.value.exit_code == 65


def test_an_image_there_twice_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, 1)
    (tmp_path / "0000000-img_1.ppm").write_bytes(b"")
    with pytest.raises(DataError, match=r"there twice: 0000000-img_1.png, 0000000-img_1.ppm"):
        scan_fc2(tmp_path, "train")


def test_a_missing_or_empty_folder_names_key_folder_pattern_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, said in (
        ("none", "no folder"),
        ("file", "no folder"),
        ("empty", "an empty folder"),
        (".", "'empty', 'file'"),
    ):
        with pytest.raises(DataError) as caught:
            scan_fc2(tmp_path / name, "val", "data.val_dir")
        for words in ("data.val_dir", str(tmp_path / name), "NNNNNNN-img_0.png", "data synth", said):
            assert words in str(caught.value)


def test_a_generated_set_says_so(tmp_path: Path) -> None:
    for split in ("train", "val"):
        make_folder(tmp_path / "made" / split, 1)
    (tmp_path / "made" / "dataset.json").write_text(json.dumps({"generated": True, "seed": 1}))
    (tmp_path / "link").symlink_to(tmp_path / "made" / "val")  # the truth is beside the real folder
    assert scan_fc2(tmp_path / "made" / "train", "train").source == "generated"
    assert scan_fc2(tmp_path / "link", "val").source == "generated"
    for content, source in (('{"generated": false}', "folder"), ("[]", "folder"), ('{"generated": "yes"}', "folder")):
        (tmp_path / "made" / "train" / "dataset.json").write_text(content)
        (tmp_path / "made" / "dataset.json").write_text("{}")
        assert scan_fc2(tmp_path / "made" / "train", "train").source == source
    for content in ("", "{", "[" * 100_000, "\udcff"):
        (tmp_path / "made" / "dataset.json").write_text(content, errors="surrogateescape")
        with pytest.raises(DataError, match="dataset.json"):
            scan_fc2(tmp_path / "made" / "train", "train")


def test_a_data_set_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    dataset = scan_fc2(make_folder(tmp_path, 2), "train")
    again = pickle.loads(pickle.dumps(dataset))
    assert again == dataset and np.array_equal(again.read(0).flow, dataset.read(0).flow)


def test_the_real_layout(shared: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        dataset = scan_fc2(shared / "data" / "flying_chairs_fc2_layout" / split, split)
        assert len(dataset) == count
        assert all(dataset.read(i).flow.shape == (384, 512, 2) for i in range(count))
    assert scan_fc2(shared / "data" / "flyingchairs2_crop_io_only", "train").read(0).valid.shape == (50, 50)
