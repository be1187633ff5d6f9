"""The one training loop.

Position is (epoch, batch); everything a step needs is a pure function of it, so the loop can be left and entered
anywhere.  Once in a while it commits; at the end of an epoch it evaluates, logs and commits.  The state only ever
changes after a step is complete: whoever abandons a step (a signal, the clock) leaves no trace.

Several models on the same batches take turns, the one that is furthest behind first.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.config import Config
from edgeflownas.data.loader import Batch, Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import DataError, Interrupted, NonFiniteError, StorageError
from edgeflownas.evaluate.columns import (
    PER_ARCH_COLUMNS,
    PER_OPTION_COLUMNS,
    TRAINING_HISTORY_COLUMNS,
    columns,
    format_value,
)
from edgeflownas.evaluate.frozen import RANDOM_CROP, TRAIN, WIDE, EvalSet
from edgeflownas.evaluate.noise import rank_string
from edgeflownas.evaluate.pool import PoolEvaluation
from edgeflownas.evaluate.results import SampleErrors, sample_errors_name
from edgeflownas.files import crash_point
from edgeflownas.run.checkpoint import Best, Position, TrainState
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.history import TIERS
from edgeflownas.run.setup import Splits
from edgeflownas.train import records
from edgeflownas.train.also import Also, evaluate_also
from edgeflownas.train.evaluator import Evaluator, show_evaluation
from edgeflownas.train.fairness import option_rows
from edgeflownas.train.machine import StopFlag, StopRequested
from edgeflownas.train.plan import learning_rate
from edgeflownas.train.step import StepOutput, SupernetTask

if TYPE_CHECKING:
    from edgeflownas.report.console import Console, Meter, Tracker
    from edgeflownas.report.pictures import Drawing

#: What time is told apart by; ``other`` is the rest: logging, pictures, other models trained beside this one.
LAPS = ("data_wait", "step", "eval", "recal", "checkpoint", "monitor", "other")


class EpochClock:
    """Wall-clock figures of the current epoch, or of the part of it since the last resume.

    Laps are counted apart from epochs: the commit that ends an epoch comes after its row and belongs to the next.
    """

    def __init__(self, loader: Loader, now: Callable[[], float] = time.monotonic) -> None:
        self._loader, self._now = loader, now
        self._laps = dict.fromkeys(LAPS, 0.0)
        self._marks: dict[str, dict[str, float]] = {}
        self._began, self._waited_before = now(), loader.wait_seconds
        self.restart()

    def restart(self) -> None:
        """Begin an epoch."""
        self._started, self._waited, self.drawn = self._now(), self._loader.wait_seconds, 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return max(self._now() - self._started, 1e-9)

    def figures(self) -> dict[str, float]:
        """Pairs a second and the share of the time spent waiting for data."""
        waited = self._loader.wait_seconds - self._waited
        return {"images_per_second": self.drawn / self.seconds, "data_wait_share": waited / self.seconds}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Count what happens within as ``name``."""
        began = self._now()
        try:
            yield
        finally:
            self._laps[name] += self._now() - began

    def move(self, seconds: float, source: str, target: str) -> None:
        """Count ``seconds`` of a lap as another: recalibration is a part of the evaluation that measures itself."""
        self._laps[source] -= seconds
        self._laps[target] += seconds

    def since(self, mark: str) -> dict[str, float]:
        """Seconds of each lap since ``mark`` was asked for last; the first time, since the clock was made."""
        total = dict(self._laps, data_wait=self._loader.wait_seconds - self._waited_before)
        total["other"] = max(0.0, self._now() - self._began - sum(total.values()))
        before = self._marks.get(mark, dict.fromkeys(LAPS, 0.0))
        self._marks[mark] = total
        return {name: max(0.0, total[name] - before[name]) for name in LAPS}

    def shares(self, mark: str) -> dict[str, float]:
        """The same as shares of their sum: columns ``share_*``."""
        seconds = self.since(mark)
        total = max(sum(seconds.values()), 1e-9)
        return {f"share_{name}": value / total for name, value in seconds.items()}


@dataclass(frozen=True)
class Front:
    """What people see, handed in by the command: training itself imports neither screen nor pictures."""

    console: Callable[[Callable[[str], None] | None], Console]  # takes the sink of train.log; None: a silent rank
    tracker: Callable[[Path, bool, int | None], Tracker]  # folder, enabled, first step to be logged again
    draw: Callable[..., Drawing]  # both images, predicted flow, true flow, valid -> picture
    report: Callable[[Path], None]  # writes report.html of a run directory


