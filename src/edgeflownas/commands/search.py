"""``edgeflownas search``: good subnets of a space that is too large to rank, by NSGA-II or a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeflownas.commands._shared import Overrides, example, may_begin
from edgeflownas.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from edgeflownas.commands._search import Source
    from edgeflownas.report.console import Console
    from edgeflownas.search.journal import Entry
    from edgeflownas.search.outcome import Ended
    from edgeflownas.search.strategies import Strategy

__all__ = ["search"]

ENUMERABLE = 2**17  # subnets whose conditions are checked one by one before a search, to see whether the budget fits
POPULATION = 50  # where none is given


class Settings(NamedTuple):
    """The options that decide how far a search goes, and whether it asks before."""

    budget: int
    population: int
    ask: bool


def search(
    run: Path | None = None,
    /,
    *,
    table: Path | None = None,
    strategy: str = "nsga2",
    budget: int = 800,
    minimise: str = "epe,macs",
    where: str = "",
    population: int | None = None,
    seed: int = 0,
    seeds: str | None = None,
    compare: Path | None = None,
    checkpoint: str | None = None,
    out: Path | None = None,
    yes: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Search subnets of a run for the best trade-off.

    Example: edgeflownas search RUN [--budget 800], or edgeflownas search --table RANKING

    For spaces too large for `edgeflownas rank`. No subnet is evaluated twice; a generation is evaluated together, so
    that its prefixes are shared. The same command goes on where it was stopped; a larger --budget carries it further.
    docs/search.md explains strategies and files.

    Args:
        run: run directory.
        table: a ranking of a whole space, in place of a run: values are looked up, a search takes seconds.
        strategy: nsga2, evolution, random, or all.
        budget: evaluated subnets, those of an earlier start included.
        minimise: columns, smaller is better: epe, macs, parameters, int8_weight_kib, sram_kib.
        where: conditions on costs and digits of blocks, such as "macs<2e9,EB0<=1": other subnets are not proposed.
        population: subnets of a generation, and those that survive it; default: 50, or the budget where it is smaller.
        seed: of the proposals.
        seeds: several searches, such as 0,1,2.
        compare: a ranking of the whole space (--table: that one): share of its hypervolume against evaluations.
        checkpoint: of the run: latest (the default), best, or a name such as step-00001234.
        out: folder for journals and results; default: search/ in the run's or the ranking's folder.
        yes: do not ask before a long search.
        json: machine-readable result on stdout.
        overrides: configuration keys that are others here, such as --data.val_dir DIR where the data moved.
    """
    _require_one(run, table, bool(overrides) or compare is not None or checkpoint is not None)
    population = _population(population, budget)
    jobs = _jobs(strategy, seed, seeds)

    from edgeflownas.commands._search import Wishes, exact_values, run_source, table_source
    from edgeflownas.report.console import Console

    console, wishes = Console(), Wishes(minimise, where)
    place_of_run = (Path(str(run)), overrides, checkpoint or "latest")
    source = table_source(table, wishes) if table else run_source(*place_of_run, wishes, console.info)
    _require_varied(source)
    place = out or source.folder / "search" / (f"{strategy}-seed{seed}" if len(jobs) == 1 else strategy)
    exact = exact_values(ranking, source.problem) if (ranking := table or compare) else None
    ended = _search_all(source, jobs, place, Settings(budget, population, not yes), console)

    from edgeflownas.report.search_files import search_json, search_text, write_search
    from edgeflownas.search.outcome import outcome

    document = {"source": source.facts, **outcome(source.problem, ended, population, exact)}
    written = write_search(place, document, console.warn)
    print(search_json(document) if json else search_text(document))
    console.wrote(written)
    return 0


def _require_one(run: Path | None, table: Path | None, options_of_runs: bool) -> None:
    if (run is None) == (table is None):
        raise ConfigError(f"give a run directory or --table: {example(search)}")
    if table is not None and options_of_runs:
        raise ConfigError("--table takes no --compare (it is the ranking compared with), no --checkpoint and no keys")


def _population(given: int | None, budget: int) -> int:
    if budget < 4:
        raise ConfigError(f"--budget {budget}: must be at least 4")
    population = min(POPULATION, budget) if given is None else given
    if not 4 <= population <= budget:
        raise ConfigError(f"--population {population}: must be at least 4, and not above --budget {budget}")
    return population


