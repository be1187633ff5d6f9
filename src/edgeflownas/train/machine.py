"""The processes of a training, and when it is to stop.

torchrun: every rank draws the same batch, takes whole units, and one sum joins them.  No DistributedDataParallel: in a
weight-sharing step each path uses other parameters, and DDP synchronises only those of the last backward pass
(docs/adr/0009).  The flat gradient, the batch-norm moments, the loss terms and the stop flags travel in one all-reduce.

SIGTERM, SIGINT, SIGUSR1 or the clock raise a flag; the work looks at it at each micro-batch.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from edgeflownas.errors import ConfigError, Interrupted, StorageError

TIMEOUT_SECONDS = 120  # a rank that dies or hangs takes the others down with it within this time


@dataclass(frozen=True)
class World:
    """This process's place among the ranks; a single process is rank 0 of 1 and every call is free."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    timeout: int = TIMEOUT_SECONDS

    @property
    def is_main(self) -> bool:
        """Whether this rank writes the run directory and talks to the user."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> None:
        """Add the ranks' tensors in place."""
        if self.size > 1:
            with self._together():
                dist.all_reduce(tensor)

    def any(self, flag: bool) -> bool:
        """Whether any rank raised the flag."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag))
        self.sum(raised)
        return bool(raised > 0)

    def share_json(self, value: Any) -> Any:
        """Rank 0's JSON value, on every rank."""
        if self.size == 1:
            return value
        data = json.dumps(value).encode() if self.is_main else b""
        length = torch.tensor([len(data)])
        with self._together():
            dist.broadcast(length, 0)
            buffer = torch.frombuffer(bytearray(data or int(length)), dtype=torch.uint8)
            dist.broadcast(buffer, 0)
        return json.loads(buffer.numpy().tobytes())

    def share_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Overwrite every rank's tensors with rank 0's."""
        if self.size > 1:
            for name in sorted(tensors):
                on_host = tensors[name].detach().cpu().contiguous()
                with self._together():
                    dist.broadcast(on_host, 0)
                tensors[name].data.copy_(on_host)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            with self._together():
                dist.barrier()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Another rank that ended or hangs is the user's to mend there: its own message says why."""
        try:
            yield
        except RuntimeError as error:
            text = str(error).strip().splitlines()[0]
            raise StorageError(
                f"rank {self.rank} of {self.size}: another rank ended, or was silent for {self.timeout} s; see its "
                f"message, then resume the run ({text})"
            ) from error

    def close(self) -> None:
        """Leave the process group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def connect(on_gpu: bool, timeout: int = TIMEOUT_SECONDS) -> World:
    """The world torchrun described in the environment, or a single process.

    Small host tensors (flags, JSON) always travel by gloo; gradients by NCCL where the devices are GPUs.  ``timeout``
    is how long (s) a rank waits for another.  Raises ConfigError where the ranks cannot find each other.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return World()
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError) as error:
        given = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
        raise ConfigError(
            f"the ranks cannot find each other ({str(error).strip().splitlines()[0]}): start them with torchrun or "
            f"srun (docs/cluster.md); the environment says {', '.join(f'{k}={v}' for k, v in given.items())}"
        ) from error
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")), timeout)


class StopRequested(Exception):
    """A signal or the clock asks to abandon the unfinished step."""


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopFlag:
    """Asked by :meth:`check`; a handler only notes the signal, so that nothing is ever cut in the middle."""

    def __init__(self, max_seconds: float | None = None) -> None:
        self.reason: str | None = None
        self.started = time.monotonic()
        self.max_seconds = max_seconds

    def listening(self) -> AbstractContextManager[None]:
        """Note the signals for a while; earlier handlers come back afterwards."""

        def note(number: int, frame: FrameType | None) -> None:
            self.reason = self.reason or signal.Signals(number).name

        return _handling(note)

    @staticmethod
    def at_once() -> AbstractContextManager[None]:
        """For the start-up, where there is nothing to commit: a signal ends it there and then (exit 75)."""

        def stop(number: int, frame: FrameType | None) -> None:
            raise Interrupted(
                f"{signal.Signals(number).name} outside the training loop: nothing is lost, give the same command "
                "again (or --resume, if the run directory exists)"
            )

        return _handling(stop)

    def requested(self) -> bool:
        """Whether a signal came or the time is over."""
        limit = self.max_seconds
        if self.reason is None and limit is not None and time.monotonic() - self.started >= limit:
            self.reason = f"time limit of {limit:g} s"
        return self.reason is not None

    def check(self) -> None:
        """Raise StopRequested once a signal came or the time is over."""
        if self.requested():
            raise StopRequested(self.reason)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