@dataclass
class Training:
    """One model in training: what the loop runs; ``directory`` is None on ranks that do not write."""

    config: Config
    plan: BatchPlan
    splits: Splits
    eval_set: EvalSet
    task: SupernetTask
    state: TrainState
    console: Console
    front: Front
    model: str = ""  # its name among several that are trained side by side
    directory: RunDirectory | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)  # step events of the current epoch
    norm_levels: list[float] = field(default_factory=list)  # grad_norm_p90 of every epoch so far
    clip_verdict: str | None = None  # of the epoch before, in this session
    clip_told: float | None = None  # the threshold that was suggested last, in this session
    also: list[Also] = field(default_factory=list)  # the sets of eval.also
    epoch_ended: Callable[[], None] = lambda: None
    # Set once everything is checked and the run directory is open:
    stop: StopFlag = field(init=False)
    loader: Loader = field(init=False)
    evaluator: Evaluator = field(init=False)
    tracker: Tracker = field(init=False)
    clock: EpochClock = field(init=False)

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return learning_rate(self.config.train, self.state.seen, self.state.planned)

    @property
    def position(self) -> Position:
        """Place of the state among the checkpoints; at the end of an epoch's steps its evaluation is still due."""
        state = self.state
        return Position(state.step, state.epoch, state.batch, evaluated=state.batch < self.plan.steps_per_epoch)

    def commit(self) -> str:
        """Make weights, optimiser, state and logs durable together; returns the checkpoint's name."""
        place, state, finished = self.position, self.state.to_json(), self.state.finished
        if self.directory is not None:
            with self.clock.lap("checkpoint"):
                best = {**(state["best"] or {}), **({"also": self.state.also} if self.state.also else {})} or None
                self.directory.commit(place, state, self.task.tensors(), best=best, finished=finished)
        return place.name


def fit(models: Sequence[Training]) -> None:
    """Train every model until its plan is fulfilled, early stopping ends it, or a stop is requested.

    Raises Interrupted after a commit, NonFiniteError after train.max_nonfinite_steps dropped steps in a row, DataError
    for a sample that cannot be used (data.on_bad_sample stop), or too many quarantined.
    """
    first = models[0]
    total = sum(model.state.num_epochs * model.plan.steps_per_epoch for model in models)
    try:
        gc.freeze()  # what the imports made is looked through at every collection otherwise: 3 % of a small step
        with first.stop.listening(), first.console.progress(total, steps_done(models)) as meter:
            while unfinished := [model for model in models if not model.state.finished]:
                training = min(unfinished, key=lambda model: (model.state.epoch, model.state.batch))
                state = training.state
                if state.batch == training.plan.steps_per_epoch:
                    finish_epoch(training, meter)
                    continue

                batch = next_batch(training)
                rate = training.rate
                reading = read_gradients(training, batch)
                crash_point("step.started")
                with training.clock.lap("step"):
                    output = training.task.step(batch, state.step, rate, training.stop.check)
                crash_point("step.applied")
                state.step += 1
                state.batch += 1
                state.seen += len(batch.indices)  # whether it was accepted or dropped
                state.accepted += output.accepted
                state.nonfinite_in_a_row = 0 if output.accepted else state.nonfinite_in_a_row + 1
                if reading is not None:
                    records.log_reading(training, reading)
                record(training, batch, output, rate)
                epes = state.last_epes
                shown = {"loss": output.loss, "lr": rate, "epe": sum(epes) / len(epes) if epes else None}
                shown |= {"zero_flow_epe": state.last_zero_flow_epe}
                meter.update(steps_done(models), **shown, **training.clock.figures())
                crash_point("step.logged")

                # Once in a while: make it durable (the end of an epoch commits anyway).
                every = training.config.checkpoint.every_steps
                if every and state.step % every == 0 and state.batch < training.plan.steps_per_epoch:
                    training.commit()
    except (StopRequested, Interrupted) as stop:
        done = ", ".join(f"step {model.state.step} as {model.commit()}" for model in models)
        first.task.world.barrier()
        reason = first.stop.reason or str(stop) or "another rank was asked to stop"
        raise Interrupted(f"{reason}: committed {done}; resume to go on") from None
    finally:
        gc.unfreeze()


