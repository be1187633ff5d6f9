"""FlowNet in space v3: context on its way, fixed parts, shared stems."""

from __future__ import annotations

import pytest
import torch
from numeric import FLOAT32, relative_difference
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import Choice, SearchSpace, get_space
from edgeflownas.train.fairness import fair_cycle

V1, V3 = get_space("v1"), get_space("v3")


def images(height: int = 48, width: int = 64, batch: int = 2) -> Tensor:
    return torch.rand((batch, 6, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def third() -> FlowNet:
    return FlowNet(V3, width=8)


def test_parts_of_v3(third: FlowNet) -> None:
    names = [stage.name for stage in third.stages]
    assert names[6:12] == ["DB0", "ECA", "Up1", "DB1", "Up2", "Gate"] and third.shared_stages == 0
    assert {stage.name: stage.context for stage in third.stages if stage.context} == {"ECA": "gives", "Gate": "takes"}
    parameters = dict(third.named_parameters())
    assert parameters["ECA.weight"].shape == (1, 1, 3) and parameters["Gate.weight"].shape == (16, 64, 1, 1)
    chain = {name for name in parameters if name.startswith("E1.conv3x3_dilated3x3")}
    assert len(chain) == 6 and "E1.conv3x3.0.weight" in parameters and "E0.k7.weight" in parameters
    assert not {"ECA.weight", "Gate.weight"} & set(FlowNet(V1, width=2).state_dict())
    assert all(parameters[name].detach().std() > 0.05 for name in ("ECA.weight", "Gate.weight"))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("code", [*V3.anchors, "02101200101"])
def test_a_subnet_of_v3_is_its_path_to_the_bit(third: FlowNet, code: str, training: bool) -> None:
    subnet = third.train(training).subnet(code)
    assert set(subnet.state_dict()) < set(third.state_dict()) and {"ECA.weight", "Gate.weight"} <= set(
        subnet.state_dict()
    )
    assert all(torch.equal(a, b) for a, b in zip(subnet(images(45, 50)), third(images(45, 50), code), strict=True))
    alone = FlowNet(V3.restrict(V3.parse(code)), width=8).state_dict()
    assert all(torch.equal(value, third.state_dict()[name]) for name, value in alone.items())


def test_the_gate_sees_the_bottleneck_after_attention(third: FlowNet) -> None:
    """The chain by hand; without its context the gate does not run."""
    code, seen = V3.parse("00000000000"), {}
    features, predictions = third.prepare(images()), []
    for index, stage in enumerate(third.stages):
        digit = 0 if stage.choice is None else code[stage.choice]
        if stage.name == "Gate":
            context = third.context_of(seen["ECA"])
            assert context.shape == (2, 64, 1, 1)
            assert relative_difference(context[:, :, 0, 0], seen["ECA"].mean((2, 3))) <= 8 * FLOAT32
            scale = torch.sigmoid(
                torch.einsum("oi,bi->bo", third.get_parameter("Gate.weight")[:, :, 0, 0], context[..., 0, 0])
            )
            expected = features * scale[:, :, None, None]
            features = third.run_stage(index, features, 0, context)
            assert relative_difference(features, expected) <= 8 * FLOAT32
            with pytest.raises(ConfigError, match="Gate needs the context"):
                third.run_stage(index, features, 0)
            continue
        result = third.run_stage(index, features, digit)
        features = features if stage.output is not None else result
        predictions += [result] if stage.output is not None else []
        seen[stage.name] = features
    assert all(torch.equal(a, b) for a, b in zip(predictions, third(images(), code), strict=True))


def test_gradients_of_one_fair_cycle_reach_every_parameter() -> None:
    net = FlowNet(V3, width=8)
    for path in fair_cycle(V3, 0, 0):
        multiscale_loss(net(images(), path), torch.ones(2, 2, 48, 64)).total.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name


@pytest.mark.parametrize(("varied", "shared"), [("H1Out", 7), ("DB1", 7), ("EB1", 4)])
def test_a_shared_stem_ends_before_context_is_given(varied: str, shared: int) -> None:
    choice = Choice(varied, "depth", (1, 2)) if varied.endswith("B1") else Choice(varied, "kernel", (3, 5))
    net = FlowNet(SearchSpace("late", (choice,), fixed=("ECA", "Gate")), width=4)
    assert net.shared_stages == shared
    features = net.prepare(images())
    for index in range(shared):
        features = net.run_stage(index, features, 0)
    for arch in net.space:
        assert all(
            torch.equal(a, b) for a, b in zip(net.run_from(shared, features, arch), net(images(), arch), strict=True)
        )


def test_attention_alone_and_conv_chains_in_other_slots() -> None:
    """A space is data: parts and kinds of v3 go with any other declaration."""
    space = SearchSpace("own", (Choice("Down1", "conv", ("3x3", "3x3+dilated3x3")),), fixed=("ECA",))
    net = FlowNet(space, width=4)
    assert "ECA.weight" in net.state_dict() and "Gate.weight" not in net.state_dict() and net.shared_stages == 3
    assert not torch.equal(net(images(), "0")[2], net(images(), "1")[2])
