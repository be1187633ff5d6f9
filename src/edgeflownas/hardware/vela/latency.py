"""Latency on a chip from a table of operators, each compiled by Vela behind an ADD.

In mode ``performance`` the cycles of a model are the sum of those of its operators, and an operator's depend on its
own shape, but for its kernel: fetched from flash while the operator before it runs.  An operator compiled alone waits
for its kernel; behind an ADD of its input's size it waits about as long as in the network.  docs/cost.md has the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.costs import arch_digits
from edgeflownas.hardware.vela.figures import Figures, Vela
from edgeflownas.models.deployed.graph import Buffer, Graph, Op, Outputs
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.space import Arch, SearchSpace

__all__ = ["VelaLatency", "behind_add", "table_error"]

BEFORE = "before"  # what the table's little graphs have beside the operator


@dataclass
class VelaLatency:
    """Column ``<target>_ms``: milliseconds of a subnet by the table; its error is measured, see :func:`table_error`.

    Attributes:
        vela: target, in mode ``performance``.
        outputs: what leaves the graph.
        advance: called for each entry of the table.
    """

    vela: Vela
    outputs: Outputs = "flow"
    advance: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        if self.vela.mode != "performance":
            raise ConfigError(
                f"mode {self.vela.mode}: the time of a subnet is the sum of its operators' in mode performance only "
                "(in mode size they run interleaved); compile the subnets themselves instead"
            )

    @property
    def name(self) -> str:
        """Name of the target."""
        return self.vela.target.name

    @property
    def column(self) -> str:
        """Name of the column."""
        return f"{self.vela.slug}_ms"

    @property
    def facts(self) -> dict[str, str]:
        """Version, mode, accelerator, clock and ini, by the column."""
        return {self.column: f"table of operators behind an ADD, {self.vela.words}, outputs {self.outputs}"}

    def costs(
        self, space: SearchSpace, width: int, size: tuple[int, int], archs: Sequence[Arch] | None
    ) -> dict[str, NDArray[np.float64]]:
        """Milliseconds of every arch [A] (None: of the whole space, in its order).

        Raises:
            ConfigError: a bad arch, width or size; no Vela; an operator that would run on the CPU.
        """
        digits = arch_digits(space, archs)
        stages = self._stages(space, width, size)
        entries = list(dict.fromkeys(graph for options in stages.values() for own in options for graph in own))
        figures = self.vela.figures(entries, self.advance)
        cycles = {graph: _own_cycles(found) for graph, found in zip(entries, figures, strict=True)}
        milliseconds = figures[0].milliseconds / figures[0].cycles
        total = np.zeros(len(digits), np.int64)
        for name, options in stages.items():
            position = space.position(name)
            sums = np.array([sum(cycles[graph] for graph in own) for own in options], np.int64)
            total += sums[digits[:, position]] if position is not None else sums[0]
        return {self.column: total * milliseconds}

    def _stages(self, space: SearchSpace, width: int, size: tuple[int, int]) -> dict[str, list[list[Graph]]]:
        """By stage and digit: the little graphs of the stage's operators; what passes between stages is the same."""
        found: dict[str, list[list[Graph]]] = {}
        for digit in range(space.num_paths):
            code = [min(digit, len(choice.options) - 1) for choice in space.choices]
            for op in subnet_graph(space, width, code, size, self.outputs).ops:
                options = found.setdefault(op.stage, [[] for _ in range(space.num_paths)])
                options[digit].append(behind_add(op))
        return found


def behind_add(op: Op) -> Graph:
    """``op`` behind an ADD that writes its first input; alone where that is the input of the network."""
    first = op.inputs[0]
    images, ops = replace(first, name="images", edge=True), []
    inputs = [images]
    if not first.edge:
        inputs = [replace(first, name=BEFORE)]
        ops.append(Op("add", "", inputs[0], (images, images)))
    for other in op.inputs[1:]:
        if other.shape_1HWC == first.shape_1HWC:
            inputs.append(images)
        else:  # a vector of as many channels
            inputs.append(Buffer(f"{BEFORE}.mean", other.channels, 1, 1))
            ops.append(Op("mean", "", inputs[-1], (inputs[0],)))
    output = replace(op.output, name="own", edge=True)
    layer = op.layer and "own"
    ops.append(replace(op, stage="", output=output, inputs=tuple(inputs), layer=layer, norm="", channels_of=None))
    return Graph(tuple(ops), images, (output,))


def _own_cycles(figures: Figures) -> int:
    return sum(cycles for name, cycles in figures.layers if not name.startswith(BEFORE))


def table_error(
    model: VelaLatency,
    space: SearchSpace,
    width: int,
    size: tuple[int, int],
    archs: Sequence[Arch],
    advance: Callable[[], object] = lambda: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds of every arch [A] by the table, and by Vela of the whole graph."""
    table = model.costs(space, width, size, archs)[model.column]
    graphs = [subnet_graph(space, width, arch, size, model.outputs) for arch in archs]
    return table, np.array([figures.milliseconds for figures in model.vela.figures(graphs, advance)])
