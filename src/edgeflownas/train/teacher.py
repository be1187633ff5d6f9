"""The teacher of task ``distil``: a trained network, frozen and in eval mode, whose features the student is to match.

Its batch norm is recalibrated on a set of training samples of its own (not on the evaluation's, which may change at a
resume), so what it teaches is a function of its weights and of the training data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from edgeflownas.config import Config
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.distil import feature_loss
from edgeflownas.evaluate.frozen import FrozenBatches, freeze_split
from edgeflownas.evaluate.recalibrate import set_buffers
from edgeflownas.models.batches import InputForm
from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.checkpoint import Checkpoint
from edgeflownas.run.run import Run
from edgeflownas.run.setup import Splits, new_net, silent
from edgeflownas.space import Arch

CALIBRATION = (8, 32)  # samples of a batch, batches


@dataclass(frozen=True)
class Teacher:
    """A verified checkpoint and the arch that teaches; its network once :meth:`ready` has made it."""

    config: Config  # of the student
    run: Run
    checkpoint: Checkpoint
    arch: Arch
    facts: dict[str, Any]  # for run_manifest.json; a resume must find the same
    net: StagedNet | None = None

    @classmethod
    def find(
        cls, config: Config, warn: Callable[[str], None] = silent, begun_with: str | None = None
    ) -> Teacher | None:
        """The teacher of a configuration, None for other tasks than distil.

        ``begun_with`` is the checkpoint that a run to be resumed learnt from: the teacher may have trained on since.

        Raises:
            ConfigError: train.teacher_arch is missing for a supernet, or given for a single model.
            StorageError: train.teacher is no run, or has no such checkpoint that verifies.
        """
        if config.train.task != "distil":
            return None
        assert config.train.teacher is not None
        place, _, name = config.train.teacher.partition("@")
        run = Run.open(Path(place), warn=warn)
        wanted = config.train.teacher_arch
        if (run.config.train.task == "supernet") != (wanted is not None):
            what = "is a supernet: say which subnet teaches" if wanted is None else "is a single model: leave it out"
            raise ConfigError(f"train.teacher_arch {wanted or 'null'}: {place} {what}")
        arch = run.space.parse(wanted) if wanted is not None else next(iter(run.space))
        stored = run.checkpoint(begun_with or name or "latest")
        assert run.directory is not None
        facts = {"run": run.directory.id, "checkpoint": stored.name, "hash": stored.hash, "code": str(arch)}
        return cls(config, run, stored, arch, facts)

    def ready(self, config: Config, splits: Splits, device: torch.device, dtype: torch.dtype) -> Teacher:
        """With the network of ``config``'s teacher on the device, its batch norm recalibrated on training samples."""
        net = new_net(self.run.config, seed=None)
        net.load_state_dict(self.checkpoint.tensors["model"])
        if isinstance(net, FlowNet) and len(net.space) > 1:
            net = net.subnet(self.arch)
        net.to(device=device, dtype=dtype)
        place = (splits.train_print.label, config.data.crop_size, *CALIBRATION)
        skip = config.data.on_bad_sample == "quarantine"
        # Notes are for the evaluation set.
        frozen = freeze_split(splits.train, *place, "spread", "", silent, skip_bad=skip)
        set_buffers(net, FrozenBatches.of(net, frozen, splits.train, config.data.flow_clip))
        return replace(self, config=config, net=net.eval().requires_grad_(False), arch=next(iter(net.space)))

    def loss(self, images: torch.Tensor, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """train.distil_lambda times the feature loss (0-d) for ``images`` [B,6,H,W] as the student sees them."""
        assert self.net is not None, "ready() before loss()"
        train = self.config.train
        with torch.no_grad():
            own: list[torch.Tensor] = []
            encoded = self.net.input_form.of_other(images, InputForm.of(self.config))
            self.net.run_from(0, self.net.prepare(encoded), self.arch, own)
        return train.distil_lambda * feature_loss(features, own, train.distil_weights)
