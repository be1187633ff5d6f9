"""Ranking a space: a supernet with its batches, units of the prefix tree dealt to ranks, then one table.

A unit's figures depend neither on which units went before nor on who computes it, so the table is the same to the bit
whatever was interrupted and however many processes took part (on equal devices and threads).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeflownas.data.check import fingerprint
from edgeflownas.data.sets import is_named, open_dataset
from edgeflownas.errors import ConfigError, DataError, Interrupted
from edgeflownas.evaluate.frozen import EvalSet, FrozenBatches
from edgeflownas.evaluate.noise import student95
from edgeflownas.evaluate.protocols import PROTOCOLS, make_protocol
from edgeflownas.evaluate.ranking import Ranking, write_ranking
from edgeflownas.evaluate.ranking_codes import choose_archs, read_codes
from edgeflownas.evaluate.ranking_parts import TIED, assemble, part_of, set_columns
from edgeflownas.evaluate.ranking_sets import protocol_batches
from edgeflownas.evaluate.tree import TreeEvaluator
from edgeflownas.hardware.costs import COLUMNS, space_costs
from edgeflownas.hardware.latency import CostModel, CpuLatency
from edgeflownas.models.blocks import FlowBatch, StagedNet
from edgeflownas.run.checkpoint import Checkpoint
from edgeflownas.run.directory import read_identity
from edgeflownas.run.manifest import choose_device
from edgeflownas.run.run import Run
from edgeflownas.run.setup import Note, silent
from edgeflownas.search.ranking_folder import RankingFolder
from edgeflownas.space import Arch, SearchSpace
from edgeflownas.train.machine import StopFlag, StopRequested, World

if TYPE_CHECKING:
    from edgeflownas.hardware.vela_table import VelaLatency
    from edgeflownas.report.console import Console

MOST_MEASURED = 500  # subnets whose time on this CPU is measured, a second or more each
RENAME = "give a folder of another name (a link to it will do), or rank the sets one at a time"
SHARED = [name for name in PROTOCOLS if name != "deploy"]  # deploy resizes every prediction by itself


# ---- what is ranked ----


@dataclass(frozen=True)
class RankingJob:
    """A supernet on its device, the batches that its subnets are scored on, and how."""

    run: Run
    net: StagedNet
    calibration: list[FlowBatch]
    sets: dict[str, list[FlowBatch]]
    """By column of the EPE: ``epe``, then ``epe_sintel_clean`` and the like."""
    facts: dict[str, str]
    """What decides every figure, in words; equal facts, equal figures."""
    order: Sequence[int] | None = None
    """Place in its data set of each sample of the first set, where frames of several sizes changed the order."""
    exact: bool = False
    """Bit for bit what each subnet evaluated alone gives, on a CPU."""
    memory: int | None = None
    """Most bytes for features; None: as the evaluator finds sensible."""
    keep_sample_errors: bool = False

    @property
    def network(self) -> tuple[SearchSpace, int, tuple[int, int]]:
        """Space, width, and rows and columns of the run's images: what costs are counted for."""
        config = self.run.config
        return self.net.space, config.train.width, config.data.crop_size

    def tree(self, check_stop: Callable[[], None] = lambda: None) -> TreeEvaluator:
        """What evaluates its subnets."""
        return TreeEvaluator(
            self.net,
            self.calibration,
            list(self.sets.values()),
            exact=self.exact,
            memory=self.memory,
            flow_divisor=self.run.config.data.flow_divisor,
            check_stop=check_stop,
        )

    def choose(
        self, file: Path | None, where: str, sample: int | None, seed: int, models: Sequence[VelaLatency], note: Note
    ) -> list[Arch]:
        """The archs to rank: those of a file, or of the space, that fulfil conditions, or a draw of them.

        See evaluate/ranking_codes.py; ``models`` add columns for conditions.

        Raises:
            ConfigError: a condition that is none, nothing left, too many; DataError: a file that cannot be read.
        """
        codes = None
        if file is not None:
            codes, again = read_codes(file, self.net.space)
            if again:
                note(f"--archs {file}: a code counts once; {again:,} line{'s' * (again != 1)} left out")
        costs: dict[str, Any] = dict.fromkeys(COLUMNS, partial(space_costs, *self.network))
        costs |= {model.column: partial(model.costs, *self.network) for model in models}
        return choose_archs(self.net.space, codes, where, sample, seed, costs)

    def table_facts(self, models: Sequence[CostModel]) -> dict[str, str]:
        """What decides the bits of a table; the memory given to it and the number of processes do not."""
        facts = {
            **self.facts,
            "arithmetic": "exact" if self.exact else "fast",
            "sample_errors": "kept as float16" if self.keep_sample_errors else "not kept",
            "cost_models": " ".join(model.name for model in models) or "none",
        }
        for model in models:
            facts |= model.facts
        if self.exact and self.facts["device"] == "cpu":  # the fast path gives each piece one thread
            facts["threads"] = str(torch.get_num_threads())
        return facts


