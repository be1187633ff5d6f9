"""A training history as plain data, whoever wrote it: a run directory, our CSV, the TF1 tool's CSV or console log.

Column names are those of evaluate/columns.py, always with ``12`` whatever the pool size.  Nothing is locked or
written, so a running training may be read at any moment: a line that cannot be read is refused with its number and
content, except the last one of a file that is being written, which is left out with a note.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.config.load import parse_yaml, read_as_today
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.evaluate.columns import EVAL_HISTORY_COLUMNS, parse_value
from edgeflownas.evaluate.noise import kendall_tau_b, pool_statistics, rank_string
from edgeflownas.report.logs import (
    EXPECTED,
    ROUNDING,
    TF1_EXTRA,
    TF1_NAMES,
    Line,
    Log,
    Start,
    foreign_manifest,
    history_files,
    is_run,
    merged,
    read_log,
    refusal,
    table_lines,
    text_of,
    with_starts,
)
from edgeflownas.run.history import TIERS
from edgeflownas.run.manifest import as_today
from edgeflownas.space import SPACES

Array = NDArray[np.float64]
Value = int | float | str | None
Row = Mapping[str, Any]  # canonical column -> Value; ``epoch`` and ``pool_size`` are whole numbers

LABELS = ("split_label", "eval_set", "calibration_set", "eval_samples_per_arch", "epe_protocol", "pool_size")
"""Columns that say what an EPE belongs to."""


@dataclass(frozen=True)
class RunRecord:
    """What a run directory says beside its history."""

    config: Mapping[str, Any]
    manifest: Mapping[str, Any]
    timing: tuple[Mapping[str, Any], ...]
    per_option: tuple[Mapping[str, Value], ...]
    monitor: tuple[Mapping[str, Value], ...]
    eval_sizes: tuple[str, ...] = ()
    """Sizes ``height x width`` (``180x240``) of the frozen evaluation crops; empty where unknown."""

    def key(self, dotted: str, default: Any = None) -> Any:
        """Value of a configuration key such as ``train.lr``; ``default`` where the run does not know it."""
        group, _, name = dotted.partition(".")
        values = self.config.get(group)
        return values.get(name, default) if isinstance(values, Mapping) else default


@dataclass(frozen=True)
class History:
    """Evaluated epochs of one training, oldest first."""

    name: str
    source: Path
    pool_size: int  # subnets of the last evaluation
    rows: tuple[Row, ...]
    epes: Array
    """EPE [E, A] in px by epoch and arch_index; NaN where missing, and in epochs with a pool of another size."""
    codes: tuple[str, ...]  # arch codes by arch_index, ``""`` where unknown
    baseline_index: int | None
    planned_epochs: int | None
    run: RunRecord | None = None
    notes: tuple[str, ...] = ()  # what was left out or computed while reading, one sentence each
    columns: frozenset[str] = frozenset()  # columns with at least one value
    skipped: tuple[Row, ...] = ()  # epochs without an evaluation: what their training says
    starts: tuple[Start, ...] = ()  # of the program, as a log of the TF1 tool tells them
    stopped: int | None = None  # epoch of its early stop
    model: str = ""  # which of several single models in one file

    @property
    def evaluated(self) -> int:
        """Number of evaluations; logs of the TF1 tool have rows of other epochs too, without an EPE."""
        return sum(row.get("mean_epe_12") is not None for row in self.rows)

    def column(self, name: str) -> Array:
        """Values float64 [E] of a numeric column; NaN where missing."""
        values = [row.get(name) for row in self.rows]
        return np.array([np.nan if v is None or isinstance(v, str) else float(v) for v in values], dtype=np.float64)

    def known(self, name: str) -> Array:
        """Finite values float64 of a numeric column, oldest first."""
        values = self.column(name)
        return values[np.isfinite(values)]

    def text(self, name: str) -> list[str | None]:
        """Texts of a column, None where missing."""
        return [None if row.get(name) is None else str(row[name]) for row in self.rows]

    def every_epoch(self) -> History:
        """The same with a row for every epoch, for what belongs to its training; ``epes`` stays that of evaluations."""
        rows = sorted((*self.rows, *self.skipped), key=lambda row: int(row["epoch"]))
        return replace(self, rows=tuple(rows), skipped=()) if self.skipped else self

    @property
    def epochs(self) -> NDArray[np.int64]:
        """Epoch numbers [E]."""
        return np.array([row["epoch"] for row in self.rows], dtype=np.int64)

    def label(self, index: int) -> str:
        """``arch 2 (2,2,2,...)``: an arch by index, with its code where it is known."""
        code = self.codes[index] if index < len(self.codes) else ""
        return f"arch {index}" + (f" ({code})" if code else "")

    def changes(self, name: str) -> list[tuple[int, str, str]]:
        """(epoch, before, after) wherever a column takes another value than the last one known."""
        known = [(int(e), value) for e, value in zip(self.epochs, self.text(name), strict=True) if value is not None]
        return [(epoch, before, now) for (_, before), (epoch, now) in itertools.pairwise(known) if now != before]

    def comparable(self) -> History:
        """The part since the last change of samples, protocol or pool: only its EPEs may stand in one curve."""
        return self.stretches()[-1]

    def stretches(self) -> list[History]:
        """The parts between changes of samples, protocol or pool, oldest first."""
        starts = sorted({epoch for name in LABELS for epoch, _, _ in self.changes(name)})
        cuts = [0, *np.searchsorted(self.epochs, starts).tolist(), len(self.rows)]
        spans = [slice(a, b) for a, b in itertools.pairwise(cuts) if b > a]
        return [self] if len(spans) < 2 else [replace(self, rows=self.rows[s], epes=self.epes[s]) for s in spans]

    def named(self, text: str) -> str:
        """With the columns as the file names them: ``mean_epe_24`` of a pool of 24 (figures keep ``_12``)."""
        return re.sub(r"(?<=[a-z])_12\b", f"_{self.pool_size}", text)

    def planned(self, epochs: int | None) -> History:
        """The same with another number of planned epochs; unchanged for None.  Raises ConfigError below the last."""
        if epochs is None:
            return self
        last = int(self.epochs[-1])
        if epochs < last:
            raise ConfigError(f"--num-epochs {epochs} is below the last epoch {last} of {self.source}: give the plan's")
        return replace(self, planned_epochs=epochs)


def read_history(path: Path) -> History:
    """The one history of :func:`read_histories`.  Raises as that; DataError where the file holds several models."""
    found = read_histories(path)
    if len(found) > 1:
        raise DataError(f"{path}: holds several models, {', '.join(h.name for h in found)}: `diagnose` reads them all")
    return found[0]


def read_histories(path: Path) -> list[History]:
    """Histories of a run directory (or a folder with an eval_history.csv), of a CSV or of a console log.

    There is one, but for files of the TF1 tool in which several single models stand side by side.

    Raises:
        StorageError: a file is missing or cannot be read.
        DataError: another kind of file, no evaluation in it, or a line that cannot be read (named with its content).
    """
    if not path.exists():
        raise StorageError(f"{path}: does not exist; {EXPECTED}")
    notes: list[str] = []
    if not path.is_dir():
        folder = path.parent if path.name == "eval_history.csv" else None
        name = path.stem if folder is None else path.resolve().parent.name
        return _by_model(name, path, folder, *_rows_of_file(path, notes), notes)
    name, file = path.resolve().name, path / "eval_history.csv"
    if (path / "run_manifest.json").exists() and foreign_manifest(path) is None:
        record = _read_record(path, notes)
        found = _rows_of_file(file, notes)[0].get("", []) if file.exists() else []
        rows = _with_events(found, path / "events.jsonl", notes)
        if not rows:
            raise DataError(f"{path}: no evaluation yet; come back after the first evaluated epoch")
        return [_assemble(name, path, rows, path, record, notes)]
    files = history_files(path)
    if not files:
        below = sorted(
            child.name for child in path.iterdir() if child.is_dir() and (history_files(child) or is_run(child))
        )
        if below := [*below, *sorted(file.name for file in path.glob("*.log"))]:
            raise StorageError(f"{path}: holds several runs: give one of {', '.join(below)}")
        raise StorageError(f"{path}: neither a run directory nor a folder with an eval_history.csv; {EXPECTED}")
    tables: dict[str, list[Row]] = {}
    log = Log()
    for one in files:
        rows_of, own = _rows_of_file(one, notes, alone=len(files) == 1)
        tables = rows_of if not tables else merged(tables, rows_of, one.name, own.gone, notes)
        log = own if own.starts else log
    if not any(tables.values()):
        raise DataError(
            f"{path}: no epoch in {', '.join(one.name for one in files)} yet; come back after the first one"
        )
    return _by_model(name, path, path, tables, log, notes, foreign_manifest(path))


def _by_model(
    name: str,
    source: Path,
    folder: Path | None,
    tables: Mapping[str, Sequence[Row]],
    log: Log,
    notes: list[str],
    manifest: Mapping[str, Any] | None = None,
) -> list[History]:
    """A history for each model of a table or a log."""
    starts = tuple(log.starts)
    if manifest:
        starts = tuple(replace(start, facts={**manifest, **start.facts}) for start in starts or (Start(),))
    if log.gone:
        notes.append(f"epochs {min(log.gone)} to {max(log.gone)} are left out: a later start began below them again")
    found = []
    for model, rows in tables.items():
        if rows:
            own = with_starts(rows, starts)
            history = _assemble(f"{name}:{model}" if model else name, source, own, folder, None, list(notes))
            planned = history.planned_epochs or (manifest or {}).get("num_epochs")
            found.append(replace(history, starts=starts, stopped=log.stopped, planned_epochs=planned, model=model))
    return found


def _assemble(
    name: str, source: Path, rows: Sequence[Row], folder: Path | None, record: RunRecord | None, notes: list[str]
) -> History:
    """One row an epoch in order, per-arch values and codes joined, missing pool figures computed."""
    by_epoch = {row["epoch"]: row for row in rows}
    if len(by_epoch) < len(rows):
        notes.append(f"{len(rows) - len(by_epoch)} epochs stand twice (a resumed log): the later row counts")
    ordered = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    last = next((row for row in ordered[::-1] if "mean_epe_12" in row), None)  # of a log: not a skipped evaluation
    if last is None:
        raise DataError(f"{source}: no evaluated epoch in it yet; come back after the first one")
    size = last["pool_size"]
    ordered = [row if "mean_epe_12" in row else {**row, "pool_size": size} for row in ordered]
    epes, codes = _per_arch_table(ordered, size, folder, notes)
    ordered = _with_pool_figures(ordered, epes, size, notes)
    planned = last.get("planned_epochs")
    if record is not None:
        plan = record.manifest.get("plan")
        planned = plan.get("num_epochs") if isinstance(plan, Mapping) else planned
        pool = (record.manifest.get("eval_set") or {}).get("pool") or []
        codes = tuple(map(str, pool)) if not any(codes) and len(pool) == size else codes
    ours = {*EVAL_HISTORY_COLUMNS, *TF1_EXTRA, "pool_size", "planned_epochs"}
    strange = sorted({key for row in rows for key in row} - ours)
    if strange:
        notes.append(f"columns this version does not know: {', '.join(strange)}")
    for column, needed in (("mean_epe_12", True), ("zero_flow_epe", False)):
        value = last.get(column)
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        if (needed and value is None) or (missing and any(row.get(column) is not None for row in ordered)):
            named = column.replace("_12", f"_{size}")
            notes.append(f"the last evaluation (epoch {last['epoch']}) has no {named}: it is judged by the ones before")
    baseline, planned = _baseline_of(ordered, epes, codes), int(planned) if isinstance(planned, int) else None
    skipped = _skipped(folder / "events.jsonl", by_epoch, notes) if record is not None and folder is not None else ()
    known = frozenset(key for row in ordered for key, value in row.items() if value is not None)
    told = tuple(dict.fromkeys(notes))
    return History(name, source, size, tuple(ordered), epes, codes, baseline, planned, record, told, known, skipped)


# ---- text files: tables and console logs ----


def _rows_of_file(path: Path, notes: list[str], alone: bool = True) -> tuple[dict[str, list[Row]], Log]:
    """Rows by model (one without a name where there is one) of a table or a log, and the log's starts.

    ``alone``: nothing else tells of these epochs, so that a file without any is refused.
    """
    text = text_of(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    table = [cell.strip().strip('"') for cell in first.split(",")]
    is_table = "epoch" in table and (_pool_size(table) is not None or "epe" in table)
    log = Log() if is_table else read_log(text)
    lines_of = {"": list(table_lines(path, text))} if is_table else log.lines
    if is_table and "variant" in table:
        lines_of = {}
        for line in table_lines(path, text):
            lines_of.setdefault(line.cells.get("variant", ""), []).append(line)
    if not is_table and not any(lines_of.values()) and alone:
        raise DataError(f"{path}: no history: its first line is {first[:80]!r}; {EXPECTED}")
    found = {model: _rows_of_lines(path, lines, notes) for model, lines in lines_of.items()}
    if alone and not any(found.values()):
        raise DataError(f"{path}: no evaluated epoch in it yet; come back after the first one")
    return found, log


def _rows_of_lines(path: Path, lines: Sequence[Line], notes: list[str]) -> list[Row]:
    shortened = []
    for line in lines:  # rankings that were printed shortened: 1:3:9.72|...
        for name, cell in list(line.cells.items()):
            if name.startswith("arch_rank_") and cell.endswith(("...", "\u2026")):
                shortened.append(line.number)
                del line.cells[name]
    if shortened:
        count = f"{len(set(shortened))} lines, first line {shortened[0]}"
        notes.append(f"arch_rank is shortened with ... in {count}: left out")
    rows: list[Row] = []
    for line in lines:
        try:
            rows.append(_row(line.cells))
        except ValueError as error:
            if not line.torn:
                raise refusal(path, line.number, line.text, str(error)) from None
            notes.append(f"line {line.number} is not complete yet and was left out")
    return rows


def _row(cells: Mapping[str, str]) -> Row:
    """Typed values by canonical name.  Raises ValueError saying what cannot be read."""
    size = _pool_size(cells) or 1  # a single model, or an epoch without evaluation
    if not cells:
        raise ValueError("no column mean_epe_N")
    row: dict[str, Value] = {}
    for given, text in cells.items():
        name = _canonical(given, size)
        if name == "epoch" and "/" in text:  # epoch=3/200
            text, _, total = text.partition("/")
            row["planned_epochs"] = _typed("planned_epochs", total)
        row[name] = _typed(name, text)
    epoch = row.get("epoch")
    if not (isinstance(epoch, int | float) and 0 <= epoch < 2**53 and float(epoch).is_integer()):
        raise ValueError(f"epoch must be a whole number, got {cells.get('epoch')!r}")
    _parse_ranking(row.get("arch_rank_12"), size)
    return {**row, "epoch": int(epoch), "pool_size": size}


def _pool_size(names: Iterable[str]) -> int | None:
    """N of the column mean_epe_N."""
    sizes = (int(found[1]) for name in names if (found := re.fullmatch(r"mean_epe_(\d{1,6})", name)))
    return next((size for size in sizes if size > 0), None)


def _canonical(name: str, size: int) -> str:
    """A column's name here with 12 in place of the pool size: train_loss_epoch_avg, mean_epe_24 and so on."""
    return "_".join("12" if part == str(size) else part for part in TF1_NAMES.get(name, name).split("_"))


