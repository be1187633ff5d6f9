"""What a run measured, with the labels its figures belong to, read without its lock and without its data.

Two sources: the run's own evaluations (protocol ``training``) and the rows that `edgeflownas evaluate` recorded in
``evaluations.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgeflownas.errors import DataError, StorageError
from edgeflownas.evaluate.columns import parse_row
from edgeflownas.evaluate.evalset import EvalSet, read_eval_set
from edgeflownas.evaluate.labels import Label, Result, parse_result
from edgeflownas.train.checkpoint import DamagedCheckpoint, read_manifest
from edgeflownas.train.details import Progress, training_details
from edgeflownas.train.eventlog import csv_rows, read_rows
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.storage import parse_json, read_json

__all__ = ["CurvePoint", "RunFacts", "newest_commit", "read_facts"]

EVALUATIONS = "evaluations.jsonl"


class CurvePoint(NamedTuple):
    """One evaluation: draws seen, and EPE (px) of the pool or the single model."""

    seen: int
    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class RunFacts:
    """A run as plain data."""

    name: str
    path: str
    details: Mapping[str, str]
    results: tuple[Result, ...]
    curves: Mapping[Label, tuple[CurvePoint, ...]]


def read_facts(path: Path, name: str) -> RunFacts:
    """Training details and results of the run at ``path``, called ``name``.

    Raises:
        StorageError: not a run directory, or one of its files cannot be read.
        DataError: a row of evaluations.jsonl that does not say what its figure belongs to.
    """
    run = RunDirectory.open(path)
    rows = _evaluations(run)
    sets = _Sets(run)
    details = training_details(run.config, run.manifest, _progress(run, rows))
    results = [*_history(name, run, rows, sets), *_recorded(path / EVALUATIONS, name)]
    curves: dict[Label, list[CurvePoint]] = {}
    for row in rows:
        mean = _float(_mean(row)[1])
        extremes = [_float(row.get(key, mean)) for key in ("per_arch_epe_min", "per_arch_epe_max")]
        curves.setdefault(sets.label(row), []).append(CurvePoint(int(row["seen_samples"]), mean, *extremes))
    return RunFacts(name, str(path), details, tuple(results), {k: tuple(v) for k, v in curves.items()})


def newest_commit(run: RunDirectory) -> dict[str, Any] | None:
    """Manifest of the newest checkpoint whose manifest is sound; its tensors are not read."""
    for name in run.checkpoints():
        try:
            return read_manifest(run.path / "checkpoints" / name, run.id)
        except DamagedCheckpoint:
            continue
    return None


def _evaluations(run: RunDirectory) -> list[dict[str, Any]]:
    """Evaluated epochs, oldest first: exact from events.jsonl, else from eval_history.csv as printed."""
    needed = ("epoch", "global_step", "seen_samples", "split_label")
    rows = [r for r in read_rows(run.path / "events.jsonl", b'"evaluation"') if r.get("event") == "evaluation"]
    if not rows:
        file = run.path / "eval_history.csv"
        try:
            rows = [dict(parse_row(row)) for row in csv_rows(file)]
        except ValueError as error:
            raise StorageError(f"{file}: a number cannot be read ({error}): restore it from a copy") from None
    return [row for row in rows if all(row.get(key) is not None for key in needed) and _mean(row)[0]]


def _mean(row: Mapping[str, Any]) -> tuple[int, Any]:
    """(pool size, mean EPE) from the column mean_epe_N; (0, None) where there is none."""
    for key, value in row.items():
        size = key.removeprefix("mean_epe_")
        if key != size and size.isdecimal() and value is not None:
            return int(size), value
    return 0, None


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)  # "nan" and "inf" are stored as words


def _progress(run: RunDirectory, rows: list[dict[str, Any]]) -> Progress:
    last = rows[-1] if rows else {}
    updates, seen = last.get("global_step"), last.get("seen_samples")
    for name in run.checkpoints():
        folder = run.path / "checkpoints" / name
        try:
            updates = read_manifest(folder, run.id)["position"]["step"]
            seen = read_json(folder / "state.json").get("seen", seen)
        except (DamagedCheckpoint, StorageError, AttributeError):
            continue
        break
    size = _mean(last)[0] or None
    return Progress(updates, seen, last.get("coverage_share"), last.get("eval_samples_per_arch"), size)


class _Sets:
    """Which pixels an evaluation of the run was made on."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        file = run.path / "eval_set.json"
        self.known: EvalSet | None = read_eval_set(file) if file.exists() else None

    def label(self, row: Mapping[str, Any]) -> Label:
        """Crop, clip and samples of the frozen set; of a set that was replaced since, its hash is all that is left."""
        split, own = str(row["split_label"]), row.get("eval_set")
        count = row.get("eval_samples_per_arch", "?")
        if self.known is None or own != self.known.hash:
            return Label("training", split, f"{count} samples, evaluation set {own or f'unknown of {self.run.path}'}")
        frozen = self.known.evaluation
        sizes = {(window.height, window.width) for window in frozen.windows}
        size = "x".join(map(str, sizes.pop())) if len(sizes) == 1 else "mixed"
        clip = "" if self.known.flow_clip is None else f",clip{self.known.flow_clip:g}"
        chosen = json.dumps([frozen.names, [(w.top, w.left, w.height, w.width) for w in frozen.windows]])
        digest = hashlib.sha256(chosen.encode()).hexdigest()[:8]
        # The whole split: the label's own count says which samples these are, as it does for a recorded row.
        whole = size != "mixed" and split.split("/")[-2:-1] == [str(len(frozen.names))]
        return Label(f"training:{size}{clip}", split, f"{count} samples" + ("" if whole else f", {digest}"))


