"""A run that is only looked at: its configuration, weights and frozen sets, without its lock and without a write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeflownas.config import Config
from edgeflownas.config.io import load_config, parse_overrides
from edgeflownas.data.check import check_dataset, refuse
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.fingerprint import Fingerprint, difference, fingerprint
from edgeflownas.data.registry import open_dataset
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.evalset import EvalSet, FrozenSplit, freeze_calibration, freeze_split, read_eval_set
from edgeflownas.models.stages import StagedNet
from edgeflownas.train.checkpoint import Checkpoint
from edgeflownas.train.opening import freeze_eval_set, stored_fingerprints
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import Splits, build_net, choose_device, run_pool, set_arithmetic

__all__ = ["ReadRun", "ReadWeights", "evaluation_of", "load_net", "read_configs", "read_run", "read_weights"]

# What decides the pool and its samples: with another value the set is chosen anew, as a run with it would.
CHOOSING = (
    *("eval.eval_pool_size", "eval.eval_batches_per_arch", "eval.bn_recal_batches", "eval.batch_size"),
    *("eval.selection", "data.crop_size", "runtime.seed"),
)
# What the weights are, and the images they were made for: no evaluation may change it.
NETWORK = (
    *("train.task", "train.space", "train.arch", "train.width", "train.batch_norm", "train.input_normalisation"),
    *("data.channel_order", "data.flow_divisor"),
)
USED = (
    *CHOOSING,
    *("data.train_dir", "data.val_dir", "data.roots", "data.flow_clip", "data.on_bad_sample", *NETWORK),
    *("train.gpu_device", "train.channels_last", "runtime.num_threads", "runtime.deterministic"),
)


@dataclass(frozen=True)
class ReadRun:
    """A run's weights on the device, with what is needed to evaluate them."""

    directory: RunDirectory
    config: Config
    checkpoint: Checkpoint
    net: StagedNet
    eval_set: EvalSet
    train: FlowDataset
    val: FlowDataset
    frozen: bool  # whether eval_set is the run's own, so that figures are those of its history


