"""Costs of one subnet by stage, and of a whole space from tables.

A stage costs what its own option makes it cost: the features, the summed flow and all else that passes from one stage
to the next have shapes that no option changes.  So parameters, multiply-adds and weight bytes of a subnet are sums,
and its peak of memory is the maximum, of one table entry for each stage; nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.models.graph import Buffer, Op, stage_macs, stage_parameters, subnet_graph
from edgeflownas.space import Arch, SearchSpace

COLUMNS = ("parameters", "macs", "int8_weight_kib", "sram_kib")


@dataclass(frozen=True)
class StageCost:
    """One stage of a subnet: ``parameters`` and ``macs`` of the trained network, bytes of the deployed one.

    ``moments`` are its operators in order; ``peak`` is the one with the most bytes alive, the first of several.
    """

    name: str
    parameters: int
    macs: int
    weight_bytes: int
    moments: tuple[Moment, ...]

    @property
    def output(self) -> Buffer:
        """The features it makes, or the flow summed so far; vectors left aside."""
        return max((moment.op.output for moment in reversed(self.moments)), key=lambda buffer: buffer.rows)

    @property
    def peak(self) -> Moment:
        """The moment of this stage that needs most memory."""
        return max(self.moments, key=lambda moment: moment.bytes)


def stage_costs(
    space: SearchSpace, width: int, arch: Arch | Sequence[int] | str | None, size: tuple[int, int]
) -> list[StageCost]:
    """Every stage of a subnet, in order; arguments and errors as :func:`subnet_graph`."""
    graph = subnet_graph(space, width, arch, size)
    moments = liveness(graph.ops, graph.outputs)
    parameters, macs = stage_parameters(space, width, arch), stage_macs(space, width, arch, *size)
    found = []
    for name in macs:
        own = tuple(moment for moment in moments if moment.op.stage == name)
        weights = sum(moment.op.weight_bytes for moment in own)
        found.append(StageCost(name, parameters[name], macs[name], weights, own))
    return found


def space_costs(
    space: SearchSpace, width: int, size: tuple[int, int], archs: Sequence[Arch] | None = None
) -> dict[str, NDArray[Any]]:
    """Costs of every arch (None: of the whole space, in its order) for images of ``size`` px, padded to 16s.

    They are ``parameters`` and ``macs`` (multiply-adds of one forward pass; int64 [A]) of the trained network,
    ``int8_weight_kib`` and ``sram_kib`` (bytes / 1024; float64 [A]) of the deployed one: weights with biases and
    scales, and the peak of the activations.

    Raises:
        ConfigError: an arch of another space, an odd width, an impossible size.
    """
    digits = arch_digits(space, archs)
    probes = [
        stage_costs(space, width, [min(digit, len(choice.options) - 1) for choice in space.choices], size)
        for digit in range(space.num_paths)
    ]
    sums = {name: np.zeros(len(digits), np.int64) for name in ("parameters", "macs", "weights")}
    peak = np.zeros(len(digits), np.int64)
    for stages in zip(*probes, strict=True):  # one stage with each of its options
        position = space.position(stages[0].name)
        chosen = digits[:, position] if position is not None else np.zeros(len(digits), np.int64)
        table = np.array([(s.parameters, s.macs, s.weight_bytes, s.peak.bytes) for s in stages], np.int64)
        for total, column in zip(sums.values(), table.T[:3], strict=True):
            total += column[chosen]
        np.maximum(peak, table[chosen, 3], out=peak)
    figures = (sums["parameters"], sums["macs"], sums["weights"] / 1024, peak / 1024)
    return dict(zip(COLUMNS, figures, strict=True))


def arch_digits(space: SearchSpace, archs: Sequence[Arch] | None) -> NDArray[np.int64]:
    """Option digits [A, choices]; None: of the whole space."""
    sizes = [len(choice.options) for choice in space.choices]
    if archs is None:
        return np.indices(sizes, dtype=np.int64).reshape(len(sizes), -1).T
    return np.array([space.arch(arch) for arch in archs], np.int64).reshape(len(archs), len(sizes))


@dataclass(frozen=True)
class Moment:
    """The run of one operator: ``alive`` are its inputs, its output and whatever a later operator still reads."""

    op: Op
    alive: tuple[Buffer, ...]

    @property
    def bytes(self) -> int:
        """Bytes alive at once.  An allocator may need more where it leaves gaps, never less."""
        return sum(buffer.bytes for buffer in self.alive)


def liveness(ops: Sequence[Op], outputs: Sequence[Buffer] = ()) -> list[Moment]:
    """One moment for each operator, in order.

    A buffer lives from the operator that writes it (the input of the graph: from the start) to the last that reads it
    (``outputs``, those of the graph: to the end).  The output of an elementwise operator takes the place of an input of
    the same size that dies there, as Vela has it (live_range.py, ``merge_elementwise_op_ranges``): that input is not
    counted beside it.
    """
    last_read = {buffer: index for index, op in enumerate(ops) for buffer in op.inputs}
    last_read |= dict.fromkeys(outputs, len(ops))
    carried: list[Buffer] = list(dict.fromkeys(ops[0].inputs))
    moments = []
    for index, op in enumerate(ops):
        dying = (buffer for buffer in op.inputs if op.elementwise and last_read[buffer] == index)
        overwritten = next((buffer for buffer in dying if buffer.bytes == op.output.bytes), None)
        alive = [buffer for buffer in carried if buffer != overwritten] + [op.output]
        moments.append(Moment(op, tuple(alive)))
        carried = [buffer for buffer in alive if last_read.get(buffer, index) > index]
    return moments
