"""Eight-bit integers for a deployed graph: the scales of its tensors, and its layers as integers.

real = scale x (integer - zero point).  Activations int8, one scale a tensor; kernels int8 in -127..127, symmetric, one
scale an output channel; biases int32 at (input scale x kernel scale).  Source: TensorFlow Lite 8-bit quantization
specification (ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).

Pixels enter as ``pixel - 128``, exactly.  For images in [-1,1] this leaves a constant offset of 1/255, which goes into
the first bias (only the zeros of the padding do not know of it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.deployed.folding import Layer
from edgeflownas.models.deployed.graph import Graph, Op

LOW, HIGH = -128, 127
KERNEL_HIGH = 127
LARGEST_BIAS = 2**30
SMALLEST_SCALE = 1e-12
LARGEST_LOGIT = 6.25  # beyond it the sigmoid in steps of 1/256 is 0 or 255/256
Range = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """real = scale x (integer - zero_point); ``scale`` is a float32 value."""

    scale: float
    zero_point: int

    @property
    def range(self) -> Range:
        """Smallest and largest real number it can express."""
        return self.scale * (LOW - self.zero_point), self.scale * (HIGH - self.zero_point)


@dataclass(frozen=True)
class PixelScale(Scale):
    """Scale of the images: real = scale x (integer - zero_point) + offset, with integer = pixel - 128."""

    offset: float = 0.0


class IntegerLayer(NamedTuple):
    """Kernel int8 [out,in,k,k] ([1,1,k]), bias int32 [out], scale of each output channel's kernel float32 [out]."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    scales: NDArray[np.float32]


SIGMOID = Scale(1 / 256, LOW)  # fixed by the specification
PIXELS = {"minus1_1": PixelScale(float(np.float32(2 / 255)), 0, offset=1 / 255), "raw_0_255": PixelScale(1.0, LOW)}


def pixel_scale(form: InputForm) -> PixelScale:
    """How bytes of a camera become the integers that enter the network."""
    return PIXELS[form.normalisation]


def scale_of(span: Range) -> Scale:
    """The scale that covers ``span`` and zero, zero being exact.  Raises ConfigError where it is not finite."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = float(np.float32(max((high - low) / (HIGH - LOW), SMALLEST_SCALE)))
    if not np.isfinite(scale):
        raise ConfigError(f"range {span[0]} to {span[1]}: finite numbers expected; the network's weights diverged")
    return Scale(scale, int(np.clip(round(LOW - low / scale), LOW, HIGH)))


def tensor_scales(graph: Graph, ranges: Mapping[str, Range], form: InputForm) -> dict[str, Scale]:
    """Scale of every tensor of ``graph`` by name.

    The images have the scale of their bytes, sigmoids that of the specification, an enlarged tensor that of the tensor
    it was made from (the operator takes none of its own); all others cover their range, logits no more of it than
    moves the sigmoid.

    Raises:
        ConfigError: a tensor without a range.
    """
    scales: dict[str, Scale] = {graph.images.name: pixel_scale(form)}
    for op in graph.ops:
        name = op.output.name
        if op.kind == "up2":
            scales[name] = scales[op.inputs[0].name]
        elif op.activation == "sigmoid":
            low, high = _range(ranges, op.logits.name)
            scales[op.logits.name] = scale_of((max(low, -LARGEST_LOGIT), min(high, LARGEST_LOGIT)))
            scales[name] = SIGMOID
        else:
            scales[name] = scale_of(_range(ranges, name))
    return scales


def _range(ranges: Mapping[str, Range], name: str) -> Range:
    if name not in ranges:
        raise ConfigError(f"no range for tensor {name!r}: calibrate the same graph that is quantised")
    return ranges[name]


def _bias(op: Op, layer: Layer, scales: Mapping[str, Scale]) -> Tensor:
    """Bias with the offset of the images, where they are the input."""
    scale = scales[op.inputs[0].name]
    if isinstance(scale, PixelScale) and scale.offset:
        return layer.bias + scale.offset * layer.weight.sum(tuple(range(1, layer.weight.dim())))
    return layer.bias


def _kernel_scales(weight: Tensor, bias: Tensor, input_scale: float) -> Tensor:
    """Largest magnitude / 127 of each output channel [out]; wider where the bias would not fit into 32 bits."""
    largest = weight.detach().abs().flatten(1).amax(1) / KERNEL_HIGH
    fits = bias.detach().abs() / (input_scale * LARGEST_BIAS)
    return torch.maximum(largest, fits).clamp(min=SMALLEST_SCALE)


def integer_layers(graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]) -> dict[str, IntegerLayer]:
    """Integers of every layer, by the name of its operator's output."""
    found = {}
    for op in graph.ops:
        if op.output.name in layers:
            layer, step = layers[op.output.name], scales[op.inputs[0].name].scale
            bias = _bias(op, layer, scales)
            kernel = _kernel_scales(layer.weight, bias, step)
            shape = -1, *[1] * (layer.weight.dim() - 1)
            weight = torch.round(layer.weight / kernel.view(shape)).clamp(-KERNEL_HIGH, KERNEL_HIGH)
            integers = torch.round(bias.double() / (kernel.double() * step))
            parts = _array(weight, np.int8), _array(integers, np.int32), _array(kernel, np.float32)
            found[op.output.name] = IntegerLayer(*parts)
    return found


def _array(values: Tensor, kind: Any) -> NDArray[Any]:
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(kind))
