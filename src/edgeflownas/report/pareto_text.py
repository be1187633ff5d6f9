"""What `edgeflownas pareto` says and writes: front, confidence, shortlist, what each choice is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.columns import csv_file
from edgeflownas.files import replace_file
from edgeflownas.report.console import SRAM_COUNT
from edgeflownas.report.text_table import text_table

SCALES = ((1e9, "G"), (1e6, "M"))
MOST_PAIRS = 5
LEAST_PAIR = 0.001  # share of the variance


class Unit(NamedTuple):
    """How the figures of a column are written."""

    scale: float
    word: str
    decimals: int


Units = Mapping[str, Unit]
MEANING = {
    "paired": "paired over the {} samples",
    "unpaired": "from each one's own standard error over {} samples, unpaired: far too careful; rank with "
    "--keep-sample-errors to compare them sample by sample",
}


def pareto_text(summary: Mapping[str, Any]) -> str:
    """The summary of a choice (docs/choosing.md) for people."""
    units = {column["name"]: _unit_of(column) for column in summary["columns"]}
    parts = [
        "\n".join(_head(summary)),
        _members(summary, units),
        "\n".join([*_confidence(summary, units), *_volume(summary, units)]),
        "\n".join(_shortlist(summary, units)),
        "\n".join(_choices(summary, units)),
    ]
    return "\n\n".join(parts)


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
        "table": (out / "pareto.csv", _csv(document, summary)),
        "page": (out / "pareto.html", render(document).encode()),
    }
    try:
        files["picture"] = out / "pareto.png", pareto_figure(document)
    except ConfigError as error:
        warn(f"{out / 'pareto.png'} is not written: {error}")
    out.mkdir(parents=True, exist_ok=True)
    for path, content in files.values():
        replace_file(path, [content])
    return {name: path for name, (path, _) in files.items()}


def _csv(document: Mapping[str, Any], summary: Mapping[str, Any]) -> bytes:
    """One row for each member of the front, each tie and each of the shortlist, in the order of the ranking."""
    sure = {row["code"]: row["sure"] for row in summary["front"]}
    names = dict(zip(document["shortlist"], document["shortlist_names"], strict=True))
    blocks, ties = document["blocks"], set(document["ties"])
    by = {"vela_by": document["chip"]["figures_by"]} if "chip" in document else {}
    lines = [["code", "kind", "sure", "shortlist", *document["values"], *(block["name"] for block in blocks), *by]]
    for position in sorted({*document["front"], *ties, *document["shortlist"]}):
        code = document["codes"][position]
        printed = ",".join(code)
        kind = "front" if printed in sure else "tie" if position in ties else ""
        words = [block["options"][int(digit)] for block, digit in zip(blocks, code, strict=True)]
        figures = [column[position] for column in document["values"].values()]
        lines.append([printed, kind, sure.get(printed), names.get(position, ""), *figures, *words, *by.values()])
    return csv_file(lines)


def _head(summary: Mapping[str, Any]) -> list[str]:
    counts, where = summary["counts"], summary["where"]
    kept = f", {counts['allowed']:,} with {where}" if where else ""
    unknown = counts["allowed"] - counts["feasible"]
    lost = f", {unknown:,} of them without a figure" if unknown else ""
    shown = len(summary["shown"])
    size = len(summary["front"])
    few = f" ({shown} shown)" if shown < size else ""
    return [
        f"{summary['title']}: {counts['table']:,} in the table{kept}{lost}",
        *(f"{name} is {value:g} in all of them: left out" for name, value in summary["constant"].items()),
        f"front: {size} {'subnet' if size == 1 else 'subnets'}{few}",
    ]


def _columns(summary: Mapping[str, Any]) -> list[str]:
    """The objectives, and what a chip's compiler said."""
    chip = summary.get("chip", {"columns": []})["columns"]
    return [*summary["objectives"], *(name for name in chip if name not in summary["objectives"])]


def _members(summary: Mapping[str, Any], units: Units) -> str:
    names = _columns(summary)
    known = any(row["sure"] is not None for row in summary["front"])
    roles = {row["code"]: [row["name"]] for row in summary["shortlist"]}
    for role in ("knee", "baseline"):
        if summary[role] is not None and role not in roles.setdefault(summary[role]["code"], []):
            roles[summary[role]["code"]].append(role)
    rows = [
        [
            row["code"],
            *(_figure(row[name], units[name]) for name in names),
            *(["sure" if row["sure"] else "in doubt"] if known else []),
            ", ".join(roles.get(row["code"], [])),
        ]
        for row in summary["front"]
        if row["code"] in summary["shown"]
    ]
    heading = ["code", *(_heading(name, units) for name in names), *(["place"] if known else []), "shortlist"]
    return text_table(heading, rows, ("code", "place", "shortlist"))


def _confidence(summary: Mapping[str, Any], units: Units) -> list[str]:
    found = summary["confidence"]
    lines = []
    if found["objective"] is not None:
        name = found["objective"]
        meaning = MEANING[found["noisy"][name]].format(found["samples"])
        known = found["like_best_when_ranked"] if found["noisy"][name] == "unpaired" else None
        ranked = "" if known is None else f"; paired, when they were ranked: {known:,}"
        sure = sum(bool(row["sure"]) for row in summary["front"])
        lines += [
            f"noise of {name}: 95 %, {meaning}",
            f"  {found['like_best']:,} of {summary['counts']['feasible']:,} cannot be told from the best (up to "
            f"{_worded(found['within'], units[name])} behind it){ranked}",
            f"  {len(summary['ties']):,} ties: off the front, but no subnet as cheap is better by more than noise",
            f"  {sure} of the front sure: everything as cheap is worse by more than noise; the others are in doubt",
        ]
    if found["taken_as_exact"]:
        lines.append(f"noise of {', '.join(found['taken_as_exact'])}: not known, taken as exact")
    return lines


