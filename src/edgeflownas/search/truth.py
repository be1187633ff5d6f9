"""Does a supernet's ranking hold for subnets that are trained alone?  All are scored on one and the same pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate import trust
from edgeflownas.evaluate.frozen import EvalSet, FrozenBatches, freeze_calibration
from edgeflownas.evaluate.noise import PoolNoise, pool_noise
from edgeflownas.evaluate.pool import PoolEvaluation, score_pool
from edgeflownas.evaluate.ranking import read_ranking
from edgeflownas.hardware.costs import space_costs
from edgeflownas.models.blocks import StagedNet
from edgeflownas.run.manifest import compare, refused
from edgeflownas.run.run import Run
from edgeflownas.run.setup import group_runs
from edgeflownas.search.ranking import open_run
from edgeflownas.space import Arch, get_space

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

# What two networks must share so that their errors on the same pixels can be compared.
SHARED = (
    *("train.space", "train.width", "train.input_normalisation", "data.channel_order", "data.flow_divisor"),
    *("data.crop_size", "data.flow_clip", "data.train fingerprint"),
)


@dataclass(frozen=True)
class TruthTable:
    """Errors of S seeds and A subnets."""

    archs: list[Arch]
    seeds: list[int]
    errors: NDArray[np.float64]
    """[S, A] EPE, px; nan where there is no run."""
    used: NDArray[np.bool_]
    """[S, A] runs that make up the truth (evaluate.trust.used_runs)."""
    truth: NDArray[np.float64]
    """[A], px."""
    noise: PoolNoise
    """What the evaluation samples leave open of the truth."""


def judge_ranking(
    path: Path,
    truth: Sequence[Path],
    console: Console,
    *,
    against: Sequence[Path] = (),
    calibrations: Sequence[int] = (),
    ranking: Path | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """The document of ``edgeflownas trust``, described in docs/trust.md; nothing is written.

    ``path`` is the supernet's run directory, of which ``checkpoint``, ``weights`` and ``overrides`` speak, ``truth``
    are runs of single subnets, or folders of several.  Judged are also the supernets ``against``, and the first one
    read again with other numbers of ``calibrations`` batches.  ``ranking`` is a table that has its errors, instead of
    evaluating it; ``seed`` that of the bootstrap.

    Raises:
        ConfigError: runs that cannot be compared; DataError, StorageError: what cannot be read.
    """
    notes: list[str] = []
    base = open_run(path, overrides, notes.append)
    config, name = base.config, path.resolve().name
    if config.train.task != "supernet":
        raise ConfigError(f"{path} is a run of train.task {config.train.task}: only a supernet has a ranking")
    stored = base.checkpoint(checkpoint, weights)
    net = base.net(stored, weights)
    frozen, _ = base.evaluation()
    alone = _trained_alone(base, truth)
    others = [_comparable(base, other, "--against", ("supernet",)) for other in against]
    if (few := min(calibrations, default=1)) < 1:
        raise ConfigError(f"--calibrations {few}: must be a positive number of batches")
    archs = list(dict.fromkeys(map(_arch, alone)))
    rankings: dict[str, Sequence[float]] = {}
    own: PoolEvaluation | None = None
    calibration, evaluation = base.batches(net, frozen)
    networks = len(alone) + len(others) + len(calibrations) + (ranking is None)
    with console.task("trust", networks * (len(calibration) + len(evaluation))) as meter:

        def score(net: StagedNet, archs: Sequence[Arch], calibration: FrozenBatches = calibration) -> PoolEvaluation:
            return score_pool(net, archs, calibration, evaluation, meter.advance, config.data.flow_divisor)

        if ranking is None:
            own = score(net, archs)
            rankings[name] = own.epes
        else:
            belongs = {"checkpoint_hash": stored.hash, "eval_set": frozen.hash}
            rankings[name] = _from_table(ranking, base, belongs, archs)
        table, zero_flow_epe = _truth_table(alone, score)
        for run in others:
            label = run.path.resolve().name
            rankings[str(run.path) if label in rankings else label] = score(run.net(run.checkpoint()), archs).epes
        for batches in dict.fromkeys(calibrations):
            fewer = _calibration(base, net, frozen, batches)
            rankings[f"{name}, calibration {batches}"] = score(net, archs, fewer).epes
    costs = space_costs(net.space, config.train.width, config.data.crop_size, archs)
    return {
        "run": str(path),
        "checkpoint": stored.name,
        "eval_set": frozen.hash,
        "calibration_set": frozen.calibration_hash,
        "samples": table.noise.samples,
        "zero_flow_epe": zero_flow_epe,
        "truth_steps": int(alone[0].manifest["plan"]["total_steps"]),
        **_judged(table, rankings, own, costs, seed),
        "notes": notes,
    }


def _calibration(base: Run, net: StagedNet, frozen: EvalSet, batches: int) -> FrozenBatches:
    """So many calibration batches of the run's training data, chosen as the run would have."""
    settings = base.config.eval.model_copy(update={"bn_recal_batches": batches})
    config = base.config.model_copy(update={"eval": settings})
    split = freeze_calibration(config, base.train, frozen.calibration.label, base.note)
    return FrozenBatches.of(net, split, base.train, frozen.flow_clip, hold=False)


