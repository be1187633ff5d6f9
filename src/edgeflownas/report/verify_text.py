"""A verification of an export in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.report.console import counted
from edgeflownas.report.text_table import text_table


def folder_text(document: Mapping[str, Any]) -> str:
    """The document of ``edgeflownas verify`` (docs/verify.md)."""
    facts, files, vectors = document["model"], document["files"], document["vectors"]
    sound = sum(not problem for problem in files.values())
    same = sum(not vector["differing"] for vector in vectors)
    lines = [
        f"{document['folder']}: subnet {facts['code']} of {facts['space']}, width {facts['width']}, "
        f"{facts['size'][0]}x{facts['size'][1]}",
        f"files with the hash of the report: {sound} of {len(files)}",
        f"outputs of test vectors that LiteRT gives to the bit: {same} of {len(vectors)}",
    ]
    reasons = document["reasons"]
    if document["verification"] is not None:
        lines += ["", verification_text(document["verification"])]
        reasons = [reason for reason in reasons if reason not in document["verification"]["reasons"]]
    return "\n".join([*lines, *reasons, f"verdict: {document['verdict']}"])


def verification_text(found: Mapping[str, Any]) -> str:
    """The document of a comparison: every path, what fails and where the error enters."""
    where = f" of {found['from']}" if "from" in found else ""
    parts = [f"verification on {counted(found['pairs'], 'pair')}{where}: {found['verdict']}", _paths(found)]
    parts += [*found["reasons"], *found["notes"]]
    for name, rows in found["layers"].items():
        parts += ["", f"{name}, operator by operator (the error enters at <):", _layers(rows)]
    return "\n".join(parts)


def _paths(found: Mapping[str, Any]) -> str:
    """One row a path and output, its EPE and loss on the first."""
    scores = {row["path"]: row for row in found["paths"]}
    named = {row["path"] for row in found["outputs"]}
    rows = [[name, *_score(row), "", "", "", ""] for name, row in scores.items() if name not in named]
    before = ""
    for row in found["outputs"]:
        own = scores.get(row["path"], {}) if row["path"] != before else {}
        before = row["path"]
        differences = [_figure(row[key], "{:.2g}") for key in ("max_difference", "epe_against_float")]
        rows.append([row["path"], *_score(own), row["output"], f"{row['snr_db']:.1f}", *differences])
    heading = ["path", "EPE px", "loss %", "+-", "output", "SNR dB", "largest difference", "EPE against float"]
    return text_table(heading, rows, ("path", "output"))


def _score(row: Mapping[str, Any]) -> list[str]:
    forms = (("epe", "{:.4f}"), ("loss_percent", "{:+.2f}"), ("margin_percent", "{:.2f}"))
    return [_figure(row.get(key), form) for key, form in forms]


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _layers(rows: Sequence[Mapping[str, Any]]) -> str:
    worst = max(rows, key=lambda row: row["flow_px"])
    heading = ["operator", "kind", "SNR dB", "lost here", "own SNR dB", "moves flow, px  "]
    cells = [
        [
            row["name"],
            row["kind"],
            *(f"{row[key]:.1f}" for key in ("snr_db", "added_db", "own_snr_db")),
            f"{row['flow_px']:.3g}" + (" <" if row is worst else "  "),
        ]
        for row in rows
    ]
    return text_table(heading, cells, ("operator", "kind"))
