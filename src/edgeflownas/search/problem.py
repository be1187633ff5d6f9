"""What is searched: a space, what is known of a code beforehand, and what only an evaluation gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflownas.evaluate.where import Condition, holds
from edgeflownas.space import Arch, SearchSpace

__all__ = ["Columns", "Problem"]

Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Problem:
    """Objectives over a space, all to be minimised.

    ``costs`` gives the columns [A] that are known without an evaluation, ``measure`` those that are not; both of any
    archs of the space.  ``where`` are conditions on costs and digits.
    """

    space: SearchSpace
    objectives: tuple[str, ...]
    where: tuple[Condition, ...]
    costs: Callable[[Sequence[Arch]], Columns]
    measure: Callable[[Sequence[Arch]], Columns]

    def fits(self, archs: Sequence[Arch]) -> NDArray[np.bool_]:
        """Which archs fulfil every condition: bool [A]."""
        if not self.where:
            return np.ones(len(archs), dtype=np.bool_)
        names = [choice.name for choice in self.space.choices]
        digits = dict(zip(names, np.array(archs, dtype=np.float64).T, strict=True))
        asked = {condition.name for condition in self.where}
        return holds(self.where, digits if asked <= digits.keys() else {**digits, **self.costs(archs)})

    def values(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """The objectives of archs, by evaluation: [A, objectives]."""
        columns = {**self.costs(archs), **self.measure(archs)}
        return np.stack([np.asarray(columns[name], dtype=np.float64) for name in self.objectives], axis=1)
