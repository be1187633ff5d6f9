"""A run directory whose only checkpoint holds weights made elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.config.io import load_config
from edgeflownas.errors import ConfigError
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.weights import load_tf1_weights, tf1_width
from edgeflownas.space import get_space
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.manifest import code_version, config_kinds, environment
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.state import TrainState

__all__ = ["import_weights"]


def import_weights(file: Path, out: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Make the run ``out`` from TF1 weights (npz, see models/weights.py).

    Raises:
        ConfigError: an override that contradicts the file; DataError: a file that is none or does not fit;
        StorageError: ``out`` exists or cannot be written.
    """
    width = tf1_width(file)
    if any(token.startswith("--train.width") for token in overrides):
        raise ConfigError(f"--train.width cannot be set here: {file} holds a network of width {width}")
    name = [
        "--runtime.output_root",
        str(out.parent),
        "--runtime.experiment_name",
        out.name,
        "--train.width",
        str(width),
    ]
    config = load_config(None, [*overrides, *name])
    space = get_space(config.train.space)
    net = FlowNet(space, width, seed=None)
    load_tf1_weights(net, file)
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
