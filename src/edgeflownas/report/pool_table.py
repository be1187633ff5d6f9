"""The ranked evaluation pool as a table, on a terminal (rich) and as aligned plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from edgeflownas.evaluate.noise import rank_order
from edgeflownas.space import Arch, SearchSpace

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 120  # characters of a plain line
GAP = "  "
INDENT = " " * 13  # below the code
WORDS = {"depth": "depths", "kernel": "kernels", "conv": "convolutions"}  # kind of choice -> heading


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
        ranks: by place in the order of arch_index, shared within noise (noise.tied_ranks); empty: everyone has its own.
        margins: half of the 95 % interval of each EPE, px, in the same order; empty where they are unknown.
    """

    def __init__(
        self,
        rows: Sequence[tuple[Arch, int, float]],
        space: SearchSpace,
        zero_flow_epe: float | None,
        ranks: Sequence[int] = (),
        margins: Sequence[float] = (),
    ) -> None:
        by_index = sorted(rows, key=lambda row: row[1])
        order = rank_order([row[2] for row in by_index])
        ranked = [by_index[place] for place in order]
        places = [ranks[place] for place in order] if ranks else list(range(1, len(order) + 1))
        baseline = None if space.baseline is None else space.parse(space.baseline)
        self.columns = [
            Column("rank", True, [f"{'=' if places.count(rank) > 1 else ''}{rank}" for rank in places]),
            Column("index", True, [str(index) for _, index, _ in ranked]),
            Column("code", False, [f"{arch}{' *' if arch == baseline else ''}" for arch, _, _ in ranked]),
            *(_words(space, kind, heading, ranked) for kind, heading in WORDS.items()),
            Column("EPE px", True, [f"{epe:.4f}" for _, _, epe in ranked]),
            Column("+-", True, [f"{margins[place]:.4f}" for place in order] if margins else []),
        ]
        self.columns = [column for column in self.columns if any(column.cells)]
        self.notes = ["* bilinear baseline"] if any(arch == baseline for arch, _, _ in ranked) else []
        if margins:
            self.notes.append("+-: 95 % of the evaluation set's noise; pairs are told apart better than this")
        if len(set(places)) < len(places):
            self.notes.append("=: shares its rank: within noise of the best of that rank, on the same pixels")
        if zero_flow_epe is not None:
            differences = [epe - zero_flow_epe for _, _, epe in ranked]
            percent = [f"{100.0 * d / zero_flow_epe:+.1f}" if zero_flow_epe > 0 else "-" for d in differences]
            if not margins:  # a line holds one of the two
                self.columns.append(Column("diff px", True, [f"{d:+.3f}" for d in differences]))
            self.columns.append(Column("diff %", True, percent))
            self.notes.append(f"diff: to zero flow, whose EPE is {zero_flow_epe:.4f} px")

    @property
    def width(self) -> int:
        """Characters of a line with every column beside the other."""
        return sum(map(_column_width, self.columns)) + len(GAP) * (len(self.columns) - 1)

    def rich(self) -> Table:
        """For a terminal of at least ``width`` columns."""
        from rich.table import Table

        table = Table(box=None, padding=(0, len(GAP), 0, 0), pad_edge=False, caption_justify="left")
        table.caption = "\n".join(self.notes)
        for heading, right, _ in self.columns:
            table.add_column(heading, justify="right" if right else "left", no_wrap=True)
        for cells in zip(*(column.cells for column in self.columns), strict=True):
            table.add_row(*cells, style="bold cyan" if any(cell.endswith(" *") for cell in cells) else None)
        return table

    def plain(self, width: int = WIDTH) -> str:
        """Aligned ASCII; depths and kernels move to lines below their subnet where ``width`` is too small for all."""
        below = [column for column in self.columns if column.heading in WORDS.values()] if self.width > width else []
        beside = [column for column in self.columns if column not in below]
        lines = [_line(beside, [c.heading for c in beside]), _line(beside, ["-" * _column_width(c) for c in beside])]
        for place in range(len(self.columns[0].cells)):
            lines.append(_line(beside, [column.cells[place] for column in beside]))
            for column in below:
                lines += textwrap.wrap(column.cells[place], width, initial_indent=INDENT, subsequent_indent=INDENT)
        return "\n".join([*lines, *self.notes])


def _column_width(column: Column) -> int:
    return max(map(len, [column.heading, *column.cells]))


def _line(columns: Sequence[Column], cells: Sequence[str]) -> str:
    widths = map(_column_width, columns)
    padded = [
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, width, column in zip(cells, widths, columns, strict=True)
    ]
    return GAP.join(padded).rstrip()


def _words(space: SearchSpace, kind: str, heading: str, ranked: Sequence[tuple[Arch, int, float]]) -> Column:
    """``EB0 1 EB1 3 ...``: the chosen options of all choices of one kind, under their names."""
    cells = []
    for arch, _, _ in ranked:
        chosen = zip(space.choices, space.arch(arch), strict=True)
        cells.append(
            " ".join(f"{choice.name} {choice.options[digit]}" for choice, digit in chosen if choice.kind == kind)
        )
    return Column(heading, False, cells)
