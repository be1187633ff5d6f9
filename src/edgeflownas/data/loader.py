"""Batches in the order of the plan, loaded ahead by threads.

The result depends on (dataset, plan, data config, seed, epoch, step) only: workers, prefetch depth and the place
where a run starts decide how long the trainer waits, and nothing else.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import DataConfig
from edgeflownas.data.dataset import FlowDataset, LoadedSample, load_training_sample
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import BadSample, DataError, Interrupted, StorageError

PREFETCH = 4  # batches loaded ahead where data.prefetch_batches is null


@dataclass(frozen=True)
class Replacement:
    """A sample that cannot be read and the one that took its place (data.on_bad_sample quarantine)."""

    bad_name: str
    reason: str
    by_name: str


@dataclass(frozen=True)
class Batch:
    """The samples of one step, in draw order."""

    images: NDArray[np.uint8]  # [B, H, W, 6], contiguous: image 1 RGB, then image 2 RGB
    flow: NDArray[np.float32]  # [B, H, W, 2], u right, v down, px; clipped and divided (data.flow_clip, flow_divisor)
    valid: NDArray[np.bool_]  # [B, H, W]
    names: tuple[str, ...]  # names of the samples used (after replacement), as indices
    indices: NDArray[np.int64]  # [B]
    positions: NDArray[np.int64]  # [B] draw positions, see BatchPlan.draws
    epoch: int
    step: int
    clipped_share: float  # share of the valid pixels that data.flow_clip changed
    replaced: tuple[Replacement, ...]  # unreadable samples met in this batch, in draw order


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
        self._dataset, self._plan, self._data, self._seed = dataset, plan, data_config, seed
        self._stop_requested = stop_requested
        self._last: Batch | None = None
        self._ahead: deque[_Loading] = deque()
        self._closed = False
        # One entry for each sample of the batches ahead, in order: the free threads share the oldest batch.
        self._samples: queue.SimpleQueue[tuple[_Loading, int] | None] = queue.SimpleQueue()
        # Daemons, because a thread that hangs in a read must not hold up the end of the program (as executors do).
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(data_config.num_workers)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def next_batch(self, epoch: int, step: int) -> Batch:
        """The batch of a step; the following ones are loaded ahead, any other request starts the prefetch anew.

        The last batch is kept: several models that take turns ask for each batch one after the other.
        Raises BadSample: a file cannot be used, with data.on_bad_sample stop.  DataError: no sample of the split reads,
        or data.crop_size does not fit.  Both are raised when the batch is asked for, not when it is prefetched.
        Raises StorageError: the batch took longer than data.worker_timeout; the loader is closed then.  Interrupted:
        ``stop_requested`` returned true during the wait.
        """
        if self._closed:
            raise RuntimeError("the loader is closed")
        if self._last is not None and (self._last.epoch, self._last.step) == (epoch, step):
            return self._last
        started = time.perf_counter()
        try:
            loading = self._begin(epoch, step)
            self._await(loading)
            self._ahead.popleft()
            self._last = loading.batch(self._dataset.names)
            return self._last
        finally:
            self.wait_seconds += time.perf_counter() - started

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """All batches from (epoch, start_step) on, over the ends of epochs, without end."""
        while True:
            yield self.next_batch(epoch, start_step)
            epoch, start_step = self._following(epoch, start_step)

    def close(self) -> None:
        """Drop what is loaded ahead and end the threads; a stuck one is left behind. May be called again."""
        atexit.unregister(self.close)
        self._closed = True
        self._drop()
        for _ in self._threads:
            self._samples.put(None)
        deadline = time.monotonic() + 1.0
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        self._threads = []

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self, epoch: int, step: int) -> _Loading:
        """The batch of a step at the head of the queue, with the prefetch topped up behind it."""
        if self._ahead and (self._ahead[0].epoch, self._ahead[0].step) != (epoch, step):
            self._drop()
        depth = (self._data.prefetch_batches or PREFETCH) if self._threads else 0
        while len(self._ahead) <= depth:
            if self._ahead:
                epoch, step = self._following(self._ahead[-1].epoch, self._ahead[-1].step)
            loading = _Loading(self._plan, epoch, step, self._data.crop_size)
            self._ahead.append(loading)
            if self._threads:
                for slot in range(len(loading.drawn)):
                    self._samples.put((loading, slot))
        return self._ahead[0]

    def _await(self, loading: _Loading) -> None:
        if not self._threads:
            for slot in range(len(loading.drawn)):
                self._load(loading, slot)
                if isinstance(loading.outcomes[slot], Exception):
                    break
            return
        limit = self._data.worker_timeout
        deadline = time.monotonic() + limit
        while not loading.done.wait(min(0.2, max(0.0, deadline - time.monotonic()))):
            if self._stop_requested():
                raise Interrupted(f"stopped while waiting for the batch of epoch {loading.epoch}, step {loading.step}")
            missing = [slot for slot, outcome in enumerate(loading.outcomes) if outcome is None]
            if missing and time.monotonic() >= deadline:
                self.close()
                raise StorageError(
                    f"the batch of epoch {loading.epoch}, step {loading.step} did not come within data.worker_timeout "
                    f"({limit:g} s): {len(missing)} of {len(loading.drawn)} samples missing, the first is "
                    f"{self._dataset.names[loading.drawn[missing[0]]]}. A thread worker is stuck, or "
                    "the storage hangs or is slow: check it, or raise data.worker_timeout; then resume the run"
                )

    def _drop(self) -> None:
        while self._ahead:
            self._ahead.popleft().dropped = True

    def _following(self, epoch: int, step: int) -> tuple[int, int]:
        return (epoch, step + 1) if step + 1 < self._plan.steps_per_epoch else (epoch + 1, 0)

    def _serve(self) -> None:
        """Life of a thread."""
        while (item := self._samples.get()) is not None:
            loading, slot = item
            if not loading.dropped:
                self._load(loading, slot)
            del item, loading  # or the last batch would stay in memory while the thread waits

    def _load(self, loading: _Loading, slot: int) -> None:
        try:
            sample, loading.used[slot], replaced = self._sample_of(loading, slot)
            loading.images[slot], loading.flow[slot], loading.valid[slot] = sample.images, sample.flow, sample.valid
            loading.clipped_shares[slot] = sample.clipped_share
            loading.outcomes[slot] = replaced
        except Exception as error:
            loading.outcomes[slot] = error
        if None not in loading.outcomes:
            loading.done.set()

    def _sample_of(self, loading: _Loading, slot: int) -> tuple[LoadedSample, int, tuple[Replacement, ...]]:
        """One training sample, the index used, and what it replaced.

        The rule of quarantine: the next index (around the end) that reads takes the place; crop and augmentation stay
        those of the draw.  It looks at the files only, so every thread finds the same replacement.
        """
        drawn, position, names = int(loading.drawn[slot]), int(loading.positions[slot]), self._dataset.names
        bad: list[tuple[str, str]] = []
        for index in chain(range(drawn, len(names)), range(drawn)):
            try:
                sample = load_training_sample(self._dataset, index, loading.epoch, position, self._data, self._seed)
                return sample, index, tuple(Replacement(name, why, names[index]) for name, why in bad)
            except BadSample as error:
                if self._data.on_bad_sample == "stop":
                    raise
                bad.append((names[index], str(error)))
        raise DataError(
            f"none of the {len(names)} training samples can be read (data.train_dir); the first: {bad[0][1]}"
        )


class _Loading:
    """A batch in the making: its samples are loaded into their slots, in any order."""

    def __init__(self, plan: BatchPlan, epoch: int, step: int, crop_size: tuple[int, int]) -> None:
        self.epoch, self.step = epoch, step
        self.positions, self.drawn = plan.draws(epoch, step), plan.indices(epoch, step)
        count = len(self.drawn)
        self.used = self.drawn.copy()
        self.images = np.empty((count, *crop_size, 6), np.uint8)
        self.flow = np.empty((count, *crop_size, 2), np.float32)
        self.valid = np.empty((count, *crop_size), np.bool_)
        self.clipped_shares = np.zeros(count)
        # What a sample replaced, or why it failed; None while it is missing.
        self.outcomes: list[tuple[Replacement, ...] | Exception | None] = [None] * count
        self.done = threading.Event()
        self.dropped = False  # nobody will ask for it

    def batch(self, names: Sequence[str]) -> Batch:
        """The finished batch, or the failure of its first slot that has one."""
        replaced: list[Replacement] = []
        for outcome in self.outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            replaced += outcome or ()
        pixels = np.count_nonzero(self.valid, axis=(1, 2))
        share = float(self.clipped_shares @ pixels / max(1, pixels.sum()))
        return Batch(
            images=self.images, flow=self.flow, valid=self.valid, positions=self.positions, indices=self.used,
            names=tuple(names[index] for index in self.used), epoch=self.epoch, step=self.step,
            clipped_share=share, replaced=tuple(replaced),
        )  # fmt: skip
