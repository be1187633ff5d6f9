"""Runs a deployed graph in torch, in floating point, tensor by tensor.

One executor for all who need it: the folded reference, calibration (which watches every tensor) and the ONNX export.
Shapes: features [B,C,H,W].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflownas.models.attention import global_mean
from edgeflownas.models.blocks import same_padding, up2
from edgeflownas.models.deployed.folding import Layer
from edgeflownas.models.deployed.graph import Buffer, Graph, Op

At = Callable[[Buffer, Tensor], Tensor]


def run_graph(
    graph: Graph,
    layers: Mapping[str, Layer],
    images: Tensor,
    at: At | None = None,
    resize: Callable[[Tensor], Tensor] = up2,
) -> dict[str, Tensor]:
    """The outputs of ``graph`` by name.

    Args:
        graph: what to run.
        layers: kernels and biases by the name of the operator's output (folding.py).
        images: [B,6,H,W] of the graph's size, as the network takes them.
        at: called with every tensor once it is there, the images and the logits of sigmoids included; what it returns
            takes its place.
        resize: the x2 upsampling.
    """
    uses = _uses(graph)
    values = {graph.images.name: at(graph.images, images) if at else images}
    for op in graph.ops:
        result = _run(op, layers.get(op.output.name), [values[buffer.name] for buffer in op.inputs], resize)
        if op.activation == "sigmoid":
            result = torch.sigmoid(at(op.logits, result) if at else result)
        values[op.output.name] = at(op.output, result) if at else result
        for buffer in op.inputs:
            uses[buffer.name] -= 1
            if not uses[buffer.name]:
                values.pop(buffer.name)
    return {buffer.name: values[buffer.name] for buffer in graph.outputs}


def _uses(graph: Graph) -> dict[str, int]:
    """How often each tensor is still needed; leaving the graph is a use."""
    uses = {buffer.name: int(buffer in graph.outputs) for buffer in graph.buffers}
    for op in graph.ops:
        for buffer in op.inputs:
            uses[buffer.name] += 1
    return uses


def _run(op: Op, layer: Layer | None, inputs: list[Tensor], resize: Callable[[Tensor], Tensor]) -> Tensor:
    y = _linear(op, layer, inputs[0]) if layer else _plain(op, inputs, resize)
    return torch.relu(y) if op.activation == "relu" else y


def _plain(op: Op, inputs: list[Tensor], resize: Callable[[Tensor], Tensor]) -> Tensor:
    if op.kind == "up2":
        return resize(inputs[0])
    if op.kind == "mean":
        return global_mean(inputs[0])
    one, other = inputs
    return one + other if op.kind == "add" else one * other


def _linear(op: Op, layer: Layer, x: Tensor) -> Tensor:
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
