"""Crop, flip, photometric jitter and flow clip: from a decoded pair to the arrays a batch is made of.

Every random choice is a function of (seed, epoch, draw position), never of a generator's state, so a sample comes
out the same whichever worker loads it.  Uniform numbers 0 and 1 of a draw place the crop, 2 to 5 decide flips,
brightness and contrast; all six are always drawn, so that switching one option on leaves the others as they were.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.config import DataConfig
from edgeflownas.errors import DataError
from edgeflownas.randomness import uniforms, words

if TYPE_CHECKING:
    from edgeflownas.data.dataset import FlowDataset, FlowPair

Images = NDArray[np.uint8]
Flow = NDArray[np.float32]
Valid = NDArray[np.bool_]

MIRROR_U = np.array([-1, 1], np.float32)
MIRROR_V = np.array([1, -1], np.float32)


@dataclass(frozen=True)
class Window:
    """A crop, in pixels of the full image."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class LoadedSample:
    """One sample as it enters a batch."""

    images: Images  # [H, W, 6]: image 1 RGB, then image 2 RGB
    flow: Flow  # [H, W, 2], pixels, u to the right and v down; a training sample's divided by data.flow_divisor
    valid: Valid  # [H, W]
    clipped_share: float  # share of the valid pixels with a component that data.flow_clip changed


