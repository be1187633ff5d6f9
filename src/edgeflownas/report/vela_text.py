"""What a model costs on an Arm Ethos-U, as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.report.text_table import text_table


def models_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """One model operator by operator, or several in a table."""
    return model_text(documents[0]) if len(documents) == 1 else comparison_text(documents)


def model_text(document: Mapping[str, Any]) -> str:
    """The document of one model (docs/vela.md): a row for each operator, the total, the peak of memory, facts."""
    rows = [
        [
            layer["name"] + ("" if layer["cascade"] == 0 else f" [{layer['cascade']}]"),
            layer["kind"],
            f"{_ms(layer['cycles'], document):,.2f}",
            f"{100 * layer['cycles'] / document['cycles']:.1f}",
            f"{layer['macs'] / 1e6:,.1f}",
            f"{100 * layer['utilisation']:.0f}",
            f"{layer['sram_bytes'] / 1024:,.1f}",
        ]
        for layer in document["layers"]
    ]
    share, sram = f"{100 * document['utilisation']:.0f}", f"{document['sram_kib']:,.1f}"
    time = f"{document['milliseconds']:,.2f}"
    rows.append(["total", "", time, "100.0", f"{document['macs'] / 1e6:,.1f}", share, sram])
    heading = ["operator", "kind", "ms", "%", "MMAC", "MAC use %", "SRAM KiB"]
    lines = [document["name"], text_table(heading, rows, left=("operator", "kind")), _peak(document)]
    if any(layer["cascade"] for layer in document["layers"]):
        lines.append("[n]: operators of one cascade run stripe by stripe in turn")
    return "\n".join([*lines, *_not_kept([document]), _memories(document), facts_text(document["facts"])])


def comparison_text(documents: Sequence[Mapping[str, Any]]) -> str:
    """A row for each model; they have the same target and mode."""
    rows = [
        [
            document["name"],
            f"{document['milliseconds']:,.2f}",
            f"{1e3 / document['milliseconds']:,.1f}",
            f"{document['sram_kib']:,.1f}{'' if document['arena_kept'] else '!'}",
            f"{document['flash_kib']:,.1f}",
            f"{document['macs'] / 1e6:,.1f}",
            f"{100 * document['utilisation']:.0f}",
            str(document["npu_ops"]),
        ]
        for document in documents
    ]
    facts = documents[0]["facts"]
    constants = f"{constants_word(facts)} KiB"
    heading = ["model", "ms", "a second", "SRAM KiB", constants, "MMAC", "MAC use %", "operators"]
    return "\n".join([text_table(heading, rows, left=("model",)), *_not_kept(documents), facts_text(facts)])


def targets_text(targets: Sequence[Mapping[str, str]]) -> str:
    """A row for each target."""
    heading = ["target", "accelerator", "system_config", "memory_mode", "ini"]
    rows = [[row["name"], *(row[name] for name in heading[1:])] for row in targets]
    return text_table(heading, rows, left=heading)


def facts_text(facts: Mapping[str, str]) -> str:
    """What decides the figures, in a line."""
    return (
        f"Vela {facts['version']}, {facts['target']}: {facts['accelerator']} at {facts['clock']}, "
        f"mode {facts['mode']}, arena {facts['arena']}, {facts['system_config']} / {facts['memory_mode']}, "
        f"ini sha256 {facts['ini_sha256'][:12]}"
    )


def constants_word(facts: Mapping[str, str]) -> str:
    """Where weights and biases lie: ``flash``, or ``weights in Dram``."""
    return "flash" if "Flash" in facts["constants"] else f"weights in {facts['constants']}"


def not_kept_text(document: Mapping[str, Any]) -> str:
    """For a model with ``arena_kept`` false."""
    return (
        f"{document['name']}: the limit of the arena, {document['facts']['arena']}, is not kept: "
        f"it needs {document['sram_kib']:,.1f} KiB"
    )


def _not_kept(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"! {not_kept_text(document)}" for document in documents if not document["arena_kept"]]


def _ms(cycles: int, document: Mapping[str, Any]) -> float:
    return float(document["milliseconds"]) * cycles / int(document["cycles"])


def _peak(document: Mapping[str, Any]) -> str:
    peak = document["peak"]
    alive = ", ".join(f"{_range(one)} {one['bytes'] / 1024:,.1f}" for one in peak["alive"])
    gaps = f", gaps {peak['gaps_kib']:,.1f}" if peak["gaps_kib"] else ""
    return f"peak of SRAM at {', '.join(peak['operators'])}: {alive}{gaps} KiB"


def _range(one: Mapping[str, Any]) -> str:
    words = {"tensor": "", "stripes": "stripes of ", "weights": "weights of "}
    return words[one["use"]] + " = ".join(one["names"])


def _memories(document: Mapping[str, Any]) -> str:
    used = ", ".join(f"{name} {kib:,.1f} KiB" for name, kib in document["memories"].items())
    return (
        f"memory: {used} (weights compressed); "
        f"operators: {document['npu_ops']} on the accelerator, {document['cpu_ops']} on the CPU"
    )
