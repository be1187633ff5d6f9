"""The subnet that is shipped: extracted from its run, batch norm recalibrated as an evaluation does it, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.frozen import FrozenBatches
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.stages import GRID, StagedNet
from edgeflownas.space import Arch
from edgeflownas.train.inference import ReadySubnet, open_subnet
from edgeflownas.train.setup import memory_in_words
from edgeflownas.train.teacher import set_buffers

__all__ = ["Source", "check_export_size", "open_source"]

SMALLEST, LARGEST = 32, 4096  # px a side; generated pairs have them too
USED = ("data.val_dir", "data.on_bad_sample")  # by the pairs that are read for an export
MEMORY = "the run's calibration batches do not fit this machine's memory: free some"


class Meter(Protocol):
    """What is told of progress."""

    def advance(self) -> None:
        """One more is done."""


@dataclass(frozen=True)
class Source:
    """One network of one arch in evaluation mode, float32, on the CPU, and where it comes from."""

    name: str  # run or file, and checkpoint; no folders above it
    weights_hash: str
    net: StagedNet
    arch: Arch
    words: str  # the arch in words
    reason: str  # why this arch
    config: Config
    calibrated_on: str  # label of the data that batch norm was recalibrated on; empty: it was not
    calibration_samples: int

    @property
    def space(self) -> str:
        """Name of the search space."""
        return "edgeflownet" if self.config.train.task == "edgeflownet" else self.config.train.space

    @property
    def code(self) -> str:
        """Arch code without commas, or the network's name where there is no choice."""
        return str(self.arch).replace(",", "")

    @property
    def flow_divisor(self) -> float:
        """The network's flow times this is in pixels."""
        return self.config.data.flow_divisor


def open_source(
    path: Path,
    arch: str | None,
    checkpoint: str,
    overrides: Sequence[str],
    note: Callable[[str], None],
    task: Callable[[str, int], AbstractContextManager[Meter]],
) -> Source:
    """The network to ship.  Arguments and errors as :func:`edgeflownas.train.inference.open_subnet`.

    ``task`` (label, number of batches) begins what is told of each batch that batch norm has seen.
    """
    ready = open_subnet(path, arch, checkpoint, overrides, note, USED)
    net, words = ready.net, ready.net.space.describe(ready.arch)
    if isinstance(net, FlowNet) and len(net.space) > 1:
        net = net.subnet(ready.arch)
    samples = 0
    if isinstance(ready.calibration, FrozenBatches):
        metering, exact = task("calibrate", len(ready.calibration)), full_precision()
        with metering as meter, exact, torch_threads(1), memory_in_words(MEMORY):
            set_buffers(net, ready.calibration, meter.advance)
        samples = len(ready.calibration.split.names)
    net = net.to(device="cpu", dtype=torch.float32).eval().requires_grad_(False)
    where = ready.calibration_label, samples
    return Source(_short(path, ready), ready.source, net, ready.arch, words, ready.reason, ready.config, *where)


def _short(path: Path, ready: ReadySubnet) -> str:
    return path.name if path.is_file() else f"{path.resolve().name}/{ready.name.rpartition(' ')[2]}"


def check_export_size(size: tuple[int, int]) -> None:
    """Raises ConfigError unless rows and columns (px) are multiples of 16 from 32 to 4096.

    A device does not repeat edges to pad, so a graph of another size would compute something else.
    """
    if any(side % GRID or not SMALLEST <= side <= LARGEST for side in size):
        nearest = sorted({tuple(_near(side, up) for side in size) for up in (False, True)})
        words = " or ".join("x".join(map(str, sides)) for sides in nearest)
        raise ConfigError(
            f"--size {size[0]}x{size[1]}: rows and columns must be multiples of {GRID} from {SMALLEST} to {LARGEST}: "
            f"the nearest are {words}"
        )


def _near(side: int, up: bool) -> int:
    multiple = side + -side % GRID if up else side - side % GRID
    return min(max(multiple, SMALLEST), LARGEST)
