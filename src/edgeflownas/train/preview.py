"""``train --dry-run``: what a run would do and need, nothing trained, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from edgeflownas.config import Config
from edgeflownas.data.order import BatchPlan
from edgeflownas.evaluate.evalset import WIDE, EvalSet
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.models.stages import StagedNet
from edgeflownas.space import SearchSpace
from edgeflownas.train.creation import refuse_existing
from edgeflownas.train.initial import read_initial
from edgeflownas.train.manifest import build_manifest, compare, environment, refuse
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import Splits, loading, new_net, run_space
from edgeflownas.train.tasks import batch_slices
from edgeflownas.train.teacher import find_teacher

__all__ = ["activation_bytes", "check_target", "preview"]


def check_target(config: Config, resume: Path | None, fork: str | None, splits: Splits, plan: BatchPlan) -> None:
    """What the run directory would refuse, for ``--dry-run``.  Raises ConfigError or StorageError."""
    if resume is None:
        read_initial(config)
        find_teacher(config)
    if resume is None or fork is not None:
        refuse_existing(Path(config.runtime.output_root) / config.runtime.experiment_name)
    if resume is not None:
        prints = {"train": splits.train_print, "val": splits.val_print}
        now = build_manifest(config, prints, run_space(config), plan, environment())
        begun_with = RunDirectory.open(resume).manifest.get("teacher", {}).get("checkpoint")
        if (teacher := find_teacher(config, begun_with=begun_with)) is not None:
            now["teacher"] = teacher.facts
        changes = compare(RunDirectory.open(resume).manifest, now, allow=() if fork else {"train.num_epochs"})
        refuse([change for change in changes if fork is None or change.kind == "identity"])


def preview(config: Config, space: SearchSpace, plan: BatchPlan, eval_set: EvalSet, splits: Splits) -> dict[str, Any]:
    """Counts, steps, coverage and memory of the run ``config`` describes, by name."""
    train, epochs = config.train, config.train.num_epochs
    coverage = plan.coverage(0)
    net = new_net(config, None)
    parameters = sum(p.numel() for p in net.parameters())
    slices = len(batch_slices(train.batch_size, train.micro_batch_size))
    checks = 1 if train.grad_clip_position == "step" else space.num_paths * slices
    micro = train.micro_batch_size or train.batch_size
    element = {"bf16": 2, "fp64": 8}.get(train.precision, 4)
    activations = activation_bytes(config, net, micro) * element // 4
    # Weights, gradient and Adam's two moments; the moving average is a fifth copy.
    state = parameters * (8 if train.precision == "fp64" else 4) * (5 if train.ema_decay else 4)
    height, width = config.data.crop_size
    ahead = loading(config).prefetch_batches or 0
    sample = height * width * (6 + 8 + 1)  # uint8 images, float32 flow, bool valid
    prefetched = (ahead + 1) * plan.draws_per_step * sample
    frozen = _held_samples(eval_set) * sample
    return {
        "train_samples": plan.num_samples,
        "val_samples": len(splits.val),
        "train_data": splits.labels[0],
        "val_data": splits.labels[1],
        "space": f"{space.name}: {len(space)} subnets, {space.num_paths} paths a step",
        "parameters": parameters,
        "steps_per_epoch": plan.steps_per_epoch,
        "total_steps": plan.steps_per_epoch * epochs,
        "draws_per_epoch": plan.draws_per_epoch,
        "unique_samples_per_epoch": coverage.unique,
        "coverage_share": round(coverage.share, 6),
        "planned_samples": plan.draws_per_epoch * epochs,
        "expected_clip_checks_per_epoch": checks * plan.steps_per_epoch,
        "eval_samples_per_arch": len(eval_set.evaluation.names),
        "calibration_samples": len(eval_set.calibration.names),
        "eval_set": eval_set.hash,
        "memory_weights_gradient_adam_mib": round(state / 2**20, 1),
        "memory_activations_mib": round(activations / 2**20, 1),
        "memory_prefetch_mib": round(prefetched / 2**20, 1),
        "memory_evaluation_samples_mib": round(frozen / 2**20, 1),
        "memory_total_mib": round((state + activations + prefetched + frozen) / 2**20, 1),
    }


def _held_samples(eval_set: EvalSet) -> int:
    """Frozen samples kept in memory; those of the wide set are read each time."""
    monitors = [split for name, split in eval_set.monitors.items() if name != WIDE]
    return sum(len(split.names) for split in (eval_set.evaluation, eval_set.calibration, *monitors))


def activation_bytes(config: Config, net: StagedNet, samples: int) -> int:
    """Bytes that one forward pass of the largest arch keeps for its backward pass, fp32, counted on one sample.

    What kernels use for themselves (about one more feature map) comes on top.
    """
    space = net.space
    largest = space.arch([len(choice.options) - 1 for choice in space.choices])
    kept: dict[int, int] = {}
    held: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # a storage freed meanwhile would lend its address to the next
        return tensor

    height, width = config.data.crop_size
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        predictions = net.train()(torch.zeros(1, 6, height, width), largest)
        multiscale_loss(predictions, torch.zeros(1, 2, height, width))
    return sum(kept.values()) * samples
