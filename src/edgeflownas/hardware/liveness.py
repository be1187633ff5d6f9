"""Which buffers are alive at each operator of a graph, hence the memory it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeflownas.models.deployed.graph import Buffer, Op


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
        overwritten = _overwritten(op, [buffer for buffer in op.inputs if last_read[buffer] == index])
        alive = [buffer for buffer in carried if buffer != overwritten] + [op.output]
        moments.append(Moment(op, tuple(alive)))
        carried = [buffer for buffer in alive if last_read.get(buffer, index) > index]
    return moments


def _overwritten(op: Op, dying: Sequence[Buffer]) -> Buffer | None:
    same = (buffer for buffer in dying if op.elementwise and buffer.bytes == op.output.bytes)
    return next(same, None)
