"""What is scored beside the evaluation set: the wide set and training samples, frozen with hashes of their own."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

from edgeflownas.config import Config
from edgeflownas.config.load import load_config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.errors import DataError
from edgeflownas.evaluate.frozen import (
    RANDOM_CROP,
    TRAIN,
    WIDE,
    EvalSet,
    FrozenBatches,
    freeze,
    freeze_split,
    hashed_settings,
    read_eval_set,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import make_tiny, tiny_options  # noqa: E402

CPU = torch.device("cpu")
NEWER = ("wide_every_epoch", "wide_batches_per_arch", "train_batches", "keep_sample_errors")


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("monitors") / "data", train=10, val=7)


@pytest.fixture(scope="module")
def splits(root: Path) -> tuple[FlowDataset, FlowDataset]:
    return scan_fc2(root / "train", "train"), scan_fc2(root / "val", "val")


@pytest.fixture(scope="module")
def config(root: Path) -> Config:
    return load_config(None, [*tiny_options(root, root, "x"), "--eval.train_batches=2"])


@pytest.fixture
def eval_set(config: Config, splits: tuple[FlowDataset, FlowDataset]) -> EvalSet:
    return freeze(config, *splits, ("train-label", "val-label"), silent)


def with_eval(config: Config, **keys: object) -> Config:
    return config.model_copy(update={"eval": config.eval.model_copy(update=keys)})


def test_monitors_are_frozen_beside_the_set(
    eval_set: EvalSet, config: Config, splits: tuple[FlowDataset, FlowDataset], tmp_path: Path
) -> None:
    assert set(eval_set.monitors) == {TRAIN, RANDOM_CROP}
    wide = freeze(with_eval(config, wide_every_epoch=2), *splits, ("train-label", "val-label"), silent)
    fewer = with_eval(config, wide_every_epoch=2, wide_batches_per_arch=2, train_batches=0)
    some = freeze(fewer, *splits, ("train-label", "val-label"), silent)
    assert set(wide.monitors) == {WIDE, TRAIN, RANDOM_CROP} and set(some.monitors) == {WIDE}
    assert wide.monitors[WIDE].names == splits[1].names and len(some.monitors[WIDE].names) == 6
    assert wide.hash == some.hash == eval_set.hash  # without the settings: none of them changes the frequent pixels
    hashes = [wide.hash_of(WIDE), some.hash_of(WIDE), wide.hash_of(TRAIN), wide.hash_of(RANDOM_CROP), wide.hash]
    assert len(set(hashes)) == 5
    path = tmp_path / "eval_set.json"
    path.write_text(json.dumps(wide.to_json()))
    again = read_eval_set(path)
    assert again == wide and again.hash_of(WIDE) == json.loads(path.read_text())["monitors"][WIDE]["hash"]
    document = wide.to_json()
    document["monitors"][WIDE]["names"] = document["monitors"][WIDE]["names"][1:]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="hash"):
        read_eval_set(path)


def test_the_random_crop_is_of_the_same_samples_and_a_function_of_the_seed(
    eval_set: EvalSet, config: Config, splits: tuple[FlowDataset, FlowDataset]
) -> None:
    centre, crop = eval_set.monitors[TRAIN], eval_set.monitors[RANDOM_CROP]
    assert centre.names == crop.names and len(centre.names) == 6 and set(centre.windows) == {centre.windows[0]}
    assert len(set(crop.windows)) > 2 and {(w.height, w.width) for w in crop.windows} == {(32, 48)}
    assert all(0 <= w.top <= 8 and 0 <= w.left <= 8 for w in crop.windows)
    again = freeze(with_eval(config, train_batches=1), *splits, ("train-label", "val-label"), silent)
    place = dict(zip(crop.names, crop.windows, strict=True))
    moved = again.monitors[RANDOM_CROP]  # fewer samples: those in both keep their window
    both = [(w, place[name]) for name, w in zip(moved.names, moved.windows, strict=True) if name in place]
    assert both and all(own == other for own, other in both)
    other = config.model_copy(update={"runtime": config.runtime.model_copy(update={"seed": 1})})
    assert freeze(other, *splits, ("train-label", "val-label"), silent).monitors[RANDOM_CROP].windows != crop.windows


def test_a_file_of_an_older_version_is_read_and_keeps_its_hash(eval_set: EvalSet, config: Config) -> None:
    """Format and hash as they were before there were monitors."""
    older = config.eval.model_dump(mode="json", exclude={"pictures", *NEWER})
    full = eval_set.with_pool(["0,0"], {"EB0": [1]}, hashed_settings(config.eval))
    document = {name: value for name, value in full.to_json().items() if name not in ("hash", "monitors")}
    assert document["settings"] == older
    text = json.dumps(document, sort_keys=True).encode()
    document["hash"] = hashlib.sha256(text).hexdigest()[:16]
    read = EvalSet.from_json(document)
    assert read.hash == full.hash == document["hash"] and read.monitors == {}


def test_which_keys_are_hashed(config: Config) -> None:
    def changed(**keys: object) -> bool:
        return hashed_settings(with_eval(config, **keys).eval) != hashed_settings(config.eval)

    assert not changed(keep_sample_errors=False) and not changed(pictures=0)
    assert changed(wide_every_epoch=1) and changed(train_batches=0) and changed(best_by="median")


def test_batches_read_when_they_are_asked_for(splits: tuple[FlowDataset, FlowDataset]) -> None:
    split = freeze_split(splits[1], "label", (32, 48), 3, None, "spread", "key", silent)
    held, read = (FrozenBatches(split, splits[1], 2.0, CPU, torch.float32, hold=hold) for hold in (True, False))
    assert len(read) == len(held) == 3
    for one, two, three in zip(held, read, [read[i] for i in range(3)], strict=True):
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))
    with pytest.raises(IndexError):
        read[3]
    for _ in read:  # left early: nothing hangs
        break
