"""Weights made elsewhere: as a run directory with one checkpoint, or read for one evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.config.io import load_config, parse_overrides
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.data.fingerprint import fingerprint
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import freeze_calibration
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.weights import load_tf1_weights, tf1_width
from edgeflownas.space import get_space
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.manifest import code_version, config_kinds, environment
from edgeflownas.train.reading import USED, ReadWeights
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import choose_device, set_arithmetic
from edgeflownas.train.state import TrainState

__all__ = ["import_weights", "read_npz"]


def import_weights(file: Path, out: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Make the run ``out`` from TF1 weights (npz, see models/weights.py).

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
    """The network in ``file`` on its device, with calibration samples from --data.train_dir.

    Raises:
        ConfigError: no --data.train_dir, or an override that contradicts the file; DataError: as import_weights.
    """
    given = [key for key, _ in parse_overrides(overrides)[0]]
    if "data.train_dir" not in given:
        raise ConfigError(
            f"{file}: batch norm is recalibrated on training pairs: say where they are with --data.train_dir DIR"
        )
    for key in given:
        if key not in USED:
            note(f"--{key} has no effect on an evaluation")
    config, net = _load(file, overrides)
    device, _ = choose_device(config.train.gpu_device)
    set_arithmetic(config)
    train = scan_fc2(config.data.train_dir, "train", "data.train_dir")
    calibration = freeze_calibration(config, train, fingerprint(train).label, note)
    note(f"calibrated on {len(calibration.names)} samples of {calibration.label}")
    pool = tuple(map(str, net.space.pool(config.eval.eval_pool_size, config.runtime.seed)))
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    return ReadWeights(file.name, source, config, net.to(device), calibration, train, pool)


def _load(file: Path, overrides: Sequence[str]) -> tuple[Config, FlowNet]:
    """Configuration and network of the weights in ``file``; the file decides the width."""
    width = tf1_width(file)
    if any(token.startswith("--train.width") for token in overrides):
        raise ConfigError(f"--train.width cannot be set here: {file} holds a network of width {width}")
    config = load_config(None, [*overrides, "--train.width", str(width)])
    net = FlowNet(get_space(config.train.space), width, seed=None)
    load_tf1_weights(net, file)
    return config, net
