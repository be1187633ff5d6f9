"""What an evaluation of a run can tell apart, and how much the training seed matters: the document, and it in words.

Read from the errors of every sample that the run's evaluations kept; neither data nor weights are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.frozen import WIDE
from edgeflownas.evaluate.noise import kendall_tau_b, pool_noise, split_half_tau, student95
from edgeflownas.evaluate.results import SampleErrors, read_sample_errors, sample_errors_name
from edgeflownas.files import read_rows
from edgeflownas.hardware.costs import space_costs
from edgeflownas.run.manifest import compare, refused
from edgeflownas.run.run import Run


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
    config = runs[0].config
    costs: dict[str, list[Any]] = {name: [None] * len(errors.codes) for name in ("parameters", "macs")}
    if config.train.task != "edgeflownet":
        space = runs[0].space
        archs = [space.parse(code) for code in errors.codes]
        table = space_costs(space, config.train.width, config.data.crop_size, archs)
        costs = {name: table[name].tolist() for name in costs}
    ranks, margins = found.ranks(), found.margins()
    rows = [
        {
            "arch_index": index,
            "code": code,
            "rank": ranks[index],
            "epe": _finite(found.epes[index]),
            "epe_margin": _finite(margins[index]) if margins else None,
            **{name: values[index] for name, values in costs.items()},
        }
        for index, code in enumerate(errors.codes)
    ]
    # Sizes need no training; a positive correlation says that larger networks have the larger EPE.
    trivial = {
        name: None if None in values else kendall_tau_b(values, found.epes.tolist())
        for name, values in (("macs", costs["macs"]), ("parameters", costs["parameters"]))
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
        "archs": rows,
        "notes": [note for _, note in kept if note],
    }


def _finite(value: Any) -> float | None:
    """None for what JSON has no number for: a network that diverged, or too few samples."""
    return float(value) if abs(value) < float("inf") else None


def _between_seeds(runs: Sequence[Run], errors: Sequence[SampleErrors]) -> dict[str, Any]:
    """Standard deviations (ddof 1) between runs, of the archs that all of their pools hold."""
    shared = [code for code in errors[0].codes if all(code in other.codes for other in errors)]
    epes = []
    for own in errors:
        values = dict(zip(own.codes, pool_noise(own.sample_epe, own.valid_pixels).epes, strict=True))
        epes.append([values[code] for code in shared])
    table = np.array(epes)  # [runs, archs]
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
    key = "wide_eval_set" if wide else "eval_set"
    kind = "wide evaluation" if wide else "evaluation"
    folder = (path / sample_errors_name(0, tier)).parent
    note = ""
    rows = [row for row in read_rows(log, b'"evaluation"') if row.get("event") == "evaluation"]
    sets = {row["epoch"]: row[key] for row in rows if row.get(key)}
    if not rows and (kept := [read_sample_errors(file) for file in sorted(folder.glob(f"{tier}-*"))]):
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
    file = path / sample_errors_name(epoch, tier)
    if not file.exists():
        raise DataError(
            f"{file}: missing: the errors of the samples were not kept (eval.keep_sample_errors false, or a run of an "
            "older version); evaluate again with a run that keeps them"
        )
    errors = read_sample_errors(file)
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
