"""Samples of one split in a fixed order, and their pixels as batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.transforms import Window, load_eval_sample
from edgeflownas.errors import DataError
from edgeflownas.models.batches import FlowBatch, InputForm, to_flow_batch
from edgeflownas.models.stages import StagedNet

__all__ = ["FrozenBatches", "FrozenSplit"]


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
        size = self.split.batch_size
        which = slice(index * size, (index + 1) * size)
        return self._decode(which) if self._held is None else self._held[which]

    def _batch(self, samples: list[tuple[NDArray[Any], ...]]) -> FlowBatch:
        images, flow, valid = map(np.stack, zip(*samples, strict=True))
        return to_flow_batch(images, flow, valid, self.device, self.dtype, self.form)

    def __iter__(self) -> Iterator[FlowBatch]:
        if self._held is not None:
            yield from (self[i] for i in range(len(self)))
            return
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self._samples, 0)
            for index in range(len(self)):
                samples = coming.result()
                if index + 1 < len(self):
                    coming = ahead.submit(self._samples, index + 1)
                yield self._batch(samples)
