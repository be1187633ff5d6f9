"""Time the strict-fairness training step against a plain loop, in turn, beside the matrix-multiply rate.

Absolute times of a shared machine drift, so both sides are timed in turn and the median of the ratios is given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from _shared import at_least, flow_batch, matmul_gflops, options, run

from edgeflownas.config import TrainConfig
from edgeflownas.data.loader import Batch
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.graph import training_flop
from edgeflownas.run.manifest import choose_device
from edgeflownas.space import get_space
from edgeflownas.train.fairness import fair_cycle
from edgeflownas.train.machine import World
from edgeflownas.train.measure import device_name, random_batch, timed
from edgeflownas.train.step import SupernetTask


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__, gpu=True, batch=8, size="180x240")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="timed rounds (after one that is not)")
    return run(
        parser,
        lambda o: bench_train_step(choose_device(o.gpu_device)[0], o.width, o.batch, o.size, o.rounds),
        argv,
    )


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
        images, flow, valid = flow_batch(batch, self.device)
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


if __name__ == "__main__":
    sys.exit(main())
