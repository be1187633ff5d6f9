import json
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.formats import read_flo
from edgeflownas.data.synthetic import write
from edgeflownas.data.synthetic.generate import generate_dataset, generate_pair
from edgeflownas.errors import ConfigError, DataError, StorageError

SIZE: dict[str, Any] = {"height": 48, "width": 64}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "new" / "set"
    stats = generate_dataset(out, 3, 2, 7, **SIZE, backward=True, occlusion=True)
    assert (stats.written, stats.kept) == (5, 0)
    return out


def test_layout_and_metadata(made: Path) -> None:
    parts = ("img_0.png", "img_1.png", "flow_01.flo", "flow_10.flo", "occ_01.png", "occ_10.png")
    names = {f"train/{i:07d}-{part}" for i in range(3) for part in parts}
    names |= {f"val/{5_000_000 + i:07d}-{part}" for i in range(2) for part in parts}
    assert set(contents(made)) == names | {"dataset.json"}
    described = json.loads((made / "dataset.json").read_text())
    assert described["generated"] is True and described["generator"] == "edgeflownas data synth"
    assert described["complete"] is True and (described["seed"], described["train"], described["val"]) == (7, 3, 2)
    assert (described["height"], described["width"]) == (48, 64)
    assert described["statistics"]["samples"] == 5 and described["statistics"]["mean"] > 0


def test_files_hold_the_pair(made: Path) -> None:
    for split, index in (("train", 2), ("val", 5_000_001)):
        pair = generate_pair(7, index, **SIZE)
        dataset = scan_fc2(made / split, split)
        assert dataset.source == "generated"
        read = dataset.read(len(dataset) - 1)
        np.testing.assert_array_equal(read.image1, pair.image1)
        np.testing.assert_array_equal(read.image2, pair.image2)
        np.testing.assert_array_equal(read.flow, pair.flow)
        assert read.valid.all()
        stem = str(made / split / f"{index:07d}")
        np.testing.assert_array_equal(read_flo(f"{stem}-flow_10.flo")[0], pair.backward_flow)
        for part, mask in (("occ_01", pair.occlusion), ("occ_10", pair.backward_occlusion)):
            stored = cv2.imread(f"{stem}-{part}.png", cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(stored, mask * np.uint8(255))


def test_statistics_are_those_of_the_files(made: Path) -> None:
    flows = [read_flo(path)[0] for path in made.rglob("*flow_01.flo")]
    magnitude = np.concatenate([np.hypot(flow[..., 0], flow[..., 1]).ravel() for flow in flows])
    stored = json.loads((made / "dataset.json").read_text())["statistics"]
    assert stored["mean"] == pytest.approx(magnitude.mean(), rel=1e-5)
    assert stored["p99"] == pytest.approx(np.percentile(magnitude, 99), abs=0.05)


def test_workers_and_the_size_of_the_set_change_no_file(made: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    generate_dataset(
        tmp_path / "two",
        3,
        2,
        7,
        **SIZE,
        backward=True,
        occlusion=True,
        workers=2,
        progress=lambda *at: seen.append(at),
    )
    assert contents(tmp_path / "two") == contents(made)
    assert seen == [(done, 5) for done in range(1, 6)]
    generate_dataset(tmp_path / "less", 1, 1, 7, **SIZE)
    fewer = contents(tmp_path / "less")
    del fewer["dataset.json"]
    assert fewer.items() <= contents(made).items() and len(fewer) == 6


def test_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "set"
    generate_dataset(out, 4, 0, 1, **SIZE)
    whole = contents(out)
    assert not (out / "val").exists()
    (out / "train" / "0000001-flow_01.flo").unlink()
    with open(out / "train" / "0000002-img_1.png", "r+b") as file:
        file.truncate(200)
    with open(out / "train" / "0000003-flow_01.flo", "r+b") as file:
        file.truncate(200)
    (out / "train" / ".abc.tmp").write_bytes(b"torn")
    kept = os.stat(out / "train" / "0000000-img_0.png").st_mtime_ns
    stats = generate_dataset(out, 4, 0, 1, **SIZE)
    assert (stats.written, stats.kept) == (3, 1)
    assert contents(out) == whole
    assert os.stat(out / "train" / "0000000-img_0.png").st_mtime_ns == kept


def test_an_interrupted_set_says_so(tmp_path: Path) -> None:
    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    for workers in (1, 2):
        out = tmp_path / str(workers)
        with pytest.raises(KeyboardInterrupt):
            generate_dataset(out, 6, 0, 1, **SIZE, workers=workers, progress=stop)
        assert json.loads((out / "dataset.json").read_text())["complete"] is False
        assert generate_dataset(out, 6, 0, 1, **SIZE).kept >= 2
        assert json.loads((out / "dataset.json").read_text())["complete"] is True
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize(
    "change", [{"train": 4}, {"val": 1}, {"seed": 8}, {"height": 64}, {"backward": False}, {"occlusion": False}]
)
def test_another_set_is_refused_and_left_alone(made: Path, change: dict[str, Any]) -> None:
    before = contents(made)
    asked: dict[str, Any] = {"train": 3, "val": 2, "seed": 7, **SIZE, "backward": True, "occlusion": True, **change}
    key, value = next(iter(change.items()))
    with pytest.raises(DataError, match=rf"(?s)another generated set.*{key}: .*asked for {value}") as caught:
        generate_dataset(made, **asked)
    assert len([line for line in str(caught.value).splitlines() if "asked for" in line]) == 1
    assert contents(made) == before


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("photo.jpg", "x", "not empty and holds no generated set"),
        ("dataset.json", "{", "cannot be read as JSON"),
        ("dataset.json", "[]", "was not generated"),
        ("dataset.json", '{"generated": false}', "was not generated"),
    ],
)
def test_foreign_folders_are_refused(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=expected):
        generate_dataset(tmp_path, 1, 1, 1, **SIZE)
    assert contents(tmp_path) == {name: text.encode()}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": -1}, "--train: -1"),
        ({"val": 6_000_000}, "--val: 6000000"),
        ({"train": 0, "val": 0}, "--train and --val are both 0"),
        ({"workers": 0}, "--workers"),
        ({"height": 10}, "--height: 10"),
    ],
)
def test_impossible_requests(tmp_path: Path, change: dict[str, int], expected: str) -> None:
    asked: dict[str, Any] = {"train": 1, "val": 1, "seed": 1, **SIZE, **change}
    with pytest.raises(ConfigError, match=expected):
        generate_dataset(tmp_path / "set", **asked)
    assert not (tmp_path / "set").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="--out"):
        generate_dataset(tmp_path / "file" / "set", 1, 1, 1, **SIZE)


@pytest.mark.slow
def test_speed_and_flow_magnitudes_at_full_size(tmp_path: Path) -> None:
    """The project's demand: 8 pairs a second of one core, files included; flow in the manner of FlyingChairs."""
    started = time.process_time()
    stats = generate_dataset(tmp_path / "set", 200, 0, 11)
    assert 200 / (time.process_time() - started) > 8
    assert 8 < stats.flow.mean < 13 and 3.5 < stats.flow.median < 6.5 and 50 < stats.flow.p99 < 90


def test_version_is_part_of_the_parameters(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "VERSION", 999)
    with pytest.raises(DataError, match="version: the set there has 1, asked for 999"):
        generate_dataset(made, 3, 2, 7, **SIZE, backward=True, occlusion=True)
