"""What int8 computes, in real numbers: the arithmetic that files in integers are held against."""

import torch

from edgeflownas.models.graph import Layer
from edgeflownas.models.int8 import HIGH, LOW, PixelScale, integer_layers

TIE = 2**-14  # steps; a third of an enlarged tensor's values are halfway


def fake_quantise(values, scale):
    """The real numbers that int8 can express nearest to ``values``, clipped.

    Images lose their offset: it is in the bias of the layers that :func:`rounded_layers` gives.
    """
    if isinstance(scale, PixelScale):
        values = values - scale.offset
    return torch.fake_quantize_per_tensor_affine(values, scale.scale, scale.zero_point, LOW, HIGH)


def rounded_layers(graph, layers, scales):
    """The real numbers that ``integer_layers`` stands for."""
    inputs = {op.output.name: scales[op.inputs[0].name].scale for op in graph.ops}
    found = {}
    for name, layer in integer_layers(graph, layers, scales).items():
        step = torch.from_numpy(layer.scales)
        weight = torch.from_numpy(layer.weight) * step.view(-1, *[1] * (layer.weight.ndim - 1))
        found[name] = Layer(weight, (torch.from_numpy(layer.bias) * (step.double() * inputs[name])).float())
    return found


def rounding(graph, scales):
    """For ``run_graph(at=...)``: every tensor as int8 would have it; a sum of two once, after the activation.

    A number halfway between two integers becomes the even one, in an enlarged tensor the one further from 0, as
    TensorFlow Lite and Vela round in RESIZE_BILINEAR.
    """
    enlarged = {op.output.name for op in graph.ops if op.kind == "up2"}

    def at(buffer, values):
        scale = scales[buffer.name]
        if buffer.name in enlarged:
            nudge = scale.scale * TIE
            values = values + torch.where(values < -scale.scale * scale.zero_point, -nudge, nudge)
        return fake_quantise(values, scale)

    return at
