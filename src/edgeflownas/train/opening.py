"""Three ways into a run directory: a new run, a resumed one, a fork; each ends with a state to train from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.config import Config
from edgeflownas.config.load import load_config, parse_overrides
from edgeflownas.data.fingerprint import Fingerprint
from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.evaluate.evalset import EvalSet, freeze, hashed_settings
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.initial import load_initial, read_initial
from edgeflownas.train.manifest import build_manifest, compare, environment, refuse
from edgeflownas.train.prepared import Prepared
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.schedule import learning_rate
from edgeflownas.train.setup import Splits, run_pool, run_space
from edgeflownas.train.state import TrainState
from edgeflownas.train.storage import read_json

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

__all__ = [
    "Opened",
    "freeze_eval_set",
    "open_fork",
    "open_new",
    "open_resumed",
    "run_config",
    "stored_fingerprints",
]

FINGERPRINTS = "data_fingerprints.json"
ORIGINS = ("forked_from", "imported_from", "initialised_from")  # manifest entries of weights made elsewhere


@dataclass
class Opened:
    """A locked run directory and the state to train from."""

    run: RunDirectory
    state: TrainState
    _stack: ExitStack

    def close(self) -> None:
        """Release the lock."""
        self._stack.close()


def run_config(path: Path, overrides: list[str], fork: str | None, overlay: str | None = None) -> Config:
    """The configuration of a run directory with overrides on top; a fork gets its own name.

    The keys that the recipe ``overlay`` writes go between the two (forks only).

    Raises ConfigError where num_epochs changes and nobody says what that means for the learning rate, and for imported
    weights.
    """
    run = RunDirectory.open(path)
    if "imported_from" in run.manifest:
        raise ConfigError(
            f"{path} holds weights imported from {run.manifest['imported_from']['file']}: there is no plan and no "
            "optimiser state to go on from; it can be evaluated (edgeflownas evaluate)"
        )
    before = load_config(run.path / "config.yaml")
    given = dict(parse_overrides(overrides)[0])
    if fork is not None:
        if "runtime.experiment_name" in given:
            raise ConfigError("--fork and --runtime.experiment_name both name the new run: give --fork alone")
        beside = [] if "runtime.output_root" in given else ["--runtime.output_root", str(path.parent)]
        words = [*overrides, *beside, "--runtime.experiment_name", fork]
        return load_config(run.path / "config.yaml", words, overlay)
    config = load_config(run.path / "config.yaml", overrides)
    if config.train.num_epochs != before.train.num_epochs and "train.lr_plan" not in given:
        raise ConfigError(_plan_needed(config.train.num_epochs, before.train.num_epochs))
    return config


def _plan_needed(wanted: int, had: int) -> str:
    return (
        f"train.num_epochs {wanted} differs from the run's {had}, which changes the learning rate of every step: add "
        "--train.lr_plan keep (the old plan, then its floor) or --train.lr_plan restretch (same samples seen, new plan)"
    )


def freeze_eval_set(config: Config, splits: Splits, note: Callable[[str], None]) -> EvalSet:
    """The frozen sets, the pool and its option coverage of this configuration and data."""
    space, pool = run_space(config), run_pool(config)
    coverage = space.coverage(pool)
    uncovered = [name for name, counts in coverage.items() if 0 in counts]
    if uncovered:
        note(
            f"eval.eval_pool_size {len(pool)}: not every option of {', '.join(uncovered)} is in the pool; use at least "
            f"{space.num_paths}"
        )
    eval_set = freeze(config, splits.train, splits.val, splits.labels, note)
    eval_set = eval_set.with_pool([str(arch) for arch in pool], coverage, hashed_settings(config.eval))
    note(f"evaluation set {eval_set.hash}, calibration ids {eval_set.calibration_hash}")
    return eval_set


def open_new(prepared: Prepared) -> Opened:
    """A fresh run directory.  Raises StorageError where it exists or train.init_from cannot be read."""
    config, console = prepared.config, prepared.console
    path = Path(config.runtime.output_root) / config.runtime.experiment_name
    manifest = _manifest(prepared)
    initial = read_initial(config, console.warn)
    if initial is not None:
        manifest["initialised_from"] = load_initial(initial, prepared)
    run = RunDirectory.create(path, config.model_dump(mode="json"), manifest, console.warn)
    stack = _lock(run, prepared)
    _store_session(run, prepared)
    run.resume()
    state = _fresh_state(prepared)
    console.info(f"run {run.path}: {config.train.num_epochs} epochs of {prepared.plan.steps_per_epoch} steps")
    if initial is not None:
        run.commit(Position(0, 0, 0), state.to_json(), prepared.task.tensors())
        console.info(f"weights of {initial.facts['checkpoint']} of {initial.facts['run']}, fresh optimiser")
    return Opened(run, state, stack)


def open_resumed(prepared: Prepared) -> Opened:
    """Go on where the newest verified checkpoint ends.

    Raises ConfigError with a table of key / run / now where identity or dynamics keys differ.
    """
    console = prepared.console
    assert prepared.options.resume is not None
    run = RunDirectory.open(prepared.options.resume, console.warn)
    manifest = _manifest(prepared)
    changes = compare(run.manifest, manifest, allow={"train.num_epochs"})
    refuse(changes)
    stack = _lock(run, prepared)
    try:
        checkpoint = run.resume()
        if checkpoint is None:
            _refuse_half_fork(run)
            state = _fresh_state(prepared)
        else:
            state = TrainState.from_json(checkpoint.state)
            prepared.task.load(checkpoint.tensors)
        # The plan of the last session: it may have brought another one and have ended before it could commit.
        state.num_epochs, state.planned = (run.manifest["plan"][name] for name in ("num_epochs", "planned_samples"))
        _adopt_plan(prepared, state)
        manifest["plan"]["planned_samples"] = state.planned
        # Only now, when nothing can be refused any more, does the run take over what this session brings.
        if _adopt_eval_set(prepared.eval_set, state, run, console):
            _store_session(run, prepared, manifest)
        lines = [f"{d.key}: {d.run_value} -> {d.now_value}" for d in changes]
        run.timing.append({"what": "resumed", "step": state.step, "changed": lines})
        for line in lines:
            console.info(f"changed since this run began: {line}")
        console.info(f"run {run.path}: resumed at step {state.step} (epoch {state.epoch + 1}, batch {state.batch})")
    except BaseException:
        stack.close()
        raise
    return Opened(run, state, stack)


def open_fork(prepared: Prepared) -> Opened:
    """A new run from a checkpoint of another: new plan with seen = 0, Adam's state kept unless reset."""
    config, console, options = prepared.config, prepared.console, prepared.options
    assert options.resume is not None
    source = RunDirectory.open(options.resume, console.warn)
    manifest = _manifest(prepared)
    changes = compare(source.manifest, manifest)
    refuse([change for change in changes if change.kind == "identity"])
    checkpoint = source.load(options.checkpoint)
    prepared.task.load(checkpoint.tensors, with_optimizer=not options.reset_optimizer)
    manifest["forked_from"] = {
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
    path = Path(config.runtime.output_root) / config.runtime.experiment_name
    run = RunDirectory.create(path, config.model_dump(mode="json"), manifest, console.warn)
    stack = _lock(run, prepared)
    _store_session(run, prepared)
    run.resume()
    state = _fresh_state(prepared)
    run.commit(Position(0, 0, 0), state.to_json(), prepared.task.tensors())
    console.info(f"run {run.path}: forked from {checkpoint.name} of {source.path}")
    return Opened(run, state, stack)


def _lock(run: RunDirectory, prepared: Prepared) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(run.locked())
    run.keep = prepared.config.checkpoint.keep
    return stack


def _store_session(run: RunDirectory, prepared: Prepared, manifest: dict[str, Any] | None = None) -> None:
    """What belongs to this session: data tables, evaluation set and, at a resume, configuration and manifest."""
    if manifest is not None:
        for name in ORIGINS:
            if name in run.manifest:
                manifest[name] = run.manifest[name]
        run.write_config(prepared.config.model_dump(mode="json"))
        run.write_manifest(manifest)
    prints = prepared.splits.train_print, prepared.splits.val_print
    run.write_json(FINGERPRINTS, {"train": prints[0].to_json(), "val": prints[1].to_json()})
    run.write_json("eval_set.json", prepared.eval_set.to_json())


def _manifest(prepared: Prepared) -> dict[str, Any]:
    prints = {"train": prepared.splits.train_print, "val": prepared.splits.val_print}
    device = str(prepared.task.device)
    manifest = build_manifest(prepared.config, prints, prepared.task.net.space, prepared.plan, environment(device))
    eval_set = prepared.eval_set
    manifest["eval_set"] = {"hash": eval_set.hash, "pool": list(eval_set.pool), "coverage": eval_set.coverage}
    if prepared.task.teacher is not None:
        manifest["teacher"] = prepared.task.teacher.facts
    return manifest


def stored_fingerprints(path: Path) -> tuple[Fingerprint, Fingerprint] | None:
    """Data tables of a run's last session (unchanged files need not be read again); None where there are none."""
    file = path / FINGERPRINTS
    if not file.exists():
        return None
    content = read_json(file)
    try:
        return Fingerprint.from_json(content["train"], str(file)), Fingerprint.from_json(content["val"], str(file))
    except (KeyError, TypeError) as error:
        raise StorageError(f"{file}: altered ({error}); remove it: it only spares reading the data again") from error


def _fresh_state(prepared: Prepared) -> TrainState:
    epochs = prepared.config.train.num_epochs
    return TrainState(prepared.plan.draws_per_epoch * epochs, epochs, eval_set=prepared.eval_set.hash)


def _refuse_half_fork(run: RunDirectory) -> None:
    if any(name in run.manifest for name in ORIGINS):
        raise StorageError(
            f"{run.path}: was interrupted before its first commit, so the weights it starts from are not in it: remove "
            "the folder and make it again"
        )


def _adopt_plan(prepared: Prepared, state: TrainState) -> None:
    """Another number of epochs: what it means for the learning rate was said with train.lr_plan."""
    config, plan, console = prepared.config, prepared.plan, prepared.console
    wanted = config.train.num_epochs
    if state.num_epochs == wanted:
        if "train.lr_plan" in dict(parse_overrides(prepared.options.overrides or [])[0]):
            console.warn(f"train.lr_plan {config.train.lr_plan} has no effect: train.num_epochs stays {wanted}")
        return
    if config.train.lr_plan is None:  # config.yaml was edited by hand
        raise ConfigError(_plan_needed(wanted, state.num_epochs))
    begun = state.epoch + (state.batch > 0)
    if begun > wanted:
        raise ConfigError(f"train.num_epochs {wanted} is below the {begun} epochs already done or begun: give as many")
    before = learning_rate(config.train, state.seen, state.planned)
    if config.train.lr_plan == "restretch":
        state.planned = plan.draws_per_epoch * wanted
    after = learning_rate(config.train, state.seen, state.planned)
    console.info(
        f"train.num_epochs {state.num_epochs} -> {wanted}, train.lr_plan {config.train.lr_plan}: learning rate of the "
        f"next step {before:.6e} before, {after:.6e} now"
    )
    state.num_epochs = wanted


def _adopt_eval_set(eval_set: EvalSet, state: TrainState, run: RunDirectory, console: Console) -> bool:
    """Figures of another evaluation set are not comparable: best, patience and the last ranking start anew.

    Returns False where nothing is left to train: the run then keeps the set its figures were measured on.
    """
    if state.eval_set == eval_set.hash:
        return True
    if state.epoch >= state.num_epochs:
        console.warn(
            f"nothing is left to evaluate, so the run keeps its evaluation set {state.eval_set}; `edgeflownas evaluate "
            f"{run.path}` takes the same eval.* keys"
        )
        state.forget_pool()  # of other archs, perhaps: not shown as this pool's
        return False
    console.warn(f"the evaluation set changed ({state.eval_set} -> {eval_set.hash}): best and early stop start anew")
    state.best = None
    state.forget_pool()
    state.evaluations_without_gain, state.value_of_last_gain, state.stopped_early = 0, None, False
    state.eval_set = eval_set.hash
    run.write_best(None)
    return True
