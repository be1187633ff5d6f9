"""Protocols: what a predictor gets to see of a pair, what of the truth is scored, and how its answer gets there.

Figures of different protocols describe different tasks and must not meet in one column: see docs/protocols.md.  The
label of a protocol therefore holds its parameters (``deploy:180x240``), and every result row holds the label.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.dataset import FlowPair, Window, center_window, clip_flow
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.results import PROTOCOLS as PROTOCOLS

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


@dataclass(frozen=True)
class Protocol:
    """How pairs are prepared and predictions brought to the pixels that are scored.

    ``standard``: the full frame and the whole truth, as most papers report it.  Networks pad to their own grid by
    repeating the edge and crop what they return; the padding is never scored.

    ``edgeflownet`` (published harness) and ``training`` (a run's own): the middle of the frame, ``size``; true
    components beyond ``clip`` count as the clip, and stay valid.

    ``deploy``: what a device does, the frame resized to ``size`` and its flow brought back to native pixels.  Truth is
    neither resized nor clipped.
    """

    name: str
    size: Size | None = None
    clip: float | None = None

    @property
    def label(self) -> str:
        """Name and parameters, e.g. ``edgeflownet:416x1024,clip50``: equal labels, equal task."""
        size = "" if self.size is None else f":{_text(self.size)}"
        return self.name + size + ("" if self.clip is None else f",clip{self.clip:g}")

    def prepare(self, pair: FlowPair) -> Prepared:
        """What is seen and what is scored of a pair.  Raises DataError where the frames do not fit."""
        height, width = pair.flow.shape[:2]
        window = Window(0, 0, height, width)
        if self.size is not None and self.name != "deploy":
            if height < self.size[0] or width < self.size[1]:
                raise DataError(
                    f"protocol {self.label}: the crop is larger than a frame of {height}x{width}: "
                    "use --protocol standard, or a smaller --size with edgeflownet"
                )
            window = center_window(height, width, *self.size)
        part = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
        flow, _ = clip_flow(pair.flow[part], self.clip)
        images = [image[part] for image in (pair.image1, pair.image2)]
        if self.size is not None and self.name == "deploy" and (height, width) != self.size:
            shrinks = self.size[0] <= height and self.size[1] <= width
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # areas are averaged where it shrinks
            images = [np.asarray(cv2.resize(image, self.size[::-1], interpolation=how), np.uint8) for image in images]
        hidden = None if pair.occluded is None else pair.occluded[part]
        return Prepared(np.concatenate(images, axis=2), flow, pair.valid[part], hidden)

    def restore(self, prediction: Flow, prepared: Prepared) -> Flow:
        """A prediction [h, w, 2] for ``prepared.images``, in pixels and at the size of ``prepared.flow``.

        Under ``deploy`` resized bilinearly (pixel centres kept), then scaled: a flow vector of the small image is
        longer in native pixels, u by native width / input width, v by the ratio of the heights.
        """
        if self.name != "deploy" or self.size is None:
            return prediction
        height, width = prepared.flow.shape[:2]
        full = cv2.resize(prediction, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(full * np.array([width / self.size[1], height / self.size[0]], np.float32))


def make_protocol(
    name: str, frame: Size, size: Size | None = None, training: tuple[Size, float | None] | None = None
) -> Protocol:
    """The protocol ``name``, one of PROTOCOLS.

    The ``frame`` of the data set decides the published crop of ``edgeflownet``; ``size`` is the input of ``deploy``, or
    another crop; ``training`` are crop and clip of the run, None where there is none.

    Raises:
        ConfigError: an unknown name, or a size that is missing or has no meaning for it.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"--protocol {name!r} is unknown: {', '.join(PROTOCOLS)}")
    if size is not None and name in ("standard", "training"):
        raise ConfigError(f"--size has no meaning for protocol {name}: it belongs to deploy and edgeflownet")
    if size is not None and min(size) < _SMALLEST:
        raise ConfigError(f"--size {_text(size)} is too small: at least {_SMALLEST} pixels a side")
    if name == "deploy" and size is None:
        raise ConfigError("--protocol deploy needs --size HxW, the network's input on the device, e.g. 180x240")
    if name in ("standard", "deploy"):
        return Protocol(name, size)
    if name == "edgeflownet":
        crop = size or _PUBLISHED_CROPS.get(frame)
        if crop is None:
            known = " and ".join(f"{_text(full)} (crop {_text(part)})" for full, part in _PUBLISHED_CROPS.items())
            raise ConfigError(
                f"--protocol edgeflownet is published for frames of {known}; these are {_text(frame)}: "
                "give `edgeflownas evaluate` the crop as --size HxW, or use --protocol standard"
            )
        return Protocol(name, crop, _PUBLISHED_CLIP)
    if training is None:
        raise ConfigError("--protocol training is the crop and clip of a run: give the run directory, or use standard")
    return Protocol(name, *training)


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
