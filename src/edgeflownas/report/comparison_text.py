"""The comparison as aligned text: details with runs as columns, results with labels as columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from edgeflownas.evaluate.labels import FIGURES, Result
from edgeflownas.report.comparison import LabelColumn, differing
from edgeflownas.report.run_facts import RunFacts

GAP = "  "
NARROWEST = 22  # characters of a run's column; more runs than fit are put below each other
HEADINGS = {
    "epe": "EPE px",
    "epe_per_image": "per image",
    "fl_all": "Fl-all %",
    "px1": "<1px %",
    "px3": "<3px %",
    "px5": "<5px %",
    "s0_10": "s0-10",
    "s10_40": "s10-40",
    "s40_plus": "s40+",
    "epe_occluded": "occluded",
    "epe_visible": "visible",
}


def comparison_text(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], side_by_side: bool, width: int) -> str:
    """Details, then results."""
    details = {run.name: run.details for run in facts}
    return f"{details_text(details, width)}\n\n{results_text(columns, side_by_side)}"


def details_text(details: Mapping[str, Mapping[str, str]], width: int) -> str:
    """What differs, as a table; what does not, as lines below it."""
    differ, same = differing(details)
    runs = list(details)
    lines = []
    if differ:
        first = max(map(len, differ))
        cell = (width - first) // len(runs) - len(GAP)
        cells = [[key, *(details[run].get(key, "-") for run in runs)] for key in differ]
        if cell >= NARROWEST:
            lines += _table(["", *runs], cells, [first, *[cell] * len(runs)])
        else:
            for key, *values in cells:
                lines += [key, *(f"{GAP}{run}: {value}" for run, value in zip(runs, values, strict=True))]
    if same:
        lines += ["", "the same in all runs:"] if differ else ["training details:"]
        lines += [f"{GAP}{key}: {details[runs[0]].get(key, '-')}" for key in same]
    return "\n".join(lines)


def results_text(columns: Sequence[LabelColumn], side_by_side: bool) -> str:
    """Results of one label with all their figures, or of several with rank and EPE in a column each."""
    if not columns:
        return "no evaluation yet"
    return _several(columns) if side_by_side and len(columns) > 1 else "\n\n".join(map(_one, columns))


def _one(column: LabelColumn) -> str:
    present = [name for name in FIGURES if any(name in row.result.figures for row in column.rows)]
    lines = [str(column.label)]
    for kind in dict.fromkeys(row.result.kind for row in column.rows):
        rows = [row for row in column.rows if row.result.kind == kind]
        cells = [
            [str(rank), *_names(result), *(_figure(result, name) for name in present), result.precision, result.when]
            for rank, result in rows
        ]
        heading = ["rank", "run", "model", "code", *(HEADINGS[name] for name in present), "precision", "evaluation"]
        right = {0, *range(4, 4 + len(present))}
        lines += ["", *_aligned(heading, cells, right)]
    return "\n".join(lines)


def _several(columns: Sequence[LabelColumn]) -> str:
    """A line a result, ranked within its own column only; nothing orders the lines across columns."""
    letters = [chr(ord("A") + index) if index < 26 else f"L{index}" for index in range(len(columns))]
    lines = [f"{letter}: {column.label}" for letter, column in zip(letters, columns, strict=True)]
    cells: dict[tuple[str, ...], list[str]] = {}
    for index, column in enumerate(columns):
        for rank, result in column.rows:
            key = (*_names(result), result.precision, result.when)
            line = cells.setdefault(key, [""] * len(columns))
            line[index] = f"{rank}. {_figure(result, 'epe')}" + ("" if result.kind == "model" else " (mean)")
    heading = ["run", "model", "code", *(f"{letter}: EPE px" for letter in letters), "precision", "evaluation"]
    rows = [[*key[:3], *values, *key[3:]] for key, values in sorted(cells.items(), key=lambda entry: entry[0][0])]
    lines += ["(number. EPE: the rank among models, or among means, of the same column)", ""]
    return "\n".join([*lines, *_aligned(heading, rows, set(range(3, 3 + len(columns))))])


def _names(result: Result) -> tuple[str, str, str]:
    return result.run or "(reference)", result.model, (result.code or "").replace(",", "")


def _figure(result: Result, name: str) -> str:
    value = result.figures.get(name)
    if value is None:
        return "-"
    return f"{100.0 * value:.3f}" if "%" in HEADINGS[name] else f"{value:.4f}"


def _aligned(heading: list[str], rows: list[list[str]], right: set[int]) -> list[str]:
    """Columns as wide as their widest cell, empty ones left out."""
    kept = [index for index in range(len(heading)) if any(row[index] for row in rows)]
    widths = {index: max(len(row[index]) for row in [heading, *rows]) for index in kept}

    def line(cells: list[str]) -> str:
        padded = [cells[i].rjust(widths[i]) if i in right else cells[i].ljust(widths[i]) for i in kept]
        return GAP.join(padded).rstrip()

    return [line(heading), line(["-" * widths.get(index, 0) for index in range(len(heading))]), *map(line, rows)]


def _table(heading: list[str], rows: list[list[str]], widths: list[int]) -> list[str]:
    """Cells wrapped to the width of their column."""
    lines = []
    for cells in [heading, ["-" * width for width in widths], *rows]:
        wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
        for place in range(max(map(len, wrapped))):
            parts = [cell[place] if place < len(cell) else "" for cell in wrapped]
            lines.append(GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return lines
