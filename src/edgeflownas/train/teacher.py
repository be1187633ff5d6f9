"""The teacher of task ``distil``: a trained network, frozen and in eval mode, whose features the student is to match.

Its batch norm is recalibrated on a set of training samples of its own (not on the evaluation's, which may change at a
resume), so what it teaches is a function of its weights and of the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeflownas.config import Config
from edgeflownas.config.io import load_config
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.distil import feature_loss
from edgeflownas.evaluate.evalset import FrozenBatches, freeze_split
from edgeflownas.evaluate.recalibrate import recalibrate
from edgeflownas.models.batches import InputForm
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.stages import StagedNet
from edgeflownas.space import Arch
from edgeflownas.train.checkpoint import Checkpoint
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import Splits, new_net, run_space

__all__ = ["FoundTeacher", "Teacher", "find_teacher", "make_teacher", "set_buffers"]

CALIBRATION = (8, 32)  # samples of a batch, batches


@dataclass(frozen=True)
class FoundTeacher:
    """A verified checkpoint, the configuration it was trained with, and the arch that teaches."""

    config: Config
    checkpoint: Checkpoint
    code: str
    facts: dict[str, Any]  # for run_manifest.json; a resume must find the same


class Teacher:
    """What the training step asks: the feature loss of a student's decoder features."""

    def __init__(self, net: StagedNet, student: InputForm, config: Config, facts: dict[str, Any]) -> None:
        self.net, self.student, self.facts = net.eval().requires_grad_(False), student, facts
        self.arch: Arch = next(iter(net.space))
        self.weight, self.scales = config.train.distil_lambda, config.train.distil_weights

    def loss(self, images: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """train.distil_lambda times the feature loss (0-d) for ``images`` [B,6,H,W] as the student sees them."""
        with torch.no_grad():
            own: list[torch.Tensor] = []
            encoded = self.net.input_form.of_other(images, self.student)
            self.net.run_from(0, self.net.prepare(encoded), self.arch, own)
        return self.weight * feature_loss(features, own, self.scales)


def find_teacher(
    config: Config, warn: Callable[[str], None] = lambda text: None, begun_with: str | None = None
) -> FoundTeacher | None:
    """The teacher of a configuration, None for other tasks.

    ``begun_with`` is the checkpoint that a run to be resumed learnt from: the teacher may have trained on since.

    Raises:
        ConfigError: train.teacher_arch is missing for a supernet, or given for a single model.
        StorageError: train.teacher is no run, or has no such checkpoint that verifies.
    """
    if config.train.task != "distil":
        return None
    assert config.train.teacher is not None
    place, _, name = config.train.teacher.partition("@")
    run = RunDirectory.open(Path(place), warn)
    own = load_config(run.path / "config.yaml")
    wanted = config.train.teacher_arch
    if (own.train.task == "supernet") != (wanted is not None):
        what = "is a supernet: say which subnet teaches" if wanted is None else "is a single model: leave it out"
        raise ConfigError(f"train.teacher_arch {wanted or 'null'}: {place} {what}")
    space = run_space(own)
    code = str(space.parse(wanted) if wanted is not None else next(iter(space)))
    checkpoint = run.load(begun_with or name or "latest", ["model"])
    facts = {"run": run.id, "checkpoint": checkpoint.name, "hash": checkpoint.hash, "code": code}
    return FoundTeacher(own, checkpoint, code, facts)


def make_teacher(
    found: FoundTeacher, config: Config, splits: Splits, device: torch.device, dtype: torch.dtype
) -> Teacher:
    """The network of ``found`` with its weights, on the device, its batch norm recalibrated on training samples."""
    net = new_net(found.config, seed=None)
    net.load_state_dict(found.checkpoint.tensors["model"])
    if isinstance(net, FlowNet) and len(net.space) > 1:
        net = net.subnet(found.code)
    net.to(device=device, dtype=dtype)
    size, count = CALIBRATION
    label = splits.train_print.label
    skip = config.data.on_bad_sample == "quarantine"
    frozen = freeze_split(splits.train, label, config.data.crop_size, size, count, "spread", "", _silent, skip_bad=skip)
    batches = FrozenBatches(frozen, splits.train, config.data.flow_clip, device, dtype, net.input_form)
    set_buffers(net, batches)
    return Teacher(net, InputForm.of(config), config, found.facts)


@torch.no_grad()
def set_buffers(net: StagedNet, calibration: FrozenBatches, advance: Callable[[], None] = lambda: None) -> None:
    """Recalibrate the network of one arch and write the moments into its buffers; ``advance``: before each batch."""
    for slots in recalibrate(net, list(net.space), calibration, advance).values():
        for slot, (mean, var) in slots.items():
            net.batchnorms[slot].running_mean.copy_(mean)
            net.batchnorms[slot].running_var.copy_(var)


def _silent(text: str) -> None:
    """Notes about the number of samples are for the evaluation set."""
