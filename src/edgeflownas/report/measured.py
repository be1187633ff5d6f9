"""The errors of every sample that a run's evaluations kept, and runs that differ in their seed only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.evalset import WIDE, EvalSet, read_eval_set
from edgeflownas.evaluate.sample_errors import SampleErrors, read_sample_errors, sample_errors_name
from edgeflownas.files import read_rows
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.manifest import compare, refused

__all__ = ["Measured", "read_measured", "require_seeds_only"]


@dataclass(frozen=True)
class Measured:
    """One evaluation of a run: the errors of its samples and its frozen set."""

    run: RunDirectory
    errors: SampleErrors
    eval_set: EvalSet
    note: str = ""
    """What was wrong with the run's files, if anything."""

    @property
    def seed(self) -> int:
        """runtime.seed of the run."""
        return int(self.run.config["runtime"]["seed"])


def read_measured(path: Path, epoch: int | None = None, wide: bool = False) -> Measured:
    """The last evaluation of a run, or that after ``epoch``; of the frequent set or the wide one.

    Raises:
        StorageError: not a run directory.
        ConfigError: no such evaluation.
        DataError: its sample errors were not kept, or belong to another evaluation set.
    """
    run = RunDirectory(path)
    sets, note = _evaluations(run.path, wide)
    kind = "wide evaluation" if wide else "evaluation"
    if epoch is not None and epoch not in sets:
        known = ", ".join(map(str, sets)) or "none"
        raise ConfigError(f"{path}: no {kind} after epoch {epoch} in its history (there are: {known})")
    if not sets:
        raise ConfigError(f"{path}: no {kind} in its history{': ' if note else ''}{note}")
    epoch = list(sets)[-1] if epoch is None else epoch
    file = run.path / _name(epoch, wide)
    if not file.exists():
        raise DataError(
            f"{file}: missing: the errors of the samples were not kept (eval.keep_sample_errors false, or a run of an "
            "older version); evaluate again with a run that keeps them"
        )
    errors, eval_set = read_sample_errors(file), read_eval_set(run.path / "eval_set.json")
    if errors.eval_set != sets[epoch] or errors.epoch != epoch:
        raise DataError(
            f"{file}: is of evaluation set {errors.eval_set}, epoch {errors.epoch}, not {sets[epoch]}, epoch {epoch}"
        )
    return Measured(run, errors, eval_set, note)


def _name(epoch: int, wide: bool) -> str:
    return sample_errors_name(epoch, "wide" if wide else "epoch")


def _evaluations(run: Path, wide: bool) -> tuple[dict[int, str], str]:
    """Evaluation set by epoch, and what was wrong: from the log, or from the kept errors where it has no evaluation."""
    log, key = run / "events.jsonl", "wide_eval_set" if wide else "eval_set"
    rows = [row for row in read_rows(log, b'"evaluation"') if row.get("event") == "evaluation"]
    if rows:
        return {row["epoch"]: row[key] for row in rows if row.get(key)}, ""
    folder = (run / _name(0, wide)).parent
    kept = [read_sample_errors(file) for file in sorted(folder.glob("wide-*" if wide else "epoch-*"))]
    if kept:
        note = f"{log} holds no evaluation, so those of {folder.name}/ are used; restore it from a copy"
        return {errors.epoch: errors.eval_set for errors in kept}, note
    if (run / "eval_history.csv").exists():
        return {}, f"{log} is missing, empty or damaged, and {folder.name}/ has none: restore them from a copy"
    return {}, "come back after the first evaluated epoch"


def require_seeds_only(runs: Sequence[Measured], wide: bool = False) -> None:
    """Raise ConfigError unless there are three runs of different seeds that are the same otherwise.

    Compared are the manifests (identity and dynamics keys, data, space), the epoch, and the evaluated pixels; the
    pool's later archs are drawn with the seed, so the pool may differ.
    """
    first = runs[0]
    if len(runs) < 3:
        raise ConfigError(f"--seeds: {len(runs)} runs; a spread between seeds needs at least three (RUN counts as one)")
    seeds = [run.seed for run in runs]
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise ConfigError(f"--seeds: runtime.seed {twice[0]} occurs twice: equal seeds make equal runs")
    for other in runs[1:]:
        names = f"{first.run.path} and {other.run.path}"
        for difference in refused(compare(first.run.manifest, other.run.manifest, allow={"runtime.seed"})):
            raise ConfigError(
                f"--seeds: {names} differ in {difference.key} ({difference.run_value} and {difference.now_value}), so "
                "their spread is not that of the seed alone: give runs that differ in runtime.seed only"
            )
        if _pixels(first, wide) != _pixels(other, wide):
            settings = first.eval_set.settings, other.eval_set.settings
            keys = [f"eval.{key}" for key in settings[0].keys() | settings[1].keys() if _differ(key, *settings)]
            why = ", ".join(sorted(keys)) or "the samples differ"
            raise ConfigError(f"--seeds: {names} were evaluated on different sets ({why})")
        if first.errors.epoch != other.errors.epoch:
            raise ConfigError(
                f"--seeds: {names} were last evaluated after epoch {first.errors.epoch} and {other.errors.epoch}: give "
                "--epoch, or train them equally long"
            )


def _differ(key: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one.get(key) != other.get(key))


def _pixels(measured: Measured, wide: bool) -> str:
    """Identity of the evaluated pixels whatever the pool."""
    frozen = measured.eval_set
    own = frozen.hash_of(WIDE) if wide and WIDE in frozen.monitors else frozen.hash
    if own != measured.errors.eval_set:
        raise DataError(f"{measured.run.path}: its evaluation set was replaced after epoch {measured.errors.epoch}")
    evaluation = frozen.monitors[WIDE] if wide else frozen.evaluation
    return replace(frozen, evaluation=evaluation, pool=(), coverage={}).hash
