"""The phase forms and the heads' cheap forms against resize-then-convolve, values and gradients, with their borders."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric import FLOAT32, relative_difference
from torch.nn import functional as F

from edgeflownas.models.blocks import up2_pooled
from edgeflownas.models.fast import (
    _same_taps,
    _up_taps,
    as_map,
    block_pixels,
    conv_phases,
    flow_conv,
    flow_kernels,
    fold,
    from_map,
    pixels_relu,
    to_pixels,
    up2_conv,
    up2_conv_phases,
    up_kernels,
)

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def random(seed, *shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def to_phases(pixels):
    """Channel (2 r + s) C + c is pixel (2 i + r, 2 j + s) of channel c."""
    return torch.cat([pixels[:, :, r::2, s::2] for r in range(2) for s in range(2)], 1)


def direct(x, weight):
    return F.conv2d(up2_pooled(x), weight, padding=weight.shape[2] // 2)


@settings(deadline=None, max_examples=40)
@given(
    kernel=st.sampled_from([1, 3, 5, 7, 9]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    layout=st.sampled_from(sorted(FORMATS)),
    seed=st.integers(0, 1000),
)
def test_up2_conv_equals_the_direct_form(kernel, height, width, layout, seed):
    x = random(seed, 2, 3, height, width).contiguous(memory_format=FORMATS[layout]).requires_grad_()
    weight = random(seed + 1, 5, 3, kernel, kernel).requires_grad_()
    ours, expected = to_pixels(up2_conv_phases(x, weight)), direct(x, weight)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    downstream = random(seed + 2, *expected.shape)
    gradients = torch.autograd.grad(ours, (x, weight), downstream)
    for gradient, reference in zip(gradients, torch.autograd.grad(expected, (x, weight), downstream), strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0, atol=2e-12)


def test_without_the_border_terms_it_would_differ():
    """The test above can fail: an interior-only phase form is wrong at the border and right inside."""
    x, weight = random(0, 1, 2, 6, 7), random(1, 3, 2, 5, 5)
    padded = F.pad(x, (4, 4, 4, 4))  # far enough for the true border to lie outside
    naive = to_pixels(up2_conv_phases(padded, weight))[..., 8:-8, 8:-8]
    difference = (naive - direct(x, weight)).abs().amax((0, 1))
    assert difference[2:-3, 2:-3].max() < 1e-12
    assert difference[0].min() > 1e-3 and difference[-1].min() > 1e-3


@settings(deadline=None, max_examples=20)
@given(kernel=st.sampled_from([1, 3, 5, 7]), seed=st.integers(0, 1000))
def test_same_conv_of_a_map_in_phases(kernel, seed):
    pixels, weight = random(seed, 2, 3, 8, 6), random(seed + 1, 4, 3, kernel, kernel)
    ours = to_pixels(conv_phases(to_phases(pixels), weight))
    torch.testing.assert_close(ours, F.conv2d(pixels, weight, padding=kernel // 2), rtol=0, atol=1e-12)


def test_layouts_are_permutations():
    pixels = random(0, 2, 3, 4, 6)
    phases = to_phases(pixels).contiguous(memory_format=torch.channels_last)
    assert torch.equal(phases[:, 3 * 1 + 2], pixels[:, 2, ::2, 1::2])  # channel (2 r + s) C + c with r 0, s 1, c 2
    assert torch.equal(to_pixels(phases), pixels)
    view = as_map(phases)
    assert view.data_ptr() == phases.data_ptr() and view.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(from_map(view), phases)
    torch.testing.assert_close(view.mean((0, 2, 3)), pixels.mean((0, 2, 3)))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_float32_error_is_that_of_the_direct_form(kernel):
    x, weight = random(0, 2, 16, 12, 15), random(1, 8, 16, kernel, kernel) / (4 * kernel)
    exact = direct(x, weight)
    small = x.float().contiguous(memory_format=torch.channels_last)
    ours = to_pixels(up2_conv_phases(small, weight.float())).double()
    assert relative_difference(ours, exact) <= 24 * FLOAT32


def test_kernels_are_not_transformed_in_reduced_precision():
    x, weight = random(0, 1, 8, 6, 6).float(), random(1, 4, 8, 5, 5).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = to_pixels(up2_conv_phases(x, weight))
    assert ours.dtype == torch.bfloat16
    exact = direct(x.double(), weight.double())
    rounded = direct(x.bfloat16().double(), weight.bfloat16().double())
    assert (ours.double() - exact).std() < 2.0 * (rounded - exact).std()


def test_constants_made_in_inference_mode_serve_gradients():
    _up_taps.cache_clear(), _same_taps.cache_clear()
    x, weight = random(0, 1, 2, 4, 4), random(1, 3, 2, 5, 5).requires_grad_()
    with torch.inference_mode():
        up2_conv_phases(x, weight), conv_phases(to_phases(x), weight)
    torch.autograd.backward(up2_conv_phases(x, weight).sum() + conv_phases(to_phases(x), weight).sum())
    assert weight.grad is not None and weight.grad.abs().sum() > 0


LIMIT = 1e-14  # of the largest value: some 50 roundings of float64


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("kernel", [3, 5, 7, 9])
@pytest.mark.parametrize("size", [(12, 16), (4, 4), (5, 3)])
def test_up2_convolution_with_folded_batch_norm(kernel, size):
    x, weight = normal(2, 5, *size).to(memory_format=torch.channels_last), normal(6, 5, kernel, kernel)
    scale, shift = normal(6), normal(6)
    plain = F.conv2d(up2_pooled(x), weight, padding=kernel // 2)
    assert relative_difference(to_pixels(up2_conv(x, up_kernels(weight))), plain) <= LIMIT
    folded = up2_conv(x, fold(up_kernels(weight), scale, shift))
    expected = plain * scale[:, None, None] + shift[:, None, None]
    assert relative_difference(to_pixels(folded), expected) <= LIMIT
    assert torch.equal(pixels_relu(folded), to_pixels(folded).relu())


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_flow_in_blocks(kernel):
    x, weight = normal(2, 6, 12, 20).to(memory_format=torch.channels_last), normal(4, 6, kernel, kernel)
    plain = F.conv2d(x, weight, padding=kernel // 2)[:, :2] * 4.0
    first, second = (flow_conv(x, flow_kernels(weight, factor)) for factor in (4.0, 8.0))
    assert relative_difference(block_pixels(first), plain) <= LIMIT
    both = block_pixels(torch.cat([first, second], 1))  # several predictions side by side
    assert relative_difference(both, torch.cat([plain, plain * 2], 1)) <= LIMIT
