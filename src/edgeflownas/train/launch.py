"""From a configuration or a run directory to a running loop: checks first, then the run directory, then fit."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import Interrupted
from edgeflownas.evaluate.rank_statistics import rank_order
from edgeflownas.train.distributed import connect
from edgeflownas.train.evaluation import Evaluator
from edgeflownas.train.fit import fit
from edgeflownas.train.job import EpochClock, Front, Job
from edgeflownas.train.opening import (
    Opened,
    freeze_eval_set,
    open_fork,
    open_new,
    open_resumed,
    run_config,
    step_events,
    stored_fingerprints,
)
from edgeflownas.train.prepared import LaunchOptions, LogSink, Prepared
from edgeflownas.train.preview import check_target, preview
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import (
    build_net,
    check_precision,
    choose_device,
    loading,
    memory_in_words,
    open_splits,
    run_space,
    set_arithmetic,
)
from edgeflownas.train.signals import StopFlag
from edgeflownas.train.state import TrainState
from edgeflownas.train.tasks import SupernetTask

__all__ = ["launch"]


@memory_in_words()
def launch(config: Config | None, options: LaunchOptions, front: Front) -> int:
    """Start a run from ``config``, or resume or fork the run directory of ``options``.  Returns the exit code 0.

    Raises UserError for everything a user can mend; Interrupted after a commit when asked to stop.
    """
    with StopFlag.at_once():
        return _launch(config, options, front)


def _launch(config: Config | None, options: LaunchOptions, front: Front) -> int:
    if config is None:
        assert options.resume is not None
        config = run_config(options.resume, options.overrides or [], options.fork)
    device, note = choose_device(config.train.gpu_device)
    world = connect(device.type == "cuda")
    try:
        if world.size > 1:
            device, note = choose_device(config.train.gpu_device, world.local_rank, world.size)
        log = LogSink()
        console = front.console(log if world.is_main else None)
        console.info(note)
        check_precision(config, device)
        console.info(set_arithmetic(config))
        previous = stored_fingerprints(options.resume) if options.resume and not options.fork else None
        splits = open_splits(config, console.info, console.warn, previous, make_cache=not options.dry_run)
        space = run_space(config)
        plan = BatchPlan.from_config(config.train, len(splits.train), space.num_paths, config.runtime.seed)
        eval_set = freeze_eval_set(config, splits, console.info)
        if options.dry_run:
            check_target(config, options.resume, options.fork, splits, plan)
            if world.is_main:
                _show_preview(preview(config, space, plan, eval_set, splits), options.json)
            return 0
        task = SupernetTask(build_net(config, device), config.train, config.runtime.seed, world, device)
        return _run(Prepared(config, options, splits, plan, eval_set, task, world, front, console, log))
    finally:
        world.close()


def _show_preview(table: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(table, indent=2) if as_json else "\n".join(f"{name:34} {value}" for name, value in table.items()))


def _run(prepared: Prepared) -> int:
    """Open the run directory (rank 0), give every rank its state, and train."""
    world, task = prepared.world, prepared.task
    with ExitStack() as stack:
        opened: Opened | None = None
        if world.is_main:
            opened = _open(prepared)
            stack.callback(opened.close)
            stack.callback(prepared.log.attach, None)
            prepared.log.attach(opened.run.log.append)
        state = TrainState.from_json(world.share_json(opened.state.to_json() if opened else None))
        for tensors in task.tensors().values():
            world.share_tensors(tensors)
        job = _job(prepared, opened.run if opened else None, state)
        stack.callback(job.loader.close)
        stack.callback(job.tracker.close)
        return _train(job, state, prepared.options.json)


def _open(prepared: Prepared) -> Opened:
    if prepared.options.fork is not None:
        return open_fork(prepared)
    return open_new(prepared) if prepared.options.resume is None else open_resumed(prepared)


def _job(prepared: Prepared, run: RunDirectory | None, state: TrainState) -> Job:
    config, task, world = prepared.config, prepared.task, prepared.world
    stop = StopFlag(prepared.options.max_seconds or config.runtime.max_seconds)
    seed = config.runtime.seed
    data = loading(config, prepared.console.info)
    loader = Loader(prepared.splits.train, prepared.plan, data, seed, stop.requested)
    folder = (run.path if run else Path(config.runtime.output_root)) / "tensorboard"
    resumed_at = state.step + 1 if state.step else None
    curves = config.runtime.tensorboard and run is not None and not state.finished
    tracker = prepared.front.tracker(folder, curves, resumed_at)
    archs = [task.net.space.parse(code) for code in prepared.eval_set.pool]
    splits = prepared.splits
    return Job(
        config=config,
        space=task.net.space,
        plan=prepared.plan,
        task=task,
        loader=loader,
        evaluator=Evaluator(
            archs, prepared.eval_set, splits.train, splits.val, task.net, world, config.data.flow_divisor
        ),
        run=run,
        console=prepared.console,
        tracker=tracker,
        stop=stop,
        world=world,
        front=prepared.front,
        clock=EpochClock(loader),
        steps=world.share_json([] if run is None else step_events(run, state.epoch + 1)),
    )


def _train(job: Job, state: TrainState, as_json: bool) -> int:
    console, run = job.console, job.run
    if state.finished:
        console.info(f"nothing left to train: {state.epoch} of {state.num_epochs} epochs are done")
    outcome = "finished"
    try:
        fit(job, state)
    except Interrupted:
        outcome = "interrupted"
        raise
    finally:
        if run is not None and as_json and (outcome == "interrupted" or state.finished):
            print(json.dumps(_result(job, state, outcome)), flush=True)
    if state.last_epes:
        rows = [(arch, i, epe) for i, (arch, epe) in enumerate(zip(job.evaluator.archs, state.last_epes, strict=True))]
        console.pool_table(rows, job.space, state.last_zero_flow_epe)
    if run is not None:
        names = ("eval_history.csv", "per_arch_epe.csv", "events.jsonl", "eval_set.json", "train.log")
        console.wrote({"run": run.path, **{name: run.path / name for name in names}})
    return 0


def _result(job: Job, state: TrainState, outcome: str) -> dict[str, Any]:
    assert job.run is not None
    pool = [
        {"rank": rank, "arch_index": i, "code": str(job.evaluator.archs[i]), "epe": state.last_epes[i]}
        for rank, i in enumerate(rank_order(state.last_epes), start=1)
    ]
    return {
        "run": str(job.run.path),
        "state": outcome,
        "step": state.step,
        "epoch": state.epoch,
        "num_epochs": state.num_epochs,
        "best": state.to_json()["best"],
        "zero_flow_epe": state.last_zero_flow_epe,
        "pool": pool,
    }
