"""Scale, stretch, colours and eraser of a training sample, with flow and validity as they have to go with them."""

from __future__ import annotations

import numpy as np
import pytest

from edgeflownas.config import DataConfig
from edgeflownas.data.augment import COLOURS, ERASER, SPATIAL, erase, saturate, scaled_crop
from edgeflownas.data.dataset import FlowPair
from edgeflownas.randomness import uniforms

H, W = 48, 64
SCALED = DataConfig(crop_size=(40, 56), scale_probability=1.0, scale_min=-0.2, scale_max=0.8)


def pair(valid: np.ndarray | None = None) -> FlowPair:
    """Images that are linear in the place, and a flow that is: exact under bilinear interpolation."""
    y, x = np.mgrid[0:H, 0:W]
    image = np.stack([2 * x, 3 * y, x + y], axis=-1).astype(np.uint8)
    flow = np.stack([0.1 * x + 1, -0.05 * y + 2], axis=-1).astype(np.float32)
    return FlowPair(image, image[::-1].copy(), flow, np.ones((H, W), bool) if valid is None else valid)


def drawn(seed: int, count: int) -> np.ndarray:
    return uniforms(seed, "test", count=count)


@pytest.mark.parametrize("seed", range(8))
def test_flow_scales_with_its_image(seed: int) -> None:
    """What the two linear images say of a pixel's place is where its flow must come from."""
    images, flow, valid = scaled_crop(pair(), (0.3, 0.7), drawn(seed, SPATIAL), SCALED)
    assert images.shape == (40, 56, 6) and flow.shape == (40, 56, 2) and valid.all()
    inner = slice(4, -4), slice(4, -4)
    x, y = images[..., 0][inner] / 2.0, images[..., 1][inner] / 3.0
    across, down = np.diff(x, axis=1).mean(), np.diff(y, axis=0).mean()  # source pixels a pixel
    assert np.allclose(flow[..., 0][inner], (0.1 * x + 1) / across, rtol=0.02, atol=0.08)
    assert np.allclose(flow[..., 1][inner], (-0.05 * y + 2) / down, rtol=0.02, atol=0.08)


def test_without_a_draw_it_is_the_plain_crop_and_the_same_numbers_give_the_same_bits() -> None:
    off = SCALED.model_copy(update={"scale_probability": 0.5})
    numbers = np.array([0.9, 0.5, 0.5, 0.5, 0.5])
    images, flow, _ = scaled_crop(pair(), (0.0, 0.0), numbers, off)
    assert np.array_equal(images[..., :3], pair().image1[:40, :56]) and np.array_equal(flow, pair().flow[:40, :56])
    one, other = (scaled_crop(pair(), (0.2, 0.4), drawn(3, SPATIAL), SCALED) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_invalid_pixels_enter_no_flow_and_never_become_valid() -> None:
    valid = np.ones((H, W), bool)
    valid[:, 30:] = False
    spoilt = pair(valid)
    spoilt.flow[:, 30:] = 1e9
    for seed in range(6):
        images, flow, known = scaled_crop(spoilt, (0.5, 0.5), drawn(seed, SPATIAL), SCALED)
        assert np.abs(flow[known]).max() < 20 and known.any() and not known.all()
        assert (images[..., 0][known] <= 2 * 30).all()
    nothing = scaled_crop(pair(np.zeros((H, W), bool)), (0.5, 0.5), drawn(1, SPATIAL), SCALED)
    assert not nothing[2].any() and np.isfinite(nothing[1]).all()


def test_an_image_never_becomes_smaller_than_the_crop() -> None:
    data = SCALED.model_copy(update={"scale_min": -4.0, "scale_max": -4.0})
    images, _, _ = scaled_crop(pair(), (0.9, 0.9), drawn(0, SPATIAL), data)
    assert images.shape == (40, 56, 6)


def test_the_eraser_takes_rectangles_of_the_second_image_alone() -> None:
    data = DataConfig(eraser=1.0, eraser_min=4, eraser_max=9)
    image = pair().image2
    changed = [(erase(image, drawn(seed, ERASER), data) != image).any(axis=2) for seed in range(20)]
    assert all(0 < int(one.sum()) <= 2 * 81 for one in changed)
    assert erase(image, np.full(ERASER, 0.99), data.model_copy(update={"eraser": 0.5})) is image


def test_colours_together_or_apart() -> None:
    both = np.concatenate([pair().image1, pair().image1], axis=2)
    together = DataConfig(saturation=0.9)
    found = saturate(both, np.array([0.5, 0.0, 1.0, 0.5, 0.5]), together)
    assert np.array_equal(found[..., :3], found[..., 3:]) and not np.array_equal(found, both)
    grey = found[..., :3].astype(float).std(axis=2).mean()
    assert grey < 0.2 * both[..., :3].astype(float).std(axis=2).mean()  # factor 0.1
    apart = saturate(both, drawn(1, COLOURS), together.model_copy(update={"asymmetric_colour": 1.0, "brightness": 0.4}))
    assert not np.array_equal(apart[..., :3], apart[..., 3:])
    assert saturate(both, drawn(1, COLOURS), DataConfig()) is both
