"""The operators of one network as it is deployed, in execution order, derived from the network's slots.

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

Multiply-adds and parameters are nominal: every convolution is counted directly at the size of its output, an upsampling
stage at the full resolution, whatever faster form computes it.  So two implementations of the same network have the
same count, and "nominal GFLOP per second" compares them.  Batch norm, ReLU, resizing and sums are not counted; nor are
the means, the sigmoid and the scaling of channel attention and gate, of which only the convolutions count: 1-D over the
channels, and 1x1 on one pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflownas.errors import ConfigError
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import (
    GRID,
    StagedNet,
    TransposedConv,
    attention_kernel,
    check_width,
    conv_chain,
    global_mean,
    resolve,
    same_padding,
    up2,
)
from edgeflownas.models.flownet import PUBLISHED, EdgeFlowNet, FlowNet, Slot, layout, slot_options
from edgeflownas.space import Arch, SearchSpace

BRICK = 16  # channels are stored in groups of it
BIAS_BYTES = 10  # bias, scale and shift of one output channel
LARGEST = 16_384  # px a side
HEADS = {"flow": (0, 2), "uncertainty": (2, 4)}  # which channels of a prediction are which
SCALES = ("quarter", "half", "full")  # words for 1/4, 1/2, 1/1 in names
LAST_SCALE = {"quarter": 0, "half": 1}  # where the chain ends, if early

Activation = Literal["", "relu", "sigmoid"]
Outputs = Literal["flow", "half", "quarter", "scales", "raw"]
Kind = Literal["conv", "transposed_conv", "channel_conv", "up2", "add", "mul", "mean"]
AnyArch = Arch | Sequence[int] | str | None


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


def _round_up(count: int) -> int:
    return count + -count % BRICK


@dataclass(frozen=True)
class Op:
    """One operator of ``stage``.

    Kinds: ``conv`` and ``transposed_conv`` (SAME padding; stride of the latter enlarges), ``channel_conv`` (one kernel
    over a vector of channels, zeros beyond its ends), ``up2`` (asymmetric bilinear), ``add``, ``mul`` (the second input
    may be a vector of channels), ``mean`` (over the grid).

    Attributes:
        layer: path of the convolution in the network, for its weights; ``norm``: of the batch norm after it, if any.
        biased: whether a ``channel_conv`` has a trained bias.
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
    biased: bool = False

    @property
    def elementwise(self) -> bool:
        """Whether it may write in the place of an input."""
        return self.kind in ("add", "mul")

    @property
    def logits(self) -> Buffer:
        """What enters the sigmoid, where it is an operator of its own."""
        return replace(self.output, name=f"{self.output.name}.logits")

    @property
    def weights(self) -> int:
        """Numbers in its kernel; 0 without one."""
        if self.kind == "channel_conv":
            return self.kernel
        return self.kernel * self.kernel * self.inputs[0].channels * self.output.channels if self.layer else 0

    @property
    def macs(self) -> int:
        """Multiply-adds of a convolution, a transposed one counted at its input; 0 of anything else."""
        if self.kind == "channel_conv":
            return self.weights * self.output.channels
        place = self.inputs[0] if self.kind == "transposed_conv" else self.output
        return self.weights * place.rows * place.columns

    @property
    def weight_bytes(self) -> int:
        """Bytes of kernel, biases and scales; 0 without weights."""
        biases = 1 if self.kind == "channel_conv" else self.output.channels
        return self.weights + BIAS_BYTES * biases if self.layer else 0


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


def check_size(size: tuple[int, int]) -> None:
    """Raises ConfigError for rows or columns (px) outside 1 to 16,384."""
    if not all(1 <= side <= LARGEST for side in size):
        raise ConfigError(f"size {size[0]}x{size[1]}: rows and columns must be 1 to {LARGEST} px, e.g. 180x240")


