"""``edgeflownas profile``: what subnets cost, in weights, operations and memory once deployed, and in time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import FromZero, Size, WholeNumber, emit
from edgeflownas.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeflownas.report.console import Console
    from edgeflownas.space import Arch, SearchSpace

__all__ = ["of_run", "profile", "require_writable"]

Network = tuple["SearchSpace", int, tuple[int, int]]  # space, width, size


def profile(
    run: Path | None = None,
    *,
    arch: str | None = None,
    space: str | None = None,
    width: WholeNumber | None = None,
    size: Size | None = None,
    out: Path | None = None,
    measure_cpu: bool = False,
    sample: WholeNumber | None = None,
    threads: WholeNumber | None = None,
    seed: FromZero | None = None,
    target: str | None = None,
    json: bool = False,
) -> int:
    """Cost of one subnet or of a whole space.

    Example: edgeflownas profile --arch CODE | --space NAME | RUN [--arch CODE]

    Parameters, multiply-adds, int8 weights and the peak of the int8 activations; needs neither data nor weights.
    docs/cost.md says what is counted.

    Args:
        run: take space, width and size from this run.
        arch: one subnet, stage by stage; default: every subnet of the space.
        space: search space (v1 with --arch).
        width: channels after E0 (32).
        size: rows x columns of the images, px (180x240, or the crop of the run).
        out: write a row for each subnet to this CSV file.
        measure_cpu: also measure the time of a forward pass on this machine, batch 1.
        sample: how many subnets of a space to measure (20), drawn uniformly; the others stay nan.
        threads: of the measurement (1).
        seed: of the draw (0).
        target: also the time on this chip by a table of operators, such as grove-vision-ai-v2.
        json: machine-readable result on stdout.
    """
    if run is None and arch is None and space is None:
        raise ConfigError("say what to profile: --arch CODE, --space NAME (such as v1), or a run")
    _require_use({"sample": sample, "threads": threads, "seed": seed}, measure_cpu, arch)
    if out is not None:
        require_writable(out)
    found, wide, shape = of_run(run, space, width) if run is not None else _named(space, width)
    network = found, wide, shape if size is None else size

    from edgeflownas.report.console import Console

    console, archs = Console(), list(found) if arch is None else [found.parse(arch)]
    chip, facts = _on_chip(target, network, archs, console)
    columns = _columns(network, archs) | chip
    if measure_cpu:
        columns |= _measured(network, archs, sample or 20, seed or 0, threads or 1, console)
    document = _stages(network, archs[0], columns) if len(archs) == 1 else _summary(network, archs, columns)
    emit(document | {"facts": facts}, _text, json)
    if out is not None:
        _write(out, found, archs, columns, facts)
        console.wrote({"table": out})
    return 0


def require_writable(out: Path) -> None:
    """Raises StorageError; here, because a measurement before it may take long."""
    if not out.parent.is_dir():
        raise StorageError(f"{out}: cannot be written: there is no folder {out.parent}; make it, or give another --out")
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise StorageError(f"{out}: cannot be written: a folder, or in one that is read-only; give another --out")


def _require_use(options: dict[str, int | None], measure_cpu: bool, arch: str | None) -> None:
    """Raises ConfigError for an option that would do nothing."""
    for name, value in options.items():
        if value is not None and not measure_cpu:
            raise ConfigError(f"--{name} belongs to a measurement: add --measure-cpu, or leave it out")
        if value is not None and arch is not None and name != "threads":
            raise ConfigError(f"--{name} draws subnets, and --arch is one: leave one of them out")


def of_run(run: Path, space: str | None, width: int | None) -> Network:
    """Raises ConfigError where the run's network is no FlowNet, StorageError where there is no run."""
    from edgeflownas.config.load import load_config
    from edgeflownas.run.directory import RunDirectory
    from edgeflownas.run.setup import run_space

    for option, value in (("space", space), ("width", width)):
        if value is not None:
            raise ConfigError(f"--{option} {value}: {run} has its own; leave --{option} out, or the run")
    config = load_config(RunDirectory(run).path / "config.yaml")
    if config.train.task == "edgeflownet":
        raise ConfigError(f"{run} trains EdgeFlowNet, whose layers are not FlowNet's: it cannot be profiled")
    return run_space(config), config.train.width, config.data.crop_size


def _named(space: str | None, width: int | None) -> Network:
    from edgeflownas.space import get_space

    return get_space(space or "v1"), width or 32, (180, 240)


def _columns(network: Network, archs: Sequence[Arch]) -> dict[str, Any]:
    from edgeflownas.hardware.costs import space_costs

    return space_costs(*network, archs)


