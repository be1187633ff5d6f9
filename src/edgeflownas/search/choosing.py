"""From a ranking to a choice: front, confidence, hypervolume, knee, shortlist and marginals in one document.

The document is plain data (what JSON knows), so that tables, pictures and pages need nothing of this package.
Subnets are positions in the ranking; :func:`summary` gives the same with codes and figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.evaluate.ranking import Ranking
from edgeflownas.evaluate.ranking_parts import TIED
from edgeflownas.evaluate.where import parse_where
from edgeflownas.search.confidence import Noise, like_best, paired_noise, sure, ties, unpaired_noise
from edgeflownas.search.hypervolume import MOST_OBJECTIVES, hypervolume
from edgeflownas.search.marginals import marginals
from edgeflownas.search.pareto import fill, front, knee, spread
from edgeflownas.search.question import Question, allowed, require_question
from edgeflownas.space import SPACES

EXACT = ("parameters", "macs", "int8_weight_kib", "sram_kib")
MOST_SHOWN = 20  # members of the front on the screen
UNITS = {"macs": "MAC", "_kib": "KiB", "_ms": "ms", "epe": "px"}
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def choose(ranking: Ranking, question: Question) -> dict[str, Any]:
    """The document (keys: docs/choosing.md).

    Raises:
        ConfigError: an unknown column, conditions that no subnet fulfils, a shortlist longer than the table.
        DataError: an objective without any figure.
    """
    names = asked = question.objectives
    require_question(ranking, question)
    kept = allowed(ranking, parse_where(question.where, [*ranking.columns, *ranking.words]))
    values = np.stack([np.asarray(ranking.columns[name], dtype=np.float64) for name in names], axis=1) * question.signs
    values[~kept | ~np.isfinite(values).all(axis=1)] = np.nan
    feasible = np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
    if not feasible.any():
        raise DataError(f"none of the {int(kept.sum())} subnets has a figure for all of {', '.join(names)}")
    question = question.varied(values[feasible])
    names = question.objectives
    values = values[:, [asked.index(name) for name in names]]
    member = front(values)
    noise = [_noise(ranking, name) for name in names]
    tied, certain = ties(values, member, noise), sure(values, member, noise)
    positions = np.flatnonzero(member)
    positions = positions[np.lexsort((positions, values[positions, 0], values[positions, -1]))]  # along the cost
    bend = knee(values[positions])
    noisy = [own is not None for own in noise]
    roles = _shortlist(values, positions, tied, _baseline(ranking), bend, question, noisy)
    options = _options(ranking)
    return {
        **_table(ranking, question, options),
        "constant": {name: float(ranking.columns[name][feasible][0]) for name in asked if name not in names},
        "counts": {"table": len(ranking), "allowed": int(kept.sum()), "feasible": int(feasible.sum())},
        "front": positions.tolist(),
        "shown": _shown(values, positions, bend),
        "ties": np.flatnonzero(tied).tolist(),
        "sure": np.flatnonzero(certain).tolist() if any(noise) else None,
        "shortlist": list(roles),
        "shortlist_names": list(roles.values()),
        "knee": None if bend is None else int(positions[bend]),
        "baseline": _baseline(ranking),
        "confidence": _confidence(ranking, values, feasible, noise, question),
        "hypervolume": _volume(values[positions], values[feasible], question),
        **_marginals(ranking, kept, options, names),
    }


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without the table of all subnets: those that matter as rows, ties as codes, ready for JSON."""

    def row(position: int) -> dict[str, Any]:
        figures = {name: column[position] for name, column in document["values"].items()}
        known = document["sure"] is not None and position in document["front"]
        sure = position in document["sure"] if known else None
        return {"code": _printed(document, position), "sure": sure} | figures

    left_out = ("codes", "values", "standard_error", "sure", "shortlist_names")
    return {key: value for key, value in document.items() if key not in left_out} | {
        "front": [row(position) for position in document["front"]],
        "shown": [_printed(document, position) for position in document["shown"]],
        "ties": [_printed(document, position) for position in document["ties"]],
        "shortlist": [
            {"name": name} | row(position)
            for position, name in zip(document["shortlist"], document["shortlist_names"], strict=True)
        ],
        "knee": None if document["knee"] is None else row(document["knee"]),
        "baseline": None if document["baseline"] is None else row(document["baseline"]),
    }


