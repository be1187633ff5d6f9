"""Ranking a space: a supernet with its batches, units of the prefix tree dealt to ranks, then one table.

A unit's figures depend neither on which units went before nor on who computes it, so the table is the same to the bit
whatever was interrupted and however many processes took part (on equal devices and threads).

``parts/plan.json`` in the folder says what is ranked; a part holds the figures of a finished unit, with a signature of
the plan and of its own codes.  Rank 0 alone locks the folder.  Other ranks, on this machine or others, only add parts
of units that nobody else has, each under its own name and by rename; all of them must see the same folder.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeflownas.data.check import fingerprint
from edgeflownas.data.formats import image_size
from edgeflownas.data.sets import is_named, open_dataset
from edgeflownas.errors import ConfigError, DataError, Interrupted, StorageError
from edgeflownas.evaluate.frozen import EvalSet, FrozenBatches
from edgeflownas.evaluate.metrics import epe
from edgeflownas.evaluate.noise import standard_errors, student95
from edgeflownas.evaluate.protocols import PROTOCOLS, make_protocol
from edgeflownas.evaluate.results import read_tensors, tensor_bytes
from edgeflownas.evaluate.tree import TreeEvaluator
from edgeflownas.files import canonical_json, read_json, replace_file, storing
from edgeflownas.hardware.costs import COLUMNS, space_costs
from edgeflownas.hardware.latency import CostModel, CpuLatency
from edgeflownas.models.blocks import FlowBatch, StagedNet, to_flow_batch
from edgeflownas.run.checkpoint import Checkpoint
from edgeflownas.run.directory import RunLock, read_identity
from edgeflownas.run.manifest import choose_device
from edgeflownas.run.run import Run
from edgeflownas.run.setup import Note, silent
from edgeflownas.run.weights import is_weights
from edgeflownas.search import ranking as tables
from edgeflownas.search.candidates import check_options, choose_archs, read_codes
from edgeflownas.search.ranking import CSV, TENSORS, TIED, Part, Ranking
from edgeflownas.space import Arch, SearchSpace
from edgeflownas.train.machine import StopFlag, StopRequested, World

if TYPE_CHECKING:
    from edgeflownas.hardware.vela_table import VelaLatency
    from edgeflownas.report.console import Console

MOST_MEASURED = 500  # subnets whose time on this CPU is measured, a second or more each
RENAME = "give a folder of another name (a link to it will do), or rank the sets one at a time"
SHARED = [name for name in PROTOCOLS if name != "deploy"]  # deploy resizes every prediction by itself
PLAN, UNITS = "plan.json", "unit-[0-9]*.safetensors"
TEMPORARIES = (f".tmp-{PLAN}-*", f".tmp-{UNITS}-*")


# ---- what is ranked ----


@dataclass(frozen=True)
class RankingJob:
    """A supernet on its device, the batches that its subnets are scored on, and how.

    Attributes:
        sets: by column of the EPE: ``epe``, then ``epe_sintel_clean`` and the like.
        facts: what decides every figure, in words; equal facts, equal figures.
        order: place in its data set of each sample of the first set, where frames of several sizes changed the order.
        exact: bit for bit what each subnet evaluated alone gives, on a CPU.
        memory: most bytes for features; None: as the evaluator finds sensible.
    """

    run: Run
    net: StagedNet
    calibration: list[FlowBatch]
    sets: dict[str, list[FlowBatch]]
    facts: dict[str, str]
    order: Sequence[int] | None = None
    exact: bool = False
    memory: int | None = None
    keep_sample_errors: bool = False

    @property
    def network(self) -> tuple[SearchSpace, int, tuple[int, int]]:
        """Space, width, and rows and columns of the run's images: what costs are counted for."""
        config = self.run.config
        return self.net.space, config.train.width, config.data.crop_size

    def tree(self, check_stop: Callable[[], None] = lambda: None) -> TreeEvaluator:
        """What evaluates its subnets."""
        sets, divisor = list(self.sets.values()), self.run.config.data.flow_divisor
        how = {"exact": self.exact, "memory": self.memory, "flow_divisor": divisor, "check_stop": check_stop}
        return TreeEvaluator(self.net, self.calibration, sets, **how)  # type: ignore[arg-type]

    def choose(
        self, file: Path | None, where: str, sample: int | None, seed: int, models: Sequence[VelaLatency], note: Note
    ) -> list[Arch]:
        """:func:`choose_archs` of a file's, or the space's; ``models`` add columns.  Raises as :func:`read_codes`."""
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