def subnet_graph(
    space: SearchSpace,
    width: int,
    arch: AnyArch,
    size: tuple[int, int],
    outputs: Outputs = "flow",
    uncertainty: bool = False,
) -> Graph:
    """Operators of a subnet of FlowNet.

    Args:
        space: search space of ``arch``.
        width: channels after E0.
        arch: the subnet; None where the space holds one arch only.
        size: rows and columns of the images, px; padded to multiples of 16.
        outputs: what leaves the graph, see above.
        uncertainty: whether each output has its uncertainty beside it.

    Raises:
        ConfigError: arch of another space, an odd width, an impossible size.
    """
    check_width(width)
    check_size(size)
    code, options = resolve(space, arch), slot_options(space)
    digits = {choice.name: digit for choice, digit in zip(space.choices, code, strict=True)}
    chosen = {name: known[digits.get(name, 0)] for name, known in options.items()}
    rows, columns = (side + -side % GRID for side in size)
    return _Chain((rows, columns), outputs, uncertainty).of(layout(space), width, chosen)


def edgeflownet_graph(width: int, size: tuple[int, int], outputs: Outputs = "flow", uncertainty: bool = False) -> Graph:
    """Operators of the published network; arguments and errors as :func:`subnet_graph`, but the size is not padded.

    Rows or columns that are no multiples of 16 come out larger than they went in (172 as 176): SAME padding rounds up
    on the way down.
    """
    check_width(width)
    check_size(size)
    return _Chain(size, outputs, uncertainty).of(PUBLISHED, width, {slot.name: slot.default for slot in PUBLISHED})


def graph_of(net: StagedNet, size: tuple[int, int], outputs: Outputs = "flow", uncertainty: bool = False) -> Graph:
    """Operators of a fixed network (an extracted subnet, or EdgeFlowNet).

    Raises:
        ConfigError: a supernet (extract a subnet first), an impossible size, a network of another kind.
    """
    if isinstance(net, FlowNet):
        return subnet_graph(net.space, net.width, None, size, outputs, uncertainty)
    if isinstance(net, EdgeFlowNet):
        return edgeflownet_graph(net.width, size, outputs, uncertainty)
    raise ConfigError(f"a {type(net).__name__} has no deployed graph: FlowNet and EdgeFlowNet have")


