"""What fits a chip, and why the rest does not, as plain text and as a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.evaluate.columns import csv_file
from edgeflownas.files import replace_file
from edgeflownas.report.console import counted
from edgeflownas.report.text_table import text_table
from edgeflownas.report.vela_text import constants_word, facts_text

EXAMPLES = 3


def _limits(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Words and units."""
    constants = constants_word(document["facts"])
    return {"sram_kib": ("SRAM", "KiB"), "flash_kib": (constants, "KiB"), "milliseconds": ("time", "ms")}


def fit_text(document: Mapping[str, Any]) -> str:
    """The document of ``edgeflownas fit-target`` (docs/fit_target.md)."""
    facts, budget = document["facts"], document["budget"]
    words = _limits(document)
    limits = ", ".join(f"{words[name][0]} {most:,.6g} {words[name][1]}" for name, most in budget.items() if most)
    head = (
        f"{document['subnets']:,} subnets of {document['space']}, width {document['width']}, in "
        f"{counted(document['cases'], 'case')} (image size and outputs); at most {limits}\n"
        f"{facts['target']}: Vela {facts['version']}, {facts['accelerator']} at {facts['clock']}, "
        f"ini {facts['ini_sha256'][:12]}"
    )
    return "\n\n".join(filter(None, [head, _fits(document), _failed(document)]))


def write_fit(path: Path, document: Mapping[str, Any]) -> None:
    """A row for each size and outputs that was decided: ``fits`` yes or no, and why not."""
    rows = [{"fits": "yes", **row} for row in document["fits"]] + [{"fits": "no", **row} for row in document["failed"]]
    for row in rows:
        mode, _, arena = row["mode"].partition(", arena ")
        row["size"] = _size(row)
        row["figures_by"] = facts_text(document["facts"] | {"mode": mode, "arena": arena or "no limit"})
    names = list(dict.fromkeys(name for row in rows for name in row))
    replace_file(path, [csv_file([names, *([row.get(name, "") for name in names] for row in rows)])])


def _fits(document: Mapping[str, Any]) -> str:
    rows, ranked = document["fits"], document["ranked_at"] is not None
    if not rows:
        return "nothing fits"
    figures = ["ms", "fps", "SRAM KiB", f"{constants_word(document['facts'])} KiB"]
    heading = ["code", *(["epe"] if ranked else []), "size", "outputs", *figures, "mode"]
    cells = [
        [
            row["code"],
            *([f"{row['epe']:.4f}{' ' if row['epe_measured_here'] else '*'}"] if ranked else []),
            _size(row),
            row["outputs"],
            f"{row['milliseconds']:.2f}",
            f"{row['fps']:.2f}",
            f"{row['sram_kib']:.1f}",
            f"{row['flash_kib']:.1f}",
            row["mode"],
        ]
        for row in rows
    ]
    lines = ["what fits, the best subnet of each case; figures are Vela's of the whole graph:"]
    lines.append(text_table(heading, cells, ("code", "outputs", "mode")))
    lines += _order(document)
    if document["further"]:
        lines.append(
            f"{counted(document['further'], 'further case')}: the smallest subnet fits, the best that does was not "
            "looked for (--top)"
        )
    return "\n".join(lines)


def _order(document: Mapping[str, Any]) -> list[str]:
    if document["ranked_at"] is None:
        return ["order: most multiply-adds of the graph first; no accuracy is known without a ranking"]
    rows, columns = document["ranked_at"]
    return [
        "order: smallest EPE first, then finer outputs, then larger images",
        f"* measured at {rows}x{columns} with the flow at full size, and only assumed to keep its order at this size "
        "and these outputs; larger images and finer outputs are usually better",
    ]


def _failed(document: Mapping[str, Any]) -> str:
    """By limit: how many cases, and those that miss it by least."""
    lines = []
    for limit, (word, unit) in _limits(document).items():
        rows = sorted((r for r in document["failed"] if r["limit"] == limit), key=lambda r: r["needs"] / r["allowed"])
        if rows:
            lines.append(
                f"{word}: {counted(len(rows), 'case')}, where even the smallest subnet needs too much, nearest:"
            )
        for row in rows[:EXAMPLES]:
            over = row["needs"] / row["allowed"] - 1
            lines.append(
                f"  {_size(row)} {row['outputs']}: {row['needs']:,.1f} {unit}, {over:.1%} over {row['allowed']:,.1f} "
                f"({row['code']}, {row['mode']}, by {row['by']})"
            )
    if document["too_slow"]:
        lines.append(
            f"time: in the other cases {document['too_slow']:,} of {_pairs(document):,} subnets x cases are too slow "
            "by the table (an estimate)"
        )
    return "\n".join(["what does not fit:", *lines]) if lines else ""


def _pairs(document: Mapping[str, Any]) -> int:
    """Subnets x cases, of the cases where something fits."""
    return int(document["subnets"] * (document["cases"] - len(document["failed"])))


def _size(row: Mapping[str, Any]) -> str:
    return "x".join(map(str, row["size"]))
