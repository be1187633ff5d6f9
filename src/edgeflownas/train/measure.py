"""What a run takes on this machine: a few steps timed, memory estimated, ``train --dry-run``; nothing is written."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import repeat
from statistics import median
from typing import Any

import numpy as np
import torch

from edgeflownas.config import Config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.loader import Batch, Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.frozen import WIDE, EvalSet, FrozenBatches, freeze
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.blocks import StagedNet, to_flow_batch
from edgeflownas.run.manifest import choose_device, memory_in_words, set_arithmetic
from edgeflownas.run.setup import Splits, build_net, loading, new_net, run_pool, silent
from edgeflownas.train.machine import World
from edgeflownas.train.plan import clip_checks_per_epoch
from edgeflownas.train.step import SupernetTask

TIMED_STEPS = 5  # after one that is not: it allocates and chooses kernels
TASKS = TIMED_STEPS + 3  # things measure() reports as done: the steps, a calibration and an evaluation batch

Pair = tuple[FlowDataset, FlowDataset]  # train and val


@memory_in_words()
def measure(
    config: Config, plan: BatchPlan, splits: Pair | None, table: dict[str, Any], advance: Callable[[], None]
) -> dict[str, Any]:
    """Seconds of a step, of a calibration and an evaluation batch, and the peak of the memory, by name.

    Of several models side by side the first is timed.  Without ``splits``: on noise of the right shape, no loading.
    ``table`` has the figures of the run (make_plan); ``advance`` is called after each of ``TASKS`` things.  Returns
    plain data for add_seconds; memory in MiB beside the estimate for the whole run.  Raises ConfigError for a task that
    cannot be timed alone, a device or precision that is not there, no memory left; DataError.
    """
    if config.train.task == "distil":
        raise ConfigError("--measure cannot time train.task distil (its teacher): time --train.task standalone instead")
    device, _ = choose_device(config.train.gpu_device)
    set_arithmetic(config)
    before = _resident_mib()
    net = build_net(config, device)
    task = SupernetTask(net, config.train, config.runtime.seed, World(), device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    figures = _steps(config, plan, splits, task, advance)
    figures |= _evaluation(config, splits, net, advance)
    peak = round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None
    scored = table["evaluation"]
    frozen = scored["samples_per_arch"] + 2 * scored["train_samples"] + table["calibration"]["samples_per_arch"]
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "input": "noise of the right shape, no loading" if splits is None else "batches of the training split",
        "timed_steps": TIMED_STEPS,
        **figures,
        "memory_peak_resident_mib": _resident_mib(),
        "memory_resident_before_mib": before,
        "memory_peak_gpu_mib": peak,
        **memory_mib(config, new_net(config, None), plan, frozen),
    }


def _steps(
    config: Config, plan: BatchPlan, splits: Pair | None, task: SupernetTask, advance: Callable[[], None]
) -> dict[str, float]:
    """Median seconds of a step, loading included, and of one pair through one path."""
    paths, seconds, passes, waits = task.net.space.num_paths, [], [], []
    with ExitStack() as stack:
        noise = random_batch(min(plan.draws_per_step, plan.draws_per_epoch), config.data.crop_size)
        loader = splits and stack.enter_context(Loader(splits[0], plan, loading(config), config.runtime.seed))
        batches = loader.batches(0) if loader else repeat(noise)
        for step in range(TIMED_STEPS + 1):
            started = time.perf_counter()
            batch = next(batches)
            task.step(batch, step, config.train.lr, lambda: None)
            seconds.append(_now(task.device) - started)
            passes.append(seconds[-1] / (len(batch.indices) // plan.num_paths_drawn * paths))
            waits.append(loader.wait_seconds if loader else 0.0)
            advance()
    return {
        "step_seconds": median(seconds[1:]),
        "pass_seconds": median(passes[1:]),
        "data_wait_share": (waits[-1] - waits[0]) / sum(seconds[1:]),
    }


def _evaluation(config: Config, splits: Pair | None, net: StagedNet, advance: Callable[[], None]) -> dict[str, float]:
    """Seconds of one calibration and one evaluation batch, each through the whole pool."""
    first = next(net.parameters())
    if splits is None:
        noise = random_batch(config.eval_batch_size, config.data.crop_size)
        pixels = noise.images, noise.flow, noise.valid
        calibration = evaluation = to_flow_batch(*pixels, first.device, first.dtype, net.input_form)
    else:
        single = config.eval.model_copy(update={"eval_batches_per_arch": 1, "bn_recal_batches": 1})
        frozen = freeze(config.model_copy(update={"eval": single}), *splits, ("train", "val"), silent)
        calibration = FrozenBatches.of(net, frozen.calibration, splits[0], frozen.flow_clip)[0]
        evaluation = FrozenBatches.of(net, frozen.evaluation, splits[1], frozen.flow_clip)[0]
    archs = run_pool(config)
    score_pool(net, archs[:1], [calibration], [evaluation])  # allocates and chooses kernels
    marks: list[float] = []

    def before_batch() -> None:  # of calibration (none where batch norm is frozen), then of evaluation
        marks.append(_now(first.device))
        advance()

    score_pool(net, archs, [calibration], [evaluation], before_batch)
    marks.append(_now(first.device))
    return {"calibration_batch_seconds": marks[-2] - marks[0], "evaluation_batch_seconds": marks[-1] - marks[-2]}


def _resident_mib() -> float:
    """The most memory this process has held so far; the system counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def preview(config: Config, plan: BatchPlan, eval_set: EvalSet, splits: Splits) -> dict[str, Any]:
    """Counts, steps, coverage and memory of the run ``config`` describes, by name."""
    coverage, net = plan.coverage(0), new_net(config, None)
    space = net.space
    # Those of the wide set are read each time, the others stay in memory.
    monitors = [split for name, split in eval_set.monitors.items() if name != WIDE]
    held = sum(len(split.names) for split in (eval_set.evaluation, eval_set.calibration, *monitors))
    return {
        "train_samples": plan.num_samples,
        "val_samples": len(splits.val),
        "train_data": splits.labels[0],
        "val_data": splits.labels[1],
        "space": f"{space.name}: {len(space)} subnets, {space.num_paths} paths a step",
        "parameters": sum(p.numel() for p in net.parameters()),
        "steps_per_epoch": plan.steps_per_epoch,
        "total_steps": plan.steps_per_epoch * config.train.num_epochs,
        "draws_per_epoch": plan.draws_per_epoch,
        "unique_samples_per_epoch": coverage.unique,
        "coverage_share": round(coverage.share, 6),
        "planned_samples": plan.draws_per_epoch * config.train.num_epochs,
        "expected_clip_checks_per_epoch": clip_checks_per_epoch(config.train, plan, space.num_paths),
        "eval_samples_per_arch": len(eval_set.evaluation.names),
        "calibration_samples": len(eval_set.calibration.names),
        "eval_set": eval_set.hash,
        **memory_mib(config, net, plan, held),
    }


