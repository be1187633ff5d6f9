"""Measured time of extracted subnets."""

import numpy as np
import pytest
import torch

from edgeflownas.errors import ConfigError
from edgeflownas.hardware import latency
from edgeflownas.hardware.latency import CostModel, CpuLatency, draw_archs
from edgeflownas.space import get_space

V1 = get_space("v1")


def test_the_median_of_the_passes_after_the_warm_up(monkeypatch):
    seconds = [9.0, 9.0, 9.0, 0.1, 0.5, 0.2]
    ticks = iter([tick for second in seconds for tick in (0.0, second)])
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(ticks))
    model: CostModel = CpuLatency(repeats=3)
    assert model.costs(V1, 2, (16, 16), [V1.parse("000000000")])["cpu_ms"].tolist() == [200.0]


def test_every_arch_is_measured_and_the_threads_are_put_back(monkeypatch):
    seen: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    model = CpuLatency(threads=7, repeats=1, advance=lambda: seen.append("measured"))
    found = model.costs(V1, 2, (16, 16), V1.pool(3))
    assert found["cpu_ms"].shape == (3,)
    assert found["cpu_ms"].dtype == np.float64
    assert (found["cpu_ms"] > 0).all()
    assert seen == [7, "measured", "measured", "measured", torch.get_num_threads()]


@pytest.mark.parametrize(("threads", "repeats"), [(0, 1), (1, 0)])
def test_impossible_numbers(threads, repeats):
    with pytest.raises(ConfigError, match="at least 1"):
        CpuLatency(threads, repeats).costs(V1, 2, (16, 16), [])


def test_draws_are_distinct_seeded_and_sorted():
    drawn = draw_archs(V1, 50, seed=3)
    assert drawn == sorted(set(drawn)) == draw_archs(V1, 50, seed=3)
    assert drawn != draw_archs(V1, 50, seed=4)
    assert max(drawn) < len(V1)
    alone = V1.restrict(V1.parse("000000000"))
    assert draw_archs(alone, 5, seed=0) == [0]
