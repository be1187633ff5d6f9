"""Batches in the order of the plan, loaded ahead by threads or processes.

The result depends on (dataset, plan, data config, seed, epoch, step) only: workers, prefetch depth and the place
where a run starts decide how long the trainer waits, and nothing else.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import DataConfig
from edgeflownas.data.order import BatchPlan
from edgeflownas.data.transforms import LoadedSample, load_training_sample
from edgeflownas.data.workers import WorkerDied, Workers, start_processes, start_threads
from edgeflownas.errors import BadSample, DataError, Interrupted, StorageError

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset

__all__ = ["PREFETCH", "Batch", "Loader", "Replacement", "load_or_replace"]

PREFETCH = 4  # batches loaded ahead where data.prefetch_batches is null


@dataclass(frozen=True)
class Replacement:
    """A sample that cannot be read and the one that took its place (data.on_bad_sample quarantine)."""

    bad_name: str
    bad_index: int
    reason: str
    by_name: str


@dataclass(frozen=True)
class Batch:
    """The samples of one step, in draw order."""

    images: NDArray[np.uint8]
    """[B, H, W, 6], contiguous: image 1 RGB, then image 2 RGB."""
    flow: NDArray[np.float32]
    """[B, H, W, 2], u to the right and v down, pixels clipped to data.flow_clip, divided by data.flow_divisor."""
    valid: NDArray[np.bool_]
    """[B, H, W]"""
    names: tuple[str, ...]
    """Names of the samples used (after replacement), as ``indices``."""
    indices: NDArray[np.int64]
    """[B]"""
    positions: NDArray[np.int64]
    """[B] draw positions, see BatchPlan.draws."""
    epoch: int
    step: int
    clipped_share: float
    """Share of the valid pixels that data.flow_clip changed."""
    replaced: tuple[Replacement, ...]
    """Unreadable samples met in this batch, in draw order."""


Loaded = tuple[LoadedSample, int, tuple[Replacement, ...]]


def load_or_replace(dataset: FlowDataset, data: DataConfig, seed: int, index: int, epoch: int, position: int) -> Loaded:
    """One training sample, the index used, and what it replaced.

    The rule of quarantine: the next index (around the end) that reads takes the place; crop and augmentation stay
    those of the draw.  It looks at the files only, so every worker finds the same replacement.

    Raises:
        BadSample: unreadable, with data.on_bad_sample stop.
        DataError: no sample of the split reads, or data.crop_size does not fit.
    """
    bad: list[tuple[int, str]] = []
    for offset in range(len(dataset)):
        candidate = (index + offset) % len(dataset)
        try:
            sample = load_training_sample(dataset, candidate, epoch, position, data, seed)
        except BadSample as error:
            if data.on_bad_sample == "stop":
                raise
            bad.append((candidate, str(error)))
            continue
        name = dataset.names[candidate]
        return sample, candidate, tuple(Replacement(dataset.names[i], i, why, name) for i, why in bad)
    raise DataError(f"none of the {len(dataset)} training samples can be read (data.train_dir); the first: {bad[0][1]}")


class Loader:
    """Training batches by (epoch, step); use it as a context manager, or close it.

    ``wait_seconds`` sums the time :meth:`next_batch` kept the trainer waiting.  ``stop_requested``, when given, is
    asked several times a second during a wait, so that a signal is obeyed although the storage hangs.
    """

    def __init__(
        self,
        dataset: FlowDataset,
        plan: BatchPlan,
        data_config: DataConfig,
        seed: int,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self.wait_seconds = 0.0
        self._last: Batch | None = None
        self._dataset, self._plan, self._data = dataset, plan, data_config
        self._load = functools.partial(load_or_replace, dataset, data_config, seed)
        self._stop_requested = stop_requested
        self._queue: deque[_Pending] = deque()
        self._closed = False
        self._workers: Workers | None = None
        if data_config.num_workers:
            start = start_processes if data_config.worker_kind == "process" else start_threads
            self._workers = start(self._load, data_config.num_workers)

    def next_batch(self, epoch: int, step: int) -> Batch:
        """The batch of a step; the following ones are loaded ahead, any other request starts the prefetch anew.

        The last batch is kept: several models that take turns ask for each batch one after the other.

        Raises:
            BadSample, DataError: see :func:`load_or_replace`; raised when the batch is asked for, not when prefetched.
            StorageError: a worker died, or the batch took longer than data.worker_timeout. The loader is closed then.
            Interrupted: ``stop_requested`` returned true during the wait.
        """
        if self._closed:
            raise RuntimeError("the loader is closed")
        if self._last is not None and (self._last.epoch, self._last.step) == (epoch, step):
            return self._last
        started = time.perf_counter()
        try:
            pending = self._take(epoch, step)
            self._await(pending)
            self._last = pending.batch(self._dataset.names)
            return self._last
        except WorkerDied as error:
            self.close()
            raise StorageError(
                f"{error} while the batch of epoch {epoch}, step {step} was loading (out of memory? see dmesg; "
                "lower data.num_workers or data.prefetch_batches, or use data.worker_kind thread). The steps before it "
                "are committed: resume the run"
            ) from error
        finally:
            self.wait_seconds += time.perf_counter() - started

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """All batches from (epoch, start_step) on, over the ends of epochs, without end."""
        while True:
            yield self.next_batch(epoch, start_step)
            epoch, start_step = self._following(epoch, start_step)

    def close(self) -> None:
        """Drop what is loaded ahead and end the workers. May be called again."""
        self._drop()
        if self._workers is not None:
            self._workers.close()
            self._workers = None
        self._closed = True

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _take(self, epoch: int, step: int) -> _Pending:
        """The pending batch of a step, with the prefetch topped up behind it."""
        if self._queue and (self._queue[0].epoch, self._queue[0].step) != (epoch, step):
            self._drop()
        if not self._queue:
            self._queue.append(self._start(epoch, step))
        pending = self._queue.popleft()
        if self._workers is not None:
            last = pending if not self._queue else self._queue[-1]
            while len(self._queue) < (self._data.prefetch_batches or PREFETCH):
                last = self._start(*self._following(last.epoch, last.step))
                self._queue.append(last)
        return pending

    def _start(self, epoch: int, step: int) -> _Pending:
        pending = _Pending(self._plan, epoch, step, self._data.crop_size)
        for slot, (index, position) in enumerate(zip(pending.drawn, pending.positions, strict=True)):
            if self._workers is None:
                pending.fill(slot, self._load(int(index), epoch, int(position)))
            else:
                pending.watch(slot, self._workers.submit(int(index), epoch, int(position)))
        return pending

    def _await(self, pending: _Pending) -> None:
        limit = self._data.worker_timeout
        deadline = time.monotonic() + limit
        while not pending.done.wait(min(0.2, max(0.0, deadline - time.monotonic()))):
            if self._stop_requested():
                raise Interrupted(f"stopped while waiting for the batch of epoch {pending.epoch}, step {pending.step}")
            if time.monotonic() >= deadline and (missing := sorted(pending.futures)):
                pending.cancel()
                self.close()
                raise StorageError(
                    f"the batch of epoch {pending.epoch}, step {pending.step} did not come within data.worker_timeout "
                    f"({limit:g} s): {len(missing)} of {len(pending.drawn)} samples missing, the first is "
                    f"{self._dataset.names[pending.drawn[missing[0]]]}. A {self._data.worker_kind} worker is stuck, or "
                    "the storage hangs or is slow: check it, or raise data.worker_timeout; then resume the run"
                )

    def _drop(self) -> None:
        while self._queue:
            self._queue.popleft().cancel()

    def _following(self, epoch: int, step: int) -> tuple[int, int]:
        return (epoch, step + 1) if step + 1 < self._plan.steps_per_epoch else (epoch + 1, 0)


class _Pending:
    """A batch in the making: workers' results are copied into their slots as they come, in any order."""

    def __init__(self, plan: BatchPlan, epoch: int, step: int, crop_size: tuple[int, int]) -> None:
        self.epoch, self.step = epoch, step
        self.positions, self.drawn = plan.draws(epoch, step), plan.indices(epoch, step)
        count = len(self.drawn)
        self.done = threading.Event()
        self.futures: dict[int, Future[Loaded]] = {}  # by slot, until its result is copied
        self._failures: dict[int, BaseException] = {}
        self._images = np.empty((count, *crop_size, 6), np.uint8)
        self._flow = np.empty((count, *crop_size, 2), np.float32)
        self._valid = np.empty((count, *crop_size), np.bool_)
        self._shares = np.zeros(count)
        self._used = self.drawn.copy()
        self._replaced: list[tuple[Replacement, ...]] = [()] * count
        self._missing = count
        self._lock = threading.Lock()

    def watch(self, slot: int, future: Future[Loaded]) -> None:
        self.futures[slot] = future
        future.add_done_callback(functools.partial(self._receive, slot))

    def fill(self, slot: int, loaded: Loaded) -> None:
        sample, self._used[slot], self._replaced[slot] = loaded
        self._images[slot], self._flow[slot], self._valid[slot] = sample.images, sample.flow, sample.valid
        self._shares[slot] = sample.clipped_share
        self._count_down()

    def cancel(self) -> None:
        for future in list(self.futures.values()):
            future.cancel()

    def batch(self, names: Sequence[str]) -> Batch:
        """The finished batch, or the failure of its first slot that has one."""
        if self._failures:
            raise self._failures[min(self._failures)]
        pixels = np.count_nonzero(self._valid, axis=(1, 2))
        return Batch(
            images=self._images,
            flow=self._flow,
            valid=self._valid,
            names=tuple(names[index] for index in self._used),
            indices=self._used,
            positions=self.positions,
            epoch=self.epoch,
            step=self.step,
            clipped_share=float(self._shares @ pixels / max(1, pixels.sum())),
            replaced=tuple(row for rows in self._replaced for row in rows),
        )

    def _receive(self, slot: int, future: Future[Loaded]) -> None:
        """Runs in the thread that finished the future, so that the trainer finds the copy done."""
        try:
            self.fill(slot, future.result())
        except BaseException as error:
            self._failures[slot] = error
            self._count_down()
        del self.futures[slot]

    def _count_down(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self.done.set()
