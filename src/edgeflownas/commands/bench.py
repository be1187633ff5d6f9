"""``edgeflownas bench``: ratios measured in one run (docs/performance.md says how to read them)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from edgeflownas.errors import ConfigError

app = App(name="bench", help="Measure speed: ratios against a plain implementation, timed in turn.")


@app.command(name="train-step")
def train_step(
    *, gpu_device: int = -1, width: int = 32, batch: int = 8, size: str = "180x240", rounds: int = 5, json: bool = False
) -> int:
    """Time the strict-fairness training step against a plain loop, in turn, beside the matrix-multiply rate.

    Args:
        gpu_device: -1 for the CPU, n for that GPU.
        width: network width.
        batch: samples a path sees.
        size: crop, HEIGHTxWIDTH.
        rounds: timed rounds (after one that is not).
        json: machine-readable result on stdout.
    """
    from edgeflownas.run.machine import choose_device
    from edgeflownas.train.benchmarks import bench_train_step

    device, _ = choose_device(gpu_device)
    return _show(bench_train_step(device, width, batch, _size(size), rounds), json)


@app.command(name="eval-pool")
def eval_pool(
    *, gpu_device: int = -1, width: int = 32, batch: int = 8, size: str = "180x240", rounds: int = 3, json: bool = False
) -> int:
    """Time the evaluation of 12 subnets (2 calibration, 2 evaluation batches) together against one by one.

    Args:
        gpu_device: -1 for the CPU, n for that GPU.
        width: network width.
        batch: samples of a batch.
        size: crop, HEIGHTxWIDTH.
        rounds: timed rounds (after one that is not).
        json: machine-readable result on stdout.
    """
    from edgeflownas.run.machine import choose_device
    from edgeflownas.train.benchmarks import bench_eval_pool

    device, _ = choose_device(gpu_device)
    return _show(bench_eval_pool(device, width, batch, _size(size), rounds), json)


@app.command
def rank(
    *,
    gpu_device: int = -1,
    space: str = "v1",
    width: int = 32,
    size: str = "180x240",
    calibration: int = 8,
    evaluation: int = 8,
    codes: int = 20,
    growth: Path | None = None,
    json: bool = False,
) -> int:
    """Time the ranking of a whole space by its prefix tree against random codes one by one, in turn.

    Args:
        gpu_device: -1 for the CPU, n for that GPU.
        space: search space.
        width: network width.
        size: images, HEIGHTxWIDTH.
        calibration: images of the calibration set.
        evaluation: images of the evaluation set.
        codes: random codes scored one by one, spread over the run; their mean is scaled to the space.
        growth: folder for a table and two pictures of the time against samples and against codes (package matplotlib).
        json: machine-readable result on stdout.
    """
    from edgeflownas.report.console import Console
    from edgeflownas.report.growth_figure import write_growth
    from edgeflownas.run.machine import choose_device
    from edgeflownas.space import get_space
    from edgeflownas.train.rank_bench import bench_rank, rank_growth

    for name, count in (("calibration", calibration), ("evaluation", evaluation), ("codes", codes)):
        if count < 1:
            raise ConfigError(f"--{name} {count} must be at least 1")
    declared, pixels = get_space(space), _size(size)
    device, _ = choose_device(gpu_device)
    with Console().task("rank", codes) as meter:
        result = bench_rank(declared, device, width, pixels, (calibration, evaluation), codes, meter.advance)
    if growth is not None:
        rows = rank_growth(declared, device, width, pixels, max(calibration, evaluation))
        result["growth"] = [str(path) for path in write_growth(rows, growth)]
    return _show(result, json)


@app.command(name="latency-table")
def latency_table(
    *,
    target: str = "grove-vision-ai-v2",
    space: str = "v1",
    width: int = 32,
    size: str = "192x256",
    subnets: int = 60,
    seed: int = 0,
    json: bool = False,
) -> int:
    """Compare a chip's latency by the table of operators with Vela of the whole graph, on random subnets.

    Args:
        target: chip, as in `edgeflownas rank --target`.
        space: search space.
        width: network width.
        size: images, HEIGHTxWIDTH.
        subnets: how many are drawn and compiled.
        seed: of the draw.
        json: machine-readable result on stdout.
    """
    from edgeflownas.hardware.vela.latency import chip_latency
    from edgeflownas.report.console import Console
    from edgeflownas.search.table_check import check_table
    from edgeflownas.space import get_space

    if subnets < 3:
        raise ConfigError(f"--subnets {subnets} must be at least 3")
    network, console = (get_space(space), width, _size(size)), Console()
    model = chip_latency(target, *network, console.warn, console.task)
    with console.task("Vela", min(subnets, len(network[0]))) as meter:
        return _show(check_table(model, *network, subnets, seed, meter.advance), json)


@app.command
def loader(
    data: str,
    *,
    one_core: bool = False,
    workers: tuple[int, ...] = (0, 1, 2),
    batch: int = 8,
    batches: int = 8,
    size: str = "180x240",
    json: bool = False,
) -> int:
    """Time the loader on DATA against decoding alone, and against cv2.imread and np.fromfile in a loop.

    Args:
        data: folder of samples in FlyingChairs2 layout, or a data set by name, such as sintel:clean@/data/sintel.
        one_core: keep everything on one core.
        workers: numbers of workers to time.
        batch: samples of a batch.
        batches: batches timed a round.
        size: crop, HEIGHTxWIDTH.
        json: machine-readable result on stdout.
    """
    from edgeflownas.config import DataConfig
    from edgeflownas.data.bench import bench_loader
    from edgeflownas.data.sets import open_dataset

    dataset = open_dataset(data, "train", "DATA")
    rows = bench_loader(dataset, DataConfig(crop_size=_size(size)), batch, workers, batches, one_core=one_core)
    return _show({f"{row.num_workers} workers": row.to_json() for row in rows}, json)


@app.command
def commit(*, out: Path = Path("."), width: int = 32, rounds: int = 5, json: bool = False) -> int:
    """Time the commit of a checkpoint (weights and Adam) in a scratch run below OUT, which is removed again.

    Args:
        out: folder on the disk to be measured.
        width: network width.
        rounds: commits.
        json: machine-readable result on stdout.
    """
    from edgeflownas.train.benchmarks import bench_commit

    return _show(bench_commit(out, width, rounds), json)


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--size {text!r} must be HEIGHTxWIDTH, such as 180x240")
    return int(parts[0]), int(parts[1])


def _show(result: dict[str, Any], as_json: bool) -> int:
    if as_json:
        import json as encoder

        print(encoder.dumps(result, indent=2))
        return 0
    for name, value in result.items():
        if isinstance(value, dict):
            print(name + "  " + "  ".join(f"{key} {_number(part)}" for key, part in value.items()))
        else:
            print(f"{name:28} {_number(value)}")
    return 0


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
