"""Batch norm folded into the convolutions of a graph: one kernel and one bias each."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from edgeflownas.errors import ConfigError
from edgeflownas.models.batchnorm import BatchNorm
from edgeflownas.models.blocks import StagedNet
from edgeflownas.models.deployed.graph import Graph, Op
from edgeflownas.models.edgeflownet import TransposedConv


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
        scale, shift = _affine(net.get_submodule(op.norm))
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    chosen = slice(*op.channels_of) if op.channels_of else slice(None)
    return Layer(weight[chosen], bias[chosen])


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Factor and summand [C] of a batch norm in evaluation, formed in float64."""
    assert isinstance(norm, BatchNorm)
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    return scale.to(norm.weight), shift.to(norm.weight)
