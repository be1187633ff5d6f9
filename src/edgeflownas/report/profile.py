"""What subnets cost: one by its stages, a space by its extremes, every one in a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.evaluate.columns import csv_file
from edgeflownas.files import replace_file
from edgeflownas.hardware.costs import stage_costs
from edgeflownas.hardware.latency import WARM_UP, CpuLatency, draw_archs
from edgeflownas.models.graph import Buffer
from edgeflownas.report.console import Console, duration
from edgeflownas.report.text_table import text_table
from edgeflownas.space import Arch, SearchSpace

Network = tuple[SearchSpace, int, tuple[int, int]]  # space, width, rows and columns
Columns = Mapping[str, NDArray[Any]]  # of every arch
NAMES = {
    "parameters": "parameters",
    "macs": "multiply-adds",
    "int8_weight_kib": "int8 weights, KiB",
    "sram_kib": "peak of activations, KiB",
    "cpu_ms": "CPU time, ms (measured)",
}


def measured_times(
    network: Network, archs: Sequence[Arch], sample: int, seed: int, threads: int, console: Console
) -> dict[str, NDArray[Any]]:
    """Column cpu_ms of a ``sample`` of the archs, nan where nothing was measured; says first how long it takes."""
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


def profile_document(
    network: Network, archs: Sequence[Arch], columns: Columns, facts: Mapping[str, str]
) -> dict[str, Any]:
    """Plain data (docs/cost.md): of one arch its stages, operators and peak, of several the extremes of each column."""
    space, width, size = network
    head = {"space": space.name, "width": width, "size": list(size)}
    if len(archs) == 1:
        totals = {name: column[0].item() for name, column in columns.items()}
        words = {"arch": str(archs[0]), "words": space.describe(archs[0])}
        return head | words | totals | _stages(network, archs[0]) | {"facts": dict(facts)}
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
    return head | {"archs": len(archs), "columns": found, "facts": dict(facts)}


def _stages(network: Network, arch: Arch) -> dict[str, Any]:
    """Stages in order, every operator with its memory, and the peak."""

    def shape(buffer: Buffer) -> list[int]:
        return [buffer.channels, buffer.rows, buffer.columns]

    stages = stage_costs(network[0], network[1], arch, network[2])
    peak = max((stage.peak for stage in stages), key=lambda moment: moment.bytes)
    return {
        "stages": [
            {
                "name": stage.name,
                "output": shape(stage.output),
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
            "alive": [{"name": one.name, "shape": shape(one), "bytes": one.bytes} for one in peak.alive],
        },
    }


def write_profile(
    path: Path, space: SearchSpace, archs: Sequence[Arch], columns: Columns, facts: Mapping[str, str]
) -> None:
    """Code, the option of each block in words, the columns, and ``COLUMN_by`` with what decides its figures."""
    lines: list[list[object]] = [
        ["code", *(choice.name for choice in space.choices), *columns, *(f"{n}_by" for n in facts)]
    ]
    figures = zip(*(column.tolist() for column in columns.values()), strict=True)
    for arch, row in zip(archs, figures, strict=True):
        words = [choice.meaning(digit) for choice, digit in zip(space.choices, arch, strict=True)]
        lines.append([str(arch), *words, *row, *facts.values()])
    replace_file(path, [csv_file(lines)])


def profile_text(document: Mapping[str, Any]) -> str:
    """Either document, and what decides the figures of a chip."""
    text = arch_text(document) if "arch" in document else space_text(document)
    return "\n".join([text, *(f"{name}: {words}" for name, words in document["facts"].items())])


def arch_text(document: Mapping[str, Any]) -> str:
    """The document of one arch (see docs/cost.md): a row for each stage, the total, and what is alive at the peak."""
    stages, peak = document["stages"], document["peak"]
    rows = [
        [
            stage["name"],
            _shape(stage["output"]),
            f"{stage['parameters']:,}",
            f"{stage['macs'] / 1e6:,.1f}",
            _kib(stage["weight_bytes"]),
            _kib(stage["peak_bytes"]) + (" <" if stage["name"] == peak["stage"] else "  "),
        ]
        for stage in stages
    ]
    total = f"{document['macs'] / 1e6:,.1f}"
    weights, sram = f"{document['int8_weight_kib']:,.1f}", f"{document['sram_kib']:,.1f}"
    rows.append(["total", "", f"{document['parameters']:,}", total, weights, sram + "  "])
    heading = ["stage", "output", "parameters", "MMAC", "int8 weights KiB", "alive KiB  "]
    alive = ", ".join(f"{b['name']} {_shape(b['shape'])} {_kib(b['bytes'])}" for b in peak["alive"])
    lines = [
        f"{_title(document)}, arch {document['arch']}",
        text_table(heading, rows, left=("stage",)),
        f"peak at {peak['operator']} ({peak['stage']}), alive: {alive} KiB",
    ]
    if "cpu_ms" in document:
        lines.append(f"CPU time {document['cpu_ms']:.2f} ms (median of forward passes, batch 1, float32)")
    lines += [f"{name.removesuffix('_ms')} {document[name]:.2f} ms" for name in document if _on_chip(name)]
    return "\n".join(lines)


def space_text(document: Mapping[str, Any]) -> str:
    """The document of a space: minimum, median and maximum of every figure, with the archs at the ends."""
    rows = []
    for name, column in document["columns"].items():
        ends = [column["min_arch"], column["max_arch"]] if column["min"] < column["max"] else ["(all alike)", ""]
        figures = [_figure(name, column[which]) for which in ("min", "median", "max")]
        few = f", {column['archs']} archs" if column["archs"] < document["archs"] else ""
        rows.append([NAMES.get(name, name) + few, *figures, *ends])
    heading = ["", "min", "median", "max", "arch at min", "arch at max"]
    table = text_table(heading, rows, left=("", "arch at min", "arch at max"))
    return f"{_title(document)}, {document['archs']:,} archs\n{table}"


def _on_chip(name: str) -> bool:
    return name.endswith("_ms") and name not in NAMES


def _title(document: Mapping[str, Any]) -> str:
    rows, columns = document["size"]
    return f"space {document['space']}, width {document['width']}, {rows}x{columns}"


def _figure(name: str, value: float) -> str:
    return f"{value:,.0f}" if name in ("parameters", "macs") else f"{value:,.2f}"


def _kib(count: int) -> str:
    return f"{count / 1024:,.1f}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
