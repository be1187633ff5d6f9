"""Searches, each from its first generation, or from where its journal ends, to its budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError, Interrupted
from edgeflownas.files import storing
from edgeflownas.run.directory import RunLock
from edgeflownas.search.candidates import Candidates
from edgeflownas.search.journal import Entry, Journal
from edgeflownas.search.outcome import Ended
from edgeflownas.search.problem import Problem
from edgeflownas.search.strategies import STRATEGIES, Strategy, new_strategy
from edgeflownas.space import Arch
from edgeflownas.train.machine import StopFlag

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

POPULATION = 50  # where none is given
HOPELESS = 1e30  # told to a strategy in place of values that are not finite: dominated by those of every other subnet


def population_of(given: int | None, budget: int) -> int:
    """Subnets of a generation.  Raises ConfigError where the budget does not fit."""
    if budget < 4:
        raise ConfigError(f"--budget {budget}: must be at least 4")
    population = min(POPULATION, budget) if given is None else given
    if not 4 <= population <= budget:
        raise ConfigError(f"--population {population}: must be at least 4, and not above --budget {budget}")
    return population


def jobs_of(strategy: str, seed: int, seeds: str | None) -> list[tuple[str, int]]:
    """Strategy and seed of every search.  Raises ConfigError for seeds that are none."""
    numbers = str(seed) if seeds is None else seeds
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in numbers.split(",")):
        raise ConfigError(f"--seed{'' if seeds is None else 's'} {numbers}: whole numbers from 0 expected")
    if seeds is not None and seed:
        raise ConfigError("give --seed or --seeds, not both")
    names = list(STRATEGIES) if strategy == "all" else [strategy]
    return [(name, number) for name in names for number in dict.fromkeys(map(int, numbers.split(",")))]


def search_all(
    problem: Problem,
    jobs: Sequence[tuple[str, int]],
    place: Path,
    budget: int,
    population: int,
    console: Console,
    agree: Callable[[float, int, int], bool],
) -> list[Ended]:
    """Every search, one after the other; strategies and budget are checked before the first begins.

    Args:
        problem: what is searched.
        jobs: strategy and seed of each.
        place: folder of the one search, or of the folders of several.
        budget: evaluated archs of each.
        population: archs of a generation.
        console: progress and news.
        agree: asked before archs are evaluated: estimated seconds of one, how many are evaluated together, are left.

    Raises:
        Interrupted: a signal came; ConfigError, DataError, StorageError.
    """
    problem.require_room(budget)
    strategies = []
    for name, seed in jobs:
        candidates = Candidates(problem.space, problem.fits, seed)
        strategies.append(new_strategy(name, candidates=candidates, population=population, seed=seed))
    ended = []
    for (name, seed), strategy in zip(jobs, strategies, strict=True):
        folder = place if len(jobs) == 1 else place / f"{name}-seed{seed}"
        signature = {
            **problem.facts,
            "objectives": list(problem.objectives),
            "where": ",".join(map(str, problem.where)),
            "strategy": name,
            "seed": seed,
            "population": population,
        }
        lock = RunLock(folder)
        try:
            with StopFlag.at_once():
                with storing(folder, "make the folder"):
                    folder.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                journal = Journal(folder / "journal.jsonl", problem.space, signature, console.warn)
                left = budget - len(journal.entries)
                if left > 0 and problem.seconds is not None:
                    archs = Candidates(problem.space, problem.fits).random(population)
                    if not agree(problem.seconds(archs) / len(archs), len(archs), left):
                        raise ConfigError("nothing was evaluated")
                with console.task(f"search {name} seed {seed}", budget) as meter:
                    entries = run_search(problem, strategy, journal, budget, meter.update)
        except Interrupted:
            raise Interrupted(f"{folder}: finished generations are kept; the same command goes on") from None
        finally:
            lock.release()
        if len(entries) < budget:
            console.warn(f"{name}: no further code that fits --where was found after {len(entries)} evaluations")
        ended.append(Ended(name, seed, folder, entries))
    return ended


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
