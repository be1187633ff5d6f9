"""Accumulation and losses against DESIGN's formulas written out as loops over samples and pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.losses import accumulate, feature_loss, multiscale_loss
from edgeflownas.models.blocks import up2
from edgeflownas.models.fast import to_pixels


def predictions(seed, height, width, batch=2):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(height // k, width // k) for k in (4, 2, 1)]
    return [torch.randn((batch, 4, *size), generator=generator, dtype=torch.float64) for size in sizes]


def reference(preds, flow, valid):
    """(optical, uncertainty) by loops, for a padded grid larger than the label."""
    a = [preds[0]]
    for p in preds[1:]:
        a.append(up2(a[-1]) + p)
    optical = uncertainty = 0.0
    for total, k, weight in zip(a, (4, 2, 1), (0.125, 0.25, 0.5), strict=True):
        for b in range(len(flow)):
            ds, us = [], []
            for y in range(0, flow.shape[2], k):
                for x in range(0, flow.shape[3], k):
                    if not valid[b, y, x]:
                        continue
                    for c in range(2):
                        d = abs(float(total[b, c, y // k, x // k]) - float(flow[b, c, y, x]))
                        u = float(total[b, 2 + c, y // k, x // k])
                        ds.append(d)
                        us.append(d / max(math.log1p(math.exp(u + 1e-3)), 1e-3) + math.log1p(math.exp(u)))
            if ds:
                optical += weight * float(np.mean(ds)) / len(flow)
                uncertainty += weight * float(np.mean(us)) / len(flow)
    return optical, uncertainty


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 99),
    height=st.integers(1, 16),
    width=st.integers(1, 16),
    share=st.sampled_from([0.0, 0.1, 0.7, 1]),
)
def test_against_loops(seed, height, width, share):
    """Any label size on a padded grid of 16x16, any share of valid pixels; sample 1 may have none."""
    preds = predictions(seed, 16, 16)
    generator = torch.Generator().manual_seed(seed + 1)
    flow = torch.randn((2, 2, height, width), generator=generator, dtype=torch.float64) * 3
    valid = torch.rand((2, height, width), generator=generator) < share
    loss = multiscale_loss(preds, flow, valid)
    optical, uncertainty = reference(preds, flow, valid)
    assert float(loss.optical) == pytest.approx(optical, rel=1e-12)
    assert float(loss.uncertainty) == pytest.approx(uncertainty, rel=1e-12)
    assert float(loss.total) == pytest.approx(optical + uncertainty, rel=1e-12)


def test_no_mask_means_every_pixel():
    preds, flow = predictions(0, 16, 32), torch.randn(2, 2, 13, 30, dtype=torch.float64)
    every = torch.ones(2, 13, 30, dtype=torch.bool)
    for ours, theirs in zip(multiscale_loss(preds, flow), multiscale_loss(preds, flow, every), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_gradient_of_both_terms(share):
    """The gradient by hand against differences of the loss, where the label is padded and where softplus is floored."""
    preds = [p.requires_grad_() for p in predictions(0, 8, 8, batch=1)]
    with torch.no_grad():
        preds[0][0, 2:, 0, 0] = -30.0
    flow = torch.randn(1, 2, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    valid = torch.rand(1, 7, 6, generator=torch.Generator().manual_seed(2)) < share
    assert torch.autograd.gradcheck(lambda *p: multiscale_loss(p, flow, valid)[1:], preds)


def test_predictions_in_phases_are_the_same_pixels():
    """[B,16,h/2,w/2], channel 4 (2 r + s) + c, as models/fast.py computes them."""
    pixels = [p.requires_grad_() for p in predictions(0, 16, 32)]
    phases = [p.detach().unflatten(3, (-1, 2)).unflatten(2, (-1, 2)) for p in pixels[1:]]
    phases = [p.permute(0, 3, 5, 1, 2, 4).flatten(1, 3).contiguous().requires_grad_() for p in phases]
    flow = torch.randn(2, 2, 13, 30, dtype=torch.float64)
    losses = multiscale_loss(pixels, flow), multiscale_loss([pixels[0], *phases], flow)
    assert losses[0] == losses[1]
    expected = torch.autograd.grad(losses[0].total, pixels[1:])
    found = torch.autograd.grad(losses[1].total, phases)
    for pixel, phase in zip(expected, found, strict=True):
        assert torch.equal(to_pixels(phase), pixel)


def test_unknown_pixels_reach_neither_loss_nor_gradient():
    preds = [p.requires_grad_() for p in predictions(0, 16, 16)]
    flow, valid = torch.randn(2, 2, 16, 16, dtype=torch.float64), torch.ones(2, 16, 16, dtype=torch.bool)
    valid[:, 4:8, 4:8] = False
    expected = torch.autograd.grad(multiscale_loss(preds, flow, valid).total, preds)
    flow[:, :, 4:8, 4:8] = float("nan")
    loss = multiscale_loss(preds, flow, valid)
    gradients = torch.autograd.grad(loss.total, preds)
    assert torch.isfinite(loss.total)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
    assert not gradients[2][:, :, 4:8, 4:8].any()
    assert gradients[2][:, :, 0, 0].all()


def test_padding_enters_no_gradient():
    preds = [p.requires_grad_() for p in predictions(0, 16, 16)]
    multiscale_loss(preds, torch.zeros(2, 2, 9, 16, dtype=torch.float64)).total.backward()
    gradient = preds[2].grad
    assert gradient is not None and not gradient[:, :, 9:].any() and gradient[:, :, :9].any()
    with torch.no_grad():
        preds[2][:, :, 12:] = float("nan")
    loss = multiscale_loss(preds, torch.zeros(2, 2, 9, 16, dtype=torch.float64))
    assert torch.isfinite(loss.total) and torch.equal(torch.autograd.grad(loss.total, preds[2])[0], gradient)


def test_accumulate_promotes_half_precision_and_keeps_float64():
    preds = predictions(0, 16, 16)
    assert [a.dtype for a in accumulate(preds)] == [torch.float64] * 3
    assert [a.dtype for a in accumulate([p.bfloat16() for p in preds])] == [torch.float32] * 3
    a0, a1, a2 = accumulate(preds)
    assert torch.equal(a0, preds[0]) and torch.equal(a1, up2(a0) + preds[1]) and torch.equal(a2, up2(a1) + preds[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, f, v: (p[:2], f, v), "3 predictions"),
        (lambda p, f, v: (p, f[:1], v), "flow must be"),
        (lambda p, f, v: (p, f.permute(0, 2, 3, 1), v), "flow must be"),
        (lambda p, f, v: (p, f, v[:, None]), "valid must be"),
        (lambda p, f, v: (p, f, v.float()), "valid must be"),
        (lambda p, f, v: (p, f.repeat(1, 1, 2, 1), v.repeat(1, 2, 1)), "prediction at 1/4"),
        (lambda p, f, v: ([p[0], p[1], p[2][:, :2]], f, v), "prediction at 1/1"),
    ],
)
def test_shapes_that_do_not_belong_together(change, message):
    assert callable(change)
    arguments = change(predictions(0, 16, 16), torch.zeros(2, 2, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool))
    with pytest.raises(DataError, match=message):
        multiscale_loss(*arguments)


SIZES = ((3, 4), (6, 8), (12, 16))


def features(channels, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, channels, h, w, generator=generator, dtype=torch.float64) for h, w in SIZES]


def test_against_the_formula_in_numpy():
    student, teacher, weights = features(5, 0), features(9, 1), (0.5, 2.0, 1.0)
    expected = 0.0
    for s, t, weight in zip(student, teacher, weights, strict=True):
        expected += weight * np.mean((np.abs(s.numpy()).max(1) - np.abs(t.numpy()).max(1)) ** 2)
    assert float(feature_loss(student, teacher, weights)) == pytest.approx(expected, rel=1e-12)
    assert float(feature_loss([-t for t in teacher], teacher, weights)) == 0.0  # signs do not matter


def test_gradient_reaches_the_student_alone():
    student, teacher = features(4, 3), features(4, 4)
    for tensor in (*student, *teacher):
        tensor.requires_grad_()
    feature_loss(student, teacher, (1.0, 0.0, 1.0)).backward()
    assert [s.grad is not None and bool(s.grad.any()) for s in student] == [True, False, True]
    assert all(t.grad is None for t in teacher)


def test_other_grids_are_refused():
    with pytest.raises(ConfigError, match="different grids"):
        feature_loss(features(4, 0)[1:] + features(4, 0)[:1], features(4, 1), (1.0, 1.0, 1.0))
