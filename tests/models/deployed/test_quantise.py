"""Scales, integers and what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numeric import FLOAT32, relative_difference

from edgeflownas.errors import ConfigError
from edgeflownas.models.batches import InputForm
from edgeflownas.models.deployed.folding import fold
from edgeflownas.models.deployed.networks import graph_of
from edgeflownas.models.deployed.quantise import (
    fake_quantise,
    integer_layers,
    pixel_scale,
    rounded_layers,
    rounding,
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
    found = run_graph(graph, rounded_layers(graph, layers, scales), images, rounding(scales))
    error = (found["flow"] - exact["flow"]).square().mean() / exact["flow"].square().mean()
    assert 0 < error < 0.02
    steps = found["flow"] / scales["flow"].scale
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-3)


@torch.no_grad()
def test_integers_stand_for_the_rounded_layers() -> None:
    _, graph, layers, _, scales, _ = quantised()
    integers, rounded = integer_layers(graph, layers, scales), rounded_layers(graph, layers, scales)
    inputs = {op.output.name: scales[op.inputs[0].name].scale for op in graph.ops}
    for name, layer in integers.items():
        weight = layer.weight * layer.scales[:, None, None, None]
        assert relative_difference(weight, rounded[name].weight) <= 4 * FLOAT32
        bias = layer.bias * layer.scales.astype(np.float64) * inputs[name]
        assert relative_difference(bias, rounded[name].bias) <= 4 * FLOAT32
    assert scales["H1_x2"] == scales["H1"]


def test_gradients_reach_the_network() -> None:
    net, graph, _, images, scales, _ = quantised()
    layers = rounded_layers(graph, fold(net, graph), scales)
    run_graph(graph, layers, images, rounding(scales))["flow"].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


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
