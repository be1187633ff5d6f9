"""Lines of tables and logs; and logs of the TF1 tool: what each start said of itself, and a line or two an epoch.

A captured console holds progress bars, colours and half lines around them: what counts of a line is what follows its
last time stamp (``2026-03-02 08:27:18,667 | INFO | ``), or all of it where there is none.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeflownas.errors import DataError, StorageError
from edgeflownas.files import read_file

if TYPE_CHECKING:
    from edgeflownas.report.history import History, Row

STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)[,.](\d{1,6})\s*\|\s*\w+\s*\|\s?")
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PAIR = re.compile(r"(?<!\w)([^\W\d]\w*)=(\S*)")
SPACED = re.compile(r"(?<!\w)(train_source|val_source|checkpoint|arch_code)=(.*?)(?=\s+[^\W\d]\w*=|\s*$)")
NUMBERS = (
    *("batch_size", "micro_batch_size", "eval_every_epoch", "eval_batches_per_arch", "grad_clip_global_norm"),
    *("gpu_device", "train_samples", "val_samples", "steps_per_epoch", "start_epoch", "global_step", "num_epochs"),
)
WORDS = ("epoch_mode", "train_sampling_mode", "distill_enabled", "train_source", "val_source", "checkpoint", "model")
ROUNDING = 0.00011  # px: two texts of one figure with four decimals
EXPECTED = (
    "expected a run directory, an eval_history.csv (a header with epoch and mean_epe_N, N the pool size), the TF1 "
    "tool's eval_epe_history.csv, or its console log (lines with epoch=.. mean_epe_N=..)"
)
SHOWN = 120  # characters of a refused line that are repeated
NO_TIME = 0.05  # seconds an epoch below which the stamps say when a file was written again, not when epochs ended

#: Name in the TF1 tool's history or console lines -> name here.  What is not listed has the same name in both.
TF1_NAMES = {
    "train_loss_epoch_avg": "train_loss",
    "loss": "train_loss",
    "train_grad_norm_epoch_avg": "grad_norm_mean",
    "grad_norm": "grad_norm_mean",
    "train_grad_norm_p50": "grad_norm_p50",
    "train_grad_norm_p90": "grad_norm_p90",
    "train_grad_norm_p99": "grad_norm_p99",
    "clip_trigger_count": "clip_count",
    "clip_trigger_rate": "clip_rate",
    **{"grad_mean": "grad_norm_mean", "grad_p90": "grad_norm_p90", "optical": "train_loss_optical"},
    **{"uncertainty": "train_loss_uncertainty", "time_sec": "epoch_seconds", "distill": "distill_loss"},
    **{"train_distill_loss_epoch_avg": "distill_loss", "epe": "mean_epe_1", "val_epe": "mean_epe_1"},
}
TF1_EXTRA = ("distill_loss", "sintel_epe", "variant")
#: Files of a run folder of the TF1 tool: tables, then logs.
TABLES, LOG = ("eval_epe_history.csv", "eval_history.csv"), "train.log"


class Line(NamedTuple):
    """One record as text, with where it stands."""

    number: int  # of the line in its file, from 1
    cells: dict[str, str]
    text: str
    torn: bool  # whether it may be half a line: the last one, without a line end
    start: int = -1  # which start of the program it belongs to


@dataclass
class Start:
    """One start of the program: when, what its header says, and when its epochs ended."""

    time: datetime | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    epochs: dict[int, datetime | None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)  # what its header lines begin with

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        span = {"first_epoch": min(self.epochs, default=None), "last_epoch": max(self.epochs, default=None)}
        return {"time": self.time and self.time.isoformat(" ", "seconds"), **span, **self.facts}


@dataclass
class Log:
    """A log: lines of epochs by the name of their model (one without a name where there is one)."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    stopped: int | None = None  # epoch of the early stop
    gone: set[int] = field(default_factory=set)  # epochs of before a later start that began again below them


