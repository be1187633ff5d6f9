"""Random batches and pairs, and a reference for batch-norm recalibration, shared by the tests of this folder."""

import random
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import torch

from edgeflownas.models.blocks import FlowBatch

Batches = tuple[list[FlowBatch], list[FlowBatch]]
"""For calibration and for evaluation."""
Moments = dict[str, tuple[torch.Tensor, torch.Tensor]]


class Stop(Exception):
    """What a test abandons work with."""


class StopAt:
    """A ``check_stop`` that raises when it is asked for the ``moment``-th time (None: never) and counts."""

    def __init__(self, moment=None):
        self.moment, self.asked = moment, 0

    def __call__(self):
        self.asked += 1
        if self.asked == self.moment:
            raise Stop


@contextmanager
def unchanged(net):
    """Neither weights, buffers and mode of ``net`` nor random states change; nothing stays attached to it."""

    def state():
        return [net.training, random.getstate(), torch.is_grad_enabled(), torch.get_num_threads()]

    def tensors():
        numbers = torch.from_numpy(np.random.get_state()[1].astype(np.int64))
        return [torch.get_rng_state(), numbers, *(tensor.clone() for tensor in net.state_dict().values())]

    before = state(), tensors()
    yield
    assert state() == before[0] and all(map(torch.equal, tensors(), before[1]))
    assert all(bn.recorder is None and bn.lent is None and not bn.lending for bn in net.batchnorms)
    assert all(parameter.grad is None for parameter in net.parameters())


def make_batches(sizes, height=40, width=52, seed=0):
    """Batches of the given sizes; the images of each sample have a level and a contrast of their own."""
    rng = np.random.default_rng(seed)
    batches = []
    for count in sizes:
        level, contrast = rng.uniform(-0.5, 0.5, (count, 6, 1, 1)), rng.uniform(0.05, 0.5, (count, 6, 1, 1))
        images = torch.from_numpy(level + contrast * rng.uniform(-1, 1, (count, 6, height, width))).float()
        flow = torch.from_numpy(rng.normal(0, 4, (count, 2, height, width))).float()
        batches.append(FlowBatch(images, flow, torch.from_numpy(rng.random((count, height, width)) < 0.8)))
    return batches


def plain_moments(net, arch, batches):
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


def moments_of(net, arch, nodes):
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


def random_pair(height, width, scale=4.0, seed=0):
    """Noise images, normal flow, masks of known and of hidden pixels."""
    rng = np.random.default_rng(seed)
    image1, image2 = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    flow = rng.normal(0, scale, (height, width, 2)).astype(np.float32)
    valid, occluded = rng.random((2, height, width)) < np.array([0.8, 0.3])[:, None, None]
    return SimpleNamespace(image1=image1, image2=image2, flow=flow, valid=valid, occluded=occluded)