def open_run(path: Path, overrides: Sequence[str] = (), note: Note = silent) -> Run:
    """A run directory; a file of weights alone, which :meth:`Run.open` takes too, is refused (StorageError)."""
    read_identity(path)
    return Run.open(path, overrides, note)


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
    where: str = "",
) -> RankingJob:
    """A supernet with the batches that score it; it is calibrated on the samples of its run in any case.

    ``data`` are sets as NAME[:VARIANT][@ROOT], or folders, that are scored under ``protocol``; without any it is the
    run's own frozen set.  Each rank of ``world`` has the network on a device of its own.  What ``where`` says of blocks
    is checked before anything is loaded.

    Raises:
        ConfigError: a run of a single model, a set that does not fit; DataError, StorageError: what cannot be read.
    """
    if data and protocol not in SHARED:
        together = ", ".join(SHARED)
        raise ConfigError(f"--protocol {protocol} is none under which subnets can be ranked together: {together}")
    run = (Run.open if is_weights(path) else open_run)(path, overrides, note)
    config, task = run.config, run.config.train.task
    if task != "supernet":
        remedy = f"`edgeflownas evaluate {path}` scores it, and a supernet run can be ranked"
        raise ConfigError(f"{path}: train.task is {task}: one model, nothing to rank; {remedy}")
    check_options(where, run.space)
    stored = run.checkpoint(checkpoint, weights)
    net = run.net(stored, weights)
    if world.size > 1:
        net.to(choose_device(config.train.gpu_device, world.local_rank, world.size)[0])
    facts = _run_facts(run, stored, weights, net)
    sets: dict[str, list[FlowBatch]] = {}
    order: list[int] | None = None
    if data:
        split, train = run.calibration()
        facts |= _calibration_facts(EvalSet(split, split, None))
        facts["batch_size"] = str(config.eval_batch_size)
        for spec, name in zip(data, column_names(data), strict=True):
            sets[name], facts[name], places = _open_set(run, net, spec, protocol)
            order = order or places
        calibration = FrozenBatches.of(net, split, train, None)
    else:
        frozen, own = run.evaluation()
        calibration, evaluation = run.batches(net, frozen)
        sets["epe"] = list(evaluation)
        facts |= _calibration_facts(frozen)
        facts["epe"] = f"training on {frozen.evaluation.label}, {len(frozen.evaluation.names)} samples"
        facts |= {"eval_set": frozen.hash, "frozen": "the run's own sets" if own else "not the run's frozen sets"}
        facts["flow_clip"] = str(frozen.flow_clip)
    # Lists: the evaluator keeps all tensors, and whatever else holds the decoded samples may go.
    return RankingJob(run, net, list(calibration), sets, facts, order, exact, memory, keep_sample_errors)


def _run_facts(run: Run, stored: Checkpoint, weights: str, net: StagedNet) -> dict[str, str]:
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


def _calibration_facts(frozen: EvalSet) -> dict[str, str]:
    split = frozen.calibration
    return {"calibration": f"{split.label}, {len(split.names)} samples", "calibration_set": frozen.calibration_hash}


