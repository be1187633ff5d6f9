"""A training history as plain data, whoever wrote it: a run directory, our CSV, the TF1 tool's CSV or console log.

Column names are those of evaluate/columns.py, always with ``12`` whatever the pool size.  Nothing is locked or
written, so a running training may be read at any moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.evaluate.columns import EVAL_HISTORY_COLUMNS
from edgeflownas.evaluate.noise import rank_string
from edgeflownas.report.history_files import (
    Line,
    Value,
    canonical,
    console_lines,
    json_rows,
    refusal,
    table_lines,
    text_of,
    typed,
)
from edgeflownas.report.history_pool import baseline_of, parse_ranking, per_arch_table, with_pool_figures
from edgeflownas.report.history_run import RunRecord, read_record
from edgeflownas.run.history import TIERS

Array = NDArray[np.float64]
Row = Mapping[str, Value]

KNOWN = {*EVAL_HISTORY_COLUMNS, "pool_size", "planned_epochs"}
EXPECTED = (
    "expected a run directory, an eval_history.csv (a header with epoch and mean_epe_N, N the pool size), the TF1 "
    "tool's eval_epe_history.csv, or its console log (lines with epoch=.. mean_epe_N=..)"
)


@dataclass(frozen=True)
class History:
    """Evaluated epochs of one training, oldest first."""

    name: str
    source: Path
    pool_size: int
    """Subnets of the last evaluation."""
    rows: tuple[Row, ...]
    """Canonical column -> value; every row also has ``pool_size``."""
    epes: Array
    """EPE [E, A] in px by epoch and arch_index; NaN where missing, and in epochs with a pool of another size."""
    codes: tuple[str, ...]
    """Arch codes by arch_index, ``""`` where unknown."""
    baseline_index: int | None
    planned_epochs: int | None
    run: RunRecord | None = None
    notes: tuple[str, ...] = ()
    """What was left out or computed while reading, one sentence each."""
    columns: frozenset[str] = frozenset()
    """Columns with at least one value."""

    def column(self, name: str) -> Array:
        """Values float64 [E] of a numeric column; NaN where missing."""
        values = [row.get(name) for row in self.rows]
        return np.array([np.nan if v is None or isinstance(v, str) else float(v) for v in values], dtype=np.float64)

    def text(self, name: str) -> list[str | None]:
        """Texts of a column, None where missing."""
        return [None if row.get(name) is None else str(row[name]) for row in self.rows]

    @property
    def epochs(self) -> NDArray[np.int64]:
        """Epoch numbers [E]."""
        return np.array([int(float(row["epoch"] or 0)) for row in self.rows], dtype=np.int64)

    def planned(self, epochs: int | None) -> History:
        """The same with another number of planned epochs; unchanged for None.  Raises ConfigError below the last."""
        if epochs is None:
            return self
        last = int(self.epochs[-1])
        if epochs < last:
            raise ConfigError(f"--num-epochs {epochs} is below the last epoch {last} of {self.source}: give the plan's")
        return replace(self, planned_epochs=epochs)


def read_history(path: Path) -> History:
    """History of a run directory (or a folder with an eval_history.csv), of a CSV or of a console log.

    Raises:
        StorageError: a file is missing or cannot be read.
        DataError: another kind of file, no evaluation in it, or a line that cannot be read (named with its content).
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise StorageError(f"{path}: does not exist; {EXPECTED}")
    notes: list[str] = []
    rows = _rows_of_file(path, notes)
    folder = path.parent if path.name == "eval_history.csv" else None
    name = path.resolve().parent.name if folder is not None else path.stem
    return _assemble(name, path, rows, folder, None, notes)


def _of_folder(path: Path) -> History:
    file, notes = path / "eval_history.csv", list[str]()
    if not (path / "run_manifest.json").exists():
        if models := sorted(child.parent.name for child in path.glob("*/run_manifest.json")):
            raise StorageError(f"{path}: holds several runs: give one of {', '.join(models)}")
        if not file.exists():
            raise StorageError(f"{path}: neither a run directory nor a folder with an eval_history.csv; {EXPECTED}")
        return replace(_assemble(path.resolve().name, file, _rows_of_file(file, notes), path, None, notes), source=path)
    record = read_record(path, notes)
    rows = _rows_of_file(file, notes) if file.exists() else []
    events = [r for r in json_rows(path / "events.jsonl", b'"evaluation"', notes) if r.get("event") == "evaluation"]
    exact = [_event_row(path / "events.jsonl", row) for row in events]
    rows = _joined(rows, exact, notes)
    if not rows:
        raise DataError(f"{path}: no evaluation yet; come back after the first evaluated epoch")
    return _assemble(path.resolve().name, path, rows, path, record, notes)


def _joined(rows: Sequence[Row], exact: Sequence[Row], notes: list[str]) -> list[Row]:
    """Exact rows of events.jsonl with the times of eval_history.csv, whose rows stand in where events are missing."""
    times = {row["epoch"]: row for row in rows}
    alone = sorted(set(times) - {row["epoch"] for row in exact}, key=lambda epoch: float(epoch or 0))
    if alone:
        shown = "epochs " + ", ".join(map(str, alone[:5])) + " and more" * (len(alone) > 5) if exact else "any epoch"
        notes.append(f"events.jsonl holds no evaluation of {shown}: taken from eval_history.csv, which is rounded")
    return [*({**times.get(row["epoch"], {}), **row} for row in exact), *(times[epoch] for epoch in alone)]


