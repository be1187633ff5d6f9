"""The pool of a history: EPE of every arch and epoch, its codes, and the figures that follow from them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeflownas.evaluate.noise import kendall_tau_b, pool_statistics
from edgeflownas.report.history_files import Value, bounded, refusal, table_lines, text_of
from edgeflownas.space import SPACES

Array = NDArray[np.float64]
Row = Mapping[str, Value]
ROUNDING = 0.00011  # px: two texts of one figure with four decimals


def parse_ranking(text: Value, size: int) -> dict[int, float]:
    """arch_index -> EPE in px of a column arch_rank (``rank:arch_index:epe|...``); ranks may be shared.

    Raises ValueError for anything else: another form, an index outside the pool or given twice.
    """
    if text is None or text == "":
        return {}
    found: dict[int, float] = {}
    for entry in str(text).split("|"):
        rank, _, rest = entry.partition(":")
        index, _, epe = rest.partition(":")
        if not (rank.isdecimal() and index.isdecimal() and len(index) < 7 and epe):
            raise ValueError(f"arch_rank holds {entry[:40]!r}, expected rank:arch_index:epe")
        try:
            value = bounded(float(epe))
        except ValueError:
            raise ValueError(f"arch_rank holds {entry[:40]!r}, whose EPE is no number") from None
        if int(index) >= size or int(index) in found:
            raise ValueError(
                f"arch_rank names arch {index} {'twice' if int(index) in found else f'of a pool of {size}'}"
            )
        found[int(index)] = value
    return found


def per_arch_table(
    rows: Sequence[Row], size: int, file: Path | None, notes: list[str]
) -> tuple[Array, tuple[str, ...]]:
    """EPE [E, A] in px and codes by arch_index, from per_arch_epe.csv where it is there and from arch_rank.

    Raises DataError naming a line of the file that cannot be read.
    """
    table = np.full((len(rows), size), np.nan)
    places = {int(float(row["epoch"] or 0)): place for place, row in enumerate(rows) if row["pool_size"] == size}
    for row in rows:
        if row["pool_size"] == size:
            for index, epe in parse_ranking(row.get("arch_rank_12"), size).items():
                table[places[int(float(row["epoch"] or 0))], index] = epe
    codes = [""] * size
    differing = set()
    for epoch, index, epe, code in _entries(file, notes) if file is not None else ():
        place = places.get(epoch)
        if place is None or index >= size:  # a pool of another size, or an epoch whose row is not written yet
            continue
        codes[index] = code or codes[index]
        if math.isnan(table[place, index]):
            table[place, index] = epe
        elif abs(table[place, index] - epe) > ROUNDING:
            differing.add(epoch)
    if differing:
        shown = ", ".join(map(str, sorted(differing)[:5])) + (" and more" if len(differing) > 5 else "")
        notes.append(f"per_arch_epe.csv disagrees with arch_rank in epochs {shown}: arch_rank counts")
    return table, tuple(codes)


def _entries(file: Path, notes: list[str]) -> list[tuple[int, int, float, str]]:
    found = []
    for line in table_lines(file, text_of(file)):
        try:
            cells = line.cells
            epe = bounded(float(cells["epe"])) if cells["epe"].strip() else math.nan
            epoch, index = (int(cells[name]) for name in ("epoch", "arch_index"))
            if index < 0:
                raise ValueError("arch_index must not be negative")
        except (KeyError, ValueError) as error:
            if not line.torn:
                problem = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise refusal(file, line.number, line.text, problem) from None
            notes.append(f"{file.name}: line {line.number} is not complete yet and was left out")
            continue
        found.append((epoch, index, epe, re.sub(r"[\s]", "", cells.get("code", ""))))
    return found


def with_pool_figures(rows: Sequence[Row], epes: Array, size: int, notes: list[str]) -> list[Row]:
    """Rows with the columns that follow from the archs' EPEs filled in where the file lacks them."""
    computed: set[str] = set()
    result: list[Row] = []
    before: Array | None = None
    for row, values in zip(rows, epes, strict=True):
        new: dict[str, Value] = {}
        whole = row["pool_size"] == size and bool(np.isfinite(values).all())
        if whole:
            figures = pool_statistics(values.tolist())
            new = {"std_epe_12": figures.std, "median_epe_12": figures.median, "p90_epe_12": figures.p90}
            new |= {"per_arch_epe_min": figures.min, "per_arch_epe_max": figures.max}
            if before is not None and size > 1 and "kendall_tau_prev" not in row:
                new["kendall_tau_prev"] = kendall_tau_b(before.tolist(), values.tolist())
        before = values if whole else None
        new = {name: value for name, value in new.items() if value is not None and row.get(name) is None}
        computed |= set(new)
        result.append({**row, **new})
    if computed:
        notes.append(f"computed from arch_rank: {', '.join(sorted(computed))}")
    return result


def baseline_of(rows: Sequence[Row], epes: Array, codes: Sequence[str]) -> int | None:
    """arch_index of the bilinear baseline: by its code, else the one arch whose EPE is bilinear_arch_epe throughout."""
    known = {str(space.parse(space.baseline)) for space in SPACES.values() if space.baseline}
    by_code = [index for index, code in enumerate(codes) if code in known]
    if by_code:
        return by_code[0]
    given = np.array([math.nan if (v := row.get("bilinear_arch_epe")) is None else float(v) for row in rows])
    there = np.isfinite(given)
    if not there.any():
        return None
    alike = np.nonzero((np.abs(epes[there] - given[there, None]) <= ROUNDING).all(axis=0))[0]
    return int(alike[0]) if len(alike) == 1 else None
