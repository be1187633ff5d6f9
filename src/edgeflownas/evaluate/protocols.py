"""Protocols: what a predictor gets to see of a pair, what of the truth is scored, and how its answer gets there.

Figures of different protocols describe different tasks and must not meet in one column: see docs/protocols.md.  The
label of a protocol therefore holds its parameters (``deploy:180x240``), and every result row holds the label.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowPair, Window, center_window, clip_flow
from edgeflownas.errors import ConfigError, DataError

PROTOCOLS = ("standard", "edgeflownet", "training", "deploy")

Size = tuple[int, int]  # height, width
Flow = NDArray[np.float32]

_PUBLISHED_CLIP = 50.0
_PUBLISHED_CROPS = {(384, 512): (352, 480), (436, 1024): (416, 1024)}  # frames of Chairs and Sintel
_SMALLEST = 16  # pixels a side of an input: four halvings leave one


@dataclass(frozen=True)
class Prepared:
    """A pair under a protocol."""

    images: NDArray[np.uint8]
    """[h, w, 6], image 1 RGB then image 2 RGB: what the predictor sees, before any padding to its own grid."""
    flow: Flow
    """[H, W, 2] px: what is scored."""
    valid: NDArray[np.bool_]
    occluded: NDArray[np.bool_] | None


class Protocol(ABC):
    """How pairs are prepared and predictions brought to the pixels that are scored."""

    name: str

    @property
    @abstractmethod
    def label(self) -> str:
        """Name and parameters: equal labels, equal task."""

    @abstractmethod
    def prepare(self, pair: FlowPair) -> Prepared:
        """What is seen and what is scored of a pair.  Raises DataError where the frames do not fit."""

    def restore(self, prediction: Flow, prepared: Prepared) -> Flow:
        """A prediction [h, w, 2] for ``prepared.images``, in pixels and at the size of ``prepared.flow``."""
        return prediction


class Standard(Protocol):
    """The full frame and the whole truth, as most papers report it.

    Networks pad to their own grid by repeating the edge and crop what they return; the padding is never scored.
    """

    name = label = "standard"

    def prepare(self, pair: FlowPair) -> Prepared:
        """The pair as it is."""
        return _prepared(pair, Window(0, 0, *_size(pair)), None)


@dataclass(frozen=True)
class Crop(Protocol):
    """The middle of the frame, truth clipped: ``edgeflownet`` (published harness) and ``training`` (a run's own)."""

    name: str
    size: Size
    clip: float | None

    @property
    def label(self) -> str:
        """E.g. ``edgeflownet:416x1024,clip50``."""
        return f"{self.name}:{_text(self.size)}" + ("" if self.clip is None else f",clip{self.clip:g}")

    def prepare(self, pair: FlowPair) -> Prepared:
        """The middle window; true components beyond the clip count as the clip, and stay valid."""
        frame = _size(pair)
        if frame[0] < self.size[0] or frame[1] < self.size[1]:
            raise DataError(
                f"protocol {self.label}: the crop is larger than a frame of {_text(frame)}: "
                "use --protocol standard, or a smaller --size with edgeflownet"
            )
        return _prepared(pair, center_window(*frame, *self.size), self.clip)


@dataclass(frozen=True)
class Deploy(Protocol):
    """What a device does: the frame resized to the network's input, its flow brought back to native pixels.

    A flow vector of the small image is longer in native pixels: u is multiplied by native width / input width, v by
    the ratio of the heights.  Truth is neither resized nor clipped.
    """

    size: Size
    name = "deploy"

    @property
    def label(self) -> str:
        """E.g. ``deploy:180x240``."""
        return f"deploy:{_text(self.size)}"

    def prepare(self, pair: FlowPair) -> Prepared:
        """Images resized (areas averaged where they shrink), truth as it is."""
        seen = np.concatenate([self._resized(pair.image1), self._resized(pair.image2)], axis=2)
        whole = _prepared(pair, Window(0, 0, *_size(pair)), None)
        return Prepared(seen, whole.flow, whole.valid, whole.occluded)

    def restore(self, prediction: Flow, prepared: Prepared) -> Flow:
        """Resized bilinearly (pixel centres kept), then scaled."""
        height, width = prepared.flow.shape[:2]
        full = cv2.resize(prediction, (width, height), interpolation=cv2.INTER_LINEAR)
        scale = np.array([width / self.size[1], height / self.size[0]], np.float32)
        return np.asarray(full * scale)

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self.size
        if image.shape[:2] == self.size:
            return image
        shrinks = height <= image.shape[0] and width <= image.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


def make_protocol(
    name: str, frame: Size, size: Size | None = None, training: tuple[Size, float | None] | None = None
) -> Protocol:
    """The protocol ``name``.

    Args:
        name: one of PROTOCOLS.
        frame: size of the data set's first frame; it decides the published crop of ``edgeflownet``.
        size: ``--size``, the input of ``deploy``, or another crop for ``edgeflownet``.
        training: crop and clip of the run, for ``training``; None where there is no run.

    Raises:
        ConfigError: an unknown name, or a size that is missing or has no meaning for it.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"--protocol {name!r} is unknown: {', '.join(PROTOCOLS)}")
    if size is not None and name in ("standard", "training"):
        raise ConfigError(f"--size has no meaning for protocol {name}: it belongs to deploy and edgeflownet")
    if size is not None and min(size) < _SMALLEST:
        raise ConfigError(f"--size {_text(size)} is too small: at least {_SMALLEST} pixels a side")
    if name == "standard":
        return Standard()
    if name == "deploy":
        if size is None:
            raise ConfigError("--protocol deploy needs --size HxW, the network's input on the device, e.g. 180x240")
        return Deploy(size)
    if name == "edgeflownet":
        crop = size or _PUBLISHED_CROPS.get(frame)
        if crop is None:
            known = " and ".join(f"{_text(full)} (crop {_text(part)})" for full, part in _PUBLISHED_CROPS.items())
            raise ConfigError(
                f"--protocol edgeflownet is published for frames of {known}; these are {_text(frame)}: "
                "give `edgeflownas evaluate` the crop as --size HxW, or use --protocol standard"
            )
        return Crop(name, crop, _PUBLISHED_CLIP)
    if training is None:
        raise ConfigError("--protocol training is the crop and clip of a run: give the run directory, or use standard")
    return Crop(name, *training)


def _prepared(pair: FlowPair, window: Window, limit: float | None) -> Prepared:
    rows = slice(window.top, window.top + window.height)
    columns = slice(window.left, window.left + window.width)
    flow, _ = clip_flow(pair.flow[rows, columns], limit)
    hidden = None if pair.occluded is None else pair.occluded[rows, columns]
    images = np.concatenate([pair.image1[rows, columns], pair.image2[rows, columns]], axis=2)
    return Prepared(images, flow, pair.valid[rows, columns], hidden)


def _size(pair: FlowPair) -> Size:
    height, width = pair.flow.shape[:2]
    return height, width


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