def read_log(text: str) -> Log:
    """What a log says.  What is neither a line of an epoch nor of a header is left out."""
    log, distilled = Log(), dict[str, str]()
    for number, content, torn in numbered(text):
        begun = len(log.starts)
        stamps = list(STAMP.finditer(content))
        message = content[stamps[-1].end() :] if stamps else content
        when = _time(stamps[-1]) if stamps else None
        cells = {name: value.rstrip(",;") for name, value in PAIR.findall(message)}
        if "epoch" not in cells:
            _header(log, message, cells, when)
            if len(log.starts) > begun:  # the program before may have ended in the middle of a line
                log.lines = {model: _mended(lines) for model, lines in log.lines.items()}
            continue
        whole = re.fullmatch(r"(\d{1,9})(?:/\d+)?", cells["epoch"])
        if message.startswith("early stop") and whole:
            log.stopped = int(whole[1])
        found = _by_model(cells)
        if not found and "distill_loss" in cells:
            distilled[cells["epoch"]] = cells["distill_loss"]
        if found and whole:
            _enter(log, int(whole[1]), when)
        for model, own in found.items():
            lines = log.lines.setdefault(model, [])
            lines.append(Line(number, own, content, torn, len(log.starts) - 1))
            if torn:
                log.lines[model] = _mended(lines)
    for lines in log.lines.values():
        lines[:] = [
            line
            for line in lines
            if not {int(e) for e in re.findall(r"^\d{1,9}", line.cells.get("epoch", ""))} & log.gone
        ]
        for line in lines:
            if line.cells.get("epoch") in distilled:
                line.cells["distill_loss"] = distilled[line.cells["epoch"]]
    return log


def _time(stamp: re.Match[str]) -> datetime | None:
    try:
        return datetime.fromisoformat("{}T{}.{:0<6}".format(*stamp.groups()))
    except ValueError:
        return None


def text_of(path: Path) -> str:
    """Content of a text file.  Raises StorageError where it cannot be read, DataError where it is no text."""
    data = read_file(path)
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # what PowerShell's > writes
    if b"\0" in data and not utf16:
        raise DataError(f"{path}: no text file; {EXPECTED}")
    return data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def table_lines(path: Path, text: str) -> Iterator[Line]:
    """Rows of a CSV, each under the header it stands under (a resume with another pool writes a new header).

    Raises DataError naming a line with more or fewer cells than its header.
    """
    header: list[str] = []
    before: list[str] = []
    for number, content, torn in numbered(text):
        if not content.strip():
            continue
        try:
            cells = next(csv.reader([content]), [])
        except csv.Error:  # a field beyond the library's limit
            cells = content.split(",")
        if not header or cells[:1] == header[:1]:
            header, before = [cell.strip() for cell in cells], []
        elif len(cells) == len(header) and not (torn and before and is_cut(cells[-1], before[-1])):
            before = cells
            yield Line(number, dict(zip(header, cells, strict=True)), content, torn)
        elif torn:
            yield Line(number, {}, content, True)
        else:
            raise refusal(path, number, content, f"{len(cells)} cells under a header of {len(header)}")


def refusal(path: Path, number: int, content: str, problem: str) -> DataError:
    """The error for a line that cannot be read."""
    shown = content if len(content) <= SHOWN else content[:SHOWN] + "..."
    return DataError(f"{path}: line {number} cannot be read ({problem}): {shown!r}; mend or remove the line")


def numbered(text: str) -> Iterator[tuple[int, str, bool]]:
    """Number, content and :attr:`Line.torn` of every line; what a progress bar wrote over is a line of its own."""
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        parts = [part for part in COLOUR.sub("", line).split("\r") if part.strip()]
        yield from ((number, part, number == len(lines) and part is parts[-1]) for part in parts)


