"""Runs beside each other: what differs in how they train, and their results, each under the label it belongs to.

A ranked column holds results of ONE label (protocol, split, samples) and of one kind (a model, or the mean of one
pool).  Whoever asks for a single column of several labels is refused; side by side they get a column each.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.results import FIGURES, Label, Result
from edgeflownas.report.run_facts import RunFacts
from edgeflownas.report.text_table import text_table

FC2_OFFICIAL = {640}  # the official validation folder of FlyingChairs2
FC2_HOLD_OUT = {4446, 4447}  # what the 17,785 training samples of the index lists leave over
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


class Ranked(NamedTuple):
    """A result with its place among those of its label and kind, from 1."""

    rank: int
    result: Result


@dataclass(frozen=True)
class LabelColumn:
    """All results of one label; ranks start anew with every kind."""

    label: Label
    rows: tuple[Ranked, ...]


def label_columns(results: Sequence[Result]) -> list[LabelColumn]:
    """One column a label, in order of first appearance; every result stands in exactly one."""
    groups: dict[Label, list[Result]] = {}
    for result in results:
        group = groups.setdefault(result.label, [])
        if result.run or not any(_same_reference(result, other) for other in group):
            group.append(result)
    return [LabelColumn(label, _ranked(group)) for label, group in groups.items()]


def _same_reference(one: Result, other: Result) -> bool:
    """Zero flow and the like on the same pixels are one row, whichever run's evaluation wrote it."""
    return not other.run and one.model == other.model and math.isclose(one.epe, other.epe, rel_tol=1e-6)


def _ranked(group: list[Result]) -> tuple[Ranked, ...]:
    kinds: dict[str, list[Result]] = {}
    for result in group:
        kinds.setdefault(result.kind, []).append(result)
    rows: list[Ranked] = []
    for kind in sorted(kinds, key=lambda kind: kind == "model"):  # means first: they describe the runs
        members = sorted(kinds[kind], key=lambda r: (math.isnan(r.epe), r.epe))
        rows += [Ranked(place, result) for place, result in enumerate(members, start=1)]
    return tuple(rows)


def select(results: Sequence[Result], protocol: str | None, split: str | None) -> list[Result]:
    """Results of one protocol (name, or name with parameters) and one split label, where given.

    Raises:
        ConfigError: nothing is left; names what there is.
    """
    kept = [
        result
        for result in results
        if protocol in (None, result.label.protocol, result.label.protocol.partition(":")[0])
        and split in (None, result.label.split)
    ]
    if results and not kept:
        there = "".join(f"\n  {label}" for label in dict.fromkeys(str(result.label) for result in results))
        asked = " and ".join(f"--{n} {v}" for n, v in (("protocol", protocol), ("split", split)) if v is not None)
        raise ConfigError(f"{asked}: no result under that label; there are:{there}")
    return kept


def require_one_label(columns: Sequence[LabelColumn]) -> None:
    """Raises ConfigError with every label and who has it where there is more than one."""
    if len(columns) < 2:
        return
    lines = []
    for column in columns:
        owners = dict.fromkeys(row.result.run for row in column.rows if row.result.run)
        lines.append(f"\n  {column.label}: {', '.join(owners) or 'references only'}")
    alike = len({(column.label.protocol, column.label.split) for column in columns}) == 1
    keep = "" if alike else ", or keep one label with --protocol NAME and --split LABEL"
    raise ConfigError(
        f"these results have {len(columns)} different labels and cannot be ranked in one column:{''.join(lines)}\n"
        f"add --side-by-side for a column each{keep}; to compare the runs themselves, evaluate them alike: edgeflownas "
        "evaluate"
    )


def differing(details: Mapping[str, Mapping[str, str]]) -> tuple[list[str], list[str]]:
    """Keys of run -> key -> value that differ between the runs, and those that do not, in their order."""
    keys = list(dict.fromkeys(key for values in details.values() for key in values))
    differ = [key for key in keys if len({values.get(key, "-") for values in details.values()}) > 1]
    return differ, [key for key in keys if key not in differ]


