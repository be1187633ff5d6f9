"""Compiling a file of unknown origin: in a process of its own, since regor ends its process on a damaged one."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware.vela.compiler import Compiled, check_request, compile_tflite
from edgeflownas.hardware.vela.targets import Target, architecture

__all__ = ["compile_file"]


def compile_file(path: Path, target: Target, mode: str = "performance", arena_kib: int | None = None) -> Compiled:
    """:func:`compile_tflite` for the file ``path``, whatever is in it.

    Raises:
        DataError: also for a damaged file, and one that cannot be read; names the file, as do
        ConfigError: errors about what is in it.
    """
    check_request(mode, arena_kib)
    architecture(target)
    try:
        model = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_mute) as pool:
        pool.submit(os.getpid).result()  # so that what breaks below is the compiler, not the start of a process
        try:
            return pool.submit(compile_tflite, model, target, mode, arena_kib).result()
        except BrokenProcessPool:
            raise DataError(f"{path}: Vela breaks off on it: a damaged or truncated file") from None
        except (ConfigError, DataError) as error:
            raise type(error)(f"{path}: {error}") from None


def _mute() -> None:
    """What regor writes past Python's own streams goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
