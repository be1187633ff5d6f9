"""A search in text, and its files: fronts and curve as CSV, everything as JSON, the curve as a picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError
from edgeflownas.files import replace_file
from edgeflownas.report.text_table import text_table

MOST = 20  # rows of a front in the text; the files have all


def search_text(document: Mapping[str, Any]) -> str:
    """The front of a single search, one line for each strategy of several, and the curve."""
    searches = document["searches"]
    parts = [_front_text(document) if len(searches) == 1 else _searches_text(document)]
    if document["curve"] is not None:
        parts.append(_curve_text(document))
    return "\n\n".join(parts)


def search_json(document: Mapping[str, Any]) -> str:
    """Everything as JSON."""
    return json.dumps(document, indent=2, allow_nan=False)


def write_search(folder: Path, document: Mapping[str, Any], warn: Callable[[str], None] = print) -> dict[str, Path]:
    """Write search.json, front.csv and, with a curve, curve.csv and (with matplotlib) curve.png; returns them by name.

    ``warn`` is told where the picture is left out.

    Raises:
        StorageError: the folder cannot be written.
    """
    replace_file(folder / "search.json", [(search_json(document) + "\n").encode()])
    rows = [
        {"strategy": one["strategy"], "seed": one["seed"], **row}
        for one in document["searches"]
        for row in one["front"]
    ]
    written = {"result": folder / "search.json", "front": folder / "front.csv"}
    replace_file(written["front"], [_csv(rows)])
    if document["curve"] is not None:
        written["curve"] = folder / "curve.csv"
        replace_file(written["curve"], [_csv(_curve_rows(document["curve"]))])
        from edgeflownas.report.plot import search_figure

        try:
            replace_file(folder / "curve.png", [search_figure(document)])
            written["picture"] = folder / "curve.png"
        except ConfigError as error:  # a missing picture must not cost the rest
            warn(f"{folder / 'curve.png'} is not written: {error}")
    return written


def _front_text(document: Mapping[str, Any]) -> str:
    one = document["searches"][0]
    head = (
        f"{one['strategy']}, seed {one['seed']}: {one['evaluated']} subnets evaluated, {len(one['front'])} on the front"
    )
    heading = ["code", *document["objectives"], "evaluation"]
    step = max(1, -(-len(one["front"]) // MOST))
    shown = one["front"][::step]
    rows = [[str(row["code"]), *(_number(row[name]) for name in heading[1:])] for row in shown]
    rest = f"\n{len(shown)} of {len(one['front'])}, the others in front.csv" if step > 1 else ""
    return f"{head}\n{text_table(heading, rows, left=['code'])}{rest}" if rows else head


def _searches_text(document: Mapping[str, Any]) -> str:
    rows = []
    for name in dict.fromkeys(one["strategy"] for one in document["searches"]):
        own = [one for one in document["searches"] if one["strategy"] == name]
        sizes = sorted(len(one["front"]) for one in own)
        rows.append([name, str(len(own)), str(max(one["evaluated"] for one in own)), f"{sizes[0]} to {sizes[-1]}"])
    return text_table(["strategy", "seeds", "evaluated", "on its front"], rows, left=["strategy"])


def _curve_text(document: Mapping[str, Any]) -> str:
    curve = document["curve"]
    names = list(curve["strategies"])
    seeds = max(own["seeds"] for own in curve["strategies"].values())
    rows = []
    for row in _curve_rows(curve):
        if row["evaluations"] in curve["shown"]:
            cells = [_share(row, name, seeds > 1) for name in names]
            rows.append([str(row["evaluations"]), *cells])
    reference = ", ".join(f"{name} {_number(value)}" for name, value in curve["reference"].items())
    spread = f"; mean (lowest to highest) of {seeds} seeds" if seeds > 1 else ""
    return (
        f"share of the hypervolume of the exact front ({curve['exact_front']} subnets), reference point {reference}"
        f"{spread}\n"
        f"{text_table(['evaluations', *names], rows)}"
    )


def _share(row: Mapping[str, float], name: str, spread: bool) -> str:
    mean = f"{100 * row[name]:.2f} %"
    return f"{mean} ({100 * row[f'{name}_lowest']:.2f} to {100 * row[f'{name}_highest']:.2f})" if spread else mean


def _curve_rows(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for place, count in enumerate(curve["evaluations"]):
        row = {"evaluations": count}
        for name, own in curve["strategies"].items():
            row |= {name: own["mean"][place], f"{name}_lowest": own["lowest"][place]}
            row |= {f"{name}_highest": own["highest"][place]}
        rows.append(row)
    return rows


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["code"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