def steps_done(models: Sequence[Training]) -> int:
    """Steps of all models together."""
    return sum(model.state.step for model in models)


def next_batch(training: Training) -> Batch:
    """The batch of the next step; what cannot be loaded ends the run, with the steps before it committed.

    Raises StopRequested on every rank where one is asked to stop while it waits.
    """
    try:
        return training.loader.next_batch(training.state.epoch, training.state.batch)
    except Interrupted:
        training.task.abandon()
    except (DataError, StorageError):
        training.commit()
        raise


def read_gradients(training: Training, batch: Batch) -> dict[str, Any] | None:
    """The gradients before the next step, where their turn has come; logged with that step, so a stop leaves no trace.

    The turn is a function of the position alone: a resumed run reads at the same places.  Raises StopRequested.
    """
    every, step = training.config.train.monitor_every, training.state.step
    if every is None or step % every:
        return None
    with training.clock.lap("monitor"):
        return training.task.read_gradients(batch, step, training.stop.check)


def record(training: Training, batch: Batch, output: StepOutput, rate: float) -> None:
    """Log a step; stop the run where the limits on bad samples or non-finite steps are passed."""
    state, runtime, limit = training.state, training.config.runtime, training.config.train.max_nonfinite_steps
    quarantine(training, batch)
    event = records.step_event(training, batch, output, rate)
    training.steps.append(event)
    if training.directory is not None:
        training.directory.events.append(event)
    training.clock.drawn += len(batch.indices)
    if state.step % runtime.summary_every == 0:
        names = ("lr", "loss", "loss_optical", "loss_uncertainty", "loss_feature")
        scalars = {name: event[name] for name in names if name in event}
        norms = output.grad_norms  # one a clip check: what grad_norm_p50, p90 and p99 are taken from
        scalars |= {f"grad_norm {i:02d}" if len(norms) > 1 else "grad_norm": norm for i, norm in enumerate(norms)}
        scalars |= {"clip_rate": output.clip_count / len(norms)}
        training.tracker.scalars(state.step, {f"train/{name}": value for name, value in scalars.items()})
    if state.step % runtime.summary_flush_every == 0:
        training.tracker.flush()
    if not output.accepted:
        training.console.warn(
            f"step {state.step} dropped: non-finite loss or gradient, samples {', '.join(batch.names)}"
        )
    if state.nonfinite_in_a_row >= limit:
        training.commit()
        raise NonFiniteError(
            f"{state.nonfinite_in_a_row} steps in a row had a non-finite loss or gradient (train.max_nonfinite_steps "
            f"{limit}), the last one step {state.step} with samples {', '.join(batch.names)}; events.jsonl names the "
            "others. Check them with `edgeflownas data check --full`, or fork from an earlier checkpoint with a lower "
            "train.lr"
        )


def quarantine(training: Training, batch: Batch) -> None:
    """Count bad samples when they are consumed (prefetching runs ahead), log each once, and hold the cap."""
    state = training.state
    for row in batch.replaced:
        if row.bad_name in state.quarantined:
            continue
        state.quarantined.append(row.bad_name)
        training.console.warn(f"sample {row.bad_name} quarantined, replaced by {row.by_name}: {row.reason}")
        if training.directory is not None:
            fact = {"step": state.step, "sample": row.bad_name, "replaced_by": row.by_name, "reason": row.reason}
            training.directory.quarantine.append(fact)
        share = training.config.data.quarantine_cap
        cap = max(1, int(share * training.plan.num_samples))
        if len(state.quarantined) > cap:
            raise DataError(
                f"{len(state.quarantined)} training samples are unreadable, data.quarantine_cap {share:g} "
                f"allows {cap} of {training.plan.num_samples}; the last: {row.reason}. Repair them (`edgeflownas data "
                "check --full` lists all) or raise data.quarantine_cap"
            )


# ---- the end of an epoch: evaluate, choose the best, log, commit ----


