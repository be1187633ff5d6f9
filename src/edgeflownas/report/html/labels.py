"""Which evaluations may share an EPE axis: those on the same pixels, of the same pool, by the same protocol.

The rule of `edgeflownas compare` (evaluate/results.py), for whole histories: where it is not known which samples a
history was evaluated on, its figures share an axis with nothing but themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edgeflownas.report.histories import History


class EpeLabel(NamedTuple):
    """What an EPE belongs to; equal labels may share an axis."""

    split: str
    pixels: str  # hash of the frozen set, or whose unknown set it is
    pool: str  # size and codes of the pool

    def __str__(self) -> str:
        return f"{self.split}, {self.pixels}, {self.pool.partition('/')[0]}"


class Stretch(NamedTuple):
    """Rows ``rows`` (indices, ascending) of run ``run`` under one label."""

    run: int
    rows: tuple[int, ...]


def stretches(histories: Sequence[History]) -> dict[EpeLabel, list[Stretch]]:
    """Label -> the parts of the histories under it, labels in order of first appearance."""
    found: dict[EpeLabel, dict[int, list[int]]] = {}
    for run, history in enumerate(histories):
        texts = (history.text(name) for name in ("split_label", "eval_set", "epe_protocol", "eval_samples_per_arch"))
        for row, (split, frozen, protocol, count) in enumerate(zip(*texts, strict=True)):
            samples = f"{count} samples" if count else "an unknown number of samples"
            pixels = f"{samples}, set {frozen}" if frozen else f"{samples} of {history.name}"
            words = " ".join(filter(None, [protocol, split or "unknown split"]))
            label = EpeLabel(words, pixels, _pool(history))
            found.setdefault(label, {}).setdefault(run, []).append(row)
    return {label: [Stretch(run, tuple(rows)) for run, rows in runs.items()] for label, runs in found.items()}


def _pool(history: History) -> str:
    if history.pool_size == 1:
        return "single model"
    digest = hashlib.sha256("|".join(history.codes).encode()).hexdigest()[:4]
    return f"mean of {history.pool_size} subnets/{digest}"
