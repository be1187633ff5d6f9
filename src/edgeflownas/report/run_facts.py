"""What a run measured, with the labels its figures belong to, read without its lock and without its data.

Two sources: the run's own evaluations (protocol ``training``) and the rows that `edgeflownas evaluate` recorded in
``evaluations.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeflownas.errors import DataError, StorageError
from edgeflownas.evaluate.frozen import EvalSet, read_eval_set
from edgeflownas.evaluate.noise import rank_order
from edgeflownas.evaluate.results import Label, Result, parse_result
from edgeflownas.files import parse_json, read_json
from edgeflownas.report.details import Progress, training_details
from edgeflownas.run.checkpoint import Position
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.history import Evaluation, evaluations

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
    run = RunDirectory(path)
    rows = evaluations(path)
    sets = _Sets(run)
    details = training_details(run.config, run.manifest, _progress(run, rows))
    results = [*_history(name, rows, sets), *_recorded(path / EVALUATIONS, name)]
    curves: dict[Label, list[CurvePoint]] = {}
    for row in rows:
        extremes = [row.figure(key, row.mean) for key in ("per_arch_epe_min", "per_arch_epe_max")]
        curves.setdefault(sets.label(row), []).append(CurvePoint(row.seen, row.mean, *extremes))
    return RunFacts(name, str(path), details, tuple(results), {k: tuple(v) for k, v in curves.items()})


def _progress(run: RunDirectory, rows: Sequence[Evaluation]) -> Progress:
    last = rows[-1] if rows else None
    updates, seen = (None, None) if last is None else (last.step, last.seen)
    if (commit := run.newest_commit()) is not None:
        updates = commit["position"]["step"]
        try:
            folder = run.path / "checkpoints" / Position(**commit["position"]).name
            seen = read_json(folder / "state.json").get("seen", seen)
        except (StorageError, AttributeError):
            pass
    if last is None:
        return Progress(updates, seen, None, None, None)
    figures = last.figures
    return Progress(updates, seen, figures.get("coverage_share"), figures.get("eval_samples_per_arch"), last.pool_size)


class _Sets:
    """Which pixels an evaluation of the run was made on."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        file = run.path / "eval_set.json"
        self.known: EvalSet | None = read_eval_set(file) if file.exists() else None

    def label(self, row: Evaluation) -> Label:
        """Crop, clip and samples of the frozen set; of a set that was replaced since, its hash is all that is left."""
        split, own = str(row.figures["split_label"]), row.figures.get("eval_set")
        count = row.figures.get("eval_samples_per_arch", "?")
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


def _history(name: str, rows: Sequence[Evaluation], sets: _Sets) -> list[Result]:
    """Results of the last evaluation and, where it is another, of the best on the same pixels."""
    if not rows:
        return []
    last = rows[-1]
    own = last.figures.get("eval_set")
    same = [row for row in rows if row.figures.get("eval_set") == own and row.pool_size == last.pool_size]
    best = min((row for row in same if not np.isnan(row.mean)), key=lambda row: row.mean, default=last)
    if best is last:
        return _of_evaluation(name, last, sets, "last and best")
    return _of_evaluation(name, last, sets, "last") + _of_evaluation(name, best, sets, "best")


def _of_evaluation(name: str, row: Evaluation, sets: _Sets, which: str) -> list[Result]:
    label, when = sets.label(row), f"{which}: epoch {row.epoch}, step {row.step}"

    def result(model: str, epe: float, code: str | None = None, kind: str = "model") -> Result:
        return Result(name, model, code or None, label, kind, {"epe": epe}, when, "fp32")

    best = rank_order(row.epes)[0]
    if row.pool_size == 1:
        found = [result("single model", row.mean, row.codes[best])]
    else:
        codes = [code for _, code in sorted((str(index), code) for index, code in enumerate(row.codes)) if code]
        pool = hashlib.sha256("|".join(codes).encode()).hexdigest()[:4]
        found = [
            result(f"mean of {row.pool_size} subnets", row.mean, kind=f"mean of pool {row.pool_size}/{pool}"),
            result("best of the pool", row.figure("per_arch_epe_min"), row.codes[best]),
        ]
        if row.figures.get("bilinear_arch_epe") is not None:
            wanted = f"{row.figure('bilinear_arch_epe'):.4f}"
            alike = [code for code, epe in zip(row.codes, row.epes, strict=True) if f"{epe:.4f}" == wanted]
            baseline = alike[0] if len(alike) == 1 else None
            if not baseline or baseline != row.codes[best]:
                found.append(result("bilinear baseline", row.figure("bilinear_arch_epe"), baseline))
    if row.figures.get("zero_flow_epe") is not None and "last" in which:
        found.append(Result("", "zero flow", None, label, "model", {"epe": row.figure("zero_flow_epe")}))
    return found


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
