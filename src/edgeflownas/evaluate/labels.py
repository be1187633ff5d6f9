"""What a figure belongs to.  Two EPEs may stand in one ranked column only where their labels are equal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PROTOCOLS = ("standard", "edgeflownet", "training", "deploy")
"""Names; a label may add parameters behind a colon: ``edgeflownet:416x1024,clip50``."""

FIGURES = (
    *("epe", "epe_per_image", "fl_all", "px1", "px3", "px5"),
    *("s0_10", "s10_40", "s40_plus", "epe_occluded", "epe_visible"),
)
"""EPE in px; fl_all, px1, px3, px5 are shares, 0 to 1."""

_WORDS = ("model", "code", "precision", "batch_shape", "source")


class Label(NamedTuple):
    """Protocol with its parameters, split label, and which samples of the split."""

    protocol: str
    split: str
    samples: str  # "640 samples", or with the hash of names and windows where that is known

    def __str__(self) -> str:
        return f"{self.protocol} on {self.split} ({self.samples})"


@dataclass(frozen=True)
class Result:
    """One evaluated model, or the mean of a pool."""

    run: str  # empty for a reference that needs no run: zero flow, classical methods
    model: str
    code: str | None
    label: Label
    kind: str  # "model", or which mean it is: only results of one kind are ranked with each other
    figures: Mapping[str, float]  # of FIGURES; epe always
    when: str = ""  # which evaluation of the run
    precision: str = ""
    batch_shape: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epe(self) -> float:
        """Px, over all valid pixels; NaN where the model diverged."""
        return self.figures["epe"]


def parse_result(row: Mapping[str, Any], run: str) -> Result:
    """A row of ``evaluations.jsonl``: strict on what decides the label and on ``epe``, lenient on the rest.

    Raises:
        ValueError: what is missing or of another kind; the caller knows the file and the line.
    """
    for name in ("protocol", "split_label"):
        if not isinstance(row.get(name), str) or not str(row[name]).strip():
            raise ValueError(f"{name} must be text, got {row.get(name)!r}: the figure belongs to nothing without it")
    protocol = str(row["protocol"])
    if protocol.partition(":")[0] not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is unknown: expected {', '.join(PROTOCOLS)}")
    samples = row.get("samples")
    if samples is not None and (type(samples) is not int or samples < 1):
        raise ValueError(f"samples must be a positive count, got {samples!r}")
    words = {name: row.get(name) for name in _WORDS}
    for name, value in words.items():
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name} must be text, got {value!r}")
    figures = {name: _number(name, row[name]) for name in FIGURES if row.get(name) is not None}
    if "epe" not in figures:
        raise ValueError("epe is missing")
    counted = f"{samples} samples" if samples is not None else f"an unknown number of samples, by {run}"
    reference = words["code"] is None and (words["model"] or "") in REFERENCES
    return Result(
        run="" if reference else run,
        model=words["model"] or run,
        code=words["code"],
        label=Label(protocol, str(row["split_label"]), counted),
        kind="model",
        figures=figures,
        precision=words["precision"] or "",
        batch_shape=words["batch_shape"] or "",
        extra={"source": words["source"]},
    )


REFERENCES = ("zero", "zero flow", "dis", "dis_fast", "farneback")
"""Models that are the same for every run."""


def _number(name: str, value: Any) -> float:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if math.isfinite(value) and value < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return float(value)
