"""From a ranking to a choice: front, confidence, hypervolume, knee, shortlist and marginals in one document.

The document is plain data (what JSON knows), so that tables, pictures and pages need nothing of this package.
Subnets are positions in the ranking; :func:`summary` gives the same with codes and figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.search import front as fronts
from edgeflownas.search.candidates import MOST_OBJECTIVES, did_you_mean, holds, parse_where, spelled
from edgeflownas.search.front import Floats, Mask, Noise, front, hypervolume, knee, spread
from edgeflownas.search.ranking import TIED, ZERO_FLOW, Ranking
from edgeflownas.space import get_space

if TYPE_CHECKING:
    from edgeflownas.hardware.vela_table import Vela

EXACT = ("parameters", "macs", "int8_weight_kib", "sram_kib")
MOST_SHOWN = 20  # members of the front on the screen
UNITS = {"macs": "MAC", "_kib": "KiB", "_ms": "ms", "epe": "px"}
PLAN = "retrain_fc2_180x240"
"""The packaged recipe whose training plan (epochs, learning rate, clipping) a shortlist takes."""
TRAIN_OF_RUN = ("width", "input_normalisation", "batch_size", "micro_batch_size")
EVAL_OF_RUN = ("eval_batches_per_arch", "batch_size", "bn_recal_batches")


# ---- what is asked ----


@dataclass(frozen=True)
class Question:
    """What is wanted of a ranking."""

    minimise: tuple[str, ...] = ("epe", "macs")
    maximise: tuple[str, ...] = ()
    where: str = ""
    reference: tuple[float, ...] = ()
    """Of the hypervolume, in the order of :attr:`objectives`; empty: the worst feasible value of each."""
    top: int = 15

    @property
    def objectives(self) -> tuple[str, ...]:
        """Columns that are minimised, then those that are maximised."""
        return (*self.minimise, *self.maximise)

    @property
    def signs(self) -> Floats:
        """By objective: 1, or -1 where it is maximised."""
        return np.array([1.0] * len(self.minimise) + [-1.0] * len(self.maximise))

    def varied(self, values: Floats) -> Question:
        """The question without objectives that are one number in all rows of ``values`` [A, K]: they decide nothing.

        Raises:
            ConfigError: fewer than two objectives of several are left.
        """
        moves = dict(zip(self.objectives, (np.ptp(values, axis=0) > 0).tolist(), strict=True))
        if all(moves.values()) or len(values) < 2 or len(moves) < 2:
            return self
        if sum(moves.values()) < 2:
            first = zip(moves.items(), values[0] * self.signs, strict=True)
            same = ", ".join(f"{name} is {value:g}" for (name, moved), value in first if not moved)
            raise ConfigError(f"{same} in all {len(values)} subnets: choose by columns that differ, or by one alone")
        lowest, highest = (tuple(name for name in names if moves[name]) for names in (self.minimise, self.maximise))
        reference = tuple(itertools.compress(self.reference, moves.values()))
        return replace(self, minimise=lowest, maximise=highest, reference=reference)

    def require_answer(self, ranking: Ranking) -> None:
        """Refuse what the ranking cannot answer.  Raises ConfigError, or DataError for a column without figures."""
        names, known, listed = self.objectives, list(ranking.columns), ", ".join(self.objectives)
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"the ranking has no column {name!r}{hint} (known: {', '.join(known)})")
            if not np.isfinite(ranking.columns[name]).any():
                raise DataError(f"column {name} of the ranking holds no figure at all: choose by another column")
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"--minimise and --maximise need columns, each once (got {listed or 'none'})")
        if (given := len(self.reference)) not in (0, len(names)):
            raise ConfigError(f"--reference has {given} numbers: give one for each of {listed}, in this order")
        if not 1 <= self.top <= len(ranking):
            raise ConfigError(f"--top {self.top}: the ranking holds {len(ranking)} subnets; give 1 to {len(ranking)}")


def allowed(ranking: Ranking, where: str) -> Mask:
    """Rows [A] that fulfil all conditions.  Raises ConfigError where none does, naming the conditions to blame."""
    conditions = parse_where(where, ranking.columns, dict(zip(ranking.words, ranking.options, strict=True)))
    values = {**ranking.columns, **ranking.blocks}
    if (found := holds(conditions, values)).any():
        return found
    for condition in conditions:
        if not holds([condition], values).any():
            name, column = condition.name, values[condition.name]
            if condition.digits is not None:
                there = ", ".join(spelled(word) for word in sorted(set(ranking.words[name])))
                raise ConfigError(f"--where {condition}: no subnet of the table fulfils it ({name} is {there})")
            span = f"{np.nanmin(column):.6g} to {np.nanmax(column):.6g}"
            raise ConfigError(f"--where {condition}: no subnet fulfils it ({name} is {span})")
    without = {str(one): holds([c for c in conditions if c != one], values).sum() for one in conditions}
    told = ", ".join(f"{count} without {name}" for name, count in without.items())
    raise ConfigError(f"--where {','.join(map(str, conditions))}: no subnet fulfils all of it ({told})")


# ---- the document ----


def choose(ranking: Ranking, question: Question) -> dict[str, Any]:
    """The document (keys: docs/choosing.md).

    Raises:
        ConfigError: an unknown column, conditions that no subnet fulfils, a shortlist longer than the table.
        DataError: an objective without any figure.
    """
    asked = question.objectives
    question.require_answer(ranking)
    kept = allowed(ranking, question.where)
    values = np.stack([np.asarray(ranking.columns[name], dtype=np.float64) for name in asked], axis=1) * question.signs
    values[~kept | ~np.isfinite(values).all(axis=1)] = np.nan
    feasible = np.asarray(np.isfinite(values).all(axis=1), dtype=np.bool_)
    if not feasible.any():
        raise DataError(f"none of the {int(kept.sum())} subnets has a figure for all of {', '.join(asked)}")
    question = question.varied(values[feasible])
    names = question.objectives
    values = values[:, [asked.index(name) for name in names]]
    member = front(values)
    noise = [_noise(ranking, name) for name in names]
    tied, certain = fronts.ties(values, member, noise), fronts.sure(values, member, noise)
    positions = np.flatnonzero(member)
    positions = positions[np.lexsort((positions, values[positions, 0], values[positions, -1]))]  # along the cost
    bend = knee(values[positions])
    ends = [0, len(positions) - 1, *([] if bend is None else [bend])]
    shown = sorted(spread(values[positions], ends, MOST_SHOWN))  # its ends, the knee, and what covers the rest
    roles = _shortlist(values, positions, tied, ranking.baseline, bend, question, [own is not None for own in noise])
    return {
        **_table(ranking, question),
        "constant": {name: float(ranking.columns[name][feasible][0]) for name in asked if name not in names},
        "counts": {"table": len(ranking), "allowed": int(kept.sum()), "feasible": int(feasible.sum())},
        "front": positions.tolist(),
        "shown": positions[shown].tolist(),
        "ties": np.flatnonzero(tied).tolist(),
        "sure": np.flatnonzero(certain).tolist() if any(noise) else None,
        "shortlist": list(roles),
        "shortlist_names": list(roles.values()),
        "knee": None if bend is None else int(positions[bend]),
        "baseline": ranking.baseline,
        "confidence": _confidence(ranking, values, feasible, noise, question),
        "hypervolume": _volume(values[positions], values[feasible], question),
        **_zero_flow(ranking, feasible, names),
        **_marginals(ranking, kept, names),
    }


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without the table of all subnets: those that matter as rows, ties as codes, ready for JSON."""
    codes = [",".join(code) for code in document["codes"]]

    def row(position: int | None) -> dict[str, Any] | None:
        if position is None:
            return None
        known = document["sure"] is not None and position in document["front"]
        figures = {name: column[position] for name, column in document["values"].items()}
        return {"code": codes[position], "sure": position in document["sure"] if known else None} | figures

    named = zip(document["shortlist"], document["shortlist_names"], strict=True)
    left_out = ("codes", "values", "standard_error", "sure", "shortlist_names")
    return {key: value for key, value in document.items() if key not in left_out} | {
        "front": [row(position) for position in document["front"]],
        "shown": [codes[position] for position in document["shown"]],
        "ties": [codes[position] for position in document["ties"]],
        "shortlist": [{"name": name} | (row(position) or {}) for position, name in named],
        "knee": row(document["knee"]),
        "baseline": row(document["baseline"]),
    }


