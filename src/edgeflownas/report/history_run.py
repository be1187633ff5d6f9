"""What a run directory says beside its history, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflownas.config.load import parse_yaml
from edgeflownas.errors import DataError, StorageError
from edgeflownas.report.history_files import Value, json_rows, table_lines, text_of, typed


@dataclass(frozen=True)
class RunRecord:
    """What a run directory says beside its history, as plain data."""

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


def read_record(path: Path, notes: list[str]) -> RunRecord:
    """What the run directory ``path`` says beside its history.  Raises StorageError, DataError or ConfigError."""
    try:
        document = json.loads(text_of(path / "run_manifest.json"))
        manifest = document["manifest"]
        if not isinstance(manifest, dict):
            raise ValueError("manifest is no object")
    except DataError:  # said already
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path / 'run_manifest.json'}: altered or incomplete ({error}): restore a copy") from None
    config, _ = parse_yaml(text_of(path / "config.yaml"), str(path / "config.yaml"))
    timing = tuple(json_rows(path / "timing.jsonl", b"", notes))
    options, monitor = (_extra_table(path / name, notes) for name in ("per_option.csv", "monitor.csv"))
    known = config if isinstance(config, Mapping) else {}
    return RunRecord(known, manifest, timing, options, monitor, _eval_sizes(path / "eval_set.json"))


def _extra_table(path: Path, notes: list[str]) -> tuple[Mapping[str, Value], ...]:
    """Rows of a table beside the history; numbers where they are numbers, else text.  None, with a note, if damaged."""
    if not path.exists():
        return ()
    rows = []
    try:
        for line in table_lines(path, text_of(path)):
            if line.torn and not line.cells:
                notes.append(f"{path.name}: line {line.number} is not complete yet and was left out")
                continue
            rows.append({name: _loose(name, text) for name, text in line.cells.items()})
        if not all("epoch" in row for row in rows):
            raise ValueError("its header has no epoch")
    except (StorageError, DataError, ValueError) as error:
        notes.append(f"{path.name} cannot be read and was left out: {error}")
        return ()
    return tuple(rows)


def _loose(name: str, text: str) -> Value:
    return text if name in ("block", "meaning", "code", "option") else typed(name, text)


def _eval_sizes(path: Path) -> tuple[str, ...]:
    """Sizes of the evaluation crops in a frozen set; none where there is no set or it is of another form."""
    try:
        windows = json.loads(text_of(path))["evaluation"]["windows"]
        return tuple(sorted({f"{int(window[2])}x{int(window[3])}" for window in windows}))
    except (StorageError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ()
