"""What `edgeflownas export` says: files with their sizes, what quantisation costs in EPE, and time on chip and CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeflownas.report.text_table import text_table
from edgeflownas.report.vela_text import constants_word, facts_text
from edgeflownas.report.verify_text import verification_text


def export_text(report: Mapping[str, Any]) -> str:
    """The facts of report.json (docs/export.md) for people."""
    facts = report["model"]
    rows = [[name, f"{entry['bytes'] / 1024:,.1f}", entry["what"]] for name, entry in report["files"].items()]
    parts = [
        f"subnet {facts['code']} of {facts['space']}, width {facts['width']}, {facts['size'][0]}x{facts['size'][1]}",
        text_table(["file", "KiB", "what"], rows, ("file", "what")),
        verification_text(report["verification"]) if report["verification"] else "not verified",
    ]
    if "vela" in report:
        parts.append(_vela(report["vela"]))
    return "\n\n".join([*parts, _latencies(report["measured"]["cpu_ms"])])


def _vela(vela: Mapping[str, Any]) -> str:
    return (
        f"on the chip: {vela['milliseconds']:.2f} ms ({vela['fps']:.1f} a second), SRAM {vela['sram_kib']:,.0f} KiB, "
        f"{constants_word(vela)} {vela['flash_kib']:,.0f} KiB, {vela['npu_ops']} operators on the NPU, "
        f"{vela['cpu_ops']} on the CPU\n{facts_text(vela)}"
    )


def _latencies(times: Mapping[str, float]) -> str:
    measured = ", ".join(f"{name} {value:.1f} ms" for name, value in times.items())
    return f"on this CPU, one thread: {measured}"
