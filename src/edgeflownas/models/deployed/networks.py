"""The deployed graphs of the networks: any subnet of FlowNet, and the published EdgeFlowNet."""

from __future__ import annotations

from collections.abc import Sequence

from edgeflownas.errors import ConfigError
from edgeflownas.models.attention import attention_kernel
from edgeflownas.models.blocks import GRID, StagedNet, check_width, conv_chain, resolve
from edgeflownas.models.deployed.builder import GraphBuilder
from edgeflownas.models.deployed.graph import Graph, Outputs, check_size
from edgeflownas.models.edgeflownet import EdgeFlowNet
from edgeflownas.models.flownet import FlowNet, Slot, layout, slot_options
from edgeflownas.space import Arch, SearchSpace


def subnet_graph(
    space: SearchSpace,
    width: int,
    arch: Arch | Sequence[int] | str | None,
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
    rows, columns = (side + -side % GRID for side in size)
    graph, slots = GraphBuilder((rows, columns), outputs, uncertainty), layout(space)
    for slot in slots:
        position = space.position(slot.name)
        _add_slot(
            graph, slot, int(width * slot.channels), options[slot.name][0 if position is None else code[position]]
        )
        if slot.context == "gives" and any(later.context == "takes" for later in slots):
            graph.context = graph.mean(slot.name, f"{slot.name}.context")
        if slot.output == graph.last_scale:
            break
    return graph.finished()


def _add_slot(graph: GraphBuilder, slot: Slot, channels: int, option: int | str) -> None:
    """Append one stage with its chosen option."""
    name = slot.name
    if isinstance(option, str):
        path = f"{name}.conv{option.replace('+', '_')}"
        for link, (kernel, dilation) in enumerate(conv_chain(option) or ()):
            layer, norm = f"{path}.{3 * link}", f"{path}.{3 * link + 1}"
            stride, own = 1 if link else 2, f"{name}.{link}"
            graph.conv(name, own, channels, kernel, stride, dilation, layer=layer, norm=norm, activation="relu")
    elif slot.kind == "depth":
        for block in range(option):
            graph.residual(name, f"{name}.{block}", f"{name}.depth{option}.{block}")
    elif slot.kind == "eca":
        graph.attention(name, attention_kernel(channels))
    elif slot.kind == "gate":
        graph.gate(name, channels)
    elif slot.output is not None:
        graph.head(name, option, f"{name}.k{option}", slot.output)
    else:
        if slot.resample == "up":
            graph.up2(name)
        stride = 2 if slot.resample == "down" else 1
        graph.conv(
            name, name, channels, option, stride, activation="relu", layer=f"{name}.k{option}", norm=f"{name}.bn"
        )


def edgeflownet_graph(width: int, size: tuple[int, int], outputs: Outputs = "flow", uncertainty: bool = False) -> Graph:
    """Operators of the published network; arguments and errors as :func:`subnet_graph`, but the size is not padded.

    Rows or columns that are no multiples of 16 come out larger than they went in (172 as 176): SAME padding rounds up
    on the way down.
    """
    check_width(width)
    check_size(size)
    graph, c = GraphBuilder(size, outputs, uncertainty), width

    def conv(name: str, channels: int, kernel: int, stride: int, norm: bool, transposed: bool = False) -> None:
        bn, activation = (f"{name}.bn", "relu") if norm else ("", "")
        kind = {"layer": f"{name}.conv", "norm": bn, "transposed": transposed}
        graph.conv(name, name, channels, kernel, stride, activation=activation, **kind)  # type: ignore[arg-type]

    conv("E0", c, 7, 2, norm=True)
    conv("E1", 2 * c, 5, 2, norm=True)
    graph.residual("EB0", "EB0", "EB0")
    conv("Down1", 4 * c, 3, 2, norm=False)
    graph.residual("EB1", "EB1", "EB1")
    conv("Down2", 8 * c, 3, 2, norm=False)
    graph.residual("DB0", "DB0", "DB0")
    conv("Up1", 4 * c, 3, 2, norm=False, transposed=True)
    graph.residual("DB1", "DB1", "DB1")
    conv("Up2", 2 * c, 3, 2, norm=False, transposed=True)
    graph.head("H0Out", 7, "H0Out.conv", 0)
    for scale, (name, channels, kernel) in enumerate((("H1", c, 5), ("H2", c // 2, 7)), 1):
        if scale <= graph.last_scale:
            conv(name, channels, kernel, 2, norm=True, transposed=True)
            graph.head(f"{name}Out", 7, f"{name}Out.conv", scale)
    return graph.finished()


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
