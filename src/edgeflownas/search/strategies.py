"""How the next subnets are chosen: random search, regularised evolution, NSGA-II; one interface.

A strategy proposes and is told, in turn.  What it proposes is a pure function of its arguments and of what it was
told, so that a search is resumed by telling it its journal again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.randomness import uniforms
from edgeflownas.search.candidates import Candidates
from edgeflownas.search.pareto import front
from edgeflownas.space import Arch

ATTEMPTS = 50  # children that are no new code, before a random code takes the place


class Strategy(Protocol):
    """Proposes archs that were never proposed before, and learns from their values."""

    @property
    def batch(self) -> int:
        """How many archs it wants to be asked for next: they are evaluated together."""

    def propose(self, count: int) -> list[Arch]:
        """``count`` new archs; fewer, or none, where the space has no more."""

    def tell(self, archs: Sequence[Arch], values: NDArray[np.float64]) -> None:
        """The values [A, objectives], smaller is better, of the archs proposed last."""


class RandomSearch:
    """Uniform codes without repeats."""

    def __init__(self, *, candidates: Candidates, population: int, seed: int) -> None:
        self.batch = population
        self._candidates = candidates

    def propose(self, count: int) -> list[Arch]:
        """See :class:`Strategy`."""
        return self._candidates.random(count)

    def tell(self, archs: Sequence[Arch], values: NDArray[np.float64]) -> None:
        """Nothing is learnt."""


class Evolution:
    """Regularised (aging) evolution: Real, Aggarwal, Huang, Le, AAAI 2019, algorithm 1.

    A parent is the best of a sample of the population (a quarter of it, with replacement); its child has one block
    with another option; the oldest member dies, however good.  A child that is no new code is drawn again.  Two
    departures.  A fifth of the population is bred at a time, as with that many parallel workers, so that the children
    share prefixes.  With several objectives "best" is the lower rank of non-dominated sorting, then the larger
    crowding distance (Deb et al. 2002); the paper has one objective.
    """

    def __init__(self, *, candidates: Candidates, population: int, seed: int) -> None:
        self._candidates = candidates
        self._seed = seed
        self._members: deque[tuple[Arch, NDArray[np.float64]]] = deque(maxlen=population)
        self._draws = 0
        self._population = population

    @property
    def batch(self) -> int:
        """The whole population at first, then a fifth of it."""
        return self._population if not self._members else max(1, self._population // 5)

    def propose(self, count: int) -> list[Arch]:
        """See :class:`Strategy`."""
        if not self._members:
            return self._candidates.random(count)
        order = standing(np.array([values for _, values in self._members]))
        found: list[Arch] = []
        while len(found) < count:
            child = self._child(order) or self._candidates.random(1)
            if not child:
                break
            found += child
        return found

    def tell(self, archs: Sequence[Arch], values: NDArray[np.float64]) -> None:
        """The archs join the population, the oldest leave it."""
        self._members.extend(zip(archs, values, strict=True))

    def _child(self, order: NDArray[np.int64]) -> list[Arch]:
        size = len(self._members)
        choices = self._candidates.space.choices
        variable = [place for place, choice in enumerate(choices) if len(choice.options) > 1]
        for _ in range(ATTEMPTS):
            drawn = uniforms(self._seed, "search.evolution", self._draws, count=max(2, size // 4) + 2)
            self._draws += 1
            rivals = (drawn[2:] * size).astype(int)
            digits = list(self._members[rivals[order[rivals].argmin()]][0])
            place = variable[int(drawn[0] * len(variable))]
            options = len(choices[place].options)
            digits[place] = (digits[place] + 1 + int(drawn[1] * (options - 1))) % options
            child = self._candidates.take([digits], 1)
            if child:
                return child
        return []


def standing(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each row of ``values`` [N, objectives], 0 is best: non-dominated rank, then crowding, then order.

    Rank and crowding distance as in Deb, Pratap, Agarwal, Meyarivan 2002 (NSGA-II), sections III-A and III-B.
    """
    rank = np.zeros(len(values), np.int64)
    crowding = np.zeros(len(values))
    left = np.arange(len(values))
    while left.size:
        layer = left[front(values[left])]
        crowding[layer] = _crowding(values[layer])
        left = np.setdiff1d(left, layer)
        rank[left] += 1
    place = np.empty(len(values), np.int64)
    place[np.lexsort((-crowding, rank))] = np.arange(len(values))
    return place


def _crowding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = np.zeros(len(values))
    for column in values.T:
        order = column.argsort(kind="stable")
        ends = np.concatenate([[-np.inf], column[order], [np.inf]])
        distance[order] += (ends[2:] - ends[:-2]) / (np.ptp(column) or 1.0)
    return distance


def _nsga2(*, candidates: Candidates, population: int, seed: int) -> Strategy:
    try:
        from edgeflownas.search.nsga2 import Nsga2
    except ImportError as error:
        raise ConfigError(
            f'--strategy nsga2 needs the package pymoo ({error}): pip install "edgeflownas[search]", or use '
            "--strategy evolution or random, which need nothing"
        ) from error
    return Nsga2(candidates=candidates, population=population, seed=seed)


STRATEGIES: dict[str, Callable[..., Strategy]] = {"nsga2": _nsga2, "random": RandomSearch, "evolution": Evolution}


def new_strategy(name: str, *, candidates: Candidates, population: int = 50, seed: int = 0) -> Strategy:
    """A strategy by name, ``nsga2``, ``random`` or ``evolution``.

    Raises:
        ConfigError: another name, a population below 4, or nsga2 without the package pymoo.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"--strategy {name!r} is unknown: {', '.join(STRATEGIES)}, or all")
    if population < 4:
        raise ConfigError(f"--population {population}: must be at least 4")
    return STRATEGIES[name](candidates=candidates, population=population, seed=seed)