# ---- runs of single subnets ----


def _comparable(base: Run, path: Path, option: str, tasks: Collection[str]) -> Run:
    """A run whose network reads what that of ``base`` reads, to be computed on its device and alike.

    Raises:
        ConfigError: another task, or a key that makes the two not comparable; StorageError: not a run directory.
    """
    run = open_run(path)
    if run.config.train.task not in tasks:
        raise ConfigError(
            f"{option}: {path} is a run of train.task {run.config.train.task}, wanted is {' or '.join(tasks)}"
        )
    for difference in compare(base.manifest, run.manifest):
        if difference.key in SHARED:
            raise ConfigError(
                f"{option}: {path} differs from {base.path} in {difference.key} ({difference.now_value} and "
                f"{difference.run_value}), so their errors cannot be compared: give runs of the same space, width and "
                "data"
            )
    machine = {name: getattr(base.config.train, name) for name in ("gpu_device", "channels_last")}
    train = run.config.train.model_copy(update=machine)
    run.config = run.config.model_copy(update={"train": train, "runtime": base.config.runtime})
    return run


def _arch(run: Run) -> Arch:
    """The code in the whole space of the subnet that was trained."""
    return get_space(run.own.train.space).parse(run.own.train.arch[0])


def _trained_alone(base: Run, paths: Sequence[Path]) -> list[Run]:
    """The runs of single subnets, folders of several expanded, in the order given.

    Raises:
        ConfigError: a run that cannot be compared, differences between them beside subnet and seed, one subnet twice
            with one seed, or fewer than three subnets.
    """
    members = [member for path in paths for member in group_runs(path)]
    runs = [_comparable(base, path, "--truth", ("standalone", "distil")) for path in members]
    free = {"train.arch", "runtime.seed", "space declaration"}
    for run in runs[1:]:
        for difference in refused(compare(runs[0].manifest, run.manifest, allow=free)):
            raise ConfigError(
                f"--truth: {runs[0].path} and {run.path} differ in {difference.key} ({difference.run_value} and "
                f"{difference.now_value}): subnets are compared after equal training; give runs that differ in "
                "train.arch and runtime.seed only"
            )
    seen: dict[tuple[Arch, int], Path] = {}
    for run in runs:
        arch, seed = _arch(run), run.own.runtime.seed
        first = seen.setdefault((arch, seed), run.path)
        if first != run.path or members.count(run.path) > 1:
            raise ConfigError(
                f"--truth: {first} and {run.path} are both subnet {arch} with runtime.seed {seed}: a second run of a "
                "subnet needs another seed"
            )
    if len(subnets := {arch for arch, _ in seen}) < 3:
        raise ConfigError(f"--truth: {len(subnets)} subnets; an order of fewer than 3 says nothing")
    return runs


def _truth_table(
    runs: Sequence[Run], score: Callable[[StagedNet, Sequence[Arch]], PoolEvaluation]
) -> tuple[TruthTable, float]:
    """Each subnet with its own weights, in the order of their first run; and the zero-flow EPE of the same pixels.

    Raises:
        ConfigError: they were not trained for as many steps; DataError: one diverged.
    """
    results: list[PoolEvaluation] = []
    steps = 0
    for run in runs:
        stored = run.checkpoint()
        steps = steps or stored.position.step
        if stored.position.step != steps:
            raise ConfigError(
                f"--truth: {run.path} stands at step {stored.position.step}, {runs[0].path} at {steps}: go on with "
                "edgeflownas train --resume until all are finished"
            )
        net = run.net(stored)
        results.append(score(net, list(net.space)))
    archs, seeds = list(dict.fromkeys(map(_arch, runs))), sorted({run.own.runtime.seed for run in runs})
    errors = np.full((len(seeds), len(archs)), np.nan)
    samples = np.zeros((*errors.shape, results[0].samples))
    for run, result in zip(runs, results, strict=True):
        if not np.isfinite(result.epes[0]):
            raise DataError(f"--truth: {run.path} has an EPE of {result.epes[0]}: it diverged, leave it out")
        place = seeds.index(run.own.runtime.seed), archs.index(_arch(run))
        errors[place], samples[place] = result.epes[0], result.scores[0].sample_epe.numpy()
    used = trust.used_runs(errors)
    count = used.sum(axis=0)
    truth = np.where(used, errors, 0.0).sum(axis=0) / count
    mean = np.where(used[..., None], samples, 0.0).sum(axis=0) / count[:, None]
    noise = pool_noise(mean, results[0].valid_pixels)
    return TruthTable(archs, seeds, errors, used, truth, noise), results[0].zero_flow_epe