def finish_epoch(training: Training, meter: Meter) -> None:
    """Evaluate where it is due, log, move to the next epoch and commit.

    Raises StopRequested during the evaluation; the epoch's steps are committed before, so nothing is lost.
    """
    config, state, clock, console = training.config, training.state, training.clock, training.console
    facts = records.epoch_facts(training)
    times: dict[str, Any] = {"epoch": state.epoch + 1, "epoch_seconds": clock.seconds, **clock.figures()}
    if facts["clip_checks"] != facts["expected_clip_checks"]:
        micro = f" micro_step with train.micro_batch_size {config.train.micro_batch_size}"
        console.warn(
            f"clip_checks {facts['clip_checks']} differs from expected_clip_checks {facts['expected_clip_checks']}: "
            f"look at train.grad_clip_position{micro if config.train.grad_clip_position == 'micro_step' else ''}"
        )
    note = records.clip_note(facts, training.clip_verdict)
    training.clip_verdict = facts["clip_verdict"]
    if note is not None:  # saturated is worth a look, idle is not
        tell = console.warn if training.clip_verdict == "saturated" else console.info
        tell(f"{training.model}: {note}" if training.model else note)
    advice = records.clip_advice(facts, training.clip_told)
    if advice is not None:
        training.clip_told = facts["clip_suggested"]
        console.info(f"{training.model}: {advice}" if training.model else advice)
    last = state.epoch + 1 == state.num_epochs
    due = last or (state.epoch + 1) % config.eval.eval_every_epoch == 0
    scored = evaluate(training, facts, times, last) if due else []
    evaluate_also(training, scored[0] if scored else None, last or state.stopped_early)
    log_epoch(training, facts, times, due)
    crash_point("evaluation.logged")
    if scored:
        show_pool(training, {**facts, **times}, *scored)
    improved = state.best is not None and state.best.epoch == facts["epoch"]
    shown = {"num_epochs": state.num_epochs, "improved": improved, "seconds_left": meter.seconds_left}
    console.epoch_line({**facts, **shown, "best_by": config.eval.best_by, "model": training.model})
    state.epoch, state.batch = state.epoch + 1, 0
    training.steps.clear()
    training.norm_levels += [] if facts["grad_norm_p90"] is None else [facts["grad_norm_p90"]]
    crash_point("epoch.ended")
    training.commit()
    training.epoch_ended()
    clock.restart()


def evaluate(training: Training, facts: dict[str, Any], times: dict[str, Any], last: bool) -> list[PoolEvaluation]:
    """The pool and, where there is one, its moving average; fills facts and times, of the monitors too."""
    task, state, evaluator, check = training.task, training.state, training.evaluator, training.stop.check
    clock, frozen = training.clock, training.eval_set
    training.commit()
    crash_point("evaluation.started")
    with clock.lap("eval"):
        result = evaluator.evaluate(task.net, check)
        average = evaluator.evaluate(task.average.net, check) if task.average else None
    recal_seconds = result.recal_seconds + (average.recal_seconds if average else 0.0)
    clock.move(recal_seconds, "eval", "recal")
    facts |= records.pool_facts(training, result)
    facts |= {"eval_set": frozen.hash, "calibration_set": frozen.calibration_hash}
    if average is not None:
        facts[f"mean_epe_{len(result.scores)}_ema"] = float(np.mean([score.epe for score in average.scores]))
    state.last_epes, state.last_zero_flow_epe = result.epes, result.zero_flow_epe
    state.last_ranks, state.last_margins = facts["ranks"], result.noise.margins()
    keep_sample_errors(training, result, frozen.hash, "epoch")
    times |= {"eval_seconds": result.eval_seconds, "bn_recal_seconds": result.recal_seconds}
    settings, wide = training.config.eval, None
    if last or settings.wide_is_due(state.epoch + 1):
        with clock.lap("eval"):
            wide = evaluator.monitor(WIDE, task.net, result, check)
    chooses = wide if settings.best_by.startswith("wide_") else result
    if chooses is not None:
        choose_best(training, chooses)
    facts |= {"best_epe": state.best.value, "best_epoch": state.best.epoch} if state.best else {}
    with clock.lap("eval"):  # the monitors that are due, calibrated as the pool was
        centre = evaluator.monitor(TRAIN, task.net, result, check)
        random_crop = evaluator.monitor(RANDOM_CROP, task.net, result, check)
        if centre is not None and random_crop is not None:
            facts |= records.train_facts(centre, random_crop)
        if wide is None and state.stopped_early:
            wide = evaluator.monitor(WIDE, task.net, result, check)
        if wide is not None:
            facts |= {**records.wide_facts(wide, result), "wide_eval_set": frozen.hash_of(WIDE)}
            times["wide_eval_seconds"] = wide.eval_seconds
            keep_sample_errors(training, wide, frozen.hash_of(WIDE), "wide")
    times |= clock.shares("row")
    return [result] if average is None else [result, average]


