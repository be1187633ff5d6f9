"""Eight-bit integers for a deployed graph: one arithmetic for the file that is written and for fine-tuning.

real = scale x (integer - zero point).  Activations int8, one scale a tensor; kernels int8 in -127..127, symmetric, one
scale an output channel; biases int32 at (input scale x kernel scale).  Source: TensorFlow Lite 8-bit quantization
specification (ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).

Pixels enter as ``pixel - 128``, exactly.  For images in [-1,1] this leaves a constant offset of 1/255, which goes into
the first bias (only the zeros of the padding do not know of it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.models.batches import InputForm
from edgeflownas.models.deployed.folding import Layer
from edgeflownas.models.deployed.graph import Buffer, Graph, Op

__all__ = [
    "IntegerLayer",
    "PixelScale",
    "Range",
    "Scale",
    "fake_quantise",
    "integer_layers",
    "pixel_scale",
    "rounded_layers",
    "rounding",
    "scale_of",
    "tensor_scales",
]

LOW, HIGH = -128, 127
KERNEL_HIGH = 127
LARGEST_BIAS = 2**30
SMALLEST_SCALE = 1e-12
TIE = 2**-14  # steps; a third of an enlarged tensor's values are halfway
LARGEST_LOGIT = 6.25  # beyond it the sigmoid in steps of 1/256 is 0 or 255/256
Range = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """real = scale x (integer - zero_point); ``scale`` is a float32 value.

    With ``away`` a number halfway between two integers becomes the one further from 0, as TensorFlow Lite and Vela
    round in RESIZE_BILINEAR.
    """

    scale: float
    zero_point: int
    away: bool = field(default=False, compare=False)

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
            scales[name] = replace(scales[op.inputs[0].name], away=True)
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


def fake_quantise(values: Tensor, scale: Scale) -> Tensor:
    """The real numbers that int8 can express nearest to ``values``, clipped; the gradient passes where none is clipped.

    Images lose their offset: it is in the bias of the layers that :func:`rounded_layers` gives.
    """
    if isinstance(scale, PixelScale):
        values = values - scale.offset
    if scale.away:
        nudge = scale.scale * TIE
        values = values + torch.where(values < -scale.scale * scale.zero_point, -nudge, nudge)
    result: Tensor = torch.fake_quantize_per_tensor_affine(values, scale.scale, scale.zero_point, LOW, HIGH)
    return result


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


def _steps(
    graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]
) -> Iterator[tuple[str, Layer, Tensor, Tensor]]:
    """Name, layer (the images' offset in its bias), step of each output channel's kernel and of its bias [out]."""
    for op in graph.ops:
        if op.output.name in layers:
            layer, scale = layers[op.output.name], scales[op.inputs[0].name].scale
            layer = Layer(layer.weight, _bias(op, layer, scales))
            kernel = _kernel_scales(layer.weight, layer.bias, scale)
            yield op.output.name, layer, kernel, kernel.double() * scale


def _in_steps(layer: Layer, kernel: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    weight = torch.round(layer.weight / _broadcast(kernel, layer.weight)).clamp(-KERNEL_HIGH, KERNEL_HIGH)
    return weight, torch.round(layer.bias.double() / bias)


def _broadcast(channels: Tensor, weight: Tensor) -> Tensor:
    return channels.view(-1, *[1] * (weight.dim() - 1))


def integer_layers(graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]) -> dict[str, IntegerLayer]:
    """Integers of every layer, by the name of its operator's output."""
    found = {}
    for name, layer, kernel, bias in _steps(graph, layers, scales):
        weight, integers = _in_steps(layer, kernel, bias)
        found[name] = IntegerLayer(_array(weight, np.int8), _array(integers, np.int32), _array(kernel, np.float32))
    return found


def _array(values: Tensor, kind: Any) -> NDArray[Any]:
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(kind))


def rounded_layers(graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]) -> dict[str, Layer]:
    """The real numbers that :func:`integer_layers` stands for; gradients pass as if nothing had been rounded."""
    found = {}
    for name, layer, kernel, bias in _steps(graph, layers, scales):
        weight, integers = _in_steps(layer, kernel, bias)
        rounded = weight * _broadcast(kernel, weight), (integers * bias).to(layer.bias)
        found[name] = Layer(_straight(layer.weight, rounded[0]), _straight(layer.bias, rounded[1]))
    return found


def _straight(values: Tensor, rounded: Tensor) -> Tensor:
    return values + (rounded - values).detach()


def rounding(scales: Mapping[str, Scale]) -> Callable[[Buffer, Tensor], Tensor]:
    """For ``run_graph(at=...)``: every tensor as int8 would have it.

    An enlarged tensor is rounded too; a sum of two tensors once, after the activation.
    """

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        return fake_quantise(values, scales[buffer.name])

    return at
