"""Weights made elsewhere: as a run directory with one checkpoint, or read for one evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.config.load import load_config, parse_overrides
from edgeflownas.data.fingerprint import fingerprint
from edgeflownas.data.registry import open_dataset
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import freeze_calibration
from edgeflownas.models.stages import StagedNet
from edgeflownas.models.weights import load_tf1_weights, tf1_model, tf1_width
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.manifest import code_version, config_kinds, environment
from edgeflownas.train.reading import USED, ReadWeights
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import choose_device, new_net, run_pool, set_arithmetic
from edgeflownas.train.state import TrainState

__all__ = ["import_weights", "read_npz"]


TF1_SPACE = "v1"

# What the published weights were trained with.
PUBLISHED = {
    "train.batch_norm": "frozen",
    "train.input_normalisation": "raw_0_255",
    "data.channel_order": "bgr",
    "data.crop_size": "352x480",
}


def import_weights(file: Path, out: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Make the run ``out`` from TF1 weights (npz, see models/weights.py) of the supernet or of EdgeFlowNet.

    EdgeFlowNet's are read as published (frozen batch norm, BGR, 0..255) unless ``overrides`` say otherwise.

    Raises:
        ConfigError: an override that contradicts the file; DataError: a file that is none or does not fit;
        StorageError: ``out`` exists or cannot be written.
    """
    name = ["--runtime.output_root", str(out.parent), "--runtime.experiment_name", out.name]
    config, net = _load(file, [*overrides, *name])
    space, width = net.space, net.width
    source = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    manifest = {
        "keys": config_kinds(config),
        "data": {},
        "space": {"name": space.name, "size": len(space)},
        "imported_from": source,
        "code": code_version(),
        "environment": environment(),
    }
    run = RunDirectory.create(out, config.model_dump(mode="json"), manifest)
    state = TrainState(planned=0, num_epochs=0)
    tensors = dict(net.state_dict())
    with run.locked():
        run.resume()
        run.commit(Position(0, 0, 0), state.to_json(), {"model": tensors}, finished=True)
    return {"run": str(out), "space": space.name, "width": width, "tensors": len(tensors), **source}


def read_npz(file: Path, overrides: Sequence[str], note: Callable[[str], None]) -> ReadWeights:
    """The network in ``file`` on its device; a supernet with calibration samples from --data.train_dir.

    Raises:
        ConfigError: no --data.train_dir, or an override that contradicts the file; DataError: as import_weights.
    """
    given = [key for key, _ in parse_overrides(overrides)[0]]
    for key in given:
        if key not in USED:
            note(f"--{key} has no effect on an evaluation")
    config, net = _load(file, overrides)
    device, _ = choose_device(config.train.gpu_device)
    set_arithmetic(config)
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    pool = tuple(map(str, run_pool(config)))
    if not net.batchnorms:  # frozen: it is evaluated as it is
        return ReadWeights(file.name, source, config, net.to(device), pool, None)
    if "data.train_dir" not in given:
        raise ConfigError(
            f"{file}: batch norm is recalibrated on training pairs: say where they are with --data.train_dir DIR"
        )
    train = open_dataset(config.data.train_dir, "train", "data.train_dir", config.data.roots)
    split = freeze_calibration(config, train, fingerprint(train).label, note)
    note(f"calibrated on {len(split.names)} samples of {split.label}")
    return ReadWeights(file.name, source, config, net.to(device), pool, (split, train))


def _load(file: Path, overrides: Sequence[str]) -> tuple[Config, StagedNet]:
    """Configuration and network of the weights in ``file``, which decides task and width."""
    task, width = tf1_model(file), tf1_width(file)
    for key, what in (("task", f"the weights of task {task}"), ("width", f"a network of width {width}")):
        if any(token.partition("=")[0] == f"--train.{key}" for token in overrides):
            raise ConfigError(f"--train.{key} cannot be set here: {file} holds {what}")
    published = [f"--{key}={value}" for key, value in PUBLISHED.items()] if task == "edgeflownet" else []
    config = load_config(None, [*published, *overrides, f"--train.task={task}", f"--train.width={width}"])
    if task == "supernet" and config.train.space != TF1_SPACE:
        raise ConfigError(
            f"--train.space {config.train.space}: {file} holds the TF1 supernet, whose space is {TF1_SPACE}; weights "
            "of other spaces cannot be imported: leave --train.space out"
        )
    net = new_net(config, None)
    load_tf1_weights(net, file)
    return config, net
