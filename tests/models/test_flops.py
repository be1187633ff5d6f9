"""Counted operations against an independent count of the convolutions that the plain network runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeflownas.models.attention import ContextGate, EfficientChannelAttention
from edgeflownas.models.blocks import Conv
from edgeflownas.models.flops import macs, parameters, stage_macs, training_flop
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import SearchSpace, get_space

V1, V3 = get_space("v1"), get_space("v3")


def hooked_macs(space: SearchSpace, code: str, width: int, height: int, image_width: int) -> int:
    """Sum over the convolutions that really ran: output pixels x kernel elements (attention: output channels)."""
    net, total = FlowNet(space, width, seed=None, plain=True).eval(), 0

    def add(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, Conv | ContextGate | EfficientChannelAttention)
        outputs = output[0, 0].numel() if isinstance(module, Conv) else 1  # a gate's convolution is on one pixel
        if isinstance(module, EfficientChannelAttention):
            outputs = output.shape[1]
        total += outputs * module.weight.numel()

    for module in net.modules():
        if isinstance(module, Conv | ContextGate | EfficientChannelAttention):
            module.register_forward_hook(add)
    with torch.no_grad():
        net(torch.zeros(1, 6, height, image_width), code)
    return total


@pytest.mark.parametrize("code", ["000000000", "222222222", "021102120"])
@pytest.mark.parametrize("size", [(32, 48), (45, 50)])
def test_against_hooks(code: str, size: tuple[int, int]) -> None:
    assert macs(V1, 8, code, *size) == hooked_macs(V1, code, 8, *size)


@pytest.mark.parametrize("code", [*V3.anchors, "02101200101"])
def test_v3_against_hooks_and_the_module(code: str) -> None:
    assert macs(V3, 8, code, 45, 50) == hooked_macs(V3, code, 8, 45, 50)
    alone = FlowNet(V3, 8, seed=None).subnet(code)
    assert parameters(V3, 8, code) == sum(p.numel() for p in alone.parameters())


def test_known_figures_of_v3() -> None:
    """Its lightest subnet at 176x224 is about 1.65 GMAC, the mean over the space about 2.8 GMAC."""
    assert macs(V3, 32, "0" * 11, 176, 224) == 1_646_363_904
    stages = stage_macs(V3, 32, "0" * 11, 176, 224)
    assert (stages["ECA"], stages["Gate"]) == (5 * 256, 256 * 64)
    assert stage_macs(V3, 32, "02" + "0" * 9, 176, 224)["E1"] == 9 * (32 + 64) * 64 * 44 * 56
    drawn = [macs(V3, 32, V3.sample(seed), 176, 224) for seed in range(300)]
    assert sum(drawn) / 300 == pytest.approx(2.81e9, rel=0.02)
    assert parameters(V3, 32, V3.baseline) == 2_736_421


def test_known_figures() -> None:
    """The reference step (batch 8, 180x240, width 32, three paths) is about 560 GFLOP."""
    paths = [V1.parse(code) for code in ("012012012", "120120120", "201201201")]
    assert 8 * training_flop(V1, 32, paths, 180, 240) == pytest.approx(561.24e9, rel=1e-4)
    assert stage_macs(V1, 32, "000000000", 192, 240)["E0"] == 7 * 7 * 6 * 32 * 96 * 120
    assert macs(V1.restrict(paths[0]), 32, None, 180, 240) == macs(V1, 32, paths[0], 180, 240)


@pytest.mark.parametrize("code", ["000000000", "222222222", "021100101"])
def test_parameters_are_those_of_the_subnet(code: str) -> None:
    alone = FlowNet(V1, 8, seed=None).subnet(code)
    assert parameters(V1, 8, code) == sum(p.numel() for p in alone.parameters())
