"""The image cache gives the same pixels as the files, or is made again; never yesterday's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from layouts import damage, make_folder, sintel

from edgeflownas.data import dataset as module
from edgeflownas.data.check import fingerprint
from edgeflownas.data.dataset import ImageCache
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import BadSample, StorageError

HEIGHT, WIDTH = 12, 17


def open_cache(dataset, folder, said=None):
    tell = ([] if said is None else said).append
    return ImageCache.open_or_create(dataset, fingerprint(dataset).hash, folder, tell)


@pytest.fixture
def dataset(tmp_path):
    return scan_fc2(make_folder(tmp_path / "set", 4), "train")


def assert_same(dataset, cache):
    cached = dataset.with_cache(cache)
    for i in range(len(dataset)):
        for field in ("image1", "image2", "flow", "valid"):
            assert np.array_equal(getattr(cached.read(i), field), getattr(dataset.read(i), field))


def test_cached_images_are_those_of_the_files(dataset, tmp_path, monkeypatch):
    for part in ("img_0", "img_1"):  # one sample of another size
        cv2.imwrite(str(tmp_path / "set" / f"0000002-{part}.png"), np.full((4, 7, 3), 9, np.uint8))
    said: list[str] = []
    cache = open_cache(dataset, tmp_path / "cache", said)
    for i in (0, 1, 3):
        assert np.array_equal(cache.read(i)[1], dataset.read(i).image2)
    assert cache.read(2)[0].shape == (4, 7, 3) and not cache.read(0)[0].flags.writeable
    size = 6 * (3 * HEIGHT * WIDTH + 4 * 7)
    assert len(said) == 1 and f"{size / 2**20:.1f} MiB for 4 samples" in said[0]
    assert cache.path.stat().st_size == size
    monkeypatch.setattr(module, "_decode", lambda *_: pytest.fail("decoded again"))
    again = open_cache(dataset, tmp_path / "cache", said)
    assert np.array_equal(again.read(3)[0], cache.read(3)[0]) and len(said) == 1
    with pytest.raises(BadSample, match="its images are"):
        dataset.with_cache(again).read(2)


def test_size_is_announced_before_anything_is_written(dataset, tmp_path):
    seen: list[list[str]] = []

    def announce(text):
        seen.append(sorted(path.suffix for path in (tmp_path / "cache").iterdir()))
        assert "MiB" in text

    ImageCache.open_or_create(dataset, "f" * 64, tmp_path / "cache", announce)
    assert seen == [[".lock"]]


def cut(path, by=1):
    os.truncate(path, path.stat().st_size - by)


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [
        (".u8", cut),
        (".u8", lambda path: cut(path, by=-1)),
        (".u8", Path.unlink),
        (".json", Path.unlink),
        (".json", cut),
        (".json", lambda path: path.write_text("[]")),
        (".json", lambda path: path.write_text('{"problems": {"0000000": 3}}')),
        (".json", lambda path: path.write_text(path.read_text().replace('"version": 2', '"version": 1'))),
        (".json", lambda path: path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))),
    ],
)
def test_a_damaged_cache_is_made_again(dataset, tmp_path, suffix, harm):
    cache = open_cache(dataset, tmp_path / "cache")
    harm(cache.path.with_suffix(suffix))
    said: list[str] = []
    assert_same(dataset, open_cache(dataset, tmp_path / "cache", said))
    assert "is being made" in said[-1]


def test_changed_images_are_never_served_from_the_old_cache(dataset, tmp_path):
    open_cache(dataset, tmp_path / "cache")
    cv2.imwrite(str(dataset.samples[1].image1), np.full((HEIGHT, WIDTH, 3), 77, np.uint8))
    assert_same(dataset, open_cache(dataset, tmp_path / "cache"))
    # even where the fingerprint did not move (it sums only the edges of large sets)
    ImageCache.open_or_create(dataset, "f" * 64, tmp_path / "cache", lambda _: None)
    cv2.imwrite(str(dataset.samples[1].image1), np.full((HEIGHT, WIDTH, 3), 78, np.uint8))
    said: list[str] = []
    assert_same(dataset, ImageCache.open_or_create(dataset, "f" * 64, tmp_path / "cache", said.append))
    assert "changed" in said[0]


def test_images_that_change_while_it_is_made_are_noticed(dataset, tmp_path, monkeypatch):
    real = module._decode

    def decode(sample):
        os.utime(dataset.samples[0].image1, (5, 5))
        return real(sample)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_decode", decode)
    with pytest.raises(StorageError, match=r"^\S+set: its images changed while"):
        open_cache(dataset, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.json"))


def test_a_bad_image_is_refused_as_without_a_cache(tmp_path):
    dataset = open_dataset(f"sintel:clean@{sintel(tmp_path / 'films')}", "val", "x")
    damage(dataset.samples[1].image2, 60, 4)
    dataset.samples[2].image1.write_bytes(b"")
    cached = dataset.with_cache(open_cache(dataset, tmp_path / "cache"))
    reopened = dataset.with_cache(open_cache(dataset, tmp_path / "cache"))
    for i in (1, 2):
        messages = set()
        for source in (dataset, cached, reopened):
            with pytest.raises(BadSample) as caught:
                source.read(i)
            messages.add(str(caught.value))
        assert len(messages) == 1
    for i in (0, 3):
        assert np.array_equal(reopened.read(i).image1, dataset.read(i).image1)


def test_too_little_space_and_unusable_folders(dataset, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="data.cache_dir"):
        open_cache(dataset, tmp_path / "file")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(StorageError, match=r"^data\.cache_dir: \S+ has 0.0 MiB free"):
        open_cache(dataset, tmp_path / "cache")
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        open_cache(dataset, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_leftovers_of_a_killed_maker_are_removed(dataset, tmp_path):
    name = f"images-{fingerprint(dataset).hash[:16]}"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f".{name}.abc.tmp").write_bytes(b"half")
    (tmp_path / "cache" / f"{name}.u8").write_bytes(b"x" * 6 * 4 * HEIGHT * WIDTH)  # renamed, but its sidecar never was
    assert_same(dataset, open_cache(dataset, tmp_path / "cache"))
    left = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert left == [f"{name}.json", f"{name}.lock", f"{name}.u8"]


@pytest.mark.e2e  # a process of its own
def test_two_processes_make_it_once(dataset, tmp_path):
    code = (
        "import sys; from edgeflownas.data.dataset import ImageCache; from edgeflownas.data.fc2 import scan_fc2;"
        "ImageCache.open_or_create(scan_fc2(sys.argv[1], 'train'), 'f' * 64, sys.argv[2], print)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "set"), str(tmp_path / "cache")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(text.count("is being made") for text in said) == [0, 1]
    assert_same(dataset, ImageCache.open_or_create(dataset, "f" * 64, tmp_path / "cache", pytest.fail))