def _event_row(path: Path, event: Mapping[str, Any]) -> Row:
    size = _pool_size(event)
    if size is None or event.get("epoch") is None:
        raise DataError(f"{path}: an evaluation without epoch or mean_epe_N; restore the file from a copy")
    try:
        named = {canonical(name, size): value for name, value in event.items() if name != "event"}
        row = {name: typed(name, v) for name, v in named.items() if not isinstance(v, (dict, list, bool))}
    except ValueError as error:
        raise DataError(f"{path}: epoch {event['epoch']}: {error}; restore the file from a copy") from None
    for tier in TIERS:
        if isinstance(epes := event.get(f"{tier}epes"), list):
            row[f"{tier}arch_rank_12"] = rank_string([float(epe) for epe in epes], event.get(f"{tier}ranks"))
    return {**row, "pool_size": size}


def _pool_size(names: Mapping[str, Any]) -> int | None:
    """N of the column mean_epe_N."""
    for name in names:
        size = name.removeprefix("mean_epe_")
        if size != name and size.isdecimal() and len(size) < 7 and int(size) > 0:
            return int(size)
    return None


def _rows_of_file(path: Path, notes: list[str]) -> list[Row]:
    text = text_of(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    table = [cell.strip().strip('"') for cell in first.split(",")]
    lines: Sequence[Line]
    if "epoch" in table and _pool_size(dict.fromkeys(table)) is not None:
        lines = list(table_lines(path, text))
    else:
        lines = list(console_lines(text))
        if not lines:
            raise DataError(f"{path}: no history: its first line is {first[:80]!r}; {EXPECTED}")
    rows: list[Row] = []
    shortened = [line.number for line in lines if _drop_shortened(line.cells)]
    if shortened:
        notes.append(f"arch_rank is shortened with ... in {len(shortened)} lines, first line {shortened[0]}: left out")
    for line in lines:
        try:
            rows.append(_row(line.cells))
        except ValueError as error:
            if not line.torn:
                raise refusal(path, line.number, line.text, str(error)) from None
            notes.append(f"line {line.number} is not complete yet and was left out")
    if not rows:
        raise DataError(f"{path}: no evaluated epoch in it yet; come back after the first one")
    return rows


def _drop_shortened(cells: dict[str, str]) -> bool:
    """Takes a ranking out that was printed shortened (``1:3:9.72|...``); whether there was one."""
    names = [name for name, text in cells.items() if name.startswith("arch_rank_") and text.endswith(("...", "\u2026"))]
    for name in names:
        del cells[name]
    return bool(names)


def _row(cells: Mapping[str, str]) -> Row:
    size = _pool_size(cells)
    if size is None:
        raise ValueError("no column mean_epe_N")
    row: dict[str, Value] = {}
    for given, text in cells.items():
        name = canonical(given, size)
        if name == "epoch" and "/" in text:  # epoch=3/200
            text, _, total = text.partition("/")
            row["planned_epochs"] = typed("planned_epochs", total)
        row[name] = typed(name, text)
    if not isinstance(row.get("epoch"), int) or int(row["epoch"] or 0) < 0:
        number = row.get("epoch")
        if not (isinstance(number, float) and number.is_integer() and 0 <= number < 2**53):
            raise ValueError(f"epoch must be a whole number, got {cells.get('epoch')!r}")
        row["epoch"] = int(number)
    parse_ranking(row.get("arch_rank_12"), size)
    return {**row, "pool_size": size}


def _assemble(
    name: str, source: Path, rows: Sequence[Row], folder: Path | None, record: RunRecord | None, notes: list[str]
) -> History:
    """One row an epoch in order, per-arch values and codes joined, missing pool figures computed."""
    by_epoch = {int(float(row["epoch"] or 0)): row for row in rows}
    if len(by_epoch) < len(rows):
        notes.append(f"{len(rows) - len(by_epoch)} epochs stand twice (a resumed log): the later row counts")
    ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    size = int(float(ordered[-1]["pool_size"] or 0))
    file = folder / "per_arch_epe.csv" if folder is not None else None
    epes, codes = per_arch_table(ordered, size, file if file is not None and file.exists() else None, notes)
    ordered = with_pool_figures(ordered, epes, size, notes)
    plan = record.manifest.get("plan") if record is not None else None
    planned = plan.get("num_epochs") if isinstance(plan, Mapping) else ordered[-1].get("planned_epochs")
    if record is not None and not any(codes):
        pool = (record.manifest.get("eval_set") or {}).get("pool") or []
        codes = tuple(map(str, pool)) if len(pool) == size else codes
    strange = sorted({key for row in rows for key in row} - KNOWN)
    if strange:
        notes.append(f"columns this version does not know: {', '.join(strange)}")
    notes += _empty_at_the_end(ordered)
    filled = frozenset(key for row in ordered for key, value in row.items() if value is not None)
    return History(
        name=name,
        source=source,
        pool_size=size,
        rows=tuple(ordered),
        epes=epes,
        codes=codes,
        baseline_index=baseline_of(ordered, epes, codes),
        planned_epochs=int(planned) if isinstance(planned, int) else None,
        run=record,
        notes=tuple(dict.fromkeys(notes)),
        columns=filled,
    )


def _empty_at_the_end(rows: Sequence[Row]) -> list[str]:
    """A note for the mean EPE or the zero-flow EPE that the last evaluation lacks."""
    epoch, found = rows[-1]["epoch"], []
    for name in ("mean_epe_12", "zero_flow_epe"):
        value = rows[-1].get(name)
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        if missing and any(row.get(name) is not None for row in rows) or (name == "mean_epe_12" and value is None):
            named = name.replace("_12", f"_{rows[-1]['pool_size']}")
            found.append(f"the last evaluation (epoch {epoch}) has no {named}: it is judged by the ones before")
    return found
