"""What the runs of a sweep ended with, as a table and as files: a row a variant, mean and deviation over its seeds.

Figures of a run come from its evaluations: the last mean and spread of the pool's EPE, how smooth the curve is, the
epoch from which it falls no more, samples seen, clip rate, seconds.  A difference between two variants says something
only where it is larger than the noise of the evaluation set and than the variance between seeds; both stand beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.evaluate.results import Label, read_sample_errors, sample_errors_name
from edgeflownas.files import replace_file
from edgeflownas.report.compare import label_columns
from edgeflownas.report.diagnosis.statistics import LEAST, cleaned, plateau
from edgeflownas.report.history import History, json_rows, read_history
from edgeflownas.report.plot import Course, comparison_figure
from edgeflownas.report.run_facts import CurvePoint, RunFacts, read_facts
from edgeflownas.report.table import Column, Heading, Table, told
from edgeflownas.report.views import Blocks
from edgeflownas.train.sweep import read_plan, run_state

FIGURES = {  # column: format, what it is
    "mean_epe": (".4f", "EPE in px at the last evaluation, mean of the pool (or the model)"),
    "std_epe": (".4f", "spread of the pool's EPE there, px"),
    "noise": (".4f", "standard error of that mean: other evaluation samples, px"),
    "difference": (".4f", "mean EPE minus that of the first variant, seed by seed, px"),
    "difference_noise": (".4f", "standard error of that difference on these samples, px"),
    "smoothness": (".4f", "standard deviation of the steps of the mean EPE, second half of the evaluations, px"),
    "smoothness_noise": (".4f", "standard error of such a step on these samples, px: none can be told to be smoother"),
    "plateau_share": (".2f", "share of the seeds whose mean EPE ends level (as diagnose judges it)"),
    "plateau_epoch": (".1f", "epoch from which it is level, of those seeds"),
    "seen_samples": (".0f", "draws"),
    "clip_rate": (".4f", "share of the clip checks that clipped"),
    "seconds": (".0f", "wall clock of epochs and evaluations"),
}
COLUMNS = {  # those that are a column of the last evaluation
    **{"mean_epe": "mean_epe_12", "std_epe": "std_epe_12", "noise": "mean_epe_standard_error_12"},
    "seen_samples": "seen_samples",
}
SPREAD = "_sd"  # suffix of a figure's standard deviation over seeds (n - 1)
LEGEND = ("line: mean over seeds of the mean EPE", "band: lowest to highest seed")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ended:
    """One finished run of the sweep, as plain data."""

    name: str
    variant: str
    seed: int
    samples: str  # label of the last evaluation: EPEs of different labels must not be compared
    zero_flow_epe: float
    figures: Mapping[str, float]  # by the names of FIGURES; nan where unknown
    course: tuple[tuple[int, float], ...]  # samples seen and mean EPE (px) of every evaluation, oldest first
    sample_means: Floats  # last EPE of each evaluation sample, mean of the pool, px [N]; empty where it was not kept
    valid_pixels: NDArray[np.int64]  # [N]


def read_ended(path: Path, variant: str, seed: int, samples: str) -> Ended:
    """The evaluations of the run at ``path``.  Raises StorageError or DataError as ``read_history``."""
    history = read_history(path)

    def last(column: str) -> float:
        return float(history.column(column)[-1])

    means = history.column("mean_epe_12")
    counted = list(json_rows(path / "events.jsonl", b'"clip_checks"', []))  # of epochs without evaluation, too
    made, clipped = (sum(row.get(key) or 0 for row in counted) for key in ("clip_checks", "clip_count"))
    timing = () if history.run is None else history.run.timing
    passes = {
        row["epoch"]: row for row in timing if row["what"] == "epoch" and row.get("epoch") is not None
    }  # of one that was repeated, the last
    parts = ("epoch_seconds", "eval_seconds", "bn_recal_seconds")
    figures = {name: last(column) for name, column in COLUMNS.items()}
    figures |= _smoothness(path, history.epochs.tolist(), means) | _plateau(history, means)
    figures |= {"clip_rate": clipped / made if made else math.nan}
    figures |= {"seconds": float(sum(row.get(part) or 0.0 for row in passes.values() for part in parts))}
    figures = {name: figures[name] for name in FIGURES if name in figures}
    course = tuple(zip(map(int, history.column("seen_samples")), means.tolist(), strict=True))
    kept = _sample_means(path, int(history.epochs[-1]))
    return Ended(path.name, variant, seed, samples, last("zero_flow_epe"), figures, course, *kept)


def _smoothness(path: Path, epochs: Sequence[int], means: Floats) -> dict[str, float]:
    """Standard deviation (ddof 0) of the first differences over the second half, and the noise of one difference.

    The noise is the root mean square, over the same differences, of the paired standard error of the pool's mean
    between two evaluations of the same samples.
    """
    half = len(means) // 2
    steps = np.diff(means[half:])
    known = len(steps) > 1
    kept = [_sample_means(path, epoch) for epoch in epochs[half:]]
    errors = [
        _paired(first, second, pixels) if np.array_equal(pixels, others) else math.nan
        for (first, pixels), (second, others) in zip(kept, kept[1:], strict=False)
    ]
    noise = float(np.sqrt(np.mean(np.square(errors)))) if known else math.nan
    return {"smoothness": float(steps.std()) if known else math.nan, "smoothness_noise": noise}


def _sample_means(path: Path, epoch: int) -> tuple[Floats, NDArray[np.int64]]:
    """EPE of each sample, mean of the pool, and its valid pixels; empty where the run kept none."""
    try:
        errors = read_sample_errors(path / sample_errors_name(epoch))
    except DataError:
        return np.empty(0), np.empty(0, np.int64)
    return errors.sample_epe.mean(axis=0, dtype=np.float64), errors.valid_pixels


def _paired(first: Floats, second: Floats, pixels: NDArray[np.int64]) -> float:
    """Standard error of the difference of two figures on the same samples; nan for none."""
    return float(pool_noise(np.stack([first, second]), pixels).paired[0, 1]) if len(pixels) else math.nan


def _plateau(history: History, means: Floats) -> dict[str, float]:
    """Where the level stretch at the end of the curve begins, as `edgeflownas diagnose` finds it."""
    epochs, values = cleaned(history.epochs.astype(np.float64), means)
    if len(values) < LEAST:
        return {"plateau_share": math.nan, "plateau_epoch": math.nan}
    found = plateau(epochs, values)
    return {"plateau_share": float(found is not None), "plateau_epoch": float(found.start) if found else math.nan}


def variant_rows(runs: Sequence[Ended]) -> list[dict[str, Any]]:
    """Plain data of each variant over its seeds, in the order of first appearance.

    Beside the mean of each figure stands its standard deviation under NAME_sd; unknown (of one seed) is None.
    """
    rows = []
    first = {run.seed: run for run in runs if run.variant == runs[0].variant}
    for variant in dict.fromkeys(run.variant for run in runs):
        own = [run for run in runs if run.variant == variant]
        others = [(first[run.seed], run) for run in own if first.get(run.seed, run) is not run]  # not with itself
        pairs = [(other, run) for other, run in others if other.samples == run.samples]
        differences = [run.figures["mean_epe"] - other.figures["mean_epe"] for other, run in pairs]
        figures = {"difference_noise": _difference_noise(pairs), f"difference_noise{SPREAD}": math.nan}
        figures |= _over_seeds("difference", differences)
        for name in [name for name in FIGURES if name not in figures]:
            figures |= _over_seeds(name, [run.figures[name] for run in own])
        sets = list(dict.fromkeys(run.samples for run in own))
        rows.append({"variant": variant, "seeds": [run.seed for run in own], "samples": sets} | _plain(figures))
    return rows


def _difference_noise(pairs: Sequence[tuple[Ended, Ended]]) -> float:
    """Standard error, over samples, of the mean difference of pairs of runs; nan where samples were not kept."""
    pixels = [run.valid_pixels for pair in pairs for run in pair]
    if not pairs or not all(np.array_equal(one, pixels[0]) for one in pixels):
        return math.nan
    first, second = (np.mean([pair[side].sample_means for pair in pairs], axis=0) for side in (0, 1))
    return _paired(first, second, pixels[0])


def _over_seeds(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean and standard deviation (n - 1) of those that are known."""
    known = np.array([value for value in values if not math.isnan(value)])
    mean = float(known.mean()) if known.size else math.nan
    return {name: mean, name + SPREAD: float(known.std(ddof=1)) if known.size > 1 else math.nan}


