"""EdgeFlowNet: sizes, transposed convolutions, initial values, both batch norms, what it shares with FlowNet."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import FLOAT32, relative_difference

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.calibration import recalibrate
from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.metrics import epe, sample_errors
from edgeflownas.evaluate.pool import score_pool
from edgeflownas.models.batchnorm import BatchNorm, use_statistics
from edgeflownas.models.blocks import Conv, TransposedConv
from edgeflownas.models.flownet import SPACE, EdgeFlowNet, FlowNet
from edgeflownas.space import get_space

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from flow_batches import make_batches  # noqa: E402

(ONLY,) = SPACE


def images(height=48, width=64, batch=2):
    return torch.rand((batch, 6, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_parameter_count_is_the_published_one():
    assert sum(p.numel() for p in EdgeFlowNet(32, seed=None).parameters()) == 2_743_804


def test_predictions_at_three_scales_of_the_padded_grid():
    for kind in ("frozen", "trained"):
        predictions = EdgeFlowNet(4, kind)(images(45, 50))  # type: ignore[arg-type]
        assert [tuple(p.shape) for p in predictions] == [(2, 4, 12, 16), (2, 4, 24, 32), (2, 4, 48, 64)]


@pytest.mark.parametrize("channels_last", [False, True])
@given(
    kernel=st.sampled_from([3, 5, 7]), stride=st.sampled_from([1, 2]), height=st.integers(1, 6), width=st.integers(1, 6)
)
@settings(max_examples=25, deadline=None)
def test_transposed_convolution_is_the_adjoint_of_the_same_convolution(channels_last, kernel, stride, height, width):
    """<conv(y), x> = <y, transposed(x)> for all x, y is what TF defines it by."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    transposed, conv = TransposedConv(3, 2, kernel, stride).double(), Conv(2, 3, kernel, stride).double()
    with torch.no_grad():
        conv.weight.copy_(transposed.weight.normal_())
        x = torch.randn(1, 3, height, width, dtype=torch.float64).contiguous(memory_format=layout)
        y = torch.randn(1, 2, stride * height, stride * width, dtype=torch.float64)
        up = transposed(x)
        assert up.shape == y.shape
        if height > 1 and width > 1:  # one pixel lies in memory as both layouts do, so the result may have either
            assert up.is_contiguous(memory_format=layout)
        assert float((conv(y) * x).sum()) == pytest.approx(float((y * up).sum()), rel=1e-9, abs=1e-9)
        transposed.bias.fill_(0.5)
        assert relative_difference(transposed(x), up + 0.5) <= 1e-12


def test_initial_values_are_glorot_uniform_and_a_function_of_seed_and_name():
    net, again, other = EdgeFlowNet(16), EdgeFlowNet(16, "trained"), EdgeFlowNet(16, seed=1)
    for name, value in net.named_parameters():
        assert torch.equal(value, again.get_parameter(name)), name
    weight = net.get_parameter("DB0.conv1.weight").detach()
    limit = (6 / (256 * 9)) ** 0.5
    assert 0.99 * limit < float(weight.abs().max()) <= limit and abs(float(weight.mean())) < limit / 100
    assert not torch.equal(weight, other.get_parameter("DB0.conv1.weight"))
    assert not net.get_parameter("Up1.conv.bias").any()


def test_it_offers_what_training_and_the_walk_use_of_flownet():
    ours, flownet = EdgeFlowNet(4, "trained"), FlowNet(get_space("v1"), 4)
    assert [stage.name for stage in ours.stages] == [stage.name for stage in flownet.stages]
    assert [stage.output for stage in ours.stages] == [stage.output for stage in flownet.stages]
    assert (ours.space.num_paths, len(ours.space), ours.shared_stages) == (1, 1, 0)
    assert ours.memory_format == flownet.memory_format == torch.channels_last
    features = ours.prepare(images(45, 50))
    predictions = ours(images(45, 50), ONLY)
    for mine, whole in zip(ours.run_from(0, features, ONLY), predictions, strict=True):
        assert torch.equal(mine, whole)
    assert all(ours.get_submodule(bn.name) is bn and bn.slot == i for i, bn in enumerate(ours.batchnorms))
    assert len(ours.batchnorms) == 12


