"""Does a supernet's ranking hold for subnets that are trained alone?  All are scored on one and the same pixels.

All scores are such that smaller is better (EPE in px; sizes negated where larger is taken for better).  Subnets are
drawn with replacement (Efron and Tibshirani, An Introduction to the Bootstrap, ch. 13, percentile interval): an
interval says what other subnets of the same space might have shown.  Copies of a subnet within a draw are ties in both
scores.  Kendall's tau-b leaves such pairs out, so they do not raise it; the top places count copies as drawn and share
those at the edge alike in both lists; the regret is that among the different subnets of a draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.frozen import EvalSet, FrozenBatches, freeze_calibration
from edgeflownas.evaluate.noise import Interval, PoolNoise, bootstrap_counts, pool_noise
from edgeflownas.evaluate.pool import PoolEvaluation, score_pool
from edgeflownas.hardware.costs import space_costs
from edgeflownas.models.blocks import StagedNet
from edgeflownas.run.manifest import compare, refused
from edgeflownas.run.run import Run
from edgeflownas.run.setup import group_runs
from edgeflownas.search.rank import open_run
from edgeflownas.search.ranking import read_ranking
from edgeflownas.space import Arch, get_space

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

Floats = NDArray[np.float64]
DRAWS = 2000
TOPS = (5, 10, 50)
# What two networks must share so that their errors on the same pixels can be compared.
SHARED = (
    *("train.space", "train.width", "train.input_normalisation", "data.channel_order", "data.flow_divisor"),
    *("data.crop_size", "data.flow_clip", "data.train fingerprint"),
)


# ---- agreement of two orders ----


class Agreement(NamedTuple):
    """How well one score orders subnets whose true score is known.

    Attributes:
        tau: Kendall's tau-b; ``tau_draws``: of every draw, that of all subnets first.
        spearman: Spearman's rank correlation, ties at the mean of their ranks.
        precision: k -> share of the k best by the score that are among the k truly best; k / n by chance.
        regret: k -> true score of the truly best among the k best by the score, minus the best of all; px.
    """

    tau: Interval
    spearman: Interval
    precision: dict[int, Interval]
    regret: dict[int, Interval]
    tau_draws: Floats


def bootstrap_weights(subnets: int, seed: int = 0, draws: int = DRAWS) -> Floats:
    """How often each subnet is in each draw [1 + draws, subnets]; the first row is every subnet once."""
    return np.vstack([np.ones(subnets), bootstrap_counts(subnets, draws, seed, "trust bootstrap")])


def tops(subnets: int) -> tuple[int, ...]:
    """Numbers of best subnets that mean something among so many: at most half of them."""
    return tuple(k for k in TOPS if 2 * k <= subnets)


@np.errstate(invalid="ignore", divide="ignore")
def agreement(truth: ArrayLike, score: ArrayLike, weights: Floats) -> Agreement:
    """Every figure of a ``score`` [A] against the ``truth`` [A], finite ones; ``weights``: bootstrap_weights."""
    true, judged = np.asarray(truth, dtype=np.float64), np.asarray(score, dtype=np.float64)
    assert true.shape == judged.shape == weights.shape[1:], "scores of the same subnets"
    first, second = (np.sign(values[:, None] - values) for values in (true, judged))
    # A pair counts as often as both are drawn.
    pairs, own, other = (((weights @ p) * weights).sum(axis=1) for p in (first * second, np.abs(first), np.abs(second)))
    taus = np.asarray(pairs / np.sqrt(own * other), dtype=np.float64)
    centred = []
    for values in (true, judged):
        before, equal = _places(values, weights)
        ranks = before + equal / 2
        centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True))
    shared, *variances = ((weights * centred[a] * centred[b]).sum(axis=1) for a, b in ((0, 1), (0, 0), (1, 1)))
    present = (weights > 0).astype(np.float64)
    best = np.where(present > 0, true, np.inf).min(axis=1)
    precision, regret = {}, {1: _of_draws(_best_of_top(true, judged, present, 1) - best)}
    for k in tops(len(true)):
        right = np.minimum(*(_copies_in_top(values, weights, k) for values in (true, judged)))
        precision[k] = _of_draws(right.sum(axis=1) / k)
        if k == 5:
            regret[k] = _of_draws(_best_of_top(true, judged, present, k) - best)
    spearman = _of_draws(shared / np.sqrt(variances[0] * variances[1]))
    return Agreement(_of_draws(taus), spearman, precision, regret, taus)


def _of_draws(values: Floats) -> Interval:
    return Interval.of(values[0], values[1:])


def change(before: Agreement, after: Agreement) -> Interval:
    """Tau after minus before, both of the same truth and the very same weights: a paired bootstrap.

    Its half width is about the smallest change that could have been seen.
    """
    return _of_draws(after.tau_draws - before.tau_draws)


def attainable_tau(between: float) -> float | None:
    """About the highest tau that a perfect ranking could show against one training of each subnet.

    From the tau between two trainings: for normal scores r = sin(pi tau / 2) (Kruskal 1958), and the correlation of
    a noisy score with the true one is the root of that between two noisy ones (Spearman 1904).  None where the
    trainings do not agree at all.
    """
    if not between > 0.0:
        return None
    return 2 / math.pi * math.asin(math.sqrt(math.sin(math.pi / 2 * min(between, 1.0))))


def _places(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Of every subnet in every draw [D, A]: weight of those with a smaller value, and of those with an equal one."""
    level = np.unique(values, return_inverse=True)[1]
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(level.max() + 1))
    by_level = np.add.reduceat(weights[:, order], starts, axis=1)
    before = np.cumsum(by_level, axis=1) - by_level
    return before[:, level], by_level[:, level]