def _open_set(run: Run, net: StagedNet, spec: str, protocol: str) -> tuple[list[FlowBatch], str, list[int]]:
    """Batches of a data set of frames of one size each, what its figures are called, and the places of the samples.

    Samples keep their order among those of their size; sizes follow each other as they first occur.  A sample's error
    does not depend on which batch it is in, but for the rounding of the arithmetic.
    """
    config, first = run.config, next(net.parameters())
    dataset = open_dataset(spec, "val", "--data", config.data.roots)
    height, width = dataset.read(0).flow.shape[:2]
    made = make_protocol(protocol, (height, width), None, (config.data.crop_size, config.data.flow_clip))

    sizes: dict[tuple[int, int], list[int]] = {}
    for index, sample in enumerate(dataset.samples):
        sizes.setdefault(image_size(sample.image1), []).append(index)
    batches, at_once = [], config.eval_batch_size
    with ThreadPoolExecutor(2) as pool:
        for group in sizes.values():
            for start in range(0, len(group), at_once):
                pairs = pool.map(lambda index: made.prepare(dataset.read(index)), group[start : start + at_once])
                arrays = [(pair.images, pair.flow, pair.valid) for pair in pairs]
                images, flow, valid = (np.stack(values) for values in zip(*arrays, strict=True))
                batches.append(to_flow_batch(images, flow, valid, first.device, first.dtype, net.input_form))
    mark, shown = fingerprint(dataset), " ".join(f"{rows}x{columns}" for rows, columns in sizes)
    label = f"{made.label} on {mark.label}, {len(dataset)} samples of {shown}, content {mark.hash[:16]}"
    return batches, label, [index for group in sizes.values() for index in group]


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
        for column in tables.set_columns(name):
            if column in owner:
                raise ConfigError(f"--data {owner[column]} and {spec} would share the column {column}; {RENAME}")
            owner[column] = spec
    return names


def cpu_column(subnets: int) -> CpuLatency:
    """The column of ``--measure-cpu``.  Raises ConfigError for more subnets than anybody waits for."""
    if subnets > MOST_MEASURED:
        raise ConfigError(
            f"--measure-cpu runs every subnet by itself, a second or more each; {subnets:,} are too many (limit "
            f"{MOST_MEASURED}): add --sample or --archs"
        )
    return CpuLatency()


@np.errstate(invalid="ignore", over="ignore", divide="ignore")  # a subnet that diverged, a sample without pixels
def part_of(names: Sequence[str], sums: Sequence[torch.Tensor], pixels: Sequence[torch.Tensor]) -> Part:
    """Figures of one unit, from the summed errors (float64 [A, N], px) and the valid pixels [N] of the sets ``names``.

    Raises:
        DataError: a set without a valid pixel.
    """
    part: Part = {}
    for name, total, counts in zip(names, sums, pixels, strict=True):
        total, counts = total.cpu(), counts.cpu()
        means = (total / counts).numpy()
        own = [np.array([epe(row, counts) for row in total]), standard_errors(means, counts.numpy())]
        if name == "epe":
            seen = means[:, counts.numpy() > 0]
            own += [np.median(seen, axis=1), np.percentile(seen, 90, axis=1)]
            own.append(np.full(len(seen), seen.shape[1], dtype=np.int64))
            part["sample_epe"] = means.astype(np.float32)
        part |= zip(tables.set_columns(name), own, strict=True)
    return part


# ---- the folder of a ranking while it is made ----


