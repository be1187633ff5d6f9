"""A search from its first generation, or from where its journal ends, to its budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.search.journal import Entry, Journal

if TYPE_CHECKING:
    from edgeflownas.search.problem import Problem
    from edgeflownas.search.strategies import Strategy
    from edgeflownas.space import Arch

__all__ = ["run_search"]

HOPELESS = 1e30  # told to a strategy in place of values that are not finite: dominated by those of every other subnet


def run_search(
    problem: Problem,
    strategy: Strategy,
    journal: Journal,
    budget: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Entry]:
    """Evaluate up to ``budget`` archs, a generation at a time; returns the entries, fewer where no code was left.

    What the journal holds is told to the strategy instead of being evaluated.  A generation that the journal holds in
    part (a kill, or a budget that has been raised) is evaluated as a whole once more, because the last bits of a value
    may depend on what is evaluated with it; entries that were written stay.  So the journal of an interrupted search
    is that of an uninterrupted one, byte for byte.

    Args:
        problem: objectives and conditions.
        strategy: a new one, with the seed of the journal's signature.
        journal: opened with the search's signature; new entries are appended to it.
        budget: evaluated archs in all, those of the journal included.
        progress: told after each generation how many archs are evaluated.

    Raises:
        DataError: the journal's codes are not those the strategy proposes.
    """
    done: list[Entry] = []
    generation = 0
    while len(done) < budget:
        proposed = strategy.propose(strategy.batch)
        wanted = proposed[: budget - len(done)]
        if not wanted:
            break
        known = journal.entries[len(done) : len(done) + len(wanted)]
        _require_proposed(journal, known, wanted, generation)
        if len(known) < len(wanted):
            rows = zip(wanted, problem.values(wanted).tolist(), strict=True)
            entries = [Entry(arch, tuple(values), generation) for arch, values in rows]
            journal.append(entries[len(known) :])
        done += journal.entries[len(done) : len(done) + len(wanted)]
        progress(len(done))
        if len(wanted) == len(proposed):
            strategy.tell(proposed, _finite(done[-len(proposed) :]))
        generation += 1
    return done


def _require_proposed(journal: Journal, known: list[Entry], wanted: list[Arch], generation: int) -> None:
    for entry, arch in zip(known, wanted, strict=False):
        if entry.arch != arch or entry.generation != generation:
            raise DataError(
                f"{journal.path}: holds {entry.arch} of generation {entry.generation} where this search proposes "
                f"{arch} of generation {generation}: it was edited, or made with other versions of numpy or pymoo; "
                "give another --out"
            )


def _finite(entries: list[Entry]) -> NDArray[np.float64]:
    values = np.array([entry.values for entry in entries])
    return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, HOPELESS)
