"""Tiny networks with ranges, for tests of artefacts."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from settled import SIZE, settled
from torch import Tensor

from edgeflownas.export.onnx import write_onnx
from edgeflownas.export.paths import TRAINING, host_flow, open_paths
from edgeflownas.export.verify import Sample
from edgeflownas.hardware.tflite import write_float, write_int8
from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.models.graph import Graph, Layer, fold, graph_of
from edgeflownas.models.int8 import Range, collect_ranges, integer_layers, tensor_scales
from edgeflownas.space import get_space

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
    def form(self):
        return self.net.input_form

    @property
    def scales(self):
        return tensor_scales(self.graph, self.ranges, self.form)


def tiny(name, outputs="flow", uncertainty=False, pairs=3):
    """A network of width 8 by the name of its kind."""
    if name == "edgeflownet":
        net = settled(EdgeFlowNet(8))
    else:
        net = settled(FlowNet(get_space(name), 8).subnet("021100101" if name == "v1" else V3))
    graph = graph_of(net, SIZE, outputs, uncertainty)
    layers, generator = fold(net, graph), torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (pairs, *SIZE, 6), generator=generator, dtype=torch.uint8)
    ranges = collect_ranges(graph, layers, [net.input_form.encode(images, torch.float32)])
    return Tiny(net, graph, layers, images, ranges)


@cache
def whole(name):
    """Every output of a network, and its ONNX file, which takes seconds to write."""
    example = tiny(name, "scales", uncertainty=True)
    return example, write_onnx(example.graph, example.layers, NOTES)


def samples_of(example, share=1.0):
    """Pairs whose truth is as far from the network's own flow as ``share`` of its spread."""
    generator, found = np.random.default_rng(0), []
    run = open_paths(example.net, example.graph, example.layers, {})[TRAINING]
    for pair in example.images.numpy():
        flow = host_flow(run(pair)).permute(1, 2, 0).numpy()
        truth = flow + generator.normal(0, share * flow.std(), (1, 1, 2)).astype(np.float32)
        found.append(Sample(pair, truth, generator.random(truth.shape[:2]) < 0.9))
    return found


def files_of(example):
    scales = example.scales
    integers = integer_layers(example.graph, example.layers, scales)
    return {
        "tflite-float": write_float(example.graph, example.layers),
        "tflite-int8": write_int8(example.graph, integers, scales),
    }
