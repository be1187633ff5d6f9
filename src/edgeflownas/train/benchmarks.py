"""Ratios measured in one run: the training step against a plain loop, the pool against one by one, a commit.

Absolute times of a shared machine drift, so both sides of every ratio are timed in turn and the median of the pairwise
ratios is given, beside the matrix-multiply rate of the same minutes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from edgeflownas.config import TrainConfig
from edgeflownas.data.loader import Batch
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.batches import FlowBatch, to_flow_batch
from edgeflownas.models.flops import training_flop
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space
from edgeflownas.train.checkpoint import Position
from edgeflownas.train.distributed import World
from edgeflownas.train.rundir import RunDirectory
from edgeflownas.train.samplers import fair_cycle
from edgeflownas.train.tasks import SupernetTask

__all__ = [
    "bench_commit",
    "bench_eval_pool",
    "bench_train_step",
    "device_name",
    "matmul_gflops",
    "random_batch",
    "timed",
]

HOST = torch.device("cpu")


def matmul_gflops(device: torch.device, size: int = 2048, repeats: int = 5) -> float:
    """Best rate of a square fp32 matrix product, GFLOP/s (two operations a multiply-add)."""
    a, b = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    best = min(timed(lambda: torch.mm(a, b), device) for _ in range(repeats))
    return 2 * size**3 / best / 1e9


def bench_train_step(
    device: torch.device, width: int, batch: int, size: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """Our strict-fairness step against three separate passes in the default memory format with resize-then-conv."""
    space = get_space("v1")
    config = TrainConfig(width=width, batch_size=batch)
    data = random_batch(batch, size)
    ours = SupernetTask(FlowNet(space, width), config, 0, World(), device)
    ours.net.to(device)
    plain = PlainLoop(FlowNet(space, width, channels_last=False, plain=True).to(device), config, device)
    steps: list[Callable[[int], object]] = [
        lambda step: ours.step(data, step, config.lr, lambda: None),
        lambda step: plain.step(data, step),
    ]
    for side in steps:
        side(0)  # warm-up: allocations, kernel selection
    times: list[list[float]] = [[], []]
    rates = []
    work = []
    for step in range(1, rounds + 1):
        rates.append(matmul_gflops(device))
        for side, found in zip(steps, times, strict=True):
            found.append(timed(lambda side=side, step=step: side(step), device))  # type: ignore[misc]
        work.append(training_flop(space, width, fair_cycle(space, 0, step), *size) * batch / 1e9)
    rate = median(w / t for w, t in zip(work, times[0], strict=True))
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "setting": f"width {width}, batch {batch}, {size[0]}x{size[1]}, fp32, 3 paths, {rounds} rounds",
        "step_seconds": median(times[0]),
        "plain_loop_seconds": median(times[1]),
        "speedup_over_plain_loop": median(p / o for o, p in zip(*times, strict=True)),
        "nominal_gflop_per_step": median(work),
        "nominal_gflops": rate,
        "matmul_gflops": median(rates),
        "share_of_matmul_rate": median(w / t / r for w, t, r in zip(work, times[0], rates, strict=True)),
        "loss_difference": _loss_difference(width, data, device),
    }


class PlainLoop:
    """What one writes first: a pass per path, torch's own clip and Adam."""

    def __init__(self, net: FlowNet, config: TrainConfig, device: torch.device) -> None:
        self.net, self.config, self.device = net.train(), config, device
        self.adam = torch.optim.Adam(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def step(self, batch: Batch, step: int) -> float:
        """One step; returns the mean loss of its paths."""
        images, flow, valid = to_flow_batch(batch.images, batch.flow, batch.valid, self.device)
        images, flow = images.contiguous(), flow.contiguous()
        self.adam.zero_grad()
        total = 0.0
        paths = fair_cycle(self.net.space, 0, step)
        for path in paths:
            loss = multiscale_loss(self.net(images, path), flow, valid).total / len(paths)
            torch.autograd.backward(loss)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.config.grad_clip_global_norm or float("inf"))
        self.adam.step()
        return total


def _loss_difference(width: int, data: Batch, device: torch.device) -> float:
    """Relative difference of the first loss of both sides from equal weights: shows that they compute the same."""
    space = get_space("v1")
    config = TrainConfig(width=width, batch_size=len(data.images))
    ours = SupernetTask(FlowNet(space, width).to(device), config, 0, World(), device).step(data, 0, 0.0, lambda: None)
    plain = PlainLoop(FlowNet(space, width, channels_last=False, plain=True).to(device), config, device).step(data, 0)
    return abs(ours.loss - plain) / abs(plain)


def bench_eval_pool(device: torch.device, width: int, batch: int, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """The pool of 12 on 2 calibration and 2 evaluation batches, together and one by one, in turn."""
    space = get_space("v1")
    net = FlowNet(space, width).to(device)
    batches = [_flow_batch(random_batch(batch, size, seed), device) for seed in range(4)]
    archs = space.pool(12)
    times: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        together = timed(lambda: score_pool(net, archs, batches[:2], batches[2:]), device)
        alone = timed(lambda: [score_pool(net, [arch], batches[:2], batches[2:]) for arch in archs], device)
        if number:  # the first round warms up
            times[0].append(together)
            times[1].append(alone)
    joint = score_pool(net, archs, batches[:2], batches[2:]).scores
    single = [score_pool(net, [arch], batches[:2], batches[2:]).scores[0] for arch in archs]
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "setting": f"12 subnets, width {width}, 2 + 2 batches of {batch}, {size[0]}x{size[1]}, {rounds} rounds",
        "together_seconds": median(times[0]),
        "one_by_one_seconds": median(times[1]),
        "speedup": median(alone / together for together, alone in zip(*times, strict=True)),
        "largest_epe_difference_px": max(abs(a.epe - b.epe) for a, b in zip(joint, single, strict=True)),
    }


def bench_commit(folder: Path, width: int, rounds: int) -> dict[str, Any]:
    """A durable commit of weights and Adam state, read back and verified, in a scratch run below ``folder``."""
    task = SupernetTask(FlowNet(get_space("v1"), width), TrainConfig(width=width), 0, World(), HOST)
    path = folder / f"bench-commit-{time.time_ns()}"
    run = RunDirectory.create(path, {}, {})
    size = sum(t.numel() * t.element_size() for tensors in task.tensors().values() for t in tensors.values())
    try:
        with run.locked():
            run.resume()
            times = [
                timed(lambda step=step: run.commit(Position(step, 0, step), {}, task.tensors()), HOST)  # type: ignore[misc]
                for step in range(1, rounds + 1)
            ]
    finally:
        shutil.rmtree(path)
    return {
        "setting": f"width {width}, {rounds} commits, fsync, sha256 and read back included",
        "bytes": size,
        "commit_seconds": median(times),
        "commit_seconds_max": max(times),
    }


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


def _flow_batch(batch: Batch, device: torch.device) -> FlowBatch:
    return to_flow_batch(batch.images, batch.flow, batch.valid, device)
