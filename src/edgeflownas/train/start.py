"""The one way into training: a new run, a resumed one, a fork, a warm start or a dry run; checks first, then the disk.

``train.init_from`` starts a new run from another run's weights, never from its optimiser or its position.  Other data,
another crop, another plan: everything but the network may differ from the source, which is what sets a warm start
apart from a fork (same experiment, other dynamics).  One subnet may start from a supernet: it takes the tensors of its
own name, and its batch norm is recalibrated, because the supernet's buffers are those of all subnets.  So is frozen
batch norm, unless the source's is frozen too: buffers that follow the batches of training are noisier than the
statistics the source is evaluated with, and these never move again.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgeflownas.config import Config
from edgeflownas.config.load import dump_config, load_config, parse_overrides
from edgeflownas.data.loader import Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError, Interrupted, StorageError
from edgeflownas.evaluate.calibration import set_buffers
from edgeflownas.evaluate.frozen import FrozenBatches
from edgeflownas.evaluate.noise import rank_order
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.files import canonical_json
from edgeflownas.models.blocks import number_batchnorms
from edgeflownas.models.flownet import widened
from edgeflownas.run import manifest, setup
from edgeflownas.run.checkpoint import Checkpoint, Position, TrainState
from edgeflownas.run.directory import GROUP, RunDirectory, refuse_existing
from edgeflownas.run.run import Run
from edgeflownas.run.setup import Note, Splits, run_space, silent
from edgeflownas.run.weights import is_weights
from edgeflownas.space import get_space
from edgeflownas.train.also import open_also
from edgeflownas.train.evaluator import Evaluator
from edgeflownas.train.loop import EpochClock, Front, Training, fit
from edgeflownas.train.machine import StopFlag, connect
from edgeflownas.train.measure import preview
from edgeflownas.train.plan import batch_plan, learning_rate, rate_warning
from edgeflownas.train.records import write_comparison
from edgeflownas.train.step import SupernetTask, Teacher

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

ORIGINS = ("forked_from", "imported_from", "initialised_from")  # manifest entries of weights made elsewhere
PLAN_NEEDED = (
    "train.num_epochs {} differs from the run's {}, which changes the learning rate of every step: add "
    "--train.lr_plan keep (the old plan, then its floor) or --train.lr_plan restretch (same samples seen, new plan)"
)
# What decides names and shapes of the weights, and what images they were made for.
SAME_WEIGHTS = ("train.space", "train.width", "train.input_normalisation", "data.channel_order", "data.flow_divisor")


@dataclass(frozen=True)
class Options:
    """What the command line says beside the configuration."""

    resume: Path | None = None
    fork: str | None = None
    checkpoint: str = "latest"  # which one a fork starts from
    overlay: str | None = None  # recipe whose keys go over those of the run that is forked
    reset_optimizer: bool = False
    dry_run: bool = False
    max_seconds: float | None = None
    json: bool = False
    overrides: Sequence[str] = ()


Members = dict[str, tuple[Config, Options]]  # models of a group by name, one without a name


class LogSink:
    """Console lines for the train.log of every model; ``early`` are those said before the first of them exists."""

    def __init__(self) -> None:
        self.early: list[str] = []
        self.writers: list[Note] = []

    def __call__(self, line: str) -> None:
        """Keep or write one line, with the time of day."""
        stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} | {line}"
        for write in self.writers or [self.early.append]:
            write(stamped)


@manifest.memory_in_words()
def launch(config: Config | None, options: Options, front: Front) -> None:
    """Train what ``config``, or the run directory of ``options``, describes.

    Raises UserError for everything a user can mend; Interrupted after a commit when asked to stop.
    """
    with StopFlag.at_once(), begin(config, options, front) as models:
        if not models:
            return
        for training in models:
            state = training.state
            if state.finished:
                training.console.info(f"nothing left to train: {state.epoch} of {state.num_epochs} epochs are done")
        outcome = "finished"
        try:
            fit(models)
        except Interrupted:
            outcome = "interrupted"
            raise
        finally:
            over = outcome == "interrupted" or all(training.state.finished for training in models)
            if options.json and over and models[0].directory is not None:
                results = [_result(training, outcome) for training in models]
                print(json.dumps({"models": results} if models[0].model else results[0]), flush=True)
        for training in models:
            _show_end(training)


@contextmanager
def begin(config: Config | None, options: Options, front: Front) -> Iterator[list[Training]]:
    """The models to train, their run directories locked, each where its last commit ended.

    Several models of one group share data, batches and signals; a single run is a group of one without a name.  A dry
    run checks everything, shows what would be done, and gives no model.  ``config`` is that of a new run, None to go on
    with ``options.resume`` or to fork it.

    Raises ConfigError, DataError or StorageError: before anything is made, wherever that can be told.
    """
    if config is None:
        assert options.resume is not None
        config = stored_config(options.resume, options)
    device, note = manifest.choose_device(config.train.gpu_device)
    with ExitStack() as stack:
        world = connect(device.type == "cuda")
        stack.callback(world.close)
        if world.size > 1:
            device, note = manifest.choose_device(config.train.gpu_device, world.local_rank, world.size)
        log = LogSink()
        console = front.console(log if world.is_main else None)
        console.info(note)
        manifest.check_precision(config, device)
        console.info(manifest.set_arithmetic(config))
        members: Members = {}
        for name, own in setup.member_configs(config).items():
            # A model of a group is resumed in its own folder, or begun where the group was interrupted before.
            folder = options.resume and options.resume / name
            members[name] = own, replace(options, resume=folder if folder and folder.exists() else None)
        first = options.resume and options.resume / next(iter(members))
        previous = None if options.fork or first is None else setup.stored_fingerprints(first)
        splits = setup.open_splits(config, console.info, console.warn, previous, make_cache=not options.dry_run)
        plan, also = batch_plan(config, len(splits.train)), open_also(config)
        if options.dry_run:
            tables = _dry_run(members, splits, plan, console)
            if world.is_main:
                _show_preview(tables.get("", tables), options.json)
            yield []
            return

        for own, _ in members.values():
            if options.resume is None:
                read_initial(own)  # what cannot be read is refused before there is a folder
        begun = RunDirectory(first).manifest if first is not None and first.exists() else {}
        teacher = Teacher.find(config, console.warn, begun.get("teacher", {}).get("checkpoint"))
        models = []
        for name, (own, _) in members.items():
            task = SupernetTask(setup.build_net(own, device), own.train, own.runtime.seed, world, device)
            task.teacher = teacher.ready(own, splits, device, task.dtype) if teacher else None
            eval_set = setup.freeze_eval_set(own, splits, console.info)
            epochs = own.train.num_epochs
            state = TrainState(plan.draws_per_epoch * epochs, epochs, eval_set=eval_set.hash)
            models.append(Training(own, plan, splits, eval_set, task, state, console, front, name, also=also))
        if world.is_main and config.train.arch_name and options.resume is None:
            setup.create_group(config)
        stop = StopFlag(options.max_seconds or config.runtime.max_seconds)
        loading = setup.loading(config, console.info)
        loader = Loader(splits.train, plan, loading, config.runtime.seed, stop.requested)
        stack.callback(loader.close)
        stack.callback(log.writers.clear)
        for training in models:
            training.stop, training.loader = stop, loader
            like = None if training is models[0] else models[0].evaluator
            enter(training, members[training.model][1], stack, log, like)
            stack.callback(training.tracker.close)
            if world.is_main and config.train.arch_name:
                group = Path(config.runtime.output_root, config.runtime.experiment_name)
                training.epoch_ended = functools.partial(write_comparison, group, list(members))
        yield models


def stored_config(path: Path, options: Options) -> Config:
    """The configuration of the run or group to resume or fork, with overrides on top; a fork gets its own name.

    The keys that the recipe ``options.overlay`` writes go between the two (forks only).  Raises ConfigError where
    num_epochs changes and nobody says what that means for the learning rate, and for imported weights.
    """
    overrides = list(options.overrides)
    if (path / GROUP).is_file():
        return setup.group_config(path, overrides, options.fork)
    if (source := RunDirectory(path).manifest.get("imported_from")) is not None:
        raise ConfigError(
            f"{path} holds weights imported from {source['file']}: there is no plan and no optimiser state to go on "
            "from; it can be evaluated (edgeflownas evaluate)"
        )
    given = dict(parse_overrides(overrides)[0])
    if options.fork is not None:
        if "runtime.experiment_name" in given:
            raise ConfigError("--fork and --runtime.experiment_name both name the new run: give --fork alone")
        beside = [] if "runtime.output_root" in given else ["--runtime.output_root", str(path.parent)]
        words = [*overrides, *beside, "--runtime.experiment_name", options.fork]
        return load_config(path / "config.yaml", words, options.overlay)
    before, config = load_config(path / "config.yaml"), load_config(path / "config.yaml", overrides)
    if config.train.num_epochs != before.train.num_epochs and "train.lr_plan" not in given:
        raise ConfigError(PLAN_NEEDED.format(config.train.num_epochs, before.train.num_epochs))
    return config


def enter(training: Training, options: Options, stack: ExitStack, log: LogSink, like: Evaluator | None) -> None:
    """Open the run directory on rank 0, locked until ``stack`` ends, and give every rank its state.

    ``like`` is the evaluator of another model on the same samples.
    """
    config, task, world = training.config, training.task, training.task.world
    if world.is_main:
        now = _manifest(config, training.splits, training.plan, task.teacher, str(task.device))
        frozen = training.eval_set
        now["eval_set"] = {"hash": frozen.hash, "pool": list(frozen.pool), "coverage": frozen.coverage}
        take_up = _new if options.resume is None else _resume if options.fork is None else _fork
        directory = take_up(training, now, options, stack)
        for line in log.early:
            directory.log.append(line)
        log.writers.append(directory.log.append)
        training.directory = directory
    state = training.state = TrainState.from_json(world.share_json(training.state.to_json()))
    for tensors in task.tensors().values():
        world.share_tensors(tensors)
    done = state.epoch * training.plan.steps_per_epoch + state.batch
    if like is None and (dead := rate_warning(config.train, training.plan, done, state.planned)) is not None:
        training.console.warn(dead)  # once for all models of a group
    logged = training.directory.step_events(state.epoch + 1) if training.directory else []
    training.evaluator = Evaluator(training.eval_set, training.splits, task, config.data.flow_divisor, like)
    folder = (training.directory.path if training.directory else Path(config.runtime.output_root)) / "tensorboard"
    curves = config.runtime.tensorboard and training.directory is not None and not state.finished
    training.tracker = training.front.tracker(folder, curves, state.step + 1 if state.step else None)
    training.clock = EpochClock(training.loader)
    training.steps = world.share_json(logged)
    ended = training.directory.epoch_events() if training.directory else []
    levels = [row["grad_norm_p90"] for row in ended]
    training.norm_levels = world.share_json([float(level) for level in levels if level is not None])


def _manifest(
    config: Config, splits: Splits, plan: BatchPlan, teacher: Teacher | None, device: str = "cpu"
) -> dict[str, Any]:
    """Facts of run_manifest.json that a resume compares."""
    prints = {"train": splits.train_print, "val": splits.val_print}
    facts = manifest.build_manifest(config, prints, run_space(config), plan, manifest.environment(device))
    return facts if teacher is None else facts | {"teacher": teacher.facts}


def _new(training: Training, now: dict[str, Any], options: Options, stack: ExitStack) -> RunDirectory:
    """A fresh run directory.  Raises StorageError where it exists or train.init_from cannot be read."""
    console, plan = training.console, now["plan"]
    if (initial := read_initial(training.config, console.warn)) is not None:
        now["initialised_from"] = _take_weights(training, *initial)
    directory = _create(training, now, stack)
    console.info(f"run {directory.path}: {plan['num_epochs']} epochs of {plan['steps_per_epoch']} steps")
    if initial is not None:
        console.info(f"weights of {initial[1]['checkpoint']} of {initial[1]['run']}, fresh optimiser")
    return directory


def _fork(training: Training, now: dict[str, Any], options: Options, stack: ExitStack) -> RunDirectory:
    """A new run from a checkpoint of another: new plan with seen = 0, Adam's state kept unless reset."""
    assert options.resume is not None
    source = RunDirectory(options.resume, training.console.warn)
    changes = manifest.compare(source.manifest, now)
    manifest.refuse([change for change in changes if change.kind == "identity"])
    checkpoint = source.load(options.checkpoint)
    training.task.load(checkpoint.tensors, with_optimizer=not options.reset_optimizer)
    now["forked_from"] = {
        "run": str(source.path),
        "name": source.path.resolve().name,
        "id": source.id,
        "checkpoint": checkpoint.name,
        "hash": checkpoint.hash,
        "step": checkpoint.position.step,
        "epoch": checkpoint.position.epoch,
        "optimizer": "reset" if options.reset_optimizer else "kept",
        "changed": [f"{d.key}: {d.run_value} -> {d.now_value}" for d in changes if d.kind == "dynamics"],
    }
    directory = _create(training, now, stack)
    training.console.info(f"run {directory.path}: forked from {checkpoint.name} of {source.path}")
    return directory


