"""From a configuration or a run directory to a running loop: checks first, then the run directory, then fit."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.config import Config
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import Interrupted
from edgeflownas.evaluate.rank_statistics import rank_order
from edgeflownas.train.clock import EpochClock
from edgeflownas.train.distributed import World, connect
from edgeflownas.train.evaluation import Evaluator
from edgeflownas.train.fit import fit
from edgeflownas.train.group import create_group, group_config, is_group, member_configs, write_comparison
from edgeflownas.train.initial import read_initial
from edgeflownas.train.job import Front, Job
from edgeflownas.train.opening import (
    Opened,
    freeze_eval_set,
    open_fork,
    open_new,
    open_resumed,
    run_config,
    stored_fingerprints,
)
from edgeflownas.train.prepared import LaunchOptions, LogSink, Prepared
from edgeflownas.train.preview import check_target, preview
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import (
    Splits,
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
from edgeflownas.train.teacher import find_teacher, make_teacher

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

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
        config = _stored_config(options.resume, options)
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
        models = member_configs(config)
        previous = None
        if options.resume is not None and not options.fork:
            previous = stored_fingerprints(options.resume / next(iter(models)))
        splits = open_splits(config, console.info, console.warn, previous, make_cache=not options.dry_run)
        plan = BatchPlan.from_config(config.train, len(splits.train), run_space(config).num_paths, config.runtime.seed)
        if options.dry_run:
            return _dry_run(models, options, splits, plan, console, world)
        prepared = []
        for own in models.values():
            if options.resume is None:
                read_initial(own)  # what cannot be read is refused before there is a folder
        found = find_teacher(config, console.warn, _taught_by(options, models))
        for name, own in models.items():
            task = SupernetTask(build_net(own, device), own.train, own.runtime.seed, world, device)
            task.teacher = make_teacher(found, own, splits, device, task.dtype) if found else None
            eval_set = freeze_eval_set(own, splits, console.info)
            own_options = _member_options(options, name)
            parts = (splits, plan, eval_set, task, world, front, console, log)
            prepared.append(Prepared(own, own_options, *parts, model=name))
        if world.is_main and "" not in models and options.resume is None:
            create_group(config)
        return _run(prepared, options.json)
    finally:
        world.close()


def _taught_by(options: LaunchOptions, models: Mapping[str, Config]) -> str | None:
    """Name of the teacher's checkpoint that the run to go on with began with."""
    if options.resume is None or not (folder := options.resume / next(iter(models))).exists():
        return None
    facts = RunDirectory.open(folder).manifest.get("teacher")
    return None if facts is None else str(facts["checkpoint"])


def _stored_config(path: Path, options: LaunchOptions) -> Config:
    """The configuration of the run or group to resume or fork."""
    overrides = options.overrides or []
    if is_group(path):
        return group_config(path, overrides, options.fork)
    return run_config(path, overrides, options.fork, options.overlay)


def _member_options(options: LaunchOptions, name: str) -> LaunchOptions:
    """A model of a group is resumed in its own folder, or begun where the group was interrupted before."""
    if not name or options.resume is None:
        return options
    folder = options.resume / name
    return replace(options, resume=folder if folder.exists() else None)


def _dry_run(
    models: Mapping[str, Config],
    options: LaunchOptions,
    splits: Splits,
    plan: BatchPlan,
    console: Console,
    world: World,
) -> int:
    """Check every model and show what each would do and need."""
    tables = {}
    for name, config in models.items():
        eval_set = freeze_eval_set(config, splits, console.info)
        own = _member_options(options, name)
        check_target(config, own, splits, plan)
        tables[name] = preview(config, run_space(config), plan, eval_set, splits)
    if world.is_main:
        _show_preview(tables.get("", tables), options.json)
    return 0


def _show_preview(table: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(table, indent=2))
        return
    for name, value in table.items():
        if isinstance(value, dict):
            print(f"{name}:")
            _show_preview(value, False)
        else:
            print(f"{name:34} {value}")


