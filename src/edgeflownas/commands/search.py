"""``edgeflownas search``: good subnets of a space that is too large to rank, by NSGA-II or a baseline."""

from pathlib import Path

from edgeflownas.commands._shared import Csv, Json, OtherKeys, beside, emit, example, may_begin
from edgeflownas.errors import ConfigError


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
    csv: Csv | None = None,
    json: Json = False,
    overrides: OtherKeys = (),
) -> None:
    """Search subnets of a run for the best trade-off.

    Example: edgeflownas search RUN [--budget 800], or edgeflownas search --table RANKING

    For spaces too large for `edgeflownas rank`. No subnet is evaluated twice; a generation is evaluated together, so
    that its prefixes are shared. The same command goes on where it was stopped; a larger --budget carries it further.
    docs/search.md explains strategies and files.

    Args:
        run: run directory, or weights:NAME of a supernet.
        table: a ranking of a whole space, in place of a run: values are looked up, a search takes seconds.
        strategy: nsga2, evolution, random, or all.
        budget: evaluated subnets, those of an earlier start included.
        minimise: columns, smaller is better: epe, macs, parameters, int8_weight_kib, sram_kib.
        where: conditions on costs and options of blocks, such as "macs<2e9,EB0<=depth2": no other is proposed.
        population: subnets of a generation, and those that survive it; default: 50, or the budget where it is smaller.
        seed: of the proposals.
        seeds: several searches, such as 0,1,2.
        compare: a ranking of the whole space (--table: that one): share of its hypervolume against evaluations.
        checkpoint: of the run: latest (the default), best, or a name such as step-00001234.
        out: folder for journals and results; default: search/ in the run's or the ranking's folder, or NAME-search.
        yes: do not ask before a long search.
    """
    if (run is None) == (table is None):
        raise ConfigError(f"give a run directory or --table: {example(search)}")
    if table is not None and (overrides or compare is not None or checkpoint is not None):
        raise ConfigError("--table takes no --compare (it is the ranking compared with), no --checkpoint and no keys")

    from edgeflownas.report.console import Console
    from edgeflownas.report.table import duration
    from edgeflownas.report.views import search_view, write_search
    from edgeflownas.search.candidates import exact_values, run_problem, table_problem
    from edgeflownas.search.evolve import jobs_of, outcome, population_of, search_all

    population, jobs = population_of(population, budget), jobs_of(strategy, seed, seeds)
    console = Console()
    if table is not None:
        own = (table if table.is_dir() else table.parent) / "search"
        problem = table_problem(table, minimise, where)
    else:
        own = beside(Path(str(run)), "search")
        problem = run_problem(Path(str(run)), overrides, checkpoint or "latest", minimise, where, console.info)
    problem.require_varied()
    place = out or own / (f"{strategy}-seed{seed}" if len(jobs) == 1 else strategy)
    exact = exact_values(ranking, problem) if (ranking := table or compare) else None

    def agree(each: float, together: int, left: int) -> bool:
        took = f"{left} take about {duration(each * left)}"
        console.info(f"about {each:.2g} s a subnet, {together} at a time with shared prefixes: {took}")
        return yes or may_begin(each * left, f"lower --budget {left}")

    ended = search_all(problem, jobs, place, budget, population, console, agree)
    document = {"source": problem.facts, **outcome(problem, ended, population, exact)}
    written = write_search(place, document, console.warn)
    console.wrote(emit(document, search_view, json, csv) | written)