class RankingFolder:
    """``path`` as the place of one ranking, described by its facts and codes.

    Nothing is removed but what a ranking writes there, by its names: the folder may hold other files of its owner.
    """

    def __init__(self, path: Path, facts: Mapping[str, str], archs: Sequence[Arch]) -> None:
        self.path, self.parts, self.plan_file = path, path / "parts", path / "parts" / PLAN
        self.plan = _plan(facts, [str(arch) for arch in archs])
        self.lock = RunLock(path)
        self.opened = False

    def open(self) -> tuple[Ranking, dict[str, Path]] | None:
        """Lock the folder for this ranking; the finished table where it lies here already, and what it was given anew.

        A finished table that lacks nothing is read without a lock, so that read-only storage serves as well.

        Raises:
            ConfigError: the folder holds another ranking; StorageError: it cannot be made, or is in use.
        """
        if (finished := self._finished()) is not None:
            return finished
        with storing(self.path, "make the folder of the ranking"):
            self.path.mkdir(parents=True, exist_ok=True)
        self.lock.acquire()
        if (finished := self._finished()) is not None:  # by a process that had the lock until now
            return finished
        if begun := self.plan_file.exists():
            self._require_ours(read_json(self.plan_file))
        elif (self.path / CSV).exists() or any(self.parts.glob("unit-*")):
            raise self._refusal("files of which ranking is not known")
        self.opened = True
        with storing(self.parts, "make the folder of the parts"):
            self.parts.mkdir(exist_ok=True)
            self._remove(TEMPORARIES)
        if not begun:
            replace_file(self.plan_file, canonical_json(self.plan))
        return None

    def _finished(self) -> tuple[Ranking, dict[str, Path]] | None:
        """The table that lies here; its CSV is written again where it says anything else, left parts are removed."""
        if not (self.path / TENSORS).exists():
            return None
        ranking = tables.read_ranking(self.path)
        self._require_ours(_plan(ranking.facts, ranking.codes))
        path, rows = self.path / CSV, tables.csv_bytes(ranking)
        with storing(path, "read"):
            stale = not path.exists() or path.read_bytes() != rows
        left = False
        with suppress(StorageError):  # a plan that cannot be read is nobody's
            left = self.plan_file.exists() and read_json(self.plan_file) == self.plan
        if (stale or left) and not self.lock.held:
            self.lock.acquire()
        if left:
            self.clear()
        if stale:
            replace_file(path, rows)
        return ranking, {CSV: path} if stale else {}

    def close(self) -> None:
        """Give the lock, and a folder without any finished unit, back."""
        if self.opened and not any(self.parts.glob(UNITS)):
            with suppress(StorageError):
                self.clear()
        self.lock.release()

    def require_shared(self) -> None:
        """Raises StorageError where this rank does not see what rank 0 has written."""
        if not self.plan_file.exists() or read_json(self.plan_file) != self.plan:
            raise StorageError(
                f"{self.plan_file}: not what rank 0 has written: all ranks must see one folder; give --out a folder "
                "on storage that all machines share"
            )

    def missing(self, units: Sequence[Sequence[Arch]], warn: Callable[[str], None]) -> list[int]:
        """Places of the units without a sound part; a damaged one is named."""
        wanted = []
        for place, unit in enumerate(units):
            try:
                self.read(place, unit)
            except FileNotFoundError:
                wanted.append(place)
            except (OSError, ValueError, KeyError) as error:
                warn(f"{self._part(place)}: damaged ({error}); its {len(unit)} subnets are evaluated again")
                wanted.append(place)
        return wanted

    def read(self, place: int, unit: Sequence[Arch]) -> Part:
        """The part of a unit.  Raises OSError, ValueError or KeyError for anything but this very part."""
        arrays, texts = read_tensors(self._part(place))
        if texts["signature"] != self._signature(unit):
            raise ValueError("it is of another ranking")
        if texts.pop("sum") != tables.checksum(arrays, texts):
            raise ValueError("its content does not fit its checksum")
        return {name: arrays[name] for name in texts["columns"].split("|")}

    def read_again(self, place: int, unit: Sequence[Arch]) -> Part:
        """The part of a unit that is done.  Raises StorageError."""
        try:
            return self.read(place, unit)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"{self._part(place)}: was written and is not to be read ({error}); give the same command again, and "
                "with several machines a folder that all of them share"
            ) from error

    def write(self, place: int, unit: Sequence[Arch], part: Part) -> None:
        """Keep a finished unit.  Raises StorageError."""
        texts = {"signature": self._signature(unit), "columns": "|".join(part)}
        replace_file(self._part(place), tensor_bytes(part, texts | {"sum": tables.checksum(part, texts)}))

    def clear(self) -> None:
        """Remove the parts of a table that is written, the plan last, and their folder where nothing else is in it."""
        with storing(self.parts, "remove the parts"):
            self._remove((UNITS, *TEMPORARIES, PLAN))
        with suppress(OSError):  # not empty, or not there
            self.parts.rmdir()

    def _remove(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            for path in self.parts.glob(pattern):
                path.unlink(missing_ok=True)

    def _part(self, place: int) -> Path:
        return self.parts / f"unit-{place:05d}.safetensors"

    def _signature(self, unit: Sequence[Arch]) -> str:
        return hashlib.sha256(canonical_json(self.plan) + "|".join(map(str, unit)).encode()).hexdigest()

    def _require_ours(self, plan: Any) -> None:
        if not isinstance(plan, dict) or not isinstance(plan.get("facts"), dict) or not {"codes", "subnets"} <= {*plan}:
            raise self._refusal("files of which ranking is not known")
        for name in {**self.plan["facts"], **plan["facts"]}:
            there, here = (facts.get(name, "not said") for facts in (plan["facts"], self.plan["facts"]))
            if name != TIED and there != here:
                raise self._refusal(f"{name} is {there!r} there, {here!r} here")
        if plan["codes"] != self.plan["codes"]:
            raise self._refusal(f"{plan['subnets']} subnets there, {self.plan['subnets']} (others) here")

    def _refusal(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self.path}: holds another ranking ({what}); nothing was changed: give another folder with --out, or "
            "remove this one"
        )


