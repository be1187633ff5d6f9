"""``train.init_from``: a new run that starts from another run's weights, never from its optimiser or its position.

Other data, another crop, another plan: everything but the network may differ from the source, which is what sets a
warm start apart from a fork (same experiment, other dynamics).  One subnet may start from a supernet: it takes the
tensors of its own name, and its batch norm is recalibrated, because the supernet's buffers are those of all subnets.
Task ``qat`` recalibrates always, and measures the range of every tensor.
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
from edgeflownas.models.deployed.ranges import parse_method
from edgeflownas.models.deployed.rounded import RoundedNet
from edgeflownas.space import get_space
from edgeflownas.train.checkpoint import Checkpoint
from edgeflownas.train.manifest import config_kinds
from edgeflownas.train.prepared import Prepared
from edgeflownas.train.qat import calibrate_rounded
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
    whole: bool  # the source is the same network, buffers included; else a supernet of which one subnet is taken


def read_initial(config: Config, warn: Callable[[str], None] = lambda text: None) -> InitialWeights | None:
    """The weights train.init_from names, None where it is null.

    Raises:
        ConfigError: the source is a network of another space, width or arch; train.qat_calibrate is no method.
        StorageError: no run directory, or no such checkpoint that verifies.
    """
    if config.train.init_from is None:
        return None
    parse_method(config.train.qat_calibrate)
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
    return InitialWeights(checkpoint, {**facts, "step": checkpoint.position.step, "optimizer": "none"}, theirs == ours)


@torch.no_grad()
def load_initial(initial: InitialWeights, prepared: Prepared) -> dict[str, Any]:
    """Put the weights into the task; returns the entry of run_manifest.json."""
    task = prepared.task
    source = initial.checkpoint.tensors["model"]
    net, eval_set = task.net, prepared.eval_set
    if isinstance(net, RoundedNet):
        source = {"ranges": net.ranges, **source}
    task.load({"model": {name: source[name] for name in task.tensors()["model"]}}, with_optimizer=False)
    if initial.whole and not isinstance(net, RoundedNet):
        return {**initial.facts, "batch_norm": "copied"}
    batches = FrozenBatches(
        eval_set.calibration, prepared.splits.train, eval_set.flow_clip, task.device, task.dtype, net.input_form
    )
    facts = {**initial.facts, "batch_norm": f"recalibrated, calibration ids {eval_set.calibration_hash}"}
    if not isinstance(net, RoundedNet):
        set_buffers(net, batches)
        return facts
    method = prepared.config.train.qat_calibrate
    calibrate_rounded(net, batches, method)
    if task.average is not None:
        task.average.take_buffers(net)
    return {**facts, "ranges": f"{method}, calibration ids {eval_set.calibration_hash}"}
