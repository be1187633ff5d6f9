"""The comparison of a sweep as files in its folder: comparison.csv, comparison.json, comparison.png."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.evaluate.columns import csv_file
from edgeflownas.evaluate.labels import Label
from edgeflownas.files import replace_file
from edgeflownas.report.comparison import label_columns
from edgeflownas.report.comparison_figure import Series, comparison_figure, png_file
from edgeflownas.report.run_facts import CurvePoint, RunFacts, read_facts
from edgeflownas.report.sweep_table import FIGURES, Ended, VariantRow, read_ended, table_text, variant_rows
from edgeflownas.train.sweep import read_plan, run_state

LEGEND = ("line: mean over seeds of the mean EPE", "band: lowest to highest seed")


def compare_sweep(folder: Path) -> tuple[dict[str, Any], str, dict[str, Path]]:
    """Read every run of the folder's plan and write the comparison: (document, table, files by name)."""
    plan = read_plan(folder)
    states = {name: run_state(folder / name) for name in plan}
    runs: list[Ended] = []
    facts: dict[str, list[RunFacts]] = {}
    for name, entry in plan.items():
        if states[name] == "finished":
            own = read_facts(folder / name, name)
            runs.append(read_ended(folder / name, entry["variant"], entry["seed"], str(own.results[0].label)))
            facts.setdefault(entry["variant"], []).append(own)
    rows = variant_rows(runs)
    document = sweep_document(folder, plan, states, runs, rows)
    return document, table_text(rows) if rows else "no run is finished yet", write_files(folder, document, facts)


def sweep_document(
    folder: Path,
    plan: Mapping[str, Mapping[str, Any]],
    states: Mapping[str, str],
    runs: Sequence[Ended],
    rows: Sequence[VariantRow],
) -> dict[str, Any]:
    """Everything as JSON: variants with mean and sd of each figure, and every planned run; unknown figures are null."""
    keys = {entry["variant"]: entry["keys"] for entry in plan.values()}
    ended = {run.name: run for run in runs}
    return {
        "sweep": str(folder),
        "figures": {name: text for name, (_, text) in FIGURES.items()},
        "variants": [
            {
                "variant": row.variant,
                "keys": dict(keys[row.variant]),
                "seeds": list(row.seeds),
                "samples": list(row.samples),
                **_plain(row.figures),
            }
            for row in rows
        ],
        "runs": [
            {"run": name, "variant": entry["variant"], "seed": entry["seed"], "state": states[name]}
            | ({} if name not in ended else _plain(ended[name].figures))
            for name, entry in plan.items()
        ],
    }


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def write_files(folder: Path, document: Mapping[str, Any], facts: Mapping[str, Sequence[RunFacts]]) -> dict[str, Path]:
    """Replace the files; ``facts`` are the finished runs of each variant.  Returns what was written by name."""
    paths = {kind: folder / f"comparison.{kind}" for kind in ("csv", "json", "png")}
    replace_file(paths["json"], [(json.dumps(document, indent=2, allow_nan=False) + "\n").encode()])
    replace_file(paths["csv"], [_csv(document["variants"])])
    picture = _figure(facts)
    if picture is None:
        del paths["png"]
    else:
        replace_file(paths["png"], [png_file(picture)])
    return {"table" if kind == "csv" else kind: path for kind, path in paths.items()}


def _csv(variants: Sequence[Mapping[str, Any]]) -> bytes:
    """One row a variant: the keys any of them changes, then every figure with its standard deviation."""
    keys = list(dict.fromkeys(key for row in variants for key in row["keys"]))
    figures = [column for name in FIGURES for column in (name, f"{name}_sd")]
    lines = [["variant", *keys, "seeds", "samples", *figures]]
    for row in variants:
        numbers = ["" if row[name] is None else f"{row[name]:.6g}" for name in figures]
        told = [row["keys"].get(key, "") for key in keys]
        lines.append([row["variant"], *told, "|".join(map(str, row["seeds"])), "|".join(row["samples"]), *numbers])
    return csv_file(lines)


def _figure(facts: Mapping[str, Sequence[RunFacts]]) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """EPE over samples seen, a line a variant and a panel a label; None before the first evaluation."""
    curves: dict[Label, list[Series]] = {}
    for variant, runs in facts.items():
        for label in dict.fromkeys(label for run in runs for label in run.curves):
            points = _over_seeds([run.curves[label] for run in runs if label in run.curves])
            curves.setdefault(label, []).append(Series(variant, points))
    results = [result for runs in facts.values() for run in runs for result in run.results if result.label in curves]
    return comparison_figure(label_columns(results), curves, LEGEND) if curves else None


def _over_seeds(courses: Sequence[Sequence[CurvePoint]]) -> list[tuple[float, float, float, float]]:
    """Mean, lowest and highest of the seeds' mean EPEs where all of them have an evaluation."""
    tables = [{point.seen: point.mean for point in course} for course in courses]
    seen = sorted(set.intersection(*(set(table) for table in tables)))
    values = {place: [table[place] for table in tables] for place in seen}
    return [(float(place), sum(v) / len(v), min(v), max(v)) for place, v in values.items()]