def _create(training: Training, now: Mapping[str, Any], stack: ExitStack) -> RunDirectory:
    """Make the run directory, with a first commit of weights that were made elsewhere."""
    config = training.config
    path = Path(config.runtime.output_root, config.runtime.experiment_name)
    directory = RunDirectory.create(path, config.model_dump(mode="json"), now, training.console.warn)
    directory.keep = config.checkpoint.keep
    stack.enter_context(directory.locked())
    _store_session(training, directory)
    directory.resume()
    if any(name in now for name in ORIGINS):
        directory.commit(Position(0, 0, 0), training.state.to_json(), training.task.tensors())
    return directory


def _store_session(training: Training, directory: RunDirectory) -> None:
    """What belongs to this session: data tables and evaluation set."""
    train, val = training.splits.train_print, training.splits.val_print
    directory.write_file(setup.FINGERPRINTS, canonical_json({"train": train.to_json(), "val": val.to_json()}))
    directory.write_file("eval_set.json", canonical_json(training.eval_set.to_json()))


def _resume(training: Training, now: dict[str, Any], options: Options, stack: ExitStack) -> RunDirectory:
    """Go on where the newest verified checkpoint ends.  Raises ConfigError where identity or dynamics keys differ."""
    assert options.resume is not None
    config, console = training.config, training.console
    directory = RunDirectory(options.resume, console.warn)
    changes = manifest.compare(directory.manifest, now, allow={"train.num_epochs"})
    manifest.refuse(changes)
    directory.keep = config.checkpoint.keep
    stack.enter_context(directory.locked())
    checkpoint = directory.resume()
    if checkpoint is not None:
        training.state = TrainState.from_json(checkpoint.state)
        training.task.load(checkpoint.tensors)
    elif any(name in directory.manifest for name in ORIGINS):
        raise StorageError(
            f"{directory.path}: was interrupted before its first commit, so the weights it starts from are not in "
            "it: remove the folder and make it again"
        )
    state = training.state
    # The plan of the last session: it may have brought another one and have ended before it could commit.
    plan = directory.manifest["plan"]
    state.num_epochs, state.planned = plan["num_epochs"], plan["planned_samples"]
    _adopt_plan(training, options)
    now["plan"]["planned_samples"] = state.planned
    # Only here, when nothing can be refused any more, does the run take over what this session brings.
    if _adopt_eval_set(training, directory):
        now |= {name: directory.manifest[name] for name in ORIGINS if name in directory.manifest}
        directory.write_file("config.yaml", dump_config(config).encode())
        directory.write_manifest(now)
        _store_session(training, directory)
    lines = [f"{d.key}: {d.run_value} -> {d.now_value}" for d in changes]
    directory.timing.append({"what": "resumed", "step": state.step, "changed": lines})
    for line in lines:
        console.info(f"changed since this run began: {line}")
    place = f"step {state.step} (epoch {state.epoch + 1}, batch {state.batch})"
    console.info(f"run {directory.path}: resumed at {place}")
    return directory


