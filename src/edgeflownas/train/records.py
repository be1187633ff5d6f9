"""Rows of the logs: one event a step, one an epoch, one row of eval_history.csv an evaluated epoch.

Facts that are the same after any interruption go to events.jsonl; durations go to timing.jsonl; eval_history.csv
joins both.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.config import Config
from edgeflownas.data.loader import Batch
from edgeflownas.errors import StorageError
from edgeflownas.evaluate.columns import MONITOR_COLUMNS, csv_file, format_value
from edgeflownas.evaluate.noise import best_criterion, kendall_tau_b, pool_statistics
from edgeflownas.evaluate.pool import PoolEvaluation
from edgeflownas.files import csv_rows, replace_committed
from edgeflownas.train.fairness import fairness_gap, option_counts, option_losses
from edgeflownas.train.step import StepOutput

if TYPE_CHECKING:
    from edgeflownas.train.loop import Training

PROTOCOL = "training"
LOSSES = ("loss", "loss_optical", "loss_uncertainty")


def step_event(training: Training, batch: Batch, output: StepOutput, rate: float) -> dict[str, Any]:
    """Facts of a step; ``draws`` is the crc32 of its sample indices.  A dropped step names samples and codes."""
    state, checks = training.state, training.task.expected_clip_checks(len(batch.indices))
    event: dict[str, Any] = {
        "event": "step",
        "step": state.step,
        "epoch": state.epoch + 1,
        "batch": state.batch,
        "drawn": len(batch.indices),
        "seen": state.seen,
        "lr": rate,
        **{name: getattr(output, name) for name in ("accepted", *LOSSES, "path_losses", "grad_norms", "clip_count")},
        **({} if output.loss_feature is None else {"loss_feature": output.loss_feature}),
        "expected_clip_checks": checks if output.accepted else 0,
        "clipped_flow_share": batch.clipped_share,
        "draws": f"{zlib.crc32(np.asarray(batch.indices, dtype='<i8').tobytes()):08x}",
    }
    if not output.accepted:
        event["samples"] = list(batch.names)
        event["codes"] = [str(path) for path in output.paths]
    return event


def epoch_facts(training: Training) -> dict[str, Any]:
    """Training columns of a finished epoch from its step events; ``lr`` is the learning rate after it."""
    config, plan, state, steps = training.config, training.plan, training.state, training.steps
    space = training.task.net.space
    accepted = [row for row in steps if row["accepted"]]
    norms = [float(norm) for row in accepted for norm in row["grad_norms"]]
    quantiles = {f"grad_norm_p{q}": float(np.percentile(norms, q)) if norms else None for q in (50, 90, 99)}
    levels = [level for level in (*training.norm_levels, quantiles["grad_norm_p90"]) if level is not None]
    coverage = plan.coverage(state.epoch)
    drawn = sum(row["drawn"] for row in steps)
    assert drawn == coverage.drawn, f"epoch {state.epoch + 1} drew {drawn} samples, its plan says {coverage.drawn}"
    clips = sum(row["clip_count"] for row in accepted)
    return {
        "epoch": state.epoch + 1,
        "global_step": state.step,
        "seen_samples": state.seen,
        "lr": training.rate,
        **{f"train_{loss}": _mean(row[loss] for row in accepted) for loss in LOSSES},
        "grad_norm_mean": _mean(norms),
        **quantiles,
        "clip_threshold": config.train.grad_clip_global_norm,
        "clip_checks": len(norms),
        "expected_clip_checks": sum(row["expected_clip_checks"] for row in steps),
        "clip_count": clips,
        "clip_rate": clips / len(norms) if norms else None,
        "unique_samples": coverage.unique,
        "train_samples": plan.num_samples,
        "train_drawn": coverage.drawn,
        "coverage_share": coverage.share,
        "expected_unique_samples": coverage.expected_unique,
        "cumulative_passes": coverage.cumulative_passes,
        "clipped_flow_share": float(np.mean([row["clipped_flow_share"] for row in steps])),
        "dropped_steps": len(steps) - len(accepted),
        "quarantined_samples": len(state.quarantined),
        "fairness_gap": fairness_gap(option_counts(space, config.runtime.seed, state.step)),
        **clip_facts(config.train.grad_clip_global_norm, len(norms), clips, levels),
        **({} if space.num_paths == 1 else {"options": option_losses(space, config.runtime.seed, accepted)}),
    }


def pool_facts(training: Training, result: PoolEvaluation) -> dict[str, Any]:
    """Evaluation columns of an epoch (names carry the pool size), and its codes, EPEs and ranks by arch_index."""
    settings, space, previous = training.config.eval, training.task.net.space, training.state.last_epes
    archs, epes, noise = [score.arch for score in result.scores], result.epes, result.noise
    figures, size = pool_statistics(epes), len(archs)
    baseline = space.parse(space.baseline) if space.baseline else None
    return {
        **_spread("", epes),
        **{f"per_arch_epe_{name}": getattr(figures, name) for name in ("min", "median", "max")},
        "bilinear_arch_epe": epes[archs.index(baseline)] if baseline in archs else None,
        "zero_flow_epe": result.zero_flow_epe,
        "kendall_tau_prev": kendall_tau_b(previous, epes) if len(previous) == size else None,
        "eval_samples_per_arch": result.samples,
        "split_label": training.eval_set.evaluation.label,
        "codes": [str(arch) for arch in archs],
        "epes": epes,
        "ranks": noise.ranks(epes),
        "bn_recal_batches": settings.bn_recal_batches,
        "eval_batches_per_arch": settings.eval_batches_per_arch,
        **_losses("eval_loss", result),
        "eval_epe_a0": _mean(score.epe_a0 for score in result.scores),
        "eval_epe_a1": _mean(score.epe_a1 for score in result.scores),
        "epe_protocol": PROTOCOL,
        f"epe_standard_error_{size}": _known(np.median(noise.standard_errors)),
        f"mean_epe_standard_error_{size}": _known(noise.mean_standard_error),
        f"smallest_difference_{size}": noise.smallest_difference,
        f"tied_pairs_{size}": noise.tied_pairs,
    }


def train_facts(centre: PoolEvaluation, random_crop: PoolEvaluation) -> dict[str, Any]:
    """Columns of the training samples that are scored as the evaluation samples are."""
    size = len(centre.scores)
    return {
        f"train_epe_{size}": _mean(centre.epes),
        f"train_epe_random_crop_{size}": _mean(random_crop.epes),
        **_losses("train_eval_loss", centre),
        "train_eval_samples": centre.samples,
    }


def wide_facts(wide: PoolEvaluation, frequent: PoolEvaluation) -> dict[str, Any]:
    """Columns of the wide set, and how the frequent one compares with it on the same calibration."""
    epes, noise, size = wide.epes, wide.noise, len(wide.scores)
    return {
        **_spread("wide_", epes),
        "wide_zero_flow_epe": wide.zero_flow_epe,
        f"wide_difference_{size}": pool_statistics(frequent.epes).mean - pool_statistics(epes).mean,
        "wide_kendall_tau": kendall_tau_b(frequent.epes, epes),
        f"wide_smallest_difference_{size}": noise.smallest_difference,
        "wide_samples_per_arch": wide.samples,
        "wide_epes": epes,
        "wide_ranks": noise.ranks(epes),
    }


def criterion(config: Config, result: PoolEvaluation) -> float:
    """The figure (px) that chooses the best checkpoint, of the evaluation that eval.best_by means."""
    figures = pool_statistics(result.epes)._asdict()
    return best_criterion(config.eval.best_by.removeprefix("wide_"), config.eval.best_mix, figures)


def _spread(tier: str, epes: Sequence[float]) -> dict[str, float]:
    figures, names = pool_statistics(epes), ("mean", "std", "median", "p90")
    return {f"{tier}{name}_epe_{len(epes)}": getattr(figures, name) for name in names}


def _losses(prefix: str, result: PoolEvaluation) -> dict[str, float | None]:
    terms = ("total", "optical", "uncertainty")
    return {f"{prefix}_{term}": _mean(getattr(score, f"loss_{term}") for score in result.scores) for term in terms}


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return float(np.mean(numbers)) if numbers else None


def _known(value: Any) -> float | None:
    """A standard error; None where there are too few samples for one, or a network diverged."""
    return float(value) if np.isfinite(value) else None


SATURATED = 0.9  # of the checks
SETTLED = 1.25  # both halves of the last third lie within a quarter of each other
MOVED = 1.5  # a threshold is suggested where it is another by half


def clip_facts(threshold: float | None, checks: int, clipped: int, levels: Sequence[float]) -> dict[str, Any]:
    """Columns ``clip_verdict`` and ``clip_suggested`` of an epoch.

    The verdict: ``saturated`` where 90 % of the ``checks`` clipped or more, ``idle`` where none did, ``active``
    between, ``off`` without a ``threshold``; None where nothing was checked.  The suggestion: :func:`settled_level` of
    ``levels``, the 90th percentiles of the norms before clipping of every epoch so far; it clips one check in ten.
    """
    verdict = "off" if threshold is None else "active"
    if threshold is not None:
        verdict = "saturated" if clipped >= SATURATED * checks else "active" if clipped else "idle"
    return {"clip_verdict": verdict if checks else None, "clip_suggested": settled_level(levels)}


def settled_level(levels: Sequence[float]) -> float | None:
    """Median of the last third, of three epochs at least; None before, and while its halves are a quarter apart.

    The first epochs of a training have norms a hundred times those it settles at.
    """
    last = np.array(levels[-max(3, -(-len(levels) // 3)) :])
    if len(levels) < 3 or not np.isfinite(last).all() or last.min() <= 0:
        return None
    halves = float(np.median(last[: len(last) // 2])), float(np.median(last[len(last) // 2 :]))
    return float(np.median(last)) if max(halves) <= SETTLED * min(halves) else None


def clip_note(facts: dict[str, Any], before: str | None) -> str | None:
    """What to tell about an epoch whose verdict is another than ``before``; None where there is nothing to tell."""
    verdict, threshold, level = (facts[name] for name in ("clip_verdict", "clip_threshold", "grad_norm_p90"))
    if verdict == before or verdict not in ("saturated", "idle") or level is None:
        return None
    seen = f"(p90 of the norms {_digits(level)})"
    if verdict == "idle":
        return f"clipping idle: no norm of the epoch reached {threshold:g} {seen}"
    share = f"{100 * facts['clip_rate']:.3g} % of the checks of the epoch"
    return f"clipping saturated: {share} were cut at {threshold:g} {seen}"


def clip_advice(facts: dict[str, Any], told: float | None) -> str | None:
    """The threshold to try, once the norms have settled away from the one in force, or from the one ``told`` last."""
    threshold, level = facts["clip_threshold"], facts["clip_suggested"]
    if threshold is None or level is None or max(level, told or threshold) < MOVED * min(level, told or threshold):
        return None
    return (
        f"the gradient norms have settled at {_digits(level)} (p90): try train.grad_clip_global_norm {_digits(level)}"
    )


def _digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}"  # three digits, and no 1.71e+03


def log_reading(training: Training, reading: dict[str, Any]) -> None:
    """An event, rows of monitor.csv and points of the curves (means over paths) of a reading before the last step."""
    place = {"step": training.state.step - 1, "epoch": training.state.epoch + 1}
    blocks = {**reading["norms"], "all": reading["all"]}
    if (directory := training.directory) is not None:
        directory.events.append({"event": "monitor", **place, **reading})
        for path, code in enumerate(reading["paths"]):
            for block, norms in blocks.items():
                row: dict[str, Any] = {**place, "path": path, "code": code, "block": block, "grad_norm": norms[path]}
                directory.monitor.append({name: format_value(name, row[name]) for name in MONITOR_COLUMNS})
    means = {f"monitor/grad_norm {name}": sum(norms) / len(norms) for name, norms in blocks.items()}
    training.tracker.scalars(place["step"], {**means, "monitor/path_cosine": reading["path_cosine"]})


COMPARED = ("train_loss", "eval_loss_total", "eval_loss_optical", "eval_loss_uncertainty", "epe")


def write_comparison(path: Path, names: list[str]) -> None:
    """Replace ``comparison.csv``: one row for each epoch that every model has been evaluated after.

    Columns: epoch, global_step, then losses and EPE (px) of every model, then their difference from the first model.
    """
    tables = {name: _history(path / name / "eval_history.csv") for name in names}
    first, *others = names
    own = [f"{name}_{figure}" for name in names for figure in COMPARED]
    differences = [f"{name}_minus_{first}_{figure}" for name in others for figure in COMPARED]
    rows = [["epoch", "global_step", *own, *differences]]
    for epoch in sorted(set.intersection(*map(set, tables.values()))):
        # A history whose columns changed at a resume may lack some in its older rows.
        values = {name: [tables[name][epoch].get(figure, "") for figure in COMPARED] for name in names}
        rows.append([tables[first][epoch]["epoch"], tables[first][epoch]["global_step"], *chain(*values.values())])
        for name in others:
            for figure, value, reference in zip(COMPARED, values[name], values[first], strict=True):
                known = float(value) - float(reference) if value and reference else None
                rows[-1].append(format_value(figure, known))
    replace_committed(path / "comparison.csv", csv_file(rows))


def _history(path: Path) -> dict[int, dict[str, str]]:
    """Rows of a model's eval_history.csv by epoch, its EPE under the plain name ``epe``."""
    try:
        return {int(row["epoch"]): {**row, "epe": row["mean_epe_1"]} for row in csv_rows(path)}
    except StorageError:  # said already
        raise
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{path}: not readable as the history of one model ({error}): restore it from a copy"
        ) from None