def _run(models: Sequence[Prepared], as_json: bool) -> int:
    """Open the run directories (rank 0), give every rank their states, and train."""
    first = models[0]
    config = first.config
    with ExitStack() as stack:
        stop = StopFlag(first.options.max_seconds or config.runtime.max_seconds)
        data = loading(config, first.console.info)
        loader = Loader(first.splits.train, first.plan, data, config.runtime.seed, stop.requested)
        stack.callback(loader.close)
        stack.callback(first.log.detach)
        jobs: list[tuple[Job, TrainState]] = []
        for prepared in models:
            opened: Opened | None = None
            if prepared.world.is_main:
                opened = _open(prepared)
                stack.callback(opened.close)
                prepared.log.attach(opened.run.log.append)
            state = TrainState.from_json(prepared.world.share_json(opened.state.to_json() if opened else None))
            for tensors in prepared.task.tensors().values():
                prepared.world.share_tensors(tensors)
            like = jobs[0][0].evaluator if jobs else None
            job = _job(prepared, opened.run if opened else None, state, loader, stop, like)
            stack.callback(job.tracker.close)
            jobs.append((job, state))
        if first.model and first.world.is_main:
            names = [job.model for job, _ in jobs]
            for job, _ in jobs:
                job.epoch_ended = functools.partial(write_comparison, Path(config.runtime.output_root), names)
        return _train(jobs, as_json)


def _open(prepared: Prepared) -> Opened:
    if prepared.options.fork is not None:
        return open_fork(prepared)
    return open_new(prepared) if prepared.options.resume is None else open_resumed(prepared)


def _job(
    prepared: Prepared,
    run: RunDirectory | None,
    state: TrainState,
    loader: Loader,
    stop: StopFlag,
    like: Evaluator | None,
) -> Job:
    config, task, world = prepared.config, prepared.task, prepared.world
    splits = prepared.splits
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
            archs, prepared.eval_set, splits.train, splits.val, task.net, world, config.data.flow_divisor, like
        ),
        run=run,
        console=prepared.console,
        tracker=tracker,
        stop=stop,
        world=world,
        front=prepared.front,
        clock=EpochClock(loader),
        steps=world.share_json([] if run is None else run.step_events(state.epoch + 1)),
        model=prepared.model,
    )


def _train(jobs: Sequence[tuple[Job, TrainState]], as_json: bool) -> int:
    for job, state in jobs:
        if state.finished:
            job.console.info(f"nothing left to train: {state.epoch} of {state.num_epochs} epochs are done")
    outcome = "finished"
    try:
        fit(jobs)
    except Interrupted:
        outcome = "interrupted"
        raise
    finally:
        over = outcome == "interrupted" or all(state.finished for _, state in jobs)
        if as_json and over and jobs[0][0].run is not None:
            results = [_result(job, state, outcome) for job, state in jobs]
            print(json.dumps({"models": results} if jobs[0][0].model else results[0]), flush=True)
    for job, state in jobs:
        _show_end(job, state)
    return 0


def _show_end(job: Job, state: TrainState) -> None:
    """The pool's last ranking and what was written."""
    if state.last_epes:
        rows = [(arch, i, epe) for i, (arch, epe) in enumerate(zip(job.evaluator.archs, state.last_epes, strict=True))]
        job.console.pool_table(rows, job.space, state.last_zero_flow_epe, state.last_ranks, state.last_margins)
    if job.run is not None:
        path = job.run.path
        names = ("eval_history.csv", "per_arch_epe.csv", "events.jsonl", "eval_set.json", "train.log")
        written = {"run": path, **{name: path / name for name in names}}
        if job.model:
            written["comparison.csv"] = path.parent / "comparison.csv"
        job.console.wrote(written)


def _result(job: Job, state: TrainState, outcome: str) -> dict[str, Any]:
    assert job.run is not None
    epes, ranks, margins = state.last_epes, state.last_ranks, state.last_margins
    pool = [
        {
            "rank": ranks[i] if ranks else place,
            "arch_index": i,
            "code": str(job.evaluator.archs[i]),
            "epe": epes[i],
            "epe_margin": margins[i] if margins else None,
        }
        for place, i in enumerate(rank_order(epes), start=1)
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