def memory_mib(config: Config, net: StagedNet, plan: BatchPlan, frozen_samples: int) -> dict[str, float]:
    """Estimated memory of a run by what it is for, MiB; ``frozen_samples`` are those evaluations keep decoded."""
    train = config.train
    activations = activation_bytes(config, net, train.micro_batch_size or train.batch_size)
    # Weights, gradient and Adam's two moments; the moving average is a fifth copy.
    weight, copies = 8 if train.precision == "fp64" else 4, 5 if train.ema_decay else 4
    height, width = config.data.crop_size
    sample = height * width * (6 + 8 + 1)  # uint8 images, float32 flow, bool valid
    parts = {
        "weights_gradient_adam": sum(p.numel() for p in net.parameters()) * weight * copies,
        "activations": activations * {"bf16": 2, "fp64": 8}.get(train.precision, 4) // 4,
        "prefetch": ((loading(config).prefetch_batches or 0) + 1) * plan.draws_per_step * sample,
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


def device_name(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def random_batch(count: int, size: tuple[int, int], seed: int = 0) -> Batch:
    """``count`` pairs of noise [count, H, W, ...] in the form the loader gives, a function of ``seed``."""
    rng = np.random.default_rng(seed)
    height, width = size
    return Batch(
        images=rng.integers(0, 256, (count, height, width, 6), dtype=np.uint8),
        flow=rng.normal(0.0, 5.0, (count, height, width, 2)).astype(np.float32),
        valid=np.ones((count, height, width), bool),
        names=tuple(map(str, range(count))),
        indices=np.arange(count),
        positions=np.arange(count),
        epoch=0,
        step=0,
        clipped_share=0.0,
        replaced=(),
    )


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of ``work``, a GPU's queue included."""
    started = time.perf_counter()
    work()
    return _now(device) - started


def _now(device: torch.device) -> float:
    """The clock (s) once a GPU's queue is empty."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
