"""What Vela says of a model, as plain data for JSON, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edgeflownas.hardware.vela.compiler import Compiled, LayerCost, Placed

__all__ = ["alive_at", "description"]


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


def alive_at(placed: Sequence[Placed], time: int) -> list[Placed]:
    """The ranges in use at ``time``."""
    return [one for one in placed if one.start <= time <= one.end]


def _running(layers: Sequence[LayerCost], time: int) -> list[str]:
    """Operators at ``time``; between two, where weights are fetched ahead, those before."""
    last = max((layer.time for layer in layers if layer.time <= time), default=0)
    return [layer.name for layer in layers if layer.time == last]
