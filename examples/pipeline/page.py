"""The page of the chain: what was trained, what is left of it in eight bits, and what it costs beside the published net.

    python examples/pipeline/page.py RESULTS      # writes RESULTS/page.html
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from edgeflownas.report.html.document import whole_page
from edgeflownas.report.html.markup import Markup, join, table, tag

STARTS = {"scratch": "from scratch", "warm": "warm start"}
COLOURS = {"scratch": "c1", "warm": "c0"}
PUBLISHED_FIGURE = "188.0 ms, 1694 KB"


def main(results: Path) -> None:
    """Read what the steps left and write the page."""
    (results / "page.html").write_text(render(collect(results)), encoding="utf-8")
    print(results / "page.html")


def collect(results: Path) -> dict[str, Any]:
    """Plain data of the page: trained subnets, costs at the published width, facts."""
    recipe = yaml.safe_load((results / "pareto" / "shortlist.yaml").read_text())
    train = recipe["train"]
    codes = dict(zip(train["arch_name"], train["arch"], strict=True))
    rows = [trained(results, start, name, code) for name, code in codes.items() for start in STARTS]
    costs = {limit: vela_figures(results / f"vela_{limit}") for limit in ("free", "900")}
    return {
        "trained": rows,
        "codes": codes,
        "width": train["width"],
        "costs": costs,
        "facts": facts(results, rows[0]["report"], costs),
        "steps": [json.loads(p.read_text()) | {"step": p.stem} for p in sorted((results / "steps").glob("*.json"))],
    }


def trained(results: Path, start: str, name: str, code: str) -> dict[str, Any]:
    """One trained subnet: its error and what the export says of its files."""
    report = json.loads((results / "export" / f"{start}_{name}" / "report.json").read_text())
    paths = {row["path"]: row for row in report["verification"]["paths"]}
    with (results / start / name / "eval_history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return {
        "name": name,
        "start": start,
        "code": code,
        "report": report,
        "float": paths["training"],
        "int8": paths["tflite-int8"],
        "zero": float(last["zero_flow_epe"]),
        "snr": next(row["snr_db"] for row in report["verification"]["outputs"] if row["path"] == "tflite-int8"),
        **report["vela"],
    }


def vela_figures(folder: Path) -> dict[str, dict[str, Any]]:
    """What `edgeflownas vela --out` wrote, by the model's name."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*_vela.json")))
    return {document["name"]: document for document in found}
