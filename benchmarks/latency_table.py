"""Compare a chip's latency by the table of operators with Vela of the whole graph, on random subnets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _shared import at_least, options, run
from scipy.stats import spearmanr

from edgeflownas.hardware.latency import draw_archs
from edgeflownas.hardware.vela_table import VelaLatency, chip_latency
from edgeflownas.models.graph import subnet_graph
from edgeflownas.report.console import Console
from edgeflownas.space import SearchSpace, get_space


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__, size="192x256")
    parser.add_argument("--target", default="grove-vision-ai-v2", help="chip, as in `edgeflownas rank --target`")
    parser.add_argument("--space", default="v1", help="search space")
    parser.add_argument("--subnets", type=at_least(3), default=60, help="how many are drawn and compiled")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the draw")
    return run(parser, measure, argv)


def measure(given: Any) -> dict[str, Any]:
    """The figures."""
    network, console = (get_space(given.space), given.width, given.size), Console()
    model = chip_latency(given.target, *network, console.warn, console.task)
    with console.task("Vela", min(given.subnets, len(network[0]))) as meter:
        return check_table(model, *network, given.subnets, given.seed, meter.advance)


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


if __name__ == "__main__":
    sys.exit(main())
