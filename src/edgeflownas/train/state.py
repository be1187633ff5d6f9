"""The part of a run that is neither tensors nor logs: a few numbers, committed together with them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Best", "TrainState"]


@dataclass
class Best:
    """The evaluation with the lowest criterion so far, and the evaluation set it was measured on."""

    value: float
    epoch: int
    checkpoint: str
    criterion: str
    eval_set: str


@dataclass
class TrainState:
    """Position and bookkeeping.  ``epoch`` and ``batch`` name the next step; all counts include dropped steps.

    Everything else a run needs (sample order, fair cycles, learning rate, option counts) is a pure function of these.
    """

    planned: int  # draws of the learning-rate plan
    num_epochs: int
    step: int = 0
    epoch: int = 0
    batch: int = 0
    seen: int = 0
    accepted: int = 0
    nonfinite_in_a_row: int = 0
    best: Best | None = None
    evaluations_without_gain: int = 0
    value_of_last_gain: float | None = None  # px; what early stopping compares with, so that small gains add up
    stopped_early: bool = False
    last_epes: list[float] = field(default_factory=list)  # of the last evaluated pool, for kendall_tau_prev
    last_zero_flow_epe: float | None = None
    last_ranks: list[int] = field(default_factory=list)  # shared within noise; empty: an older version did not know
    last_margins: list[float] = field(default_factory=list)  # px: half of each EPE's 95 % interval; empty: unknown
    eval_set: str = ""  # hash of the set the evaluations above were made on
    quarantined: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped_early or self.epoch >= self.num_epochs

    def forget_pool(self) -> None:
        """The figures of the last evaluation belong to another set or pool."""
        self.last_epes, self.last_zero_flow_epe, self.last_ranks, self.last_margins = [], None, [], []

    def to_json(self) -> dict[str, Any]:
        """Plain data for state.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainState:
        """Inverse of :meth:`to_json`."""
        known = {f.name for f in dataclasses.fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        values["best"] = Best(**values["best"]) if values.get("best") else None
        return cls(**values)
