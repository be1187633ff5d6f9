"""The operators of one subnet as it is deployed, in execution order, derived from the network's definition.

Batch norm, ReLU and sigmoid are folded into the convolution before them, padding into the one after.  The x2
upsampling is one native operator.  The one output is the flow A2 [2,H,W]: the channels of the uncertainty are left out
of the heads, A0 and A1 are summed as soon as their prediction is there and die in the sum.

Memory is that of an Arm Ethos-U: int8, feature maps in bricks of 16 channels (NHCWB16: Vela, architecture_features.py,
``storage_rounding_quantums``); the input and the output of the graph in NHWC, unrounded, as are vectors.  In flash each
output channel of a convolution has, beside its int8 kernel, an 80-bit entry of bias (40), scale (32) and shift (6)
(Vela, weight_compressor.py, ``encode_bias``).  Vela compresses kernels further, by how much depends on their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeflownas.errors import ConfigError
from edgeflownas.models.attention import attention_kernel
from edgeflownas.models.blocks import conv_chain
from edgeflownas.models.flownet import Slot, layout, slot_options
from edgeflownas.models.stages import GRID, check_width, resolve
from edgeflownas.space import Arch, SearchSpace

__all__ = ["BIAS_BYTES", "BRICK", "FLOW_CHANNELS", "Buffer", "Op", "check_size", "subnet_graph"]

BRICK = 16  # channels are stored in groups of it
BIAS_BYTES = 10  # bias, scale and shift of one output channel
FLOW_CHANNELS = 2
LARGEST = 16_384  # px a side


@dataclass(frozen=True)
class Buffer:
    """An int8 feature map; ``edge``: the input or the output of the whole graph."""

    name: str
    channels: int
    rows: int
    columns: int
    edge: bool = False

    @property
    def bytes(self) -> int:
        """Bytes it takes in memory, a multiple of 16."""
        if self.edge:
            return _round_up(self.channels * self.rows * self.columns)
        return _round_up(self.channels) * self.rows * self.columns


@dataclass(frozen=True)
class Op:
    """One operator of ``stage``; ``weight_bytes`` of kernel, biases and scales; ``elementwise`` may write in place."""

    stage: str
    output: Buffer
    inputs: tuple[Buffer, ...]
    weight_bytes: int = 0
    elementwise: bool = False


def _round_up(count: int) -> int:
    return count + -count % BRICK


def check_size(size: tuple[int, int]) -> None:
    """Raises ConfigError for rows or columns (px) outside 1 to 16,384."""
    if not all(1 <= side <= LARGEST for side in size):
        raise ConfigError(f"size {size[0]}x{size[1]}: rows and columns must be 1 to {LARGEST} px, e.g. 180x240")


def subnet_graph(
    space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None, size: tuple[int, int]
) -> list[Op]:
    """Operators of a subnet in the order they run.

    Args:
        space: search space of ``arch``.
        width: channels after E0.
        arch: the subnet; None where the space holds one arch only.
        size: rows and columns of the images, px; padded to multiples of 16.

    Raises:
        ConfigError: arch of another space, an odd width, an impossible size.
    """
    check_width(width)
    check_size(size)
    code, options = resolve(space, arch), slot_options(space)
    rows, columns = (side + -side % GRID for side in size)
    graph, slots = _Graph(Buffer("images", 6, rows, columns, edge=True)), layout(space)
    for slot in slots:
        position = space.position(slot.name)
        graph.add(slot, int(width * slot.channels), options[slot.name][0 if position is None else code[position]])
        if slot.context == "gives" and any(later.context == "takes" for later in slots):
            graph.context = graph.mean(slot.name, f"{slot.name}.context")
    return graph.ops


class _Graph:
    """The chain as far as it is built: its operators, its features, their context and the flow summed so far."""

    def __init__(self, images: Buffer) -> None:
        self.ops: list[Op] = []
        self.features, self.images, self.context = images, images, images
        self.flow: Buffer | None = None

    def add(self, slot: Slot, channels: int, option: int | str) -> None:
        """Append one stage with its chosen option."""
        name = slot.name
        if isinstance(option, str):
            for link, (kernel, _) in enumerate(conv_chain(option) or ()):
                self.features = self._conv(name, f"{name}.{link}", self.features, channels, kernel, 1 if link else 2)
        elif slot.kind == "depth":
            for block in range(option):
                self._residual(name, f"{name}.{block}")
        elif slot.kind == "eca":
            kernel, means = attention_kernel(channels), self.mean(name, f"{name}.mean")
            scale = Buffer(f"{name}.scale", channels, 1, 1)  # one filter over all channels
            self._scale(name, self._append(Op(name, scale, (means,), kernel + BIAS_BYTES)))
        elif slot.kind == "gate":
            self._scale(name, self._conv(name, f"{name}.scale", self.context, channels, 1))
        elif slot.output is not None:
            self._head(name, option)
        else:
            x = self._up2(name, self.features) if slot.resample == "up" else self.features
            self.features = self._conv(name, name, x, channels, option, 2 if slot.resample == "down" else 1)

    def mean(self, stage: str, name: str) -> Buffer:
        """Append the mean of the features over the grid."""
        return self._append(Op(stage, Buffer(name, self.features.channels, 1, 1), (self.features,)))

    def _append(self, op: Op) -> Buffer:
        self.ops.append(op)
        return op.output

    def _conv(self, stage: str, name: str, x: Buffer, channels: int, kernel: int, stride: int = 1) -> Buffer:
        output = Buffer(name, channels, x.rows // stride, x.columns // stride)
        return self._append(Op(stage, output, (x,), (kernel * kernel * x.channels + BIAS_BYTES) * channels))

    def _up2(self, stage: str, x: Buffer) -> Buffer:
        return self._append(Op(stage, Buffer(f"{x.name} x2", x.channels, 2 * x.rows, 2 * x.columns), (x,)))

    def _elementwise(self, stage: str, name: str, one: Buffer, other: Buffer, last: bool = False) -> Buffer:
        output = Buffer(name, one.channels, one.rows, one.columns, edge=last)
        return self._append(Op(stage, output, (one, other), elementwise=True))

    def _scale(self, stage: str, scale: Buffer) -> None:
        self.features = self._elementwise(stage, stage, self.features, scale)

    def _residual(self, stage: str, name: str) -> None:
        x = self.features
        inner = self._conv(stage, f"{name}.conv1", x, x.channels, 3)
        inner = self._conv(stage, f"{name}.conv2", inner, x.channels, 3)
        self.features = self._elementwise(stage, f"{name}.sum", inner, x)

    def _head(self, stage: str, kernel: int) -> None:
        prediction = self._conv(stage, stage, self.features, FLOW_CHANNELS, kernel)
        if self.flow is None:
            self.flow = prediction
            return
        last = prediction.rows == self.images.rows
        name = "flow" if last else f"flow at 1/{self.images.rows // prediction.rows}"
        self.flow = self._elementwise(stage, name, self._up2(stage, self.flow), prediction, last)