def open_job(
    path: Path,
    overrides: Sequence[str] = (),
    note: Note = silent,
    *,
    checkpoint: str = "latest",
    weights: str = "model",
    data: Sequence[str] = (),
    protocol: str = "standard",
    exact: bool = False,
    memory: int | None = None,
    keep_sample_errors: bool = False,
    world: World = World(),  # noqa: B008  (frozen)
) -> RankingJob:
    """A supernet with the batches that score it; it is calibrated on the samples of its run in any case.

    ``data`` are sets as NAME[:VARIANT][@ROOT], or folders, that are scored under ``protocol``; without any it is the
    run's own frozen set.  Each rank of ``world`` has the network on a device of its own.

    Raises:
        ConfigError: a run of a single model, a set that does not fit; DataError, StorageError: what cannot be read.
    """
    if data and protocol not in SHARED:
        raise ConfigError(
            f"--protocol {protocol} is none under which subnets can be ranked together: {', '.join(SHARED)}"
        )
    run = open_run(path, overrides, note)
    task = run.config.train.task
    if task != "supernet":
        raise ConfigError(
            f"{path}: train.task is {task}: one model, nothing to rank; `edgeflownas evaluate {path}` scores it, and a "
            "supernet run can be ranked"
        )
    stored = run.checkpoint(checkpoint, weights)
    net = run.net(stored, weights)
    if world.size > 1:
        net.to(choose_device(run.config.train.gpu_device, world.local_rank, world.size)[0])
    facts = _facts(run, stored, weights, net)
    sets: dict[str, list[FlowBatch]] = {}
    orders = []
    if data:
        split, train = run.calibration()
        facts |= {
            "calibration": f"{split.label}, {len(split.names)} samples",
            "calibration_set": EvalSet(split, split, None).calibration_hash,
            "batch_size": str(run.config.eval.batch_size),
        }
        for spec, name in zip(data, column_names(data), strict=True):
            sets[name], facts[name], places = _open_set(run, net, spec, protocol)
            orders.append(places)
        calibration = FrozenBatches.of(net, split, train, None)
    else:
        frozen, own = run.evaluation()
        calibration, evaluation = run.batches(net, frozen)
        sets["epe"] = list(evaluation)
        facts |= {
            "calibration": f"{frozen.calibration.label}, {len(frozen.calibration.names)} samples",
            "calibration_set": frozen.calibration_hash,
            "epe": f"training on {frozen.evaluation.label}, {len(frozen.evaluation.names)} samples",
            "eval_set": frozen.hash,
            "frozen": "the run's own sets" if own else "not the run's frozen sets",
            "flow_clip": str(frozen.flow_clip),
        }
    # Lists: the evaluator keeps all tensors, and whatever else holds the decoded samples may go.
    order = orders[0] if orders else None
    return RankingJob(run, net, list(calibration), sets, facts, order, exact, memory, keep_sample_errors)


def open_run(path: Path, overrides: Sequence[str] = (), note: Note = silent) -> Run:
    """A run directory; a file of weights alone, which :meth:`Run.open` takes too, is refused (StorageError)."""
    read_identity(path)
    return Run.open(path, overrides, note)


