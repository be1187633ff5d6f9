"""What searches found, as plain data: fronts, and how fast they came near the exact one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.search.curve import band, reference_point, shares
from edgeflownas.search.journal import Entry
from edgeflownas.search.pareto import front
from edgeflownas.search.problem import Problem
from edgeflownas.space import Arch

POINTS = 100  # of a curve


class Ended(NamedTuple):
    """One search of a strategy and seed, with its folder and the evaluated archs in order."""

    strategy: str
    seed: int
    folder: Path
    entries: list[Entry]


def outcome(
    problem: Problem, ended: Sequence[Ended], population: int, exact: Mapping[Arch, NDArray[np.float64]] | None
) -> dict[str, Any]:
    """Fronts of every search and, with ``exact`` (objectives [K] of every subnet that fits), the curves.

    The curve of a strategy is the share of the exact front's hypervolume after so many evaluations: mean, lowest and
    highest over its seeds.

    Raises:
        DataError: values that are not those of ``exact``: it was made of other weights or other samples.
    """
    return {
        "space": problem.space.name,
        "objectives": list(problem.objectives),
        "where": ",".join(map(str, problem.where)),
        "population": population,
        "searches": [
            {
                "strategy": one.strategy,
                "seed": one.seed,
                "evaluated": len(one.entries),
                "generations": one.entries[-1].generation + 1 if one.entries else 0,
                "journal": str(one.folder / "journal.jsonl"),
                "front": _front(problem, one.entries),
            }
            for one in ended
        ],
        "curve": None if exact is None else _curve(problem, ended, population, exact),
    }


def _front(problem: Problem, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Rows by the first objective: code, objectives, the other costs, blocks in words, when it was evaluated."""
    values = _values(entries, len(problem.objectives))
    members = np.flatnonzero(front(values))
    members = members[np.lexsort(values[members].T[::-1])]
    if not members.size:
        return []
    costs = problem.costs([entries[place].arch for place in members.tolist()])
    rows = []
    for row, place in enumerate(members.tolist()):
        entry = entries[place]
        objectives = dict(zip(problem.objectives, entry.values, strict=True))
        others = {name: column[row].item() for name, column in costs.items() if name not in objectives}
        words = {
            choice.name: choice.words(digit).removeprefix(f"{choice.name} ")
            for choice, digit in zip(problem.space.choices, entry.arch, strict=True)
        }
        told = {"evaluation": place + 1, "generation": entry.generation}
        rows.append({"code": str(entry.arch), **objectives, **words, **others, **told})
    return rows


def _values(entries: Sequence[Entry], objectives: int) -> NDArray[np.float64]:
    """Objectives [A, K], nan throughout for a subnet of which one is not finite."""
    values = np.array([entry.values for entry in entries], dtype=np.float64).reshape(-1, objectives)
    return np.where(np.isfinite(values).all(axis=1, keepdims=True), values, np.nan)


def _curve(
    problem: Problem, ended: Sequence[Ended], population: int, exact: Mapping[Arch, NDArray[np.float64]]
) -> dict[str, Any]:
    table = np.array(list(exact.values()))
    members = table[front(np.where(np.isfinite(table), table, np.nan))]
    if not members.size:
        raise DataError("the ranking compared with has no subnet with finite values")
    reference = reference_point(members)
    most = max(len(one.entries) for one in ended)
    counts = _counts(population, most)
    curves: dict[str, list[list[float]]] = {}
    for one in ended:
        _require_same(problem, one, exact)
        curves.setdefault(one.strategy, []).append(
            shares(_values(one.entries, len(reference)), members, reference, counts)
        )
    return {
        "reference": dict(zip(problem.objectives, reference.tolist(), strict=True)),
        "exact_front": len(members),
        "shown": [count for count in counts if count in _doublings(population, most)],
        "evaluations": counts,
        "strategies": {
            name: dict(zip(("mean", "lowest", "highest"), band(own), strict=True)) | {"seeds": len(own)}
            for name, own in curves.items()
        },
    }


def _doublings(population: int, most: int) -> set[int]:
    return {population * 2**power for power in range(64) if population * 2**power < most} | {most}


def _counts(population: int, most: int) -> list[int]:
    """About a hundred evenly spaced, with the population, its doublings and the end."""
    return sorted({*range(max(1, most // POINTS), most + 1, max(1, most // POINTS)), *_doublings(population, most)})


def _require_same(problem: Problem, one: Ended, exact: Mapping[Arch, NDArray[np.float64]]) -> None:
    for entry in one.entries:
        known = exact[entry.arch]
        if not np.allclose(entry.values, known, rtol=1e-3, atol=1e-3, equal_nan=True):
            found, there = (
                dict(zip(problem.objectives, map(float, row), strict=True)) for row in (entry.values, known)
            )
            raise DataError(
                f"{one.folder / 'journal.jsonl'}: {entry.arch} has {found}, but {there} in the ranking compared with: "
                "that is of another checkpoint, other samples or another image size; rank this run, or leave --compare "
                "out"
            )