def center_window(height: int, width: int, crop_height: int, crop_width: int, name: str = "image") -> Window:
    """The middle window (rounded up and to the left). DataError where the crop is larger than the image."""
    _check_fits(height, width, crop_height, crop_width, name)
    return Window((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def random_window(
    height: int, width: int, crop_height: int, crop_width: int, uniform: tuple[float, float], name: str = "image"
) -> Window:
    """The window chosen by two numbers in [0, 1), every place equally likely. DataError where it does not fit."""
    _check_fits(height, width, crop_height, crop_width, name)
    top = int(uniform[0] * (height - crop_height + 1))
    left = int(uniform[1] * (width - crop_width + 1))
    return Window(top, left, crop_height, crop_width)


def crop(pair: FlowPair, window: Window) -> tuple[Images, Flow, Valid]:
    """The window of a pair: images [h, w, 6] (a copy), flow [h, w, 2] and valid [h, w] (views)."""
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)
    images = cv2.merge([pair.image1[rows, columns], pair.image2[rows, columns]])  # five times faster than concatenate
    return cast(Images, images), pair.flow[rows, columns], pair.valid[rows, columns]


def clip_flow(flow: Flow, limit: float | None, valid: Valid | None = None) -> tuple[Flow, float]:
    """Flow with components limited to +-``limit`` px (None: as it is), and the share of valid pixels it changed."""
    if limit is None:
        return flow, 0.0
    outside = np.abs(flow) > limit
    beyond = outside[..., 0] | outside[..., 1]  # any(axis=2) of so short an axis takes twenty times as long
    if valid is not None:
        beyond &= valid
    total = beyond.size if valid is None else int(np.count_nonzero(valid))
    share = int(np.count_nonzero(beyond)) / total if total else 0.0
    return np.clip(flow, -limit, limit), share


def augment(
    images: Images,
    flow: Flow,
    valid: Valid,
    uniform: NDArray[np.float64],
    noise_words: NDArray[np.uint64] | None,
    data: DataConfig,
) -> tuple[Images, Flow, Valid]:
    """Flips and photometric jitter of a crop: contrast about the mean of both images, then brightness, then noise.

    Args:
        images: uint8 [h, w, 6], rounded back to it at the end.
        flow: [h, w, 2]; a flip mirrors the field and changes the sign of the component along it.
        valid: [h, w].
        uniform: four numbers in [0, 1): horizontal flip, vertical flip, brightness, contrast.
        noise_words: random words for data.noise_std, four pixels' values from each; None for no noise.
        data: probabilities and amplitudes.
    """
    if uniform[0] < data.horizontal_flip:
        images, flow, valid = images[:, ::-1], flow[:, ::-1] * MIRROR_U, valid[:, ::-1]
    if uniform[1] < data.vertical_flip:
        images, flow, valid = images[::-1], flow[::-1] * MIRROR_V, valid[::-1]
    if not (data.brightness or data.contrast or data.noise_std):
        return images, flow, valid
    mean = images.sum(dtype=np.int64) / images.size
    offset = (2.0 * uniform[2] - 1.0) * data.brightness * 255.0
    factor = 1.0 + (2.0 * uniform[3] - 1.0) * data.contrast
    table = (np.arange(256) - mean) * factor + mean + offset  # one entry per grey level
    if noise_words is None:
        return np.take(_to_uint8(table), images), flow, valid
    numbers = noise_words.astype("<u8").view("<u2")[: images.size].reshape(images.shape)
    scaled = _normal_quantiles() * np.float32(data.noise_std * 255.0)
    noisy = np.take(table.astype(np.float32), images) + np.take(scaled, numbers)
    return _to_uint8(noisy), flow, valid


def load_training_sample(
    dataset: FlowDataset, index: int, epoch: int, position: int, data: DataConfig, seed: int
) -> LoadedSample:
    """Sample ``index`` as draw ``position`` of ``epoch`` sees it: random crop, augmentation, flow clip and divisor.

    Raises BadSample: a file cannot be used.  DataError: data.crop_size is larger than the images.
    """
    pair = dataset.read(index)
    height, width = pair.flow.shape[:2]
    uniform = uniforms(seed, "augment", epoch, position, count=6)
    place = (float(uniform[0]), float(uniform[1]))
    images, flow, valid = crop(pair, random_window(height, width, *data.crop_size, place, dataset.names[index]))
    noise = words(seed, "noise", epoch, position, count=-(-images.size // 4)) if data.noise_std else None
    images, flow, valid = augment(images, flow, valid, uniform[2:], noise, data)
    return _finish(images, flow, valid, data.flow_clip, data.flow_divisor)


def load_eval_sample(dataset: FlowDataset, index: int, window: Window, flow_clip: float | None) -> LoadedSample:
    """Sample ``index`` cut to a fixed window (see :func:`center_window`), nothing random, flow in pixels.

    Raises BadSample: a file cannot be used.  DataError: the window lies outside the images.
    """
    pair = dataset.read(index)
    height, width = pair.flow.shape[:2]
    if window.top + window.height > height or window.left + window.width > width:
        raise DataError(
            f"{dataset.names[index]}: window of {window.height}x{window.width} at row {window.top}, column "
            f"{window.left} lies outside the {height}x{width} images: the data is not what the window was made for"
        )
    return _finish(*crop(pair, window), flow_clip)


def _finish(images: Images, flow: Flow, valid: Valid, limit: float | None, divisor: float = 1.0) -> LoadedSample:
    flow, share = clip_flow(flow, limit, valid)
    if divisor != 1.0:
        flow = flow / np.float32(divisor)
    # Copies: a view would keep (or send to another process) the whole decoded image.
    return LoadedSample(np.ascontiguousarray(images), np.array(flow, order="C"), np.array(valid, order="C"), share)


def _check_fits(height: int, width: int, crop_height: int, crop_width: int, name: str) -> None:
    if crop_height > height or crop_width > width:
        raise DataError(
            f"{name}: data.crop_size {crop_height}x{crop_width} is larger than the images, {height}x{width} "
            "(height x width): choose a smaller data.crop_size"
        )


def _to_uint8(values: NDArray[np.floating]) -> Images:
    rounded: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Standard normal quantiles of the middles of 65,536 equal parts, up to 4.3 sigma.

    A table look-up is exact and the same everywhere, which sines and logarithms of a vector library are not.
    """
    normal = NormalDist()
    upper = np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(32768, 65536)])
    return np.concatenate([-upper[::-1], upper]).astype(np.float32)
