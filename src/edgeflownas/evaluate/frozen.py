"""Samples of one split in a fixed order, and their pixels as batches."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.config import Config, EvalConfig
from edgeflownas.data.dataset import FlowDataset, Window, center_window, load_eval_sample, random_window
from edgeflownas.data.formats import image_size
from edgeflownas.data.order import prefix, spread
from edgeflownas.errors import BadSample, DataError
from edgeflownas.models.blocks import FlowBatch, InputForm, StagedNet, to_flow_batch
from edgeflownas.randomness import uniforms


@dataclass(frozen=True)
class FrozenSplit:
    """Samples of one split in a fixed order, each with its crop window, cut into batches of ``batch_size``."""

    label: str
    names: tuple[str, ...]
    windows: tuple[Window, ...]
    batch_size: int

    @property
    def num_batches(self) -> int:
        """Batches, the last one possibly smaller."""
        return -(-len(self.names) // self.batch_size)

    def to_json(self) -> dict[str, Any]:
        """Plain data for eval_set.json."""
        windows = [[w.top, w.left, w.height, w.width] for w in self.windows]
        return {"label": self.label, "batch_size": self.batch_size, "names": list(self.names), "windows": windows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> FrozenSplit:
        """Inverse of :meth:`to_json`."""
        windows = tuple(Window(*window) for window in data["windows"])
        return cls(data["label"], tuple(data["names"]), windows, data["batch_size"])


class FrozenBatches(Sequence[FlowBatch]):
    """The tensors of a frozen split; items are ready batches.

    Decoded once and kept as uint8 images (host memory), or, with ``hold`` off, decoded when a batch is asked for, for
    splits too large to keep: iterating then decodes one batch ahead.
    """

    def __init__(
        self,
        split: FrozenSplit,
        dataset: FlowDataset,
        flow_clip: float | None,
        device: torch.device,
        dtype: torch.dtype,
        form: InputForm = InputForm(),  # noqa: B008  (frozen)
        hold: bool = True,
    ) -> None:
        """Raises DataError where the data set no longer holds a frozen sample."""
        position = {name: i for i, name in enumerate(dataset.names)}
        missing = [name for name in split.names if name not in position]
        if missing:
            raise DataError(
                f"{dataset.directory}: {len(missing)} samples of the frozen set {split.label} are missing, the first "
                f"is {missing[0]!r}: give the folder the run was started with"
            )
        self.split = split
        self.device, self.dtype, self.form = device, dtype, form
        self._indices = [position[name] for name in split.names]
        self._load = functools.partial(load_eval_sample, dataset, flow_clip=flow_clip)
        self._held = self._decode(slice(None)) if hold else None

    @classmethod
    def of(
        cls, net: StagedNet, split: FrozenSplit, dataset: FlowDataset, flow_clip: float | None, hold: bool = True
    ) -> FrozenBatches:
        """Batches where ``net`` is and in the form it reads.  Raises DataError as the constructor."""
        first = next(net.parameters())
        return cls(split, dataset, flow_clip, first.device, first.dtype, net.input_form, hold)

    def _decode(self, which: slice) -> list[tuple[NDArray[Any], ...]]:
        with ThreadPoolExecutor(2) as pool:
            loaded = pool.map(self._load, self._indices[which], self.split.windows[which])
            return [(sample.images, sample.flow, sample.valid) for sample in loaded]

    def __len__(self) -> int:
        return self.split.num_batches

    def __getitem__(self, index: int) -> FlowBatch:  # type: ignore[override]
        return self._batch(self._samples(index))

    def _samples(self, index: int) -> list[tuple[NDArray[Any], ...]]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = slice(index * self.split.batch_size, (index + 1) * self.split.batch_size)
        return self._decode(which) if self._held is None else self._held[which]

    def _batch(self, samples: list[tuple[NDArray[Any], ...]]) -> FlowBatch:
        images, flow, valid = map(np.stack, zip(*samples, strict=True))
        return to_flow_batch(images, flow, valid, self.device, self.dtype, self.form)

    def __iter__(self) -> Iterator[FlowBatch]:
        if self._held is not None:
            yield from map(self.__getitem__, range(len(self)))
            return
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._samples, 0)
            for index in range(1, len(self) + 1):
                samples = coming.result()
                if index < len(self):
                    coming = ahead.submit(self._samples, index)
                yield self._batch(samples)


Note = Callable[[str], None]
WIDE, TRAIN, RANDOM_CROP = "wide", "train", "train_random_crop"  # names of the monitors


@dataclass(frozen=True)
class EvalSet:
    """What a pool evaluation reads: calibration and evaluation samples and the clip of the truth."""

    calibration: FrozenSplit
    evaluation: FrozenSplit
    flow_clip: float | None
    pool: tuple[str, ...] = ()
    coverage: dict[str, list[int]] = field(default_factory=dict)  # occurrences of each option in the pool
    settings: dict[str, Any] = field(default_factory=dict)  # the eval.* keys: another setting is another set
    monitors: dict[str, FrozenSplit] = field(default_factory=dict)  # further sets by name: WIDE, TRAIN, RANDOM_CROP

    def with_pool(self, pool: Sequence[str], coverage: dict[str, list[int]], settings: dict[str, Any]) -> EvalSet:
        """The same samples with the pool's codes, its option coverage and the eval.* keys on record."""
        return replace(self, pool=tuple(pool), coverage=coverage, settings=settings)

    def to_json(self) -> dict[str, Any]:
        """Plain data with its own hash, and those of the monitors, which are no part of it."""
        data = self._identity()
        monitors = {name: {**split.to_json(), "hash": self.hash_of(name)} for name, split in self.monitors.items()}
        return {**data, "hash": _hash(data), **({"monitors": monitors} if monitors else {})}

    def _identity(self) -> dict[str, Any]:
        return {
            "format": 1,
            "protocol": "training: centre crop, fp32, truth clipped to flow_clip, EPE of A2 pooled over valid pixels",
            "flow_clip": self.flow_clip,
            "calibration": self.calibration.to_json(),
            "evaluation": self.evaluation.to_json(),
            "pool": list(self.pool),
            "coverage": self.coverage,
            "settings": self.settings,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EvalSet:
        """Inverse of :meth:`to_json`.  Raises DataError where a stored hash does not fit."""
        stored = dict(data)
        expected, monitors = stored.pop("hash", None), stored.pop("monitors", {})
        _require_hash(expected, _hash(stored))
        calibration, evaluation = (FrozenSplit.from_json(data[name]) for name in ("calibration", "evaluation"))
        chosen = tuple(data["pool"]), data["coverage"], data["settings"]
        further = {name: FrozenSplit.from_json(split) for name, split in monitors.items()}
        found = cls(calibration, evaluation, data["flow_clip"], *chosen, further)
        for name, split in monitors.items():
            _require_hash(split["hash"], found.hash_of(name))
        return found

    @property
    def hash(self) -> str:
        """Identity of the evaluated pixels."""
        return _hash(self._identity())

    def hash_of(self, monitor: str) -> str:
        """Identity of a monitor's pixels: the hash of the set whose evaluation they would be."""
        return replace(self, evaluation=self.monitors[monitor]).hash

    @property
    def calibration_hash(self) -> str:
        """Identity of the calibration ids alone, logged with every evaluation."""
        return _hash(self.calibration.to_json())


def _hash(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def hashed_settings(settings: EvalConfig) -> dict[str, Any]:
    """The eval.* keys as they enter the hash, plain data.

    Keys that say what is kept or drawn are left out, and so are newer ones at their default: a run of a version that
    did not know them keeps its hash.
    """
    values = settings.model_dump(mode="json", exclude={"pictures", "keep_sample_errors", "also", "set"})
    default = EvalConfig().model_dump(mode="json")
    newer = ("wide_every_epoch", "wide_batches_per_arch", "train_batches")
    return {name: value for name, value in values.items() if name not in newer or value != default[name]}


def _require_hash(stored: object, own: str) -> None:
    if stored != own:
        raise DataError(f"eval_set.json: hash {stored} does not fit its content ({own}): the file was edited")


def freeze(config: Config, train: FlowDataset, val: FlowDataset, labels: tuple[str, str], note: Note) -> EvalSet:
    """Choose the calibration, evaluation and monitor samples of a run.

    Fewer samples than asked for: all of them, and a note.  ``labels`` are the splits' data labels (train, val).
    """
    calibration = freeze_calibration(config, train, labels[0], note)
    evaluation = _freeze(config, val, labels[1], note, "eval_batches_per_arch")
    monitors: dict[str, FrozenSplit] = {}
    if config.eval.wide_every_epoch is not None:
        monitors[WIDE] = _freeze(config, val, labels[1], note, "wide_batches_per_arch")
    if config.eval.train_batches:
        centre = freeze_calibration(config, train, labels[0], note, "train_batches")
        monitors |= {TRAIN: centre, RANDOM_CROP: _random_crop(centre, train, config)}
    return EvalSet(calibration, evaluation, config.data.flow_clip, monitors=monitors)


def freeze_calibration(
    config: Config, train: FlowDataset, label: str, note: Note, key: str = "bn_recal_batches"
) -> FrozenSplit:
    """As many training samples as the eval ``key`` says, for calibration unless it is another.

    data.on_bad_sample decides about those that cannot be read.
    """
    return _freeze(config, train, label, note, key, config.data.on_bad_sample == "quarantine")


def _freeze(config: Config, data: FlowDataset, label: str, note: Note, key: str, skip_bad: bool = False) -> FrozenSplit:
    own = config.eval
    asked = config.data.crop_size, config.eval_batch_size, getattr(own, key), own.selection
    return freeze_split(data, label, *asked, f"eval.{key}", note, skip_bad)


def _random_crop(split: FrozenSplit, dataset: FlowDataset, config: Config) -> FrozenSplit:
    """The same samples, each in a window of its own that is a function of runtime.seed and the sample's position."""
    position = {name: i for i, name in enumerate(dataset.names)}
    windows = []
    for index in map(position.__getitem__, split.names):
        top, left = uniforms(config.runtime.seed, "train monitor crop", index, count=2).tolist()
        image = dataset.samples[index].image1
        windows.append(random_window(*image_size(image), *config.data.crop_size, (top, left), str(image)))
    return replace(split, windows=tuple(windows))


def freeze_split(
    dataset: FlowDataset,
    label: str,
    crop_size: tuple[int, int],
    batch_size: int,
    batches: int | None,
    selection: str,
    key: str,
    note: Note,
    skip_bad: bool = False,
) -> FrozenSplit:
    """The first or evenly spaced ``batches`` x ``batch_size`` samples with centre windows; None: the whole split.

    ``skip_bad`` reads every chosen sample and puts the next that reads in the place of one that does not.
    """
    wanted = len(dataset) if batches is None else batches * batch_size
    if wanted > len(dataset):
        note(f"{key}: {wanted} samples asked for, split {label} holds {len(dataset)}: all of them are used")
    choose = prefix if selection == "prefix" else spread
    indices = [int(i) for i in choose(len(dataset), wanted)]
    if skip_bad:
        indices = _readable(dataset, indices, note)
    samples = [dataset.samples[i] for i in indices]
    windows = tuple(center_window(*image_size(s.image1), *crop_size, str(s.image1)) for s in samples)
    return FrozenSplit(label, tuple(s.name for s in samples), windows, batch_size)


def _readable(dataset: FlowDataset, indices: list[int], note: Note) -> list[int]:
    """``indices`` with unreadable samples replaced by the next (around the end) that reads and is not chosen yet."""
    kept: list[int] = []
    tried = set(indices)
    for index in indices:
        for candidate in ((index + step) % len(dataset) for step in range(len(dataset))):
            if candidate in tried and candidate != index:
                continue
            tried.add(candidate)
            try:
                dataset.read(candidate)
                kept.append(candidate)
                break
            except BadSample as problem:
                note(f"calibration sample {dataset.names[candidate]} cannot be used: {problem}")
    if not kept:
        raise DataError(f"{dataset.directory}: none of the {len(dataset)} samples can be read; check them")
    return kept


def read_eval_set(path: Path) -> EvalSet:
    """The frozen set of a run directory.  Raises DataError."""
    try:
        return EvalSet.from_json(json.loads(path.read_text()))
    except DataError:  # said already
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable eval_set.json ({error}); it is written when a run starts") from error