def listing_view(document: Mapping[str, Any]) -> Blocks:
    """The runs of train/sweep.py listing, one a line."""
    rows = document["runs"]
    width = max(len(row["run"]) for row in rows)
    records = [{**row, "keys": " ".join(f"{key}={value}" for key, value in row["keys"].items())} for row in rows]
    line = "{run:<{width}}  {state:<11}  {steps} steps  {samples} samples  {keys}"
    return [
        Table.of(["run", "state", "steps", "samples", "keys"], records, printed=False),
        f"{len(rows)} runs in {document['sweep']}, one after the other:",
        *(line.format(width=width, **record) for record in records),
    ]


def sweep_view(document: Mapping[str, Any]) -> Blocks:
    """A row a variant, what the columns are below it; variants evaluated on different samples are marked."""
    if not (variants := document["variants"]):
        return ["no run is finished yet"]
    names = [name for name in FIGURES if any(row[name] is not None for row in variants)]
    sets = list(dict.fromkeys(one for row in variants for one in row["samples"]))
    letters = {one: chr(ord("A") + place) for place, one in enumerate(sets)}
    columns: Heading = ["variant", Column("seeds", lambda seeds: str(len(seeds))), *(["set"] if len(sets) > 1 else [])]
    columns += [Column(name, _spread(name)) for name in names]
    records = [
        {**row, "set": ",".join(letters[one] for one in row["samples"])}
        | {name: None if row[name] is None else {"value": row[name], "sd": row[name + SPREAD]} for name in names}
        for row in variants
    ]
    blocks: Blocks = [Table.of(columns, records, left="all", rule=False), ""]
    blocks += [f"{name}: {FIGURES[name][1]}" for name in names]
    if len(sets) > 1:
        blocks.append("EPEs of different sets must not be compared with each other:")
        blocks += [f"{letter}: {one}" for one, letter in letters.items()]
    if any(len(row["seeds"]) > 1 for row in variants):
        blocks.append("+-: standard deviation over seeds (n - 1); a difference within it, or within noise, is none")
    return blocks