def _adopt_plan(training: Training, options: Options) -> None:
    """Another number of epochs: what it means for the learning rate was said with train.lr_plan."""
    train, state, console = training.config.train, training.state, training.console
    wanted = train.num_epochs
    if state.num_epochs == wanted:
        if "train.lr_plan" in dict(parse_overrides(list(options.overrides))[0]):
            console.warn(f"train.lr_plan {train.lr_plan} has no effect: train.num_epochs stays {wanted}")
        return
    if train.lr_plan is None:  # config.yaml was edited by hand
        raise ConfigError(PLAN_NEEDED.format(wanted, state.num_epochs))
    begun = state.epoch + (state.batch > 0)
    if begun > wanted:
        raise ConfigError(f"train.num_epochs {wanted} is below the {begun} epochs already done or begun: give as many")
    before = learning_rate(train, state.seen, state.planned)
    if train.lr_plan == "restretch":
        state.planned = training.plan.draws_per_epoch * wanted
    after = learning_rate(train, state.seen, state.planned)
    console.info(
        f"train.num_epochs {state.num_epochs} -> {wanted}, train.lr_plan {train.lr_plan}: learning rate of the "
        f"next step {before:.6e} before, {after:.6e} now"
    )
    state.num_epochs = wanted


def _adopt_eval_set(training: Training, directory: RunDirectory) -> bool:
    """Figures of another evaluation set are not comparable: best, patience and the last ranking start anew.

    Returns False where nothing is left to train: the run then keeps the set its figures were measured on.
    """
    state, eval_set, console = training.state, training.eval_set, training.console
    best_by = training.config.eval.best_by
    if state.eval_set == eval_set.hash and (state.best is None or state.best.criterion == best_by):
        return True
    # The last figures are of other archs, perhaps: not shown as this pool's.
    state.last_epes, state.last_zero_flow_epe, state.last_ranks, state.last_margins = [], None, [], []
    if state.epoch >= state.num_epochs:
        console.warn(
            f"nothing is left to evaluate, so the run keeps its evaluation set {state.eval_set}; `edgeflownas "
            f"evaluate {directory.path}` takes the same eval.* keys"
        )
        return False
    changed = f"the evaluation set changed ({state.eval_set} -> {eval_set.hash})"
    if state.eval_set == eval_set.hash and state.best is not None:  # of a set that eval.set names
        changed = f"eval.best_by changed ({state.best.criterion} -> {best_by})"
    console.warn(f"{changed}: best and early stop start anew")
    state.best, state.eval_set = None, eval_set.hash
    state.evaluations_without_gain, state.value_of_last_gain, state.stopped_early = 0, None, False
    directory.write_best(None)
    return True


