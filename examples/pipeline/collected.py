"""What the steps of the chain left, as plain data for its page."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflownas.config.load import parse_yaml
from edgeflownas.evaluate.noise import paired_change, pool_noise, student95
from edgeflownas.report.run_facts import kept_errors
from edgeflownas.run.run import Run

STARTS = {"scratch": "from scratch", "warm": "warm start"}


def collect(results: Path) -> dict[str, Any]:
    """Plain data of the page: trained subnets, costs at the published width, facts."""
    recipe = parse_yaml((results / "pareto" / "shortlist.yaml").read_text(), "shortlist.yaml")[0]
    train = recipe["train"]
    codes = dict(zip(train["arch_name"], train["arch"], strict=True))
    rows = [trained(results, start, name, code) for name, code in codes.items() for start in STARTS]
    costs = {limit: vela_figures(results / f"vela_{limit}") for limit in ("free", "900")}
    return {
        "trained": rows,
        "warm": {name: warm_against_scratch(results, name) for name in codes},
        "codes": codes,
        "width": train["width"],
        "costs": costs,
        "facts": facts(results, rows[0]["report"], costs),
        "steps": spent(results),
    }


def spent(results: Path) -> dict[str, dict[str, float]]:
    """Seconds and processor seconds of the finished steps in their order, those of one kind together."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted((results / "steps").glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
        marker = json.loads(path.read_text())
        kind = path.stem.partition("_")[0]
        before = found.setdefault(kind, {"times": 0, "seconds": 0.0, "cpu": 0.0})
        if marker["finished"] and kind != "page":
            found[kind] = {"times": before["times"] + 1} | {k: before[k] + marker[k] for k in ("seconds", "cpu")}
    return {kind: row for kind, row in found.items() if row["times"]}


def trained(results: Path, start: str, name: str, code: str) -> dict[str, Any]:
    """One trained subnet: its error and what the export says of its files."""
    report = json.loads((results / "export" / f"{start}_{name}" / "report.json").read_text())
    paths = {row["path"]: row for row in report["verification"]["paths"]}
    run = results / start / name
    with (run / "eval_history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    errors, _ = kept_errors(Run.open(run))
    margins = pool_noise(errors.sample_epe, errors.valid_pixels).margins()
    return {
        "name": name,
        "start": start,
        "code": code,
        "report": report,
        "float": paths["training"],
        "int8": paths["tflite-int8"],
        "margin": margins[0] if margins else 0.0,  # half of the 95 % interval of the run's own evaluation
        "zero": float(last["zero_flow_epe"]),
        "snr": next(row["snr_db"] for row in report["verification"]["outputs"] if row["path"] == "tflite-int8"),
        **report["vela"],
    }


def warm_against_scratch(results: Path, name: str) -> dict[str, Any]:
    """Change of the EPE, px, by a start from the supernet's weights, paired over the same samples."""
    scratch, warm = (kept_errors(Run.open(results / start / name))[0] for start in STARTS)
    change, error = paired_change(scratch.sample_epe, warm.sample_epe, scratch.valid_pixels)
    margin = student95(len(scratch.valid_pixels)) * float(error[0])
    return {"change": float(change[0]), "margin": margin, "text": f"{change[0]:+.3f} ± {margin:.3f} px"}


def vela_figures(folder: Path) -> dict[str, dict[str, Any]]:
    """What `edgeflownas vela --out` wrote, by the model's name."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*_vela.json")))
    return {document["name"]: document for document in found}


def facts(results: Path, report: Mapping[str, Any], costs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where the numbers are from."""
    model, compiled = report["model"], costs["free"]["published_176x224"]["facts"]
    calibration = report["calibration"]
    return [
        ("Tool", model["tool"]),
        ("Space, width", f"{model['space']}, {model['width']}"),
        ("Compiler", f"Vela {compiled['version']}, mode {compiled['mode']}"),
        ("Target", f"{compiled['target']}: {compiled['accelerator']}, {compiled['clock']}"),
        ("Target's ini", compiled["ini_sha256"]),
        ("Integers", f"{calibration['method']} of {calibration['pairs']} pairs, {calibration['hash']}"),
        ("Verified on", f"{report['verification']['pairs']} pairs, {report['verification']['hash']}"),
        ("Batch norm", f"{report['batch_norm']['samples']} samples of {report['batch_norm']['recalibrated_on']}"),
        ("Results", results.name),
    ]
