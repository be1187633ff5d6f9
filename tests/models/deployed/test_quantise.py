"""Scales, integers and what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from integers import fake_quantise, rounded_layers, rounding
from numeric import FLOAT32, relative_difference

from edgeflownas.errors import ConfigError
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.deployed.folding import fold
from edgeflownas.models.deployed.networks import graph_of
from edgeflownas.models.deployed.quantise import (
    integer_layers,
    pixel_scale,
    scale_of,
    tensor_scales,
)
from edgeflownas.models.deployed.running import run_graph
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

FORM, SIZE = InputForm(), (32, 48)


@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-3, 1e4))
def test_a_scale_covers_its_range_and_zero(low: float, width: float) -> None:
    scale = scale_of((low, low + width))
    step = scale.scale
    assert scale.range[0] <= min(low, 0) + step and scale.range[1] >= max(low + width, 0) - step
    assert fake_quantise(torch.zeros(1), scale).item() == 0.0


def test_pixels_are_exact() -> None:
    bytes_ = torch.arange(256, dtype=torch.float64)
    for normalisation in ("minus1_1", "raw_0_255"):
        form = InputForm(normalisation)
        scale = pixel_scale(form)
        real = bytes_ / 127.5 - 1 if normalisation == "minus1_1" else bytes_
        found = scale.scale * ((bytes_ - 128) - scale.zero_point) + scale.offset
        assert relative_difference(found, real) <= FLOAT32
        rounded = fake_quantise(real.float(), scale) + scale.offset
        assert relative_difference(rounded, real) <= 2 * FLOAT32


def quantised():
    net = FlowNet(get_space("v1"), 8).subnet("021100101").eval()
    graph, images, ranges = graph_of(net, SIZE), torch.rand(1, 6, *SIZE) * 2 - 1, {}
    layers = fold(net, graph)

    def watch(buffer, values):
        ranges[buffer.name] = (values.min().item(), values.max().item())
        return values

    exact = run_graph(graph, layers, images, watch)
    return net, graph, layers, images, tensor_scales(graph, ranges, FORM), exact


@torch.no_grad()
def test_eight_bits_are_near_the_real_numbers() -> None:
    _, graph, layers, images, scales, exact = quantised()
    found = run_graph(graph, rounded_layers(graph, layers, scales), images, rounding(graph, scales))
    error = (found["flow"] - exact["flow"]).square().mean() / exact["flow"].square().mean()
    assert 0 < error < 0.02
    steps = found["flow"] / scales["flow"].scale
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)


@torch.no_grad()
def test_integers_are_within_half_a_step_of_the_layers() -> None:
    _, graph, layers, _, scales, _ = quantised()
    inputs = {op.output.name: op.inputs[0].name for op in graph.ops}
    for name, integers in integer_layers(graph, layers, scales).items():
        exact, step, pixels = layers[name], integers.scales.astype(np.float64), scales[inputs[name]]
        weight = exact.weight.numpy() / step[:, None, None, None]
        offset = exact.weight.double().sum((1, 2, 3)).numpy() / 255 if inputs[name] == "images" else 0.0
        bias = (exact.bias.numpy() + offset) / (step * pixels.scale)
        for found, real in ((integers.weight, weight), (integers.bias, bias)):
            assert np.abs(found - real).max() <= 0.5 + 16 * FLOAT32 * np.abs(real).max()
        assert np.abs(integers.weight).max() == 127
    assert scales["H1_x2"] == scales["H1"]


def test_a_huge_bias_fits() -> None:
    net, graph, layers, _, scales, _ = quantised()
    name = next(iter(layers))
    layers[name] = layers[name]._replace(bias=layers[name].bias + 1e8)
    assert np.abs(integer_layers(graph, layers, scales)[name].bias).max() < 1.001 * 2**30


def test_refusals() -> None:
    _, graph, *_ = quantised()
    with pytest.raises(ConfigError, match="no range for tensor 'E0'"):
        tensor_scales(graph, {}, FORM)
    with pytest.raises(ConfigError, match="finite"):
        scale_of((0.0, float("nan")))
    with pytest.raises(ConfigError, match="finite"):
        scale_of((0.0, float("inf")))
