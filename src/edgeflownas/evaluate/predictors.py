"""What predicts a flow (the subnets of a network, and references that need no weights), and rows of their figures.

All take the same uint8 pair and return float32 flow in pixels of the images they were given, so that a protocol can
treat them alike and references stand on the very same pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.data.dataset import FlowPair
from edgeflownas.errors import ConfigError, DataError, NonFiniteError
from edgeflownas.evaluate.calibration import NodeStatistics, predict
from edgeflownas.evaluate.losses import accumulate
from edgeflownas.evaluate.metrics import FlowMetrics
from edgeflownas.evaluate.pool import full_precision
from edgeflownas.evaluate.protocols import Protocol
from edgeflownas.evaluate.results import ResultRow
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
        statistics: NodeStatistics | None,
        name: str,
        source: str,
        flow_divisor: float = 1.0,
    ) -> None:
        """``statistics`` are those of ``recalibrate``, None for the network's own buffers (of a network of one arch).

        ``flow_divisor``: what the flow was divided by in training; the predictions are multiplied by it.
        """
        self.net, self.archs, self.statistics, self.flow_divisor = net, archs, statistics, flow_divisor
        self.models = tuple(Model(name, str(arch) if arch else None, source) for arch in archs)

    def predict(self, images: Images) -> list[Flow]:
        """See Predictor; the network's mode and buffers are left as they were."""
        height, width = images.shape[:2]
        flows: dict[int, Flow] = {}

        def keep(index: int, predictions: list[Tensor]) -> None:
            flow = accumulate(predictions)[2][0, :2, :height, :width].permute(1, 2, 0).float().cpu()
            flows[index] = flow.contiguous().numpy() * np.float32(self.flow_divisor)

        first = next(self.net.parameters())
        pair = torch.from_numpy(np.ascontiguousarray(images)[None]).to(first.device)
        with full_precision():
            predict(self.net, self.archs, self.net.input_form.encode(pair, first.dtype), self.statistics, keep)
        return [flows[index] for index in range(len(self.archs))]


def check_finite(flow: Flow) -> None:
    """Raise NonFiniteError for NaN, infinity, or lengths that a .flo file reads as unknown."""
    if not (np.abs(flow) <= LARGEST).all():
        raise NonFiniteError(
            "the network predicts a flow that is not finite: its training diverged; choose another --checkpoint"
        )


# ---- references ----


class _Baseline(Predictor):
    """A reference without weights: one of BASELINES, which takes the two images in gray."""

    def __init__(self, name: str) -> None:
        self.models = (Model(name, None, None if name == "zero" else f"opencv {cv2.__version__}"),)
        self.compute, self.smallest = BASELINES[name]

    def predict(self, images: Images) -> list[Flow]:
        """See Predictor.  Raises DataError for images that the method cannot take."""
        height, width = images.shape[:2]
        name = self.models[0].name
        if min(height, width) < self.smallest:
            raise DataError(
                f"{name} needs images of at least {self.smallest} pixels a side, these are {height}x{width}: "
                "leave it out (--references none, or a list such as --references zero,farneback)"
            )
        halves = images[..., :3], images[..., 3:]
        first, second = (cv2.cvtColor(np.ascontiguousarray(half), cv2.COLOR_RGB2GRAY) for half in halves)
        try:
            return [np.asarray(self.compute(np.asarray(first), np.asarray(second)), np.float32)]
        except cv2.error as error:
            raise DataError(f"{name} cannot take images of {height}x{width}: {error.err}") from None


def _dis(preset: int) -> Callable[[Images, Images], Flow]:
    # A fresh one for each pair: what it allocates follows the first size it sees.
    return lambda first, second: cv2.DISOpticalFlow.create(preset).calc(first, second, None)  # type: ignore[call-overload]


def _farneback(first: Images, second: Images) -> Flow:
    """Five levels of half size, window 15, polynomials over 5 pixels, as in OpenCV's documentation."""
    settings = {"pyr_scale": 0.5, "levels": 5, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2}
    return cv2.calcOpticalFlowFarneback(first, second, None, flags=0, **settings)  # type: ignore[call-overload,no-any-return]


#: Name -> what computes it, fewest pixels a side.
BASELINES: dict[str, tuple[Callable[[Images, Images], Flow], int]] = {
    "zero": (lambda first, second: np.zeros((*first.shape, 2), np.float32), 1),
    "dis": (_dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM), DIS_SMALLEST),
    "dis_fast": (_dis(cv2.DISOPTICAL_FLOW_PRESET_FAST), DIS_SMALLEST),
    "farneback": (_farneback, 1),
}


def make_baseline(name: str) -> Predictor:
    """A reference by name: ``zero`` flow, OpenCV's ``dis`` (preset medium), ``dis_fast``, ``farneback``.

    Raises ConfigError for an unknown name.
    """
    if name not in BASELINES:
        raise ConfigError(f"baseline {name!r} is unknown: {', '.join(BASELINES)}")
    return _Baseline(name)


# ---- rows ----


def evaluate_labelled(
    pairs: Iterable[tuple[str, FlowPair]],
    predictors: Sequence[Predictor],
    protocol: Protocol,
    split_label: str,
    precision: str = "fp32",
    advance: Callable[[], None] = lambda: None,
) -> list[ResultRow]:
    """Score every model of ``predictors`` on the same prepared pairs, one pair at a time: memory stays constant.

    ``pairs`` are (name, decoded pair), of any and of different sizes.  Models become rows, in order, with the
    ``split_label`` of the data set and the ``precision`` of the networks' arithmetic.  ``advance`` is called after
    every pair and may raise to abandon.

    Raises:
        DataError: a pair the protocol or a predictor cannot take, or not one valid pixel in all of them.
        NonFiniteError: a prediction that is not finite.
    """
    metrics = [[FlowMetrics() for _ in predictor.models] for predictor in predictors]
    seen: list[tuple[int, int]] = []
    for name, pair in pairs:
        prepared = protocol.prepare(pair)
        seen.append(prepared.images.shape[:2])
        for predictor, own in zip(predictors, metrics, strict=True):
            for model, metric, flow in zip(predictor.models, own, predictor.predict(prepared.images), strict=True):
                full = protocol.restore(flow, prepared)
                who = " ".join(filter(None, (model.name, model.code)))
                metric.add(full, prepared.flow, prepared.valid, prepared.occluded, f"{who} on {name}")
        advance()
    rows = []
    words = {"protocol": protocol.label, "split_label": split_label, "precision": precision}
    for predictor, own in zip(predictors, metrics, strict=True):
        # 1x6x448x1024, or 1x6x370-376x1224-1242 where the pairs differ
        padded = [[side + -side % predictor.grid for side in sides] for sides in zip(*seen, strict=True)]
        spans = (f"{low}" if low == high else f"{low}-{high}" for low, high in ((min(s), max(s)) for s in padded))
        shape = "x".join(["1", "6", *spans])
        for (name, code, source), metric in zip(predictor.models, own, strict=True):
            about = {"model": name, "code": code, "source": source, "batch_shape": shape}
            rows.append(ResultRow(**words, **about, **asdict(metric.figures())))  # type: ignore[arg-type]
    return rows
