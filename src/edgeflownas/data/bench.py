"""How fast samples come: the loader against a plain decode loop over the same files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import DataConfig
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset

__all__ = ["LoaderRow", "bench_loader"]

Kind = Literal["thread", "process"]


@dataclass(frozen=True)
class LoaderRow:
    """One setting; rates are medians over the rounds."""

    worker_kind: str
    """thread or process; none for 0 workers."""
    num_workers: int
    samples_per_second: float
    plain_samples_per_second: float
    """cv2.imread of both images and np.fromfile of the flow, in a loop of one thread, timed in turn with the loader."""
    ratio: float
    """Median over the rounds of loader rate / plain rate of the same round."""
    batches: int
    """Batches timed a round."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def bench_loader(
    dataset: FlowDataset,
    data_config: DataConfig,
    batch_size: int,
    worker_counts: Sequence[int],
    worker_kinds: Sequence[Kind],
    batches: int,
    rounds: int = 3,
) -> list[LoaderRow]:
    """Time every (kind, count), each round in turn with the plain loop over the same samples.

    The first batch of a loader is not timed: it includes the start of the workers.  Files are read once before, so
    that both sides find them in the page cache.  The consumer does nothing between batches: the rate is the
    loader's own, not hidden behind training.
    """
    plan = BatchPlan(len(dataset), batch_size, 1, "fixed_steps", "shuffle_no_replacement", batches + 1, None, seed=0)
    samples = np.concatenate([plan.indices(0, step) for step in range(1, batches + 1)])
    _plain_seconds(dataset, np.unique(np.concatenate([samples, plan.indices(0, 0)])))
    settings: list[tuple[str, int]] = [("none", 0)] if 0 in worker_counts else []
    settings += [(kind, count) for kind in worker_kinds for count in worker_counts if count]
    rows = []
    for kind, count in settings:
        update: dict[str, Any] = {"num_workers": count} | ({"worker_kind": kind} if count else {})
        settled = data_config.model_copy(update=update)
        rates, plain_rates = [], []
        for _ in range(rounds):
            rates.append(len(samples) / _loader_seconds(dataset, plan, settled))
            plain_rates.append(len(samples) / _plain_seconds(dataset, samples))
        ratio = median(rate / plain for rate, plain in zip(rates, plain_rates, strict=True))
        rows.append(LoaderRow(kind, count, median(rates), median(plain_rates), ratio, batches))
    return rows


def _loader_seconds(dataset: FlowDataset, plan: BatchPlan, data_config: DataConfig) -> float:
    with Loader(dataset, plan, data_config, seed=0) as loader:
        loader.next_batch(0, 0)
        started = time.perf_counter()
        for step in range(1, plan.steps_per_epoch):
            loader.next_batch(0, step)
        return time.perf_counter() - started


def _plain_seconds(dataset: FlowDataset, indices: NDArray[np.int64]) -> float:
    import cv2

    started = time.perf_counter()
    for index in indices:
        sample = dataset.samples[index]
        cv2.imread(str(sample.image1))
        cv2.imread(str(sample.image2))
        np.fromfile(sample.flow, dtype="<f4")
    return time.perf_counter() - started
