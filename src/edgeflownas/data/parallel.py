"""Map over many items with processes, in order and within bounded memory."""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar, cast

from edgeflownas.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

TRAINER_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerDied(Exception):
    """A worker process ended by itself; the text says which and how."""


def in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, patience: float | None = None
) -> Generator[Result]:
    """As data.dataset.in_order by spawned processes, for work that holds the interpreter lock; ``4 * workers`` wait.

    ``function``, items and results must be picklable, and ``function`` of an importable module.  However the iterator
    is left, the processes are killed, in the middle of their work too.  The thread that asks for the first result must
    live as long as they shall: Linux ends them with the thread that started them.

    Python's executor is not used: a broken pool ends its workers with SIGTERM, which ours ignore.

    Raises WorkerDied: a process ended by itself, or none has answered within ``patience`` seconds.
    """
    content = bytes(ForkingPickler.dumps(function))  # once, although it may be long
    numbered = enumerate(items)
    busy: dict[Connection, int] = {}
    replies: dict[int, tuple[bool, Any]] = {}
    given = taken = 0
    with contextlib.ExitStack() as stack:
        with _spawning():
            processes = dict(_start(stack) for _ in range(workers))
        idle, fresh = list(processes), set(processes)
        while True:
            while idle and given - taken < 4 * workers and (entry := next(numbered, None)):
                pipe = idle.pop()
                with _told_of_death(processes[pipe]):
                    if pipe in fresh:  # here and not at the start: the process reads it once it is up
                        pipe.send_bytes(content)
                        fresh.remove(pipe)
                    pipe.send(entry[1])
                busy[pipe] = given
                given += 1
            if taken in replies:
                done, reply = replies.pop(taken)
                if not done:
                    raise reply
                yield reply
                taken += 1
            elif busy:
                if not (ready := cast(list[Connection], wait(busy, patience))):
                    raise WorkerDied(f"no answer within {patience:g} s")
                for pipe in ready:
                    with _told_of_death(processes[pipe]):
                        replies[busy.pop(pipe)] = pipe.recv()
                    idle.append(pipe)
            else:
                return


def _start(stack: contextlib.ExitStack) -> tuple[Connection, BaseProcess]:
    """A process and the pipe to it; it is killed when ``stack`` is left, and at the end of the program."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, os.getpid()), daemon=True)
    process.start()
    theirs.close()  # only the worker holds it now, so its death closes the pipe

    def kill() -> None:
        atexit.unregister(kill)
        process.kill()
        process.join()

    atexit.register(kill)  # before that of multiprocessing, which sends SIGTERM and waits
    stack.callback(kill)
    return pipe, process


@contextlib.contextmanager
def _told_of_death(process: BaseProcess) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        process.join(timeout=1.0)
        code = process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        raise WorkerDied(f"loader worker process {process.pid} {how}") from error


@contextlib.contextmanager
def _spawning() -> Iterator[None]:
    """Start processes so that signals cannot hit them half-way and the caller's script is not run again in them.

    A worker inherits the blocked mask and lifts it once it ignores the signals.  ``spawn`` imports the parent's
    main module in every worker: needless here, slow where it imports torch, and an endless loop where a script has
    no ``if __name__ == "__main__"``.
    """
    resource_tracker.ensure_running()  # starting it later would lift the mask
    main = sys.modules["__main__"]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, TRAINER_SIGNALS)
    try:
        sys.modules["__main__"] = types.ModuleType("__main__")
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


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
        function = pipe.recv()
        while True:
            item = pipe.recv()
            try:
                reply = (True, function(item))
            except Exception as error:
                if not isinstance(error, UserError):
                    error.add_note(traceback.format_exc())  # the traceback itself does not travel
                reply = (False, error)
            pipe.send(reply)
