"""Searches of a space that is too large to rank: strategies, the journal, the loop, and what came of it.

A strategy proposes and is told, in turn; what it proposes is a pure function of its arguments and of what it was told,
so that a search is resumed by telling it its journal again.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.errors import ConfigError, DataError, Interrupted
from edgeflownas.files import JsonLog, encoded, parse_json, read_file, row_text, storing
from edgeflownas.randomness import uniforms
from edgeflownas.run.directory import RunLock
from edgeflownas.search.candidates import Candidates, Problem
from edgeflownas.search.front import Floats, front, hypervolume
from edgeflownas.search.ranking import block_words
from edgeflownas.space import Arch, SearchSpace
from edgeflownas.train.machine import StopFlag

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

POPULATION = 50  # where none is given
ATTEMPTS = 50  # children that are no new code, before a random code takes the place
ROUNDS = 20  # of breeding in NSGA-II, before random codes fill the generation
CROSSOVER = 0.9  # share of its children with two parents
HOPELESS = 1e30  # told to a strategy in place of values that are not finite: dominated by those of every other subnet
FORMAT = "edgeflownas search 1"
MARGIN = 0.1  # of the reference point beyond the front, in ranges of each objective
POINTS = 100  # of a curve


# ---- strategies ----


class RandomSearch:
    """Uniform codes without repeats, and the interface of all strategies."""

    def __init__(self, *, candidates: Candidates, population: int, seed: int) -> None:
        self._candidates, self._population, self._seed = candidates, population, seed

    @property
    def batch(self) -> int:
        """How many archs it wants to be asked for next: they are evaluated together."""
        return self._population

    def propose(self, count: int) -> list[Arch]:
        """``count`` archs that were never proposed before; fewer, or none, where the space has no more."""
        return self._candidates.random(count)

    def tell(self, archs: Sequence[Arch], values: Floats) -> None:
        """Learn the values [A, objectives], smaller is better, of the archs proposed last."""


class Evolution(RandomSearch):
    """Regularised (aging) evolution: Real, Aggarwal, Huang, Le, AAAI 2019, algorithm 1.

    A parent is the best of a sample of the population (a quarter of it, with replacement); its child has one block
    with another option; the oldest member dies, however good.  A child that is no new code is drawn again.  Two
    departures.  A fifth of the population is bred at a time, as with that many parallel workers, so that the children
    share prefixes.  With several objectives "best" is the lower rank of non-dominated sorting, then the larger
    crowding distance (Deb et al. 2002); the paper has one objective.
    """

    def __init__(self, *, candidates: Candidates, population: int, seed: int) -> None:
        super().__init__(candidates=candidates, population=population, seed=seed)
        self._members: deque[tuple[Arch, Floats]] = deque(maxlen=population)
        self._draws = 0

    @property
    def batch(self) -> int:
        """The whole population at first, then a fifth of it."""
        return self._population if not self._members else max(1, self._population // 5)

    def propose(self, count: int) -> list[Arch]:
        """See :class:`RandomSearch`."""
        if not self._members:
            return self._candidates.random(count)
        order = standing(np.array([values for _, values in self._members]))
        found: list[Arch] = []
        while len(found) < count and (child := self._child(order) or self._candidates.random(1)):
            found += child
        return found

    def tell(self, archs: Sequence[Arch], values: Floats) -> None:
        """The archs join the population, the oldest leave it."""
        self._members.extend(zip(archs, values, strict=True))

    def _child(self, order: NDArray[np.int64]) -> list[Arch]:
        size, choices = len(self._members), self._candidates.space.choices
        variable = [place for place, choice in enumerate(choices) if len(choice.options) > 1]
        for _ in range(ATTEMPTS):
            drawn = uniforms(self._seed, "search.evolution", self._draws, count=max(2, size // 4) + 2)
            self._draws += 1
            rivals = (drawn[2:] * size).astype(int)
            digits = list(self._members[rivals[order[rivals].argmin()]][0])
            place = variable[int(drawn[0] * len(variable))]
            options = len(choices[place].options)
            digits[place] = (digits[place] + 1 + int(drawn[1] * (options - 1))) % options
            if child := self._candidates.take([digits], 1):
                return child
        return []


def standing(values: Floats) -> NDArray[np.int64]:
    """Place of each row of ``values`` [N, objectives], 0 is best: non-dominated rank, then crowding, then order.

    Rank and crowding distance as in Deb, Pratap, Agarwal, Meyarivan 2002 (NSGA-II), sections III-A and III-B.
    """
    rank, crowding = np.zeros(len(values), np.int64), np.zeros(len(values))
    left = np.arange(len(values))
    while left.size:
        layer = left[front(values[left])]
        for column in values[layer].T:
            order = column.argsort(kind="stable")
            ends = np.concatenate([[-np.inf], column[order], [np.inf]])
            crowding[layer[order]] += (ends[2:] - ends[:-2]) / (np.ptp(column) or 1.0)
        left = np.setdiff1d(left, layer)
        rank[left] += 1
    place = np.empty(len(values), np.int64)
    place[np.lexsort((-crowding, rank))] = np.arange(len(values))
    return place


class Nsga2(RandomSearch):
    """NSGA-II: Deb, Pratap, Agarwal, Meyarivan, IEEE Trans. Evol. Comput. 6(2), 2002, by the library pymoo.

    A generation of ``population`` children of binary tournaments; the best of parents and children survive.  pymoo
    selects parents and survivors, its random numbers come from one generator of its own; codes are bred here, because
    its operators know neither digits with unlike numbers of options nor a list of codes that must not come back.  A
    child takes each digit from either parent (uniform crossover, nine times of ten) and changes each to another option
    with probability 1 / blocks, at least one where it equals a parent.  Codes proposed before are bred again, and after
    some rounds random ones take their place.
    """

    def __init__(self, *, candidates: Candidates, population: int, seed: int) -> None:
        super().__init__(candidates=candidates, population=population, seed=seed)
        try:
            from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
            from pymoo.core.population import Population
            from pymoo.operators.selection.tournament import TournamentSelection
        except ImportError as error:
            raise ConfigError(
                f'--strategy nsga2 needs the package pymoo ({error}): pip install "edgeflownas[search]", or use '
                "--strategy evolution or random, which need nothing"
            ) from error
        self._population_of = Population
        self._select = TournamentSelection(func_comp=binary_tournament)
        self._options = np.array([len(choice.options) for choice in candidates.space.choices])
        self._algorithm = NSGA2(pop_size=population, mating=self, eliminate_duplicates=False)
        self._asked: Any = None

    def propose(self, count: int) -> list[Arch]:
        """See :class:`RandomSearch`."""
        if not self._algorithm.is_initialized:
            found = self._candidates.random(count)
            self._asked = self._population_of.new(X=np.array(found))
            return found
        self._algorithm.n_offsprings = count
        self._asked = self._algorithm.ask()
        return [] if self._asked is None else [self._candidates.space.arch(digits) for digits in self._digits()]

    def tell(self, archs: Sequence[Arch], values: Floats) -> None:
        """See :class:`RandomSearch`."""
        assert [tuple(digits) for digits in self._digits()] == list(archs), "told of other archs than were proposed"
        if not self._algorithm.is_initialized:
            from pymoo.core.problem import Problem as Objectives
            from pymoo.core.termination import NoTermination

            self._algorithm.initialization.sampling = self._asked
            objectives = Objectives(n_var=len(self._options), n_obj=values.shape[1], vtype=int)
            self._algorithm.setup(objectives, termination=NoTermination(), seed=self._seed)
            self._asked = self._algorithm.ask()
        self._asked.set("F", values)
        self._algorithm.tell(infills=self._asked)

    def do(self, problem: Any, pop: Any, count: int, random_state: np.random.Generator, **rest: Any) -> Any:
        """Pymoo's slot for breeding: parents by its tournament, children by digits, only codes that are new and fit."""
        found: list[Arch] = []
        for _ in range(ROUNDS):
            parents = self._select(problem, pop, count, n_parents=2, random_state=random_state, **rest)
            digits = np.array([[one.X for one in pair] for pair in parents], dtype=np.int64)  # [count, 2, blocks]
            found += self._candidates.take(self._bred(digits, random_state).tolist(), count - len(found))
            if len(found) == count:
                break
        found += self._candidates.random(count - len(found))
        return self._population_of.new(X=np.array(found)) if found else self._population_of.create()

    def _bred(self, parents: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        first, second = parents[:, 0], parents[:, 1]
        mixed = (random.random(first.shape) < 0.5) & (random.random((len(first), 1)) < CROSSOVER)
        child = np.where(mixed, second, first)
        changed = random.random(child.shape) < 1.0 / child.shape[1]
        step = 1 + (random.random(child.shape) * (self._options - 1)).astype(np.int64)
        return np.where(changed & (self._options > 1), (child + step) % self._options, child)

    def _digits(self) -> list[list[int]]:
        return [[int(digit) for digit in digits] for digits in self._asked.get("X")]


STRATEGIES: dict[str, type[RandomSearch]] = {"nsga2": Nsga2, "random": RandomSearch, "evolution": Evolution}


def new_strategy(name: str, *, candidates: Candidates, population: int = POPULATION, seed: int = 0) -> RandomSearch:
    """A strategy by name.  Raises ConfigError for a name that is none, and for nsga2 without the package pymoo."""
    if name not in STRATEGIES:
        raise ConfigError(f"--strategy {name!r} is unknown: {', '.join(STRATEGIES)}, or all")
    return STRATEGIES[name](candidates=candidates, population=population, seed=seed)


# ---- the journal ----


class Entry(NamedTuple):
    """An evaluated arch, its objectives in the order of the search, and the generation that proposed it."""

    arch: Arch
    values: tuple[float, ...]
    generation: int


class Journal:
    """JSON lines, never rewritten: a header with all that decides the search, then entries in the order of evaluation.

    ``signature`` is what decides proposals and values, ``objectives`` among it, and not the budget; ``note`` is told
    when a line torn by a kill is dropped.

    Raises:
        ConfigError: the journal of another search, with what differs; DataError: a line that is no entry; StorageError.
    """

    def __init__(
        self, path: Path, space: SearchSpace, signature: Mapping[str, Any], note: Callable[[str], None] = print
    ) -> None:
        self.path, self._space, self._names = path, space, list(signature["objectives"])
        self._log = JsonLog(path)
        header = {"format": FORMAT, "signature": dict(signature)}
        with storing(path, "read"):
            data = read_file(path) if path.exists() else b""
        *lines, torn = data.split(b"\n")
        if torn:
            if not lines and not encoded(row_text(header)).startswith(torn):
                raise ConfigError(f"{path}: is no journal of a search; choose another --out")
            note(f"{path}: the last line was cut off by a kill: dropped")
            self._log.truncate(len(data) - len(torn))
        if lines:
            self._require_same(lines[0], parse_json(encoded(row_text(header)))["signature"])
        else:
            self._log.append(header)
        self.entries = [self._entry(number, line) for number, line in enumerate(lines[1:], 2)]

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries and bring them to the disk.  Raises StorageError."""
        for entry in entries:
            values = dict(zip(self._names, entry.values, strict=True))
            self._log.append({"code": str(entry.arch), "generation": entry.generation, "values": values})
        self._log.sync()
        self.entries.extend(entries)

    def _require_same(self, header: bytes, now: Mapping[str, Any]) -> None:
        try:
            found = parse_json(header)
            then = dict(found["signature"])
            if found["format"] != FORMAT:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"{self.path}: is no journal of a search of this version; choose another --out") from None
        if other := [key for key in {**now, **then} if then.get(key) != now.get(key)]:
            told = "; ".join(f"{key} {then.get(key)!r} then, {now.get(key)!r} now" for key in other)
            raise ConfigError(f"{self.path}: the journal of another search ({told}); choose another --out")

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            row = parse_json(line)
            if row.keys() != {"code", "generation", "values"} or list(row["values"]) != sorted(self._names):
                raise ValueError("other keys than code, generation, values, or other objectives")
            values = tuple(float(row["values"][name]) for name in self._names)
            return Entry(self._space.parse(row["code"]), values, int(row["generation"]))
        except (ValueError, TypeError, AttributeError) as error:
            remedy = "remove the lines from there on, they are evaluated again"
            raise DataError(f"{self.path} line {number}: no entry of a search ({error}); {remedy}") from None


# ---- the search ----


class Ended(NamedTuple):
    """One search of a strategy and seed, with its folder and the evaluated archs in order."""

    strategy: str
    seed: int
    folder: Path
    entries: list[Entry]


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

    ``jobs`` are the strategy and the seed of each, ``place`` is the folder of the one search, or of the folders of
    several.  ``agree`` is asked before archs are evaluated: estimated seconds of one, how many are evaluated together,
    and how many are left.  Raises Interrupted after a signal; ConfigError, DataError, StorageError.
    """
    problem.require_room(budget)
    candidates = [Candidates(problem.space, problem.fits, seed) for _, seed in jobs]
    strategies = [
        new_strategy(name, candidates=own, population=population, seed=seed)
        for (name, seed), own in zip(jobs, candidates, strict=True)
    ]
    ended = []
    for (name, seed), strategy in zip(jobs, strategies, strict=True):
        folder = place if len(jobs) == 1 else place / f"{name}-seed{seed}"
        signature = {**problem.facts, **_asked(problem, population), "strategy": name, "seed": seed}
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
    strategy: RandomSearch,
    journal: Journal,
    budget: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Entry]:
    """Evaluate up to ``budget`` archs, a generation at a time; returns the entries, fewer where no code was left.

    What the journal holds is told to the (new) strategy instead of being evaluated, and counts for the budget.  A
    generation that the journal holds in part (a kill, or a budget that has been raised) is evaluated as a whole once
    more, because the last bits of a value may depend on what is evaluated with it; entries that were written stay.  So
    the journal of an interrupted search is that of an uninterrupted one, byte for byte.

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
        for entry, arch in zip(known, wanted, strict=False):
            if entry.arch != arch or entry.generation != generation:
                raise DataError(
                    f"{journal.path}: holds {entry.arch} of generation {entry.generation} where this search proposes "
                    f"{arch} of generation {generation}: it was edited, or made with other versions of numpy or pymoo; "
                    "give another --out"
                )
        if len(known) < len(wanted):
            rows = zip(wanted, problem.values(wanted).tolist(), strict=True)
            entries = [Entry(arch, tuple(values), generation) for arch, values in rows]
            journal.append(entries[len(known) :])
        done += journal.entries[len(done) : len(done) + len(wanted)]
        progress(len(done))
        if len(wanted) == len(proposed):
            strategy.tell(proposed, _values(done[-len(proposed) :], len(problem.objectives), HOPELESS))
        generation += 1
    return done


def _values(entries: Sequence[Entry], objectives: int, unknown: float = np.nan) -> Floats:
    """Objectives [A, K], ``unknown`` throughout for a subnet of which one is not finite."""
    values = np.array([entry.values for entry in entries], dtype=np.float64).reshape(-1, objectives)
    return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, unknown)


# ---- what came of it ----


def outcome(
    problem: Problem, ended: Sequence[Ended], population: int, exact: Mapping[Arch, Floats] | None
) -> dict[str, Any]:
    """Fronts of every search and, with ``exact`` (objectives [K] of every subnet that fits), the curves.

    The curve of a strategy is the share of the exact front's hypervolume after so many evaluations: mean, lowest and
    highest over its seeds.  Raises DataError for values that are not those of ``exact``: of other weights or samples.
    """
    searches = [
        {
            "strategy": one.strategy,
            "seed": one.seed,
            "evaluated": len(one.entries),
            "generations": one.entries[-1].generation + 1 if one.entries else 0,
            "journal": str(one.folder / "journal.jsonl"),
            "front": _front(problem, one.entries),
        }
        for one in ended
    ]
    curve = None if exact is None else _curve(problem, ended, population, exact)
    found = {"zero_flow_epe": problem.zero_flow_epe, "searches": searches, "curve": curve}
    return {"space": problem.space.name, **_asked(problem, population), **found}


def _asked(problem: Problem, population: int) -> dict[str, Any]:
    where = ",".join(map(str, problem.where))
    return {"objectives": list(problem.objectives), "where": where, "population": population}


def _front(problem: Problem, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Rows by the first objective: code, objectives, the other costs, blocks in words, when it was evaluated."""
    values = _values(entries, len(problem.objectives))
    members = np.flatnonzero(front(values))
    members = members[np.lexsort(values[members].T[::-1])]
    if not members.size:
        return []
    archs = [entries[place].arch for place in members.tolist()]
    costs, words = problem.costs(archs), block_words(problem.space, archs)
    rows = []
    for row, place in enumerate(members.tolist()):
        arch, own, generation = entries[place]
        objectives = dict(zip(problem.objectives, own, strict=True))
        others = {name: column[row].item() for name, column in costs.items() if name not in objectives}
        options = {name: column[row] for name, column in words.items()}
        told = {"evaluation": place + 1, "generation": generation}
        rows.append({"code": str(arch), **objectives, **options, **others, **told})
    return rows


