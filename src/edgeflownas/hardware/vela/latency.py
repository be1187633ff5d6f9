"""Latency on a chip from a table of operators, each compiled by Vela in the surroundings it has in the network.

In mode ``performance`` the cycles of a model are the sum of those of its operators.  An operator's depend on its own
shape, on how its input and output lie in memory, and on how long the operator before it runs, while its kernel is
fetched from flash.  So each is compiled behind the operator that makes its input, and both between two ADDs, which
stand for the rest of the network.  docs/cost.md has the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.costs import arch_digits
from edgeflownas.hardware.vela.figures import Figures, Vela
from edgeflownas.models.deployed.graph import Graph, Op, Outputs
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.space import Arch, SearchSpace

__all__ = ["VelaLatency", "in_context"]

OWN, AROUND = "own", "around"  # names in the little graphs: the operator, and what it is compiled with


@dataclass
class VelaLatency:
    """Column ``<target>_ms``: milliseconds of a subnet by the table; `benchmarks/latency_table.py` gives its error.

    Attributes:
        vela: target, in mode ``performance``.
        outputs: what leaves the graph.
    """

    vela: Vela
    outputs: Outputs = "flow"

    def __post_init__(self) -> None:
        if self.vela.mode != "performance" or self.vela.limit_kib is not None:
            whose = "" if self.vela.arena_kib is not None else f" (memory mode {self.vela.target.memory_mode})"
            raise ConfigError(
                f"mode {self.vela.mode}, arena {self.vela.facts['arena']}{whose}: the time of a subnet is the sum of "
                "its operators' in mode performance without a limit only (else they run interleaved); choose a memory "
                "mode without arena_cache_size, or compile the subnets themselves: edgeflownas vela, or pareto --target"
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
        return {self.column: f"table of operators, {self.vela.words}, outputs {self.outputs}"}

    def entries(self, space: SearchSpace, width: int, size: tuple[int, int]) -> list[Graph]:
        """What the table compiles, each once.  Raises ConfigError."""
        return _distinct(_terms(space, width, size, self.outputs))

    def costs(
        self, space: SearchSpace, width: int, size: tuple[int, int], archs: Sequence[Arch] | None
    ) -> dict[str, NDArray[np.float64]]:
        """Milliseconds of every arch [A] (None: of the whole space, in its order).

        Raises:
            ConfigError: a bad arch, width or size; no Vela; an operator that would run on the CPU.
        """
        return {self.column: self.milliseconds(space, width, size, arch_digits(space, archs))}

    def milliseconds(
        self, space: SearchSpace, width: int, size: tuple[int, int], digits: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """As :meth:`costs` [A], of codes given by their digits [A, choices]."""
        digits = np.pad(digits, ((0, 0), (0, 1)))  # position -1: a stage without choice
        terms = _terms(space, width, size, self.outputs)
        entries = _distinct(terms)
        figures = self.vela.figures(entries)
        cycles = {graph: _own_cycles(found) for graph, found in zip(entries, figures, strict=True)}
        total = np.zeros(len(digits), np.int64)
        for (before, own), graphs in terms.items():
            table = np.zeros((space.num_paths, space.num_paths), np.int64)
            for place, needed in graphs.items():
                table[place] = sum(cycles[graph] for graph in needed)
            total += table[digits[:, before], digits[:, own]]
        return (total * (figures[0].milliseconds / figures[0].cycles)).astype(np.float64)


Terms = dict[tuple[int, int], dict[tuple[int, int], list[Graph]]]


@lru_cache(64)
def _terms(space: SearchSpace, width: int, size: tuple[int, int], outputs: Outputs) -> Terms:
    """Positions (of the block that makes an operator's input, of its own) -> their two digits -> the little graphs."""

    def operators(code: list[int]) -> dict[tuple[int, int], list[tuple[Op, Op | None]]]:
        ops = subnet_graph(space, width, code, size, outputs).ops
        makers, found = {op.output: op for op in ops}, dict[tuple[int, int], list[tuple[Op, Op | None]]]()
        for op in ops:
            maker = makers.get(op.inputs[0])
            pair = -1 if maker is None else _position(space, maker), _position(space, op)
            found.setdefault(pair, []).append((op, maker))
        return found

    options = [len(choice.options) for choice in space.choices] + [1]
    terms: Terms = {}
    uniform = [[min(digit, count - 1) for count in options[:-1]] for digit in range(space.num_paths)]
    for pair in dict.fromkeys(pair for code in uniform for pair in operators(code)):
        for digits in np.ndindex(*(options[position] for position in pair)):
            if pair[0] != pair[1] or digits[0] == digits[1]:
                code = [0] * len(options)
                for position, digit in zip(pair, digits, strict=True):
                    code[position] = digit
                own = operators(code[:-1]).get(pair, [])
                terms.setdefault(pair, {})[digits[0], digits[1]] = [in_context(*op) for op in own]
    return terms


def _position(space: SearchSpace, op: Op) -> int:
    position = space.position(op.stage)
    return -1 if position is None else position


def _distinct(terms: Terms) -> list[Graph]:
    return list(dict.fromkeys(graph for term in terms.values() for graphs in term.values() for graph in graphs))


def in_context(op: Op, maker: Op | None) -> Graph:
    """A little graph: an ADD, ``maker`` (which makes the first input of ``op``), ``op``, and an ADD.

    There is no ADD before what reads the images, and none after an output of the network.
    """
    chain = [op] if maker is None else [maker, op]
    first = chain[0].inputs[0]
    images, ops = replace(first, name="images", edge=True), list[Op]()
    made = {first: images}
    if not first.edge:
        made[first] = replace(first, name=AROUND)
        ops.append(Op("add", "", made[first], (images, images)))
    for place, link in enumerate(chain):
        inputs = [made[link.inputs[0]]]
        for other in link.inputs[1:]:
            if other not in made:
                same = other.shape_1HWC == inputs[0].shape_1HWC
                made[other] = replace(other, name=f"{AROUND}.{place}", edge=False)
                ops.append(Op("add" if same else "mean", "", made[other], (inputs[0],) * (1 + same)))
            inputs.append(made[other])
        output = replace(link.output, name=OWN if link is op else f"{AROUND}.maker", edge=link is op and op.output.edge)
        layer = link.layer and f"layer{place}"
        ops.append(replace(link, stage="", output=output, inputs=tuple(inputs), layer=layer, norm="", channels_of=None))
        made[link.output] = output
    if not output.edge:
        inputs, output = [output, output], replace(output, name=f"{AROUND}.after", edge=True)
        ops.append(Op("add", "", output, tuple(inputs)))
    return Graph(tuple(ops), images, (output,))


def _own_cycles(figures: Figures) -> int:
    """Cycles of the operator, and of what Vela makes it of (names with another ending)."""
    return sum(cycles for name, cycles in figures.layers if name.startswith(OWN))
