"""The start of task ``qat``: batch-norm statistics as an evaluation would recalibrate them, then a range a tensor."""

from __future__ import annotations

import torch

from edgeflownas.evaluate.evalset import FrozenBatches
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.models.deployed.folding import fold
from edgeflownas.models.deployed.ranges import collect_ranges
from edgeflownas.models.deployed.rounded import RoundedNet, loss_graph
from edgeflownas.train.teacher import set_buffers

__all__ = ["calibrate_rounded"]


@torch.no_grad()
def calibrate_rounded(net: RoundedNet, batches: FrozenBatches, method: str) -> None:
    """Set statistics and ranges of ``net`` from its weights and the calibration samples.

    Raises ConfigError for an unknown ``method``, or weights that give a value that is not finite.
    """
    plain = net.subnet(next(iter(net.space)))
    with full_precision():
        set_buffers(plain, batches)
        net.load_state_dict(plain.state_dict(), strict=False)
        window = batches.split.windows[0]
        graph = loss_graph(net, (window.height, window.width))
        images = (net.prepare(batch.images) for batch in batches)
        net.set_ranges(collect_ranges(graph, fold(net, graph), images, method))
