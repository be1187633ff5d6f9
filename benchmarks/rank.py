"""Time the ranking of a whole space by its prefix tree against random codes one by one, in turn.

Between the tree's units a few random codes are scored one by one on the same sets, so that both sides meet the same
machine; their mean is scaled to the whole list.
"""

from __future__ import annotations

import csv
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from _shared import at_least, flow_batch, matmul_gflops, options, run
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.evaluate.calibration import recalibrate, walk
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.metrics import sample_errors
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.evaluate.tree import Estimate, TreeEvaluator
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.randomness import permutation, words
from edgeflownas.report.console import Console
from edgeflownas.report.plot import COLOURS, DPI, HEIGHT, WIDTH, drawing
from edgeflownas.run.manifest import choose_device
from edgeflownas.space import Arch, SearchSpace, get_space
from edgeflownas.train.measure import device_name, random_batch, timed

BATCH = 8  # samples of a calibration or evaluation batch at most


class Growth(NamedTuple):
    """One measurement: ``kind`` is what varies, ``samples`` (of each of the two sets) or ``codes``."""

    kind: str
    samples: int
    codes: int
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__, gpu=True, size="180x240")
    parser.add_argument("--space", default="v1", help="search space")
    parser.add_argument("--calibration", type=at_least(1), default=8, help="images of the calibration set")
    parser.add_argument("--evaluation", type=at_least(1), default=8, help="images of the evaluation set")
    parser.add_argument(
        "--codes", type=at_least(1), default=20, help="random codes scored one by one, spread over the run"
    )
    parser.add_argument(
        "--growth", type=Path, help="folder for a table and two pictures of time against samples and codes (matplotlib)"
    )
    return run(parser, measure, argv)


def measure(given: Any) -> dict[str, Any]:
    """The figures, and the growth where it is asked for."""
    space, (device, _) = get_space(given.space), choose_device(given.gpu_device)
    samples = given.calibration, given.evaluation
    with Console().task("rank", given.codes) as meter:
        result = bench_rank(space, device, given.width, given.size, samples, given.codes, meter.advance)
    if given.growth is not None:
        rows = rank_growth(space, device, given.width, given.size, max(samples))
        result["growth"] = [str(path) for path in write_growth(rows, given.growth)]
    return result