def _typed(name: str, value: Any) -> Value:
    """A canonical column's value as number or text; None where it is empty.  Raises ValueError for a bad number.

    NaN and infinities may be numbers or words, as events.jsonl writes them.  A column that this version does not know
    is a number where it can be one, else text.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if _is_text(name):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{name} must be a number, got {value!r}")
    try:
        number = _bounded(float(value))
    except (ValueError, OverflowError):
        if name not in EVAL_HISTORY_COLUMNS and name not in ("epoch", "planned_epochs"):
            return str(value)
        raise ValueError(f"{name} must be a number, got {str(value)[:40]!r}") from None
    return int(number) if math.isfinite(number) and re.fullmatch(r"\s*[+-]?[0-9]{1,15}\s*", str(value)) else number


def _bounded(number: float) -> float:
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


# ---- the pool ----


def _parse_ranking(text: Value, size: int) -> dict[int, float]:
    """arch_index -> EPE in px of a column arch_rank (``rank:arch_index:epe|...``); ranks may be shared.

    Raises ValueError for anything else: another form, an index outside the pool or given twice.
    """
    found: dict[int, float] = {}
    for entry in str(text).split("|") if text not in (None, "") else ():
        rank, _, rest = entry.partition(":")
        index, _, epe = rest.partition(":")
        if not (rank.isdecimal() and index.isdecimal() and len(index) < 7 and epe):
            raise ValueError(f"arch_rank holds {entry[:40]!r}, expected rank:arch_index:epe")
        try:
            value = _bounded(float(epe))
        except ValueError:
            raise ValueError(f"arch_rank holds {entry[:40]!r}, whose EPE is no number") from None
        if int(index) >= size or int(index) in found:
            problem = "twice" if int(index) in found else f"of a pool of {size}"
            raise ValueError(f"arch_rank names arch {index} {problem}")
        found[int(index)] = value
    return found


def _per_arch_table(
    rows: Sequence[Row], size: int, folder: Path | None, notes: list[str]
) -> tuple[Array, tuple[str, ...]]:
    """EPE [E, A] in px and codes by arch_index, from per_arch_epe.csv where it is there and from arch_rank.

    Raises DataError naming a line of the file that cannot be read.
    """
    table = np.full((len(rows), size), np.nan)
    places = {row["epoch"]: place for place, row in enumerate(rows) if row["pool_size"] == size}
    for place in places.values():
        for index, epe in _parse_ranking(rows[place].get("arch_rank_12"), size).items():
            table[place, index] = epe
    codes = [""] * size
    if folder is None:
        return table, tuple(codes)
    file, differing = folder / "per_arch_epe.csv", set()
    for line in table_lines(file, text_of(file)) if file.exists() else ():
        try:
            cells = line.cells
            epe = _bounded(float(cells["epe"])) if cells["epe"].strip() else math.nan
            epoch, index = (int(cells[name]) for name in ("epoch", "arch_index"))
            if index < 0:
                raise ValueError("arch_index must not be negative")
        except (KeyError, ValueError) as error:
            if not line.torn:
                problem = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise refusal(file, line.number, line.text, problem) from None
            notes.append(f"{file.name}: line {line.number} is not complete yet and was left out")
            continue
        if epoch not in places or index >= size:  # a pool of another size, or an epoch whose row is not written yet
            continue
        place = places[epoch]
        codes[index] = re.sub(r"\s", "", cells.get("code", "")) or codes[index]
        if math.isnan(table[place, index]):
            table[place, index] = epe
        elif abs(table[place, index] - epe) > ROUNDING:
            differing.add(epoch)
    if differing:
        shown = ", ".join(map(str, sorted(differing)[:5])) + (" and more" if len(differing) > 5 else "")
        notes.append(f"per_arch_epe.csv disagrees with arch_rank in epochs {shown}: arch_rank counts")
    return table, tuple(codes)


def _with_pool_figures(rows: Sequence[Row], epes: Array, size: int, notes: list[str]) -> list[Row]:
    """Rows with the columns that follow from the archs' EPEs filled in where the file lacks them."""
    computed: set[str] = set()
    result: list[Row] = []
    before: Array | None = None
    for row, values in zip(rows, epes, strict=True):
        new: dict[str, Value] = {}
        whole = row["pool_size"] == size and bool(np.isfinite(values).all())
        if whole:
            pool = pool_statistics(values.tolist())
            new = {"std_epe_12": pool.std, "median_epe_12": pool.median, "p90_epe_12": pool.p90}
            new |= {"per_arch_epe_min": pool.min, "per_arch_epe_max": pool.max}
            if before is not None and size > 1 and "kendall_tau_prev" not in row:
                new["kendall_tau_prev"] = kendall_tau_b(before.tolist(), values.tolist())
        before = values if whole else None
        new = {name: value for name, value in new.items() if value is not None and row.get(name) is None}
        computed |= set(new)
        result.append({**row, **new})
    if computed:
        notes.append(f"computed from arch_rank: {', '.join(sorted(computed))}")
    return result


