"""What Vela says of a model, as plain data for JSON, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeflownas.errors import StorageError
from edgeflownas.files import replace_file
from edgeflownas.hardware.vela.compiler import Compiled, LayerCost, Placed


def description(compiled: Compiled) -> dict[str, Any]:
    """Every field of ``compiled`` but the file, and ``peak``: the moment with the most bytes in use.

    ``peak`` has the operators that run then (several in a cascade), the ranges ``alive``, largest first, their sum
    ``used_kib``, and ``gaps_kib``: what the allocator could not fill, up to the peak of the arena.
    """
    times = {placed.start for placed in compiled.placed} | {layer.time for layer in compiled.layers}
    moment = max(sorted(times), key=lambda time: sum(placed.bytes for placed in alive_at(compiled.placed, time)))
    alive = sorted(alive_at(compiled.placed, moment), key=lambda placed: (-placed.bytes, placed.names))
    used = sum(placed.bytes for placed in alive) / 1024
    document = asdict(compiled)
    del document["model"]
    return document | {
        "peak": {
            "operators": _running(compiled.layers, moment),
            "time": moment,
            "used_kib": used,
            "gaps_kib": max((placed.address + placed.bytes for placed in compiled.placed), default=0) / 1024 - used,
            "alive": [asdict(placed) for placed in alive],
        }
    }


def write_compiled(folder: Path, compiled: bytes, document: Mapping[str, Any]) -> dict[str, Path]:
    """Write a compiled model and its document; returns what was written by name.  Raises StorageError."""
    paths = {"model": folder / f"{document['name']}_vela.tflite", "costs": folder / f"{document['name']}_vela.json"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    replace_file(paths["model"], [compiled])
    replace_file(paths["costs"], [(json.dumps(document, indent=2, allow_nan=False) + "\n").encode()])
    return paths


def alive_at(placed: Sequence[Placed], time: int) -> list[Placed]:
    """The ranges in use at ``time``."""
    return [one for one in placed if one.start <= time <= one.end]


def _running(layers: Sequence[LayerCost], time: int) -> list[str]:
    """Operators at ``time``; between two, where weights are fetched ahead, those before."""
    last = max((layer.time for layer in layers if layer.time <= time), default=0)
    return [layer.name for layer in layers if layer.time == last]
