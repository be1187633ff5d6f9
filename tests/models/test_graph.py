"""The folded graph computes what the network computes, and counts what the plain network runs."""

from __future__ import annotations

import pytest
import torch
from numeric import relative_difference
from settled import SIZE, WIDTH, networks, settled

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.models.graph import (
    FoldedNet,
    Outputs,
    fold,
    graph_of,
    macs,
    parameters,
    run_graph,
    stage_macs,
    training_flop,
)
from edgeflownas.space import get_space


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


V1, V3 = get_space("v1"), get_space("v3")


def test_known_figures_of_v3() -> None:
    """Its lightest subnet at 176x224 is about 1.65 GMAC, the mean over the space about 2.8 GMAC."""
    assert macs(V3, 32, "0" * 11, 176, 224) == 1_646_363_904 - 2 * 256
    stages = stage_macs(V3, 32, "0" * 11, 176, 224)
    assert (stages["ECA"], stages["Gate"]) == (3 * 256, 256 * 64)
    assert stage_macs(get_space("v3_nobias"), 32, "0" * 11, 176, 224)["ECA"] == 5 * 256
    assert stage_macs(V3, 32, "02" + "0" * 9, 176, 224)["E1"] == 9 * (32 + 64) * 64 * 44 * 56
    drawn = [macs(V3, 32, V3.sample(seed), 176, 224) for seed in range(300)]
    assert sum(drawn) / 300 == pytest.approx(2.81e9, rel=0.02)
    assert parameters(V3, 32, V3.baseline) == 2_736_420


def test_known_figures() -> None:
    """The reference step (batch 8, 180x240, width 32, three paths) is about 560 GFLOP."""
    paths = [V1.parse(code) for code in ("012012012", "120120120", "201201201")]
    assert 8 * training_flop(V1, 32, paths, 180, 240) == pytest.approx(561.24e9, rel=1e-4)
    assert stage_macs(V1, 32, "000000000", 192, 240)["E0"] == 7 * 7 * 6 * 32 * 96 * 120
    assert macs(V1.restrict(paths[0]), 32, None, 180, 240) == macs(V1, 32, paths[0], 180, 240)
