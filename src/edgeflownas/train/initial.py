"""``train.init_from``: a new run that starts from another run's weights, never from its optimiser or its position.

Other data, another crop, another plan: everything but the network may differ from the source, which is what sets a
warm start apart from a fork (same experiment, other dynamics).  One subnet may start from a supernet: it takes the
tensors of its own name, and its batch norm is recalibrated, because the supernet's buffers are those of all subnets.
So is frozen batch norm, unless the source's is frozen too: buffers that follow the batches of training are noisier than
the statistics the source is evaluated with, and these never move again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import FrozenBatches
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.models.stages import number_batchnorms
from edgeflownas.space import get_space
from edgeflownas.train.checkpoint import Checkpoint
from edgeflownas.train.manifest import config_kinds
from edgeflownas.train.prepared import Prepared
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.teacher import set_buffers

__all__ = ["InitialWeights", "load_initial", "read_initial"]

# What decides names and shapes of the weights, and what images they were made for.
SAME = ("train.space", "train.width", "train.input_normalisation", "data.channel_order", "data.flow_divisor")


@dataclass(frozen=True)
class InitialWeights:
    """Weights of a verified checkpoint and where they come from."""

    checkpoint: Checkpoint
    facts: dict[str, Any]  # for run_manifest.json
    copied: bool  # batch-norm statistics come from the source too; else they are recalibrated


def read_initial(config: Config, warn: Callable[[str], None] = lambda text: None) -> InitialWeights | None:
    """The weights train.init_from names, None where it is null.

    Raises:
        ConfigError: the source is a network of another space, width or arch.
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
    tasks = source.get("train.task", "supernet"), config.train.task
    if (tasks[0] == "edgeflownet") != (tasks[1] == "edgeflownet"):
        raise ConfigError(
            f"train.init_from {place}: its train.task is {tasks[0]}, this run's is {tasks[1]}: EdgeFlowNet's weights "
            "fit no other network"
        )
    space = get_space(config.train.space)
    both = source.get("train.arch", []), config.train.arch
    theirs, ours = ([str(space.parse(code)) for code in codes] for codes in both)
    if theirs and theirs != ours:
        raise ConfigError(
            f"train.init_from {place} holds the subnet {theirs[0]} alone, this run trains "
            f"{ours[0] if ours else 'every subnet'}: give a supernet, or a run of the same arch"
        )
    checkpoint = run.load(name or "latest", ["model"])
    facts = {"run": str(run.path), "id": run.id, "checkpoint": checkpoint.name, "hash": checkpoint.hash}
    moved_before = config.train.batch_norm == "frozen" and source.get("train.batch_norm") != "frozen"
    return InitialWeights(
        checkpoint,
        {**facts, "step": checkpoint.position.step, "optimizer": "none"},
        copied=theirs == ours and not moved_before,
    )


@torch.no_grad()
def load_initial(initial: InitialWeights, prepared: Prepared) -> dict[str, Any]:
    """Put the weights into the task; returns the entry of run_manifest.json."""
    task, eval_set = prepared.task, prepared.eval_set
    source, net = initial.checkpoint.tensors["model"], task.net
    task.load({"model": {name: source[name] for name in task.tensors()["model"]}}, with_optimizer=False)
    if initial.copied:
        return {**initial.facts, "batch_norm": "copied"}
    batches = FrozenBatches(
        eval_set.calibration, prepared.splits.train, eval_set.flow_clip, task.device, task.dtype, net.input_form
    )
    net.batchnorms = number_batchnorms(net)  # frozen ones are measured this once
    with full_precision():
        set_buffers(net, batches)
    net.batchnorms = number_batchnorms(net, prepared.config.train.batch_norm == "frozen")
    if task.average is not None:
        task.average.take_buffers(net)
    return {**initial.facts, "batch_norm": f"recalibrated, calibration ids {eval_set.calibration_hash}"}
