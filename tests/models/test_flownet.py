"""FlowNet: sizes, parameter names, initial values, archs it accepts, faster forms, determinism."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import torch
from numeric import FLOAT32, relative_difference
from settled import settled
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.losses import multiscale_loss
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import Arch, Choice, SearchSpace, get_space
from edgeflownas.train.fairness import fair_cycle

V1, V3 = get_space("v1"), get_space("v3")
PARAMETERS = {
    "000000000": 2_671_904,
    "111111111": 4_565_536,
    "222222222": 6_483_232,
    "000021222": 2_743_072,
    "021100101": 4_741_920,
}


def images(height: int = 48, width: int = 64, batch: int = 2) -> Tensor:
    return torch.rand((batch, 6, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.fixture(scope="module")
def net() -> FlowNet:
    return FlowNet(V1, width=4)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_parameter_counts() -> None:
    supernet = FlowNet(V1, width=32, seed=None)
    assert count(supernet) == 12_122_016
    for code, expected in PARAMETERS.items():
        assert count(supernet.subnet(code)) == expected


def test_names_are_keyed_by_option(net: FlowNet) -> None:
    names = set(net.state_dict())
    assert {"EB0.depth3.1.conv1.weight", "H1.k5.weight", "H1.bn.weight", "H2Out.k7.weight", "E0.k7.weight"} <= names
    subnet = net.subnet("210210210")
    assert set(subnet.state_dict()) < names
    assert "EB0.depth3.2.bn2.running_var" in subnet.state_dict() and "H0Out.k3.weight" not in subnet.state_dict()
    assert [bn.slot for bn in net.batchnorms] == list(range(len(net.batchnorms)))
    assert all(net.get_submodule(bn.name) is bn for bn in net.batchnorms)


def test_initial_values_are_he_normal() -> None:
    net = FlowNet(V1, width=32)
    weight = net.get_parameter("DB0.depth3.1.conv2.weight").detach()
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert abs(weight.mean().item()) < 0.004 * weight.std().item()
    standard = weight / weight.std()
    assert (standard.abs() < 1).float().mean().item() == pytest.approx(0.6827, abs=0.003)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_whole_module_can_be_saved_with_torch(channels_last: bool) -> None:
    subnet = FlowNet(get_space("v1"), 2, channels_last=channels_last).subnet("000021222").eval()
    file = io.BytesIO()
    torch.save(subnet, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert again.memory_format == subnet.memory_format
    for ours, theirs in zip(again(images()), subnet(images()), strict=True):
        assert torch.equal(ours, theirs)


def test_subnet_is_a_copy_of_its_own(net: FlowNet) -> None:
    subnet = net.eval().subnet("000021222")
    assert not subnet.training
    with torch.no_grad():
        expected = net(images(), "000021222")
        for ours, theirs in zip(subnet(images()), expected, strict=True):
            assert torch.equal(ours, theirs)
        next(subnet.parameters()).zero_()
        assert torch.equal(net(images(), "000021222")[2], expected[2])
    assert FlowNet(V1, width=8).double().subnet("000000000").get_parameter("E0.k7.weight").dtype == torch.float64


def test_padding_to_multiples_of_16_repeats_the_edge(net: FlowNet) -> None:
    x = images(45, 50)
    net.eval()
    with torch.no_grad():
        predictions = net(x, "000000000")
        padded = torch.nn.functional.pad(x, (0, 14, 0, 3), mode="replicate")
        assert [tuple(p.shape) for p in predictions] == [(2, 4, 12, 16), (2, 4, 24, 32), (2, 4, 48, 64)]
        assert torch.equal(net(padded, "000000000")[2], predictions[2])


@pytest.mark.parametrize("code", ["000000000", "111111111", "222222222", "021102120", "02000000000", "21120110101"])
def test_faster_forms_are_the_plain_network(code: str) -> None:
    """Phases, channels_last and grouped moments against resize-then-convolve in contiguous memory."""
    space = V1 if len(code) == 9 else V3
    fast, plain = FlowNet(space, width=8), FlowNet(space, width=8, channels_last=False, plain=True)
    flow = torch.randn((2, 2, 45, 50), generator=torch.Generator().manual_seed(1)) * 5
    float32 = [[p.detach() for p in net(images(45, 50), code)] for net in (fast, plain)]
    gradients, float64 = [], []
    for net in (fast, plain):
        predictions = net.double()(images(45, 50).double(), code)
        multiscale_loss(predictions, flow.double()).total.backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
        float64.append([p.detach() for p in predictions])
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-9)
    for ours, theirs, exact, reference in zip(*float32, *float64, strict=True):
        torch.testing.assert_close(exact, reference, rtol=1e-10, atol=1e-10)
        error, plain_error = ((x - reference).square().mean().sqrt() for x in (ours, theirs))
        size = reference.square().mean().sqrt()
        assert error < 4e-5 * size and error < 2 * plain_error


class TorchsBatchNorm(torch.nn.BatchNorm2d):
    """Then residual and ReLU, as ours does."""

    def forward(self, x: torch.Tensor, residual: torch.Tensor | float = 0.0, relu: bool = False) -> torch.Tensor:
        y = super().forward(x) + residual
        return y.relu() if relu else y


@pytest.mark.parametrize("code", ["021102120", "21120110101"])
def test_frozen_it_trains_as_with_the_batch_norm_of_torch_in_evaluation(code: str) -> None:
    """Values, gradients and unmoved buffers in phases, held against torch's own layers in the plain network."""
    space = V1 if len(code) == 9 else V3
    one = space.restrict(space.parse(code))
    net, plain = FlowNet(one, 8, batch_norm="frozen"), FlowNet(one, 8, plain=True, channels_last=False)
    assert net.batchnorms == () and net.subnet(next(iter(one))).batch_norm == "frozen"
    settled(net.double())
    for bn in plain.batchnorms:
        plain.set_submodule(bn.name, TorchsBatchNorm(bn.weight.numel(), bn.eps, track_running_stats=True))
    plain.double().load_state_dict(net.state_dict(), strict=False)
    before, flow = {name: value.clone() for name, value in net.named_buffers()}, torch.ones(2, 2, 45, 50).double()
    found = []
    for each in (net.train(), plain.eval()):
        predictions = each(images(45, 50).double())
        multiscale_loss(predictions, flow).total.backward()
        found.append([*predictions, *(parameter.grad for _, parameter in sorted(each.named_parameters()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())


@pytest.mark.usefixtures("deterministic")
def test_deterministic_forward_and_backward() -> None:
    norms = []
    for _ in range(2):
        net = FlowNet(V1, width=8)
        multiscale_loss(net(images(45, 50), "210210210"), torch.ones(2, 2, 45, 50)).total.backward()
        norms.append([p.grad.clone() for p in net.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*norms, strict=True))


def test_slots_a_space_does_not_vary_keep_their_default() -> None:
    space = SearchSpace("two", (Choice("E0", "kernel", (5, 9)), Choice("H2", "kernel", (1, 3))))
    net = FlowNet(space, width=4)
    names = set(net.state_dict())
    assert {"E0.k5.weight", "E0.k9.weight", "E1.k5.weight", "EB1.depth1.0.conv1.weight", "H1.k3.weight"} <= names
    assert net.shared_stages == 0
    for arch in space:
        assert net(images(), arch)[2].shape == (2, 4, 48, 64)
    fixed = FlowNet(SearchSpace("fixed", ()), width=4)
    assert fixed(images())[0].shape == (2, 4, 12, 16)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("00000000", "8 digits"),
        ("000000003", "H2Out"),
        (Arch((0,) * 9, "v2"), "belongs to space 'v2'"),
        (None, "say which one"),
    ],
)
def test_archs_of_its_own_space_only(net: FlowNet, arch: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        net(images(), arch)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="belongs to space"):
        net.subnet("000000000")(images(), V1.parse("000000000"))


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (6, 32, 32), (2, 32, 32, 6)])
def test_images_of_another_layout(net: FlowNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"\[B,6,H,W\]"):
        net(torch.zeros(shape), "000000000")
    with pytest.raises(ConfigError, match="uint8"):
        net(torch.zeros(2, 6, 32, 32, dtype=torch.uint8), "000000000")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice("H9", "kernel", (3,)), "no slot H9"),
        (Choice("EB0", "kernel", (3,)), "no slot EB0 of kind kernel"),
        (Choice("H1", "kernel", (3, 4)), "odd kernel sizes"),
        (Choice("EB0", "depth", (1, 1)), "distinct"),
        (Choice("EB0", "depth", ()), "distinct"),
        (Choice("E1", "conv", ("3x3", "4x4")), "chains such as"),
        (Choice("E1", "conv", (3,)), "chains such as"),
        (Choice("E1", "kernel", ("3x3",)), "odd kernel sizes"),
        (Choice("H1", "conv", ("3x3",)), "no slot H1 of kind conv"),
        (Choice("ECA", "kernel", (3, 5)), "no slot ECA"),
    ],
)
def test_spaces_it_cannot_build(choice: Choice, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FlowNet(SearchSpace("odd", (choice,)), width=4)


@pytest.mark.parametrize("width", [0, 7, -2])
def test_width_must_be_even(width: int) -> None:
    with pytest.raises(ConfigError, match="even"):
        FlowNet(V1, width=width)


@pytest.fixture(scope="module")
def third() -> FlowNet:
    return FlowNet(V3, width=4)


def test_parts_of_v3(third: FlowNet) -> None:
    names = [stage.name for stage in third.stages]
    assert names[6:12] == ["DB0", "ECA", "Up1", "DB1", "Up2", "Gate"] and third.shared_stages == 0
    assert {stage.name: stage.context for stage in third.stages if stage.context} == {"ECA": "gives", "Gate": "takes"}
    parameters = dict(third.named_parameters())
    assert (
        parameters["ECA.weight"].shape == (1, 1, 3)
        and parameters["ECA.bias"].shape == (1,)
        and parameters["Gate.weight"].shape == (8, 32, 1, 1)
    )
    chain = {name for name in parameters if name.startswith("E1.conv3x3_dilated3x3")}
    assert len(chain) == 6 and "E1.conv3x3.0.weight" in parameters and "E0.conv7x7.1.weight" in parameters
    assert not {"ECA.weight", "Gate.weight"} & set(FlowNet(V1, width=2).state_dict())
    assert all(parameters[name].detach().std() > 0.05 for name in ("ECA.weight", "Gate.weight"))


def test_gradients_of_one_fair_cycle_reach_every_parameter() -> None:
    net = FlowNet(V3, width=4)
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


def test_where_the_choices_are(net: FlowNet) -> None:
    assert [stage.name for stage in net.stages[: net.shared_stages]] == ["E0", "E1"]
    assert [stage.choice for stage in net.stages if stage.choice is not None] == list(range(9))


@pytest.mark.parametrize("code", ["210210210", "00000000000"])
def test_stages_make_up_the_forward(net: FlowNet, third: FlowNet, code: str) -> None:
    """The chain by hand: the gate sees the bottleneck after attention, and without its context it does not run."""
    whole = net if len(code) == 9 else third
    arch, features, predictions, context = whole.space.parse(code), whole.prepare(images()), [], None
    for index, stage in enumerate(whole.stages):
        if stage.context == "takes":
            weight = whole.get_parameter("Gate.weight")[:, :, 0, 0]
            expected = features * torch.sigmoid(torch.einsum("oi,bi->bo", weight, context[..., 0, 0]))[..., None, None]
            assert relative_difference(whole.run_stage(index, features, 0, context), expected) <= 8 * FLOAT32
            with pytest.raises(ConfigError, match="Gate needs the context"):
                whole.run_stage(index, features, 0)
        result = whole.run_stage(index, features, 0 if stage.choice is None else arch[stage.choice], context)
        features = features if stage.output is not None else result
        predictions += [result] if stage.output is not None else []
        if stage.context == "gives":
            context = whole.context_of(features)
            assert context.shape == (2, 32, 1, 1)
            assert relative_difference(context[:, :, 0, 0], features.mean((2, 3))) <= 8 * FLOAT32
    assert all(torch.equal(a, b) for a, b in zip(predictions, whole(images(), arch), strict=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("code", ["012012012", *V3.anchors, "02101200101"])
def test_a_subnet_is_its_path_to_the_bit_and_starts_alone_from_the_supernets_values(
    net: FlowNet, third: FlowNet, code: str, training: bool
) -> None:
    whole = net if len(code) == 9 else third
    subnet, names = whole.train(training).subnet(code), set(whole.state_dict())
    assert set(subnet.state_dict()) < names and {"ECA.weight", "Gate.weight"} & names <= set(subnet.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(subnet(images(45, 50)), whole(images(45, 50), code), strict=True))
    restricted = whole.space.restrict(whole.space.parse(code))
    alone, other = FlowNet(restricted, width=4), FlowNet(restricted, width=4, seed=1)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in alone.state_dict().items())
    first = next(name for name, _ in alone.named_parameters())
    assert not torch.equal(other.get_parameter(first), alone.get_parameter(first))
