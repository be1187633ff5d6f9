"""Batch norm: moments, recording, lent statistics, untouched buffers."""

import pytest
import torch
from numeric import FLOAT32, relative_difference
from torch import Tensor
from torch.nn import functional as F

from edgeflownas.errors import ConfigError
from edgeflownas.models.batchnorm import BatchNorm, moments, record_moments, use_statistics

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Recorder:
    def __init__(self, precise=False):
        self.precise = precise
        self.rows: list[tuple[int, Tensor, Tensor, int]] = []

    def add(self, slot, mean, var, count):
        self.rows.append((slot, mean, var, count))


def features(*shape, layout="channels_last"):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1.5 + 2.0
    return x.contiguous(memory_format=LAYOUTS[layout])


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("shape", [(4, 8, 96, 240), (2, 16, 12, 15), (1, 3, 5, 7), (2, 4, 1, 1)])
def test_recorded_moments_are_exact(shape, precise, layout):
    """Against float64: 1e-6 also on large maps, where torch's own channels_last float32 sums miss by 1e-4."""
    x, bn, recorder = features(*shape, layout=layout), BatchNorm(shape[1]), Recorder(precise)
    with record_moments(bn, recorder):
        bn(x)
    ((_, mean, var, count),) = recorder.rows
    exact = x.double()
    assert count == x.numel() // shape[1]
    deviation = exact.var((0, 2, 3), unbiased=False)
    size = exact.square().mean((0, 2, 3)).sqrt()
    assert ((mean.double() - exact.mean((0, 2, 3))).abs() / size).max() < 1e-6
    assert ((var.double() - deviation).abs() / deviation).max() < (1e-6 if precise or shape[2] > 1 else 1e-5)


def test_moments_survive_a_large_offset():
    x = features(4, 4, 64, 64) + 1000.0
    mean, var = moments(x)
    exact = x.double()
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(var, exact.var((0, 2, 3), unbiased=False), rtol=1e-6, atol=0)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("channels", "residual", "relu"), [(6, False, False), (4, False, True), (32, True, True)])
def test_output_and_gradients_are_those_of_torch(channels, residual, relu, layout, dtype):
    bn = BatchNorm(channels).to(dtype)
    with torch.no_grad():
        bn.weight.copy_(torch.linspace(0.5, 2, channels)), bn.bias.copy_(torch.linspace(-1, 1, channels))
    x = features(3, channels, 20, 24, layout=layout).to(dtype).requires_grad_()
    added = [features(3, channels, 20, 24, layout=layout).to(dtype).flip(0).requires_grad_()] * residual
    downstream = torch.randn(3, channels, 20, 24, dtype=torch.float64)
    ours = bn(x, *added, relu=relu)
    gradients = torch.autograd.grad(ours, (x, bn.weight, bn.bias, *added), downstream.to(dtype))
    y, weight, bias, *others = (
        t.detach().double().contiguous().requires_grad_() for t in (x, bn.weight, bn.bias, *added)
    )
    expected = sum(others, F.batch_norm(y, None, None, weight, bias, True, 0.0, 1e-5))
    expected = expected.relu() if relu else expected
    reference = torch.autograd.grad(expected, (y, weight, bias, *others), downstream)
    limit = 32 * torch.finfo(dtype).eps
    for value, exact in zip((ours, *gradients), (expected, *reference), strict=True):
        assert relative_difference(value, exact) <= limit


def test_forward_never_writes_the_buffers():
    bn, x = BatchNorm(3), features(2, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in bn.state_dict().items()}
    bn(x)
    with record_moments(bn, Recorder()), use_statistics(bn, {-1: (torch.ones(3), torch.ones(3))}):
        bn(x), bn.eval()(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in bn.state_dict().items())


def test_lent_statistics_and_their_return():
    bn, x = BatchNorm(3).eval(), features(2, 3, 8, 8)
    plain = bn(x)
    mean, var = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), torch.tensor([4.0, 4.0, 4.0], dtype=torch.float64)
    with use_statistics(bn, {-1: (mean, var)}):
        lent = bn(x)
        with use_statistics(bn, {}), pytest.raises(ConfigError, match="no statistics"):
            bn(x)
        assert torch.equal(bn(x), lent)
    expected = (x.double() - mean[:, None, None]) / (4 + 1e-5) ** 0.5
    assert relative_difference(lent, expected) <= 4 * FLOAT32
    assert torch.equal(bn(x), plain)