def test_the_one_arch_has_the_name_of_the_model():
    assert str(ONLY) == "edgeflownet" and SPACE.parse("edgeflownet") == ONLY
    assert SPACE.pool(1, 7) == [ONLY]
    for text in ("", "0", "000000000"):
        with pytest.raises(ConfigError, match="single model"):
            SPACE.parse(text)
    with pytest.raises(ConfigError, match="belongs to space"):
        EdgeFlowNet(2)(images(), get_space("v1").sample(0))


@pytest.mark.parametrize("width", [0, 3])
def test_width(width):
    with pytest.raises(ConfigError, match="even"):
        EdgeFlowNet(width)


def test_images_of_another_layout_are_refused():
    with pytest.raises(ConfigError, match="EdgeFlowNet takes float images"):
        EdgeFlowNet(2)(torch.zeros(1, 3, 32, 32))


def test_frozen_statistics_never_move_and_its_affine_is_learned():
    net = EdgeFlowNet(4, "frozen")
    assert net.batchnorms == () and sum(isinstance(m, BatchNorm) and m.frozen for m in net.modules()) == 12
    x = images()
    for ours, theirs in zip(net.train()(x), net.eval()(x), strict=True):
        assert torch.equal(ours, theirs)
    alone = net(x[:1])[2]
    assert relative_difference(alone, net(x)[2][:1]) <= 32 * FLOAT32  # company in the batch changes nothing
    torch.autograd.backward(multiscale_loss(net.train()(x), torch.zeros(2, 2, 48, 64)).total)
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())
    assert {float(b.unique()) for n, b in net.named_buffers() if n.endswith("mean")} == {0.0}


@pytest.mark.parametrize("kind", ["frozen", "trained"])
def test_gradients_are_those_of_finite_differences(kind):
    net = EdgeFlowNet(2, kind).double().train()  # type: ignore[arg-type]
    x, flow = images(32, 32).double(), torch.zeros(2, 2, 32, 32, dtype=torch.float64) + 0.3
    torch.autograd.backward(multiscale_loss(net(x), flow).total)
    with torch.no_grad():
        for name in ("E0.conv.weight", "DB0.conv2.weight", "Up2.conv.weight", "H1.conv.bias", "H2.bn.weight"):
            value = net.get_parameter(name)
            direction = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
            losses = []
            for step in (1e-6, -2e-6):
                value += step * direction
                losses.append(float(multiscale_loss(net(x), flow).total))
            value += 1e-6 * direction
            assert value.grad is not None
            expected = float((value.grad * direction).sum())
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-7), name


def by_hand(net, batch, statistics):
    with torch.no_grad(), use_statistics(net, statistics):
        flow = accumulate(net.eval()(batch.images))[2]  # type: ignore[attr-defined]
    return epe(*sample_errors(flow, batch.flow, batch.valid))  # type: ignore[attr-defined]


def test_trained_batch_norm_is_recalibrated_by_the_walk():
    net = EdgeFlowNet(4, "trained")
    calibration, (evaluation,) = make_batches([3, 2]), make_batches([2])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    nodes = recalibrate(net, [ONLY], calibration)
    statistics = {slot: pair for slots in nodes.values() for slot, pair in slots.items()}
    assert sorted(statistics) == list(range(12))
    result = score_pool(net, [ONLY], calibration, [evaluation])
    assert result.scores[0].epe == by_hand(net, evaluation, statistics)
    assert score_pool(net, [ONLY], calibration[:1], [evaluation]).scores[0].epe != result.scores[0].epe
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_frozen_batch_norm_is_evaluated_as_it_is():
    net = EdgeFlowNet(4, "frozen")
    calibration, (evaluation,) = make_batches([3, 2]), make_batches([2])
    assert recalibrate(net, [ONLY], calibration) == {}
    result = score_pool(net, [ONLY], calibration, [evaluation])
    assert result.scores[0].epe == by_hand(net, evaluation, {})
