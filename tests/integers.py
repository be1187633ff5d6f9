"""What int8 computes, in real numbers: the arithmetic that files in integers are held against."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from edgeflownas.models.graph import Buffer, Graph, Layer
from edgeflownas.models.int8 import HIGH, LOW, PixelScale, Scale, integer_layers

TIE = 2**-14  # steps; a third of an enlarged tensor's values are halfway


def fake_quantise(values: Tensor, scale: Scale) -> Tensor:
    """The real numbers that int8 can express nearest to ``values``, clipped.

    Images lose their offset: it is in the bias of the layers that :func:`rounded_layers` gives.
    """
    if isinstance(scale, PixelScale):
        values = values - scale.offset
    return torch.fake_quantize_per_tensor_affine(values, scale.scale, scale.zero_point, LOW, HIGH)


def rounded_layers(graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]) -> dict[str, Layer]:
    """The real numbers that ``integer_layers`` stands for."""
    inputs = {op.output.name: scales[op.inputs[0].name].scale for op in graph.ops}
    found = {}
    for name, layer in integer_layers(graph, layers, scales).items():
        step = torch.from_numpy(layer.scales)
        weight = torch.from_numpy(layer.weight) * step.view(-1, *[1] * (layer.weight.ndim - 1))
        found[name] = Layer(weight, (torch.from_numpy(layer.bias) * (step.double() * inputs[name])).float())
    return found


def rounding(graph: Graph, scales: Mapping[str, Scale]) -> Callable[[Buffer, Tensor], Tensor]:
    """For ``run_graph(at=...)``: every tensor as int8 would have it; a sum of two once, after the activation.

    A number halfway between two integers becomes the even one, in an enlarged tensor the one further from 0, as
    TensorFlow Lite and Vela round in RESIZE_BILINEAR.
    """
    enlarged = {op.output.name for op in graph.ops if op.kind == "up2"}

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        scale = scales[buffer.name]
        if buffer.name in enlarged:
            nudge = scale.scale * TIE
            values = values + torch.where(values < -scale.scale * scale.zero_point, -nudge, nudge)
        return fake_quantise(values, scale)

    return at