def _spread(name: str) -> Callable[[Mapping[str, float | None]], str]:
    """Form of a mean over seeds and its deviation."""
    form = FIGURES[name][0]

    def text(figure: Mapping[str, float | None]) -> str:
        value, spread = figure["value"], figure["sd"]
        plain = name == "plateau_share" or (name == "seen_samples" and spread == 0.0)
        return format(value, form) + ("" if spread is None or plain else f" +- {format(spread, form)}")

    return text


def compare_sweep(folder: Path) -> tuple[dict[str, Any], str, dict[str, Path]]:
    """Read every run of the folder's plan and write the comparison there: (document, what is missing, files by name).

    The document has mean and sd of each figure of the variants, and every planned run; unknown figures are null.
    """
    plan = read_plan(folder)
    states = {name: run_state(folder / name) for name in plan}
    runs: list[Ended] = []
    facts: dict[str, list[RunFacts]] = {}
    for name, entry in plan.items():
        if states[name] == "finished":
            own = read_facts(folder / name, name)
            runs.append(read_ended(folder / name, entry["variant"], entry["seed"], str(own.results[0].label)))
            facts.setdefault(entry["variant"], []).append(own)
    ended = {run.name: _plain(run.figures) for run in runs}
    keys = {entry["variant"]: dict(entry["keys"]) for entry in plan.values()}
    variants = [{"variant": row["variant"], "keys": keys[row["variant"]]} | row for row in variant_rows(runs)]
    document = {
        "sweep": str(folder),
        "figures": {name: text for name, (_, text) in FIGURES.items()},
        "variants": variants,
        "runs": [
            {"run": name, "variant": entry["variant"], "seed": entry["seed"], "state": states[name]}
            | ended.get(name, {})
            for name, entry in plan.items()
        ],
    }
    files = {"table": folder / "comparison.csv", "json": folder / "comparison.json"}
    replace_file(files["table"], [_file_table(variants).csv()])
    replace_file(files["json"], [(json.dumps(document, indent=2, allow_nan=False) + "\n").encode()])
    note = ""
    try:
        if (picture := _figure(facts)) is not None:
            replace_file(folder / "comparison.png", [picture])
            files["png"] = folder / "comparison.png"
    except ConfigError as error:  # a missing picture must not cost the rest
        note = f"{folder / 'comparison.png'} is not written: {error}"
    return document, note, files


def _plain(figures: Mapping[str, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _file_table(variants: Sequence[Mapping[str, Any]]) -> Table:
    """One row a variant: the keys any of them changes, then every figure with its standard deviation."""
    keys = list(dict.fromkeys(key for row in variants for key in row["keys"]))
    figures = [column for name in FIGURES for column in (name, f"{name}{SPREAD}")]
    rows = []
    for row in variants:
        told_keys = [row["keys"].get(key, "") for key in keys]
        seeds, samples = "|".join(map(str, row["seeds"])), "|".join(row["samples"])
        rows.append([row["variant"], *told_keys, seeds, samples, *(told(row[name], "{:.6g}", "") for name in figures)])
    return Table(["variant", *keys, "seeds", "samples", *figures], rows)


def _figure(facts: Mapping[str, Sequence[RunFacts]]) -> bytes | None:
    """EPE over samples seen, a line a variant and a panel a label; None before the first evaluation."""
    curves: dict[Label, list[Course]] = {}
    for variant, runs in facts.items():
        for label in dict.fromkeys(label for run in runs for label in run.curves):
            points = _course([run.curves[label] for run in runs if label in run.curves])
            curves.setdefault(label, []).append(Course(variant, points))
    results = [result for runs in facts.values() for run in runs for result in run.results if result.label in curves]
    return comparison_figure(label_columns(results), curves, LEGEND) if curves else None


def _course(courses: Sequence[Sequence[CurvePoint]]) -> list[tuple[float, float, float, float]]:
    """Mean, lowest and highest of the seeds' mean EPEs where all of them have an evaluation."""
    tables = [{point.seen: point.mean for point in course} for course in courses]
    seen = sorted(set.intersection(*(set(table) for table in tables)))
    values = {place: [table[place] for table in tables] for place in seen}
    return [(float(place), sum(v) / len(v), min(v), max(v)) for place, v in values.items()]