def _measured(
    network: Network, archs: Sequence[Arch], sample: int, seed: int, threads: int, console: Console
) -> dict[str, Any]:
    """Column cpu_ms, nan where nothing was measured; says first how long it takes."""
    import numpy as np

    from edgeflownas.hardware.latency import WARM_UP, CpuLatency, draw_archs
    from edgeflownas.report.words import duration

    chosen = draw_archs(network[0], sample, seed) if len(archs) > 1 else [0]
    model = CpuLatency(threads)
    trial = CpuLatency(threads, repeats=1).costs(*network, archs[-1:])["cpu_ms"][0]
    seconds = trial / 1e3 * (model.repeats + WARM_UP) * len(chosen)
    console.info(f"measuring {len(chosen)} of {len(archs)} subnets: at most about {duration(seconds)}")
    with console.task("measure", len(chosen)) as meter:
        model.advance = meter.advance
        times = model.costs(*network, [archs[position] for position in chosen])
    columns = {name: np.full(len(archs), np.nan) for name in times}
    for name, values in times.items():
        columns[name][chosen] = values
    return columns


def _on_chip(
    target: str | None, network: Network, archs: Sequence[Arch], console: Console
) -> tuple[dict[str, Any], dict[str, str]]:
    """The column, and what decides its figures."""
    if target is None:
        return {}, {}
    from edgeflownas.commands._target import chip_latency

    model = chip_latency(target, *network, console)
    return model.costs(*network, archs), model.facts


def _head(network: Network) -> dict[str, Any]:
    space, width, size = network
    return {"space": space.name, "width": width, "size": list(size)}


def _stages(network: Network, arch: Arch, columns: dict[str, Any]) -> dict[str, Any]:
    """The document of one arch: totals, stages in order, every operator with its memory, and the peak."""
    from edgeflownas.hardware.costs import stage_costs

    stages = stage_costs(network[0], network[1], arch, network[2])
    peak = max((stage.peak for stage in stages), key=lambda moment: moment.bytes)
    return {
        **_head(network),
        "arch": str(arch),
        "words": network[0].describe(arch),
        **{name: column[0].item() for name, column in columns.items()},
        "stages": [
            {
                "name": stage.name,
                "output": _shape(stage.output),
                "parameters": stage.parameters,
                "macs": stage.macs,
                "weight_bytes": stage.weight_bytes,
                "peak_bytes": stage.peak.bytes,
                "operators": {moment.op.output.name: moment.bytes for moment in stage.moments},
            }
            for stage in stages
        ],
        "peak": {
            "stage": peak.op.stage,
            "operator": peak.op.output.name,
            "alive": [{"name": b.name, "shape": _shape(b), "bytes": b.bytes} for b in peak.alive],
        },
    }


def _shape(buffer: Any) -> list[int]:
    return [buffer.channels, buffer.rows, buffer.columns]


def _summary(network: Network, archs: Sequence[Arch], columns: dict[str, Any]) -> dict[str, Any]:
    """The document of a space: each column's extremes with their archs, and its median."""
    import numpy as np

    found = {}
    for name, column in columns.items():
        low, high = int(np.nanargmin(column)), int(np.nanargmax(column))
        found[name] = {
            "min": column[low].item(),
            "median": float(np.nanmedian(column)),
            "max": column[high].item(),
            "min_arch": str(archs[low]),
            "max_arch": str(archs[high]),
            "archs": int(np.isfinite(column).sum()),
        }
    return {**_head(network), "archs": len(archs), "columns": found}


def _text(document: dict[str, Any]) -> str:
    from edgeflownas.report.profile_text import arch_text, space_text

    found = arch_text(document) if "arch" in document else space_text(document)
    return "\n".join([found, *(f"{name}: {words}" for name, words in document["facts"].items())])


def _write(
    path: Path, space: SearchSpace, archs: Sequence[Arch], columns: dict[str, Any], facts: dict[str, str]
) -> None:
    """Code, the option of each block in words, the columns, and ``COLUMN_by`` with what decides its figures."""
    from edgeflownas.evaluate.columns import csv_line
    from edgeflownas.files import replace_file

    lines = [["code", *(choice.name for choice in space.choices), *columns, *(f"{name}_by" for name in facts)]]
    figures = zip(*(column.tolist() for column in columns.values()), strict=True)
    for arch, row in zip(archs, figures, strict=True):
        words = [choice.meaning(digit) for choice, digit in zip(space.choices, arch, strict=True)]
        lines.append([str(arch), *words, *map(repr, row), *facts.values()])
    replace_file(path, [("\n".join(map(csv_line, lines)) + "\n").encode()])