@torch.no_grad()
def _take_weights(training: Training, source: Checkpoint, facts: dict[str, Any], copied: bool) -> dict[str, Any]:
    """Put the weights of train.init_from into the task; returns the entry of run_manifest.json."""
    task, net, frozen = training.task, training.task.net, training.eval_set
    tensors = {name: source.tensors["model"][name] for name in task.tensors()["model"]}
    if (width := facts.get("widened_from")) is not None:
        tensors = widened(tensors, task.tensors()["model"], training.config.runtime.seed)
        training.console.info(
            f"weights of width {width} widened to {training.config.train.width}: the flow is the same"
        )
    task.load({"model": tensors}, False)
    if copied:
        return {**facts, "batch_norm": "copied"}
    batches = FrozenBatches.of(net, frozen.calibration, training.splits.train, frozen.flow_clip)
    net.batchnorms = number_batchnorms(net)  # frozen ones are measured this once
    with full_precision():
        set_buffers(net, batches)
    net.batchnorms = number_batchnorms(net, training.config.train.batch_norm == "frozen")
    if task.average is not None:
        task.average.take_buffers(net)
    return {**facts, "batch_norm": f"recalibrated, calibration ids {frozen.calibration_hash}"}


def read_initial(config: Config, warn: Note = silent) -> tuple[Checkpoint, dict[str, Any], bool] | None:
    """The weights train.init_from names, None where it is null.

    A verified checkpoint, where it comes from (for run_manifest.json), and whether batch-norm statistics come from it
    too; else they are recalibrated.  Raises ConfigError for a network of another space, width or arch, StorageError.
    """
    if config.train.init_from is None:
        return None
    place, _, name = config.train.init_from.partition("@")
    run = Run.open(Path(place)) if is_weights(place) else RunDirectory(Path(place), warn)
    own = manifest.config_kinds(run.own) if isinstance(run, Run) else run.manifest["keys"]
    source = own["identity"]
    wanted, defaults = (manifest.config_kinds(one)["identity"] for one in (config, Config()))
    known = defaults | source  # a run of an older version did not know every key
    tasks = known["train.task"], config.train.task
    space, own_width = get_space(config.train.space), known["train.width"]
    # Channel attention looks at neighbouring channels, and the published network is not made of options.
    widens = config.train.width % own_width == 0 and not space.fixed and "edgeflownet" not in tasks
    for key in (*SAME_WEIGHTS, *(["train.task"] if tasks.count("edgeflownet") == 1 else [])):
        if known[key] != wanted[key] and not (key == "train.width" and widens):
            raise ConfigError(
                f"train.init_from {place}: its {key} is {known[key]}, this run's is {wanted[key]}: the weights do not "
                "fit; use the same"
            )
    theirs, ours = ([str(space.parse(c)) for c in codes] for codes in (known["train.arch"], config.train.arch))
    if theirs and theirs != ours:
        raise ConfigError(
            f"train.init_from {place} holds the subnet {theirs[0]} alone, this run trains "
            f"{ours[0] if ours else 'every subnet'}: give a supernet, or a run of the same arch"
        )
    checkpoint = run.checkpoint(name or "latest") if isinstance(run, Run) else run.load(name or "latest", ["model"])
    facts = {"run": str(run.path), "id": run.id, "checkpoint": checkpoint.name, "hash": checkpoint.hash}
    facts |= {"widened_from": own_width} if own_width != config.train.width else {}
    moved_before = config.train.batch_norm == "frozen" and known["train.batch_norm"] != "frozen"
    copied = theirs == ours and not moved_before
    return checkpoint, {**facts, "step": checkpoint.position.step, "optimizer": "none"}, copied


