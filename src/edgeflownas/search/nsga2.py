"""NSGA-II: Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comput. 6(2), 2002, by the library pymoo.

pymoo selects parents and survivors; codes are bred here, because its operators know neither digits with unlike numbers
of options nor a list of codes that must not come back.  Its random numbers come from one generator of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.operators.selection.tournament import TournamentSelection

from edgeflownas.search.candidates import Candidates
from edgeflownas.space import Arch

ROUNDS = 20  # of breeding, before random codes fill the generation
CROSSOVER = 0.9  # share of children with two parents


class Nsga2:
    """A generation of ``population`` children of binary tournaments; the best of parents and children survive.

    A child takes each digit from either parent (uniform crossover, nine times of ten) and changes each to another
    option with probability 1 / blocks, at least one where it equals a parent.  Codes proposed before are bred again,
    and after some rounds random ones take their place.
    """

    def __init__(self, *, candidates: Candidates, population: int, seed: int) -> None:
        self.batch = population
        self._candidates = candidates
        self._seed = seed
        self._algorithm: NSGA2 | None = None
        self._asked: Any = None

    def propose(self, count: int) -> list[Arch]:
        """See :class:`~edgeflownas.search.strategies.Strategy`."""
        if self._algorithm is None:
            found = self._candidates.random(count)
            self._asked = Population.new(X=np.array(found))
            return found
        self._algorithm.n_offsprings = count
        self._asked = self._algorithm.ask()
        return [] if self._asked is None else [self._candidates.space.arch(digits) for digits in self._digits()]

    def tell(self, archs: Sequence[Arch], values: NDArray[np.float64]) -> None:
        """See :class:`~edgeflownas.search.strategies.Strategy`."""
        assert [tuple(digits) for digits in self._digits()] == list(archs), "told of other archs than were proposed"
        if self._algorithm is None:
            self._algorithm = self._begin(values.shape[1])
            self._asked = self._algorithm.ask()
        self._asked.set("F", values)
        self._algorithm.tell(infills=self._asked)

    def _digits(self) -> list[list[int]]:
        return [[int(digit) for digit in digits] for digits in self._asked.get("X")]

    def _begin(self, objectives: int) -> NSGA2:
        places = len(self._candidates.space.choices)
        algorithm = NSGA2(
            pop_size=self.batch, sampling=self._asked, mating=_Mating(self._candidates), eliminate_duplicates=False
        )
        problem = Problem(n_var=places, n_obj=objectives, vtype=int)
        algorithm.setup(problem, termination=NoTermination(), seed=self._seed)
        return algorithm


class _Mating:
    """pymoo's slot for breeding: parents by its tournament, children by digits, only codes that are new and fit."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._options = np.array([len(choice.options) for choice in candidates.space.choices])
        self._selection = TournamentSelection(func_comp=binary_tournament)

    def do(
        self, problem: Problem, pop: Population, count: int, random_state: np.random.Generator, **rest: Any
    ) -> Population:
        found: list[Arch] = []
        for _ in range(ROUNDS):
            parents = self._selection(problem, pop, count, n_parents=2, random_state=random_state, **rest)
            digits = np.array([[one.X for one in pair] for pair in parents], dtype=np.int64)  # [count, 2, blocks]
            found += self._candidates.take(self._bred(digits, random_state).tolist(), count - len(found))
            if len(found) == count:
                break
        found += self._candidates.random(count - len(found))
        return Population.new(X=np.array(found)) if found else Population.create()

    def _bred(self, parents: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        first, second = parents[:, 0], parents[:, 1]
        mixed = (random.random(first.shape) < 0.5) & (random.random((len(first), 1)) < CROSSOVER)
        child = np.where(mixed, second, first)
        changed = random.random(child.shape) < 1.0 / child.shape[1]
        step = 1 + (random.random(child.shape) * (self._options - 1)).astype(np.int64)
        return np.where(changed & (self._options > 1), (child + step) % self._options, child)
