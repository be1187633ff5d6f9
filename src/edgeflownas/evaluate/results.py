"""One line of an evaluation: figures that never travel without the protocol, the split and the weights they belong to.

``evaluations.jsonl`` in a run directory holds such rows, one JSON object a line, oldest first.  Rows may stand in one
ranked column only where ``protocol`` AND ``split_label`` are equal (docs/protocols.md says why).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgeflownas.errors import StorageError
from edgeflownas.evaluate.flow_metrics import FlowFigures

EVALUATIONS = "evaluations.jsonl"
"""Name of the file in a run directory."""

FIGURES = tuple(field.name for field in fields(FlowFigures))
"""The columns of numbers, ``samples`` first; what each means is said at FlowFigures."""

_ALWAYS = ("samples", "epe", "epe_per_image", "fl_all", "px1", "px3", "px5")  # the other figures may be None


@dataclass(frozen=True)
class ResultRow:
    """Figures of one predictor under one protocol on one split."""

    model: str
    """Run and checkpoint (``supernet/step-00001234``), weights file, or a baseline: zero, dis, dis_fast, farneback."""
    code: str | None
    """Arch code; None for what has none."""
    protocol: str
    """Name and parameters, e.g. ``standard`` or ``edgeflownet:416x1024,clip50``: two rows with different text differ
    in what the network saw or in what was scored."""
    split_label: str
    """Data set, source kind, split, samples, start of the content hash: ``fc2/folder:val/640/9f3a``."""
    precision: str
    batch_shape: str
    """What the network received at once, ``1x6x448x1024``; a range where the images differ: ``1x6x370-376x1224``."""
    samples: int
    epe: float
    epe_per_image: float
    fl_all: float
    px1: float
    px3: float
    px5: float
    s0_10: float | None
    s10_40: float | None
    s40_plus: float | None
    epe_occluded: float | None
    epe_visible: float | None
    source: str | None
    """Hash of the checkpoint or weights file; the library and its version for a baseline; None for zero flow."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, one key a field."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ResultRow:
        """Inverse of :meth:`to_json`.  Raises ValueError naming the field that is missing, unknown or of another kind.

        ValueError rather than a user error: the caller knows the file and the line.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in data]:
            raise ValueError(f"lacks {', '.join(missing)}")
        if unknown := sorted(set(data) - set(names)):
            raise ValueError(f"holds unknown {', '.join(unknown)}: written by a later version?")
        for name, value in data.items():
            _check(name, value)
        return cls(**data)


def append_results(path: Path, rows: Iterable[ResultRow]) -> None:
    """Append rows to ``path`` (made where missing), whole lines in one write, and bring them to the disk.

    Raises:
        StorageError: it cannot be written, or its last line was cut off and would swallow the new one.
    """
    text = "".join(json.dumps(row.to_json(), allow_nan=False) + "\n" for row in rows).encode()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                raise StorageError(f"{path}: its last line is cut off; remove that line, then record again")
            view = memoryview(text)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def read_results(path: Path) -> list[ResultRow]:
    """Rows of ``path``, oldest first; none where it is missing.

    Raises:
        StorageError: unreadable, or a damaged line (with its number): a figure that is lost must be missed.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    return [_parse(path, number, line) for number, line in enumerate(lines, start=1)]


def _parse(path: Path, number: int, line: bytes) -> ResultRow:
    try:
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError(f"is {type(data).__name__}, expected an object")
        return ResultRow.from_json(data)
    except (ValueError, RecursionError) as error:
        raise StorageError(
            f"{path}: line {number} is not a result row ({error}); remove the line and evaluate again with --record"
        ) from error


def _check(name: str, value: Any) -> None:
    if name == "samples":
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be a positive count, got {value!r}")
    elif name in FIGURES:
        if value is None and name not in _ALWAYS:
            return
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} must be a finite number, got {value!r}")
    elif not (isinstance(value, str) or (value is None and name in ("code", "source"))):
        raise ValueError(f"{name} must be text, got {value!r}")
