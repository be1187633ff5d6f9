"""What each option of each block does on average over a full table, and what it costs: for documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.evaluate.noise import pool_noise, student95
from edgeflownas.evaluate.ranking import Ranking
from edgeflownas.search.anova import Anova, Factorial, anova, factorial

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def marginals(
    ranking: Ranking, feasible: NDArray[np.bool_], options: Sequence[Sequence[str]], target: str, costs: Sequence[str]
) -> dict[str, Any] | str:
    """Means by option, shares of variance, gain and cost of each step to the next option, pairwise interactions.

    Over the feasible subnets where they are a full factorial, else over the whole table where that is one, else the
    reason why there are none.

    Args:
        ranking: the table.
        feasible: which rows [A] fulfil the conditions.
        options: words of the options of each block.
        target: column of the errors that are explained.
        costs: columns that each option costs; those with gaps are left out.
    """
    found = _rows(ranking, feasible, target)
    if isinstance(found, str):
        return found
    over, rows, full = found
    columns = {name: np.asarray(ranking.columns[name], dtype=np.float64)[rows] for name in (target, *costs)}
    parts = {name: anova(full.grid(column)) for name, column in columns.items() if np.isfinite(column).all()}
    blocks = list(ranking.words)
    varied = [place for place, level in enumerate(full.levels) if len(level) > 1]
    return {
        "over": over,
        "subnets": len(rows),
        "target": target,
        "blocks": [
            {
                "name": blocks[place],
                "options": _options(place, full, options[place], parts),
                "steps": _steps(place, full, options[place], parts, _margins(ranking, rows, place, target)),
            }
            for place in varied
        ],
        "shares": {blocks[place]: parts[target].main_shares[place] for place in varied},
        "interactions": _interactions(parts[target], blocks, varied),
        "rest_share": max(0.0, parts[target].rest_share),
    }


def _rows(ranking: Ranking, feasible: NDArray[np.bool_], target: str) -> tuple[str, Rows, Factorial] | str:
    """What is averaged over: its name, rows and shape; or why there is none."""
    digits, everything = ranking.digits, np.arange(len(ranking))
    parts = [("the subnets that fulfil --where", np.flatnonzero(feasible))] if not feasible.all() else []
    why = ""
    for over, rows in (*parts, ("the whole table", everything)):
        full = factorial(digits[rows])
        if full is None:
            why = (
                f"{over} ({len(rows)} subnets) does not hold every combination of its options, so that the mean of one "
                "option would carry the effect of others: rank the whole space for it"
            )
            continue
        unknown = int((~np.isfinite(ranking.columns[target][rows])).sum())
        if not unknown:
            return over, rows, full
        why = f"{unknown} of the {len(rows)} subnets of {over} have no finite {target}"
    return why


def _options(place: int, full: Factorial, words: Sequence[str], parts: dict[str, Anova]) -> list[dict[str, Any]]:
    level_size = len(full.order) // len(full.levels[place])
    rows = []
    for level, digit in enumerate(full.levels[place]):
        epe, *costs = ((name, part.mean + float(part.main[place][level])) for name, part in parts.items())
        rows.append({"option": words[digit], "mean_epe": epe[1], "mean_cost": dict(costs), "count": level_size})
    return rows


def _steps(
    place: int, full: Factorial, words: Sequence[str], parts: dict[str, Anova], margins: list[float | None]
) -> list[dict[str, Any]]:
    """From each option to the next: EPE gained (positive is better), with margin, and what it costs."""
    steps = []
    for level, (digit, following) in enumerate(zip(full.levels[place], full.levels[place][1:], strict=False)):
        change, *costs = ((name, float(np.diff(part.main[place])[level])) for name, part in parts.items())
        steps.append(
            {
                "from": words[digit],
                "to": words[following],
                "gain": -change[1],
                "margin": margins[level] if margins else None,
                "costs": dict(costs),
                "gain_per_cost": {name: -change[1] / cost if cost > 0 else None for name, cost in costs},
            }
        )
    return steps


def _margins(ranking: Ranking, rows: Rows, place: int, target: str) -> list[float | None]:
    """Half of the 95 % interval of each step by the samples; empty where they are not kept.

    The mean over the subnets of an option is, sample by sample, again an error of that sample, so that two options are
    compared like two subnets on the same samples.
    """
    if target != "epe" or ranking.sample_epe is None or ranking.valid_pixels is None:
        return []
    digits = ranking.digits[rows, place]
    means = [ranking.sample_epe[rows[digits == digit]].mean(axis=0, dtype=np.float64) for digit in np.unique(digits)]
    found = pool_noise(np.nan_to_num(np.stack(means)), ranking.valid_pixels)
    margins = student95(found.samples) * np.diagonal(found.paired, 1)
    return [float(margin) if np.isfinite(margin) else None for margin in margins]


def _interactions(part: Anova, blocks: Sequence[str], varied: Sequence[int]) -> list[dict[str, Any]]:
    """Every pair of blocks that vary, largest share first."""
    pairs = [pair for pair in part.pairs if set(pair) <= set(varied)]
    return [
        {"blocks": [blocks[i], blocks[j]], "share": part.pair_shares[i, j], "effects": part.pairs[i, j].tolist()}
        for i, j in sorted(pairs, key=lambda pair: -part.pair_shares[pair])
    ]
