"""Rows of cells as aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(heading: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = ()) -> str:
    """Heading, a rule and the rows; columns named in ``left`` stand to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    aligned = [str.ljust if name in left else str.rjust for name in heading]
    lines = [heading, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)).rstrip()
        for line in lines
    )