def _facts(run: Run, stored: Checkpoint, weights: str, net: StagedNet) -> dict[str, str]:
    config = run.config
    height, width = config.data.crop_size
    return {
        "run": run.path.resolve().name,
        "checkpoint": stored.name,
        "checkpoint_hash": stored.hash,
        "weights": weights,
        "space": net.space.name,
        "width": str(config.train.width),
        "size": f"{height}x{width}",
        "flow_divisor": f"{config.data.flow_divisor:g}",
        "device": next(net.parameters()).device.type,
        "channels_last": str(config.train.channels_last).lower(),
        "precision": config.train.precision if config.train.precision == "fp64" else "fp32",
        "version": version("edgeflownas"),
        "torch": torch.__version__,
    }


def _open_set(run: Run, net: StagedNet, spec: str, protocol: str) -> tuple[list[FlowBatch], str, list[int]]:
    """Batches of a data set, what its figures are called, and the places of the samples."""
    config, first = run.config, next(net.parameters())
    dataset = open_dataset(spec, "val", "--data", config.data.roots)
    height, width = dataset.read(0).flow.shape[:2]
    made = make_protocol(protocol, (height, width), None, (config.data.crop_size, config.data.flow_clip))
    place = (first.device, first.dtype, net.input_form)
    batches, frames, order = protocol_batches(dataset, made, config.eval.batch_size, *place)
    mark = fingerprint(dataset)
    sizes = " ".join(f"{rows}x{columns}" for rows, columns in frames)
    label = f"{made.label} on {mark.label}, {len(dataset)} samples of {sizes}, content {mark.hash[:16]}"
    return batches, label, order


def column_names(specs: Sequence[str]) -> list[str]:
    """``epe`` for the first set, ``epe_sintel_clean`` for ``sintel:clean@/data`` behind it.

    Raises ConfigError for sets that would share a column, also one that is made of a set's (``epe_median``), and for
    a folder without an ASCII letter or digit in its name.
    """
    names = ["epe"]
    for spec in specs[1:]:
        plain = spec.partition("@")[0] if is_named(spec) else Path(spec).name
        names.append("epe_" + "_".join(re.findall(r"[a-z0-9]+", plain.lower())))
    owner: dict[str, str] = {}
    for spec, name in zip(specs, names, strict=True):
        if name == "epe_":
            raise ConfigError(f"--data {spec}: no ASCII letter or digit to name its column by; {RENAME}")
        for column in set_columns(name, first=name == "epe"):
            if column in owner:
                raise ConfigError(f"--data {owner[column]} and {spec} would share the column {column}; {RENAME}")
            owner[column] = spec
    return names


# ---- the table ----


def cpu_column(subnets: int) -> CpuLatency:
    """The column of ``--measure-cpu``.  Raises ConfigError for more subnets than anybody waits for."""
    if subnets > MOST_MEASURED:
        raise ConfigError(
            f"--measure-cpu runs every subnet by itself, a second or more each; {subnets:,} are too many (limit "
            f"{MOST_MEASURED}): add --sample or --archs"
        )
    return CpuLatency()