def _noise(ranking: Ranking, name: str) -> Noise | None:
    """Of a column: from the samples' errors where they are kept, else from its standard errors, else not known."""
    if name == "epe" and ranking.sample_epe is not None and ranking.valid_pixels is not None:
        return fronts.paired_noise(ranking.sample_epe, ranking.valid_pixels)
    errors, samples = ranking.columns.get(f"{name}_standard_error"), ranking.columns.get("samples")
    return None if errors is None or samples is None else fronts.unpaired_noise(errors, int(np.nanmax(samples)))


def _table(ranking: Ranking, question: Question) -> dict[str, Any]:
    """What the ranking holds, as plain data."""

    def plain(column: NDArray[Any]) -> list[float | int | None]:
        return [value if math.isfinite(value) else None for value in column.tolist()]

    errors = ranking.columns.get(f"{question.objectives[0]}_standard_error")
    columns = []
    for name, column in ranking.columns.items():
        unit = next((unit for part, unit in UNITS.items() if name.startswith(part) or name.endswith(part)), "")
        largest = float(np.abs(column[np.isfinite(column)]).max(initial=0.0))  # for the unit in which it is written
        columns.append({"name": name, "unit": unit, "minimise": name not in question.maximise, "largest": largest})
    return {
        "title": f"Subnets of space {ranking.space or '?'} by {', '.join(question.objectives)}",
        "space": ranking.space,
        "facts": dict(ranking.facts),
        "blocks": [{"name": name, "options": own} for name, own in zip(ranking.words, ranking.options, strict=True)],
        "columns": columns,
        "codes": ["".join(code.split(",")) for code in ranking.codes],
        "values": {name: plain(column) for name, column in ranking.columns.items()},
        "standard_error": None if errors is None else plain(errors),
        "objectives": list(question.objectives),
        "where": question.where,
    }


