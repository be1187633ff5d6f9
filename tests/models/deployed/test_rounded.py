"""The network of task qat: what it computes is what an export of its weights and ranges computes."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.hardware.tflite import write_int8
from edgeflownas.hardware.tflite.model import TfliteModel
from edgeflownas.models.batches import FlowBatch, InputForm
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.deployed.folding import Layer, fold
from edgeflownas.models.deployed.graph import Buffer, Outputs
from edgeflownas.models.deployed.networks import graph_of
from edgeflownas.models.deployed.quantise import integer_layers, rounded_layers, rounding, tensor_scales
from edgeflownas.models.deployed.rounded import RoundedNet, loss_graph
from edgeflownas.models.deployed.running import run_graph
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.stages import Sums
from edgeflownas.space import get_space

SIZE = (32, 48)
NETWORKS = [("v1", "021100101", "minus1_1"), ("v3", "21000011111", "minus1_1"), ("v1", "000021222", "raw_0_255")]


def ready(name: str = "v1", code: str = "021100101", form: str = "minus1_1", width: int = 4) -> RoundedNet:
    """A network whose ranges hold what two pairs of noise give, with statistics that change something."""
    space, generator = get_space(name), torch.Generator().manual_seed(1)
    net = RoundedNet(space.restrict(space.parse(code)), width, input_form=InputForm(form))  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
    ranges: dict[str, tuple[float, float]] = {}

    def watch(buffer: Buffer, values: Tensor) -> Tensor:
        ranges[buffer.name] = (values.min().item(), values.max().item())
        return values

    graph = loss_graph(net, SIZE)
    with torch.no_grad():
        run_graph(graph, fold(net, graph), pairs(net), watch)
    net.set_ranges(ranges)
    return net


def pairs(net: RoundedNet, count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return net.input_form.encode(torch.randint(0, 256, (count, *size, 6), generator=generator), torch.float32)


def simulated(net: RoundedNet, outputs: Outputs, uncertainty: bool, integers: bool = False) -> dict[str, Tensor]:
    """The int8 simulation of an export, made of the checkpoint's weights and ranges alone."""
    graph = graph_of(net, SIZE, outputs, uncertainty)
    scales = tensor_scales(graph, net.tensor_ranges(), net.input_form)
    layers = rounded_layers(graph, fold(net, graph), scales)
    if integers:
        for op in graph.ops:
            if op.output.name in layers:
                found = integer_layers(graph, fold(net, graph), scales)[op.output.name]
                step = torch.from_numpy(found.scales).double()
                shape = (-1, *[1] * (found.weight.ndim - 1))
                weight = torch.from_numpy(found.weight).double() * step.view(shape)
                bias = torch.from_numpy(found.bias).double() * step * scales[op.inputs[0].name].scale
                layers[op.output.name] = Layer(weight.float(), bias.float())
    return run_graph(graph, layers, pairs(net), rounding(scales))


@pytest.mark.parametrize(("name", "code", "form"), NETWORKS)
@torch.no_grad()
def test_every_exported_graph_computes_it_to_the_bit(name: str, code: str, form: str) -> None:
    net = ready(name, code, form)
    sums = net(pairs(net))
    for outputs in get_args(Outputs):
        for uncertainty in (False, True):
            found = simulated(net, outputs, uncertainty)
            for scale, word in enumerate(("_quarter", "_half", "")):
                for head, channels in (("flow", slice(0, 2)), ("uncertainty", slice(2, 4))):
                    if f"{head}{word}" in found:
                        assert torch.equal(found[f"{head}{word}"], sums[scale][:, channels]), (outputs, head, word)
            assert len(found) == {"scales": 3, "raw": 3}.get(outputs, 1) * (1 + uncertainty)


@torch.no_grad()
def test_the_integers_compute_it_within_one_step() -> None:
    net = ready()
    sums, found = net(pairs(net)), simulated(net, "flow", uncertainty=False, integers=True)
    low, high = net.tensor_ranges()["flow"]
    difference = (found["flow"] - sums[2][:, :2]).abs()
    assert difference.max() <= 1.01 * (high - low) / 255 and (difference > 0).float().mean() < 0.01


