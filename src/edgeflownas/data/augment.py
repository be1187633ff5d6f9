"""Augmentation beyond flips and brightness, as RAFT trains with (Teed and Deng 2020, core/utils/augmentor.py).

Eraser on the whole second image, then scale and stretch with the crop, then colours.  Everything is a function of the
numbers in [0, 1) it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import DataConfig

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowPair

Uniforms = NDArray[np.float64]
SPATIAL, COLOURS, ERASER = 5, 5, 11  # numbers that each takes
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of RGB


def erase(image2: NDArray[np.uint8], uniform: Uniforms, data: DataConfig) -> NDArray[np.uint8]:
    """One or two rectangles of the second image [H, W, 3] in its mean colour: what moved behind something.

    Truth and validity stay: the pixel of image 1 still moves as it did.
    """
    if uniform[0] >= data.eraser:
        return image2
    height, width = image2.shape[:2]
    erased, colour = image2.copy(), image2.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    low, high = data.eraser_min, max(data.eraser_min, data.eraser_max)
    for top, left, rows, columns in uniform[3:11].reshape(2, 4)[: 1 + int(uniform[1] >= 0.5)]:
        y, x = int(top * height), int(left * width)
        sides = (low + int(side * (high - low + 1)) for side in (rows, columns))
        erased[y : y + next(sides), x : x + next(sides)] = colour
    return erased


def scaled_crop(
    pair: FlowPair, place: tuple[float, float], uniform: Uniforms, data: DataConfig
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    """A random crop of the pair resized by 2^u, each side also stretched: images [h, w, 6], flow [h, w, 2], valid.

    Flow is scaled with the sides.  It is interpolated between valid pixels alone, and a pixel is valid where they have
    at least half of the weight.  An image never becomes smaller than the crop.
    """
    height, width = pair.valid.shape
    exponents = np.full(2, data.scale_min + uniform[1] * (data.scale_max - data.scale_min))
    if uniform[2] < data.stretch_probability:
        exponents = exponents + (2.0 * uniform[3:5] - 1.0) * data.stretch
    if uniform[0] >= data.scale_probability:
        exponents = np.zeros(2)
    rows, columns = (
        max(round(side * 2.0**exponent), least)
        for side, exponent, least in zip((height, width), exponents, data.crop_size, strict=True)
    )
    tall, wide = data.crop_size
    top, left = int(place[0] * (rows - tall + 1)), int(place[1] * (columns - wide + 1))
    if (rows, columns) == (height, width):
        at = slice(top, top + tall), slice(left, left + wide)
        return np.concatenate([pair.image1[at], pair.image2[at]], axis=2), pair.flow[at], pair.valid[at]
    axes = _weights(height, rows, top, tall), _weights(width, columns, left, wide)
    images = _resized(np.concatenate([pair.image1, pair.image2], axis=2), axes)
    known = _resized(pair.valid[..., None].astype(np.float32), axes)
    flow = _resized(np.where(pair.valid[..., None], pair.flow, np.float32(0)), axes) / np.maximum(known, 1e-6)
    factors = np.array([columns / width, rows / height], np.float32)
    whole = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return whole, (flow * factors).astype(np.float32), known[..., 0] >= 0.5


def _weights(size: int, target: int, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lower source place, and weight of the next one, of ``count`` places of an axis of ``size`` made ``target``."""
    source = np.clip((np.arange(first, first + count) + 0.5) * (size / target) - 0.5, 0, size - 1)
    low = np.minimum(source.astype(np.int64), max(size - 2, 0))
    return low, (source - low).astype(np.float32)


def _resized(values: NDArray[Any], axes: tuple[Any, Any]) -> NDArray[np.float32]:
    """Bilinear between pixel centres, [h, w, C] float32."""
    (top, down), (left, right) = axes
    below, beside = np.minimum(top + 1, values.shape[0] - 1), np.minimum(left + 1, values.shape[1] - 1)
    part = values[:, left[0] : beside[-1] + 1].astype(np.float32)
    left, beside = left - left[0], beside - left[0]
    rows = part[top] * (1 - down)[:, None, None] + part[below] * down[:, None, None]
    mixed: NDArray[np.float32] = rows[:, left] * (1 - right)[:, None] + rows[:, beside] * right[:, None]
    return mixed


def saturate(images: NDArray[np.uint8], uniform: Uniforms, data: DataConfig) -> NDArray[np.uint8]:
    """Colours of [h, w, 6] mixed with, or away from, their grey; with ``asymmetric_colour`` each image for itself.

    Then brightness and contrast of the second image are drawn anew, too, about its own mean.
    """
    apart = uniform[0] < data.asymmetric_colour
    if not apart and not data.saturation:
        return images
    found = images.astype(np.float32)
    for first in (0, 3):
        part = found[..., first : first + 3]
        factor = np.float32(1.0 + (2.0 * uniform[2 if apart and first else 1] - 1.0) * data.saturation)
        grey = (part @ _GREY)[..., None]
        part[...] = grey + (part - grey) * factor
        if apart and first:
            mean = part.mean()
            contrast = 1.0 + (2.0 * uniform[3] - 1.0) * data.contrast
            part[...] = (part - mean) * contrast + mean + (2.0 * uniform[4] - 1.0) * data.brightness * 255.0
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)
