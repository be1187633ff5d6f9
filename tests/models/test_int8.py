"""Scales, integers and what they stand for; ranges of tensors: what each method keeps, whatever the batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from integers import fake_quantise
from numeric import FLOAT32, relative_difference

from edgeflownas.errors import ConfigError
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.graph import Buffer, Graph, Layer, Op, fold, graph_of, run_graph
from edgeflownas.models.int8 import (
    _Histogram,
    collect_ranges,
    integer_layers,
    parse_method,
    pixel_scale,
    scale_of,
    tensor_scales,
)
from edgeflownas.space import get_space

FORM, SIZE = InputForm(), (32, 48)


@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-3, 1e4))
def test_a_scale_covers_its_range_and_zero(low, width):
    scale = scale_of((low, low + width))
    step = scale.scale
    assert scale.range[0] <= min(low, 0) + step and scale.range[1] >= max(low + width, 0) - step
    assert fake_quantise(torch.zeros(1), scale).item() == 0.0


def test_pixels_are_exact():
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
def test_integers_are_within_half_a_step_of_the_layers():
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


def test_a_huge_bias_fits():
    net, graph, layers, _, scales, _ = quantised()
    name = next(iter(layers))
    layers[name] = layers[name]._replace(bias=layers[name].bias + 1e8)
    assert np.abs(integer_layers(graph, layers, scales)[name].bias).max() < 1.001 * 2**30


def test_refusals():
    _, graph, *_ = quantised()
    with pytest.raises(ConfigError, match="no range for tensor 'E0'"):
        tensor_scales(graph, {}, FORM)
    with pytest.raises(ConfigError, match="finite"):
        scale_of((0.0, float("nan")))
    with pytest.raises(ConfigError, match="finite"):
        scale_of((0.0, float("inf")))


def copying(rows=16, columns=16):
    """A graph whose only operator copies its images."""
    images, output = (Buffer(name, 6, rows, columns, True) for name in ("images", "copy"))
    op = Op("conv", "copy", output, (images,), layer="copy")
    return Graph((op,), images, (output,)), {"copy": Layer(torch.eye(6)[:, :, None, None], torch.zeros(6))}


def of(values, method):
    graph, layers = copying(*values.shape[-2:])
    return collect_ranges(graph, layers, [values], method)["copy"]


def normals(count=8):
    return torch.randn(count, 6, 64, 64, generator=torch.Generator().manual_seed(0))


def test_minmax_is_exact():
    values = normals()
    assert of(values, "minmax") == of(values, "percentile:100") == (values.min().item(), values.max().item())


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
def test_percentiles_are_those_of_all_values(percent):
    values = normals()
    low, high = of(values, f"percentile:{percent}")
    rest, bin_ = (1 - percent / 100) * values.numel(), 8 / 4096
    assert (values < low).sum() <= rest < (values < low + 1.01 * bin_).sum()
    assert (values > high).sum() <= rest < (values > high - 1.01 * bin_).sum()


def test_a_percentile_of_mostly_zeros_counts_them():
    values = torch.zeros(1, 6, 64, 64)
    values.view(-1)[:20] = 5.0  # 0.08 %
    assert of(values, "percentile:99")[1] < 0.01
    assert of(values, "percentile:99.95")[1] == 5.0


def test_more_equal_values_than_float32_counts():
    """A full-size tensor of 16 channels has them from 1024x1088 on."""
    histogram, count = _Histogram("x", counting=True), 2**24 + 8
    histogram.add(torch.zeros(1, count).index_fill_(1, torch.arange(4), 1.0))
    assert histogram.zeros == count - 4 and histogram.counts.sum() == 4 and histogram.counts.min() == 0


@pytest.mark.parametrize("method", ["percentile:90", "mse"])
@pytest.mark.parametrize(
    ("outputs", "kept"),
    [
        ("flow", {"flow", "H2Out", "flow_half", "H1Out", "flow_quarter"}),
        ("half", {"flow_half", "H1Out", "flow_quarter"}),
        ("raw", {"flow_raw_quarter", "flow_raw_half", "flow_raw_full"}),
    ],
)
def test_flow_is_never_clipped(method, outputs, kept):
    net = FlowNet(get_space("v1"), 8).subnet("021100101").eval()
    graph = graph_of(net, SIZE, outputs, uncertainty=True)
    images = torch.rand(2, 6, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    layers = fold(net, graph)
    found, whole = (collect_ranges(graph, layers, [images], name) for name in (method, "minmax"))
    assert {name: found[name] for name in kept} == {name: whole[name] for name in kept}
    assert method == "mse" or any(found[name] != whole[name] for name in found)


def test_least_error_beats_the_others_and_is_near_the_best():
    values = normals() ** 3

    def error(span):
        return float((fake_quantise(values, scale_of(span)) - values).square().mean())

    found = error(of(values, "mse"))
    assert found < 0.9 * error(of(values, "minmax")) and found < 0.9 * error(of(values, "percentile:99.9"))
    ends = np.linspace(20, 100, 41)
    best = min(error((-end, other * end)) for end in ends for other in (0.8, 0.9, 1.0, 1.1, 1.2))
    assert found < 1.02 * best


def test_least_error_of_one_side():
    low, high = of(torch.relu(normals()), "mse")
    assert low == 0.0 and 3.0 < high < 5.0


@pytest.mark.parametrize("method", ["minmax", "percentile:99.9", "mse"])
def test_batches_do_not_matter(method):
    graph, layers = copying(64, 64)
    values = normals() * torch.logspace(-3, 3, 8)[:, None, None, None]
    values[0] = 0.0  # nothing to see at first
    one = collect_ranges(graph, layers, values.split(1), method)
    many = collect_ranges(graph, layers, values.flip(0).split(8), method)
    np.testing.assert_allclose(one["copy"], many["copy"], rtol=1e-6)


def test_every_tensor_with_a_scale_has_a_range():
    net = FlowNet(get_space("v3"), 8).subnet(get_space("v3").sample(3)).eval()
    graph = graph_of(net, SIZE)
    found = collect_ranges(graph, fold(net, graph), [torch.rand(2, 6, *SIZE) * 2 - 1], "mse")
    sigmoids = [op for op in graph.ops if op.activation == "sigmoid"]
    assert sigmoids and all(op.logits.name in found and op.output.name not in found for op in sigmoids)
    assert set(found) == {(op.logits if op in sigmoids else op.output).name for op in graph.ops if op.kind != "up2"}


@pytest.mark.parametrize("method", ["max", "percentile", "percentile:50", "percentile:101", "percentile:x", "mse:1"])
def test_unknown_methods(method):
    with pytest.raises(ConfigError, match=r"percentile:99.99"):
        parse_method(method)


def test_images_that_give_no_range():
    graph, layers = copying()
    with pytest.raises(ConfigError, match="at least one"):
        collect_ranges(graph, layers, [])
    with pytest.raises(ConfigError, match=r"\[6, 8, 8\]: \[6, 16, 16\] expected"):
        collect_ranges(graph, layers, [torch.zeros(1, 6, 8, 8)])
    for method in ("minmax", "mse"):
        with pytest.raises(ConfigError, match="'copy' is not finite"):
            collect_ranges(graph, layers, [torch.full((1, 6, 16, 16), np.nan)], method)
