"""Random batches and a reference for batch-norm recalibration, shared by the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch

from edgeflownas.evaluate.recalibrate import NodeStatistics
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import Arch

Moments = dict[str, tuple[torch.Tensor, torch.Tensor]]


def make_batches(sizes: list[int], height: int = 40, width: int = 52, seed: int = 0) -> list[FlowBatch]:
    """Batches of the given sizes; the images of each sample have a level and a contrast of their own."""
    rng = np.random.default_rng(seed)
    batches = []
    for count in sizes:
        level, contrast = rng.uniform(-0.5, 0.5, (count, 6, 1, 1)), rng.uniform(0.05, 0.5, (count, 6, 1, 1))
        images = torch.from_numpy(level + contrast * rng.uniform(-1, 1, (count, 6, height, width))).float()
        flow = torch.from_numpy(rng.normal(0, 4, (count, 2, height, width))).float()
        batches.append(FlowBatch(images, flow, torch.from_numpy(rng.random((count, height, width)) < 0.8)))
    return batches


def plain_moments(net: FlowNet, arch: Arch | None, batches: list[FlowBatch]) -> Moments:
    """Mean and biased variance, by batch norm, of the float64 concatenation of all its inputs.

    Hooks on plain forwards in training mode, one batch after the other: nothing of walk, recorder or pooling.
    """
    inputs: dict[str, list[torch.Tensor]] = {}
    hooks = []
    for bn in net.batchnorms:
        keep = lambda module, args: inputs.setdefault(module.name, []).append(args[0].detach().double().clone())  # noqa: E731
        hooks.append(bn.register_forward_pre_hook(keep))
    net.train()
    with torch.no_grad():
        for batch in batches:
            net(batch.images, arch)
    for hook in hooks:
        hook.remove()
    found = {}
    for name, parts in inputs.items():
        pixels = torch.cat([part.permute(0, 2, 3, 1).reshape(-1, part.shape[1]) for part in parts])
        found[name] = (pixels.mean(0), pixels.var(0, unbiased=False))
    return found


def moments_of(net: FlowNet, arch: Arch, nodes: NodeStatistics) -> Moments:
    """What ``arch`` reads from the tree: a node is (stage, digits of the feature choices before it, own digit)."""
    found: Moments = {}
    prefix: tuple[int, ...] = ()
    for index, stage in enumerate(net.stages):
        digit = 0 if stage.choice is None else arch[stage.choice]
        for slot, pair in nodes.get((index, prefix, digit), {}).items():
            assert net.batchnorms[slot].name not in found, "a batch norm has one place"
            found[net.batchnorms[slot].name] = pair
        if stage.choice is not None and stage.output is None:
            prefix = (*prefix, digit)
    return found