def _volume(summary: Mapping[str, Any], units: Units) -> list[str]:
    found = summary["hypervolume"]
    point = ", ".join(f"{name} {_worded(value, units[name])}" for name, value in found["reference"].items())
    value = found["why"] if found["value"] is None else f"{found['value']:.6g}"
    if found["share"] is not None:
        value += f", {found['share']:.4f} of the box from the best values to the reference point"
    outside = found["outside"]
    if outside:
        point += f", {outside} of {len(summary['front'])} members of the front lie at or beyond it and do not count"
    knee = summary["knee"]
    names = summary["objectives"]
    told = ", ".join(f"{name} {_worded(knee[name], units[name])}" for name in names) if knee else ""
    return [
        f"hypervolume: {value}; reference point {point} ({found['reference_is']})",
        f"knee: {knee['code']} ({told})" if knee else "knee: none, no member lies below the line between the extremes",
    ]


def _shortlist(summary: Mapping[str, Any], units: Units) -> list[str]:
    names = _columns(summary)
    heading = ["shortlist", "code", *(_heading(name, units) for name in names)]
    rows = [
        [row["name"], row["code"], *(_figure(row[name], units[name]) for name in names)] for row in summary["shortlist"]
    ]
    chip = (
        [f"vela_ms, vela_sram_kib, vela_flash_kib: {summary['chip']['figures_by']}, of the whole graph"]
        if "chip" in summary
        else []
    )
    count = [SRAM_COUNT] if "sram_kib" in names else []
    return [text_table(heading, rows, ("shortlist", "code")), *count, *chip]


def _choices(summary: Mapping[str, Any], units: Units) -> list[str]:
    found = summary["marginals"]
    if found is None:
        return [f"what each choice is worth: not available: {summary['marginals_missing']}"]
    steps = [(block, step) for block in found["blocks"] for step in block["steps"]]
    costs = [name for name in summary["objectives"] if steps and name in steps[0][1]["costs"]]
    margin = any(step["margin"] is not None for _, step in steps)
    heading = ["block", "from", "to", f"{found['target']} gained px", *(["+-"] if margin else [])]
    for name in costs:
        heading += [_heading(name, units), f"px per {units[name].word or name}"]
    heading.append("share")
    rows, seen = [], set()
    for block, step in steps:
        share = "" if block["name"] in seen else f"{100 * found['shares'][block['name']]:.1f} %"
        seen.add(block["name"])
        rows.append([block["name"], step["from"], step["to"], *_step(step, costs, units, margin), share])
    return [
        f"what each choice is worth: means over {found['over']} ({found['subnets']:,}); share of the variance of "
        f"{found['target']}",
        text_table(heading, rows, ("block", "from", "to")),
        *_pairs(found),
    ]


def _step(step: Mapping[str, Any], costs: Sequence[str], units: Units, margin: bool) -> list[str]:
    cells = [f"{step['gain']:+.4f}"]
    cells += ["-" if step["margin"] is None else f"{step['margin']:.4f}"] if margin else []
    for name in costs:
        rate, scale = step["gain_per_cost"][name], units[name].scale
        cells += [f"{step['costs'][name] / scale:+.4g}", "-" if rate is None else f"{rate * scale:+.4g}"]
    return cells


def _pairs(found: Mapping[str, Any]) -> list[str]:
    if not found["interactions"]:
        return []
    large = [pair for pair in found["interactions"][:MOST_PAIRS] if pair["share"] >= LEAST_PAIR]
    told = ", ".join(f"{' x '.join(pair['blocks'])} {100 * pair['share']:.2f} %" for pair in large)
    total = sum(pair["share"] for pair in found["interactions"])
    rest = f"three and more together {100 * found['rest_share']:.2f} %"
    return [f"pairs of blocks {100 * total:.2f} %{f' ({told})' if told else ''}, {rest}"]


def _unit_of(column: Mapping[str, Any]) -> Unit:
    """Thousands, millions or billions of what is counted, with decimals for the largest five digits of a column."""
    name, word, largest = column["name"], column["unit"], column["largest"]
    counted = word == "MAC" or (not word and name not in ("rank", "samples"))
    scale, prefix = next((found for found in SCALES if largest >= found[0]), (1.0, "")) if counted else (1.0, "")
    whole = scale == 1.0 and (counted or name in ("rank", "samples")) and largest == int(largest) and largest >= 1
    decimals = 0 if whole or not largest else min(max(4 - math.floor(math.log10(largest / scale)), 0), 6)
    return Unit(scale, f"{prefix}{word}", decimals)


def _heading(name: str, units: Units) -> str:
    return f"{name} {units[name].word}".rstrip()


def _figure(value: float | None, unit: Unit) -> str:
    return "-" if value is None else f"{value / unit.scale:.{unit.decimals}f}"


def _worded(value: float | None, unit: Unit) -> str:
    return f"{_figure(value, unit)} {unit.word}".rstrip()