def read_run(
    path: Path,
    checkpoint: str = "latest",
    weights: str = "model",
    split: str = "val",
    batches: str | None = None,
    overrides: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> ReadRun:
    """Weights and evaluation set of a run.

    Args:
        path: run directory.
        checkpoint: ``latest``, ``best`` or a name such as ``step-00001234``.
        weights: ``model``, or ``ema`` for the moving average.
        split: ``val`` or ``train``: where evaluation samples come from.
        batches: None for the run's frozen set; a number of evaluation batches, or ``all`` for the whole split.
        overrides: ``--group.key value`` tokens, e.g. another place of the data.
        note: told of everything that is not as the run itself evaluated.

    Raises:
        ConfigError: a key that would change the network; StorageError, DataError: what cannot be read.
    """
    run = RunDirectory.open(path)
    own, config = read_configs(run, overrides, note)
    net, stored = load_net(run, config, checkpoint, weights)
    train = _open(config, "train", config.data.on_bad_sample == "stop")
    val = _open(config, "val")
    eval_set, frozen = evaluation_of(run, own, config, train, val, split, batches, note)
    return ReadRun(run, config, stored, net, eval_set, train, val if split == "val" else train, frozen)


def load_net(
    run: RunDirectory, config: Config, checkpoint: str, weights: str = "model"
) -> tuple[StagedNet, Checkpoint]:
    """The run's network on its device in fp32 arithmetic, with the weights of a checkpoint.

    Raises:
        ConfigError: weights that the run does not keep; StorageError: no such checkpoint.
    """
    device, _ = choose_device(config.train.gpu_device)
    set_arithmetic(config.model_copy(update={"train": config.train.model_copy(update={"precision": "fp32"})}))
    group = {"model": "model", "ema": "ema"}.get(weights)
    if group is None:
        raise ConfigError(f"--weights {weights!r} is unknown: model or ema")
    stored = run.load(checkpoint, ["model", group])
    if group not in stored.tensors:
        raise ConfigError(f"--weights ema: {run.path} keeps no moving average (train.ema_decay is null); use model")
    net = build_net(config, device)
    # The moving average holds weights only; frozen batch-norm statistics are those of the model.
    values = stored.tensors["model"] | stored.tensors[group]
    for name, tensor in net.state_dict().items():
        tensor.data.copy_(values[name])
    return net, stored


def read_configs(
    run: RunDirectory,
    overrides: Sequence[str],
    note: Callable[[str], None],
    used: Sequence[str] = USED,
    what: str = "an evaluation",
) -> tuple[Config, Config]:
    """The run's configuration, and the same with overrides; a note for each that ``what`` does not read."""
    own = load_config(run.path / "config.yaml")
    config = load_config(run.path / "config.yaml", overrides)
    for key, _ in parse_overrides(overrides)[0]:
        if key not in used:
            note(f"--{key} has no effect on {what}")
    for key in NETWORK:
        if _value(config, key) != _value(own, key):
            raise ConfigError(f"--{key} differs from the run's {_value(own, key)}: its weights do not fit")
    return own, config


def _open(config: Config, split: str, all_sound: bool = True) -> FlowDataset:
    spec = config.data.train_dir if split == "train" else config.data.val_dir
    dataset = open_dataset(spec, split, f"data.{split}_dir", config.data.roots)
    if all_sound:
        refuse(dataset, check_dataset(dataset))
    return dataset


def evaluation_of(
    run: RunDirectory,
    own: Config,
    config: Config,
    train: FlowDataset,
    val: FlowDataset,
    split: str,
    batches: str | None,
    note: Callable[[str], None],
) -> tuple[EvalSet, bool]:
    """The frozen set of the run, one chosen anew for other keys, or other evaluation samples (and a note)."""
    if split not in ("train", "val"):
        raise ConfigError(f"--split {split!r} is unknown: train or val")
    marks = _marks(run, train, val)
    stored = run.path / "eval_set.json"
    if "imported_from" in run.manifest:
        note("this run has no frozen evaluation set (imported weights): one is made of the given data")
    elif not stored.exists():
        raise DataError(f"{stored}: missing; `edgeflownas train --resume {run.path}` writes it again")
    else:
        _require_same(run, "train", marks[0], "data.train_dir", "the calibration samples of the run")
    anew = "imported_from" in run.manifest or any(_value(own, key) != _value(config, key) for key in CHOOSING)
    eval_set = freeze_eval_set(config, Splits(train, val, *marks), note) if anew else read_eval_set(stored)
    same = not anew and marks[1].hash == run.manifest["data"]["val"]["fingerprint"]
    same = same and own.data.flow_clip == config.data.flow_clip
    if (same or anew) and split == "val" and batches is None:
        if anew:
            note(f"not the run's frozen evaluation set: {len(eval_set.evaluation.names)} samples of {marks[1].label}")
        return eval_set, same
    dataset, mark = (val, marks[1]) if split == "val" else (train, marks[0])
    wanted = None if batches == "all" else _count(batches) if batches else config.eval.eval_batches_per_arch
    selection, size = config.eval.selection, config.data.crop_size
    evaluation = freeze_split(dataset, mark.label, size, config.eval.batch_size, wanted, selection, "--batches", note)
    note(f"not the run's frozen evaluation set: {len(evaluation.names)} samples of {mark.label}")
    return replace(eval_set, evaluation=evaluation, flow_clip=config.data.flow_clip), False


def _value(config: Config, key: str) -> object:
    group, _, name = key.partition(".")
    return getattr(getattr(config, group), name)


def _count(batches: str) -> int:
    if not batches.isdecimal() or len(batches) > 12 or int(batches) == 0:
        raise ConfigError(f"--batches {batches!r} must be a positive number, or all")
    return int(batches)


def _marks(run: RunDirectory, train: FlowDataset, val: FlowDataset) -> tuple[Fingerprint, Fingerprint]:
    previous = stored_fingerprints(run.path)
    return fingerprint(train, previous and previous[0]), fingerprint(val, previous and previous[1])


def _require_same(run: RunDirectory, split: str, mark: Fingerprint, key: str, what: str) -> None:
    if mark.hash == run.manifest["data"][split]["fingerprint"]:
        return
    previous = stored_fingerprints(run.path)
    lines = difference(previous[0], mark, limit=5) if previous else []
    then = run.manifest["data"][split]["label"]
    raise DataError(
        f"{key}: the data differ from those of the run ({then} then, {mark.label} now), "
        f"so {what} are not there:" + "".join(f"\n  {line}" for line in lines) + f"\nset --{key} to the run's data"
    )


@dataclass(frozen=True)
class ReadWeights:
    """Weights on the device and what calibrates them: all that an evaluation on any data set needs."""

    name: str  # for result rows: run/checkpoint, or the weights file
    source: str  # hash of the checkpoint or file
    config: Config
    net: StagedNet
    pool: tuple[str, ...]
    calibration: tuple[FrozenSplit, FlowDataset] | None  # None where no batch norm is recalibrated


def read_weights(
    path: Path,
    checkpoint: str = "latest",
    weights: str = "model",
    overrides: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> ReadWeights:
    """Weights and calibration samples of a run; its validation split need not be there.

    The calibration samples are the run's frozen ones, unless a key that chooses them is overridden (and a note).
    A network whose batch norm is frozen needs none, nor its training data.

    Raises:
        As :func:`read_run`.
    """
    run = RunDirectory.open(path)
    own, config = read_configs(run, overrides, note)
    net, stored = load_net(run, config, checkpoint, weights)
    anew = "imported_from" in run.manifest or any(_value(own, key) != _value(config, key) for key in CHOOSING)
    pool = tuple(map(str, run_pool(config))) if anew else read_eval_set(run.path / "eval_set.json").pool
    name = f"{run.path.name}/{stored.name}" + ("" if weights == "model" else f":{weights}")
    calibration = _calibration(run, config, anew, note) if net.batchnorms else None
    return ReadWeights(name, stored.hash, config, net, pool, calibration)


def _calibration(
    run: RunDirectory, config: Config, anew: bool, note: Callable[[str], None]
) -> tuple[FrozenSplit, FlowDataset]:
    """The run's frozen calibration samples, or others of its training data (and a note)."""
    train = _open(config, "train", config.data.on_bad_sample == "stop")
    previous = stored_fingerprints(run.path)
    mark = fingerprint(train, previous and previous[0])
    if "imported_from" not in run.manifest:
        _require_same(run, "train", mark, "data.train_dir", "the calibration samples of the run")
    if not anew:
        return read_eval_set(run.path / "eval_set.json").calibration, train
    split = freeze_calibration(config, train, mark.label, note)
    note(f"not the run's frozen calibration samples: {len(split.names)} of {mark.label}")
    return split, train
