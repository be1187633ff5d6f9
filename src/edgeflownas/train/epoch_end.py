"""What happens after the last step of an epoch: evaluate, choose the best, log, commit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.evaluate.columns import PER_ARCH_COLUMNS, PER_OPTION_COLUMNS, columns, format_value
from edgeflownas.evaluate.evalset import RANDOM_CROP, TRAIN, WIDE
from edgeflownas.evaluate.pool import PoolEvaluation
from edgeflownas.evaluate.sample_errors import SampleErrors, sample_errors_name
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.clipping import clip_note
from edgeflownas.train.faults import crash_point
from edgeflownas.train.job import Job
from edgeflownas.train.option_losses import option_rows
from edgeflownas.train.showing import show_evaluation
from edgeflownas.train.state import Best, TrainState
from edgeflownas.train.summary import criterion, epoch_facts, pool_facts, train_facts, wide_facts

if TYPE_CHECKING:
    from edgeflownas.report.console import Meter

__all__ = ["finish_epoch"]


def finish_epoch(job: Job, state: TrainState, meter: Meter) -> None:
    """Evaluate where it is due, log, move to the next epoch and commit.

    Raises StopRequested during the evaluation; the epoch's steps are committed before, so nothing is lost.
    """
    config = job.config
    facts = epoch_facts(config, job.plan, job.space, state, job.steps, job.rate(state))
    times: dict[str, Any] = {"epoch": state.epoch + 1, "epoch_seconds": job.clock.seconds, **job.clock.figures()}
    checks = facts["clip_checks"], facts["expected_clip_checks"]
    if checks[0] != checks[1]:
        job.console.warn(f"clip_checks {checks[0]} differs from expected_clip_checks {checks[1]}: {_likely_key(job)}")
    _tell_clipping(job, facts)
    last = state.epoch + 1 == state.num_epochs
    due = last or (state.epoch + 1) % config.eval.eval_every_epoch == 0
    improved = False
    if due:
        result, average, improved = _evaluate(job, state, facts, times, last)
    _log(job, state, facts, times, due)
    crash_point("evaluation.logged")
    if due:
        _show(job, state, facts, times, result, average)
    shown = {"num_epochs": state.num_epochs, "improved": improved, "seconds_left": meter.seconds_left}
    job.console.epoch_line({**facts, **times, **shown, "model": job.model})
    state.epoch, state.batch = state.epoch + 1, 0
    job.steps.clear()
    crash_point("epoch.ended")
    job.commit(state)
    job.epoch_ended()
    job.clock.restart()


def _evaluate(
    job: Job, state: TrainState, facts: dict[str, Any], times: dict[str, Any], last: bool
) -> tuple[PoolEvaluation, PoolEvaluation | None, bool]:
    """The pool, its moving average and the monitors; whether the pool is the best so far.  Fills facts and times."""
    job.commit(state)
    crash_point("evaluation.started")
    average: PoolEvaluation | None = None
    with job.clock.lap("eval"):
        result = job.evaluator.evaluate(job.task.net, job.stop.check)
        if job.task.average:
            average = job.evaluator.evaluate(job.task.average.net, job.stop.check)
    job.clock.move(result.recal_seconds + (average.recal_seconds if average else 0.0), "eval", "recal")
    facts |= _evaluation_facts(job, state, result, average)
    times |= {"eval_seconds": result.eval_seconds, "bn_recal_seconds": result.recal_seconds}
    improved = _choose_best(job, state, result)
    facts |= {"best_epe": state.best.value, "best_epoch": state.best.epoch} if state.best else {}
    with job.clock.lap("eval"):
        _monitor(job, state, result, facts, times, last or state.stopped_early)
    times |= job.clock.shares("row")
    return result, average, improved


def _evaluation_facts(
    job: Job, state: TrainState, result: PoolEvaluation, average: PoolEvaluation | None
) -> dict[str, Any]:
    label = job.evaluator.eval_set.evaluation.label
    facts = pool_facts(job.config, job.space, job.evaluator.archs, result, state.last_epes, label)
    facts["eval_set"] = job.evaluator.eval_set.hash
    facts["calibration_set"] = job.evaluator.eval_set.calibration_hash
    if average is not None:
        facts[f"mean_epe_{len(result.scores)}_ema"] = float(np.mean([score.epe for score in average.scores]))
    noise = result.noise
    state.last_epes, state.last_zero_flow_epe = result.epes, result.zero_flow_epe
    state.last_ranks, state.last_margins = noise.ranks(result.epes), noise.margins()
    _keep_sample_errors(job, state, result, job.evaluator.eval_set.hash)
    return facts


def _monitor(
    job: Job, state: TrainState, result: PoolEvaluation, facts: dict[str, Any], times: dict[str, Any], last: bool
) -> None:
    """Score the monitors that are due, calibrated as ``result`` was, and add their columns."""
    evaluator, net, stop = job.evaluator, job.task.net, job.stop.check
    centre = evaluator.monitor(TRAIN, net, result, stop)
    random_crop = evaluator.monitor(RANDOM_CROP, net, result, stop)
    if centre is not None and random_crop is not None:
        facts |= train_facts(centre, random_crop)
    if not (last or job.config.eval.wide_is_due(state.epoch + 1)):
        return
    wide = evaluator.monitor(WIDE, net, result, stop)
    if wide is not None:
        wide_set = evaluator.eval_set.hash_of(WIDE)
        facts |= {**wide_facts(wide, result), "wide_eval_set": wide_set}
        times["wide_eval_seconds"] = wide.eval_seconds
        _keep_sample_errors(job, state, wide, wide_set, "wide")


def _keep_sample_errors(
    job: Job, state: TrainState, result: PoolEvaluation, eval_set: str, tier: str = "epoch"
) -> None:
    """The error of every sample in a file of its own; an evaluation that is repeated writes the same bytes."""
    if job.run is None or not job.config.eval.keep_sample_errors:
        return
    errors, pixels = result.sample_epe.numpy().astype(np.float32), result.valid_pixels.numpy()
    codes = tuple(str(arch) for arch in job.evaluator.archs)
    content = SampleErrors(codes, errors, pixels, eval_set, state.epoch + 1).to_bytes()
    job.run.write_file(sample_errors_name(state.epoch + 1, tier), content)


def _choose_best(job: Job, state: TrainState, result: PoolEvaluation) -> bool:
    """Update the best evaluation and the patience of early stopping; True where this is the best so far."""
    value = criterion(job.config, result)
    config = job.config.eval
    if not math.isfinite(value):
        job.console.warn(f"epoch {state.epoch + 1}: the pool's EPE is {value}, so it cannot be the best")
    reference = state.value_of_last_gain
    gained = math.isfinite(value) and (reference is None or value < reference - config.early_stop_min_delta)
    state.evaluations_without_gain = 0 if gained else state.evaluations_without_gain + 1
    state.value_of_last_gain = value if gained else reference
    if config.early_stop_patience is not None and state.evaluations_without_gain >= config.early_stop_patience:
        state.stopped_early = True
        job.console.info(
            f"early stop after epoch {state.epoch + 1}: {state.evaluations_without_gain} evaluations without a gain of "
            f"more than {config.early_stop_min_delta:g} px (eval.early_stop_patience {config.early_stop_patience})"
        )
    if not math.isfinite(value) or (state.best is not None and value >= state.best.value):
        return False
    # The checkpoint is named before it is written: the commit at the end of finish_epoch stores both together.
    name = Position(state.step, state.epoch + 1, 0).name
    state.best = Best(value, state.epoch + 1, name, config.best_by, job.evaluator.eval_set.hash)
    return True


def _tell_clipping(job: Job, facts: dict[str, Any]) -> None:
    """Say that clipping cuts every step, or none, when it becomes so; saturated is worth a look, idle is not."""
    note = clip_note(facts, job.clip_verdict)
    job.clip_verdict = facts["clip_verdict"]
    if note is not None:
        tell = job.console.warn if job.clip_verdict == "saturated" else job.console.info
        tell(f"{job.model}: {note}" if job.model else note)


def _log(job: Job, state: TrainState, facts: dict[str, Any], times: dict[str, Any], evaluated: bool) -> None:
    if job.run is None:
        return
    job.run.events.append({"event": "evaluation" if evaluated else "epoch", **facts})
    job.run.timing.append({"what": "epoch", **times, "laps": job.clock.since("epoch")})
    for option in option_rows(job.space, facts["epoch"], facts.get("options", {})):
        job.run.per_option.append({name: format_value(name, option[name]) for name in PER_OPTION_COLUMNS})
        tag = f"options/{option['block']} {option['meaning']}"
        job.tracker.scalars(state.step, {tag: option["train_loss_relative"]})
    if evaluated:
        names = columns(len(job.evaluator.archs))
        row = {**facts, **times}
        job.run.history.append({name: format_value(name, row.get(name)) for name in names})


def _show(
    job: Job,
    state: TrainState,
    facts: dict[str, Any],
    times: dict[str, Any],
    result: PoolEvaluation,
    average: PoolEvaluation | None,
) -> None:
    """Per-arch rows, TensorBoard, pictures and report."""
    for index, score in enumerate(result.scores):
        row = {"epoch": facts["epoch"], "arch_index": index, "epe": score.epe, "code": str(score.arch)}
        row["epe_ema"] = average.scores[index].epe if average else None
        if job.run is not None:
            job.run.per_arch.append({name: format_value(name, row[name]) for name in PER_ARCH_COLUMNS})
    numbers = {name: value for name, value in {**facts, **times}.items() if isinstance(value, (int, float))}
    job.tracker.scalars(state.step, {f"epoch/{name}": value for name, value in numbers.items()})
    job.tracker.scalars(
        state.step, {f"arch_epe/{i:02d} {score.arch}": score.epe for i, score in enumerate(result.scores)}
    )
    show_evaluation(job, state, result)


def _likely_key(job: Job) -> str:
    train = job.config.train
    if train.grad_clip_position == "micro_step":
        return f"look at train.grad_clip_position micro_step with train.micro_batch_size {train.micro_batch_size}"
    return "look at train.grad_clip_position"
