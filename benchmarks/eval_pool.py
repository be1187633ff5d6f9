"""Time the evaluation of 12 subnets (2 calibration, 2 evaluation batches) together against one by one, in turn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from _shared import at_least, flow_batch, options, run

from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.manifest import choose_device
from edgeflownas.space import get_space
from edgeflownas.train.measure import device_name, random_batch, timed


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = options(__doc__, gpu=True, batch=8, size="180x240")
    parser.add_argument("--rounds", type=at_least(1), default=3, help="timed rounds (after one that is not)")
    return run(
        parser,
        lambda o: bench_eval_pool(choose_device(o.gpu_device)[0], o.width, o.batch, o.size, o.rounds),
        argv,
    )


def bench_eval_pool(device: torch.device, width: int, batch: int, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Seconds of both ways, and the largest difference of their EPEs, px."""
    space = get_space("v1")
    net = FlowNet(space, width).to(device)
    batches = [flow_batch(random_batch(batch, size, seed), device) for seed in range(4)]
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


if __name__ == "__main__":
    sys.exit(main())
