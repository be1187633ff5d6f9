"""One table of raw values, whose columns say how they are written: plain text, a terminal, CSV, plain data.

A view makes a list of blocks, lines and tables, out of a document; whoever asked decides what becomes of them.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgeflownas.evaluate.columns import csv_file
from edgeflownas.files import clean

if TYPE_CHECKING:
    import rich.table

GAP = "  "
BELOW = " " * 13  # before what moves below a row

SRAM_COUNT = (  # docs/vela.md has the measurement
    "sram_kib: a count, at most 5.4 % above Vela's without a limit of the arena at widths 16 to 32, 63 % at width 8"
)
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Column:
    """How the values of a column are called and written.

    A value may be a mapping, of the figure itself (under ``value``) and what belongs to it (its interval, a mark):
    ``form`` gets all of it, and CSV has a column for each.
    """

    title: str
    form: str | Callable[[Any], str] = ""
    """Format specification of numbers (of shares ``.1%``: the sign is left out), or what makes text of a value."""
    name: str = ""  # in CSV, in plain data and in records; the title where empty
    left: bool | None = None  # side; None: to the left where every value is text
    scale: float = 1.0  # text has the value divided by this
    missing: str | None = None  # text of None; by itself what the table says
    below: bool = False  # moves to lines below its row where there is no room for all columns

    @property
    def key(self) -> str:
        """Heading where a program reads."""
        return self.name or self.title

    def text(self, value: Any, missing: str = "-") -> str:
        """One cell; control characters (a file name may hold them) are spelt out."""
        if value is None:
            return missing if self.missing is None else self.missing
        if callable(self.form) or isinstance(value, str):
            return clean(self.form(value) if callable(self.form) else value)
        return format(value if self.scale == 1 else value / self.scale, self.form).removesuffix("%")


Heading = list[Column | str]


def columns(line: str, **more: Any) -> list[Column]:
    """Columns written as ``title:form/scale=name`` with `` | `` between; only the title must be there.

    ``more`` is what else :class:`Column` takes, the same for all.
    """
    parts = (re.fullmatch(r"([^:=]*)(?::([^=/]*))?(?:/([^=]*))?(?:=(.*))?", part) for part in line.split(" | "))
    return [Column(p[1], p[2] or "", p[4] or "", scale=float(p[3] or 1), **more) for p in parts if p is not None]


@dataclass(frozen=True)
class Table:
    """Rows of raw values in the order of the columns.

    Attributes:
        heading: the columns; a text is one of that title which says no more.
        notes: lines below the rows.
        left: which columns stand to the left: ``all``, the ``first``, or as each of them says.
        missing: text of None.
        rule: a line of dashes below the heading.
        apart: numbers of rows with such a line above them.
        marked: numbers of rows that stand out on a terminal.
        indent: before every line of text.
        printed: False for a table that only programs read, where words around it say the same.
    """

    heading: Sequence[Column | str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()
    left: str = ""
    missing: str = "-"
    rule: bool = True
    apart: Collection[int] = ()
    marked: Collection[int] = ()
    indent: str = ""
    printed: bool = True

    @classmethod
    def of(cls, heading: Sequence[Column | str], records: Iterable[Mapping[str, Any]], **more: Any) -> Table:
        """Of mappings: each column takes what stands under its name."""
        keys = [column if isinstance(column, str) else column.key for column in heading]
        return cls(heading, [[record.get(key) for key in keys] for record in records], **more)

    @cached_property
    def columns(self) -> list[Column]:
        """Each with all that it says."""
        return [Column(column) if isinstance(column, str) else column for column in self.heading]

    def lean(self) -> Table:
        """Without the columns that hold nothing."""
        kept = [place for place in range(len(self.columns)) if any(row[place] not in (None, "") for row in self.rows)]
        rows = [[row[place] for place in kept] for row in self.rows]
        return replace(self, heading=[self.columns[place] for place in kept], rows=rows)

    def cells(self) -> list[list[str]]:
        """Texts of the rows."""
        pairs = [list(zip(self.columns, row, strict=True)) for row in self.rows]
        return [[column.text(value, self.missing) for column, value in row] for row in pairs]

    def is_left(self, place: int) -> bool:
        """Whether a column stands to the left."""
        if self.left:
            return self.left == "all" or place == 0
        left = self.columns[place].left
        values = [row[place] for row in self.rows if row[place] is not None]
        return bool(values) and all(isinstance(value, str) for value in values) if left is None else left

    @property
    def widths(self) -> list[int]:
        """Characters of each column."""
        titles = [clean(column.title) for column in self.columns]
        return [max(map(len, texts)) for texts in zip(titles, *self.cells(), strict=True)]

    @property
    def width(self) -> int:
        """Characters of a line with every column beside the other."""
        return sum(self.widths) + len(GAP) * (len(self.columns) - 1)

    def text(self, width: int | None = None) -> str:
        """Aligned lines, of at most ``width`` characters where columns that may move below make that possible."""
        widths, room = self.widths, width is None or self.width <= width
        left = [self.is_left(place) for place in range(len(self.columns))]
        beside = [place for place, column in enumerate(self.columns) if room or not column.below]
        below = [place for place in range(len(self.columns)) if place not in beside]

        def line(texts: Sequence[str]) -> str:
            padded = (texts[p].ljust(widths[p]) if left[p] else texts[p].rjust(widths[p]) for p in beside)
            return GAP.join(padded).rstrip()

        rule, heading = line(["-" * width for width in widths]), [clean(column.title) for column in self.columns]
        lines = [line(heading)] if any(heading) else []
        lines += [rule] if self.rule else []
        for number, texts in enumerate(self.cells()):
            lines += [rule, line(texts)] if number in self.apart else [line(texts)]
            for place in below:
                lines += textwrap.wrap(texts[place], width or 0, initial_indent=BELOW, subsequent_indent=BELOW)
        return "\n".join([*(self.indent + line for line in lines), *map(clean, self.notes)])

    def rich(self) -> rich.table.Table:
        """For a terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, padding=(0, len(GAP), 0, 0), pad_edge=False, caption_justify="left")
        table.caption = clean("\n".join(self.notes)) or None
        for place, column in enumerate(self.columns):
            left = self.is_left(place)
            table.add_column(Text(clean(column.title)), justify="left" if left else "right", no_wrap=not left)
        for number, texts in enumerate(self.cells()):
            table.add_row(*map(Text, texts), style="bold cyan" if number in self.marked else None)
        return table

    def flat(self) -> tuple[list[str], list[list[Any]]]:
        """Names and raw values; what belongs to a value has a column of its own, ``NAME_WHAT``."""
        split = [
            [value if isinstance(value, Mapping) else {} if value is None else {"value": value} for value in row]
            for row in self.rows
        ]
        parts = [
            list(dict.fromkeys(part for row in split for part in row[place])) or ["value"]
            for place in range(len(self.columns))
        ]
        own = list(zip(self.columns, parts, strict=True))
        names = [column.key + f"_{part}" * (part != "value") for column, known in own for part in known]
        return names, [
            [found.get(part) for found, known in zip(row, parts, strict=True) for part in known] for row in split
        ]

    def json(self) -> list[dict[str, Any]]:
        """Plain data, a mapping for each row."""
        names, rows = self.flat()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def csv(self) -> bytes:
        """Names, and a line for each row; None is empty."""
        names, rows = self.flat()
        return csv_file([names, *rows])


