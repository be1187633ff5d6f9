"""What subnets cost, as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.report.text_table import text_table

__all__ = ["arch_text", "space_text"]

NAMES = {
    "parameters": "parameters",
    "macs": "multiply-adds",
    "int8_weight_kib": "int8 weights, KiB",
    "sram_kib": "peak of activations, KiB",
    "cpu_ms": "CPU time, ms (measured)",
}


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