def test_recorder_is_detached_after_an_error_and_silent_in_eval_mode():
    bn, recorder = BatchNorm(3), Recorder()
    with pytest.raises(RuntimeError), record_moments(bn, recorder):
        bn.eval()(features(2, 3, 4, 4))
        raise RuntimeError
    bn.train()(features(2, 3, 4, 4))
    assert recorder.rows == [] and bn.recorder is None


def test_one_pixel_has_no_variance():
    with pytest.raises(ConfigError, match="one pixel"):
        BatchNorm(3)(torch.zeros(1, 3, 1, 1))


def test_bfloat16_features():
    """As under autocast: statistics and parameters stay float32."""
    bn, recorder, x = BatchNorm(3), Recorder(precise=True), features(2, 3, 16, 16).bfloat16()
    with record_moments(bn, recorder):
        assert bn(x).dtype == torch.bfloat16
    torch.testing.assert_close(recorder.rows[0][1], x.double().mean((0, 2, 3)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.5])
def test_epsilon_in_every_form(layout, eps):
    """Batch statistics (grouped or torch's), their gradient, and evaluation."""
    bn, reference = BatchNorm(4, eps).double(), torch.nn.BatchNorm2d(4, eps).double()
    x = (features(2, 4, 6, 8, layout=layout).double() * 0.1).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weights = torch.randn(2, 4, 6, 8, dtype=torch.float64)
    for module, data in ((bn, x), (reference, y)):
        torch.autograd.backward((module(data) * weights).sum())
    torch.testing.assert_close(bn(x), reference(y), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-8, atol=1e-8)
    (
        bn.eval(),
        reference.eval(),
        bn.running_mean.copy_(reference.running_mean),
        bn.running_var.copy_(reference.running_var),
    )
    torch.testing.assert_close(bn(x), reference(y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_a_frozen_batch_norm_knows_only_its_own_statistics(training):
    bn, recorder = BatchNorm(4, 1e-3).train(training), Recorder()
    bn.frozen = True
    x = features(2, 4, 6, 8)
    with record_moments(bn, recorder), use_statistics(bn, {}):
        assert relative_difference(bn(x), x / (1 + 1e-3) ** 0.5) <= 4 * FLOAT32  # mean 0, variance 1: an affine
    assert recorder.rows == []
    bn.running_mean.fill_(2.0), bn.running_var.fill_(4.0)
    assert relative_difference(bn(x), (x - 2.0) / (4 + 1e-3) ** 0.5) <= 4 * FLOAT32
    assert float(bn.running_mean.mean()) == 2.0
    with pytest.raises(RuntimeError):
        bn(features(2, 3, 6, 8))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_frozen_one_has_the_gradients_of_torch_in_evaluation(layout):
    bn, reference = BatchNorm(4).double().train(), torch.nn.BatchNorm2d(4).double().eval()
    bn.frozen = True
    with torch.no_grad():
        for name, low in (("weight", 0.5), ("bias", -1.0), ("running_mean", 1.0), ("running_var", 0.5)):
            for module in (bn, reference):
                getattr(module, name).copy_(torch.linspace(low, 2.0, 4))
    before = bn.running_mean.clone(), bn.running_var.clone()
    x, y = (features(3, 4, 6, 8, layout=layout).double().requires_grad_() for _ in range(2))
    downstream = torch.randn(3, 4, 6, 8, dtype=torch.float64)
    ours = torch.autograd.grad(bn(x), (x, bn.weight, bn.bias), downstream)
    theirs = torch.autograd.grad(reference(y), (y, reference.weight, reference.bias), downstream)
    for value, exact in zip((bn(x), *ours), (reference(y), *theirs), strict=True):
        torch.testing.assert_close(value, exact, rtol=1e-12, atol=1e-12)
    assert torch.equal(bn.running_mean, before[0]) and torch.equal(bn.running_var, before[1])
