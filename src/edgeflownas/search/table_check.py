"""The latency table of a chip against Vela of whole graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from edgeflownas.hardware.latency import draw_archs
from edgeflownas.hardware.vela.latency import VelaLatency
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.space import SearchSpace

__all__ = ["check_table"]


def check_table(
    model: VelaLatency,
    space: SearchSpace,
    width: int,
    size: tuple[int, int],
    subnets: int,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Errors of the table on ``subnets`` archs drawn uniformly, in percent of Vela's time, and the rank correlation.

    Raises:
        ConfigError: a bad width or size, no Vela, or an operator that would run on the CPU.
    """
    every = list(space)
    archs = [every[place] for place in draw_archs(space, subnets, seed)]
    entries = len(model.entries(space, width, size))
    begin = time.perf_counter()
    whole = model.costs(space, width, size, every)[model.column]
    seconds = time.perf_counter() - begin
    table = model.costs(space, width, size, archs)[model.column]
    graphs = [subnet_graph(space, width, arch, size, model.outputs) for arch in archs]
    real = np.array([figures.milliseconds for figures in model.vela.figures(graphs, advance)])
    error = 100 * (table / real - 1)
    return {
        "facts": model.facts[model.column],
        "entries": entries,
        "subnets": len(archs),
        "mean_error_percent": float(np.abs(error).mean()),
        "max_error_percent": float(np.abs(error).max()),
        "bias_percent": float(error.mean()),
        "spearman": float(spearmanr(table, real).statistic),
        "milliseconds": {"min": float(whole.min()), "median": float(np.median(whole)), "max": float(whole.max())},
        "space_seconds": {"subnets": len(whole), "from_table": seconds},
    }
