"""``train.init_from``: a new run that starts from another run's weights, never from its optimiser or its position.

Other data, another crop, another plan: everything but the network may differ from the source, which is what sets a
warm start apart from a fork (same experiment, other dynamics).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.train.checkpoint import Checkpoint
from edgeflownas.train.manifest import config_kinds
from edgeflownas.train.rundir import RunDirectory

__all__ = ["InitialWeights", "read_initial"]

# What decides names and shapes of the weights, and what images they were made for.
SAME = ("train.task", "train.space", "train.width", "train.input_normalisation", "data.channel_order")


@dataclass(frozen=True)
class InitialWeights:
    """Weights of a verified checkpoint and where they come from."""

    checkpoint: Checkpoint
    facts: dict[str, Any]  # for run_manifest.json


def read_initial(config: Config, warn: Callable[[str], None] = lambda text: None) -> InitialWeights | None:
    """The weights train.init_from names, None where it is null.

    Raises:
        ConfigError: the source is a network of another space or width.
        StorageError: no run directory, or no such checkpoint that verifies.
    """
    if config.train.init_from is None:
        return None
    place, _, name = config.train.init_from.partition("@")
    run = RunDirectory.open(Path(place), warn)
    source = run.manifest["keys"]["identity"]
    wanted, defaults = config_kinds(config)["identity"], config_kinds(Config())["identity"]
    for key in SAME:
        own = source.get(key, defaults[key])  # a run of a version that did not know the key
        if own != wanted[key]:
            raise ConfigError(
                f"train.init_from {place}: its {key} is {own}, this run's is {wanted[key]}: the weights do not fit; "
                "use the same"
            )
    checkpoint = run.load(name or "latest", ["model"])
    facts = {"run": str(run.path), "id": run.id, "checkpoint": checkpoint.name, "hash": checkpoint.hash}
    return InitialWeights(checkpoint, {**facts, "step": checkpoint.position.step, "optimizer": "none"})