def rank_space(
    job: RankingJob,
    archs: Sequence[Arch],
    models: Sequence[CostModel],
    out: Path,
    world: World,
    console: Console,
    agree: Callable[[dict[str, Any]], bool],
) -> tuple[Ranking, dict[str, Path]] | None:
    """Evaluate what has no figures yet and write the table; the table and the files written on rank 0, None elsewhere.

    Args:
        job: the supernet.
        archs: what to rank.
        models: further columns of the table, made by rank 0 at the end.
        out: folder of the ranking.
        world: the ranks; every unit is one rank's.
        console: progress and news.
        agree: asked on rank 0, with what is left to do, before anything is computed; None is returned where it says no.

    Raises:
        Interrupted: a signal came; finished units are kept.  ConfigError, DataError, StorageError.
    """
    stop = StopFlag()
    tree = job.tree(stop.check)
    for name, pixels in zip(job.sets, tree.pixels, strict=True):
        if int(pixels.sum()) == 0:
            raise DataError(f"{job.facts[name]}: not one valid pixel, so there is no EPE; check the flow files")
    facts, units = job.table_facts(models), tree.units(archs)
    folder = RankingFolder(out, facts, archs)
    codes = [[archs[member] for member in unit.members] for unit in units]
    try:
        finished = folder.open() if world.is_main else None
        if world.share_json(finished is not None):
            return finished
        missing = world.share_json(folder.missing(codes, console.warn) if world.is_main else None)
        folder.require_shared()
        if missing:
            begin = world.is_main and agree(_workload(job, tree, stop, codes, missing, world.size))
            if not world.share_json(begin):
                return None
        own = missing[world.rank * len(missing) // world.size : (world.rank + 1) * len(missing) // world.size]
        kept = f"finished units are kept in {folder.parts}"
        with _interruptible(stop, kept), console.task("rank", sum(len(codes[place]) for place in own)) as meter:
            scored = tree.score(archs, [units[place] for place in own])
            for place, scores in zip(own, scored, strict=True):
                folder.write(place, codes[place], part_of(list(job.sets), scores.sums, tree.pixels))
                meter.advance(len(codes[place]))
        world.barrier()
        if not world.is_main:
            return None
        ranking = assemble(
            job.net.space,
            archs,
            [unit.members for unit in units],
            lambda place: folder.read_again(place, codes[place]),
            tree.pixels[0].cpu().numpy(),
            facts,
            job.keep_sample_errors,
        )
        ranking = _completed(job, ranking, archs, models)
        files = write_ranking(out, ranking)
        folder.clear()
        return ranking, files
    finally:
        if world.is_main:
            folder.close()


def _workload(
    job: RankingJob,
    tree: TreeEvaluator,
    stop: StopFlag,
    codes: Sequence[Sequence[Arch]],
    missing: Sequence[int],
    processes: int,
) -> dict[str, Any]:
    """What is left of the units, from a timed trial of it; every process is taken to be as fast as this one."""
    left = [arch for place in missing for arch in codes[place]]
    with _interruptible(stop, "nothing was begun"):
        estimate = tree.estimate(left)
    numbers = 2 * len(job.sets) + 4 + 10  # columns of a part and of the table
    row = 8 * numbers + 400 + (4 + 2 * job.keep_sample_errors) * len(tree.pixels[0])  # 400: in the CSV
    return {
        **asdict(estimate),
        "subnets": len(left),
        "units": len(codes),
        "units_done": len(codes) - len(missing),
        "processes": processes,
        "seconds": estimate.seconds / processes,
        "disk_bytes": row * sum(map(len, codes)),
    }


@contextmanager
def _interruptible(stop: StopFlag, kept: str) -> Iterator[None]:
    """Signals are noted and end the work between two pieces of it."""
    try:
        with stop.listening():
            yield
    except StopRequested:
        raise Interrupted(f"{stop.reason}: {kept}; give the same command again to go on") from None


def _completed(job: RankingJob, ranking: Ranking, archs: Sequence[Arch], models: Sequence[CostModel]) -> Ranking:
    """Samples in the order of their data set, and the columns of costs."""
    if job.order is not None and ranking.sample_epe is not None and ranking.valid_pixels is not None:
        back = np.argsort(job.order)
        ranking = replace(ranking, sample_epe=ranking.sample_epe[:, back], valid_pixels=ranking.valid_pixels[back])
    columns = {**ranking.columns, **space_costs(*job.network, archs)}
    for model in models:
        columns |= model.costs(*job.network, archs)
    return replace(ranking, columns=columns)


# ---- its head ----


def ranking_document(ranking: Ranking, space: SearchSpace, out: Path) -> dict[str, Any]:
    """The head of the table as plain data; figures that are not finite are None."""
    order = np.argsort(ranking.columns["rank"]).tolist()
    baseline = None if space.baseline is None else str(space.parse(space.baseline))
    place = ranking.codes.index(baseline) if baseline in ranking.codes else None
    tied = ranking.facts.get(TIED)
    return {
        "ranking": str(out),
        "facts": ranking.facts,
        "subnets": len(ranking),
        "within_noise_of_best": None if tied is None else int(tied),
        "top": [_row(ranking, position) for position in order[:10]],
        "worst": _row(ranking, order[-1]),
        "baseline": None if place is None else _row(ranking, place),
    }


def _row(ranking: Ranking, position: int) -> dict[str, Any]:
    values = {name: column[position].item() for name, column in ranking.columns.items()}
    figures = {**values, "epe_margin": student95(values["samples"]) * values["epe_standard_error"]}
    finite = {name: value if isfinite(value) else None for name, value in figures.items()}
    return {"code": ranking.codes[position], **finite, "options": {n: w[position] for n, w in ranking.words.items()}}