def _baseline_of(rows: Sequence[Row], epes: Array, codes: Sequence[str]) -> int | None:
    """arch_index of the bilinear baseline: by its code, else the one arch whose EPE is bilinear_arch_epe throughout."""
    known = {str(space.parse(space.baseline)) for space in SPACES.values() if space.baseline}
    if by_code := [index for index, code in enumerate(codes) if code in known]:
        return by_code[0]
    given = np.array([row.get("bilinear_arch_epe") for row in rows], dtype=np.float64)  # nan where there is none
    there = np.isfinite(given)
    alike = np.nonzero((np.abs(epes[there] - given[there, None]) <= ROUNDING).all(axis=0))[0]
    return int(alike[0]) if there.any() and len(alike) == 1 else None


# ---- run directories ----


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


def _with_events(rows: Sequence[Row], path: Path, notes: list[str]) -> list[Row]:
    """Exact rows of events.jsonl with the times of eval_history.csv, whose rows stand in where events are missing."""
    events = [event for event in json_rows(path, b'"evaluation"', notes) if event.get("event") == "evaluation"]
    exact: list[Row] = []
    for event in events:
        size = _pool_size(event)
        if size is None or event.get("epoch") is None:
            raise DataError(f"{path}: an evaluation without epoch or mean_epe_N; restore the file from a copy")
        facts = {_canonical(name, size): value for name, value in event.items() if name != "event"}
        try:
            row = {name: _typed(name, v) for name, v in facts.items() if not isinstance(v, dict | list | bool)}
            row["epoch"] = int(float(row["epoch"] or 0))
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}: epoch {event['epoch']}: {error}; restore the file from a copy") from None
        for tier in TIERS:
            if isinstance(epes := event.get(f"{tier}epes"), list):
                row[f"{tier}arch_rank_12"] = rank_string([float(epe) for epe in epes], event.get(f"{tier}ranks"))
        exact.append({**row, "pool_size": size})
    times = {row["epoch"]: row for row in rows}
    alone = sorted(set(times) - {row["epoch"] for row in exact})
    if alone:
        shown = "epochs " + ", ".join(map(str, alone[:5])) + " and more" * (len(alone) > 5) if exact else "any epoch"
        notes.append(f"events.jsonl holds no evaluation of {shown}: taken from eval_history.csv, which is rounded")
    return [*({**times.get(row["epoch"], {}), **row} for row in exact), *(times[epoch] for epoch in alone)]


