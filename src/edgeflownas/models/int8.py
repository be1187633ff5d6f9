"""Eight-bit integers for a deployed graph: ranges of its tensors, their scales, and its layers as integers.

real = scale x (integer - zero point).  Activations int8, one scale a tensor; kernels int8 in -127..127, symmetric, one
scale an output channel; biases int32 at (input scale x kernel scale).  Source: TensorFlow Lite 8-bit quantization
specification (ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec).

Pixels enter as ``pixel - 128``, exactly.  For images in [-1,1] this leaves a constant offset of 1/255, which goes into
the first bias (only the zeros of the padding do not know of it).

Scales follow from the ranges of the tensors on real images (calibration):

``minmax``        smallest and largest value: nothing is clipped
``percentile:P``  the values that P % of all values of the tensor do not exceed, and 100 - P % do not reach
``mse``           the range with the smallest squared error, that of rounding and that of clipping together; zeros
                  count as exact, which they are

The last two read a histogram of 4096 bins on each side of zero, whose width is a power of two and doubles when a value
does not fit: its memory does not grow with the number of images, and a bin is at most an eighth of an int8 step.

Flow that leaves the graph, and the predictions it is summed of, keep their smallest and largest value by any method:
what is rare there is large motion, and a clipped flow is wrong by all that it was clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import ConfigError
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.graph import Buffer, Graph, Layer, run_graph

LOW, HIGH = -128, 127
KERNEL_HIGH = 127
LARGEST_BIAS = 2**30
SMALLEST_SCALE = 1e-12
LARGEST_LOGIT = 6.25  # beyond it the sigmoid in steps of 1/256 is 0 or 255/256
BINS = 4096  # on each side of zero
SMALLEST_EXPONENT = -60  # of the span, a power of two
EXACT = 2**24  # torch.histc counts in float32: integers up to here
STEPS = 255  # of int8 over a range
FRACTIONS = 2.0 ** (-np.arange(256) / 32)  # of the whole range at each end, of which mse takes the best two
METHODS = "minmax, percentile:P with P above 50 and up to 100 (e.g. percentile:99.99), or mse"
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


def integer_layers(graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]) -> dict[str, IntegerLayer]:
    """Integers of every layer, by the name of its operator's output.

    The scale of an output channel is its largest magnitude / 127, wider where the bias would not fit into 32 bits.
    """
    found = {}
    for op in graph.ops:
        if op.output.name in layers:
            (weight, bias), scale = layers[op.output.name], scales[op.inputs[0].name]
            if isinstance(scale, PixelScale) and scale.offset:
                bias = bias + scale.offset * weight.sum(tuple(range(1, weight.dim())))
            largest = weight.detach().abs().flatten(1).amax(1) / KERNEL_HIGH
            fits = bias.detach().abs() / (scale.scale * LARGEST_BIAS)
            step = torch.maximum(largest, fits).clamp(min=SMALLEST_SCALE)
            kernel = torch.round(weight / step.view(-1, *[1] * (weight.dim() - 1))).clamp(-KERNEL_HIGH, KERNEL_HIGH)
            integers = torch.round(bias.double() / (step.double() * scale.scale))
            parts = _array(kernel, np.int8), _array(integers, np.int32), _array(step, np.float32)
            found[op.output.name] = IntegerLayer(*parts)
    return found


def _array(values: Tensor, kind: Any) -> NDArray[Any]:
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(kind))


Choose = Callable[["_Histogram"], Range]


def parse_method(text: str) -> Choose | None:
    """How a histogram becomes a range; None where no histogram is needed (``minmax``).

    Raises:
        ConfigError: no such method.
    """
    name, _, number = text.partition(":")
    if text == "minmax":
        return None
    if text == "mse":
        return _least_error
    if name == "percentile":
        try:
            percent = float(number)
        except ValueError:
            percent = 0.0
        if 50 < percent <= 100:
            return lambda histogram: histogram.percentile(percent)
    raise ConfigError(f"calibration method {text!r}: {METHODS}")


@torch.inference_mode()
def collect_ranges(
    graph: Graph, layers: Mapping[str, Layer], batches: Iterable[Tensor], method: str = "minmax"
) -> dict[str, Range]:
    """Range of every tensor that has a scale of its own (:func:`tensor_scales`), by name.

    Args:
        graph: what runs.
        layers: its kernels and biases (graph.fold).
        batches: images [B,6,H,W] as the network takes them; how they are batched does not matter.
        method: one of those above.

    Raises:
        ConfigError: unknown method, no images, images of another size, values that are not finite.
    """
    choose = parse_method(method)
    scaled = {op.logits.name if op.activation == "sigmoid" else op.output.name for op in graph.ops if op.kind != "up2"}
    whole = scaled if choose is None else _flow_sums(graph)
    found = {name: _Histogram(name, counting=name not in whole) for name in scaled}

    def watch(buffer: Buffer, values: Tensor) -> Tensor:
        if buffer.name in found:
            found[buffer.name].add(values)
        return values

    count = 0
    for images in batches:
        if images.shape[1:] != (graph.images.channels, graph.images.rows, graph.images.columns):
            expected = (graph.images.channels, graph.images.rows, graph.images.columns)
            raise ConfigError(f"calibration images {list(images.shape[1:])}: {list(expected)} expected")
        run_graph(graph, layers, images, watch)
        count += len(images)
    if not count:
        raise ConfigError("no calibration images: give at least one pair")
    names = [buffer.name for op in graph.ops for buffer in (op.logits, op.output) if buffer.name in scaled]
    return {
        name: choose(found[name]) if choose and name not in whole else (found[name].low, found[name].high)
        for name in names
    }


def _flow_sums(graph: Graph) -> set[str]:
    """Names of the flows that leave ``graph``, and of all that is summed to them."""
    written = {op.output.name: op for op in graph.ops}
    found, left = set(), [buffer.name for buffer in graph.outputs if buffer.name.startswith("flow")]
    while left:
        name = left.pop()
        found.add(name)
        if written[name].kind in ("add", "up2"):
            left += [buffer.name for buffer in written[name].inputs]
    return found


class _Histogram:
    """Values of one tensor; ``counts`` [2 BINS] are those from -span to span, zeros left out."""

    def __init__(self, name: str, counting: bool) -> None:
        self.name, self.counting = name, counting
        self.low, self.high = np.inf, -np.inf
        self.counts: NDArray[np.int64] = np.zeros(2 * BINS, np.int64)
        self.exponent = SMALLEST_EXPONENT
        self.zeros = 0

    def add(self, values: Tensor) -> None:
        low, high = (end.item() for end in values.aminmax())
        if not np.isfinite(low) or not np.isfinite(high):
            raise ConfigError(f"tensor {self.name!r} is not finite on the calibration images; the weights diverged")
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.counting:
            self._widen(max(-low, high))
            span = 2.0**self.exponent
            for part in values.cpu().flatten().split(EXACT):
                self.counts += torch.histc(part, 2 * BINS, -span, span).numpy().astype(np.int64)
                zeros = part.numel() - int(part.count_nonzero())
                self.counts[BINS] -= zeros
                self.zeros += zeros

    def _widen(self, largest: float) -> None:
        """Double the width of the bins until ``largest`` fits."""
        exponent = int(np.frexp(largest)[1]) if largest else SMALLEST_EXPONENT
        if self.counts.any():
            for _ in range(exponent - self.exponent):
                pairs = self.counts.reshape(BINS, 2).sum(1)
                self.counts = np.concatenate([np.zeros(BINS // 2, np.int64), pairs, np.zeros(BINS // 2, np.int64)])
        self.exponent = max(self.exponent, exponent)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Ends of the bins [2 BINS + 1]."""
        return np.arange(-BINS, BINS + 1, dtype=np.float64) * (2.0**self.exponent / BINS)

    def percentile(self, percent: float) -> Range:
        """The ends beyond which at most 100 - ``percent`` % lie on each side, to the bin's outer edge."""
        counts = self.counts.copy()
        counts[BINS] += self.zeros
        beyond = (1 - percent / 100) * counts.sum()
        first = int(np.argmax(np.cumsum(counts) > beyond))
        last = len(counts) - 1 - int(np.argmax(np.cumsum(counts[::-1]) > beyond))
        return max(self.low, float(self.edges[first])), min(self.high, float(self.edges[last + 1]))


def _least_error(histogram: _Histogram) -> Range:
    """The range of the least squared error; rounding is taken to be even over a step, as it is between many bins."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    lows, highs = low * FRACTIONS[:, None], high * FRACTIONS  # all are 0 where the tensor has no such side
    centres = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    below, clipped_below = _clipped(-centres[::-1], histogram.counts[::-1], -lows)
    above, clipped_above = _clipped(centres, histogram.counts, highs)
    rounded = (histogram.counts.sum() - below - above) * ((highs - lows) / STEPS) ** 2 / 12
    row, column = np.unravel_index(np.argmin(rounded + clipped_below + clipped_above), rounded.shape)
    return float(lows[row, 0]), float(highs[column])


def _clipped(
    centres: NDArray[np.float64], counts: NDArray[np.int64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many values lie beyond each of ``ends``, and the sum of their squared distances to it."""
    sums = [np.append(np.cumsum((counts * centres**power)[::-1])[::-1], 0.0) for power in range(3)]
    first = np.searchsorted(centres, ends)
    number, total, squares = (tail[first] for tail in sums)
    return number, np.maximum(squares - 2 * ends * total + ends**2 * number, 0.0)
