"""The operators of one network as it is deployed, in execution order, derived from the network's definition.

Batch norm, ReLU and sigmoid are folded into the convolution before them, padding into the one after.  The x2
upsampling is one native operator.  What leaves the graph is chosen by ``outputs``:

    flow      A2 [2,H,W]: A0 and A1 are summed as soon as their prediction is there and die in the sum
    half      A1 [2,H/2,W/2], quarter: A0 [2,H/4,W/4]; the later stages are not there
    scales    A0, A1 and A2
    raw       the three predictions, for a device that sums itself

Uncertainty, where it is asked for, is computed by convolutions of its own from the same features, so that flow and
uncertainty have a scale each once they are eight-bit integers.

Memory is that of an Arm Ethos-U: int8, feature maps in bricks of 16 channels (NHCWB16: Vela, architecture_features.py,
``storage_rounding_quantums``); the inputs and outputs of the graph in NHWC, unrounded, as are vectors.  In flash each
output channel of a convolution has, beside its int8 kernel, an 80-bit entry of bias (40), scale (32) and shift (6)
(Vela, weight_compressor.py, ``encode_bias``).  Vela compresses kernels further, by how much depends on their values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from edgeflownas.errors import ConfigError

BRICK = 16  # channels are stored in groups of it
BIAS_BYTES = 10  # bias, scale and shift of one output channel
LARGEST = 16_384  # px a side

Activation = Literal["", "relu", "sigmoid"]
Outputs = Literal["flow", "half", "quarter", "scales", "raw"]
Kind = Literal["conv", "transposed_conv", "channel_conv", "up2", "add", "mul", "mean"]


@dataclass(frozen=True)
class Buffer:
    """An int8 feature map; ``edge``: an input or an output of the whole graph."""

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

    @property
    def shape_1HWC(self) -> tuple[int, int, int, int]:
        """Shape as it is stored."""
        return (1, self.rows, self.columns, self.channels)


@dataclass(frozen=True)
class Op:
    """One operator of ``stage``.

    Kinds: ``conv`` and ``transposed_conv`` (SAME padding; stride of the latter enlarges), ``channel_conv`` (one kernel
    over a vector of channels, zeros beyond its ends), ``up2`` (asymmetric bilinear), ``add``, ``mul`` (the second input
    may be a vector of channels), ``mean`` (over the grid).

    Attributes:
        layer: path of the convolution in the network, for its weights; ``norm``: of the batch norm after it, if any.
        channels_of: which output channels of that layer it computes; None for all.
        activation: what is applied to the result, in the same operator where the target can; a sigmoid is one of its
            own, a vector long.
    """

    kind: Kind
    stage: str
    output: Buffer
    inputs: tuple[Buffer, ...]
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    activation: Activation = ""
    layer: str = ""
    norm: str = ""
    channels_of: tuple[int, int] | None = None

    @property
    def elementwise(self) -> bool:
        """Whether it may write in the place of an input."""
        return self.kind in ("add", "mul")

    @property
    def logits(self) -> Buffer:
        """What enters the sigmoid, where it is an operator of its own."""
        return replace(self.output, name=f"{self.output.name}.logits")

    @property
    def macs(self) -> int:
        """Multiply-adds of a convolution, a transposed one counted at its input; 0 of anything else."""
        if self.kind == "channel_conv":
            return self.kernel * self.output.channels
        place = self.inputs[0] if self.kind == "transposed_conv" else self.output
        each = self.kernel * self.kernel * self.inputs[0].channels * self.output.channels if self.layer else 0
        return each * place.rows * place.columns

    @property
    def weight_bytes(self) -> int:
        """Bytes of kernel, biases and scales; 0 without weights."""
        if self.kind == "channel_conv":
            return self.kernel + BIAS_BYTES
        if not self.layer:
            return 0
        return (self.kernel * self.kernel * self.inputs[0].channels + BIAS_BYTES) * self.output.channels


@dataclass(frozen=True)
class Graph:
    """Operators in the order they run, from ``images`` [6,H,W] to ``outputs``."""

    ops: tuple[Op, ...]
    images: Buffer
    outputs: tuple[Buffer, ...]

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The images and what every operator writes, in order."""
        return (self.images, *(op.output for op in self.ops))


def _round_up(count: int) -> int:
    return count + -count % BRICK


def check_size(size: tuple[int, int]) -> None:
    """Raises ConfigError for rows or columns (px) outside 1 to 16,384."""
    if not all(1 <= side <= LARGEST for side in size):
        raise ConfigError(f"size {size[0]}x{size[1]}: rows and columns must be 1 to {LARGEST} px, e.g. 180x240")