def _zero_flow(ranking: Ranking, feasible: Mask, names: Sequence[str]) -> dict[str, Any]:
    """``zero_flow_epe`` and the feasible subnets' ``best_epe`` (px), of the objective ``zero_flow_of``, else of epe."""
    target = next((name for name in names if ZERO_FLOW + name in ranking.columns), "epe")
    known = ranking.columns[target][feasible & np.isfinite(ranking.columns[target])]
    best = float(known.min()) if known.size else None
    return {"zero_flow_epe": ranking.zero_flow(target), "best_epe": best, "zero_flow_of": target}


def _marginals(ranking: Ranking, kept: Mask, names: Sequence[str]) -> dict[str, Any]:
    """``marginals`` of the EPE that is an objective (else of ``epe``), or ``marginals_missing``, the reason."""
    target = next((name for name in names if name.startswith("epe")), "epe")
    costs = [name for name in names if not name.startswith("epe")]
    costs += [name for name in EXACT if name in ranking.columns and name not in costs]
    found = fronts.marginals(ranking, kept, target, costs)
    missing = found if isinstance(found, str) else None if found["blocks"] else "no block varies: nothing to compare"
    return {"marginals": None if missing else found, "marginals_missing": missing}


def _confidence(
    ranking: Ranking, values: Floats, feasible: Mask, noise: Sequence[Noise | None], question: Question
) -> dict[str, Any]:
    """Which objectives are noisy, by what, and how many subnets cannot be told from the best of the first such one."""
    by_name = dict(zip(question.objectives, noise, strict=True))
    noisy = {name: own for name, own in by_name.items() if own}
    found: dict[str, Any] = {
        "noisy": {name: own.kind for name, own in noisy.items()},
        "taken_as_exact": [name for name in by_name if name not in noisy and name not in EXACT],
    }
    if not noisy:
        return found | {"objective": None}
    name, own = next(iter(noisy.items()))
    objective = values[:, question.objectives.index(name)]
    best = int(np.nanargmin(np.where(feasible, objective, np.nan)))
    alike = fronts.like_best(objective, feasible, own)
    known = ranking.facts.get(TIED)  # counted by paired errors before they were dropped
    return found | {
        "objective": name,
        "samples": own.samples,
        "best": best,
        "like_best": int(alike.sum()),
        "like_best_when_ranked": None if question.where or name != "epe" else known and int(known),
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
        "outside": 0 if given is None else int((members >= reference).any(axis=1).sum()),
    }
    if given is None and len(feasible) == 1:
        return found | {"value": None, "share": None, "why": "one subnet: nothing to compare"}
    if len(names) > MOST_OBJECTIVES:
        return found | {"value": None, "share": None, "why": f"computed for at most {MOST_OBJECTIVES} objectives"}
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
    rows = values[positions]
    roles = {int(positions[rows[:, 0].argmin()]): "best"}
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
        taken = fronts.fill(values, positions.tolist(), others, noisy, question.top - len(chosen))
        roles |= dict.fromkeys(taken, "tie")
        chosen += taken
    chosen.sort(key=lambda place: (*np.nan_to_num(values[place, ::-1], nan=np.inf), place))
    numbered = ((place, roles[place], f"{number:02d}") for number, place in enumerate(chosen, start=1))
    return {place: role + (number if role in ("front", "tie") else "") for place, role, number in numbered}


