"""What is searched: a space, what is known of a code beforehand, and what only an evaluation gives.

A problem is a run whose evaluator is asked, or a ranking of the whole space in which values are looked up.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.ranking import Ranking, is_figure, read_ranking
from edgeflownas.evaluate.where import Condition, holds, parse_where
from edgeflownas.search.candidates import Candidates
from edgeflownas.search.hypervolume import MOST_OBJECTIVES
from edgeflownas.space import Arch, SearchSpace, get_space

Columns = Mapping[str, NDArray[np.float64]]
ENUMERABLE = 2**17  # subnets whose conditions are checked one by one before a search, to see whether the budget fits


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
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What decides the values, for the journal."""
    seconds: Callable[[Sequence[Arch]], float] | None = None
    """What evaluating some archs together will take, estimated; None where it is only a look-up."""

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

    def require_room(self, budget: int) -> None:
        """Raises ConfigError for a budget of more evaluations than there are subnets to evaluate."""
        size = len(self.space)
        if self.where and size <= ENUMERABLE:
            size = int(self.fits(list(self.space)).sum())
        if budget > size:
            which = " that fit --where" if self.where else ""
            raise ConfigError(
                f"--budget {budget}: space {self.space.name!r} has {size} subnets{which}; lower it, or rank them all "
                "with `edgeflownas rank`"
            )

    def require_varied(self) -> None:
        """Raises ConfigError for a cost that is the same for all of many subnets: it would decide nothing."""
        archs = list(self.space) if len(self.space) <= ENUMERABLE else Candidates(self.space).random(1000)
        for name, column in self.costs(archs).items():
            if name in self.objectives and len(archs) > 1 and column.min() == column.max():
                raise ConfigError(
                    f"--minimise {name}: it is {column[0]:g} for every subnet and decides nothing here (docs/cost.md); "
                    "leave it out, or take macs or int8_weight_kib"
                )


def run_problem(
    path: Path,
    overrides: Sequence[str],
    checkpoint: str,
    minimise: str,
    where: str,
    note: Callable[[str], None],
) -> Problem:
    """A search that evaluates subnets of a run on its frozen sets.  Raises as open_job and a bad objective."""
    from edgeflownas.hardware.costs import COLUMNS, space_costs  # here: a look-up needs no network
    from edgeflownas.search.ranking import open_job

    job = open_job(path, overrides, note, checkpoint=checkpoint)
    tree, space = job.tree(), job.net.space
    objectives, conditions = _parsed(minimise, where, space, list(job.sets), COLUMNS)
    return Problem(
        space,
        objectives,
        conditions,
        lambda archs: space_costs(*job.network, archs),
        lambda archs: {"epe": tree.epes(archs).numpy()},
        {"source": "run", **{key: value for key, value in job.facts.items() if key != "run"}},
        lambda archs: tree.estimate(archs).seconds,
    )


def table_problem(path: Path, minimise: str, where: str) -> Problem:
    """A search that looks values up in a ranking of the whole space.  Raises ConfigError, DataError."""
    ranking, space = _whole_ranking(path)
    names = [name for name in ranking.columns if name not in ("rank", "samples")]
    measured = [name for name in names if is_figure(name)]
    costs = [name for name in names if not is_figure(name)]
    objectives, conditions = _parsed(minimise, where, space, measured, costs)
    places = {space.parse(code): place for place, code in enumerate(ranking.codes)}

    def columns(wanted: Sequence[str]) -> Callable[[Sequence[Arch]], Columns]:
        return lambda archs: {name: ranking.columns[name][[places[arch] for arch in archs]] for name in wanted}

    digest = hashlib.sha256("\n".join(ranking.codes).encode())
    for name in sorted({*objectives, *(c.name for c in conditions if c.name in costs)}):
        digest.update(np.ascontiguousarray(ranking.columns[name], dtype="<f8").tobytes())
    facts = {"source": "table", "space": space.name, "table": digest.hexdigest()[:16]}
    return Problem(space, objectives, conditions, columns(costs), columns(measured), facts)


def _parsed(
    minimise: str, where: str, space: SearchSpace, measured: Sequence[str], costs: Sequence[str]
) -> tuple[tuple[str, ...], tuple[Condition, ...]]:
    """``--minimise`` and ``--where`` against the columns there are.  Raises ConfigError."""
    objectives = tuple(name.strip() for name in minimise.split(","))
    known = [*measured, *costs]
    for name in objectives:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"--minimise {name!r}: there is no such column{hint} (known: {', '.join(known)})")
    if len(set(objectives)) < len(objectives) or not set(objectives) & set(measured):
        raise ConfigError(
            f"--minimise {minimise}: name each column once, and {' or '.join(measured[:2])} among them: costs "
            "alone need no search"
        )
    if len(objectives) > MOST_OBJECTIVES:
        raise ConfigError(f"--minimise {minimise}: at most {MOST_OBJECTIVES} columns; make others a --where")
    conditions = parse_where(where, [*known, *(choice.name for choice in space.choices)])
    for condition in conditions:
        if condition.name in measured:
            raise ConfigError(
                f"--where {condition}: {condition.name} is known only after the evaluation; conditions are over "
                f"costs ({', '.join(costs)}) and digits of blocks. `edgeflownas pareto` takes it"
            )
    return objectives, tuple(conditions)


def _whole_ranking(path: Path) -> tuple[Ranking, SearchSpace]:
    """A ranking that holds every subnet of its space.  Raises DataError."""
    ranking = read_ranking(path)
    if not ranking.space:
        raise DataError(f"{path}: its blocks are those of no known search space")
    space = get_space(ranking.space)
    if len(ranking) != len(space):
        raise DataError(
            f"{path}: {len(ranking)} of the {len(space)} subnets of space {space.name!r}: a ranking of the whole space "
            "is needed (edgeflownas rank RUN)"
        )
    return ranking, space


def exact_values(path: Path, problem: Problem) -> dict[Arch, NDArray[np.float64]]:
    """Objectives [K] of every subnet that fits the conditions, by a ranking of the whole space.

    Raises:
        ConfigError: a ranking of another space, or without an objective.
        DataError: no ranking, or not of the whole space.
    """
    ranking, space = _whole_ranking(path)
    if space.name != problem.space.name:
        raise ConfigError(
            f"--compare {path}: a ranking of space {space.name!r}, the search is in {problem.space.name!r}"
        )
    missing = sorted({*problem.objectives} - ranking.columns.keys())
    if missing:
        raise ConfigError(f"--compare {path}: it has no column {', '.join(missing)}")
    archs = [space.parse(code) for code in ranking.codes]
    table = np.stack([np.asarray(ranking.columns[name], np.float64) for name in problem.objectives], axis=1)
    fits = problem.fits(archs)
    return {arch: row for arch, row, wanted in zip(archs, table, fits, strict=True) if wanted}
