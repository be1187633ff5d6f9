"""A few steps of a configuration, timed on this machine; nothing is written, nothing of the run exists."""

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

from edgeflownas.config import Config
from edgeflownas.data.dataset import FlowDataset
from edgeflownas.data.loader import Batch, Loader
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.evalset import FrozenBatches, freeze
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.batches import FlowBatch, to_flow_batch
from edgeflownas.models.stages import StagedNet
from edgeflownas.train.distributed import World
from edgeflownas.train.preview import memory_mib
from edgeflownas.train.setup import (
    build_net,
    choose_device,
    loading,
    memory_in_words,
    new_net,
    run_pool,
    set_arithmetic,
)
from edgeflownas.train.tasks import SupernetTask

__all__ = ["TASKS", "TIMED_STEPS", "device_name", "measure", "random_batch", "timed"]

TIMED_STEPS = 5  # after one that is not: it allocates and chooses kernels
TASKS = TIMED_STEPS + 3  # things measure() reports as done: the steps, a calibration and an evaluation batch

Splits = tuple[FlowDataset, FlowDataset]


@memory_in_words()
def measure(
    config: Config, plan: BatchPlan, splits: Splits | None, table: dict[str, Any], advance: Callable[[], None]
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
    config: Config, plan: BatchPlan, splits: Splits | None, task: SupernetTask, advance: Callable[[], None]
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
    config: Config, plan: BatchPlan, splits: Splits | None
) -> Iterator[tuple[Iterator[Batch], Callable[[], float]]]:
    """Batches of training without end, and the seconds spent waiting for them so far."""
    if splits is None:
        noise = random_batch(min(plan.draws_per_step, plan.draws_per_epoch), config.data.crop_size)
        yield iter(lambda: noise, None), lambda: 0.0
        return
    with Loader(splits[0], plan, loading(config), config.runtime.seed) as loader:
        yield loader.batches(0), lambda: loader.wait_seconds


def _evaluation(
    config: Config, splits: Splits | None, net: StagedNet, device: torch.device, advance: Callable[[], None]
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
    config: Config, splits: Splits | None, net: StagedNet, device: torch.device
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


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of ``work``, a GPU's queue included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


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
