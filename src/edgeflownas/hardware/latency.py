"""Time of a subnet behind one interface, so that a measured CPU and a modelled chip fill the same kind of column."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.graph import check_size
from edgeflownas.randomness import permutation
from edgeflownas.space import Arch, SearchSpace

WARM_UP = 3  # passes that are not counted


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """``count`` threads of torch for a while.  One gives the same bits on every number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class CostModel(Protocol):
    """Whatever can say what archs cost; columns end with their unit (``cpu_ms``)."""

    @property
    def name(self) -> str:
        """What it is called in the facts of a ranking."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What decides the figures, by the column, for the facts of a ranking."""

    def costs(
        self, space: SearchSpace, width: int, size: tuple[int, int], archs: Sequence[Arch]
    ) -> dict[str, NDArray[np.float64]]:
        """Column name -> value of each arch [A]; size is rows and columns of the images, px."""


@dataclass
class CpuLatency:
    """Column ``cpu_ms``: median time of a float32 forward pass of the extracted subnet, batch 1, on this machine.

    Every figure is measured on the arch it stands for.  The weights are initial ones: they do not change the time.

    Attributes:
        threads: of torch, while it measures.
        repeats: passes whose median is taken.
        advance: called after each arch.
    """

    threads: int = 1
    repeats: int = 20
    advance: Callable[[], object] = lambda: None
    name: str = "cpu"

    @property
    def facts(self) -> dict[str, str]:
        """Nothing: a measurement is not repeatable."""
        return {}

    def costs(
        self, space: SearchSpace, width: int, size: tuple[int, int], archs: Sequence[Arch]
    ) -> dict[str, NDArray[np.float64]]:
        """Measure every arch, one after the other.  Raises ConfigError for a bad arch, width, size or number."""
        if self.threads < 1 or self.repeats < 1:
            raise ConfigError(f"threads {self.threads} and repeats {self.repeats} must be at least 1")
        check_size(size)
        net = FlowNet(space, width).eval()
        images = net.prepare(torch.rand(1, 6, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        with torch_threads(self.threads):
            found = [self._measure(net.subnet(arch), images) for arch in archs]
        return {"cpu_ms": np.array(found, np.float64)}

    @torch.inference_mode()
    def _measure(self, subnet: FlowNet, images: torch.Tensor) -> float:
        times = []
        for _ in range(WARM_UP + self.repeats):
            start = time.perf_counter()
            subnet(images)
            times.append(time.perf_counter() - start)
        self.advance()
        return 1e3 * statistics.median(times[WARM_UP:])


def draw_archs(space: SearchSpace, count: int, seed: int) -> list[int]:
    """Positions in the space of ``count`` archs drawn uniformly without repeats (all where there are fewer), sorted."""
    return sorted(permutation(len(space), seed, "hardware.draw_archs")[:count].tolist())
