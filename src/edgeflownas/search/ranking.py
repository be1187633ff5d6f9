"""Ranking a space: units of the prefix tree, dealt to ranks, each kept as soon as it is done, then one table.

A unit's figures depend neither on which units went before nor on who computes it, so the table is the same to the bit
whatever was interrupted and however many processes took part (on equal devices and threads).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeflownas.errors import DataError, Interrupted
from edgeflownas.evaluate.ranking import Ranking, write_ranking
from edgeflownas.evaluate.ranking_parts import assemble, part_of
from edgeflownas.evaluate.tree import TreeEvaluator
from edgeflownas.evaluate.tree.units import Estimate, Unit
from edgeflownas.hardware.costs import space_costs
from edgeflownas.hardware.latency import CostModel
from edgeflownas.search.ranking_folder import RankingFolder
from edgeflownas.search.ranking_source import Source
from edgeflownas.space import Arch
from edgeflownas.train.machine import StopFlag, World
from edgeflownas.train.step import StopRequested

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

__all__ = ["RankingJob", "Workload", "rank_space"]


@dataclass(frozen=True)
class Workload:
    """What is left to do, for the question before it begins."""

    estimate: Estimate
    subnets: int
    units: int
    units_done: int
    processes: int
    seconds: float
    disk_bytes: int


@dataclass(frozen=True)
class RankingJob:
    """Everything a ranking needs."""

    source: Source
    archs: Sequence[Arch]
    out: Path
    exact: bool = False
    memory: int | None = None
    keep_sample_errors: bool = False
    models: Sequence[CostModel] = ()
    """Further columns of the table, made by rank 0 at the end."""

    @property
    def facts(self) -> dict[str, str]:
        """What decides the bits of the table; ``memory`` and the number of processes do not."""
        path = "exact" if self.exact else "fast"
        kept = "kept as float16" if self.keep_sample_errors else "not kept"
        columns = " ".join(model.name for model in self.models) or "none"
        own = {"arithmetic": path, "sample_errors": kept, "cost_models": columns}
        for model in self.models:
            own |= model.facts
        if self.exact and self.source.facts["device"] == "cpu":  # the fast path gives each piece one thread
            own["threads"] = str(torch.get_num_threads())
        return {**self.source.facts, **own}


def rank_space(
    job: RankingJob, world: World, console: Console, agree: Callable[[Workload], bool]
) -> tuple[Ranking, dict[str, Path]] | None:
    """Evaluate what has no figures yet and write the table; the table and the files written on rank 0, None elsewhere.

    Args:
        job: what to rank.
        world: the ranks; every unit is one rank's.
        console: progress and news.
        agree: asked on rank 0 before anything is computed; None is returned where it says no.

    Raises:
        Interrupted: a signal came; finished units are kept.  ConfigError, DataError, StorageError.
    """
    stop = StopFlag()
    source = job.source
    sets = list(source.sets.values())
    divisor = source.flow_divisor
    evaluator = TreeEvaluator(
        source.net, source.calibration, sets, exact=job.exact, memory=job.memory, flow_divisor=divisor,
        check_stop=stop.check,
    )  # fmt: skip
    _require_pixels(source, evaluator)
    folder = RankingFolder(job.out, job.facts, job.archs)
    units = evaluator.units(job.archs)
    codes = [[job.archs[member] for member in unit.members] for unit in units]
    try:
        finished = folder.open() if world.is_main else None
        if world.share_json(finished is not None):
            return finished
        missing = world.share_json(folder.missing(codes, console.warn) if world.is_main else None)
        folder.require_shared()
        if missing and not world.share_json(_agreed(job, evaluator, units, missing, world, stop, agree)):
            return None
        own = missing[world.rank * len(missing) // world.size : (world.rank + 1) * len(missing) // world.size]
        _score(job, evaluator, folder, [(place, units[place], codes[place]) for place in own], console, stop)
        world.barrier()
        return _finish(job, evaluator, folder, units, codes) if world.is_main else None
    finally:
        if world.is_main:
            folder.close()


def _require_pixels(source: Source, evaluator: TreeEvaluator) -> None:
    for name, pixels in zip(source.sets, evaluator.pixels, strict=True):
        if int(pixels.sum()) == 0:
            raise DataError(f"{source.facts[name]}: not one valid pixel, so there is no EPE; check the flow files")


def _agreed(
    job: RankingJob,
    evaluator: TreeEvaluator,
    units: Sequence[Unit],
    missing: Sequence[int],
    world: World,
    stop: StopFlag,
    agree: Callable[[Workload], bool],
) -> bool:
    """Rank 0's answer, from a timed trial of what is left; every process is taken to be as fast as this one."""
    if not world.is_main:
        return False
    left = [job.archs[member] for place in missing for member in units[place].members]
    with _interruptible(stop, "nothing was begun"):
        estimate = evaluator.estimate(left)
    numbers = 2 * len(job.source.sets) + 4 + 10  # columns of a part and of the table
    errors = 4 + 2 * job.keep_sample_errors
    disk = len(job.archs) * (8 * numbers + 400 + errors * len(evaluator.pixels[0]))  # 400: a row of the CSV
    done = len(units) - len(missing)
    return agree(Workload(estimate, len(left), len(units), done, world.size, estimate.seconds / world.size, disk))


@contextmanager
def _interruptible(stop: StopFlag, kept: str) -> Iterator[None]:
    """Signals are noted and end the work between two pieces of it."""
    try:
        with stop.listening():
            yield
    except StopRequested:
        raise Interrupted(f"{stop.reason}: {kept}; give the same command again to go on") from None


def _score(
    job: RankingJob,
    evaluator: TreeEvaluator,
    folder: RankingFolder,
    own: Sequence[tuple[int, Unit, list[Arch]]],
    console: Console,
    stop: StopFlag,
) -> None:
    """Evaluate this rank's units and keep each."""
    names = list(job.source.sets)
    kept = f"finished units are kept in {folder.parts}"
    with _interruptible(stop, kept), console.task("rank", sum(len(codes) for _, _, codes in own)) as meter:
        scored = evaluator.score(job.archs, [unit for _, unit, _ in own])
        for (place, _, codes), scores in zip(own, scored, strict=True):
            folder.write(place, codes, part_of(names, scores.sums, evaluator.pixels))
            meter.advance(len(codes))


def _finish(
    job: RankingJob,
    evaluator: TreeEvaluator,
    folder: RankingFolder,
    units: Sequence[Unit],
    codes: Sequence[list[Arch]],
) -> tuple[Ranking, dict[str, Path]]:
    """Make the table of all parts, add the costs, write it, and remove the parts."""
    source = job.source
    ranking = assemble(
        source.net.space,
        job.archs,
        [unit.members for unit in units],
        lambda place: folder.read_again(place, codes[place]),
        evaluator.pixels[0].cpu().numpy(),
        job.facts,
        job.keep_sample_errors,
    )
    if source.order is not None and ranking.sample_epe is not None and ranking.valid_pixels is not None:
        back = np.argsort(source.order)
        ranking = replace(ranking, sample_epe=ranking.sample_epe[:, back], valid_pixels=ranking.valid_pixels[back])
    place = (source.net.space, source.net.width, source.size, job.archs)
    columns = {**ranking.columns, **space_costs(*place)}
    for model in job.models:
        columns |= model.costs(*place)
    ranking = replace(ranking, columns=columns)
    files = write_ranking(job.out, ranking)
    folder.clear()
    return ranking, files
