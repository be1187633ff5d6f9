"""What `edgeflownas pareto` says and writes: front, confidence, shortlist, what each choice is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError
from edgeflownas.files import encoded, replace_file
from edgeflownas.report.table import SRAM_COUNT, Column, Heading, Table, told
from edgeflownas.report.views import BESIDE_ZERO, Blocks, Document, beside_zero, zero_flow_alarm, zero_flow_note

SCALES = ((1e9, "G"), (1e6, "M"))
MOST_PAIRS = 5
LEAST_PAIR = 0.001  # share of the variance
MEANING = {
    "paired": "paired over the {} samples",
    "unpaired": "from each one's own standard error over {} samples, unpaired: far too careful; rank with "
    "--keep-sample-errors to compare them sample by sample",
}
Columns = Mapping[str, Column]


def pareto_view(summary: Document) -> Blocks:
    """The summary of a choice (docs/choosing.md)."""
    columns = {column["name"]: _column(column) for column in summary["columns"]}
    counts, size = summary["counts"], len(summary["front"])
    kept = f", {counts['allowed']:,} with {summary['where']}" if summary["where"] else ""
    unknown = counts["allowed"] - counts["feasible"]
    lost = f", {unknown:,} of them without a figure" if unknown else ""
    few = f" ({len(summary['shown'])} shown)" if len(summary["shown"]) < size else ""
    chip = summary.get("chip", {"columns": [], "figures_by": ""})
    shown = [columns[name] for name in (*summary["objectives"], *chip["columns"])]
    target, zero = summary["zero_flow_of"], summary["zero_flow_epe"]
    compared = zero if target in summary["objectives"] else None
    if compared is not None:
        shown.insert(1 + shown.index(columns[target]), BESIDE_ZERO)
    front, short = (beside_zero(summary[name], zero, target) for name in ("front", "shortlist"))
    shortlist: Heading = [Column("shortlist", name="name"), "code", *shown]
    return [
        *zero_flow_alarm(summary["best_epe"], zero),
        f"{summary['title']}: {counts['table']:,} in the table{kept}{lost}",
        *(f"{name} is {value:g} in all of them: left out" for name, value in summary["constant"].items()),
        f"front: {size} {'subnet' if size == 1 else 'subnets'}{few}",
        "",
        _members({**summary, "front": front}, shown),
        *zero_flow_note(compared),
        *("", *_confidence(summary, columns), *_volume(summary, columns), ""),
        Table.of(shortlist, short),
        *([SRAM_COUNT] if "sram_kib" in [column.name for column in shown] else []),
        *([f"{', '.join(chip['columns'])}: {chip['figures_by']}, of the whole graph"] if "chip" in summary else []),
        *("", *_choices(summary, columns)),
    ]


def write_choice(
    out: Path, document: Mapping[str, Any], summary: Mapping[str, Any], warn: Callable[[str], object]
) -> dict[str, Path]:
    """Write pareto.json, .csv, .html and .png; returns what was written by name.  Raises StorageError, OSError.

    A picture that cannot be drawn must not cost the rest: it is named to ``warn``, with the remedy.
    """
    from edgeflownas.report.plot import pareto_figure
    from edgeflownas.report.space_page import render

    files = {
        "result": (out / "pareto.json", (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()),
        "table": (out / "pareto.csv", _choice_table(document, summary).csv()),
        "page": (out / "pareto.html", encoded(render(document))),
    }
    try:
        files["picture"] = out / "pareto.png", pareto_figure(document)
    except ConfigError as error:
        warn(f"{out / 'pareto.png'} is not written: {error}")
    out.mkdir(parents=True, exist_ok=True)
    for path, content in files.values():
        replace_file(path, [content])
    return {name: path for name, (path, _) in files.items()}


def _choice_table(document: Document, summary: Document) -> Table:
    """One row for each member of the front, each tie and each of the shortlist, in the order of the ranking."""
    sure = {row["code"]: row["sure"] for row in summary["front"]}
    names = dict(zip(document["shortlist"], document["shortlist_names"], strict=True))
    blocks, ties = document["blocks"], set(document["ties"])
    by = {"vela_by": document["chip"]["figures_by"]} if "chip" in document else {}
    rows = []
    for position in sorted({*document["front"], *ties, *document["shortlist"]}):
        code = document["codes"][position]
        printed = ",".join(code)
        kind = "front" if printed in sure else "tie" if position in ties else ""
        words = [block["options"][int(digit)] for block, digit in zip(blocks, code, strict=True)]
        figures = [column[position] for column in document["values"].values()]
        rows.append([printed, kind, sure.get(printed), names.get(position, ""), *figures, *words, *by.values()])
    names_of_blocks = [block["name"] for block in blocks]
    heading: Heading = ["code", "kind", "sure", "shortlist", *document["values"], *names_of_blocks, *by]
    return Table(heading, rows)


def _column(column: Document) -> Column:
    """Thousands, millions or billions of what is counted, with decimals for the largest five digits of a column."""
    name, word, largest = column["name"], column["unit"], column["largest"]
    counted = word == "MAC" or (not word and name not in ("rank", "samples"))
    scale, prefix = next((found for found in SCALES if largest >= found[0]), (1.0, "")) if counted else (1.0, "")
    whole = scale == 1.0 and (counted or name in ("rank", "samples")) and largest == int(largest) and largest >= 1
    decimals = 0 if whole or not largest else min(max(4 - math.floor(math.log10(largest / scale)), 0), 6)
    return Column(f"{name} {prefix}{word}".rstrip(), f".{decimals}f", name, scale=scale)


def _unit(column: Column) -> str:
    return column.title[len(column.name) :].strip()


def _worded(value: float | None, column: Column) -> str:
    return f"{column.text(value)} {_unit(column)}".rstrip()


def _members(summary: Document, shown: Sequence[Column]) -> Table:
    """The front, at most as many rows as the summary shows."""
    roles = {row["code"]: [row["name"]] for row in summary["shortlist"]}
    for role in ("knee", "baseline"):
        if summary[role] is not None and role not in roles.setdefault(summary[role]["code"], []):
            roles[summary[role]["code"]].append(role)
    known = any(row["sure"] is not None for row in summary["front"])
    place = Column("place", lambda sure: "sure" if sure else "in doubt", "sure", left=True, missing="in doubt")
    columns: Heading = ["code", *shown, *([place] if known else []), "shortlist"]
    kept = [row for row in summary["front"] if row["code"] in summary["shown"]]
    return Table.of(columns, [{**row, "shortlist": ", ".join(roles.get(row["code"], []))} for row in kept])


def _confidence(summary: Document, columns: Columns) -> list[str]:
    found = summary["confidence"]
    lines = []
    if found["objective"] is not None:
        name = found["objective"]
        meaning = MEANING[found["noisy"][name]].format(found["samples"])
        known = found["like_best_when_ranked"] if found["noisy"][name] == "unpaired" else None
        ranked = told(known, "; paired, when they were ranked: {:,}", "")
        sure = sum(bool(row["sure"]) for row in summary["front"])
        lines += [
            f"noise of {name}: 95 %, {meaning}",
            f"  {found['like_best']:,} of {summary['counts']['feasible']:,} cannot be told from the best (up to "
            f"{_worded(found['within'], columns[name])} behind it){ranked}",
            f"  {len(summary['ties']):,} ties: off the front, but no subnet as cheap is better by more than noise",
            f"  {sure} of the front sure: everything as cheap is worse by more than noise; the others are in doubt",
        ]
    if found["taken_as_exact"]:
        lines.append(f"noise of {', '.join(found['taken_as_exact'])}: not known, taken as exact")
    return lines


def _volume(summary: Document, columns: Columns) -> list[str]:
    found, knee = summary["hypervolume"], summary["knee"]
    value = told(found["value"], "{:.6g}", found.get("why", ""))
    value += told(found["share"], ", {:.4f} of the box from the best values to the reference point", "")
    point = ", ".join(f"{name} {_worded(value, columns[name])}" for name, value in found["reference"].items())
    beyond = f"{found['outside']} of {len(summary['front'])} members of the front lie at or beyond it and do not count"
    point += f", {beyond}" if found["outside"] else ""
    bend = "none, no member lies below the line between the extremes"
    if knee:
        figures = ", ".join(f"{name} {_worded(knee[name], columns[name])}" for name in summary["objectives"])
        bend = f"{knee['code']} ({figures})"
    return [f"hypervolume: {value}; reference point {point} ({found['reference_is']})", f"knee: {bend}"]


def _choices(summary: Document, columns: Columns) -> Blocks:
    """What each step of a block gains and costs, and how much pairs of blocks do together."""
    found = summary["marginals"]
    if found is None:
        return [f"what each choice is worth: not available: {summary['marginals_missing']}"]
    steps = [(block["name"], step) for block in found["blocks"] for step in block["steps"]]
    costs = [columns[name] for name in summary["objectives"] if steps and name in steps[0][1]["costs"]]
    margin = any(step["margin"] is not None for _, step in steps)
    heading: Heading = ["block", "from", "to", Column(f"{found['target']} gained px", "+.4f", "gain")]
    heading += [Column("+-", ".4f", "margin")] if margin else []
    for cost in costs:
        rate = Column(f"px per {_unit(cost) or cost.name}", partial(_rate, cost.scale), f"gain_per_{cost.name}")
        heading += [replace(cost, form="+.4g"), rate]
    heading.append(Column("share", lambda share: f"{100 * share:.1f} %", missing=""))
    rows: list[list[Any]] = []
    for number, (name, step) in enumerate(steps):
        first = number == 0 or steps[number - 1][0] != name
        row = [name, step["from"], step["to"], step["gain"], *([step["margin"]] if margin else [])]
        row += [value for cost in costs for value in (step["costs"][cost.name], step["gain_per_cost"][cost.name])]
        rows.append([*row, found["shares"][name] if first else None])
    lines: Blocks = [
        f"what each choice is worth: means over {found['over']} ({found['subnets']:,}); share of the variance of "
        f"{found['target']}",
        Table(heading, rows),
    ]
    if found["interactions"]:
        large = [pair for pair in found["interactions"][:MOST_PAIRS] if pair["share"] >= LEAST_PAIR]
        named = ", ".join(f"{' x '.join(pair['blocks'])} {100 * pair['share']:.2f} %" for pair in large)
        total = sum(pair["share"] for pair in found["interactions"])
        rest = f"three and more together {100 * found['rest_share']:.2f} %"
        lines.append(f"pairs of blocks {100 * total:.2f} %{f' ({named})' if named else ''}, {rest}")
    return lines


def _rate(scale: float, rate: float) -> str:
    return f"{rate * scale:+.4g}"
