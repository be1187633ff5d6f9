"""Frozen samples, their hashes, their pixels, and what is scored beside the evaluation set."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numeric import FLOAT32, relative_difference

from edgeflownas.config import Config
from edgeflownas.config.load import load_config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.formats import read_flo, write_flo
from edgeflownas.errors import BadSample, DataError
from edgeflownas.evaluate.frozen import (
    RANDOM_CROP,
    TRAIN,
    WIDE,
    EvalSet,
    FrozenBatches,
    FrozenSplit,
    freeze,
    freeze_split,
    hashed_settings,
)
from edgeflownas.run.setup import read_eval_set

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import make_tiny, tiny_options  # noqa: E402

CPU = torch.device("cpu")
Splits = tuple[FlowDataset, FlowDataset]
LABELS = ("train-label", "val-label")


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("evalset") / "data", train=10, val=7)


@pytest.fixture(scope="module")
def splits(root: Path) -> Splits:
    return scan_fc2(root / "train", "train"), scan_fc2(root / "val", "val")


@pytest.fixture(scope="module")
def config(root: Path) -> Config:
    return load_config(None, [*tiny_options(root, root, "x"), "--eval.train_batches=2"])


@pytest.fixture
def eval_set(config: Config, splits: Splits) -> EvalSet:
    return freeze(config, *splits, LABELS, silent)


def split_of(dataset: FlowDataset, batches: int | None, selection: str, batch: int = 2, notes: list | None = None):
    note = silent if notes is None else notes.append
    return freeze_split(dataset, "label", (32, 48), batch, batches, selection, "eval.some_key", note)


def test_spread_and_prefix(splits: Splits) -> None:
    number = lambda split: [int(name) for name in split.names]  # noqa: E731
    assert number(split_of(splits[0], 2, "prefix")) == [0, 1, 2, 3]
    spread = number(split_of(splits[0], 2, "spread"))
    assert spread == sorted(set(spread)) and len(spread) == 4
    assert min(spread) <= 2 and max(spread) >= 7 and set(np.diff(spread)) <= {2, 3}  # evenly over 0..9
    assert split_of(splits[0], 2, "spread").num_batches == 2


@pytest.mark.parametrize("selection", ["spread", "prefix"])
def test_fewer_samples_than_asked_for_takes_all_and_says_so(splits: Splits, selection: str) -> None:
    notes: list[str] = []
    split = split_of(splits[1], 5, selection, notes=notes)
    assert split.names == splits[1].names and split.num_batches == 4  # 2 + 2 + 2 + 1
    assert notes == ["eval.some_key: 10 samples asked for, split label holds 7: all of them are used"]
    for batches, batch in ((7, 1), (None, 2)):
        assert split_of(splits[1], batches, selection, batch, notes).names == splits[1].names and len(notes) == 1


def test_freeze_takes_calibration_from_train_and_evaluation_from_val(eval_set: EvalSet, config: Config) -> None:
    assert eval_set.calibration.label == "train-label" and eval_set.evaluation.label == "val-label"
    assert len(eval_set.calibration.names) == 3 and len(eval_set.evaluation.names) == 3  # one batch of three each
    assert eval_set.flow_clip == config.data.flow_clip


def test_windows_are_centre_crops_of_each_sample(tmp_path: Path) -> None:
    root = make_tiny(tmp_path / "data", train=1, val=1)
    for stem, size in (("0000001", (36, 49)), ("0000002", (32, 48))):  # another size, and one without a margin
        for image in (0, 1):
            cv2.imwrite(str(root / "val" / f"{stem}-img_{image}.png"), np.zeros((*size, 3), np.uint8))
        write_flo(root / "val" / f"{stem}-flow_01.flo", np.zeros((*size, 2), np.float32))
    windows = split_of(scan_fc2(root / "val", "val"), None, "spread").windows
    assert [(w.top, w.left, w.height, w.width) for w in windows] == [(4, 4, 32, 48), (2, 0, 32, 48), (0, 0, 32, 48)]


def test_a_sample_smaller_than_the_crop_is_refused(splits: Splits) -> None:
    with pytest.raises(DataError, match=r"data\.crop_size"):
        freeze_split(splits[0], "label", (48, 48), 2, 1, "spread", "key", silent)


# ---- the file ----


def test_json_round_trip(eval_set: EvalSet, tmp_path: Path) -> None:
    full = eval_set.with_pool(["0,0", "1,1"], {"EB0": [1, 1]}, {"batch_size": 3})
    path = tmp_path / "eval_set.json"
    path.write_text(json.dumps(full.to_json()))
    again = read_eval_set(path)
    assert again == full and again.hash == full.hash and again.calibration_hash == full.calibration_hash
    document = json.loads(path.read_text())
    assert document["hash"] == full.hash
    assert document["evaluation"]["names"] == list(full.evaluation.names)
    assert document["evaluation"]["windows"][0] == [4, 4, 32, 48]


EDITS = {
    "a name": lambda d: d["evaluation"]["names"].__setitem__(0, "0000005"),
    "a window": lambda d: d["evaluation"]["windows"][0].__setitem__(0, 3),
    "the batch size": lambda d: d["calibration"].__setitem__("batch_size", 1),
    "the clip": lambda d: d.__setitem__("flow_clip", None),
    "the pool": lambda d: d["pool"].append("2,2"),
    "the hash": lambda d: d.__setitem__("hash", "0" * 16),
    "a missing hash": lambda d: d.pop("hash"),
    "a new key": lambda d: d.__setitem__("extra", 1),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_file_is_refused(eval_set: EvalSet, tmp_path: Path, edit: str) -> None:
    document = json.loads(json.dumps(eval_set.to_json()))
    EDITS[edit](document)
    path = tmp_path / "eval_set.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="hash"):
        read_eval_set(path)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"hash": 1}', "\x00", '{"calibration": []}'])
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "eval_set.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"eval_set\.json"):
        read_eval_set(path)
    with pytest.raises(DataError, match=r"absent/eval_set\.json"):
        read_eval_set(tmp_path / "absent" / "eval_set.json")


def test_hash_tells_sets_apart(eval_set: EvalSet, config: Config, splits: Splits) -> None:
    assert freeze(config, *splits, LABELS, silent).hash == eval_set.hash
    changes = [("eval", "selection", "prefix"), ("eval", "batch_size", 2)]
    changes += [("data", "flow_clip", None), ("data", "crop_size", (32, 32)), ("eval", "eval_batches_per_arch", 2)]
    others = [freeze(config, *splits, ("train-label", "other-label"), silent), eval_set.with_pool(["0"], {}, {})]
    for group, key, value in changes:
        changed = getattr(config, group).model_copy(update={key: value})
        others.append(freeze(config.model_copy(update={group: changed}), *splits, LABELS, silent))
    assert len({eval_set.hash, *(other.hash for other in others)}) == 8
    assert others[-1].calibration_hash == eval_set.calibration_hash


# ---- the pixels ----


def test_batches_hold_the_frozen_pixels(root: Path, splits: Splits) -> None:
    split = split_of(splits[1], None, "spread", batch=3)
    batches = FrozenBatches(split, splits[1], None, CPU, torch.float32)
    assert len(batches) == 3 and [len(b.images) for b in batches] == [3, 3, 1]
    row = batches[2]
    bgr = [cv2.imread(str(root / "val" / f"0000006-img_{i}.png")) for i in (0, 1)]
    rgb = np.concatenate([image[4:36, 4:52, ::-1] for image in bgr], axis=2)  # RGB of both, centre crop
    assert relative_difference(row.images[0].permute(1, 2, 0), rgb / 127.5 - 1) <= 4 * FLOAT32
    flow, _ = read_flo(root / "val" / "0000006-flow_01.flo")
    np.testing.assert_array_equal(row.flow[0].permute(1, 2, 0).numpy(), flow[4:36, 4:52])
    assert row.valid.dtype == torch.bool and bool(row.valid.all())
    with pytest.raises(IndexError):
        batches[3]


def test_flow_clip_applies_and_keeps_pixels_valid(splits: Splits) -> None:
    split = split_of(splits[1], None, "spread", batch=7)
    free = FrozenBatches(split, splits[1], None, CPU, torch.float32)[0]
    clipped = FrozenBatches(split, splits[1], 1.5, CPU, torch.float32)[0]
    assert float(free.flow.abs().max()) > 1.5
    assert torch.equal(clipped.flow, free.flow.clamp(-1.5, 1.5)) and torch.equal(clipped.valid, free.valid)


def test_a_missing_sample_is_an_error_that_names_it(splits: Splits) -> None:
    split = FrozenSplit("label", ("0000000", "0009999"), split_of(splits[1], 1, "prefix").windows, 2)
    with pytest.raises(DataError, match=r"'0009999'"):
        FrozenBatches(split, splits[1], None, CPU, torch.float32)


def test_a_corrupt_sample_is_an_error_that_names_the_file(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    file = tmp_path / "data" / "val" / "0000002-img_1.png"
    content = bytearray(file.read_bytes())
    content[60:-20] = bytes(len(content) - 80)
    file.write_bytes(content)
    dataset = scan_fc2(tmp_path / "data" / "val", "val")
    with pytest.raises(BadSample, match=r"0000002-img_1\.png"):
        FrozenBatches(split_of(dataset, None, "spread"), dataset, None, CPU, torch.float32)


def test_unreadable_calibration_samples_give_way(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "train", tmp_path / "train")

    def spoil(*numbers: int) -> tuple[tuple[str, ...], list[str]]:
        for number in numbers:
            flow = tmp_path / "train" / f"{number:07d}-flow_01.flo"
            flow.write_bytes(flow.read_bytes()[:-1])
        notes: list[str] = []
        dataset = scan_fc2(tmp_path / "train", "train")
        split = freeze_split(dataset, "label", (32, 48), 2, 2, "prefix", "key", notes.append, skip_bad=True)
        return tuple(str(int(name)) for name in split.names), notes

    assert spoil() == (("0", "1", "2", "3"), [])
    names, notes = spoil(1, 4)  # the next that is not chosen is 4, which is bad too
    assert names == ("0", "5", "2", "3") and len(notes) == 2 and "0000001-flow_01.flo" in notes[0]
    assert spoil(2, 6, 7, 8, 9)[0] == ("0", "5", "3")  # nothing is left to replace it: one fewer
    with pytest.raises(DataError, match="none of the 10 samples"):
        spoil(0, 3, 5)


# ---- monitors ----

NEWER = ("also", "set", "wide_every_epoch", "wide_batches_per_arch", "train_batches", "keep_sample_errors")


def with_eval(config: Config, **keys: object) -> Config:
    return config.model_copy(update={"eval": config.eval.model_copy(update=keys)})


def test_monitors_are_frozen_beside_the_set(eval_set: EvalSet, config: Config, splits: Splits, tmp_path: Path) -> None:
    assert set(eval_set.monitors) == {TRAIN, RANDOM_CROP}
    wide = freeze(with_eval(config, wide_every_epoch=2), *splits, LABELS, silent)
    fewer = with_eval(config, wide_every_epoch=2, wide_batches_per_arch=2, train_batches=0)
    some = freeze(fewer, *splits, LABELS, silent)
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
    for part in ("names", "windows"):
        document["monitors"][WIDE][part] = document["monitors"][WIDE][part][1:]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="hash"):
        read_eval_set(path)


def test_the_random_crop_is_of_the_same_samples_and_a_function_of_the_seed(
    eval_set: EvalSet, config: Config, splits: Splits
) -> None:
    centre, crop = eval_set.monitors[TRAIN], eval_set.monitors[RANDOM_CROP]
    assert centre.names == crop.names and len(centre.names) == 6 and set(centre.windows) == {centre.windows[0]}
    assert len(set(crop.windows)) > 2 and {(w.height, w.width) for w in crop.windows} == {(32, 48)}
    assert all(0 <= w.top <= 8 and 0 <= w.left <= 8 for w in crop.windows)
    again = freeze(with_eval(config, train_batches=1), *splits, LABELS, silent)
    place = dict(zip(crop.names, crop.windows, strict=True))
    moved = again.monitors[RANDOM_CROP]  # fewer samples: those in both keep their window
    both = [(w, place[name]) for name, w in zip(moved.names, moved.windows, strict=True) if name in place]
    assert both and all(own == other for own, other in both)
    other = config.model_copy(update={"runtime": config.runtime.model_copy(update={"seed": 1})})
    assert freeze(other, *splits, LABELS, silent).monitors[RANDOM_CROP].windows != crop.windows


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


def test_batches_read_when_they_are_asked_for(splits: Splits) -> None:
    split = freeze_split(splits[1], "label", (32, 48), 3, None, "spread", "key", silent)
    held, read = (FrozenBatches(split, splits[1], 2.0, CPU, torch.float32, hold=hold) for hold in (True, False))
    assert len(read) == len(held) == 3
    for one, two, three in zip(held, read, [read[i] for i in range(3)], strict=True):
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))
    with pytest.raises(IndexError):
        read[3]
    for _ in read:  # left early: nothing hangs
        break
