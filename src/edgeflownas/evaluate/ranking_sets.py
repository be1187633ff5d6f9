"""Any data set under a protocol as batches for the prefix tree."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.formats import image_size
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.protocols import Deploy, Prepared, Protocol
from edgeflownas.models.batches import FlowBatch, InputForm, to_flow_batch

__all__ = ["ProtocolBatches"]

HOLD_BYTES = 2 * 2**30
"""Decoded pairs up to this size stay in memory; of a larger set each batch is decoded when it is asked for."""


class ProtocolBatches(Sequence[FlowBatch]):
    """Pairs of ``dataset`` as ``protocol`` shows them, in batches of frames of one size.

    Samples keep their order among those of their size; sizes follow each other as they first occur.  A sample's error
    does not depend on which batch it is in, but for the rounding of the arithmetic.
    """

    def __init__(
        self,
        dataset: FlowDataset,
        protocol: Protocol,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype,
        form: InputForm,
    ) -> None:
        """Raises ConfigError for a protocol that resizes predictions; DataError for frames that cannot be used."""
        if isinstance(protocol, Deploy):
            raise ConfigError("--protocol deploy resizes every prediction and cannot share the tree: use standard")
        self.dataset, self.protocol = dataset, protocol
        self._place = (device, dtype, form)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, sample in enumerate(dataset.samples):
            groups.setdefault(image_size(sample.image1), []).append(index)
        self.sizes = list(groups)
        """Sizes of the frames, px."""
        self._batches = [
            group[start : start + batch_size] for group in groups.values() for start in range(0, len(group), batch_size)
        ]
        held = sum(len(group) * height * width * 15 for (height, width), group in groups.items())
        self._held = [self._read(indices) for indices in self._batches] if held <= HOLD_BYTES else None

    def _read(self, indices: Sequence[int]) -> list[Prepared]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda index: self.protocol.prepare(self.dataset.read(index)), indices))

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> FlowBatch:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        pairs = self._read(self._batches[index]) if self._held is None else self._held[index]
        arrays = [(pair.images, pair.flow, pair.valid) for pair in pairs]
        images, flow, valid = (np.stack(values) for values in zip(*arrays, strict=True))
        return to_flow_batch(images, flow, valid, *self._place)
