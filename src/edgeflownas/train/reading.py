"""A run that is only looked at: its configuration, weights and frozen sets, without its lock and without a write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeflownas.config import Config
from edgeflownas.config.io import load_config, parse_overrides
from edgeflownas.data.check import check_dataset, refuse
from edgeflownas.data.fc2 import FlowDataset, scan_fc2
from edgeflownas.data.fingerprint import Fingerprint, difference, fingerprint
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.evalset import EvalSet, freeze_split, read_eval_set
from edgeflownas.models.flownet import FlowNet
from edgeflownas.train.checkpoint import Checkpoint
from edgeflownas.train.opening import freeze_eval_set, stored_fingerprints
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import Splits, build_net, choose_device, set_arithmetic

__all__ = ["ReadRun", "evaluation_of", "load_net", "read_configs", "read_run"]

# What decides the pool and its samples: with another value the set is chosen anew, as a run with it would.
CHOOSING = (
    *("eval.eval_pool_size", "eval.eval_batches_per_arch", "eval.bn_recal_batches", "eval.batch_size"),
    *("eval.selection", "data.crop_size", "runtime.seed"),
)
USED = (
    *CHOOSING,
    *("data.train_dir", "data.val_dir", "data.flow_clip", "data.on_bad_sample", "train.space", "train.width"),
    *("train.gpu_device", "train.channels_last", "runtime.num_threads", "runtime.deterministic"),
)


@dataclass(frozen=True)
class ReadRun:
    """A run's weights on the device, with what is needed to evaluate them."""

    directory: RunDirectory
    config: Config
    checkpoint: Checkpoint
    net: FlowNet
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
    train = _open(config.data.train_dir, "train", "data.train_dir", config.data.on_bad_sample == "stop")
    val = _open(config.data.val_dir, "val", "data.val_dir")
    eval_set, frozen = evaluation_of(run, own, config, train, val, split, batches, note)
    return ReadRun(run, config, stored, net, eval_set, train, val if split == "val" else train, frozen)


def load_net(run: RunDirectory, config: Config, checkpoint: str, weights: str = "model") -> tuple[FlowNet, Checkpoint]:
    """The run's network on its device in fp32 arithmetic, with the weights of a checkpoint.

    Raises:
        ConfigError: weights that the run does not keep; StorageError: no such checkpoint.
    """
    device, _ = choose_device(config.train.gpu_device)
    set_arithmetic(config.model_copy(update={"train": config.train.model_copy(update={"precision": "fp32"})}))
    group = {"model": "model", "ema": "ema"}.get(weights)
    if group is None:
        raise ConfigError(f"--weights {weights!r} is unknown: model or ema")
    stored = run.load(checkpoint, [group])
    if group not in stored.tensors:
        raise ConfigError(f"--weights ema: {run.path} keeps no moving average (train.ema_decay is null); use model")
    net = build_net(config, device)
    target = dict(net.state_dict()) if group == "model" else dict(net.named_parameters())
    for name, tensor in target.items():
        tensor.data.copy_(stored.tensors[group][name])
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
    for key in ("space", "width"):
        if getattr(config.train, key) != getattr(own.train, key):
            raise ConfigError(f"--train.{key} differs from the run's {getattr(own.train, key)}: its weights do not fit")
    return own, config


def _open(folder: str, split: str, key: str, all_sound: bool = True) -> FlowDataset:
    dataset = scan_fc2(folder, split, key)
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