# ---- what follows from it ----


def with_vela_figures(document: Mapping[str, Any], vela: Vela, progress: Callable[[str, int], Any]) -> dict[str, Any]:
    """The document with columns ``vela_ms``, ``vela_sram_kib`` and ``vela_flash_kib``, by the chip's own compiler.

    They are of the whole graph of each member of the front and of the shortlist; None for the others.  An arena that
    Vela does not keep to is told to ``vela.note``; ``progress`` opens a bar, as Console.task does.

    Raises:
        ConfigError: a ranking that does not say width and size, no Vela, or an operator that would run on the CPU.
    """
    from edgeflownas.models.graph import subnet_graph

    facts = document["facts"]
    if not {"width", "size"} <= facts.keys() or not document["space"]:
        raise ConfigError(
            "--target: the ranking does not say its space, width and image size: give the folder that `edgeflownas "
            "rank` wrote, not its CSV alone"
        )
    rows, columns = (int(side) for side in facts["size"].split("x"))
    places = sorted({*document["front"], *document["shortlist"]})
    space, width = get_space(document["space"]), int(facts["width"])
    graphs = [subnet_graph(space, width, document["codes"][place], (rows, columns)) for place in places]
    with progress("Vela", len(graphs)) as meter:
        found = dict(zip(places, vela.figures(graphs, meter.advance), strict=True))
    most = vela.limit_kib
    if over := sum(most is not None and figures.sram_kib > most for figures in found.values()):
        vela.note(f"{over} of {len(found)} compiled subnets need more SRAM than the limit of the arena, {most:g} KiB")
    values, described = dict(document["values"]), list(document["columns"])
    names = [f"{vela.slug}_ms"] if f"{vela.slug}_ms" in values else []
    for figure, name, unit in (
        *(("milliseconds", "vela_ms", "ms"), ("sram_kib", "vela_sram_kib", "KiB")),
        ("flash_kib", "vela_flash_kib", "KiB"),
    ):
        own = {place: getattr(figures, figure) for place, figures in found.items()}
        names.append(name)
        values[name] = [own.get(place) for place in range(len(document["codes"]))]
        described.append({"name": name, "unit": unit, "minimise": True, "largest": max(own.values())})
    chip = {"columns": names, "figures_by": f"{vela.target.name}, {vela.words}"}
    return {**document, "values": values, "columns": described, "chip": chip}