def split_warnings(labels: Sequence[str]) -> list[str]:
    """The two sets that are both called the validation set of FlyingChairs2, where both are in the comparison."""
    official = {label for label in labels if _fc2_count(label) in FC2_OFFICIAL}
    hold_out = {label for label in labels if _fc2_count(label) in FC2_HOLD_OUT}
    if not official or not hold_out:
        return []
    return [
        f"{', '.join(sorted(official))} looks like the official 640 validation pairs of FlyingChairs2, "
        f"{', '.join(sorted(hold_out))} like what the 17,785 training pairs leave of the official training folder "
        "(4,446 or 4,447): they are different sets, and a figure of one says nothing about the other"
    ]


def _fc2_count(label: str) -> int | None:
    """Samples in a split label such as ``fc2/folder:val/640/9f3a``; None for other data sets."""
    match = re.fullmatch(r"(?:fc2|flying_?chairs_?2)(?:[:/].*)?/(\d{1,9})/[^/]*", label.lower())
    return int(match[1]) if match else None


def document(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], warnings: Sequence[str]) -> dict[str, Any]:
    """Everything as a JSON document."""
    differ, _ = differing({run.name: run.details for run in facts})
    return {
        "runs": [{"run": run.name, "path": run.path, "details": dict(run.details)} for run in facts],
        "differing": differ,
        "labels": [
            {
                "protocol": column.label.protocol,
                "split_label": column.label.split,
                "samples": column.label.samples,
                "rows": [
                    {
                        "rank": rank,
                        "ranked_among": result.kind,
                        "run": result.run or None,
                        "model": result.model,
                        "code": result.code,
                        "when": result.when,
                        "precision": result.precision,
                        "batch_shape": result.batch_shape,
                        **result.extra,
                        **{
                            name: value if math.isfinite(value) else str(value)
                            for name, value in result.figures.items()
                        },
                    }
                    for rank, result in column.rows
                ],
            }
            for column in columns
        ],
        "warnings": list(warnings),
    }


def csv_table(details: Mapping[str, Mapping[str, str]], columns: Sequence[LabelColumn]) -> list[list[str]]:
    """Header and one line a result: the run's details, then rank and figures in columns of the result's own label."""
    keys = sum(differing(details), [])
    own = [list(dict.fromkeys(name for row in column.rows for name in row.result.figures)) for column in columns]
    header = ["run", "model", "code", "when", "ranked_among", "precision", "batch_shape"]
    for column, names in zip(columns, own, strict=True):
        header += [f"{name} [{column.label}]" for name in ("rank", *names)]
    table = [header + keys]
    for place, column in enumerate(columns):
        for rank, result in column.rows:
            line = [result.run, result.model, result.code or "", result.when, result.kind]
            line += [result.precision, result.batch_shape]
            for index, names in enumerate(own):
                figures = [f"{result.figures[name]:.4f}" if name in result.figures else "" for name in names]
                line += [str(rank), *figures] if index == place else [""] * (1 + len(names))
            table.append(line + [details.get(result.run, {}).get(key, "") for key in keys])
    return table


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
        lines += ["", _aligned(heading, cells)]
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
    return "\n".join([*lines, _aligned(heading, rows)])


def _names(result: Result) -> tuple[str, str, str]:
    return result.run or "(reference)", result.model, (result.code or "").replace(",", "")


def _figure(result: Result, name: str) -> str:
    value = result.figures.get(name)
    if value is None:
        return "-"
    return f"{100.0 * value:.3f}" if "%" in HEADINGS[name] else f"{value:.4f}"


def _aligned(heading: list[str], rows: list[list[str]]) -> str:
    """The table without its empty columns; names and words stand to the left, figures to the right."""
    kept = [index for index in range(len(heading)) if any(row[index] for row in rows)]
    words = ("run", "model", "code", "precision", "evaluation")
    return text_table([heading[index] for index in kept], [[row[index] for index in kept] for row in rows], words)


def _table(heading: list[str], rows: list[list[str]], widths: list[int]) -> list[str]:
    """Cells wrapped to the width of their column."""
    lines = []
    for cells in [heading, ["-" * width for width in widths], *rows]:
        wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
        for place in range(max(map(len, wrapped))):
            parts = [cell[place] if place < len(cell) else "" for cell in wrapped]
            lines.append(GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return lines
