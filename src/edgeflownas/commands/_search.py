"""What `edgeflownas search` asks: a run by its evaluator, or a ranking of the whole space by looking it up."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.ranking import Ranking, is_figure, read_ranking
from edgeflownas.evaluate.where import Condition, parse_where
from edgeflownas.search.hypervolume import MOST_OBJECTIVES
from edgeflownas.search.problem import Columns, Problem
from edgeflownas.space import Arch, SearchSpace, get_space

__all__ = ["Source", "Wishes", "exact_values", "run_source", "table_source", "whole_ranking"]


_Parsed = tuple[tuple[str, ...], tuple[Condition, ...]]


@dataclass(frozen=True)
class Wishes:
    """``--minimise`` and ``--where`` as they were given."""

    minimise: str
    where: str

    def over(self, space: SearchSpace, measured: Sequence[str], costs: Sequence[str]) -> _Parsed:
        """Both against the columns there are.  Raises ConfigError."""
        objectives = tuple(name.strip() for name in self.minimise.split(","))
        known = [*measured, *costs]
        for name in objectives:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"--minimise {name!r}: there is no such column{hint} (known: {', '.join(known)})")
        if len(set(objectives)) < len(objectives) or not set(objectives) & set(measured):
            raise ConfigError(
                f"--minimise {self.minimise}: name each column once, and {' or '.join(measured[:2])} among them: costs "
                "alone need no search"
            )
        if len(objectives) > MOST_OBJECTIVES:
            raise ConfigError(f"--minimise {self.minimise}: at most {MOST_OBJECTIVES} columns; make others a --where")
        conditions = parse_where(self.where, [*known, *(choice.name for choice in space.choices)])
        for condition in conditions:
            if condition.name in measured:
                raise ConfigError(
                    f"--where {condition}: {condition.name} is known only after the evaluation; conditions are over "
                    f"costs ({', '.join(costs)}) and digits of blocks. `edgeflownas pareto` takes it"
                )
        return objectives, tuple(conditions)


@dataclass(frozen=True)
class Source:
    """What is searched, what identifies it in a journal, where results go by default, and what it will cost."""

    problem: Problem
    facts: dict[str, Any]
    folder: Path
    seconds: Callable[[Sequence[Arch]], float] | None = None
    """What evaluating some archs together will take, estimated; None where it is only a look-up."""


def whole_ranking(path: Path) -> tuple[Ranking, SearchSpace]:
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


def table_source(path: Path, wishes: Wishes) -> Source:
    """A search that looks values up in a ranking.  Raises ConfigError, DataError."""
    ranking, space = whole_ranking(path)
    names = [name for name in ranking.columns if name not in ("rank", "samples")]
    measured = [name for name in names if is_figure(name)]
    costs = [name for name in names if not is_figure(name)]
    objectives, where = wishes.over(space, measured, costs)
    places = {space.parse(code): place for place, code in enumerate(ranking.codes)}

    def columns(wanted: Sequence[str]) -> Callable[[Sequence[Arch]], Columns]:
        return lambda archs: {name: ranking.columns[name][[places[arch] for arch in archs]] for name in wanted}

    digest = hashlib.sha256("\n".join(ranking.codes).encode())
    for name in sorted({*objectives, *(c.name for c in where if c.name in costs)}):
        digest.update(np.ascontiguousarray(ranking.columns[name], dtype="<f8").tobytes())
    facts = {"source": "table", "space": space.name, "table": digest.hexdigest()[:16]}
    folder = path if path.is_dir() else path.parent
    return Source(Problem(space, objectives, where, columns(costs), columns(measured)), facts, folder)


def run_source(
    path: Path, overrides: Sequence[str], checkpoint: str, wishes: Wishes, note: Callable[[str], None]
) -> Source:
    """A search that evaluates subnets of a run on its frozen sets.  Raises as open_source and :meth:`Wishes.over`."""
    from edgeflownas.evaluate.tree import TreeEvaluator
    from edgeflownas.hardware.costs import COLUMNS, space_costs
    from edgeflownas.search.ranking_source import Wanted, open_source
    from edgeflownas.train.machine import World

    run = open_source(Wanted(path, checkpoint, overrides=tuple(overrides)), World(), note)
    space, width = run.net.space, run.net.width
    tree = TreeEvaluator(run.net, run.calibration, list(run.sets.values()), flow_divisor=run.flow_divisor)
    objectives, where = wishes.over(space, list(run.sets), COLUMNS)

    def measure(archs: Sequence[Arch]) -> Columns:
        return {"epe": tree.epes(archs).numpy()}

    problem = Problem(space, objectives, where, lambda archs: space_costs(space, width, run.size, archs), measure)
    return Source(
        problem,
        {"source": "run", **{key: value for key, value in run.facts.items() if key != "run"}},
        path,
        lambda archs: tree.estimate(archs).seconds,
    )


def exact_values(path: Path, problem: Problem) -> dict[Arch, NDArray[np.float64]]:
    """Objectives [K] of every subnet that fits the conditions, by a ranking of the whole space.

    Raises:
        ConfigError: a ranking of another space, or without an objective.
        DataError: no ranking, or not of the whole space.
    """
    ranking, space = whole_ranking(path)
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