def _from_table(path: Path, base: Run, facts: Mapping[str, str], archs: Sequence[Arch]) -> list[float]:
    """EPEs of the subnets in the table of ``edgeflownas rank``, which must have these facts."""
    table = read_ranking(path)
    for fact, ours in facts.items():
        if table.facts.get(fact) != ours:
            raise DataError(
                f"--ranking {path}: its {fact} is {table.facts.get(fact, 'not known')}, that of {base.path} {ours}: "
                "rank this run again, or leave --ranking out to evaluate it"
            )
    epes = dict(zip(table.codes, table.columns["epe"].tolist(), strict=True))
    missing = [str(arch) for arch in archs if str(arch) not in epes]
    if missing:
        raise DataError(f"--ranking {path}: subnet {missing[0]} is not in it; leave --ranking out to evaluate it")
    return [epes[str(arch)] for arch in archs]


# ---- the document ----


def _judged(
    table: TruthTable,
    rankings: Mapping[str, Sequence[float]],
    own: PoolEvaluation | None,
    costs: Mapping[str, NDArray[Any]],
    seed: int,
) -> dict[str, Any]:
    """Every figure of ``rankings`` (EPEs by name, the supernet's first) and of those by size (columns of costs)."""
    scores: dict[str, ArrayLike] = {name: _worst_last(epes) for name, epes in rankings.items()}
    scores |= {"multiply-adds": -costs["macs"], "parameters": -costs["parameters"]}
    weights = trust.bootstrap_weights(len(table.archs), seed)
    margins = dict(enumerate(table.noise.margins()))
    own_margins = dict(enumerate(own.noise.margins())) if own else {}
    return {
        "draws": len(weights) - 1,
        "rankings": _rankings({name: trust.agreement(table.truth, score, weights) for name, score in scores.items()}),
        "pairs": _pairs(table.noise, own),
        "seeds": _seeds(table, seed),
        "subnets": [
            {
                "code": str(arch),
                "truth": float(table.truth[i]),
                "truth_margin": _number(margins.get(i, math.inf)),
                "by_seed": {str(s): _number(row[i]) for s, row in zip(table.seeds, table.errors, strict=True)},
                "epe_margin": _number(own_margins.get(i, math.inf)),
                "epe": {name: _number(epes[i]) for name, epes in rankings.items()},
                "parameters": int(costs["parameters"][i]),
                "macs": int(costs["macs"][i]),
            }
            for i, arch in enumerate(table.archs)
        ],
    }


def _number(value: float) -> float | None:
    """None for what JSON has no number for: no run, or a network that diverged."""
    return float(value) if abs(value) < float("inf") else None


def _worst_last(epes: Sequence[float]) -> NDArray[np.float64]:
    """Subnets without a finite error share the last place."""
    values = np.asarray(epes, dtype=np.float64)
    good = np.isfinite(values)
    return np.where(good, values, values[good].max(initial=0.0) + 1.0)


def _rankings(judged: Mapping[str, trust.Agreement]) -> list[dict[str, Any]]:
    """Figures of every ranking; the change of tau is from the first."""
    first = next(iter(judged.values()))
    rows = []
    for name, one in judged.items():
        row: dict[str, Any] = {"name": name, "tau": _interval(one.tau), "spearman": _interval(one.spearman)}
        row["precision"] = {str(k): _interval(figure) for k, figure in one.precision.items()}
        row["regret"] = {str(k): _interval(figure) for k, figure in one.regret.items()}
        paired = trust.change(first, one)
        row["change"] = None if one is first else {**_interval(paired), "smallest_visible": _number(paired.half_width)}
        rows.append(row)
    return rows


def _interval(figure: trust.Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in figure._asdict().items()}


def _pairs(truth: PoolNoise, own: PoolEvaluation | None) -> dict[str, int | None]:
    """Pairs of subnets, those that the evaluation samples cannot tell apart, and the order of those they can."""
    rows, columns = np.triu_indices(len(truth.epes), 1)
    noises = [truth] if own is None else [truth, own.noise]
    differences = [noise.epes[rows] - noise.epes[columns] for noise in noises]
    apart = [abs(d) > noise.bounds[rows, columns] for d, noise in zip(differences, noises, strict=True)]
    document: dict[str, int | None] = {"all": len(rows), "truth_within_noise": int((~apart[0]).sum())}
    names = ("inherited_within_noise", "both_apart", "both_apart_same_order")
    if own is None:
        return document | dict.fromkeys(names)
    both, alike = apart[0] & apart[1], differences[0] * differences[1] > 0
    return document | dict(zip(names, map(int, ((~apart[1]).sum(), both.sum(), (both & alike).sum())), strict=True))


def _seeds(table: TruthTable, seed: int) -> dict[str, Any]:
    """How far two trainings of a subnet agree, beside the spread between subnets; px."""
    used = [s for s, row in zip(table.seeds, table.used, strict=True) if row.any()]
    document: dict[str, Any] = {"seeds": table.seeds, "in_truth": used, "truth_std": float(table.truth.std(ddof=1))}
    noise = trust.seed_noise(table.errors, seed)
    if noise is None:
        return document | {"compared": None}
    compared = {
        "seeds": [table.seeds[row] for row in noise.rows],
        "subnets": noise.subnets,
        "tau": _interval(noise.tau),
        "attainable_tau": trust.attainable_tau(noise.tau.value),
        "std": noise.std,
    }
    return document | {"compared": compared}
