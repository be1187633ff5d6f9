"""What is asked of a ranking, checked against what it holds."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.ranking import Ranking
from edgeflownas.evaluate.where import Condition, holds


@dataclass(frozen=True)
class Question:
    """What is wanted."""

    minimise: tuple[str, ...] = ("epe", "macs")
    maximise: tuple[str, ...] = ()
    where: str = ""
    reference: tuple[float, ...] = ()
    """Of the hypervolume, in the order of :attr:`objectives`; empty: the worst feasible value of each."""
    top: int = 15

    @property
    def objectives(self) -> tuple[str, ...]:
        """Columns that are minimised, then those that are maximised."""
        return (*self.minimise, *self.maximise)

    def varied(self, values: NDArray[np.float64]) -> Question:
        """The question without objectives that are one number in all rows of ``values`` [A, K]: they decide nothing.

        Raises:
            ConfigError: fewer than two objectives of several are left.
        """
        moves = dict(zip(self.objectives, (np.ptp(values, axis=0) > 0).tolist(), strict=True))
        if all(moves.values()) or len(values) < 2 or len(moves) < 2:
            return self
        if sum(moves.values()) < 2:
            first = zip(moves.items(), values[0] * self.signs, strict=True)
            same = ", ".join(f"{name} is {value:g}" for (name, moved), value in first if not moved)
            raise ConfigError(f"{same} in all {len(values)} subnets: choose by columns that differ, or by one alone")
        return replace(
            self,
            minimise=tuple(name for name in self.minimise if moves[name]),
            maximise=tuple(name for name in self.maximise if moves[name]),
            reference=tuple(x for x, moved in zip(self.reference, moves.values(), strict=False) if moved),
        )

    @property
    def signs(self) -> NDArray[np.float64]:
        """By objective: 1, or -1 where it is maximised."""
        return np.array([1.0] * len(self.minimise) + [-1.0] * len(self.maximise))


def require_question(ranking: Ranking, question: Question) -> None:
    """Refuse what the ranking cannot answer.  Raises ConfigError, or DataError for a column without figures."""
    names, known = question.objectives, list(ranking.columns)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"the ranking has no column {name!r}{hint} (known: {', '.join(known)})")
        if not np.isfinite(ranking.columns[name]).any():
            raise DataError(f"column {name} of the ranking holds no figure at all: choose by another column")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--minimise and --maximise need columns, each once (got {', '.join(names) or 'none'})")
    if question.reference and len(question.reference) != len(names):
        raise ConfigError(
            f"--reference has {len(question.reference)} numbers: give one for each of {', '.join(names)}, in this order"
        )
    if not 1 <= question.top <= len(ranking):
        raise ConfigError(f"--top {question.top}: the ranking holds {len(ranking)} subnets; give 1 to {len(ranking)}")


def allowed(ranking: Ranking, conditions: Sequence[Condition]) -> NDArray[np.bool_]:
    """Rows [A] that fulfil all conditions.  Raises ConfigError where none does, naming the conditions to blame."""
    values = {**ranking.columns, **ranking.blocks}
    kept = holds(conditions, values)
    if kept.any():
        return kept
    for condition in conditions:
        if not holds([condition], values).any():
            low, high = np.nanmin(values[condition.name]), np.nanmax(values[condition.name])
            raise ConfigError(
                f"--where {condition}: no subnet fulfils it ({condition.name} is {low:.6g} to {high:.6g})"
            )
    without = {str(one): int(holds([c for c in conditions if c != one], values).sum()) for one in conditions}
    told = ", ".join(f"{count} without {name}" for name, count in without.items())
    raise ConfigError(f"--where {','.join(map(str, conditions))}: no subnet fulfils all of it ({told})")
