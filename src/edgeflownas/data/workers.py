"""Worker threads and processes that load samples; the loader gives them work and watches them.

Both kinds run the same function, so their results are the same bits.  What differs is how they end: a stuck thread
cannot be stopped, so threads are daemons that never hold up the end of the program; processes ignore the signals
meant for the trainer, are killed when it closes them, and die with it when it is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = ["ProcessWorkers", "ThreadWorkers"]

TRAINER_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1  # linux/prctl.h

Load = Callable[[int, int, int], Any]
"""(sample index, epoch, draw position) -> result; for processes it must be picklable."""


class ThreadWorkers:
    """Threads of this process. ThreadPoolExecutor is not used: at exit it waits for a stuck thread for ever."""

    def __init__(self, load: Load, count: int) -> None:
        self._load = load
        self._queue: queue.SimpleQueue[tuple[Future[Any], tuple[int, int, int]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"loader-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, index: int, epoch: int, position: int) -> Future[Any]:
        """Queue one sample."""
        future: Future[Any] = Future()
        self._queue.put((future, (index, epoch, position)))
        return future

    def close(self) -> None:
        """End the threads; one that is stuck is left behind as a daemon. Cancel what is queued before."""
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + 1.0
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def death(self) -> str:
        """What is known of a worker that died; threads do not."""
        return "a loader thread died"

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            future, request = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._load(*request))
            except BaseException as error:
                future.set_exception(error)
            del item, future  # or the last sample would stay in memory while the thread waits


class ProcessWorkers:
    """Spawned processes. Construct it in a thread that outlives it: Linux ties the workers' life to that thread."""

    def __init__(self, load: Load, count: int) -> None:
        self._executor = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(load, os.getpid()),
        )
        self._processes: list[BaseProcess] = []
        # A worker that dies this early shows at the first request for a sample.
        with contextlib.suppress(BrokenProcessPool), _spawning(hide_main=not _defined_in_main(load)):
            # The executor starts a process when work comes and none is idle: give each of them some at once, so
            # that all start here, under this thread's signal mask.
            while len(self._processes) < count:
                self._executor.submit(_ready)
                self._processes = list(self._executor._processes.values())

    def submit(self, index: int, epoch: int, position: int) -> Future[Any]:
        """Queue one sample. Raises BrokenProcessPool when a worker has died."""
        return self._executor.submit(_serve_request, index, epoch, position)

    def close(self) -> None:
        """Kill the processes (they only read) and reap them; works on stopped ones too."""
        for process in self._processes:
            with contextlib.suppress(ValueError):  # already reaped and closed
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def death(self) -> str:
        """Which worker died and how."""
        connection.wait([process.sentinel for process in self._processes], timeout=1.0)
        for process in self._processes:
            code = process.exitcode
            if code is not None:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                return f"loader worker process {process.pid} {how}"
        return "a loader worker process died"


@contextlib.contextmanager
def _spawning(hide_main: bool) -> Iterator[None]:
    """Start processes so that signals cannot hit them half-way and the caller's script is not run again in them.

    A worker inherits the blocked mask and lifts it once it ignores the signals.  ``spawn`` imports the parent's
    main module in every worker: needless here, slow where it imports torch, and an endless loop where a script has
    no ``if __name__ == "__main__"``.
    """
    resource_tracker.ensure_running()  # starting it later would lift the mask
    main = sys.modules["__main__"]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, TRAINER_SIGNALS)
    try:
        if hide_main:
            sys.modules["__main__"] = types.ModuleType("__main__")
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _defined_in_main(load: Load) -> bool:
    parts = [load, *getattr(load, "args", ())]
    return any(type(part).__module__ == "__main__" for part in parts)


_load: Load | None = None  # of a worker process


def _start_worker(load: Load, parent: int) -> None:
    for number in TRAINER_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TRAINER_SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(0)
    global _load
    _load = load


def _end_with_parent() -> None:
    """For systems without parent-death signals: the pipe to the parent closes when it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ready() -> None:
    return None


def _serve_request(index: int, epoch: int, position: int) -> Any:
    assert _load is not None
    return _load(index, epoch, position)