def reference_point(values: ArrayLike) -> Floats:
    """The worst value of each objective on the front of ``values`` [A, K], and a tenth of its range beyond it: [K].

    So that the ends of the front count, and subnets that are worse than all of it do not.  Where the front
    is a single value, a tenth of that value (of 1 where it is 0) beyond it.
    """
    table = np.asarray(values, dtype=np.float64)
    members = table[front(table)]
    worst, span = members.max(axis=0), np.ptp(members, axis=0)
    scale = np.where(span > 0, span, np.where(worst != 0, np.abs(worst), 1.0))
    return np.asarray(worst + MARGIN * scale, dtype=np.float64)


def shares(values: ArrayLike, exact: ArrayLike, reference: ArrayLike, counts: Sequence[int]) -> list[float]:
    """Hypervolume of the first ``counts[i]`` rows of ``values`` [A, K] as a share of that of ``exact`` [F, K].

    Both up to ``reference`` [K]; a search that ended before a count keeps its last share.
    """
    table, whole = np.asarray(values, dtype=np.float64), hypervolume(exact, reference)
    found, result = table[:0], []
    for before, count in itertools.pairwise([0, *counts]):
        found = np.concatenate([found, table[before:count]])
        found = found[front(found)]
        result.append(hypervolume(found, reference) / whole)
    return result