def is_cut(cell: str, before: str) -> bool:
    """Whether the last cell of an unterminated line looks shorter than the one above it: half a number or list."""

    def form(text: str) -> tuple[int, int]:
        return text.count("|"), len(text.rpartition(".")[2]) if "." in text else 0

    return form(cell) < form(before) or (cell != before and before.startswith(cell) and not before.isdecimal())


def _mended(lines: list[Line]) -> list[Line]:
    """The lines with the last one as one that may be half: empty where it is the beginning of one such as before."""
    *others, last = lines
    half = _is_half(last.cells, [line.cells for line in others])
    return [*others, last._replace(cells={} if half else last.cells, torn=True)]


def _is_half(cells: Mapping[str, str], before: Sequence[Mapping[str, str]]) -> bool:
    """Whether an unterminated line is the beginning of one such as ``before``."""
    names, known = list(cells), [list(other) for other in before]
    if names in known:
        return is_cut(cells[names[-1]], before[len(known) - 1 - known[::-1].index(names)][names[-1]])
    return any(names == other[: len(names)] for other in known)


def _header(log: Log, message: str, cells: Mapping[str, str], when: datetime | None) -> None:
    """Note what a line that names no epoch says; a first line, one that comes again or after epochs is a new start."""
    facts = {name: value.strip() for name, value in SPACED.findall(message) if value.strip()}
    facts |= {name: cells[name] for name in WORDS if name in cells and name not in facts}
    for name in NUMBERS:
        if number := re.match(r"\d{1,12}(?:\.\d*)?(?:e[-+]?\d{1,2})?", cells.get(name, "")):
            value = float(number[0])
            facts[name] = int(value) if value.is_integer() else value
    begins = re.match(r"start\b", message)
    if not facts and not begins:
        return
    first = "start" if begins else next(name for name in cells if name in facts)
    last = log.starts[-1] if log.starts else None
    if last is None or last.epochs or first in last.lines:
        last = Start(when)
        log.starts.append(last)
    last.lines.append(first)
    last.facts |= facts


def _enter(log: Log, epoch: int, when: datetime | None) -> None:
    """Note an epoch; one below what was reached says that the program went back."""
    if not log.starts or epoch < max(log.starts[-1].epochs, default=0):
        log.starts.append(Start())
    for start in log.starts[:-1]:
        log.gone |= {other for other in start.epochs if other >= epoch}
        start.epochs = {other: at for other, at in start.epochs.items() if other < epoch}
    log.gone.discard(epoch)
    log.starts[-1].epochs[epoch] = when