def _require_varied(source: Source) -> None:
    """Refuse a cost that is the same for all of many subnets: it would decide nothing."""
    from edgeflownas.search.candidates import Candidates

    problem, space = source.problem, source.problem.space
    archs = list(space) if len(space) <= ENUMERABLE else Candidates(space).random(1000)
    for name, column in problem.costs(archs).items():
        if name in problem.objectives and len(archs) > 1 and column.min() == column.max():
            raise ConfigError(
                f"--minimise {name}: it is {column[0]:g} for every subnet and decides nothing here (docs/cost.md); "
                "leave it out, or take macs or int8_weight_kib"
            )


def _jobs(strategy: str, seed: int, seeds: str | None) -> list[tuple[str, int]]:
    numbers = str(seed) if seeds is None else seeds
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in numbers.split(",")):
        raise ConfigError(f"--seed{'' if seeds is None else 's'} {numbers}: whole numbers from 0 expected")
    if seeds is not None and seed:
        raise ConfigError("give --seed or --seeds, not both")
    from edgeflownas.search.strategies import STRATEGIES

    names = list(STRATEGIES) if strategy == "all" else [strategy]
    return [(name, number) for name in names for number in dict.fromkeys(map(int, numbers.split(",")))]


def _search_all(
    source: Source, jobs: list[tuple[str, int]], place: Path, settings: Settings, console: Console
) -> list[Ended]:
    """Every search, one after the other; strategies and budget are checked before the first begins."""
    from edgeflownas.search.outcome import Ended
    from edgeflownas.train.machine import StopFlag

    _require_room(source, settings.budget)
    strategies = [_strategy(source, name, seed, settings) for name, seed in jobs]
    ended = []
    for (name, seed), strategy in zip(jobs, strategies, strict=True):
        folder = place if len(jobs) == 1 else place / f"{name}-seed{seed}"
        try:
            with StopFlag.at_once():
                entries = _one(source, name, seed, folder, strategy, settings, console)
        except Interrupted:
            raise Interrupted(f"{folder}: finished generations are kept; the same command goes on") from None
        if len(entries) < settings.budget:
            console.warn(f"{name}: no further code that fits --where was found after {len(entries)} evaluations")
        ended.append(Ended(name, seed, folder, entries))
    return ended


def _one(
    source: Source, name: str, seed: int, folder: Path, strategy: Strategy, settings: Settings, console: Console
) -> list[Entry]:
    from edgeflownas.files import storing
    from edgeflownas.run.lock import RunLock
    from edgeflownas.search.journal import Journal
    from edgeflownas.search.loop import run_search

    problem = source.problem
    signature = {
        **source.facts,
        "objectives": list(problem.objectives),
        "where": ",".join(map(str, problem.where)),
        "strategy": name,
        "seed": seed,
        "population": settings.population,
    }
    with storing(folder, "make the folder"):
        folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    lock.acquire()
    try:
        journal = Journal(folder / "journal.jsonl", problem.space, signature, console.warn)
        left = settings.budget - len(journal.entries)
        if left > 0:
            _tell_cost(source, left, settings, console)
        with console.task(f"search {name} seed {seed}", settings.budget) as meter:
            return run_search(problem, strategy, journal, settings.budget, meter.update)
    finally:
        lock.release()


def _tell_cost(source: Source, left: int, settings: Settings, console: Console) -> None:
    """Say what a first generation and the evaluations that are left will take; ask where it is long."""
    if source.seconds is None:
        return
    from edgeflownas.report.words import duration
    from edgeflownas.search.candidates import Candidates

    archs = Candidates(source.problem.space, source.problem.fits).random(settings.population)
    each = source.seconds(archs) / len(archs)
    whole = duration(each * left)
    console.info(f"about {each:.2g} s a subnet, {len(archs)} at a time with shared prefixes: {left} take about {whole}")
    if settings.ask and not may_begin(each * left, f"lower --budget {left}"):
        raise ConfigError("nothing was evaluated")


def _strategy(source: Source, name: str, seed: int, settings: Settings) -> Strategy:
    from edgeflownas.search.candidates import Candidates
    from edgeflownas.search.strategies import new_strategy

    candidates = Candidates(source.problem.space, source.problem.fits, seed)
    return new_strategy(name, candidates=candidates, population=settings.population, seed=seed)


def _require_room(source: Source, budget: int) -> None:
    problem = source.problem
    size = len(problem.space)
    if problem.where and size <= ENUMERABLE:
        size = int(problem.fits(list(problem.space)).sum())
    if budget > size:
        which = " that fit --where" if problem.where else ""
        raise ConfigError(
            f"--budget {budget}: space {problem.space.name!r} has {size} subnets{which}; lower it, or rank them all "
            "with `edgeflownas rank`"
        )
