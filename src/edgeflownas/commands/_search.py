"""What `edgeflownas search` asks: a run by its evaluator, or a ranking of the whole space by looking it up."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.ranking import Ranking, is_figure, read_ranking
from edgeflownas.evaluate.where import Condition, parse_where
from edgeflownas.search.hypervolume import MOST_OBJECTIVES
from edgeflownas.search.problem import Columns, Problem
from edgeflownas.space import Arch, SearchSpace, get_space

if TYPE_CHECKING:
    from edgeflownas.evaluate.tree import TreeEvaluator
    from edgeflownas.report.console import Console
    from edgeflownas.train.reading import ReadRun

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


def run_source(path: Path, overrides: list[str], checkpoint: str, wishes: Wishes, console: Console) -> Source:
    """A search that evaluates subnets of a run on its frozen sets.  Raises as read_run and :meth:`Wishes.over`."""
    from edgeflownas.hardware.costs import COLUMNS, space_costs
    from edgeflownas.train.reading import read_configs, read_run
    from edgeflownas.train.rundir import RunDirectory
    from edgeflownas.train.setup import run_space

    _, config = read_configs(RunDirectory.open(path), overrides, lambda text: None, what="a search")
    space, width, size = run_space(config), config.train.width, config.data.crop_size
    objectives, where = wishes.over(space, ["epe"], COLUMNS)  # before weights and data are read
    run = read_run(path, checkpoint, overrides=overrides, note=console.info)
    tree = _evaluator(run)
    facts = {
        "source": "run",
        "space": space.name,
        "checkpoint": run.checkpoint.hash,
        "eval_set": run.eval_set.hash,
        "calibration_set": run.eval_set.calibration_hash,
        "size": list(size),
    }

    def measure(archs: Sequence[Arch]) -> Columns:
        return {"epe": tree.epes(archs).numpy()}

    problem = Problem(space, objectives, where, lambda archs: space_costs(space, width, size, archs), measure)
    return Source(problem, facts, path, lambda archs: tree.estimate(archs).seconds)


def _evaluator(run: ReadRun) -> TreeEvaluator:
    from edgeflownas.evaluate.evalset import FrozenBatches
    from edgeflownas.evaluate.tree import TreeEvaluator

    first = next(run.net.parameters())
    place = (run.eval_set.flow_clip, first.device, first.dtype, run.net.input_form)
    calibration = FrozenBatches(run.eval_set.calibration, run.train, *place)
    evaluation = FrozenBatches(run.eval_set.evaluation, run.val, *place)
    return TreeEvaluator(run.net, calibration, [evaluation], flow_divisor=run.config.data.flow_divisor)


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
