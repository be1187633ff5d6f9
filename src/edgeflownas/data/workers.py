"""Worker threads and processes that load samples; the loader gives them work and watches them.

Both kinds run the same function, so their results are the same bits.  A process worker is a thread that asks a
process of its own and waits for the reply: a process that dies shows at once as the end of its pipe.  Python's
executors are not used: at exit they wait for ever for a stuck thread, and a broken process pool ends its workers
with SIGTERM, which ours ignore.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from edgeflownas.errors import UserError

__all__ = ["WorkerDied", "Workers", "start_processes", "start_threads"]

TRAINER_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1  # linux/prctl.h

Load = Callable[[int, int, int], Any]
"""(sample index, epoch, draw position) -> result; for processes it must be picklable."""


class WorkerDied(Exception):
    """A worker process ended by itself; the text says which and how."""


def start_threads(load: Load, count: int) -> Workers:
    """Workers that call ``load`` in threads of this process."""
    return Workers([load] * count)


def start_processes(load: Load, count: int) -> Workers:
    """Workers that call ``load`` in spawned processes.

    The calling thread must live as long as they shall: Linux ends them with the thread that started them.
    """
    content = bytes(ForkingPickler.dumps(load))  # once, although a split has many names
    with _spawning(hide_main=not _defined_in_main(load)):
        return Workers([_Process(content) for _ in range(count)])


class Workers:
    """One thread for each of ``loads``, serving one queue."""

    def __init__(self, loads: Sequence[Load]) -> None:
        self._queue: queue.SimpleQueue[tuple[Future[Any], tuple[int, int, int]] | None] = queue.SimpleQueue()
        self._processes = [load for load in loads if isinstance(load, _Process)]
        # Daemons, because a thread that hangs in a read must not hold up the end of the program.
        self._threads = [threading.Thread(target=self._serve, args=(load,), daemon=True) for load in loads]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids; empty for threads."""
        return tuple(process.pid for process in self._processes)

    def submit(self, index: int, epoch: int, position: int) -> Future[Any]:
        """Queue one sample; the future fails with :class:`WorkerDied` or what ``load`` raised."""
        future: Future[Any] = Future()
        self._queue.put((future, (index, epoch, position)))
        return future

    def close(self) -> None:
        """End the workers, stuck processes too; a stuck thread is left behind. Cancel what is queued before."""
        atexit.unregister(self.close)
        for _ in self._threads:
            self._queue.put(None)
        for process in self._processes:
            process.kill()
        deadline = time.monotonic() + 1.0
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _serve(self, load: Load) -> None:
        while (item := self._queue.get()) is not None:
            future, request = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(load(*request))
            except BaseException as error:
                future.set_exception(error)
            del item, future  # or the last sample would stay in memory while the thread waits


class _Process:
    """A process and the pipe to it; called by one thread."""

    def __init__(self, content: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()  # only the worker holds it now, so its death closes the pipe
        self._content: bytes | None = content
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __call__(self, *request: int) -> Any:
        try:
            if self._content is not None:  # here and not at the start: the process reads it once it is up
                self._pipe.send_bytes(self._content)
                self._content = None
            self._pipe.send(request)
            done, reply = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join(timeout=1.0)
            code = self._process.exitcode
            killed = code is not None and code < 0
            how = f"was killed by {signal.Signals(-code).name}" if code and killed else f"ended with exit code {code}"
            raise WorkerDied(f"loader worker process {self.pid} {how}") from error
        if not done:
            raise reply
        return reply

    def kill(self) -> None:
        """End and reap it, whatever it does; it only reads."""
        self._process.kill()
        self._process.join()


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


def _work(pipe: Connection, parent: int) -> None:
    """Life of a worker process: replies (True, result) or (False, error) until the parent closes the pipe or ends."""
    for number in TRAINER_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TRAINER_SIGNALS)
    if sys.platform == "linux":  # elsewhere it ends when it next reads or writes the pipe
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        return
    import cv2

    cv2.setNumThreads(0)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        load = pipe.recv()
        while True:
            request = pipe.recv()
            try:
                reply = (True, load(*request))
            except Exception as error:
                if not isinstance(error, UserError):
                    error.add_note(traceback.format_exc())  # the traceback itself does not travel
                reply = (False, error)
            pipe.send(reply)