def run_around(ranking: Path) -> Path | None:
    """The run in which `edgeflownas rank` leaves its folder by default."""
    folder = (ranking if ranking.is_dir() else ranking.parent).resolve().parent
    return folder if (folder / "run_manifest.json").is_file() else None


def shortlist_recipe(document: Mapping[str, Any], run: Path | None = None) -> tuple[str, str]:
    """YAML that trains each subnet of the shortlist alone, on the same batches, and where its keys are from.

    The plan is that of the packaged recipe :data:`PLAN`.  Width, batch, data and the size of the evaluation sets are
    those of the ranked ``run`` where it is given, so that the EPEs compare; else width and size as the ranking says.

    Raises:
        ConfigError: ``run`` is no run or its keys do not fit a standalone run, the ranking does not say its width and
            size and there is no run, or the space is not a declared one.
    """
    from pydantic import ValidationError

    from edgeflownas.config import Config
    from edgeflownas.config.load import dump_yaml, explain, load_config, read_recipe

    facts = document["facts"]
    if run is not None and not (run / "config.yaml").is_file():
        raise ConfigError(f"{run}: no run is here (config.yaml not found); give the run that was ranked with --run")
    if run is None and not {"width", "size"} <= facts.keys():
        raise ConfigError(
            "no recipe: a table alone does not say of which width and image size its subnets are; give the run that "
            "was ranked with --run, or the folder that `edgeflownas rank` wrote"
        )
    groups, _, _ = read_recipe(PLAN)
    codes = [",".join(document["codes"][position]) for position in document["shortlist"]]
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in facts.get("run", document["space"]))
    groups["runtime"] = {"experiment_name": f"shortlist_{name}"}
    groups["train"] |= {"space": document["space"], "arch": codes, "arch_name": document["shortlist_names"]}
    if run is not None:
        found = load_config(run / "config.yaml")
        groups["train"] |= {key: getattr(found.train, key) for key in TRAIN_OF_RUN}
        groups["data"] = found.data.model_dump(mode="json", exclude_defaults=True)
        groups["eval"] |= {key: getattr(found.eval, key) for key in EVAL_OF_RUN}
        origin = f"width, batch, data and evaluation of {run}, plan of recipe {PLAN}"
    else:
        groups["train"] |= {"width": int(facts["width"])}
        groups["data"] |= {"crop_size": [int(part) for part in facts["size"].split("x")]}
        origin = f"recipe {PLAN} with the ranking's width and size: check data.train_dir and data.val_dir"
    try:
        Config.model_validate(groups)
    except ValidationError as error:
        raise ConfigError("no recipe can be made of this shortlist: " + "; ".join(explain(error))) from None
    objectives = ", ".join(document["objectives"])
    where = f" where {document['where']}" if document["where"] else ""
    zero = document["zero_flow_epe"]
    known = (
        ""
        if zero is None
        else f"# EPE:      {document['best_epe']:.4f} px at best where ranked, zero flow {zero:.4f} px\n"
    )
    head = (
        f"# {len(codes)} subnets of space {document['space']} chosen by {objectives}{where}, each trained alone.\n"
        f"{known}"
        f"# command:  edgeflownas train THIS_FILE   (one of them: --train.arch CODE --train.arch_name NAME)\n"
        f"# keys:     {origin}\n"
    )
    return head + dump_yaml(groups), origin
