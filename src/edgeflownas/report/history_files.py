"""Files of a history, read while they may still be written: tables, console logs, JSON lines.

A line that cannot be read is refused with its number and content, except the last one of a file that is being
written, which is left out with a note.
"""

from __future__ import annotations

import csv
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgeflownas.errors import DataError, StorageError
from edgeflownas.evaluate.columns import EVAL_HISTORY_COLUMNS, parse_value
from edgeflownas.report.tf1_history import NAMES, console_cells

Value = int | float | str | None
SHOWN = 120  # characters of a refused line that are repeated


class Line(NamedTuple):
    """One record as text, with where it stands."""

    number: int
    """Of the line in its file, from 1."""
    cells: dict[str, str]
    text: str
    torn: bool
    """Whether it may be half a line: the last one, without a line end."""


def text_of(path: Path) -> str:
    """Content of a text file.  Raises StorageError where it cannot be read, DataError where it is no text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    if b"\0" in data:
        raise DataError(
            f"{path}: no text file; expected a run directory, an eval_history.csv, the TF1 tool's "
            "eval_epe_history.csv or its console log"
        )
    return data.decode("utf-8-sig", errors="replace")


def table_lines(path: Path, text: str) -> Iterator[Line]:
    """Rows of a CSV, each under the header it stands under (a resume with another pool writes a new header).

    Raises DataError naming a line with more or fewer cells than its header.
    """
    header: list[str] = []
    before: list[str] = []
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        content, torn = line.rstrip("\r\n"), number == len(lines) and not line.endswith("\n")
        if not content.strip():
            continue
        cells = _cells(content)
        if not header or cells[:1] == header[:1]:
            header, before = [cell.strip() for cell in cells], []
        elif len(cells) == len(header) and not (torn and before and _cut(cells[-1], before[-1])):
            before = cells
            yield Line(number, dict(zip(header, cells, strict=True)), content, torn)
        elif torn:
            yield Line(number, {}, content, True)
        else:
            raise refusal(path, number, content, f"{len(cells)} cells under a header of {len(header)}")


def _cells(content: str) -> list[str]:
    try:
        return next(csv.reader([content]), [])
    except csv.Error:  # a field beyond the library's limit
        return content.split(",")


def _cut(cell: str, before: str) -> bool:
    """Whether the last cell of an unterminated line looks shorter than the one above it: half a number or list."""

    def form(text: str) -> tuple[int, int]:
        return text.count("|"), len(text.rpartition(".")[2]) if "." in text else 0

    return form(cell) < form(before) or (cell != before and before.startswith(cell) and not before.isdecimal())


def console_lines(text: str) -> Iterator[Line]:
    """Lines of a console log that report an evaluation."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        content = line.rstrip("\r\n")
        if (cells := console_cells(content)) is not None:
            yield Line(number, cells, content, number == len(lines) and not line.endswith("\n"))


def refusal(path: Path, number: int, content: str, problem: str) -> DataError:
    """A DataError that names the line and repeats its beginning."""
    shown = content if len(content) <= SHOWN else content[:SHOWN] + "..."
    return DataError(f"{path}: line {number} cannot be read ({problem}): {shown!r}; mend or remove the line")


def canonical(name: str, size: int) -> str:
    """A column's name here with 12 in place of the pool size: train_loss_epoch_avg, mean_epe_24 and so on."""
    name = NAMES.get(name, name)
    return "_".join("12" if part == str(size) else part for part in name.split("_"))


def typed(name: str, value: Any) -> Value:
    """A canonical column's value as number or text; None where it is empty.  Raises ValueError for a bad number.

    NaN and infinities may be numbers or words, as events.jsonl writes them.  A column that this version does not know
    is a number where it can be one, else text.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if _is_text(name):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        if name not in EVAL_HISTORY_COLUMNS and name not in ("epoch", "planned_epochs"):
            return str(value)
        raise ValueError(f"{name} must be a number, got {str(value)[:40]!r}") from None
    number = bounded(number)
    return int(number) if math.isfinite(number) and re.fullmatch(r"\s*[+-]?[0-9]{1,15}\s*", str(value)) else number


def bounded(number: float) -> float:
    """No figure of a training is beyond 1e30 (infinite here) or below 1e-30 (zero): squares and ratios stay numbers."""
    if abs(number) > 1e30:
        return math.copysign(math.inf, number)
    return 0.0 if abs(number) < 1e-30 else number


@functools.cache
def _is_text(name: str) -> bool:
    """Whether evaluate/columns.py declares the column as text: such columns give any word back."""
    try:
        return parse_value(name, "word") == "word"
    except (ValueError, KeyError):
        return False


def json_rows(path: Path, containing: bytes, notes: list[str]) -> list[Mapping[str, Any]]:
    """Objects of a JSON log whose line holds ``containing``, oldest first; a missing file has none.

    Lines torn by a kill are left out with a note: the next session closes such a line and writes on behind it.
    Raises StorageError where the file cannot be read.
    """
    rows: list[Mapping[str, Any]] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if containing not in line:
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    notes.append(f"{path.name}: line {number} is torn and was left out")
                    continue
                if isinstance(row, dict):
                    rows.append(row)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    return rows