def _dry_run(members: Members, splits: Splits, plan: BatchPlan, console: Console) -> dict[str, Any]:
    """What would be done, by model.  Raises ConfigError or StorageError for what a run directory would refuse."""
    tables = {}
    for name, (config, options) in members.items():
        eval_set = setup.freeze_eval_set(config, splits, console.info)
        resume, fork = options.resume, options.fork
        if resume is None:
            read_initial(config)
            Teacher.find(config)
        if resume is None or fork is not None:
            refuse_existing(Path(config.runtime.output_root, config.runtime.experiment_name))
        if resume is not None:
            run = RunDirectory(resume)
            teacher = Teacher.find(config, begun_with=run.manifest.get("teacher", {}).get("checkpoint"))
            now = _manifest(config, splits, plan, teacher)
            changes = manifest.compare(run.manifest, now, allow=() if fork else {"train.num_epochs"})
            manifest.refuse([change for change in changes if fork is None or change.kind == "identity"])
            if fork is not None:
                run.load(options.checkpoint, [])
        planned, done = None, 0
        if resume is not None and fork is None:
            commit = run.newest_commit()
            at = Position(**commit["position"]) if commit else Position(0, 0, 0)
            done = at.epoch * plan.steps_per_epoch + at.batch
            changed = run.manifest["plan"]["num_epochs"] != config.train.num_epochs
            restretched = changed and config.train.lr_plan == "restretch"
            planned = None if restretched else run.manifest["plan"]["planned_samples"]
        if (dead := rate_warning(config.train, plan, done, planned)) is not None:
            console.warn(dead)
        tables[name] = preview(config, plan, eval_set, splits)
    return tables


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