def _history(name: str, run: RunDirectory, rows: list[dict[str, Any]], sets: _Sets) -> list[Result]:
    """Results of the last evaluation and, where it is another, of the best on the same pixels."""
    if not rows:
        return []
    last = rows[-1]
    same = [row for row in rows if row.get("eval_set") == last.get("eval_set") and _mean(row)[0] == _mean(last)[0]]
    finite = [row for row in same if _float(_mean(row)[1]) == _float(_mean(row)[1])]
    best = min(finite, key=lambda row: _float(_mean(row)[1]), default=last)
    if best is last:
        return _of_evaluation(name, run, last, sets, "last and best")
    return _of_evaluation(name, run, last, sets, "last") + _of_evaluation(name, run, best, sets, "best")


def _of_evaluation(name: str, run: RunDirectory, row: dict[str, Any], sets: _Sets, which: str) -> list[Result]:
    size, mean = _mean(row)
    label, when = sets.label(row), f"{which}: epoch {row['epoch']}, step {row['global_step']}"

    def result(model: str, epe: Any, code: str | None = None, kind: str = "model") -> Result:
        return Result(name, model, code, label, kind, {"epe": _float(epe)}, when, "fp32")

    ranking = str(row.get(f"arch_rank_{size}") or "").split("|")
    codes = _codes(run, row)
    best_code, best_epe = None, row.get("per_arch_epe_min")
    if ranking[0].count(":") == 2:
        best_code = codes.get(ranking[0].split(":")[1])
    if size == 1:
        found = [result("single model", mean, best_code)]
    else:
        pool = hashlib.sha256("|".join(codes[key] for key in sorted(codes)).encode()).hexdigest()[:4]
        found = [
            result(f"mean of {size} subnets", mean, kind=f"mean of pool {size}/{pool}"),
            result("best of the pool", best_epe, best_code),
        ]
        if row.get("bilinear_arch_epe") is not None:
            baseline = _baseline(row, ranking, codes)
            if baseline != best_code or baseline is None:
                found.append(result("bilinear baseline", row["bilinear_arch_epe"], baseline))
    if row.get("zero_flow_epe") is not None and "last" in which:
        figures = {"epe": _float(row["zero_flow_epe"])}
        found.append(Result("", "zero flow", None, label, "model", figures))
    return found


def _baseline(row: Mapping[str, Any], ranking: list[str], codes: Mapping[str, str]) -> str | None:
    """Code of the entry whose EPE is the baseline's."""
    wanted = f"{_float(row['bilinear_arch_epe']):.4f}"
    matches = [entry.split(":")[1] for entry in ranking if entry.endswith(f":{wanted}")]
    return codes.get(matches[0]) if len(matches) == 1 else None


def _codes(run: RunDirectory, row: Mapping[str, Any]) -> dict[str, str]:
    """arch_index -> code of the pool that was evaluated."""
    entries = csv_rows(run.path / "per_arch_epe.csv")
    return {r["arch_index"]: r["code"] for r in entries if r.get("epoch") == str(row["epoch"]) and "code" in r}


def _recorded(path: Path, name: str) -> list[Result]:
    """Rows of evaluations.jsonl; of several of one model under one label the newest counts."""
    if not path.exists():
        return []
    found: dict[tuple[Any, ...], Result] = {}
    try:
        text = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError(f"is {type(row).__name__}, expected an object")
            result = parse_result(row, name)
        except ValueError as error:
            raise DataError(
                f"{path}: line {number} is no result ({error}): remove the line, or record the evaluation again"
            ) from None
        found[result.run, result.model, result.code, result.label, result.precision, result.batch_shape] = result
    return list(found.values())
