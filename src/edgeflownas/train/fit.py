"""The one training loop.

Position is (epoch, batch); everything a step needs is a pure function of it, so the loop can be left and entered
anywhere.  Once in a while it commits; at the end of an epoch it evaluates, logs and commits.  The state only ever
changes after a step is complete: whoever abandons a step (a signal, the clock) leaves no trace.

Several models on the same batches take turns, the one that is furthest behind first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeflownas.data.loader import Batch
from edgeflownas.errors import DataError, Interrupted, NonFiniteError, StorageError
from edgeflownas.train.epoch_end import finish_epoch
from edgeflownas.train.faults import crash_point
from edgeflownas.train.job import Job
from edgeflownas.train.monitor import log_reading, reading_due
from edgeflownas.train.state import TrainState
from edgeflownas.train.summary import step_event
from edgeflownas.train.tasks import StepOutput, StopRequested

if TYPE_CHECKING:
    from edgeflownas.report.console import Meter

__all__ = ["fit"]


def fit(models: Sequence[tuple[Job, TrainState]]) -> None:
    """Train every model until its plan is fulfilled, early stopping ends it, or a stop is requested.

    Raises:
        Interrupted: after a commit, when a signal or the time limit asked to stop.
        NonFiniteError: train.max_nonfinite_steps dropped steps in a row.
        DataError: a sample that cannot be used (data.on_bad_sample stop), or too many quarantined.
    """
    first = models[0][0]
    total = sum(state.num_epochs * job.plan.steps_per_epoch for job, state in models)
    try:
        with first.stop.listening(), first.console.progress(total, steps_done(models)) as meter:
            while unfinished := [model for model in models if not model[1].finished]:
                job, state = min(unfinished, key=lambda model: (model[1].epoch, model[1].batch))
                if state.batch == job.plan.steps_per_epoch:
                    finish_epoch(job, state, meter)
                    continue

                batch = next_batch(job, state)
                rate = job.rate(state)
                reading = reading_due(job, state, batch)
                crash_point("step.started")
                with job.clock.lap("step"):
                    output = job.task.step(batch, state.step, rate, job.stop.check)
                crash_point("step.applied")
                advance(state, batch, output)
                if reading is not None:
                    log_reading(job, reading)
                record(job, state, batch, output, rate)
                show(job, state, output, rate, meter, steps_done(models))
                crash_point("step.logged")

                # Once in a while: make it durable (the end of an epoch commits anyway).
                every = job.config.checkpoint.every_steps
                if every and state.step % every == 0 and state.batch < job.plan.steps_per_epoch:
                    job.commit(state)
    except (StopRequested, Interrupted) as stop:
        done = ", ".join(f"step {state.step} as {job.commit(state)}" for job, state in models)
        first.world.barrier()
        reason = first.stop.reason or str(stop) or "another rank was asked to stop"
        raise Interrupted(f"{reason}: committed {done}; resume to go on") from None


def steps_done(models: Sequence[tuple[Job, TrainState]]) -> int:
    """Steps of all models together."""
    return sum(state.step for _, state in models)


def next_batch(job: Job, state: TrainState) -> Batch:
    """The batch of the next step.  Raises StopRequested on every rank where one is asked to stop while it waits.

    What cannot be loaded ends the run; the steps before it are committed first.
    """
    try:
        return job.loader.next_batch(state.epoch, state.batch)
    except Interrupted:
        job.task.abandon()
    except (DataError, StorageError):
        job.commit(state)
        raise


def advance(state: TrainState, batch: Batch, output: StepOutput) -> None:
    """Move past a step.  Its draws count as seen whether it was accepted or dropped."""
    state.step += 1
    state.batch += 1
    state.seen += len(batch.indices)
    state.accepted += output.accepted
    state.nonfinite_in_a_row = 0 if output.accepted else state.nonfinite_in_a_row + 1


def record(job: Job, state: TrainState, batch: Batch, output: StepOutput, rate: float) -> None:
    """Log a step; stop the run where the limits on bad samples or non-finite steps are passed."""
    quarantine(job, state, batch)
    event = step_event(state, batch, output, rate, job.task.expected_clip_checks(len(batch.indices)))
    job.steps.append(event)
    if job.run is not None:
        job.run.events.append(event)
    job.clock.drawn += len(batch.indices)
    draw_curves(job, event, output)
    if not output.accepted:
        job.console.warn(f"step {state.step} dropped: non-finite loss or gradient, samples {', '.join(batch.names)}")
    limit = job.config.train.max_nonfinite_steps
    if state.nonfinite_in_a_row >= limit:
        job.commit(state)
        raise NonFiniteError(
            f"{state.nonfinite_in_a_row} steps in a row had a non-finite loss or gradient (train.max_nonfinite_steps "
            f"{limit}), the last one step {state.step} with samples {', '.join(batch.names)}; events.jsonl names the "
            "others. Check them with `edgeflownas data check --full`, or fork from an earlier checkpoint with a lower "
            "train.lr"
        )


def show(job: Job, state: TrainState, output: StepOutput, rate: float, meter: Meter, done: int) -> None:
    """Move the progress on."""
    epe = sum(state.last_epes) / len(state.last_epes) if state.last_epes else None
    meter.update(done, loss=output.loss, lr=rate, epe=epe, **job.clock.figures())


def draw_curves(job: Job, event: Mapping[str, Any], output: StepOutput) -> None:
    """A point of the training curves, and the files handed to the disk, each every so many steps."""
    step, runtime = int(event["step"]), job.config.runtime
    if step % runtime.summary_every == 0:
        scalars = {name: event[name] for name in ("lr", "loss", "loss_optical", "loss_uncertainty")}
        scalars |= {"loss_feature": event["loss_feature"]} if "loss_feature" in event else {}
        scalars |= {"grad_norm": max(output.grad_norms), "clip_rate": output.clip_count / len(output.grad_norms)}
        job.tracker.scalars(step, {f"train/{name}": value for name, value in scalars.items()})
    if step % runtime.summary_flush_every == 0:
        job.tracker.flush()


def quarantine(job: Job, state: TrainState, batch: Batch) -> None:
    """Count bad samples when they are consumed (prefetching runs ahead), log each once, and hold the cap."""
    for row in batch.replaced:
        if row.bad_name in state.quarantined:
            continue
        state.quarantined.append(row.bad_name)
        job.console.warn(f"sample {row.bad_name} quarantined, replaced by {row.by_name}: {row.reason}")
        if job.run is not None:
            fact = {"step": state.step, "sample": row.bad_name, "replaced_by": row.by_name, "reason": row.reason}
            job.run.quarantine.append(fact)
        share = job.config.data.quarantine_cap
        cap = max(1, int(share * job.plan.num_samples))
        if len(state.quarantined) > cap:
            raise DataError(
                f"{len(state.quarantined)} training samples are unreadable, data.quarantine_cap {share:g} "
                f"allows {cap} of {job.plan.num_samples}; the last: {row.reason}. Repair them (`edgeflownas data check "
                "--full` lists all) or raise data.quarantine_cap"
            )
