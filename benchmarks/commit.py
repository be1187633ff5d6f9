"""Time the durable commit of a checkpoint (weights and Adam) in a scratch run below OUT, which is removed again."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _shared import at_least, options, run

from edgeflownas.config import TrainConfig
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.checkpoint import Position
from edgeflownas.run.directory import RunDirectory
from edgeflownas.space import get_space
from edgeflownas.train.machine import World
from edgeflownas.train.measure import timed
from edgeflownas.train.step import SupernetTask

HOST = torch.device("cpu")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder on the disk to be measured")
    parser.add_argument("--width", type=at_least(2), default=32, help="network width")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="commits")
    return run(parser, lambda o: bench_commit(o.out, o.width, o.rounds), argv)


def bench_commit(folder: Path, width: int, rounds: int) -> dict[str, Any]:
    """Seconds of a commit, fsync, sha256 and read back included."""
    task = SupernetTask(FlowNet(get_space("v1"), width), TrainConfig(width=width), 0, World(), HOST)
    path = folder / f"bench-commit-{time.time_ns()}"
    directory = RunDirectory.create(path, {}, {})
    size = sum(t.numel() * t.element_size() for tensors in task.tensors().values() for t in tensors.values())
    times = []
    try:
        with directory.locked():
            directory.resume()
            for step in range(1, rounds + 1):
                place = Position(step, 0, step)
                times.append(timed(lambda place=place: directory.commit(place, {}, task.tensors()), HOST))  # type: ignore[misc]
    finally:
        shutil.rmtree(path)
    return {
        "setting": f"width {width}, {rounds} commits, fsync, sha256 and read back included",
        "bytes": size,
        "commit_seconds": median(times),
        "commit_seconds_max": max(times),
    }


if __name__ == "__main__":
    sys.exit(main())
