"""The evaluations of a run as typed rows, from events.jsonl of either format, or from eval_history.csv as printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.errors import StorageError
from edgeflownas.evaluate.columns import parse_row
from edgeflownas.evaluate.noise import parse_rank_string
from edgeflownas.files import csv_rows, encoded, parse_json, read_rows, row_text
from edgeflownas.run import documents

TIERS = ("", "wide_")  # prefixes of the figures of the frequent and of the wide evaluation set


@dataclass(frozen=True)
class Evaluation:
    """The pool after one epoch.  ``codes``, ``epes`` (px) and ``ranks`` (shared within noise) are by arch_index."""

    epoch: int
    step: int
    seen: int  # draws so far
    codes: tuple[str, ...]
    epes: tuple[float, ...]
    ranks: tuple[int, ...]
    figures: Mapping[str, Any]  # facts of the epoch by column (with the actual pool size), non-finite ones as floats

    @property
    def pool_size(self) -> int:
        """Subnets evaluated."""
        return len(self.epes)

    @property
    def mean(self) -> float:
        """Mean EPE of the pool, px, exact where the log is."""
        return self.figure(f"mean_epe_{self.pool_size}")

    def figure(self, name: str, default: float = float("nan")) -> float:
        """One number of ``figures``; ``default`` where it is missing or was not measured."""
        value = self.figures.get(name)
        try:
            return default if value is None else float(value)
        except (TypeError, ValueError):
            raise StorageError(
                f"events.jsonl, evaluation of epoch {self.epoch}: {name} is {value!r}, expected a number: restore it"
            ) from None


def evaluations(folder: Path) -> list[Evaluation]:
    """The evaluated epochs of a run directory (or a folder with an eval_history.csv), oldest first.

    Rows without a pool are left out.  Raises StorageError naming a file with a number that cannot be read.
    """
    codes, file = pool_codes(folder / "per_arch_epe.csv"), folder / "events.jsonl"
    rows = [row for row in read_rows(file, b'"evaluation"') if row.get("event") == "evaluation"]
    try:
        for row in rows:
            documents.require(documents.EvaluationEvent, row, f"{file}: an evaluation")
        if not rows:
            file = folder / "eval_history.csv"
            rows = [dict(parse_row(row)) for row in csv_rows(file)]
        read = [with_numbers(row, codes) for row in rows]
    except ValueError as error:
        raise StorageError(f"{file}: a number cannot be read ({error}): restore it from a copy") from None
    found = []
    for figures in read:
        size = next((name.removeprefix("mean_epe_") for name in figures if name.startswith("mean_epe_")), "")
        needed = ("epoch", "global_step", "seen_samples", "split_label", f"mean_epe_{size}")
        if not size.isdecimal() or any(figures.get(name) is None for name in needed):
            continue
        epoch, step, seen = (int(figures[name]) for name in needed[:3])
        names, epes, ranks = (tuple(figures.get(name) or ()) for name in ("codes", "epes", "ranks"))
        if not epes:  # a history whose ranking was lost: the number of subnets is all that is left of them
            names, epes, ranks = ("",) * int(size), (float("nan"),) * int(size), (0,) * int(size)
        found.append(Evaluation(epoch, step, seen, names, tuple(map(float, epes)), ranks, figures))
    return found


def pool_codes(file: Path) -> dict[int, dict[int, str]]:
    """Epoch -> arch_index -> code, from per_arch_epe.csv; lines that say neither are left out."""
    found: dict[int, dict[int, str]] = {}
    for row in csv_rows(file):
        epoch, index = row.get("epoch", ""), row.get("arch_index", "")
        if epoch.isdecimal() and index.isdecimal() and row.get("code"):
            found.setdefault(int(epoch), {})[int(index)] = row["code"]
    return found


def with_numbers(row: Mapping[str, Any], codes: Mapping[int, Mapping[int, str]]) -> dict[str, Any]:
    """An evaluation's facts with ``epes`` and ``ranks`` (also ``wide_``) by arch_index in the place of their text.

    Format 1 of a run, and eval_history.csv, hold ``rank:arch_index:epe|...`` under arch_rank_N.
    """
    found = dict(row)
    for name in row:
        for tier in TIERS:
            if name.startswith(f"{tier}arch_rank_") and row[name]:
                epes, ranks = parse_rank_string(str(row[name]))
                del found[name]
                found |= {f"{tier}epes": epes, f"{tier}ranks": ranks}
    if "codes" not in found and "epes" in found:
        own = codes.get(int(row.get("epoch") or 0), {})
        found["codes"] = [own.get(index, "") for index in range(len(found["epes"]))]
    return found


def converted_events(content: bytes, per_arch: Path) -> tuple[bytes, dict[int, int]]:
    """events.jsonl of format 1 in format 2, and old -> new length at the end of every whole line.

    A line that is torn, or an evaluation whose ranking cannot be read, is left as it is.
    """
    codes = pool_codes(per_arch)
    lines: list[bytes] = []
    lengths = {0: 0}
    old = new = 0
    for line in content.splitlines(keepends=True):
        old += len(line)
        if b'"evaluation"' in line:
            try:
                row = parse_json(line)
                if isinstance(row, dict) and row.get("event") == "evaluation":
                    line = encoded(row_text(with_numbers(row, codes)) + "\n")
            except ValueError:
                pass
        lines.append(line)
        new += len(line)
        if line.endswith(b"\n"):
            lengths[old] = new
    return b"".join(lines), lengths