def text_of(blocks: Iterable[str | Table], width: int | None = None) -> str:
    """What a person reads, a block below the other; tables of at most ``width`` characters where they can."""
    printed = (block for block in blocks if isinstance(block, str) or block.printed)
    return "\n".join(clean(block) if isinstance(block, str) else block.text(width) for block in printed)


def told(value: Any, form: str, missing: str = "-") -> str:
    """``value`` in the words of ``form`` (as of str.format), or what is said where it is None."""
    return missing if value is None else form.format(value)


def size_text(size: Iterable[int]) -> str:
    """``180x240``."""
    return "x".join(map(str, size))


def duration(seconds: float | None) -> str:
    """``41 s``, ``12 min 5 s``, ``3 h 12 min``, ``2 d 3 h``; ``?`` where it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    left = max(0, round(seconds))
    for (size, name), (next_size, next_name) in zip(_UNITS, _UNITS[1:], strict=False):
        if left >= size:
            rest = left % size // next_size
            return f"{left // size} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{left} s"


def counted(number: int, noun: str) -> str:
    """``1 subnet``, ``1,200 subnets``, ``2 batches``."""
    ending = "" if number == 1 else "es" if noun.endswith("atch") else "s"
    return f"{number:,} {noun}{ending}"


def scaled(value: float, unit: str) -> str:
    """Three digits with the prefix that fits: ``774 kB``, ``1.65 GMAC``."""
    power = max((power for power in range(5) if round(value / 1000**power, 9) >= 1), default=0)
    return f"{float(f'{value / 1000**power:.3g}'):g} {' kMGT'[power].strip()}{unit}"