def _curve(problem: Problem, ended: Sequence[Ended], population: int, exact: Mapping[Arch, Floats]) -> dict[str, Any]:
    table = np.array(list(exact.values()))
    members = table[front(np.where(np.isfinite(table), table, np.nan))]
    if not members.size:
        raise DataError("the ranking compared with has no subnet with finite values")
    reference = reference_point(members)
    most = max(len(one.entries) for one in ended)
    doublings = {population * 2**power for power in range(64) if population * 2**power < most} | {most}
    step = max(1, most // POINTS)
    counts = sorted({*range(step, most + 1, step), *doublings})
    curves: dict[str, list[list[float]]] = {}
    spread: dict[str, Callable[..., Any]] = {"mean": np.mean, "lowest": np.min, "highest": np.max}
    for one in ended:
        for entry in one.entries:
            known = exact[entry.arch]
            if not np.allclose(entry.values, known, rtol=1e-3, atol=1e-3, equal_nan=True):
                rows = (entry.values, known.tolist())
                found, there = (dict(zip(problem.objectives, row, strict=True)) for row in rows)
                raise DataError(
                    f"{one.folder / 'journal.jsonl'}: {entry.arch} has {found}, but {there} in the ranking compared "
                    "with: that is of another checkpoint, other samples or another image size; rank this run, or leave "
                    "--compare out"
                )
        curve = shares(_values(one.entries, len(reference)), members, reference, counts)
        curves.setdefault(one.strategy, []).append(curve)
    return {
        "reference": dict(zip(problem.objectives, reference.tolist(), strict=True)),
        "exact_front": len(members),
        "shown": [count for count in counts if count in doublings],
        "evaluations": counts,
        "strategies": {
            name: {word: of(own, axis=0).tolist() for word, of in spread.items()} | {"seeds": len(own)}
            for name, own in curves.items()
        },
    }