def _copies_in_top(values: Floats, weights: Floats, k: int) -> Floats:
    """Copies of each subnet among the k best of each draw [D, A]; those tied at the edge share what is left."""
    before, equal = _places(values, weights)
    share = np.clip((k - before) / np.maximum(equal, 1.0), 0.0, 1.0)
    return np.asarray(share * weights, dtype=np.float64)


def _best_of_top(true: Floats, judged: Floats, present: Floats, k: int) -> Floats:
    """Expected true score of the best of the k different subnets judged best [D], ties at the edge drawn by lot."""
    before, tied = _places(judged, present)
    missing = np.ones(len(present))  # probability that no subnet looked at so far is among the k
    passed: dict[float, Floats] = {}  # tied at the edge and looked at so far, by judged value
    expected = np.zeros(len(present))
    for i in np.argsort(true, kind="stable"):
        seen = passed.setdefault(float(judged[i]), np.zeros(len(present)))
        chance = np.clip((k - before[:, i]) / np.maximum(tied[:, i] - seen, 1.0), 0.0, 1.0) * present[:, i]
        expected += missing * chance * true[i]
        missing = missing * (1.0 - chance)
        seen += present[:, i]
    return expected


# ---- the runs ----


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
    evaluating it.  Raises ConfigError for runs that cannot be compared; DataError, StorageError.
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
            rankings[name] = _from_table(ranking, base, stored.hash, frozen.hash, archs)
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


def _comparable(base: Run, path: Path, option: str, tasks: Collection[str]) -> Run:
    """A run whose network reads what that of ``base`` reads, to be computed on its device and alike.

    Raises:
        ConfigError: another task, or a key that makes the two not comparable; StorageError: not a run directory.
    """
    run = open_run(path)
    if (task := run.config.train.task) not in tasks:
        raise ConfigError(f"{option}: {path} is a run of train.task {task}, wanted is {' or '.join(tasks)}")
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


@dataclass(frozen=True)
class TruthTable:
    """Errors of S seeds and A subnets."""

    archs: list[Arch]
    seeds: list[int]
    errors: Floats
    """[S, A] EPE, px; nan where there is no run."""
    used: NDArray[np.bool_]
    """[S, A] runs that make up the truth: their mean over the seeds that every subnet has, so that what a seed does to
    all subnets alike (they share first weights and order of the data) moves none against another; where no seed has
    all, the first run of each."""
    truth: Floats
    """[A], px."""
    noise: PoolNoise
    """What the evaluation samples leave open of the truth."""


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
    there = np.isfinite(errors)
    complete = there.all(axis=1, keepdims=True)
    used = np.asarray(there & (complete if complete.any() else np.cumsum(there, axis=0) == 1), dtype=np.bool_)
    count = used.sum(axis=0)
    truth = np.where(used, errors, 0.0).sum(axis=0) / count
    mean = np.where(used[..., None], samples, 0.0).sum(axis=0) / count[:, None]
    noise = pool_noise(mean, results[0].valid_pixels)
    return TruthTable(archs, seeds, errors, used, truth, noise), results[0].zero_flow_epe