def _printed(document: Mapping[str, Any], position: int) -> str:
    return ",".join(document["codes"][position])


def _noise(ranking: Ranking, name: str) -> Noise | None:
    """Of a column: from the samples' errors where they are kept, else from its standard errors, else not known."""
    if name == "epe" and ranking.sample_epe is not None and ranking.valid_pixels is not None:
        return paired_noise(ranking.sample_epe, ranking.valid_pixels)
    errors, samples = ranking.columns.get(f"{name}_standard_error"), ranking.columns.get("samples")
    return None if errors is None or samples is None else unpaired_noise(errors, int(np.nanmax(samples)))


def _shown(values: Floats, positions: NDArray[np.intp], bend: int | None) -> list[int]:
    """The front thinned to what fits a screen: its ends, the knee, and the members that cover the rest."""
    ends = [0, len(positions) - 1, *([] if bend is None else [bend])]
    return [int(positions[place]) for place in sorted(spread(values[positions], ends, MOST_SHOWN))]


def _baseline(ranking: Ranking) -> int | None:
    """Position of the space's baseline where the table holds it."""
    space = SPACES.get(ranking.space)
    code = str(space.parse(space.baseline)) if space and space.baseline else None
    return ranking.codes.index(code) if code in ranking.codes else None


def _options(ranking: Ranking) -> list[list[str]]:
    """Words of the options of every block."""
    space = SPACES.get(ranking.space)
    if space is not None:
        return [[c.words(digit).removeprefix(f"{c.name} ") for digit in range(len(c.options))] for c in space.choices]
    found = [dict(zip(digits.tolist(), ranking.words[name], strict=True)) for name, digits in ranking.blocks.items()]
    return [[words.get(digit, f"option {digit}") for digit in range(max(words) + 1)] for words in found]


