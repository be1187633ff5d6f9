"""A run directory whose only checkpoint holds weights made elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.config.io import load_config
from edgeflownas.errors import ConfigError
from edgeflownas.models.weights import load_tf1_weights, tf1_model, tf1_width
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.manifest import code_version, config_kinds, environment
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import new_net
from edgeflownas.train.state import TrainState

__all__ = ["import_weights"]


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
    task, width = tf1_model(file), tf1_width(file)
    for key, what in (("task", f"the weights of task {task}"), ("width", f"a network of width {width}")):
        if any(token.partition("=")[0] == f"--train.{key}" for token in overrides):
            raise ConfigError(f"--train.{key} cannot be set here: {file} holds {what}")
    decided = {
        "runtime.output_root": out.parent,
        "runtime.experiment_name": out.name,
        "train.task": task,
        "train.width": width,
    }
    published = [f"--{key}={value}" for key, value in PUBLISHED.items()] if task == "edgeflownet" else []
    config = load_config(None, [*published, *overrides, *(f"--{key}={value}" for key, value in decided.items())])
    net = new_net(config, None)
    load_tf1_weights(net, file)
    space = net.space
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