class _Chain:
    """The chain as far as it is built: its operators, its features, their context and what was summed so far."""

    def __init__(self, size: tuple[int, int], outputs: Outputs, uncertainty: bool) -> None:
        if outputs not in get_args(Outputs):
            raise ConfigError(f"outputs {outputs!r} is unknown: {', '.join(get_args(Outputs))}")
        self.ops: list[Op] = []
        self.images = Buffer("images", 6, *size, edge=True)
        self.features = self.context = self.images
        self.asked, self.uncertainty = outputs, uncertainty
        self.last_scale = LAST_SCALE.get(outputs, 2)
        self.sums: dict[str, Buffer] = {}

    def of(self, slots: Sequence[Slot], width: int, chosen: Mapping[str, int | str]) -> Graph:
        """The graph of ``slots`` with an option each."""
        for slot in slots:
            self._add(slot, int(width * slot.channels), chosen[slot.name])
            if slot.context == "gives" and any(later.context == "takes" for later in slots):
                self.context = self._mean(slot.name, f"{slot.name}.context")
            if slot.output == self.last_scale:
                break
        return Graph(tuple(self.ops), self.images, tuple(op.output for op in self.ops if op.output.edge))

    def _append(self, op: Op) -> Buffer:
        self.ops.append(op)
        return op.output

    def _add(self, slot: Slot, channels: int, option: int | str) -> None:
        """Append one stage with its chosen option."""
        stage, path = slot.name, slot.path(option)
        if isinstance(option, str):
            for link, (kernel, dilation) in enumerate(conv_chain(option) or ()):
                name, layer, norm = f"{stage}.{link}", f"{path}.{3 * link}", f"{path}.{3 * link + 1}"
                self._conv(stage, name, channels, kernel, layer, norm, stride=1 if link else 2, dilation=dilation)
        elif slot.kind == "depth":
            for block in range(option):
                below = "" if slot.single else f".{block}"
                self._residual(stage, stage + below, path + below)
        elif slot.kind == "eca":
            means, scale = self._mean(stage, f"{stage}.mean"), Buffer(f"{stage}.scale", channels, 1, 1)
            kernel, biased = slot.default or attention_kernel(channels), slot.default > 0
            op = Op("channel_conv", stage, scale, (means,), kernel, activation="sigmoid", layer=stage, biased=biased)
            self._scale(op)
        elif slot.kind == "gate":
            scale = Buffer(f"{stage}.scale", channels, 1, 1)
            self._scale(Op("conv", stage, scale, (self.context,), activation="sigmoid", layer=stage))
        elif slot.output is not None:
            self._predict(stage, option, path, slot.output)
        else:
            if slot.resample == "up" and not slot.transposed:
                self.features = self._up2(stage, self.features)
            stride = 2 if slot.resample == "down" or slot.transposed else 1
            norm = f"{stage}.bn" if slot.norm else ""
            self._conv(stage, stage, channels, option, path, norm, stride=stride, transposed=slot.transposed)

    def _conv(
        self,
        stage: str,
        name: str,
        channels: int,
        kernel: int,
        layer: str,
        norm: str,
        *,
        relu: bool = True,
        stride: int = 1,
        dilation: int = 1,
        transposed: bool = False,
    ) -> None:
        """Convolve the features, ``transposed`` enlarges them by the stride; ``relu`` where there is a norm."""
        x = self.features
        rows, columns = (side * stride if transposed else -(-side // stride) for side in (x.rows, x.columns))
        output = Buffer(name, channels, rows, columns)
        kind: Kind = "transposed_conv" if transposed else "conv"
        activation: Activation = "relu" if norm and relu else ""
        self.features = self._append(Op(kind, stage, output, (x,), kernel, stride, dilation, activation, layer, norm))

    def _residual(self, stage: str, name: str, path: str) -> None:
        """conv3 BN ReLU conv3 BN, add the input, ReLU."""
        x = self.features
        self._conv(stage, f"{name}.conv1", x.channels, 3, f"{path}.conv1", f"{path}.bn1")
        self._conv(stage, f"{name}.conv2", x.channels, 3, f"{path}.conv2", f"{path}.bn2", relu=False)
        output = replace(x, name=f"{name}.sum", edge=False)
        self.features = self._append(Op("add", stage, output, (self.features, x), activation="relu"))

    def _up2(self, stage: str, x: Buffer) -> Buffer:
        output = Buffer(f"{x.name}_x2", x.channels, 2 * x.rows, 2 * x.columns)
        return self._append(Op("up2", stage, output, (x,)))

    def _mean(self, stage: str, name: str) -> Buffer:
        return self._append(Op("mean", stage, Buffer(name, self.features.channels, 1, 1), (self.features,)))

    def _scale(self, op: Op) -> None:
        """Scale the channels of the features by what ``op`` writes."""
        output = replace(self.features, name=op.stage)
        self.features = self._append(Op("mul", op.stage, output, (self.features, self._append(op))))

    def _predict(self, stage: str, kernel: int, layer: str, scale: int) -> None:
        """Predict from the features and add what is summed so far; ``scale`` 0, 1, 2 is 1/4, 1/2, 1/1 of the size."""
        raw, leaves = self.asked == "raw", self.asked == "scales" or scale == self.last_scale
        for head, channels in HEADS.items():
            if head == "uncertainty" and not self.uncertainty:
                continue
            summed = head if scale == len(SCALES) - 1 else f"{head}_{SCALES[scale]}"
            if raw:
                name = f"{head}_raw_{SCALES[scale]}"
            elif scale == 0:  # the sum begins
                name = summed
            else:
                name = stage if head == "flow" else f"{stage}.{head}"
            output = Buffer(name, 2, self.features.rows, self.features.columns, raw or (scale == 0 and leaves))
            prediction = self._append(
                Op("conv", stage, output, (self.features,), kernel, layer=layer, channels_of=channels)
            )
            if scale and not raw:
                # Vela runs what leads to the last input first.  Were that the enlarged sum, the earlier predictions
                # would wait for the later stages, and their features would stay alive through the peak of memory.
                inputs = prediction, self._up2(stage, self.sums[head])
                prediction = self._append(Op("add", stage, replace(output, name=summed, edge=leaves), inputs))
            self.sums[head] = prediction


def stage_macs(space: SearchSpace, width: int, arch: AnyArch, height: int, image_width: int) -> dict[str, int]:
    """Multiply-adds of one sample by stage name; ``height`` x ``image_width`` are padded to multiples of 16."""
    counts: dict[str, int] = {}
    for op in subnet_graph(space, width, arch, (height, image_width), "raw", uncertainty=True).ops:
        counts[op.stage] = counts.get(op.stage, 0) + op.macs
    return counts


def stage_parameters(space: SearchSpace, width: int, arch: AnyArch) -> dict[str, int]:
    """Trainable parameters by stage name: kernels, gamma and beta, the bias of channel attention."""
    counts: dict[str, int] = {}
    for op in subnet_graph(space, width, arch, (GRID, GRID), "raw", uncertainty=True).ops:
        counts[op.stage] = counts.get(op.stage, 0) + op.weights + op.biased + (2 * op.output.channels if op.norm else 0)
    return counts


def parameters(space: SearchSpace, width: int, arch: AnyArch) -> int:
    """Trainable parameters of one subnet alone.  Raises ConfigError as :func:`macs`."""
    return sum(stage_parameters(space, width, arch).values())


def macs(space: SearchSpace, width: int, arch: AnyArch, height: int, image_width: int) -> int:
    """Multiply-adds of one forward pass of one sample.

    Args:
        space: search space of ``arch``.
        width: channels after E0.
        arch: the subnet; None where the space holds one arch only.
        height: rows of the images, px.
        image_width: columns of the images, px.

    Raises:
        ConfigError: arch of another space.
    """
    return sum(stage_macs(space, width, arch, height, image_width).values())


def training_flop(space: SearchSpace, width: int, archs: Sequence[Arch], height: int, image_width: int) -> int:
    """Floating-point operations of one forward and backward pass of one sample through each of ``archs``.

    A multiply-add is two; the backward pass computes the gradient of the kernel and of the input, as many each
    as the forward, except that nothing needs the gradient of the images (E0).
    """
    total = 0
    for arch in archs:
        counts = stage_macs(space, width, arch, height, image_width)
        total += 2 * (3 * sum(counts.values()) - counts["E0"])
    return total


class Layer(NamedTuple):
    """Kernel [out,in,k,k] of a convolution, transposed or not ([1,1,k] across channels), and its bias [out]."""

    weight: Tensor
    bias: Tensor


def fold(net: StagedNet, graph: Graph) -> dict[str, Layer]:
    """Layers of ``net`` by the name of the operator's output, under the running statistics of its batch norms.

    A transposed convolution of stride 1 becomes the convolution that it is: kernel turned by half a turn.  A transposed
    one of stride 2 keeps its kernel as [out,in,k,k], not turned.

    Raises:
        ConfigError: a network that is not the one of ``graph``.
    """
    try:
        return {op.output.name: _fold(net, op) for op in graph.ops if op.layer}
    except AttributeError as error:
        raise ConfigError(f"the network is not that of the graph: {error}; extract the subnet first") from None


def _fold(net: StagedNet, op: Op) -> Layer:
    module = net.get_submodule(op.layer)
    weight, bias = cast(Tensor, module.weight), cast(Tensor | None, getattr(module, "bias", None))
    if isinstance(module, TransposedConv):
        weight = weight.transpose(0, 1)
        weight = weight.flip((2, 3)) if op.kind == "conv" else weight
    if bias is None:
        bias = weight.new_zeros(weight.shape[0])
    if op.norm:
        norm = cast(BatchNorm, net.get_submodule(op.norm))
        factor = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
        shift = norm.bias.double() - norm.running_mean.double() * factor
        scale = factor.to(norm.weight)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift.to(norm.weight)
    chosen = slice(*op.channels_of) if op.channels_of else slice(None)
    return Layer(weight[chosen], bias[chosen])


At = Callable[[Buffer, Tensor], Tensor]


def run_graph(
    graph: Graph,
    layers: Mapping[str, Layer],
    images: Tensor,
    at: At | None = None,
    resize: Callable[[Tensor], Tensor] = up2,
) -> dict[str, Tensor]:
    """The outputs of ``graph`` [B,C,H,W] by name, in floating point.

    One executor for all who need it: the folded reference, calibration (which watches every tensor) and the ONNX
    export.

    Args:
        graph: what to run.
        layers: kernels and biases by the name of the operator's output (:func:`fold`).
        images: [B,6,H,W] of the graph's size, as the network takes them.
        at: called with every tensor once it is there, the images and the logits of sigmoids included; what it returns
            takes its place.
        resize: the x2 upsampling.
    """
    uses = {buffer.name: int(buffer in graph.outputs) for buffer in graph.buffers}  # leaving the graph is a use
    for op in graph.ops:
        for buffer in op.inputs:
            uses[buffer.name] += 1
    values = {graph.images.name: at(graph.images, images) if at else images}
    for op in graph.ops:
        inputs = [values[buffer.name] for buffer in op.inputs]
        layer = layers.get(op.output.name)
        result = _convolve(op, layer, inputs[0]) if layer else _combine(op, inputs, resize)
        if op.activation == "relu":
            result = torch.relu(result)
        elif op.activation == "sigmoid":
            result = torch.sigmoid(at(op.logits, result) if at else result)
        values[op.output.name] = at(op.output, result) if at else result
        for buffer in op.inputs:
            uses[buffer.name] -= 1
            if not uses[buffer.name]:
                values.pop(buffer.name)
    return {buffer.name: values[buffer.name] for buffer in graph.outputs}


def _combine(op: Op, inputs: list[Tensor], resize: Callable[[Tensor], Tensor]) -> Tensor:
    if op.kind == "up2":
        return resize(inputs[0])
    if op.kind == "mean":
        return global_mean(inputs[0])
    one, other = inputs
    return one + other if op.kind == "add" else one * other


def _convolve(op: Op, layer: Layer, x: Tensor) -> Tensor:
    weight, bias = layer
    if op.kind == "channel_conv":
        y = F.conv1d(x.flatten(1).unsqueeze(1), weight, bias, padding=op.kernel // 2)
        return y.transpose(1, 2).unsqueeze(-1)
    if op.kind == "transposed_conv":
        wide = F.conv_transpose2d(x, weight.transpose(0, 1), bias, op.stride, (op.kernel - 2) // 2)
        return wide[..., : op.output.rows, : op.output.columns]
    reach = (op.kernel - 1) * op.dilation + 1
    if op.stride == 1:
        return F.conv2d(x, weight, bias, padding=reach // 2, dilation=op.dilation)
    vertical, horizontal = (same_padding(side, reach, op.stride) for side in x.shape[-2:])
    return F.conv2d(F.pad(x, horizontal + vertical), weight, bias, stride=op.stride, dilation=op.dilation)


class FoldedNet(nn.Module):
    """A graph and its layers as a module: images [B,6,H,W] -> the outputs of the graph, in its order."""

    def __init__(
        self,
        graph: Graph,
        layers: Mapping[str, Layer],
        at: At | None = None,
        resize: Callable[[Tensor], Tensor] = up2,
    ) -> None:
        super().__init__()
        self.graph, self.at, self.resize = graph, at, resize
        self.names = tuple(layers)
        for index, layer in enumerate(layers.values()):
            self.register_buffer(f"weight{index}", layer.weight.detach().clone())
            self.register_buffer(f"bias{index}", layer.bias.detach().clone())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs."""
        found = [Layer(self.get_buffer(f"weight{i}"), self.get_buffer(f"bias{i}")) for i in range(len(self.names))]
        outputs = run_graph(self.graph, dict(zip(self.names, found, strict=True)), images, self.at, self.resize)
        return tuple(outputs.values())