@torch.no_grad()
def test_the_file_computes_it_operator_by_operator_within_one_step() -> None:
    """Rounding that falls the other way in one value in a hundred spreads: at the end the file is a few steps off."""
    pytest.importorskip("ai_edge_litert")
    net = ready()
    graph = graph_of(net, SIZE, "scales", uncertainty=True)
    scales, folded = tensor_scales(graph, net.tensor_ranges(), net.input_form), fold(net, graph)
    model = TfliteModel(write_int8(graph, integer_layers(graph, folded, scales), scales), "plain", preserve_all=True)
    images, layers = pairs(net, 1), rounded_layers(graph, folded, scales)
    model.run((((images[0] + 1) * 127.5).round() - 128).permute(1, 2, 0).to(torch.int8).numpy())
    stored = model.tensors([buffer.name for buffer in graph.buffers])
    file = {name: torch.from_numpy(model.real(name, array)).permute(0, 3, 1, 2) for name, array in stored.items()}

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        wrong = ((file[buffer.name] - rounding(scales)(buffer, values)) / scales[buffer.name].scale).abs().round()
        assert wrong.max() <= 1 and (wrong > 0).float().mean() < 0.02, buffer.name
        return file[buffer.name]  # every operator starts from what the file has

    run_graph(graph, layers, images, at)
    ours, float_net = net(images)[2][:, :2], ready()
    float_net.rounded = False
    exact = float_net(images)[2][:, :2]
    assert (file["flow"] - exact).square().mean() < 1.5 * (ours - exact).square().mean()


@torch.no_grad()
def test_a_device_that_sums_itself_reads_raw_predictions_with_the_same_ranges() -> None:
    net = ready()
    found, ranges = simulated(net, "raw", uncertainty=True), net.tensor_ranges()
    assert {"flow_raw_full", "uncertainty_raw_half"} <= found.keys() and ranges["flow_raw_full"] == ranges["H2Out"]
    graph = loss_graph(net, SIZE)
    scales = tensor_scales(graph, ranges, net.input_form)
    seen: dict[str, Tensor] = {}

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        seen[buffer.name] = rounding(scales)(buffer, values)
        return seen[buffer.name]

    run_graph(graph, rounded_layers(graph, fold(net, graph), scales), pairs(net), at)
    for raw, own in (
        ("flow_raw_half", "H1Out"),
        ("flow_raw_full", "H2Out"),
        ("uncertainty_raw_full", "H2Out.uncertainty"),
    ):
        assert torch.equal(found[raw], seen[own])


@torch.no_grad()
def test_unrounded_it_is_the_plain_network_under_its_running_statistics() -> None:
    net = ready().double()
    plain, images = net.subnet(next(iter(net.space))).eval(), pairs(net).double()
    rounded = net(images)
    net.rounded = False
    for ours, own, theirs in zip(net(images), rounded, accumulate(plain(images)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(own, theirs, rtol=1e-3, atol=1e-3)


def test_names_are_those_of_the_plain_network() -> None:
    space = get_space("v1")
    one = space.restrict(space.parse("021100101"))
    plain, net = FlowNet(one, 4), RoundedNet(one, 4)
    assert set(net.state_dict()) == {*plain.state_dict(), "ranges"}
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in plain.state_dict().items())


def test_the_gradient_reaches_every_parameter_but_not_past_a_clipped_value() -> None:
    net = ready()
    flow = torch.zeros(2, 2, *SIZE)
    multiscale_loss(net(pairs(net)), flow).total.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    net.zero_grad()
    net.set_ranges({**net.tensor_ranges(), "E0": (0.0, 1e-6)})  # nearly all of E0 is above it
    multiscale_loss(net(pairs(net)), flow).total.backward()
    gradients = {name: float(p.grad.abs().sum()) for name, p in net.named_parameters() if p.grad is not None}
    assert gradients["E0.k7.weight"] == 0.0 and gradients["E1.k5.weight"] > 0


def test_the_gradient_points_where_that_of_the_network_without_rounding_does() -> None:
    net = ready().double()
    flow, images = torch.zeros(2, 2, *SIZE, dtype=torch.float64), pairs(net).double()
    gradients = []
    for rounded in (True, False):
        net.zero_grad()
        net.rounded = rounded
        multiscale_loss(net(images), flow).total.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert 0.9 < cosine < 1.0


def test_scoring_runs_it_whole_and_leaves_it_alone() -> None:
    net = ready()
    batch = FlowBatch(pairs(net), torch.ones(2, 2, *SIZE), torch.ones(2, *SIZE, dtype=torch.bool))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = score_pool(net, list(net.space), [batch], [batch])
    with torch.no_grad():
        sums = net(pairs(net))
    assert isinstance(sums, Sums)
    assert result.epes[0] == pytest.approx((sums[2][:, :2] - 1).norm(dim=1).mean().item(), rel=1e-6)
    assert result.scores[0].epe_a0 == pytest.approx((sums[0][:, :2] - 1).norm(dim=1).mean().item(), rel=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@torch.no_grad()
def test_sizes_share_the_ranges() -> None:
    net = ready()
    for size in ((20, 40), (48, 64)):
        assert net(pairs(net, 1, size))[2].shape[-2:] == (size[0] + -size[0] % 16, size[1] + -size[1] % 16)
