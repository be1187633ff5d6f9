"""Frozen evaluation and calibration sets: sample names, crop windows and batch boundaries, with a hash.

``eval_set.json`` lets another machine, another day or another command evaluate the very same pixels.  Calibration
batches are training samples, evaluation batches come from the validation split; both are centre crops without
augmentation.
"""

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

from edgeflownas.config import Config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.formats import image_size
from edgeflownas.data.order import prefix, spread
from edgeflownas.data.transforms import Window, center_window, load_eval_sample
from edgeflownas.errors import BadSample, DataError
from edgeflownas.models.batches import FlowBatch, InputForm, to_flow_batch

__all__ = ["EvalSet", "FrozenBatches", "FrozenSplit", "freeze", "freeze_calibration", "freeze_split"]

Note = Callable[[str], None]


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


@dataclass(frozen=True)
class EvalSet:
    """What a pool evaluation reads: calibration and evaluation samples and the clip of the truth."""

    calibration: FrozenSplit
    evaluation: FrozenSplit
    flow_clip: float | None
    pool: tuple[str, ...] = ()
    coverage: dict[str, list[int]] = field(default_factory=dict)  # occurrences of each option in the pool
    settings: dict[str, Any] = field(default_factory=dict)  # the eval.* keys: another setting is another set

    def with_pool(self, pool: Sequence[str], coverage: dict[str, list[int]], settings: dict[str, Any]) -> EvalSet:
        """The same samples with the pool's codes, its option coverage and the eval.* keys on record."""
        return replace(self, pool=tuple(pool), coverage=coverage, settings=settings)

    def to_json(self) -> dict[str, Any]:
        """Plain data with its own hash."""
        data = {
            "format": 1,
            "protocol": "training: centre crop, fp32, truth clipped to flow_clip, EPE of A2 pooled over valid pixels",
            "flow_clip": self.flow_clip,
            "calibration": self.calibration.to_json(),
            "evaluation": self.evaluation.to_json(),
            "pool": list(self.pool),
            "coverage": self.coverage,
            "settings": self.settings,
        }
        return {**data, "hash": _hash(data)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EvalSet:
        """Inverse of :meth:`to_json`.  Raises DataError where the stored hash does not fit."""
        stored = dict(data)
        expected = stored.pop("hash", None)
        if expected != _hash(stored):
            raise DataError(
                f"eval_set.json: hash {expected} does not fit its content ({_hash(stored)}): the file was edited"
            )
        return cls(
            FrozenSplit.from_json(data["calibration"]),
            FrozenSplit.from_json(data["evaluation"]),
            data["flow_clip"],
            tuple(data["pool"]),
            data["coverage"],
            data["settings"],
        )

    @property
    def hash(self) -> str:
        """Identity of the evaluated pixels."""
        return str(self.to_json()["hash"])

    @property
    def calibration_hash(self) -> str:
        """Identity of the calibration ids alone, logged with every evaluation."""
        return _hash(self.calibration.to_json())


def _hash(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def freeze(config: Config, train: FlowDataset, val: FlowDataset, labels: tuple[str, str], note: Note) -> EvalSet:
    """Choose the calibration and evaluation samples of a run.

    Fewer samples than asked for: all of them, and a note.  ``labels`` are the splits' data labels (train, val).
    """
    calibration = freeze_calibration(config, train, labels[0], note)
    evaluation = freeze_split(
        val,
        labels[1],
        config.data.crop_size,
        config.eval.batch_size,
        config.eval.eval_batches_per_arch,
        config.eval.selection,
        "eval.eval_batches_per_arch",
        note,
    )
    return EvalSet(calibration, evaluation, config.data.flow_clip)


def freeze_calibration(config: Config, train: FlowDataset, label: str, note: Note) -> FrozenSplit:
    """The calibration samples of a run; data.on_bad_sample decides about those that cannot be read."""
    return freeze_split(
        train,
        label,
        config.data.crop_size,
        config.eval.batch_size,
        config.eval.bn_recal_batches,
        config.eval.selection,
        "eval.bn_recal_batches",
        note,
        skip_bad=config.data.on_bad_sample == "quarantine",
    )


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
        candidate: int | None = index
        while candidate is not None and (reason := _fault(dataset, candidate)) is not None:
            note(f"calibration sample {dataset.names[candidate]} cannot be used: {reason}")
            later = ((index + step) % len(dataset) for step in range(1, len(dataset)))
            candidate = next((i for i in later if i not in tried), None)
            tried.add(-1 if candidate is None else candidate)
        kept += [] if candidate is None else [candidate]
    if not kept:
        raise DataError(f"{dataset.directory}: none of the {len(dataset)} samples can be read; check them")
    return kept


def _fault(dataset: FlowDataset, index: int) -> str | None:
    try:
        dataset.read(index)
    except BadSample as problem:
        return str(problem)
    return None


class FrozenBatches(Sequence[FlowBatch]):
    """The tensors of a frozen split, decoded once and kept as uint8 images (host memory); items are ready batches."""

    def __init__(
        self,
        split: FrozenSplit,
        dataset: FlowDataset,
        flow_clip: float | None,
        device: torch.device,
        dtype: torch.dtype,
        form: InputForm = InputForm(),  # noqa: B008  (frozen)
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
        with ThreadPoolExecutor(2) as pool:
            indices = [position[name] for name in split.names]
            load = functools.partial(load_eval_sample, dataset, flow_clip=flow_clip)
            loaded = list(pool.map(load, indices, split.windows))
        self.samples = [(sample.images, sample.flow, sample.valid) for sample in loaded]

    def __len__(self) -> int:
        return self.split.num_batches

    def __getitem__(self, index: int) -> FlowBatch:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        size = self.split.batch_size
        images, flow, valid = zip(*self.samples[index * size : (index + 1) * size], strict=True)
        return to_flow_batch(np.stack(images), np.stack(flow), np.stack(valid), self.device, self.dtype, self.form)

    def __iter__(self) -> Iterator[FlowBatch]:
        return (self[i] for i in range(len(self)))


def read_eval_set(path: Path) -> EvalSet:
    """The frozen set of a run directory.  Raises DataError."""
    try:
        return EvalSet.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable eval_set.json ({error}); it is written when a run starts") from error
