"""Parts of the JSON document of ``edgeflownas trust``; imported when the command runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.evaluate.noise import PoolNoise
from edgeflownas.evaluate.pool import PoolEvaluation
from edgeflownas.evaluate.trust import Agreement, Interval, attainable_tau, change, seed_noise
from edgeflownas.search.truth import TruthTable

__all__ = ["number", "pairs", "rankings", "seeds", "worst_last"]


def number(value: float) -> float | None:
    """None for what JSON has no number for: no run, or a network that diverged."""
    return float(value) if abs(value) < float("inf") else None


def worst_last(epes: Sequence[float]) -> NDArray[np.float64]:
    """Subnets without a finite error share the last place."""
    values = np.asarray(epes, dtype=np.float64)
    good = np.isfinite(values)
    return np.where(good, values, values[good].max(initial=0.0) + 1.0)


def rankings(judged: Mapping[str, Agreement]) -> list[dict[str, Any]]:
    """Figures of every ranking; the change of tau is from the first."""
    first = next(iter(judged.values()))
    rows = []
    for name, one in judged.items():
        row: dict[str, Any] = {"name": name, "tau": interval(one.tau), "spearman": interval(one.spearman)}
        row["precision"] = {str(k): interval(figure) for k, figure in one.precision.items()}
        row["regret"] = {str(k): interval(figure) for k, figure in one.regret.items()}
        paired = change(first, one)
        row["change"] = None if one is first else {**interval(paired), "smallest_visible": number(paired.half_width)}
        rows.append(row)
    return rows


def interval(figure: Interval) -> dict[str, float | None]:
    return {name: number(value) for name, value in figure._asdict().items()}


def pairs(truth: PoolNoise, own: PoolEvaluation | None) -> dict[str, int | None]:
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


def seeds(table: TruthTable, seed: int) -> dict[str, Any]:
    """How far two trainings of a subnet agree, beside the spread between subnets; px."""
    used = [s for s, row in zip(table.seeds, table.used, strict=True) if row.any()]
    document: dict[str, Any] = {"seeds": table.seeds, "in_truth": used, "truth_std": float(table.truth.std(ddof=1))}
    noise = seed_noise(table.errors, seed)
    if noise is None:
        return document | {"compared": None}
    compared = {
        "seeds": [table.seeds[row] for row in noise.rows],
        "subnets": noise.subnets,
        "tau": interval(noise.tau),
        "attainable_tau": attainable_tau(noise.tau.value),
        "std": noise.std,
    }
    return document | {"compared": compared}
