"""What a run measured, with the labels its figures belong to, read without its lock and without its data.

Two sources: the run's own evaluations (protocol ``training``) and the rows that `edgeflownas evaluate` recorded in
``evaluations.jsonl``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.evaluate import results
from edgeflownas.evaluate.frozen import WIDE, EvalSet, read_eval_set
from edgeflownas.evaluate.noise import best_criterion, kendall_tau_b, pool_noise, rank_order, split_half_tau, student95
from edgeflownas.evaluate.results import EVALUATIONS, Label, Result, SampleErrors
from edgeflownas.files import parse_json, read_json, read_rows
from edgeflownas.hardware.costs import space_costs
from edgeflownas.report.compare import UNSTATED, Progress, training_details
from edgeflownas.report.history import History, read_histories
from edgeflownas.report.logs import facts_of, history_files, is_run
from edgeflownas.run.checkpoint import Position
from edgeflownas.run.directory import RunDirectory, holder
from edgeflownas.run.history import Evaluation, evaluations
from edgeflownas.run.manifest import compare, refused
from edgeflownas.run.run import Run

FIGURES = ("mean", "median", "p90", "wide_mean", "wide_median", "wide_p90")  # of a pool, what a best is chosen by


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
    evaluations: tuple[tuple[Label, Evaluation], ...] = ()  # oldest first, each with the label of its pixels


def read_facts(path: Path, name: str) -> RunFacts:
    """Training details and results of the run at ``path``, called ``name``.

    Raises:
        StorageError: not a run directory, or one of its files cannot be read.
        DataError: a row of evaluations.jsonl that does not say what its figure belongs to.
    """
    run, rows, file = RunDirectory(path), evaluations(path), path / "eval_set.json"
    frozen = read_eval_set(file) if file.exists() else None
    details = training_details(run.config, run.manifest, _progress(run, rows))
    labels = [_label(row, frozen, path) for row in rows]
    found = (*_history(run, name, rows, labels), *_recorded(path / EVALUATIONS, name))
    curves: dict[Label, tuple[CurvePoint, ...]] = {}
    for label, row in zip(labels, rows, strict=True):
        extremes = (row.figure(key, row.mean) for key in ("per_arch_epe_min", "per_arch_epe_max"))
        curves[label] = (*curves.get(label, ()), CurvePoint(row.seen, row.mean, *extremes))
    return RunFacts(name, str(path), details, found, curves, tuple(zip(labels, rows, strict=True)))


def read_any_facts(path: Path, name: str) -> list[RunFacts]:
    """As :func:`read_facts`, or of a history: a table or log, or a folder of the TF1 tool, which may hold several."""
    if not path.is_file() and (is_run(path) or not history_files(path)):
        return [read_facts(path, name)]
    return [
        _of_history(history, f"{name}:{history.model}" if history.model else name) for history in read_histories(path)
    ]


def _of_history(history: History, name: str) -> RunFacts:
    """What is known of a training that is only a history: its last and best evaluation, and its settings."""
    size, rows = history.pool_size, list[Evaluation]()
    for cells, own in zip(history.rows, history.epes, strict=True):
        if cells.get("mean_epe_12") is None or cells["pool_size"] != size:
            continue
        epes = tuple(own.tolist()) if size > 1 else (float(cells["mean_epe_12"]),)
        figures = {history.named(column): value for column, value in cells.items()}
        figures["split_label"] = cells.get("split_label") or UNSTATED
        seen, step = cells.get("seen_samples"), cells.get("global_step")
        place = step if isinstance(step, int) else 0, seen if isinstance(seen, int) else cells["epoch"]
        rows.append(Evaluation(cells["epoch"], *place, history.codes, epes, (0,) * size, figures))
    labels = [
        Label("training", str(row.figures["split_label"]), f"{row.figures.get('eval_samples_per_arch', '?')} samples")
        for row in rows
    ]
    last = labels[-1] if labels else None
    same = [row for row, label in zip(rows, labels, strict=True) if label == last]
    best = min((row for row in same if not np.isnan(row.mean)), key=lambda row: row.mean, default=None)
    found: list[Result] = []
    if last is not None:
        which = "last and best" if best in (None, rows[-1]) else "last"
        found = _of_evaluation(name, rows[-1], last, which)
        found += _of_evaluation(name, best, last, "best") if best is not None and best is not rows[-1] else []
    curves: dict[Label, tuple[CurvePoint, ...]] = {}
    for label, row in zip(labels, rows, strict=True):
        extremes = (row.figure(key, row.mean) for key in ("per_arch_epe_min", "per_arch_epe_max"))
        curves[label] = (*curves.get(label, ()), CurvePoint(row.seen, row.mean, *extremes))
    return RunFacts(name, str(history.source), _told(facts_of(history)), tuple(found), curves)


def _told(facts: Mapping[str, Any]) -> dict[str, str]:
    """Settings of a log in the words of :data:`~edgeflownas.report.compare.DETAILS`."""
    texts = {
        "epoch": "{epoch_mode}: {steps_per_epoch} steps of {batch_size}",
        "sampling": "{train_sampling_mode}",
        "batch": "{batch_size}, micro-batch {micro_batch_size}",
        "gradient clip": "{grad_clip_global_norm}",
        "updates": "{steps:,}",
        "samples seen": "{samples:,}",
        "passes over the data": "{passes:.2f}",
        "training data": "{train_samples:,} samples",
        "evaluation data": "{val_samples:,} samples",
        "evaluation coverage": "{evaluation_samples_per_arch:,} samples per arch",
        "epochs": "{epochs}",
    }
    found = {}
    for name, text in texts.items():
        with suppress(KeyError):
            found[name] = text.format(**facts)
    return found


def _progress(run: RunDirectory, rows: Sequence[Evaluation]) -> Progress:
    last = rows[-1] if rows else None
    updates, seen = (None, None) if last is None else (last.step, last.seen)
    if (commit := run.newest_commit()) is not None:
        updates, seen = commit["position"]["step"], _committed(run, commit, "seen", seen)
    figures, size = ({}, None) if last is None else (last.figures, last.pool_size)
    return Progress(updates, seen, figures.get("coverage_share"), figures.get("eval_samples_per_arch"), size)


def _committed(run: RunDirectory, commit: Mapping[str, Any], name: str, otherwise: Any = None) -> Any:
    """A number of the state in a checkpoint, ``otherwise`` where it cannot be read."""
    with suppress(StorageError, AttributeError):
        folder = run.path / "checkpoints" / Position(**commit["position"]).name
        return read_json(folder / "state.json").get(name, otherwise)
    return otherwise


def _label(row: Evaluation, known: EvalSet | None, run: Path) -> Label:
    """Which pixels an evaluation of the run was made on.

    Crop, clip and samples of the frozen set; of a set that was replaced since, its hash is all that is left.
    """
    split, own = str(row.figures["split_label"]), row.figures.get("eval_set")
    count = row.figures.get("eval_samples_per_arch", "?")
    if known is None or own != known.hash:
        return Label("training", split, f"{count} samples, evaluation set {own or f'unknown of {run}'}")
    frozen = known.evaluation
    sizes = {(window.height, window.width) for window in frozen.windows}
    size = "x".join(map(str, sizes.pop())) if len(sizes) == 1 else "mixed"
    clip = "" if known.flow_clip is None else f",clip{known.flow_clip:g}"
    chosen = json.dumps([frozen.names, [(w.top, w.left, w.height, w.width) for w in frozen.windows]])
    digest = hashlib.sha256(chosen.encode()).hexdigest()[:8]
    # The whole split: the label's own count says which samples these are, as it does for a recorded row.
    whole = size != "mixed" and split.split("/")[-2:-1] == [str(len(frozen.names))]
    return Label(f"training:{size}{clip}", split, f"{count} samples" + ("" if whole else f", {digest}"))


def _history(run: RunDirectory, name: str, rows: Sequence[Evaluation], labels: Sequence[Label]) -> list[Result]:
    """Results of the last evaluation and, where it is another, of the best on the same pixels.

    The best is what best.json names, which eval.best_by chose; without it, what eval.best_by would have chosen.
    """
    if not rows:
        return []
    last, own = rows[-1], rows[-1].figures.get("eval_set")
    same = [row for row in rows if row.figures.get("eval_set") == own and row.pool_size == last.pool_size]
    settings = run.config.get("eval") or {}
    by, mix = str(settings.get("best_by") or "mean"), settings.get("best_mix") or (1.0, 1.0, 1.0)
    chosen = run.read_best() if (run.path / "best.json").exists() else {}
    named = [row for row in same if row.epoch == chosen.get("epoch")]
    by = str(chosen.get("criterion") or by) if named else by
    values = [
        best_criterion(by, mix, {key: row.figure(f"{key}_epe_{row.pool_size}") for key in FIGURES}) for row in same
    ]
    known = [(value, row.epoch, row) for value, row in zip(values, same, strict=True) if not np.isnan(value)]
    best = named[0] if named else min(known, default=(0.0, 0, last), key=lambda entry: entry[:2])[2]
    if best is last:
        return _of_evaluation(name, last, labels[-1], f"last and best by {by}")
    label = next(label for label, row in zip(labels, rows, strict=True) if row is best)
    return _of_evaluation(name, last, labels[-1], "last") + _of_evaluation(name, best, label, f"best by {by}")


def _of_evaluation(name: str, row: Evaluation, label: Label, which: str) -> list[Result]:
    when = f"{which}: epoch {row.epoch}" + (f", step {row.step}" if row.step else "")  # a log may not know it

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
            result = results.parse_result(row, name)
        except ValueError as error:
            raise DataError(
                f"{path}: line {number} is no result ({error}): remove the line, or record the evaluation again"
            ) from None
        found[result.run, result.model, result.code, result.label, result.precision, result.batch_shape] = result
    return list(found.values())


# ---- the states of runs ----


def run_states(root: Path) -> list[dict[str, Any]]:
    """One row a run, in order of their names; links are not followed, runs do not nest.

    A run that cannot be read has state ``unreadable`` and says why.  Raises StorageError where ``root`` is no folder.
    """
    if not root.is_dir():
        raise StorageError(f"{root}: not a folder; give the folder that holds the run directories")
    rows = []
    for folder, children, files in os.walk(root):
        if "run_manifest.json" in files:
            children.clear()
            try:
                rows.append(_run_state(Path(folder)))
            except (StorageError, KeyError, TypeError) as problem:
                rows.append({"run": folder, "state": "unreadable", "problem": str(problem)})
        children[:] = sorted(name for name in children if not name.startswith("."))
    return rows


def _run_state(path: Path) -> dict[str, Any]:
    run = RunDirectory(path)
    commit, owner = run.newest_commit(), holder(path)
    best = run.read_best() if (path / "best.json").exists() else None
    zero = None if commit is None else _committed(run, commit, "last_zero_flow_epe")
    step, epoch = (commit["position"]["step"], commit["position"]["epoch"]) if commit else (0, 0)
    total = run.manifest.get("plan", {}).get("total_steps")
    if owner is not None:
        state = "running" if owner["here"] else "locked"  # of another machine: cannot be told from here
    else:
        state = "begun" if commit is None else "finished" if commit["finished"] else "interrupted"
    marks: list[tuple[float, int]] = []  # of the last session: its pace is the time from first to last over the steps
    for row in read_rows(path / "timing.jsonl"):
        if row.get("what") == "resume":
            marks.clear()
        if row.get("what") in ("resume", "commit") and {"time", "step"} <= row.keys():
            marks.append((row["time"], row["step"]))
    steps = marks[-1][1] - marks[0][1] if marks else 0
    pace = max(0.0, (marks[-1][0] - marks[0][0]) / steps) if steps > 0 else None
    left = None if pace is None or total is None or state == "finished" else max(total - step, 0) * pace
    return {
        **{"run": str(path), "state": state, "step": step, "total_steps": total, "epoch": epoch, "best": best},
        "zero_flow_epe": zero,
        **{"seconds_left": left, "lock_owner": owner and {key: owner[key] for key in ("host", "pid", "started")}},
        "generated_data": run.manifest.get("generated_data", False),
    }


# ---- what its evaluations can tell apart ----
# From the errors of every sample that they kept; neither data nor weights are needed.


def noise_document(
    paths: Sequence[Path], epoch: int | None = None, wide: bool = False, resolution: float | None = None
) -> dict[str, Any]:
    """The figures of `edgeflownas noise`; px.

    Args:
        paths: the run and, for the spread between seeds, at least two more that differ from it in runtime.seed only.
        epoch: the evaluation after this epoch; None for the last.
        wide: the wide evaluation instead of the frequent one.
        resolution: difference that should be told apart; None for the median step between neighbouring ranks.

    Raises:
        StorageError: not a run directory; ConfigError: no such evaluation, or runs that differ in more than the seed;
        DataError: sample errors that were not kept, or belong to another evaluation set.
    """
    runs = [Run.open(path) for path in paths]
    kept = [kept_errors(run, epoch, wide) for run in runs]
    if len(runs) > 1:
        _require_seeds_only(runs, [errors for errors, _ in kept], wide)
    errors = kept[0][0]
    found = pool_noise(errors.sample_epe, errors.valid_pixels)
    steps = np.diff(np.sort(found.epes[np.isfinite(found.epes)]))
    wished = resolution if resolution is not None else _finite(np.median(steps)) if steps.size else None
    config, archs, names = runs[0].config, len(errors.codes), ("parameters", "macs")
    costs: dict[str, list[Any]] = {name: [None] * archs for name in names}
    if config.train.task != "edgeflownet":
        space = runs[0].space
        pool = [space.parse(code) for code in errors.codes]
        table = space_costs(space, config.train.width, config.data.crop_size, pool)
        costs = {name: table[name].tolist() for name in names}
    margins = [_finite(margin) for margin in found.margins()] or [None] * archs
    figures = ("arch_index", "code", "rank", "epe", "epe_margin", *names)
    values = [range(archs), errors.codes, found.ranks(), map(_finite, found.epes), margins, *costs.values()]
    # Sizes need no training; a positive correlation says that larger networks have the larger EPE.
    trivial = {
        name: None if None in costs[name] else kendall_tau_b(costs[name], found.epes.tolist()) for name in names[::-1]
    }
    return {
        "run": str(runs[0].path),
        "epoch": errors.epoch,
        "tier": "wide" if wide else "frequent",
        "eval_set": errors.eval_set,
        "samples": found.samples,
        "mean_epe": _finite(found.epes.mean()),
        "mean_epe_margin": _finite(found.mean_margin),
        "smallest_difference": found.smallest_difference,
        "smallest_difference_worst_pair": max(found.smallest_differences.tolist(), default=None),
        "tied_pairs": found.tied_pairs,
        "resolution": wished,
        "samples_needed": None if wished is None else found.samples_needed(wished),
        "split_half_tau": split_half_tau(errors.sample_epe, errors.valid_pixels),
        "trivial_rankings": trivial,
        "seeds": _between_seeds(runs, [own for own, _ in kept]) if len(runs) > 1 else None,
        "archs": [dict(zip(figures, row, strict=True)) for row in zip(*values, strict=True)],
        "notes": [note for _, note in kept if note],
    }


def _finite(value: Any) -> float | None:
    """None for what JSON has no number for: a network that diverged, or too few samples."""
    return float(value) if abs(value) < float("inf") else None


def _between_seeds(runs: Sequence[Run], errors: Sequence[SampleErrors]) -> dict[str, Any]:
    """Standard deviations (ddof 1) between runs, of the archs that all of their pools hold."""
    shared = [code for code in errors[0].codes if all(code in other.codes for other in errors)]
    pools = [dict(zip(o.codes, pool_noise(o.sample_epe, o.valid_pixels).epes, strict=True)) for o in errors]
    table = np.array([[epes[code] for code in shared] for epes in pools])  # [runs, archs]
    one, other = np.triu_indices(len(shared), 1)
    between = (table[:, one] - table[:, other]).std(axis=0, ddof=1)
    return {
        "runs": [str(run.path) for run in runs],
        "seeds": [run.own.runtime.seed for run in runs],
        "shared_archs": len(shared),
        "std": dict(zip(shared, table.std(axis=0, ddof=1).tolist(), strict=True)),
        "mean_epe": table.mean(axis=1).tolist(),
        "mean_epe_std": float(table.mean(axis=1).std(ddof=1)),
        "smallest_difference": float(student95(len(runs)) * np.median(between)) if between.size else None,
    }


def kept_errors(run: Run, epoch: int | None = None, wide: bool = False) -> tuple[SampleErrors, str]:
    """The sample errors of the last evaluation of a run, or of that after ``epoch``; of the frequent set or the wide.

    Returns:
        The errors, and what was wrong with the run's files, if anything.

    Raises:
        ConfigError: no such evaluation.
        DataError: its sample errors were not kept, or belong to another evaluation set.
    """
    log, path, tier = run.path / "events.jsonl", run.path, "wide" if wide else "epoch"
    kind, key = ("wide evaluation", "wide_eval_set") if wide else ("evaluation", "eval_set")
    folder = (path / results.sample_errors_name(0, tier)).parent
    note = ""
    rows = [row for row in read_rows(log, b'"evaluation"') if row.get("event") == "evaluation"]
    sets = {row["epoch"]: row[key] for row in rows if row.get(key)}
    if not rows and (kept := [results.read_sample_errors(file) for file in sorted(folder.glob(f"{tier}-*"))]):
        note = f"{log} holds no evaluation, so those of {folder.name}/ are used; restore it from a copy"
        sets = {errors.epoch: errors.eval_set for errors in kept}
    elif not rows and (path / "eval_history.csv").exists():
        note = f"{log} is missing, empty or damaged, and {folder.name}/ has none: restore them from a copy"
    elif not rows:
        note = "come back after the first evaluated epoch"
    if epoch is not None and epoch not in sets:
        known = ", ".join(map(str, sets)) or "none"
        raise ConfigError(f"{path}: no {kind} after epoch {epoch} in its history (there are: {known})")
    if not sets:
        raise ConfigError(f"{path}: no {kind} in its history{': ' if note else ''}{note}")
    epoch = list(sets)[-1] if epoch is None else epoch
    file = path / results.sample_errors_name(epoch, tier)
    if not file.exists():
        raise DataError(
            f"{file}: missing: the errors of the samples were not kept (eval.keep_sample_errors false, or a run of an "
            "older version); evaluate again with a run that keeps them"
        )
    errors = results.read_sample_errors(file)
    if errors.eval_set != sets[epoch] or errors.epoch != epoch:
        raise DataError(
            f"{file}: is of evaluation set {errors.eval_set}, epoch {errors.epoch}, not {sets[epoch]}, epoch {epoch}"
        )
    return errors, note


def _require_seeds_only(runs: Sequence[Run], errors: Sequence[SampleErrors], wide: bool) -> None:
    """Raise ConfigError unless there are three runs of different seeds that are the same otherwise.

    Compared are the manifests (identity and dynamics keys, data, space), the epoch, and the evaluated pixels; the
    pool's later archs are drawn with the seed, so the pool may differ.
    """
    first = runs[0]
    if len(runs) < 3:
        raise ConfigError(f"--seeds: {len(runs)} runs; a spread between seeds needs at least three (RUN counts as one)")
    seeds = [run.own.runtime.seed for run in runs]
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise ConfigError(f"--seeds: runtime.seed {twice[0]} occurs twice: equal seeds make equal runs")
    for other, measured in zip(runs[1:], errors[1:], strict=True):
        names = f"{first.path} and {other.path}"
        for difference in refused(compare(first.manifest, other.manifest, allow={"runtime.seed"})):
            raise ConfigError(
                f"--seeds: {names} differ in {difference.key} ({difference.run_value} and {difference.now_value}), so "
                "their spread is not that of the seed alone: give runs that differ in runtime.seed only"
            )
        if _pixels(first, errors[0], wide) != _pixels(other, measured, wide):
            one, two = first.stored_eval_set.settings, other.stored_eval_set.settings
            keys = [f"eval.{key}" for key in one.keys() | two.keys() if one.get(key) != two.get(key)]
            why = ", ".join(sorted(keys)) or "the samples differ"
            raise ConfigError(f"--seeds: {names} were evaluated on different sets ({why})")
        if errors[0].epoch != measured.epoch:
            raise ConfigError(
                f"--seeds: {names} were last evaluated after epoch {errors[0].epoch} and {measured.epoch}: give "
                "--epoch, or train them equally long"
            )


def _pixels(run: Run, errors: SampleErrors, wide: bool) -> str:
    """Identity of the evaluated pixels whatever the pool."""
    frozen = run.stored_eval_set
    own = frozen.hash_of(WIDE) if wide and WIDE in frozen.monitors else frozen.hash
    if own != errors.eval_set:
        raise DataError(f"{run.path}: its evaluation set was replaced after epoch {errors.epoch}")
    evaluation = frozen.monitors[WIDE] if wide else frozen.evaluation
    return replace(frozen, evaluation=evaluation, pool=(), coverage={}).hash
