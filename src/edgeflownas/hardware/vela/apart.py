"""Compiling a file of unknown origin: in a process of its own, since regor ends its process on a damaged one."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.hardware.vela.compiler import Compiled, check_request, compile_tflite
from edgeflownas.hardware.vela.targets import Target, architecture

START, COMPILE = 0, 1  # what the process is asked for


def compile_file(path: Path, target: Target, mode: str = "performance", arena_kib: int | None = None) -> Compiled:
    """:func:`compile_tflite` for the file ``path``, whatever is in it.

    Raises:
        DataError: also for a damaged file, and one that cannot be read; names the file, as do
        ConfigError: errors about what is in it.
        StorageError: the process does not start.
    """
    check_request(mode, arena_kib)
    architecture(target)
    try:
        model = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    with contextlib.closing(in_processes(_Compile(model, target, mode, arena_kib), (START, COMPILE), 1)) as replies:
        try:
            next(replies)
        except WorkerDied as error:
            raise StorageError(f"{path}: the process that compiles it does not start: {error}") from None
        try:
            compiled = next(replies)
        except WorkerDied:
            raise DataError(f"{path}: Vela breaks off on it: a damaged or truncated file") from None
        except (ConfigError, DataError) as error:
            raise type(error)(f"{path}: {error}") from None
    assert compiled is not None
    return compiled


@dataclass(frozen=True)
class _Compile:
    """Compiles ``model``; sent to the process, which is asked to start, then to compile."""

    model: bytes
    target: Target
    mode: str
    arena_kib: int | None

    def __call__(self, step: int) -> Compiled | None:
        if step == START:
            _mute()
            return None
        return compile_tflite(self.model, self.target, self.mode, self.arena_kib)


def _mute() -> None:
    """What regor writes past Python's own streams goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