def _skipped(path: Path, evaluated: Collection[int], notes: list[str]) -> tuple[Row, ...]:
    """Exact rows of the epochs that ended without an evaluation, oldest first.

    One that cannot be read is left out with a note: nothing is judged by it.
    """
    found: dict[int, Row] = {}
    for event in json_rows(path, b'"event": "epoch"', notes):
        try:
            row = {name: _typed(name, value) for name, value in event.items() if isinstance(value, int | float | str)}
            found[int(event["epoch"])] = row
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            notes.append(f"{path.name}: an epoch cannot be read and was left out: {error}")
    return tuple(row for epoch, row in sorted(found.items()) if epoch not in evaluated)


def _read_record(path: Path, notes: list[str]) -> RunRecord:
    """What the run directory ``path`` says beside its history.  Raises StorageError, DataError or ConfigError."""
    text = text_of(path / "run_manifest.json")
    try:
        manifest = json.loads(text)["manifest"]
        if not isinstance(manifest, dict):
            raise ValueError("manifest is no object")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path / 'run_manifest.json'}: altered or incomplete ({error}): restore a copy") from None
    config, _ = parse_yaml(text_of(path / "config.yaml"), str(path / "config.yaml"))
    timing = tuple(json_rows(path / "timing.jsonl", b"", notes))
    options, monitor = (_extra_table(path / name, notes) for name in ("per_option.csv", "monitor.csv"))
    try:
        windows = json.loads(text_of(path / "eval_set.json"))["evaluation"]["windows"]
        sizes = tuple(sorted({f"{int(window[2])}x{int(window[3])}" for window in windows}))
    except (StorageError, ValueError, KeyError, TypeError, IndexError, RecursionError):  # none, or of another form
        sizes = ()
    config = read_as_today(config, path) if isinstance(config, dict) else {}
    return RunRecord(config, as_today(manifest), timing, options, monitor, sizes)


def _extra_table(path: Path, notes: list[str]) -> tuple[Mapping[str, Value], ...]:
    """Rows of a table beside the history; numbers where they are numbers, else text.  None, with a note, if damaged."""
    words = ("block", "meaning", "code", "option")
    rows: list[Mapping[str, Value]] = []
    try:
        for line in table_lines(path, text_of(path)) if path.exists() else ():
            if line.torn and not line.cells:
                notes.append(f"{path.name}: line {line.number} is not complete yet and was left out")
                continue
            rows.append({name: text if name in words else _typed(name, text) for name, text in line.cells.items()})
        if not all("epoch" in row for row in rows):
            raise ValueError("its header has no epoch")
    except (StorageError, DataError, ValueError) as error:
        notes.append(f"{path.name} cannot be read and was left out: {error}")
        return ()
    return tuple(rows)
