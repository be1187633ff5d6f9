"""What a run takes on this machine: a few steps timed, memory estimated, ``train --dry-run``; nothing is written."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch

from edgeflownas.config import Config, DataConfig
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.loader import PREFETCH, Batch, Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import WIDE, EvalSet, FrozenBatches, freeze
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.batches import FlowBatch, to_flow_batch
from edgeflownas.models.stages import StagedNet
from edgeflownas.run.manifest import choose_device, memory_in_words, set_arithmetic
from edgeflownas.run.setup import Splits, build_net, new_net, run_pool, silent
from edgeflownas.space import SearchSpace
from edgeflownas.train.machine import World
from edgeflownas.train.plan import clip_checks_per_epoch, make_plan
from edgeflownas.train.step import SupernetTask

TIMED_STEPS = 5  # after one that is not: it allocates and chooses kernels
TASKS = TIMED_STEPS + 3  # things measure() reports as done: the steps, a calibration and an evaluation batch

FAST_PREFETCH = 8  # batches loaded ahead with train.fast_mode


def loading(config: Config, say: Callable[[str], None] = silent) -> DataConfig:
    """The data keys as the loader takes them: data.prefetch_batches decided, and said where train.fast_mode is on."""
    given = config.data.prefetch_batches
    batches = given or (FAST_PREFETCH if config.train.fast_mode else PREFETCH)
    if config.train.fast_mode:
        why = "data.prefetch_batches is set" if given else f"raised from {PREFETCH}"
        say(f"train.fast_mode: {batches} batches loaded ahead ({why})")
    return config.data.model_copy(update={"prefetch_batches": batches})


@memory_in_words()
def measure(
    config: Config,
    plan: BatchPlan,
    splits: tuple[FlowDataset, FlowDataset] | None,
    table: dict[str, Any],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Seconds of a step, of a calibration and an evaluation batch, and the peak of the memory, by name.

    Args:
        config: the run; of several models side by side the first is timed.
        plan: its order of samples.
        splits: train and val; None: noise of the right shape, no loading.
        table: its figures (train/plan.py make_plan).
        advance: called after each of ``TASKS`` things.

    Returns:
        Plain data for train/plan.py add_seconds; memory in MiB beside the estimate for the whole run.

    Raises:
        ConfigError: a task that cannot be timed alone, a device or precision that is not there, no memory left.
        DataError: data that cannot be read.
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
    figures |= _evaluation(config, splits, net, device, advance)
    on_gpu = device.type == "cuda"
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
        "memory_peak_gpu_mib": round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if on_gpu else None,
        **memory_mib(config, new_net(config, None), plan, frozen),
    }


def _steps(
    config: Config,
    plan: BatchPlan,
    splits: tuple[FlowDataset, FlowDataset] | None,
    task: SupernetTask,
    advance: Callable[[], None],
) -> dict[str, float]:
    """Median seconds of a step, loading included, and of one pair through one path."""
    paths, seconds, passes, waited = task.net.space.num_paths, [], [], []
    with _batches(config, plan, splits) as (batches, wait):
        for step in range(TIMED_STEPS + 1):
            batch: list[Batch] = []

            def one(batch: list[Batch] = batch, step: int = step) -> None:
                batch.append(next(batches))
                task.step(batch[0], step, config.train.lr, lambda: None)

            began = wait()
            seconds.append(timed(one, task.device))
            waited.append(wait() - began)
            passes.append(seconds[-1] / (len(batch[0].indices) // plan.num_paths_drawn * paths))
            advance()
    return {
        "step_seconds": median(seconds[1:]),
        "pass_seconds": median(passes[1:]),
        "data_wait_share": sum(waited[1:]) / sum(seconds[1:]),
    }


@contextmanager
def _batches(
    config: Config, plan: BatchPlan, splits: tuple[FlowDataset, FlowDataset] | None
) -> Iterator[tuple[Iterator[Batch], Callable[[], float]]]:
    """Batches of training without end, and the seconds spent waiting for them so far."""
    if splits is None:
        noise = random_batch(min(plan.draws_per_step, plan.draws_per_epoch), config.data.crop_size)
        yield iter(lambda: noise, None), lambda: 0.0
        return
    with Loader(splits[0], plan, loading(config), config.runtime.seed) as loader:
        yield loader.batches(0), lambda: loader.wait_seconds


def _evaluation(
    config: Config,
    splits: tuple[FlowDataset, FlowDataset] | None,
    net: StagedNet,
    device: torch.device,
    advance: Callable[[], None],
) -> dict[str, float]:
    """Seconds of one calibration and one evaluation batch, each through the whole pool."""
    calibration, evaluation = _eval_batches(config, splits, net, device)
    archs = run_pool(config)
    score_pool(net, archs[:1], [calibration], [evaluation])  # allocates and chooses kernels
    marks: list[float] = []

    def mark() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append(time.perf_counter())

    def before_batch() -> None:  # of calibration (none where batch norm is frozen), then of evaluation
        mark()
        advance()

    score_pool(net, archs, [calibration], [evaluation], before_batch)
    mark()
    return {
        "calibration_batch_seconds": marks[-2] - marks[0],
        "evaluation_batch_seconds": marks[-1] - marks[-2],
    }


def _eval_batches(
    config: Config, splits: tuple[FlowDataset, FlowDataset] | None, net: StagedNet, device: torch.device
) -> tuple[FlowBatch, FlowBatch]:
    """One calibration and one evaluation batch."""
    first = next(net.parameters())
    if splits is None:
        noise = random_batch(config.eval.batch_size, config.data.crop_size)
        batch = to_flow_batch(noise.images, noise.flow, noise.valid, device, first.dtype, net.input_form)
        return batch, batch
    single = config.eval.model_copy(update={"eval_batches_per_arch": 1, "bn_recal_batches": 1})
    frozen = freeze(config.model_copy(update={"eval": single}), *splits, ("train", "val"), lambda note: None)
    place = (frozen.flow_clip, device, first.dtype, net.input_form)
    parts = zip((frozen.calibration, frozen.evaluation), splits, strict=True)
    calibration, evaluation = (FrozenBatches(part, split, *place)[0] for part, split in parts)
    return calibration, evaluation


def _resident_mib() -> float:
    """The most memory this process has held so far; the system counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


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
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
