"""Time of a subnet behind one interface, so that a measured CPU and a modelled chip fill the same kind of column."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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

    Every figure is measured on the arch it stands for, by ``repeats`` passes with ``threads`` of torch; ``advance`` is
    called after each.  The weights are initial ones: they do not change the time.
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
        found = []
        with torch_threads(self.threads), torch.inference_mode():
            for subnet in map(net.subnet, archs):
                found.append(median_ms(partial(subnet, images), WARM_UP, self.repeats))
                self.advance()
        return {"cpu_ms": np.array(found, np.float64)}


def median_ms(run: Callable[[], object], warm_up: int, repeats: int) -> float:
    """Median time of ``repeats`` calls after the first ``warm_up``, ms."""
    times = []
    for _ in range(warm_up + repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[warm_up:])


def draw_archs(space: SearchSpace, count: int, seed: int) -> list[int]:
    """Positions in the space of ``count`` archs drawn uniformly without repeats (all where there are fewer), sorted."""
    return sorted(permutation(len(space), seed, "hardware.draw_archs")[:count].tolist())