def _show_end(training: Training) -> None:
    """The pool's last ranking, which one model has not, and what was written."""
    state, directory = training.state, training.directory
    if len(state.last_epes) > 1:
        archs = training.evaluator.archs
        rows = [(arch, i, epe) for i, (arch, epe) in enumerate(zip(archs, state.last_epes, strict=True))]
        figures = (state.last_zero_flow_epe, state.last_ranks, state.last_margins)
        training.console.pool_table(rows, training.task.net.space, *figures)
    if directory is not None:
        path = directory.path
        names = ["eval_history.csv", "training_history.csv", "per_arch_epe.csv", "events.jsonl", "eval_set.json"]
        names = ["report.html"] * (path / "report.html").exists() + [*names, "train.log"]
        comparison = {"comparison.csv": path.parent / "comparison.csv"} if training.model else {}
        training.console.wrote({"run": path, **{name: path / name for name in names}, **comparison})


def _result(training: Training, outcome: str) -> dict[str, Any]:
    assert training.directory is not None
    state = training.state
    epes, ranks, margins = state.last_epes, state.last_ranks, state.last_margins
    pool = [
        {
            "rank": ranks[i] if ranks else place,
            "arch_index": i,
            "code": str(training.evaluator.archs[i]),
            "epe": epes[i],
            "epe_margin": margins[i] if margins else None,
        }
        for place, i in enumerate(rank_order(epes), start=1)
    ]
    return {
        "run": str(training.directory.path),
        "state": outcome,
        "step": state.step,
        "epoch": state.epoch,
        "num_epochs": state.num_epochs,
        "best": state.to_json()["best"],
        "zero_flow_epe": state.last_zero_flow_epe,
        "pool": pool,
    }
