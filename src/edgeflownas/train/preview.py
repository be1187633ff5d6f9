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
from edgeflownas.train.plan import clip_checks_per_epoch, make_plan
from edgeflownas.train.prepared import LaunchOptions
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.setup import Splits, loading, new_net, run_space
from edgeflownas.train.teacher import find_teacher

__all__ = ["activation_bytes", "check_target", "memory_mib", "preview"]


def check_target(config: Config, options: LaunchOptions, splits: Splits, plan: BatchPlan) -> None:
    """What the run directory would refuse, for ``--dry-run``.  Raises ConfigError or StorageError."""
    resume, fork = options.resume, options.fork
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
        if fork is not None:
            RunDirectory.open(resume).load(options.checkpoint, [])


def preview(config: Config, space: SearchSpace, plan: BatchPlan, eval_set: EvalSet, splits: Splits) -> dict[str, Any]:
    """Counts, steps, coverage and memory of the run ``config`` describes, by name."""
    figures = make_plan(config, plan, len(splits.val))
    coverage = plan.coverage(0)
    net = new_net(config, None)
    evaluated, calibrated = len(eval_set.evaluation.names), len(eval_set.calibration.names)
    return {
        "train_samples": plan.num_samples,
        "val_samples": len(splits.val),
        "train_data": splits.labels[0],
        "val_data": splits.labels[1],
        "space": f"{space.name}: {len(space)} subnets, {space.num_paths} paths a step",
        "parameters": sum(p.numel() for p in net.parameters()),
        "steps_per_epoch": figures["steps_per_epoch"],
        "total_steps": figures["optimizer_updates"],
        "draws_per_epoch": figures["samples_per_epoch"],
        "unique_samples_per_epoch": coverage.unique,
        "coverage_share": round(coverage.share, 6),
        "planned_samples": figures["total_samples"],
        "expected_clip_checks_per_epoch": clip_checks_per_epoch(config.train, plan, space.num_paths),
        "eval_samples_per_arch": evaluated,
        "calibration_samples": calibrated,
        "eval_set": eval_set.hash,
        **memory_mib(config, net, plan, _held_samples(eval_set)),
    }


def _held_samples(eval_set: EvalSet) -> int:
    """Frozen samples kept in memory; those of the wide set are read each time."""
    monitors = [split for name, split in eval_set.monitors.items() if name != WIDE]
    return sum(len(split.names) for split in (eval_set.evaluation, eval_set.calibration, *monitors))


def memory_mib(config: Config, net: StagedNet, plan: BatchPlan, frozen_samples: int) -> dict[str, float]:
    """Estimated memory of a run by what it is for, MiB; ``frozen_samples`` are those evaluations keep decoded."""
    train = config.train
    wide = train.precision == "fp64"
    micro = train.micro_batch_size or train.batch_size
    activations = activation_bytes(config, net, micro) * {"bf16": 2, "fp64": 8}.get(train.precision, 4) // 4
    # Weights, gradient and Adam's two moments; the moving average is a fifth copy.
    state = sum(p.numel() for p in net.parameters()) * (8 if wide else 4) * (5 if train.ema_decay else 4)
    height, width = config.data.crop_size
    sample = height * width * (6 + 8 + 1)  # uint8 images, float32 flow, bool valid
    prefetched = ((loading(config).prefetch_batches or 0) + 1) * plan.draws_per_step * sample
    parts = {
        "weights_gradient_adam": state,
        "activations": activations,
        "prefetch": prefetched,
        "evaluation_samples": frozen_samples * sample,
    }
    parts["total"] = sum(parts.values())
    return {f"memory_{name}_mib": round(size / 2**20, 1) for name, size in parts.items()}


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
