"""Tiny networks with ranges, for tests of artefacts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from edgeflownas.export.onnx import write_onnx
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import InputForm, StagedNet
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.models.graph import Graph, Layer, Outputs, fold, graph_of, run_graph
from edgeflownas.models.int8 import Range, Scale, tensor_scales
from edgeflownas.space import get_space

SIZE = (32, 48)
V3 = "21010100110"
NOTES = {"code": "1", "about": "x"}
NAMES = ("v1", "v3", "edgeflownet")


@dataclass
class Tiny:
    """A network with statistics and affines that change something, and what follows from it."""

    net: StagedNet
    graph: Graph
    layers: dict[str, Layer]
    images: Tensor  # bytes [B,H,W,6]
    ranges: dict[str, Range]

    @property
    def form(self) -> InputForm:
        return self.net.input_form

    @property
    def scales(self) -> dict[str, Scale]:
        return tensor_scales(self.graph, self.ranges, self.form)


def tiny(name: str, outputs: Outputs = "flow", uncertainty: bool = False, pairs: int = 3) -> Tiny:
    """A network of width 8 by the name of its kind."""
    generator = torch.Generator().manual_seed(1)
    if name == "edgeflownet":
        net: StagedNet = EdgeFlowNet(8)
    else:
        net = FlowNet(get_space(name), 8).subnet("021100101" if name == "v1" else V3)
    for module in net.modules():
        if isinstance(module, BatchNorm):
            for tensor in (module.weight, module.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data.normal_(0, 0.2, generator=generator)
    graph = graph_of(net.eval(), SIZE, outputs, uncertainty)
    layers = fold(net, graph)
    images = torch.randint(0, 256, (pairs, *SIZE, 6), generator=generator, dtype=torch.uint8)
    ranges: dict[str, Range] = {}

    def watch(buffer, values):
        low, high = ranges.get(buffer.name, (0.0, 0.0))
        ranges[buffer.name] = min(low, values.min().item()), max(high, values.max().item())
        return values

    with torch.no_grad():
        run_graph(graph, layers, net.input_form.encode(images, torch.float32), watch)
    return Tiny(net, graph, layers, images, ranges)


@cache
def whole(name: str) -> tuple[Tiny, bytes]:
    """Every output of a network, and its ONNX file, which takes seconds to write."""
    example = tiny(name, "scales", uncertainty=True)
    return example, write_onnx(example.graph, example.layers, NOTES)