def _by_model(cells: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Cells of a line of an epoch for each model it tells of; none where it reports neither loss nor EPE."""
    plain = {name: text for name, text in cells.items() if text != "None"}
    names = [
        name.removeprefix("epe_") for name in plain if re.fullmatch(r"epe_\w+", name) and f"loss_{name[4:]}" in plain
    ]
    if names:
        common = {name: plain[name] for name in ("epoch", "lr", "global_step", "time_sec") if name in plain}
        return {name: common | {"loss": plain[f"loss_{name}"], "epe": plain[f"epe_{name}"]} for name in names}
    reported = "loss" in plain or "epe" in plain or any(name.startswith("mean_epe_") for name in plain)
    return {"": {name: text for name, text in plain.items() if name != "eval"}} if reported else {}


def epoch_seconds(starts: Sequence[Start]) -> dict[int, float]:
    """Seconds of every epoch, its evaluation included, from the stamps; those between two lines share their time."""
    found: dict[int, float] = {}
    for start in starts:
        before, then = min(start.epochs, default=1) - 1, start.time
        for epoch, when in start.epochs.items():
            if when is not None and then is not None and epoch > before:
                found[epoch] = (when - then).total_seconds() / (epoch - before)
            before, then = epoch, when
    return found if found and float(np.median(list(found.values()))) > NO_TIME else {}


def with_starts(rows: Sequence[Row], starts: Sequence[Start]) -> list[Row]:
    """Rows with what follows from the header they stand under: samples, steps, threshold, time, label."""
    seconds = epoch_seconds(starts)
    spans = [(start, min(start.epochs, default=0), max(start.epochs, default=-1)) for start in starts]
    found: list[Row] = []
    step, seen, last = 0, 0, 0
    for row in sorted(rows, key=lambda row: row["epoch"]):
        epoch = row["epoch"]
        own = next((start.facts for start, first, end in spans[::-1] if first <= epoch <= end), None)
        own = spans[0][0].facts if own is None and len(spans) == 1 else own or {}
        get = own.get
        new: dict[str, Any] = {"epoch_seconds": seconds.get(epoch), "train_samples": get("train_samples")}
        new["eval_batches_per_arch"] = get("eval_batches_per_arch")
        if "grad_clip_global_norm" in own:
            new["clip_threshold"] = own["grad_clip_global_norm"] or None
        batch, size, steps = get("batch_size"), get("train_samples"), get("steps_per_epoch")
        if get("val_samples") is not None:
            new["split_label"] = f"{get('val_source', 'val')}/{own['val_samples']}"
        batches = row.get("eval_batches_per_arch") or get("eval_batches_per_arch")
        if isinstance(batches, int | float) and 1 <= batches < 1e9:
            if batch:
                new["eval_samples_per_arch"] = min(int(batches) * batch, get("val_samples", math.inf))
            else:
                new["epe_protocol"] = f"{int(batches)} batches an arch"
        if steps and batch:
            step, seen = step + steps * (epoch - last), seen + steps * batch * (epoch - last)
            new |= {"global_step": step, "seen_samples": seen, "train_drawn": steps * batch}
            if size and size > 1:
                whole = get("train_sampling_mode") == "shuffle_no_replacement"
                drawn = min(steps * batch, size) if whole else -size * math.expm1(steps * batch * math.log1p(-1 / size))
                new["unique_samples"] = int(drawn)
        last = epoch
        off = {"clip_threshold": None} if "clip_threshold" in new else {}
        given = {name: value for name, value in row.items() if value is not None}
        found.append({**off, **row, **{name: value for name, value in new.items() if value is not None}, **given})
    return found


def facts_of(history: History) -> dict[str, Any]:
    """What a history is of, as far as it is known: epochs, steps, samples, evaluation, time, starts."""
    told = ((name, value) for row in history.rows for name, value in row.items() if value is not None)
    last = {name: value for name, value in told if not (isinstance(value, float) and not math.isfinite(value))}
    own = dict(history.starts[-1].facts) if history.starts else {}
    plan = history.run.manifest if history.run is not None else {}
    data = plan.get("data") or {}
    for split in ("train", "val"):
        own.setdefault(f"{split}_samples", last.get("train_samples") if split == "train" else None)
        own[f"{split}_samples"] = (data.get(split) or {}).get("count", own[f"{split}_samples"])
    own.setdefault("steps_per_epoch", (plan.get("plan") or {}).get("steps_per_epoch"))
    minutes = minutes_per_epoch(history)
    samples, size = last.get("seen_samples"), own.get("train_samples")
    figures = {
        "epochs": int(history.epochs[-1]),
        "planned_epochs": history.planned_epochs,
        "evaluations": history.evaluated,
        "steps": last.get("global_step"),
        "samples": samples,
        "passes": round(samples / size, 4) if samples and size else None,
        "evaluation_samples_per_arch": last.get("eval_samples_per_arch"),
        "minutes_per_epoch": minutes and round(minutes, 4),
        "early_stop_epoch": history.stopped,
    }
    starts = [start.to_json() for start in history.starts]
    if history.run is not None:
        rows = (row for row in history.run.timing if row.get("what") == "session" and "time" in row)
        starts = [{"time": datetime.fromtimestamp(row["time"]).isoformat(" ", "seconds")} for row in rows]
    known = {name: value for name, value in {**figures, **own}.items() if value is not None}
    return known | ({"starts": starts} if starts else {})


def minutes_per_epoch(history: History) -> float | None:
    """Median minutes of an epoch with its evaluation; None without times."""
    seconds = history.column("epoch_seconds")
    if history.run is not None:  # our rows count the evaluation apart
        parts = np.nan_to_num(
            [history.column(name) for name in ("eval_seconds", "bn_recal_seconds", "wide_eval_seconds")]
        )
        every = np.diff(history.epochs, prepend=0).clip(1)
        seconds = seconds + parts.sum(axis=0) / every
    known = seconds[np.isfinite(seconds)]
    return float(np.median(known)) / 60.0 if len(known) and np.median(known) > NO_TIME else None


# ---- run folders ----


def is_run(path: Path) -> bool:
    """Whether this is a run directory of ours."""
    return (path / "run_manifest.json").exists() and foreign_manifest(path) is None


def history_files(path: Path) -> list[Path]:
    """What a folder of the TF1 tool (or of copied histories) holds: its table, then its log, the only one there is."""
    table = next((path / name for name in TABLES if (path / name).is_file()), None)
    logs = [path / LOG] if (path / LOG).is_file() else sorted(path.glob("*.log"))
    return [file for file in (table, *(logs if len(logs) == 1 else ())) if file is not None]


def foreign_manifest(path: Path) -> dict[str, Any] | None:
    """Numbers and words of a run_manifest.json that the TF1 tool wrote; None of one of ours, of a damaged one, or none.

    Keys are taken wherever they stand in it.
    """
    try:
        document = json.loads(read_file(path / "run_manifest.json"))
    except (StorageError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or {"format", "run", "manifest"} & document.keys():
        return None
    found: dict[str, Any] = {}
    below: list[Any] = [document]
    for part in below:  # grows
        if isinstance(part, dict):
            found |= {name: value for name, value in part.items() if name in WORDS and isinstance(value, str)}
            numbers = {n: v for n, v in part.items() if n in NUMBERS and isinstance(v, int | float)}
            found |= {name: value for name, value in numbers.items() if 0 <= value < 1e12}
        below += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    if found.get("epoch_mode") == "full_pass" and found.get("batch_size") and found.get("train_samples"):
        found["steps_per_epoch"] = math.ceil(found["train_samples"] / found["batch_size"])
    elif found.get("epoch_mode") == "full_pass":
        found.pop("steps_per_epoch", None)  # it stands in configurations, and is ignored
    return found


def merged(
    tables: dict[str, list[Row]], logged: dict[str, list[Row]], log: str, gone: Collection[int], notes: list[str]
) -> dict[str, list[Row]]:
    """Rows of a table and of the log beside it: the table's figures have more digits, the log's fill what it lacks."""
    if list(tables) == [""] and "" not in logged:  # a table of one model, a log of several: of the one it agrees with
        epes = {row["epoch"]: row.get("mean_epe_12") for row in tables[""]}
        for model, rows in logged.items():
            shared = [(row["mean_epe_12"], epes[row["epoch"]]) for row in rows if epes.get(row["epoch"]) is not None]
            if shared and all(abs(one - other) <= ROUNDING for one, other in shared):
                tables = {model: tables[""]}
    for model, rows in logged.items():
        own = {row["epoch"]: row for row in tables.get(model, []) if row["epoch"] not in gone}
        differing = []
        for row in rows:
            kept = {name: value for name, value in own.get(row["epoch"], {}).items() if value is not None}
            mine, logs = kept.get("mean_epe_12"), row.get("mean_epe_12")
            if mine is not None and logs is not None and abs(mine - logs) > ROUNDING:
                differing.append(row["epoch"])
            own[row["epoch"]] = {**row, **kept}
        if differing:
            shown = ", ".join(map(str, differing[:5])) + (" and more" if len(differing) > 5 else "")
            notes.append(f"{log} disagrees with the table in the EPE of epochs {shown}: the table counts")
        tables = {**tables, model: list(own.values())}
    return tables