def _table(ranking: Ranking, question: Question, options: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What the ranking holds, as plain data."""
    errors = ranking.columns.get(f"{question.objectives[0]}_standard_error")
    return {
        "title": f"Subnets of space {ranking.space or '?'} by {', '.join(question.objectives)}",
        "space": ranking.space,
        "facts": dict(ranking.facts),
        "blocks": [{"name": name, "options": list(words)} for name, words in zip(ranking.words, options, strict=True)],
        "columns": [
            {"name": name, "unit": _unit(name), "minimise": name not in question.maximise, "largest": _largest(column)}
            for name, column in ranking.columns.items()
        ],
        "codes": ["".join(code.split(",")) for code in ranking.codes],
        "values": {name: _plain(column) for name, column in ranking.columns.items()},
        "standard_error": None if errors is None else _plain(errors),
        "objectives": list(question.objectives),
        "where": question.where,
    }


def _marginals(ranking: Ranking, kept: Mask, options: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, Any]:
    """``marginals`` of the EPE that is an objective (else of ``epe``), or ``marginals_missing``, the reason."""
    target = next((name for name in names if name.startswith("epe")), "epe")
    costs = [name for name in names if not name.startswith("epe")]
    costs += [name for name in EXACT if name in ranking.columns and name not in costs]
    found = marginals(ranking, kept, options, target, costs)
    missing = found if isinstance(found, str) else None if found["blocks"] else "no block varies: nothing to compare"
    return {"marginals": None if missing else found, "marginals_missing": missing}


def _unit(name: str) -> str:
    return next((unit for part, unit in UNITS.items() if name.startswith(part) or name.endswith(part)), "")


def _largest(column: NDArray[Any]) -> float:
    """Largest magnitude, for the unit in which the column is written; 0 where nothing is known."""
    return float(np.abs(column[np.isfinite(column)]).max(initial=0.0))


def _plain(column: NDArray[Any]) -> list[float | int | None]:
    return [value if math.isfinite(value) else None for value in column.tolist()]


def _confidence(
    ranking: Ranking, values: Floats, feasible: Mask, noise: Sequence[Noise | None], question: Question
) -> dict[str, Any]:
    """Which objectives are noisy, by what, and how many subnets cannot be told from the best of the first such one."""
    names = question.objectives
    found: dict[str, Any] = {
        "noisy": {name: own.kind for name, own in zip(names, noise, strict=True) if own},
        "taken_as_exact": [n for n, own in zip(names, noise, strict=True) if own is None and n not in EXACT],
    }
    place = next((place for place, own in enumerate(noise) if own), None)
    own = None if place is None else noise[place]
    if place is None or own is None:
        return found | {"objective": None}
    objective = values[:, place]
    best = int(np.nanargmin(np.where(feasible, objective, np.nan)))
    alike = like_best(objective, feasible, own)
    known = ranking.facts.get(TIED)  # counted by paired errors before they were dropped
    return found | {
        "objective": names[place],
        "samples": own.samples,
        "best": best,
        "like_best": int(alike.sum()),
        "like_best_when_ranked": None if question.where or names[place] != "epe" else known and int(known),
        "within": float(np.abs(objective[alike] - objective[best]).max()),
    }


def _volume(members: Floats, feasible: Floats, question: Question) -> dict[str, Any]:
    """Hypervolume, its reference point and its share of the box from there to the best value of each objective."""
    signs, names = question.signs, question.objectives
    given = np.array(question.reference) * signs if question.reference else None
    reference, ideal = feasible.max(axis=0) if given is None else given, feasible.min(axis=0)
    found: dict[str, Any] = {
        "reference": dict(zip(names, (reference * signs).tolist(), strict=True)),
        "ideal": dict(zip(names, (ideal * signs).tolist(), strict=True)),
        "reference_is": "worst feasible value of each objective" if given is None else "given",
    }
    found["outside"] = int((members >= reference).any(axis=1).sum()) if question.reference else 0
    why = f"computed for at most {MOST_OBJECTIVES} objectives" if len(names) > MOST_OBJECTIVES else ""
    if given is None and len(feasible) == 1:
        why = "one subnet: nothing to compare"
    if why:
        return found | {"value": None, "share": None, "why": why}
    value, box = hypervolume(members, reference), float(np.prod(np.maximum(reference - ideal, 0.0)))
    return found | {"value": value, "share": value / box if box else None}


def _shortlist(
    values: Floats,
    positions: NDArray[np.intp],
    tied: Mask,
    baseline: int | None,
    bend: int | None,
    question: Question,
    noisy: Sequence[bool],
) -> dict[int, str]:
    """Position and name of ``question.top`` subnets, in the order of the last objective.

    The best in the first objective, the baseline, the knee, the best in every other objective; then always the member
    of the front farthest from those chosen; where the front does not suffice, ties near it that fill its gaps.
    """
    roles: dict[int, str] = {}
    rows = values[positions]
    roles[int(positions[rows[:, 0].argmin()])] = "best"
    if baseline is not None:
        roles.setdefault(baseline, "baseline")
    if bend is not None:
        roles.setdefault(int(positions[bend]), "knee")
    for place, name in enumerate(question.objectives[1:], start=1):
        word = "least" if question.signs[place] > 0 else "most"
        roles.setdefault(int(positions[rows[:, place].argmin()]), f"{word}_{name}")
    chosen = list(roles)[: question.top]
    fixed = [place for place in chosen if not np.isnan(values[place]).any()]  # the baseline may be outside
    pool = fixed + [place for place in positions.tolist() if place not in chosen]
    found = spread(values[pool], range(len(fixed)), len(fixed) + question.top - len(chosen))[len(fixed) :]
    roles |= {pool[place]: "front" for place in found}
    chosen += [pool[place] for place in found]
    others = [place for place in np.flatnonzero(tied).tolist() if place not in chosen]
    if others and len(chosen) < question.top:
        ties_taken = fill(values, positions.tolist(), others, noisy, question.top - len(chosen))
        roles |= dict.fromkeys(ties_taken, "tie")
        chosen += ties_taken
    chosen.sort(key=lambda place: (*np.nan_to_num(values[place, ::-1], nan=np.inf), place))
    numbers = {place: f"{number:02d}" for number, place in enumerate(chosen, start=1)}
    return {place: roles[place] + (numbers[place] if roles[place] in ("front", "tie") else "") for place in chosen}
