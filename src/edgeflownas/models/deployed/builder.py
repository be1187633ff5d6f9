"""Builds the graph of a network stage by stage; see graph.py."""

from __future__ import annotations

from typing import get_args

from edgeflownas.errors import ConfigError
from edgeflownas.models.deployed.graph import Activation, Buffer, Graph, Kind, Op, Outputs

HEADS = {"flow": (0, 2), "uncertainty": (2, 4)}  # which channels of a prediction are which
SCALES = ("quarter", "half", "full")  # words for 1/4, 1/2, 1/1 in names
LAST_SCALE = {"quarter": 0, "half": 1}  # where the chain ends, if early


class GraphBuilder:
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
        self.outputs: list[Buffer] = []

    def finished(self) -> Graph:
        """The graph of everything added."""
        return Graph(tuple(self.ops), self.images, tuple(self.outputs))

    def append(self, op: Op) -> Buffer:
        """Add an operator; returns what it writes."""
        self.ops.append(op)
        if op.output.edge:
            self.outputs.append(op.output)
        return op.output

    def conv(
        self,
        stage: str,
        name: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        *,
        layer: str,
        norm: str = "",
        activation: Activation = "",
        transposed: bool = False,
    ) -> None:
        """Convolve the features; ``transposed`` enlarges them by the stride."""
        x = self.features
        rows, columns = (side * stride if transposed else -(-side // stride) for side in (x.rows, x.columns))
        output = Buffer(name, channels, rows, columns)
        kind: Kind = "transposed_conv" if transposed else "conv"
        op = Op(kind, stage, output, (x,), kernel, stride, dilation, activation, layer, norm)
        self.features = self.append(op)

    def residual(self, stage: str, name: str, path: str) -> None:
        """conv3 BN ReLU conv3 BN, add the input, ReLU."""
        x = self.features
        self.conv(stage, f"{name}.conv1", x.channels, 3, layer=f"{path}.conv1", norm=f"{path}.bn1", activation="relu")
        self.conv(stage, f"{name}.conv2", x.channels, 3, layer=f"{path}.conv2", norm=f"{path}.bn2")
        output = Buffer(f"{name}.sum", x.channels, x.rows, x.columns)
        self.features = self.append(Op("add", stage, output, (self.features, x), activation="relu"))

    def up2(self, stage: str) -> None:
        """Enlarge the features."""
        self.features = self._up2(stage, self.features)

    def _up2(self, stage: str, x: Buffer) -> Buffer:
        output = Buffer(f"{x.name}_x2", x.channels, 2 * x.rows, 2 * x.columns)
        return self.append(Op("up2", stage, output, (x,)))

    def mean(self, stage: str, name: str) -> Buffer:
        """The mean of the features over the grid."""
        return self.append(Op("mean", stage, Buffer(name, self.features.channels, 1, 1), (self.features,)))

    def attention(self, stage: str, kernel: int) -> None:
        """Scale the channels by the sigmoid of a convolution over their means."""
        means = self.mean(stage, f"{stage}.mean")
        scale = Buffer(f"{stage}.scale", means.channels, 1, 1)
        self._scale(self.append(Op("channel_conv", stage, scale, (means,), kernel, activation="sigmoid", layer=stage)))

    def gate(self, stage: str, channels: int) -> None:
        """Scale the channels by the sigmoid of a 1x1 convolution of the context."""
        scale = Buffer(f"{stage}.scale", channels, 1, 1)
        self._scale(self.append(Op("conv", stage, scale, (self.context,), activation="sigmoid", layer=stage)))

    def _scale(self, scale: Buffer) -> None:
        stage = self.ops[-1].stage
        output = Buffer(stage, self.features.channels, self.features.rows, self.features.columns)
        self.features = self.append(Op("mul", stage, output, (self.features, scale)))

    def head(self, stage: str, kernel: int, layer: str, scale: int) -> None:
        """Predict from the features and add what is summed so far; ``scale`` 0, 1, 2 is 1/4, 1/2, 1/1 of the size."""
        for head, channels in HEADS.items():
            if head == "uncertainty" and not self.uncertainty:
                continue
            raw = self.asked == "raw"
            if raw:
                name = f"{head}_raw_{SCALES[scale]}"
            elif scale == 0:  # the sum begins
                name = _sum_name(head, scale)
            else:
                name = stage if head == "flow" else f"{stage}.{head}"
            output = Buffer(name, 2, self.features.rows, self.features.columns, raw or scale == 0 and self._leaves(0))
            op = Op("conv", stage, output, (self.features,), kernel, layer=layer, channels_of=channels)
            prediction = self.append(op)
            self.sums[head] = self._sum(stage, head, prediction, scale) if scale and not raw else prediction

    def _sum(self, stage: str, head: str, prediction: Buffer, scale: int) -> Buffer:
        larger = self._up2(stage, self.sums[head])
        output = Buffer(_sum_name(head, scale), 2, prediction.rows, prediction.columns, self._leaves(scale))
        # Vela runs what leads to the last input first.  Were that the enlarged sum, the earlier predictions would wait
        # for the later stages, and their features would stay alive through the peak of memory.
        return self.append(Op("add", stage, output, (prediction, larger)))

    def _leaves(self, scale: int) -> bool:
        return self.asked == "scales" or scale == self.last_scale


def _sum_name(head: str, scale: int) -> str:
    return head if scale == len(SCALES) - 1 else f"{head}_{SCALES[scale]}"