def bench_rank(
    space: SearchSpace,
    device: torch.device,
    width: int,
    size: tuple[int, int],
    samples: tuple[int, int],
    codes: int,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Every arch of ``space`` by the tree, and ``codes`` random ones alone in between.

    Args:
        space: search space.
        device: where both sides run.
        width: channels after E0.
        size: rows and columns of the images, px.
        samples: images of the calibration and of the evaluation set.
        codes: archs scored one by one.
        progress: called after each of those.
    """
    net, archs = FlowNet(space, width).to(device), list(space)
    sets = [_batches(count, size, device, seed) for seed, count in enumerate(samples)]
    evaluator = TreeEvaluator(net, sets[0], [sets[1]])
    chosen = [int(word) % len(archs) for word in words(0, "bench.rank", count=codes)]
    _alone(net, archs[0], *sets), next(evaluator.score(archs))  # warm-up: allocations, kernel selection
    estimate, rates = evaluator.estimate(archs), _rates(device)
    tree, alone, difference = _in_turn(evaluator, archs, chosen, lambda arch: float(_alone(net, arch, *sets)), progress)
    single = sum(alone) / len(alone)
    macs = estimate.calibration_macs + estimate.evaluation_macs
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "setting": f"{space.name}, width {width}, {samples[0]} + {samples[1]} images, {size[0]}x{size[1]}, fp32",
        "archs": len(archs),
        "units": estimate.units,
        "tree_seconds": tree,
        "one_by_one_seconds_each": single,
        "one_by_one_seconds": single * len(archs),
        "one_by_one_standard_error": _standard_error(alone) * len(archs),
        "speedup": single * len(archs) / tree,
        "arithmetic_speedup": estimate.one_by_one_macs / macs,
        "largest_epe_difference_px": difference,
        "estimated_seconds": estimate.seconds,
        "nominal_gmac": macs / 1e9,
        "nominal_gflops": 2 * macs / tree / 1e9,
        **rates,
        "share_of_peak": 2 * macs / tree / 1e9 / max(rates.values()),
        **_memory(estimate, device),
    }


def _in_turn(
    evaluator: TreeEvaluator,
    archs: Sequence[Arch],
    chosen: Sequence[int],
    score: Callable[[Arch], float],
    progress: Callable[[], object],
) -> tuple[float, list[float], float]:
    """Seconds of the tree, of every chosen arch alone (spread over the units), and their largest EPE difference."""
    units, seconds = evaluator.units(archs), 0.0
    scores, sums = evaluator.score(archs, units), torch.zeros(len(archs), dtype=torch.float64)
    alone: list[float] = []
    found: list[float] = []
    for done in range(1, len(units) + 1):
        started = time.perf_counter()
        unit = next(scores)
        seconds += time.perf_counter() - started
        sums[list(unit.unit.members)] = unit.sums[0].sum(1)
        while len(alone) * len(units) < done * len(chosen):
            started = time.perf_counter()
            found.append(score(archs[chosen[len(alone)]]))
            alone.append(time.perf_counter() - started)
            progress()
    apart = (sums[list(chosen)] - torch.tensor(found, dtype=torch.float64)).abs().max()
    return seconds, alone, float(apart / evaluator.pixels[0].sum())


def rank_growth(
    space: SearchSpace, device: torch.device, width: int, size: tuple[int, int], most: int = 8
) -> list[Growth]:
    """Seconds against samples (one unit in nine of the space) and against random codes (one sample a set)."""
    net, archs = FlowNet(space, width).to(device), list(space)
    rows = []
    count = 1
    while count <= most:
        sets = [_batches(count, size, device, seed) for seed in range(2)]
        evaluator = TreeEvaluator(net, sets[0], [sets[1]])
        units = evaluator.units(archs)[::9]
        list(evaluator.score(archs, units[:1]))
        seconds = timed(lambda evaluator=evaluator, units=units: list(evaluator.score(archs, units)), device)  # type: ignore[misc]
        rows.append(Growth("samples", count, sum(len(unit.members) for unit in units), seconds))
        count *= 2
    sets = [_batches(1, size, device, seed) for seed in range(2)]
    evaluator = TreeEvaluator(net, sets[0], [sets[1]])
    order = permutation(len(archs), 0, "bench.rank.order")
    for number in sorted({min(3**power, len(archs)) for power in range(20)}):
        some = [archs[position] for position in order[:number]]
        rows.append(Growth("codes", 1, number, timed(lambda some=some: evaluator.epes(some), device)))  # type: ignore[misc]
    return rows


@torch.no_grad()
@full_precision()
def _alone(net: FlowNet, arch: Arch, calibration: Sequence[FlowBatch], evaluation: Sequence[FlowBatch]) -> Tensor:
    """One subnet as a module of its own: recalibration, then the summed errors of its flow, nothing else."""
    subnet = net.subnet(arch)
    code = subnet.space.arch((0,) * len(arch))
    statistics = recalibrate(subnet, [code], calibration)
    total = torch.zeros((), dtype=torch.float64, device=evaluation[0].images.device)
    subnet.eval()
    for batch in evaluation:

        def at_leaf(_: int, predictions: list[Tensor], batch: FlowBatch = batch) -> None:
            total.add_(sample_errors(accumulate(predictions)[2], batch.flow, batch.valid)[0].sum())

        walk(
            subnet,
            [code],
            subnet.prepare(batch.images),
            lambda n: use_statistics(subnet, statistics.get(n, {})),
            at_leaf,
        )
    return total


def _batches(count: int, size: tuple[int, int], device: torch.device, seed: int) -> list[FlowBatch]:
    whole = flow_batch(random_batch(count, size, seed), device)
    return [FlowBatch(*parts) for parts in zip(*(tensor.split(BATCH) for tensor in whole), strict=True)]


def _rates(device: torch.device) -> dict[str, float]:
    """What the machine can do, GFLOP/s: a matrix product, and a 3x3 convolution of 256 channels (often faster)."""
    x, weight = torch.rand(4, 256, 64, 64, device=device), torch.rand(256, 256, 3, 3, device=device)
    x, weight = x.to(memory_format=torch.channels_last), weight.to(memory_format=torch.channels_last)
    F.conv2d(x, weight, padding=1)
    with full_precision():
        best = min(timed(lambda: F.conv2d(x, weight, padding=1), device) for _ in range(5))
        product = matmul_gflops(device)
    return {"matmul_gflops": product, "convolution_gflops": 2 * 9 * 256 * x.numel() / best / 1e9}


def _standard_error(values: Sequence[float]) -> float:
    return float(torch.tensor(values).std()) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _memory(estimate: Estimate, device: torch.device) -> dict[str, float]:
    """MiB: features as estimated; the peak of the process on a CPU, of the allocator on a GPU."""
    on_gpu = device.type == "cuda"
    peak = (
        torch.cuda.max_memory_allocated(device) if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    )
    return {"feature_memory_mib": estimate.memory_bytes / 2**20, "peak_memory_mib": peak / 2**20}


def write_growth(rows: Sequence[Growth], folder: Path) -> list[Path]:
    """Write growth.csv, growth_samples.png and growth_codes.png into ``folder`` (made if missing).

    Raises ConfigError where matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "growth.csv"]
    with paths[0].open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([Growth._fields, *rows])
    with drawing(f"--growth {folder}:") as Figure:
        for kind, words in (("samples", "images of each set"), ("codes", "random codes")):
            points = [
                (row.samples if kind == "samples" else row.codes, row.seconds) for row in rows if row.kind == kind
            ]
            paths.append(folder / f"growth_{kind}.png")
            figure = _figure(points, words, logarithmic=kind == "codes", new=Figure)
            figure.savefig(paths[-1], dpi=DPI, metadata={"Software": None})
    return paths


def _figure(points: Sequence[tuple[int, float]], words: str, logarithmic: bool, new: Any) -> Any:
    """Measured times beside those proportional to the first (logarithmic axes) or the last of them."""
    figure = new(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    places = [place for place, _ in points]
    base, seconds = points[0 if logarithmic else -1]
    axes.plot(places, [time for _, time in points], marker="o", markersize=3.5, color=COLOURS["c0"], label="measured")
    line = [seconds * place / base for place in places]
    axes.plot(places, line, linestyle="--", color=COLOURS["c1"], label="proportional")
    if logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(title=f"Time of a ranking against {words}", xlabel=words, ylabel="seconds")
    axes.legend(loc="best")
    return figure


if __name__ == "__main__":
    sys.exit(main())
