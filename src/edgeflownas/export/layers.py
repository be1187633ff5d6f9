"""Where error enters a TensorFlow Lite file: every tensor of LiteRT against the same tensor of the float executor.

Three questions of each operator:

    snr_db       how far is its output from the float network's, all errors before it included?
    added_db     by how much is that less than at the worst of its inputs?
    own_snr_db   how far is it from what the float operator makes of the very inputs that LiteRT gave it?
    flow_px      that own error, put into the float network at this place alone: by how much does it move the flow?

The last one names the place, because the first errors of a chain are carried through it and cancel or grow on the way.
LiteRT's plain kernels run here, one operator after the other; they may differ by an integer step from those of XNNPACK.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.export.paths import host_flow, tflite_input
from edgeflownas.hardware.tflite.model import TfliteModel
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.deployed.folding import Layer
from edgeflownas.models.deployed.graph import Buffer, Graph, Op
from edgeflownas.models.deployed.running import run_graph

LARGEST_SNR = 200.0
Tensors = dict[str, Tensor]


def decibels(signal: float, error: float) -> float:
    """10 log10(signal / error) of two sums of squares, within +-200; 200 without error, -200 where it is not finite."""
    if error == 0.0:
        return LARGEST_SNR
    if not math.isfinite(error) or signal <= 0.0:
        return -LARGEST_SNR
    return float(np.clip(10.0 * (math.log10(signal) - math.log10(error)), -LARGEST_SNR, LARGEST_SNR))


@dataclass(frozen=True)
class LayerRow:
    """One operator, by the name of what it writes; see above."""

    name: str
    kind: str
    snr_db: float
    added_db: float
    own_snr_db: float
    flow_px: float


def layer_rows(
    graph: Graph,
    layers: Mapping[str, Layer],
    model: bytes,
    form: InputForm,
    images: Sequence[NDArray[np.uint8]],
    divisor: float = 1.0,
) -> tuple[LayerRow, ...]:
    """A row for each operator of ``graph``, in order, over all of ``images`` [h,w,6].

    Args:
        graph: what ``model`` holds.
        layers: its folded weights.
        model: bytes of a TensorFlow Lite file.
        form: how the float network takes images.
        images: pairs of bytes; a float forward pass an operator and pair.
        divisor: the network's flow times this is in px.

    Raises:
        ConfigError: no LiteRT.
        DataError: bytes that are no model.
    """
    runner = TfliteModel(model, "plain", preserve_all=True)
    snr, own, flow = _Ratios(), _Ratios(), dict.fromkeys((op.output.name for op in graph.ops), 0.0)
    for pair in images:
        encoded = form.encode(torch.from_numpy(pair[None]), torch.float32)
        runner.run(tflite_input(runner, pair, form))
        found = _real(runner, graph)
        with torch.inference_mode():
            exact = _watch(graph, layers, encoded)
            made = _watch(graph, layers, encoded, found)
            errors = {name: values - made[name] for name, values in found.items()}
            for name, values in found.items():
                snr.add(name, exact[name], values - exact[name])
                own.add(name, made[name], errors[name])
            for op in graph.ops:
                flow[op.output.name] += divisor * _moved(graph, layers, encoded, op, errors, exact) / len(images)
    return tuple(
        LayerRow(
            op.output.name, op.kind, snr[op.output.name], _added(op, snr), own[op.output.name], flow[op.output.name]
        )
        for op in graph.ops
    )


class _Ratios:
    """Signal-to-noise ratio of tensors by name, in dB."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[float, float]] = {}

    def add(self, name: str, signal: Tensor, error: Tensor) -> None:
        before = self.sums.get(name, (0.0, 0.0))
        powers = (float(values.double().square().sum()) for values in (signal, error))
        self.sums[name] = (before[0] + next(powers), before[1] + next(powers))

    def __getitem__(self, name: str) -> float:
        return decibels(*self.sums[name]) if name in self.sums else LARGEST_SNR


def _real(runner: TfliteModel, graph: Graph) -> Tensors:
    """The real numbers [1,C,h,w] of every tensor that an operator writes, logits included."""
    names = {name for op in graph.ops for name in (op.output.name, *_logits(op))}
    stored = runner.tensors(sorted(names))
    return {name: torch.from_numpy(runner.real(name, values)).permute(0, 3, 1, 2) for name, values in stored.items()}


def _logits(op: Op) -> tuple[str, ...]:
    return (op.logits.name,) if op.activation == "sigmoid" else ()


def _watch(graph: Graph, layers: Mapping[str, Layer], images: Tensor, instead: Tensors | None = None) -> Tensors:
    """Every tensor of the float network; with ``instead`` each operator takes those in the place of its inputs."""
    seen: Tensors = {}

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        seen[buffer.name] = values
        return instead.get(buffer.name, values) if instead else values

    run_graph(graph, layers, images, at)
    return seen


def _moved(graph: Graph, layers: Mapping[str, Layer], images: Tensor, op: Op, errors: Tensors, exact: Tensors) -> float:
    """Mean length by which the flow moves when ``op`` alone makes its error, in the network's units."""
    own = {op.output.name, *_logits(op)}

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        return values + errors[buffer.name] if buffer.name in own else values

    flow, before = (
        host_flow({name: values[0].numpy() for name, values in outputs.items()})
        for outputs in (
            run_graph(graph, layers, images, at),
            {buffer.name: exact[buffer.name] for buffer in graph.outputs},
        )
    )
    return float(torch.linalg.vector_norm(flow - before, dim=0).mean())


def _added(op: Op, snr: _Ratios) -> float:
    return min(snr[buffer.name] for buffer in op.inputs) - snr[op.output.name]
