"""Time the loader on DATA against decoding alone, and against cv2.imread and np.fromfile in a loop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import cv2
import numpy as np
from _shared import at_least, height_width, options, run
from numpy.typing import NDArray

from edgeflownas.config import DataConfig
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.data.sets import open_dataset


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__, batch=8)
    parser.add_argument("data", help="folder in FlyingChairs2 layout, or a data set by name, such as sintel:clean@ROOT")
    parser.add_argument("--one-core", action="store_true", help="keep everything on one core")
    parser.add_argument("--workers", type=at_least(0), nargs="+", default=[0, 1, 2], help="numbers of workers to time")
    parser.add_argument("--batches", type=at_least(1), default=8, help="batches timed a round")
    parser.add_argument("--size", type=height_width, default="180x240", help="HEIGHTxWIDTH of the crop")
    return run(parser, measure, argv)


def measure(given: Any) -> dict[str, Any]:
    """The figures of every setting."""
    dataset, data = open_dataset(given.data, "train", "DATA"), DataConfig(crop_size=given.size)
    counts = (given.batch, given.workers, given.batches)
    rows = bench_loader(dataset, data, *counts, one_core=given.one_core)
    return {f"{row.num_workers} threads": asdict(row) for row in rows}


@dataclass(frozen=True)
class LoaderRow:
    """One setting; rates are medians over the rounds."""

    num_workers: int
    samples_per_second: float
    decode_samples_per_second: float
    """Our readers in a loop of one thread, without crop, batch or queue, timed in turn with the loader."""
    plain_samples_per_second: float
    """cv2.imread of the images (and of a flow in PNG) and np.fromfile of the flow, likewise."""
    decode_ratio: float
    """Median over the rounds of loader rate / decode rate of the same round: what the loader adds to decoding."""
    ratio: float
    """Median over the rounds of loader rate / plain rate of the same round."""
    cores: int
    """Cores the measurement could use."""
    batches: int
    """Batches timed a round."""


def bench_loader(
    dataset: FlowDataset,
    data_config: DataConfig,
    batch_size: int,
    worker_counts: Sequence[int],
    batches: int,
    rounds: int = 3,
    one_core: bool = False,
) -> list[LoaderRow]:
    """Time every number of workers, each round in turn with the two plain loops over the same samples.

    With ``one_core`` everything, workers included, shares one core: what is measured is work, not parallelism.

    The first batch of a loader is not timed: it includes the start of the workers.  Files are read once before, so
    that both sides find them in the page cache.  The consumer does nothing between batches: the rate is the
    loader's own, not hidden behind training.
    """
    plan = BatchPlan(len(dataset), batch_size, 1, "fixed_steps", "shuffle_no_replacement", batches + 1, None, seed=0)
    samples = np.concatenate([plan.indices(0, step) for step in range(1, batches + 1)])
    _plain_seconds(dataset, np.unique(np.concatenate([samples, plan.indices(0, 0)])))
    rows = []
    with _on_one_core() if one_core else nullcontext():
        cores = len(os.sched_getaffinity(0))
        for count in worker_counts:
            settled = data_config.model_copy(update={"num_workers": count})
            seconds = [
                (
                    _loader_seconds(dataset, plan, settled),
                    _decode_seconds(dataset, samples),
                    _plain_seconds(dataset, samples),
                )
                for _ in range(rounds)
            ]
            loader, decode, plain = (median(len(samples) / row[i] for row in seconds) for i in range(3))
            to_decode, to_plain = (median(row[i] / row[0] for row in seconds) for i in (1, 2))
            rows.append(LoaderRow(count, loader, decode, plain, to_decode, to_plain, cores, batches))
    return rows


@contextmanager
def _on_one_core() -> Iterator[None]:
    """The calling thread, and what it starts, on the first core it may use; OpenCV on one thread."""
    before, threads = os.sched_getaffinity(0), cv2.getNumThreads()
    os.sched_setaffinity(0, {min(before)})
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        cv2.setNumThreads(threads)


def _loader_seconds(dataset: FlowDataset, plan: BatchPlan, data_config: DataConfig) -> float:
    with Loader(dataset, plan, data_config, seed=0) as loader:
        loader.next_batch(0, 0)
        started = time.perf_counter()
        for step in range(1, plan.steps_per_epoch):
            loader.next_batch(0, step)
        return time.perf_counter() - started


def _decode_seconds(dataset: FlowDataset, indices: NDArray[np.int64]) -> float:
    started = time.perf_counter()
    for index in indices:
        dataset.read(int(index))
    return time.perf_counter() - started


def _plain_seconds(dataset: FlowDataset, indices: NDArray[np.int64]) -> float:
    started = time.perf_counter()
    for index in indices:
        sample = dataset.samples[index]
        cv2.imread(str(sample.image1))
        cv2.imread(str(sample.image2))
        if sample.flow.suffix == ".png":
            cv2.imread(str(sample.flow), cv2.IMREAD_UNCHANGED)
        else:
            np.fromfile(sample.flow, dtype="<u1")
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
