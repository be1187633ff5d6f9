"""The subnet that is shipped: extracted from its run, batch norm recalibrated as an evaluation does it, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

import torch

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.calibration import set_buffers
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.models.blocks import GRID
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.manifest import memory_in_words
from edgeflownas.run.run import SHOWN, Subnet

SMALLEST, LARGEST = 32, 4096  # px a side; generated pairs have them too
EXPORTED = (*SHOWN, "data.val_dir", "data.on_bad_sample")  # keys an export reads: also those of the pairs
MEMORY = "the run's calibration batches do not fit this machine's memory: free some"


class Meter(Protocol):
    """What is told of progress."""

    def advance(self) -> None:
        """One more is done."""


def extracted(subnet: Subnet, task: Callable[[str, int], AbstractContextManager[Meter]]) -> Subnet:
    """The same with a network of its arch alone: evaluation mode, float32, on the CPU, batch norm recalibrated.

    ``task`` (label, number of batches) begins what is told of each batch that batch norm has seen.
    """
    net, batches = subnet.net, subnet.calibration
    if isinstance(net, FlowNet) and len(net.space) > 1:
        net = net.subnet(subnet.arch)
    if batches is not None:
        with (
            task("calibrate", len(batches)) as meter,
            full_precision(),
            torch_threads(1),
            memory_in_words(MEMORY),
        ):
            set_buffers(net, batches, meter.advance)
    return replace(subnet, net=net.to(device="cpu", dtype=torch.float32).eval().requires_grad_(False))


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
