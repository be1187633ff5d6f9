"""The folded graph computes what the network computes, under the running statistics of its batch norms."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from numeric import relative_difference

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.models.deployed.folding import fold
from edgeflownas.models.deployed.graph import Outputs
from edgeflownas.models.deployed.networks import graph_of
from edgeflownas.models.deployed.running import FoldedNet, run_graph
from edgeflownas.models.edgeflownet import EdgeFlowNet
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

sys.path.insert(0, str(Path(__file__).parents[2]))
from settled import SIZE, WIDTH, networks, settled  # noqa: E402


@pytest.mark.parametrize("name", networks())
def test_the_outputs_are_the_networks(name: str) -> None:
    net = networks()[name]().double()
    torch.manual_seed(0)
    images = torch.rand(2, 6, *SIZE, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        raw = net(images)
    sums = accumulate(raw)
    expected = {"flow": sums[2:], "half": sums[1:2], "quarter": sums[:1], "scales": sums, "raw": raw}
    for outputs, tensors in expected.items():
        graph = graph_of(net, SIZE, outputs, uncertainty=True)
        with torch.no_grad():
            found = run_graph(graph, fold(net, graph), images)
        assert list(found) == [buffer.name for buffer in graph.outputs]
        pairs = list(found.values())
        for index, tensor in enumerate(tensors):
            for part, value in enumerate(pairs[2 * index : 2 * index + 2]):
                assert relative_difference(value, tensor[:, 2 * part : 2 * part + 2]) <= 1e-12
        without = graph_of(net, SIZE, outputs)
        module = FoldedNet(without, fold(net, without))
        assert [b.name for b in without.outputs] == [b.name for b in graph.outputs if b.name.startswith("flow")]
        with torch.no_grad():
            for one, other in zip(module(images), pairs[::2], strict=True):
                assert relative_difference(one, other) <= 1e-12


def test_every_tensor_is_seen_once_and_may_be_replaced() -> None:
    net = settled(FlowNet(get_space("v1"), WIDTH).subnet("021100101"))
    graph, images, seen = graph_of(net, SIZE), torch.rand(1, 6, *SIZE), []

    def at(buffer, tensor):
        seen.append(buffer)
        assert tuple(tensor.shape) == (1, buffer.channels, buffer.rows, buffer.columns)
        return torch.zeros_like(tensor) if buffer.name == "H2Out" else tensor

    with torch.no_grad():
        found = run_graph(graph, fold(net, graph), images, at)
        half = run_graph(graph_of(net, SIZE, "half"), fold(net, graph), images)
    assert tuple(seen) == graph.buffers
    assert torch.equal(found["flow"][..., ::2, ::2], half["flow_half"])


def test_an_odd_size_of_the_published_network() -> None:
    graph = graph_of(EdgeFlowNet(WIDTH), (172, 224))
    assert graph.outputs[0].shape_1HWC == (1, 176, 224, 2)
    net = settled(EdgeFlowNet(WIDTH))
    with torch.no_grad():
        assert run_graph(graph, fold(net, graph), torch.rand(1, 6, 172, 224))["flow"].shape == (1, 2, 176, 224)


def test_refusals() -> None:
    supernet = FlowNet(get_space("v1"), WIDTH)
    with pytest.raises(ConfigError, match="say which one"):
        graph_of(supernet, SIZE)
    graph = graph_of(supernet.subnet("000000000"), SIZE)
    with pytest.raises(ConfigError, match="extract the subnet first"):
        fold(supernet.subnet("222222222"), graph)
    wrong: Outputs = "sum"  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="flow, half, quarter, scales, raw"):
        graph_of(supernet.subnet("000000000"), SIZE, wrong)


def test_folding_is_differentiable() -> None:
    net = settled(FlowNet(get_space("v1"), WIDTH).subnet("000000000"))
    graph = graph_of(net, SIZE)
    run_graph(graph, fold(net, graph), torch.rand(1, 6, *SIZE))["flow"].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())