def keep_sample_errors(training: Training, result: PoolEvaluation, eval_set: str, tier: str) -> None:
    """The error of every sample in a file of its own; an evaluation that is repeated writes the same bytes."""
    if training.directory is None or not training.config.eval.keep_sample_errors:
        return
    epoch, codes = training.state.epoch + 1, tuple(str(score.arch) for score in result.scores)
    errors, pixels = result.sample_epe.numpy().astype(np.float32), result.valid_pixels.numpy()
    content = SampleErrors(codes, errors, pixels, eval_set, epoch).to_bytes()
    training.directory.write_file(sample_errors_name(epoch, tier), content)


def choose_best(training: Training, result: PoolEvaluation) -> None:
    """Update the best evaluation and the patience of early stopping."""
    state, config, console = training.state, training.config.eval, training.console
    value = records.criterion(training.config, result)
    if not math.isfinite(value):
        console.warn(f"epoch {state.epoch + 1}: the pool's EPE is {value}, so it cannot be the best")
    reference = state.value_of_last_gain
    gained = math.isfinite(value) and (reference is None or value < reference - config.early_stop_min_delta)
    state.evaluations_without_gain = 0 if gained else state.evaluations_without_gain + 1
    state.value_of_last_gain = value if gained else reference
    if config.early_stop_patience is not None and state.evaluations_without_gain >= config.early_stop_patience:
        state.stopped_early = True
        console.info(
            f"early stop after epoch {state.epoch + 1}: {state.evaluations_without_gain} evaluations without a gain of "
            f"more than {config.early_stop_min_delta:g} px (eval.early_stop_patience {config.early_stop_patience})"
        )
    if math.isfinite(value) and (state.best is None or value < state.best.value):
        # The checkpoint is named before it is written: the commit at the end of finish_epoch stores both together.
        name = Position(state.step, state.epoch + 1, 0).name
        state.best = Best(value, state.epoch + 1, name, config.best_by, training.evaluator.eval_set.hash)


def log_epoch(training: Training, facts: dict[str, Any], times: dict[str, Any], evaluated: bool) -> None:
    """Numbers to events.jsonl, times to timing.jsonl, rows for people to the CSV files."""
    directory = training.directory
    if directory is None:
        return
    directory.events.append({"event": "evaluation" if evaluated else "epoch", **facts})
    directory.timing.append({"what": "epoch", **times, "laps": training.clock.since("epoch")})
    row = {**facts, **times}
    directory.training.append({name: format_value(name, row.get(name)) for name in TRAINING_HISTORY_COLUMNS})
    numbers = {f"epoch/{name}": value for name, value in row.items() if isinstance(value, (int, float))}
    training.tracker.scalars(training.state.step, numbers)
    for option in option_rows(training.task.net.space, facts["epoch"], facts.get("options", {})):
        directory.per_option.append({name: format_value(name, option[name]) for name in PER_OPTION_COLUMNS})
        tag = f"options/{option['block']} {option['meaning']}"
        training.tracker.scalars(training.state.step, {tag: option["train_loss_relative"]})
    if evaluated:
        size = len(facts["epes"])
        for tier in TIERS:
            if f"{tier}epes" in facts:
                row[f"{tier}arch_rank_{size}"] = rank_string(facts[f"{tier}epes"], facts[f"{tier}ranks"])
        directory.history.append({name: format_value(name, row.get(name)) for name in columns(size)})


def show_pool(training: Training, row: dict[str, Any], result: PoolEvaluation, *average: PoolEvaluation) -> None:
    """Per-arch rows, TensorBoard, pictures and report; ``row`` has the facts and times of the epoch."""
    step, tracker = training.state.step, training.tracker
    if (directory := training.directory) is not None:
        for index, score in enumerate(result.scores):
            own = {"epoch": row["epoch"], "arch_index": index, "epe": score.epe, "code": str(score.arch)}
            own["epe_ema"] = average[0].scores[index].epe if average else None
            directory.per_arch.append({name: format_value(name, own[name]) for name in PER_ARCH_COLUMNS})
    tracker.scalars(step, {f"arch_epe/{i:02d} {score.arch}": score.epe for i, score in enumerate(result.scores)})
    show_evaluation(training, result)
