"""The ranked evaluation pool as a table, on a terminal (rich) and as aligned plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table

from edgeflownas.evaluate.rank_statistics import rank_order
from edgeflownas.space import Arch, SearchSpace

__all__ = ["PoolTable"]

WIDTH = 120  # characters of a plain line
GAP = "  "


class Column(NamedTuple):
    """Heading, whether numbers stand to the right, cells."""

    heading: str
    right: bool
    cells: list[str]


class PoolTable:
    """Subnets ranked by EPE, best first.

    Args:
        rows: (arch, arch_index, EPE in px) of every subnet, in any order.
        space: the space of the archs; its baseline is marked with ``*``.
        zero_flow_epe: EPE in px of predicting no motion on the same pixels; None leaves the comparison out.
    """

    def __init__(
        self, rows: Sequence[tuple[Arch, int, float]], space: SearchSpace, zero_flow_epe: float | None
    ) -> None:
        by_index = sorted(rows, key=lambda row: row[1])
        ranked = [by_index[place] for place in rank_order([row[2] for row in by_index])]
        baseline = None if space.baseline is None else space.parse(space.baseline)
        self.columns = [
            Column("rank", True, [str(rank) for rank in range(1, len(ranked) + 1)]),
            Column("index", True, [str(index) for _, index, _ in ranked]),
            Column("code", False, [f"{arch}{' *' if arch == baseline else ''}" for arch, _, _ in ranked]),
            *(_words(space, kind, heading, ranked) for kind, heading in (("depth", "depths"), ("kernel", "kernels"))),
            Column("EPE px", True, [f"{epe:.4f}" for _, _, epe in ranked]),
        ]
        self.columns = [column for column in self.columns if any(column.cells)]
        self.notes = ["* bilinear baseline"] if any(arch == baseline for arch, _, _ in ranked) else []
        if zero_flow_epe is not None:
            differences = [epe - zero_flow_epe for _, _, epe in ranked]
            percent = [f"{100.0 * d / zero_flow_epe:+.1f}" if zero_flow_epe > 0 else "-" for d in differences]
            self.columns.append(Column("diff px", True, [f"{d:+.3f}" for d in differences]))
            self.columns.append(Column("diff %", True, percent))
            self.notes.append(f"diff: to zero flow, whose EPE is {zero_flow_epe:.4f} px")

    def rich(self) -> Table:
        """For a terminal; rich folds cells where the window is narrow."""
        table = Table(box=box.SIMPLE_HEAD, caption="; ".join(self.notes), caption_justify="left", pad_edge=False)
        for heading, right, _ in self.columns:
            table.add_column(heading, justify="right" if right else "left", no_wrap=right or heading == "code")
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            table.add_row(*cells)
        return table

    def plain(self) -> str:
        """Aligned ASCII of at most 120 columns; wide words go on over several lines of their column."""
        widths = [max(map(len, [heading, *cells])) for heading, _, cells in self.columns]
        words = [place for place, column in enumerate(self.columns) if column.heading in ("depths", "kernels")]
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - WIDTH
        for count, place in enumerate(words):  # the first gives way in proportion, the last by what is then left
            share = excess if count == len(words) - 1 else excess * widths[place] // sum(widths[p] for p in words)
            if share > 0:
                widths[place] -= share
                excess -= share
        lines = []
        headings = tuple(column.heading for column in self.columns)
        rule = tuple("-" * width for width in widths)
        for row in (headings, rule, *zip(*(column.cells for column in self.columns), strict=True)):
            lines += self._plain_row(row, widths)
        return "\n".join([*lines, *self.notes])

    def _plain_row(self, row: Sequence[str], widths: Sequence[int]) -> list[str]:
        wrapped = [textwrap.wrap(cell, max(1, width)) or [""] for cell, width in zip(row, widths, strict=True)]
        lines = []
        for depth in range(max(map(len, wrapped))):
            cells = []
            for parts, width, column in zip(wrapped, widths, self.columns, strict=True):
                part = parts[depth] if depth < len(parts) else ""
                cells.append(part.rjust(width) if column.right else part.ljust(width))
            lines.append(GAP.join(cells).rstrip())
        return lines


def _words(space: SearchSpace, kind: str, heading: str, ranked: Sequence[tuple[Arch, int, float]]) -> Column:
    """``EB0 1 EB1 3 ...``: the chosen options of all choices of one kind, under their names."""
    cells = []
    for arch, _, _ in ranked:
        chosen = zip(space.choices, space.arch(arch), strict=True)
        cells.append(
            " ".join(f"{choice.name} {choice.options[digit]}" for choice, digit in chosen if choice.kind == kind)
        )
    return Column(heading, False, cells)
