"""``edgeflownas trust``: does a supernet's ranking hold for subnets that are trained alone?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from edgeflownas.commands._shared import Overrides, Paths, example
from edgeflownas.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeflownas.evaluate.pool import PoolEvaluation
    from edgeflownas.report.console import Console
    from edgeflownas.search.truth import TruthTable
    from edgeflownas.space import Arch
    from edgeflownas.train.reading import ReadRun

__all__ = ["trust"]


def trust(
    run: Path,
    /,
    *,
    truth: Paths | None = None,
    against: Paths | None = None,
    calibrations: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    ranking: Path | None = None,
    between: str | None = None,
    checkpoint: str = "latest",
    weights: str = "model",
    seed: int = 0,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """How far the ranking of a supernet can be trusted.

    Example: edgeflownas trust RUN --truth RUN RUN ..., or RANKING --between epe,COLUMN

    Subnets trained alone are evaluated on the frozen calibration and evaluation sets of RUN, and so are the same
    subnets with the supernet's weights. Printed are rank correlation, top picks and regret with 95 % intervals, beside
    rankings by size, and how well two trainings of one subnet agree. Writes nothing. docs/trust.md defines all of it.

    Args:
        run: run directory, of the supernet (with --between a ranking).
        truth: runs of single subnets (train.task standalone), or folders of several.
        against: further supernet runs; the change of the rank correlation has a paired interval.
        calibrations: numbers of calibration batches with which RUN is read again, likewise.
        ranking: take RUN's errors from this table of `edgeflownas rank` instead of evaluating it.
        between: two columns of a ranking, such as epe,epe_sintel_clean: how well the first orders the second.
        checkpoint: of RUN: latest, best, or a name such as step-00001234.
        weights: of RUN: model, or ema for the moving average.
        seed: of the bootstrap.
        json: machine-readable result on stdout.
        overrides: configuration keys that are others here, such as --data.val_dir DIR where the data moved.
    """
    if between is not None:
        if truth or against or calibrations or ranking or overrides:
            raise ConfigError("--between compares two columns of one table; it goes with no other option but --seed")
        document = _between(run, between, seed)
    elif not truth:
        raise ConfigError(f"--truth: give runs of subnets trained alone: {example(trust)}")
    else:
        from edgeflownas.report.console import Console

        wanted = _Wanted(truth, against or [], calibrations or [], ranking)
        found = _measure(run, checkpoint, weights, overrides, wanted, Console())
        document = _document(found, seed)
    _show(document, json)
    return 0


@dataclass(frozen=True)
class _Wanted:
    truth: Sequence[Path]
    against: Sequence[Path]
    calibrations: Sequence[int]
    ranking: Path | None


@dataclass(frozen=True)
class _Found:
    """Everything measured; EPEs by name of the ranking, RUN's own first, in the order of the table's subnets."""

    base: ReadRun
    table: TruthTable
    truth_steps: int
    zero_flow_epe: float
    rankings: dict[str, Sequence[float]]
    own: PoolEvaluation | None
    notes: list[str]


def _measure(
    path: Path, checkpoint: str, weights: str, overrides: Sequence[str], wanted: _Wanted, console: Console
) -> _Found:
    from edgeflownas.search.truth import Judge, open_like, read_alone, truth_table
    from edgeflownas.train.reading import read_run

    notes: list[str] = []
    base = read_run(path, checkpoint, weights, overrides=overrides, note=notes.append)
    if base.config.train.task != "supernet":
        raise ConfigError(f"{path} is a run of train.task {base.config.train.task}: only a supernet has a ranking")
    alone = read_alone(base, wanted.truth)
    others = [open_like(base, other, "--against", ("supernet",)) for other in wanted.against]
    if (few := min(wanted.calibrations, default=1)) < 1:
        raise ConfigError(f"--calibrations {few}: must be a positive number of batches")
    archs = list(dict.fromkeys(one.arch for one in alone))
    judge, name, own = Judge(base), path.resolve().name, None
    rankings: dict[str, Sequence[float]] = {}
    networks = len(alone) + len(others) + len(wanted.calibrations) + (wanted.ranking is None)
    with console.task("trust", networks * judge.batches) as meter:
        judge.advance = meter.advance
        if wanted.ranking is None:
            own = judge.score(base.net, archs)
            rankings[name] = own.epes
        else:
            rankings[name] = _from_table(base, archs, wanted.ranking)
        truths = judge.alone(alone)
        for run, config in others:
            label = run.path.resolve().name
            label = label if label not in rankings else str(run.path)
            rankings[label] = judge.score(judge.load(run, config)[0], archs).epes
        for batches in dict.fromkeys(wanted.calibrations):
            calibration = judge.calibration(batches, notes.append)
            rankings[f"{name}, calibration {batches}"] = judge.score(base.net, archs, calibration).epes
    steps = int(alone[0].run.manifest["plan"]["total_steps"])
    return _Found(base, truth_table(alone, truths), steps, truths[0].zero_flow_epe, rankings, own, notes)


def _from_table(base: ReadRun, archs: list[Arch], path: Path) -> list[float]:
    """EPEs of the subnets in the table of ``edgeflownas rank``, which must be of these weights and sets."""
    from edgeflownas.evaluate.ranking import read_ranking

    table = read_ranking(path)
    for fact, ours in (("checkpoint_hash", base.checkpoint.hash), ("eval_set", base.eval_set.hash)):
        if table.facts.get(fact) != ours:
            raise DataError(
                f"--ranking {path}: its {fact} is {table.facts.get(fact, 'not known')}, that of "
                f"{base.directory.path} {ours}: rank this run again, or leave --ranking out to evaluate it"
            )
    epes = dict(zip(table.codes, table.columns["epe"].tolist(), strict=True))
    missing = [str(arch) for arch in archs if str(arch) not in epes]
    if missing:
        raise DataError(f"--ranking {path}: subnet {missing[0]} is not in it; leave --ranking out to evaluate it")
    return [epes[str(arch)] for arch in archs]


def _document(found: _Found, seed: int) -> dict[str, Any]:
    from edgeflownas.commands._trust_document import pairs, rankings, seeds, worst_last
    from edgeflownas.evaluate.trust import agreement, bootstrap_weights
    from edgeflownas.hardware.costs import space_costs

    base, table = found.base, found.table
    config = base.config
    costs = space_costs(base.net.space, config.train.width, config.data.crop_size, table.archs)
    sizes = {"multiply-adds": (-costs["macs"]).tolist(), "parameters": (-costs["parameters"]).tolist()}
    scores = {name: worst_last(epes) for name, epes in found.rankings.items()} | sizes
    weights = bootstrap_weights(len(table.archs), seed)
    return {
        "run": str(base.directory.path),
        "checkpoint": base.checkpoint.name,
        "eval_set": base.eval_set.hash,
        "calibration_set": base.eval_set.calibration_hash,
        "samples": table.noise.samples,
        "zero_flow_epe": found.zero_flow_epe,
        "truth_steps": found.truth_steps,
        "draws": len(weights) - 1,
        "rankings": rankings({name: agreement(table.truth, score, weights) for name, score in scores.items()}),
        "pairs": pairs(table.noise, found.own),
        "seeds": seeds(table, seed),
        "subnets": _subnets(found, costs),
        "notes": found.notes,
    }


def _subnets(found: _Found, costs: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """A row for each subnet; ``costs`` are columns of hardware/costs.py."""
    from edgeflownas.commands._trust_document import number

    table = found.table
    margins = dict(enumerate(table.noise.margins()))
    own_margins = dict(enumerate(found.own.noise.margins())) if found.own else {}
    return [
        {
            "code": str(arch),
            "truth": float(table.truth[i]),
            "truth_margin": number(margins.get(i, math.inf)),
            "by_seed": {str(s): number(row[i]) for s, row in zip(table.seeds, table.errors, strict=True)},
            "epe_margin": number(own_margins.get(i, math.inf)),
            "epe": {name: number(epes[i]) for name, epes in found.rankings.items()},
            "parameters": int(costs["parameters"][i]),
            "macs": int(costs["macs"][i]),
        }
        for i, arch in enumerate(table.archs)
    ]


def _between(path: Path, columns: str, seed: int) -> dict[str, Any]:
    """How well one column of a ranking orders another."""
    import numpy as np

    from edgeflownas.commands._trust_document import rankings
    from edgeflownas.evaluate.ranking import read_ranking
    from edgeflownas.evaluate.trust import agreement, bootstrap_weights

    table = read_ranking(path)
    names = [name.strip() for name in columns.split(",")]
    if len(names) != 2:
        raise ConfigError(f"--between {columns}: give two columns, such as epe,epe_sintel_clean")
    for name in names:
        if name not in table.columns:
            raise ConfigError(f"--between: {path} has no column {name!r} (there are: {', '.join(table.columns)})")
    first, second = (np.asarray(table.columns[name], dtype=np.float64) for name in names)
    sound = np.isfinite(first) & np.isfinite(second)
    if sound.sum() < 3:
        raise ConfigError(f"--between: {int(sound.sum())} subnets have both columns; an order of fewer than 3 is none")
    weights = bootstrap_weights(int(sound.sum()), seed)
    judged = {names[0]: agreement(second[sound], first[sound], weights)}
    facts = {name: table.facts.get(name, "") for name in names}
    left_out = [f"{int((~sound).sum())} subnets without both figures are left out"] if not sound.all() else []
    return {
        "ranking": str(path),
        "truth": names[1],
        "data": facts,
        "subnets": int(sound.sum()),
        "draws": len(weights) - 1,
        "rankings": rankings(judged),
        "notes": left_out,
    }


def _show(document: dict[str, Any], json: bool) -> None:
    if json:
        import json as encoder

        print(encoder.dumps(document, indent=2))
        return
    from edgeflownas.report.console import Console
    from edgeflownas.report.trust_text import trust_text

    Console().info(trust_text(document))
