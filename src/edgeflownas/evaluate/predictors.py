"""What predicts a flow: the subnets of a network, and references that need no weights.

All take the same uint8 pair and return float32 flow in pixels of the images they were given, so that a protocol can
treat them alike and references stand on the very same pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import ConfigError, DataError, NonFiniteError
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.evaluate.recalibrate import NodeStatistics
from edgeflownas.evaluate.walk import Node, walk
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.blocks import GRID, StagedNet
from edgeflownas.space import Arch

Images = NDArray[np.uint8]
Flow = NDArray[np.float32]

LARGEST = 1e9  # px; what a .flo file calls unknown
DIS_SMALLEST = 32
"""Pixels a side.  Below it OpenCV's DIS ends the whole process (segmentation fault) for some sizes, e.g. 20x500."""


class Model(NamedTuple):
    """Who a result row is about; the fields of that name in ResultRow."""

    name: str
    code: str | None
    source: str | None


class Predictor(ABC):
    """One or several models that look at the same pair."""

    models: tuple[Model, ...]
    grid = 1
    """What it receives is padded to multiples of this."""

    @abstractmethod
    def predict(self, images: Images) -> list[Flow]:
        """Flow [h, w, 2] of every model, in order, for a pair [h, w, 6] (image 1 RGB, image 2 RGB)."""


class SubnetPredictor(Predictor):
    """Subnets under recalibrated batch norm, computed along their common prefixes; the flow is the accumulated A2."""

    grid = GRID

    def __init__(
        self,
        net: StagedNet,
        archs: Sequence[Arch],
        statistics: NodeStatistics,
        name: str,
        source: str,
        flow_divisor: float = 1.0,
    ) -> None:
        """``flow_divisor``: what the flow was divided by in training; the predictions are multiplied by it."""
        self.net, self.archs, self.statistics, self.flow_divisor = net, archs, statistics, flow_divisor
        self.models = tuple(Model(name, str(arch) if arch else None, source) for arch in archs)

    @torch.no_grad()
    def predict(self, images: Images) -> list[Flow]:
        """See Predictor; the network's mode and buffers are left as they were."""
        flows: dict[int, Flow] = {}

        def at_node(node: Node) -> AbstractContextManager[object]:
            return use_statistics(self.net, self.statistics.get(node, {}))

        def keep(index: int, predictions: list[Tensor]) -> None:
            flows[index] = _flow(predictions, images) * np.float32(self.flow_divisor)

        was_training = self.net.training
        self.net.eval()
        try:
            with full_precision():
                walk(self.net, self.archs, self.net.prepare(_tensor(images, self.net)), at_node, keep)
        finally:
            self.net.train(was_training)
        return [flows[index] for index in range(len(self.archs))]


class _Baseline(Predictor):
    """A reference without weights: ``compute`` takes the two images in gray."""

    def __init__(self, model: Model, compute: Callable[[Images, Images], Flow], smallest: int = 1) -> None:
        self.models, self.compute, self.smallest = (model,), compute, smallest

    def predict(self, images: Images) -> list[Flow]:
        """See Predictor.  Raises DataError for images that the method cannot take."""
        height, width = images.shape[:2]
        name = self.models[0].name
        if min(height, width) < self.smallest:
            raise DataError(
                f"{name} needs images of at least {self.smallest} pixels a side, these are {height}x{width}: "
                "leave it out (--references none, or a list such as --references zero,farneback)"
            )
        first, second = (cv2.cvtColor(np.ascontiguousarray(half), cv2.COLOR_RGB2GRAY) for half in _halves(images))
        try:
            return [np.asarray(self.compute(np.asarray(first, np.uint8), np.asarray(second, np.uint8)), np.float32)]
        except cv2.error as error:
            raise DataError(f"{name} cannot take images of {height}x{width}: {error.err}") from None


def make_baseline(name: str) -> Predictor:
    """A reference by name: ``zero`` flow, OpenCV's ``dis`` (preset medium), ``dis_fast``, ``farneback``.

    Raises ConfigError for an unknown name.
    """
    if name not in BASELINES:
        raise ConfigError(f"baseline {name!r} is unknown: {', '.join(BASELINES)}")
    compute, smallest = BASELINES[name]
    return _Baseline(Model(name, None, None if name == "zero" else f"opencv {cv2.__version__}"), compute, smallest)


def _zero(first: Images, second: Images) -> Flow:
    return np.zeros((*first.shape, 2), np.float32)


def _dis(preset: int) -> Callable[[Images, Images], Flow]:
    def compute(first: Images, second: Images) -> Flow:
        # A fresh one for each pair: what it allocates follows the first size it sees.
        return np.asarray(cv2.DISOpticalFlow.create(preset).calc(first, second, None), np.float32)  # type: ignore[call-overload]

    return compute


def _farneback(first: Images, second: Images) -> Flow:
    """Five levels of half size, window 15, polynomials over 5 pixels, as in OpenCV's documentation."""
    settings = {"pyr_scale": 0.5, "levels": 5, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2}
    return np.asarray(cv2.calcOpticalFlowFarneback(first, second, None, flags=0, **settings), np.float32)  # type: ignore[call-overload]


#: Name -> what computes it, fewest pixels a side.
BASELINES: dict[str, tuple[Callable[[Images, Images], Flow], int]] = {
    "zero": (_zero, 1),
    "dis": (_dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), DIS_SMALLEST),
    "dis_fast": (_dis(cv2.DISOPTICAL_FLOW_PRESET_FAST), DIS_SMALLEST),
    "farneback": (_farneback, 1),
}


def _tensor(images: Images, net: StagedNet) -> Tensor:
    """The pair as a batch of one, in the form, dtype and place the network takes."""
    first = next(net.parameters())
    batch = torch.from_numpy(np.ascontiguousarray(images)[None]).to(first.device)
    return net.input_form.encode(batch, first.dtype)


def _flow(predictions: Sequence[Tensor], images: Images) -> Flow:
    height, width = images.shape[:2]
    flow = accumulate(predictions)[2][0, :2, :height, :width]
    return flow.permute(1, 2, 0).float().cpu().contiguous().numpy()


def check_finite(flow: Flow) -> None:
    """Raise NonFiniteError for NaN, infinity, or lengths that a .flo file reads as unknown."""
    if not (np.abs(flow) <= LARGEST).all():
        raise NonFiniteError(
            "the network predicts a flow that is not finite: its training diverged; choose another --checkpoint"
        )


def _halves(images: Images) -> tuple[Images, Images]:
    return images[..., :3], images[..., 3:]