def _plan(facts: Mapping[str, str], codes: Sequence[str]) -> dict[str, Any]:
    digest = hashlib.sha256("|".join(codes).encode()).hexdigest()
    return {"format": 1, "facts": {**facts}, "subnets": len(codes), "codes": digest}


# ---- the work ----


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

    ``models`` are further columns, made by rank 0 at the end.  ``agree`` is asked on rank 0, with what is left to do,
    before anything is computed; where it says no, None is returned.  Raises Interrupted after a signal (finished units
    are kept); ConfigError, DataError, StorageError.
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
        members, counts = [unit.members for unit in units], tree.pixels[0].cpu().numpy()

        def part(place: int) -> Part:
            return folder.read_again(place, codes[place])

        ranking = tables.assemble(job.net.space, archs, members, part, counts, facts, job.keep_sample_errors)
        if job.order is not None and ranking.sample_epe is not None and ranking.valid_pixels is not None:
            back = np.argsort(job.order)  # samples as in their data set
            ranking = replace(ranking, sample_epe=ranking.sample_epe[:, back], valid_pixels=ranking.valid_pixels[back])
        for name, zero in zip(job.sets, tree.zero_flow_epes, strict=True):
            ranking.columns[tables.ZERO_FLOW + name] = np.full(len(ranking), zero)
        ranking.columns.update(space_costs(*job.network, archs))
        for model in models:
            ranking.columns.update(model.costs(*job.network, archs))
        files = tables.write_ranking(out, ranking)
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
    """What is left of the units, from a few of them that are timed; every process is taken to be as fast as this."""
    left = [arch for place in missing for arch in codes[place]]
    with _interruptible(stop, "nothing was begun"):
        estimate = tree.estimate(left)
    numbers = 2 * len(job.sets) + 4 + 10  # columns of a part and of the table
    row = 8 * numbers + 400 + (4 + 2 * job.keep_sample_errors) * len(tree.pixels[0])  # 400: in the CSV
    counts = {"subnets": len(left), "units": len(codes), "units_done": len(codes) - len(missing)}
    of_all = {"seconds": estimate.seconds / processes, "disk_bytes": row * sum(map(len, codes))}
    return {**asdict(estimate), **counts, "processes": processes, **of_all}


@contextmanager
def _interruptible(stop: StopFlag, kept: str) -> Iterator[None]:
    """Signals are noted and end the work between two pieces of it."""
    try:
        with stop.listening():
            yield
    except StopRequested:
        raise Interrupted(f"{stop.reason}: {kept}; give the same command again to go on") from None


def ranking_document(ranking: Ranking, out: Path) -> dict[str, Any]:
    """The head of the table as plain data; figures that are not finite are None."""

    def row(position: int) -> dict[str, Any]:
        figures = {name: column[position].item() for name, column in ranking.columns.items()}
        figures["epe_margin"] = student95(figures["samples"]) * figures["epe_standard_error"]
        finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        options = {name: words[position] for name, words in ranking.words.items()}
        return {"code": ranking.codes[position], **finite, "options": options}

    order = np.argsort(ranking.columns["rank"]).tolist()
    tied = ranking.facts.get(TIED)
    return {
        "ranking": str(out),
        "facts": ranking.facts,
        "subnets": len(ranking),
        "within_noise_of_best": None if tied is None else int(tied),
        "zero_flow_epe": ranking.zero_flow(),
        "top": [row(position) for position in order[:10]],
        "worst": row(order[-1]),
        "baseline": None if ranking.baseline is None else row(ranking.baseline),
    }
