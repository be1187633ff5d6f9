"""Any data set under a protocol as batches for the prefix tree."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.formats import image_size
from edgeflownas.evaluate.protocols import Prepared, Protocol
from edgeflownas.models.blocks import FlowBatch, InputForm, to_flow_batch


def protocol_batches(
    dataset: FlowDataset,
    protocol: Protocol,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    form: InputForm,
) -> tuple[list[FlowBatch], list[tuple[int, int]], list[int]]:
    """Pairs of ``dataset`` as ``protocol`` shows them, in batches of frames of one size; these sizes, px; the samples.

    The last is the place in the data set of each sample of the batches, in their order.
    Samples keep their order among those of their size; sizes follow each other as they first occur.  A sample's error
    does not depend on which batch it is in, but for the rounding of the arithmetic.

    ``protocol`` must be one that does not resize predictions.

    Raises:
        DataError: frames that cannot be used.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, sample in enumerate(dataset.samples):
        groups.setdefault(image_size(sample.image1), []).append(index)

    def read(index: int) -> Prepared:
        return protocol.prepare(dataset.read(index))

    batches = []
    with ThreadPoolExecutor(2) as pool:
        for group in groups.values():
            for start in range(0, len(group), batch_size):
                pairs = pool.map(read, group[start : start + batch_size])
                arrays = [(pair.images, pair.flow, pair.valid) for pair in pairs]
                images, flow, valid = (np.stack(values) for values in zip(*arrays, strict=True))
                batches.append(to_flow_batch(images, flow, valid, device, dtype, form))
    return batches, list(groups), [index for group in groups.values() for index in group]
