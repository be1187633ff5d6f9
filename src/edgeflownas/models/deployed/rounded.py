"""A subnet that computes as its int8 file will: for fine-tuning, and for the evaluation of what that gave.

Weights, biases and tensors are rounded by quantise.py in every forward, batch norm is folded under its running
statistics, which nothing moves; gradients pass the rounding (straight-through: Bengio, Leonard and Courville 2013,
arXiv 1308.3432; for folded convolutions Jacob et al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edgeflownas.models.deployed.builder import HEADS
from edgeflownas.models.deployed.folding import fold
from edgeflownas.models.deployed.graph import Graph
from edgeflownas.models.deployed.networks import graph_of
from edgeflownas.models.deployed.quantise import Range, rounded_layers, rounding, tensor_scales
from edgeflownas.models.deployed.running import run_graph
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.stages import GRID, Sums
from edgeflownas.space import Arch, SearchSpace

__all__ = ["RoundedNet", "loss_graph"]

SAME = {  # a raw prediction has the layer and thus the range of the one that is summed
    **{f"{head}_raw_quarter": f"{head}_quarter" for head in HEADS},
    **{"flow_raw_half": "H1Out", "uncertainty_raw_half": "H1Out.uncertainty"},
    **{"flow_raw_full": "H2Out", "uncertainty_raw_full": "H2Out.uncertainty"},
}


def loss_graph(net: FlowNet, size: tuple[int, int]) -> Graph:
    """What the loss looks at: A0, A1 and A2 of flow and uncertainty.

    Every other graph of ``net`` is made of tensors of this one, under the same names; so one set of ranges fits all.
    """
    return graph_of(net, size, outputs="scales", uncertainty=True)


class RoundedNet(FlowNet):
    """A FlowNet of one arch with the parameters and buffers of the plain one, and a range for each tensor.

    Images of every size run: ranges belong to tensors, not to sizes.

    Attributes:
        rounded: off, the same folded network runs in floating point.
        ranges: [T,2] low and high of every tensor that has a scale of its own, in the order of the graph; zeros (under
            which nothing but zero exists) until :meth:`set_ranges`.
    """

    ranges: Tensor
    rounded = True
    whole = True

    def __init__(self, space: SearchSpace, width: int = 32, seed: int | None = 0, **more: Any) -> None:
        super().__init__(space, width, seed, **more)
        self.batchnorms = ()  # none that may be recalibrated or moved: their statistics belong to the weights
        graph = loss_graph(self, (GRID, GRID))
        scaled = [op for op in graph.ops if op.kind != "up2"]
        self._names = tuple((op.logits if op.activation == "sigmoid" else op.output).name for op in scaled)
        self._graphs: dict[tuple[int, int], Graph] = {}
        self.register_buffer("ranges", torch.zeros(len(self._names), 2))

    def tensor_ranges(self) -> dict[str, Range]:
        """Lowest and highest value of every tensor by name, for ``tensor_scales`` of any graph of this network."""
        found: dict[str, Range] = {
            name: (low, high) for name, (low, high) in zip(self._names, self.ranges.tolist(), strict=True)
        }
        return found | {name: found[same] for name, same in SAME.items()}

    @torch.no_grad()
    def set_ranges(self, ranges: Mapping[str, Range]) -> None:
        """Take over measured ranges of :func:`loss_graph`."""
        self.ranges.copy_(torch.tensor([ranges[name] for name in self._names], dtype=torch.float64))

    def run_from(self, start: int, features: Tensor, code: Arch, decoder_features: list[Tensor] | None = None) -> Sums:
        """A0, A1 and A2 [B,4,h,w] of prepared images; there is no other place to start from."""
        assert start == 0 and decoder_features is None
        size = features.shape[-2], features.shape[-1]
        graph = self._graphs.setdefault(size, loss_graph(self, size))
        layers, at = fold(self, graph), None
        if self.rounded:
            scales = tensor_scales(graph, self.tensor_ranges(), self.input_form)
            layers, at = rounded_layers(graph, layers, scales), rounding(scales)
        found = run_graph(graph, layers, features, at)
        names = ("_quarter", "_half", "")
        return Sums(torch.cat([found[f"{head}{name}"] for head in HEADS], 1) for name in names)