def _from_table(path: Path, base: Run, checkpoint: str, eval_set: str, archs: Sequence[Arch]) -> list[float]:
    """EPEs of the subnets in the table of ``edgeflownas rank``, which must be of this checkpoint and these samples."""
    table = read_ranking(path)
    for fact, ours in (("checkpoint_hash", checkpoint), ("eval_set", eval_set)):
        if (theirs := table.facts.get(fact, "not known")) != ours:
            raise DataError(
                f"--ranking {path}: its {fact} is {theirs}, that of {base.path} {ours}: rank this run again, or leave "
                "--ranking out to evaluate it"
            )
    epes = dict(zip(table.codes, table.columns["epe"].tolist(), strict=True))
    for code in map(str, archs):
        if code not in epes:
            raise DataError(f"--ranking {path}: subnet {code} is not in it; leave --ranking out to evaluate it")
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
    scores: dict[str, Floats] = {}
    for name, epes in rankings.items():  # subnets without a finite error share the last place
        values = np.asarray(epes, dtype=np.float64)
        good = np.isfinite(values)
        scores[name] = np.where(good, values, values[good].max(initial=0.0) + 1.0)
    scores |= {"multiply-adds": -costs["macs"], "parameters": -costs["parameters"]}
    weights = bootstrap_weights(len(table.archs), seed)
    judged = {name: agreement(table.truth, score, weights) for name, score in scores.items()}
    first = next(iter(judged.values()))
    rows = []
    for name, one in judged.items():
        paired = change(first, one)  # from the first
        row = {"name": name, "tau": _plain(one.tau), "spearman": _plain(one.spearman)}
        row["precision"] = {str(k): _plain(figure) for k, figure in one.precision.items()}
        row["regret"] = {str(k): _plain(figure) for k, figure in one.regret.items()}
        seen = _plain(paired) | {"smallest_visible": _number(paired.half_width)}
        rows.append(row | {"change": None if one is first else seen})
    margins = dict(enumerate(table.noise.margins()))
    own_margins = dict(enumerate(own.noise.margins())) if own else {}
    return {
        "draws": len(weights) - 1,
        "rankings": rows,
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
    return float(value) if math.isfinite(value) else None


def _plain(figure: Interval) -> dict[str, float | None]:
    return {name: _number(value) for name, value in figure._asdict().items()}


def _pairs(truth: PoolNoise, own: PoolEvaluation | None) -> dict[str, int | None]:
    """Pairs of subnets, those that the evaluation samples cannot tell apart, and the order of those they can."""
    rows, columns = np.triu_indices(len(truth.epes), 1)

    def pairs_of(noise: PoolNoise) -> tuple[Floats, NDArray[np.bool_]]:
        differences = noise.epes[rows] - noise.epes[columns]
        return differences, np.abs(differences) > noise.bounds[rows, columns]

    true, clear = pairs_of(truth)
    document: dict[str, int | None] = {"all": len(rows), "truth_within_noise": int((~clear).sum())}
    if own is None:
        return document | dict.fromkeys(("inherited_within_noise", "both_apart", "both_apart_same_order"))
    inherited, told = pairs_of(own.noise)
    both = clear & told
    document |= {"inherited_within_noise": int((~told).sum()), "both_apart": int(both.sum())}
    return document | {"both_apart_same_order": int((both & (true * inherited > 0)).sum())}


def _seeds(table: TruthTable, seed: int) -> dict[str, Any]:
    """How far two trainings of a subnet agree, beside the spread between subnets; px.

    Compared are the two seeds with the most subnets in common, at least three.  ``tau`` between the two is what no
    ranking can beat by much; ``std`` the standard deviation (ddof 1) of one training of a subnet about its mean, an
    offset of all left out.
    """
    used = [s for s, row in zip(table.seeds, table.used, strict=True) if row.any()]
    document: dict[str, Any] = {"seeds": table.seeds, "in_truth": used, "truth_std": float(table.truth.std(ddof=1))}
    there, seeds = np.isfinite(table.errors), range(len(table.errors))
    pairs = [(int((there[a] & there[b]).sum()), -a, -b) for a in seeds for b in seeds if a < b]
    count, one, other = max(pairs, default=(0, 0, 0))
    if count < 3:
        return document | {"compared": None}
    both = table.errors[[-one, -other]][:, there[-one] & there[-other]]
    tau = agreement(both[0], both[1], bootstrap_weights(count, seed)).tau
    compared = {
        "seeds": [table.seeds[-one], table.seeds[-other]],
        "subnets": count,
        "tau": _plain(tau),
        "attainable_tau": attainable_tau(tau.value),
        "std": float((both[0] - both[1]).std(ddof=1) / math.sqrt(2)),
    }
    return document | {"compared": compared}
