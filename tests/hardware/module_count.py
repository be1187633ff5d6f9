"""An independent count of what a subnet costs: every operator that torch runs for the extracted module is recorded.

Nothing of hardware/ is used here.  Views, padding, batch norm, ReLU and sigmoid write into the buffer they read (they
are folded into a convolution); nearest-neighbour upsampling and average pooling are one operator.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgeflownas.models.blocks import up2_pooled

SAME_BUFFER = {
    "batch_norm", "native_batch_norm", "relu_", "relu", "sigmoid", "add_", "view", "_unsafe_view", "slice", "select",
    "expand", "cat", "constant_pad_nd", "upsample_nearest2d", "clone", "permute", "transpose", "unsqueeze", "squeeze",
    "alias", "detach", "flatten",
}  # fmt: skip
NEW_BUFFER = {"convolution", "avg_pool2d", "mean"}
ELEMENTWISE = {"add", "mul"}


@dataclass
class Trace(TorchDispatchMode):
    """Buffers (rows, columns, channels) with the first and the last time they are needed."""

    head: bool = False
    macs: int = 0
    weight_bytes: int = 0
    time: int = 0
    shapes: list[torch.Size] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    sums: list[tuple[int, int, list[int]]] = field(default_factory=list)  # time, output, inputs
    buffer_of: dict[int, int] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def start(self, images):
        self.new(images)
        self.time = 1

    def new(self, tensor):
        self.shapes.append(tensor.shape)
        self.born.append(self.time)
        self.read.append(self.time)
        return self.name(tensor, len(self.shapes) - 1)

    def name(self, tensor, buffer):
        self.kept.append(tensor)  # an id is only its own while the object lives
        self.buffer_of[id(tensor)] = buffer
        return buffer

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        flat = [item for arg in args for item in (arg if isinstance(arg, list) else [arg])]
        inputs = [
            self.buffer_of[id(item)] for item in flat if isinstance(item, torch.Tensor) and id(item) in self.buffer_of
        ]
        if not inputs:
            return result  # arithmetic on weights and statistics
        output = result[0] if isinstance(result, tuple) else result
        if name in SAME_BUFFER:
            self.name(output, inputs[0])
            if name == "add_":  # takes its turn and writes over its first input
                self.read[inputs[0]] = self.read[inputs[1]] = self.time
                self.time += 1
            return result
        assert name in NEW_BUFFER | ELEMENTWISE, f"the trace does not know {name}"
        for buffer in inputs:
            self.read[buffer] = self.time
        made = self.new(output)
        if name in ELEMENTWISE:
            self.sums.append((self.time, made, inputs))
        if name == "convolution":
            self.count(args[1], output)
        self.time += 1
        return result

    def count(self, kernel, output):
        """A head's last two channels are the uncertainty: trained, not deployed."""
        self.macs += output[0, 0].numel() * kernel.numel()
        deployed = 2 if self.head else kernel.shape[0]
        self.weight_bytes += kernel[:deployed].numel() + 10 * deployed

    def size(self, buffer):
        shape = self.shapes[buffer]
        if len(shape) == 3:  # [1,1,C]: a vector that is reshaped lies in one piece
            return -(-shape.numel() // 16) * 16
        _, channels, rows, columns = shape
        if buffer == 0:
            return rows * columns * channels
        if buffer == len(self.shapes) - 1:
            return rows * columns * 2
        return -(-channels // 16) * 16 * rows * columns

    def timeline(self):
        """Sum of the sizes alive at each time."""
        self.read[-1] = self.time
        taken = set()
        for time, made, inputs in self.sums:
            free = [b for b in inputs if self.read[b] == time and self.size(b) == self.size(made)]
            taken |= {(time, free[0])} if free else set()
        return [
            sum(
                self.size(buffer)
                for buffer in range(len(self.shapes))
                if self.born[buffer] <= time <= self.read[buffer] and (time, buffer) not in taken
            )
            for time in range(1, self.time)
        ]


@torch.no_grad()
def traced(net, arch, size):
    """Parameters, multiply-adds, weight bytes and bytes alive at each operator of ``net.subnet(arch)``."""
    subnet = net.subnet(arch).eval()
    images = subnet.prepare(torch.zeros(1, 6, *size))
    flow, features, context = None, images, None
    with Trace() as trace:
        trace.start(images)
        for index, stage in enumerate(subnet.stages):
            trace.head = stage.output is not None
            result = subnet.run_stage(index, features, 0, context)
            if stage.output is None:
                features = result
                context = subnet.context_of(features) if stage.context == "gives" else context
            else:
                flow = result[:, :2] if flow is None else up2_pooled(flow) + result[:, :2]
    return sum(p.numel() for p in subnet.parameters()), trace.macs, trace.weight_bytes, trace.timeline()
