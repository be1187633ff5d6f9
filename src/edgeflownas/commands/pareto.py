"""``edgeflownas pareto``: from a ranking to a choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import WholeNumber
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.report.console import Console

__all__ = ["pareto"]

MOST_CHOSEN = 15


def pareto(
    ranking: Path,
    *,
    minimise: str = "epe,macs",
    maximise: str = "",
    where: str = "",
    reference: str = "",
    top: int | None = None,
    out: Path | None = None,
    recipe: Path | None = None,
    run: Path | None = None,
    target: str | None = None,
    mode: str = "performance",
    arena: WholeNumber | None = None,
    json: bool = False,
) -> int:
    """Choose subnets.

    Example: edgeflownas pareto RANKING [--minimise epe,macs] [--where "macs<2e9"] [--out DIR]

    The exact Pareto front over the whole table, which of its members the noise leaves in doubt and which subnets are
    tied with it, hypervolume, knee, a shortlist for training alone, and what each choice of the space is worth.
    docs/choosing.md says how to read it.

    Args:
        ranking: folder that `edgeflownas rank` wrote, its ranking.safetensors or ranking.csv.
        minimise: columns, separated by commas; the first is what the others are the cost of.
        maximise: columns that should be large.
        where: conditions on columns and on digits of blocks, such as "macs<2e9,EB0=1".
        reference: reference point of the hypervolume, a number for each objective; default: the worst feasible values.
        top: subnets on the shortlist; default: 15, or the whole table where it is smaller.
        out: write pareto.json, .csv, .png and .html and the shortlist's recipe into this folder.
        recipe: write the shortlist's recipe to this file.
        run: run whose width and data the recipe takes (with --out or --recipe); default: the one around the ranking.
        target: compile the front and the shortlist for this chip, such as grove-vision-ai-v2: its time, SRAM and flash.
        mode: of --target: performance or size, as in `edgeflownas vela`.
        arena: of --target: SRAM that mode performance may use, KiB.
        json: machine-readable result on stdout.
    """
    from edgeflownas.evaluate.ranking import read_ranking
    from edgeflownas.report.console import Console
    from edgeflownas.report.pareto_text import pareto_text
    from edgeflownas.search.choosing import choose, summary
    from edgeflownas.search.question import Question

    if run is not None and out is None and recipe is None:
        raise ConfigError("--run: only the recipe takes keys of a run; add --out or --recipe")
    table = read_ranking(ranking)
    wished = min(MOST_CHOSEN, len(table)) if top is None else top
    document = choose(table, Question(_names(minimise), _names(maximise), where, _point(reference), wished))
    console = Console()
    document = _on_chip(document, target, mode, arena, console)
    short = summary(document)
    path, text, origin = _recipe(document, out, recipe, run, _run_around(ranking), console)
    _write(out, path, text, document, short, console)  # first: a closed pipe must not cost the files
    print(_json(short) if json else pareto_text(short))
    if path is not None:
        console.info(f"train the shortlist: edgeflownas train {path} ({origin})")
    return 0


def _on_chip(
    document: dict[str, Any], target: str | None, mode: str, arena: int | None, console: Console
) -> dict[str, Any]:
    if target is None:
        if mode != "performance" or arena is not None:
            raise ConfigError("--mode and --arena say how --target is compiled for: add it, or leave them out")
        return document
    from edgeflownas.commands._target import vela_of
    from edgeflownas.search.on_chip import with_chip

    return with_chip(document, vela_of(target, console, mode, arena), console.task)


def _recipe(
    document: Mapping[str, Any],
    out: Path | None,
    recipe: Path | None,
    run: Path | None,
    around: Path | None,
    console: Console,
) -> tuple[Path | None, str, str]:
    """Where the recipe goes, its text and where its keys are from; one that nobody named may be missing."""
    from edgeflownas.search.shortlist import shortlist_recipe

    path = recipe or (out / "shortlist.yaml" if out is not None else None)
    try:
        return (None, "", "") if path is None else (path, *shortlist_recipe(document, run or around))
    except ConfigError as error:
        if recipe is not None or run is not None:
            raise
        console.warn(f"{path} is not written: {error}")
        return None, "", ""


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _point(text: str) -> tuple[float, ...]:
    import math

    try:
        point = tuple(float(part) for part in _names(text))
    except ValueError:
        point = (math.nan,)
    if not all(map(math.isfinite, point)):
        raise ConfigError(f"--reference {text}: must be numbers separated by commas, such as 12.5,4e9")
    return point


def _run_around(ranking: Path) -> Path | None:
    """The run in which `edgeflownas rank` leaves its folder by default."""
    folder = (ranking if ranking.is_dir() else ranking.parent).resolve().parent
    return folder if (folder / "run_manifest.json").is_file() else None


def _write(
    out: Path | None,
    recipe: Path | None,
    text: str,
    document: Mapping[str, Any],
    short: Mapping[str, Any],
    console: Console,
) -> None:
    from edgeflownas.files import replace_file

    files: dict[str, tuple[Path, bytes]] = {}
    if out is not None:
        from edgeflownas.report.scatter import render

        files["result"] = out / "pareto.json", (_json(short) + "\n").encode()
        files["table"] = out / "pareto.csv", _csv(document, short).encode()
        files["page"] = out / "pareto.html", render(document).encode()
        files |= _picture(out / "pareto.png", document, console)
        out.mkdir(parents=True, exist_ok=True)
    if recipe is not None:
        files["recipe"] = recipe, text.encode()
    for path, content in files.values():
        replace_file(path, [content])
    console.wrote({name: path for name, (path, _) in files.items()})


def _json(short: Mapping[str, Any]) -> str:
    from json import dumps

    return dumps(short, indent=2, allow_nan=False)


def _picture(path: Path, document: Mapping[str, Any], console: Console) -> dict[str, tuple[Path, bytes]]:
    """A missing picture must not cost the rest: it is named, with the remedy."""
    from edgeflownas.report.pareto_figure import pareto_figure

    try:
        return {"picture": (path, pareto_figure(document))}
    except ConfigError as error:
        console.warn(f"{path} is not written: {error}")
        return {}


def _csv(document: Mapping[str, Any], short: Mapping[str, Any]) -> str:
    """One row for each member of the front, each tie and each of the shortlist, in the order of the ranking."""
    import csv
    import io

    sure = {row["code"]: row["sure"] for row in short["front"]}
    names = dict(zip(document["shortlist"], document["shortlist_names"], strict=True))
    positions = sorted({*document["front"], *document["ties"], *document["shortlist"]})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    blocks, ties = document["blocks"], set(document["ties"])
    by = {"vela_by": document["chip"]["figures_by"]} if "chip" in document else {}
    heading = ["code", "kind", "sure", "shortlist", *document["values"], *(block["name"] for block in blocks), *by]
    writer.writerow(heading)
    for position in positions:
        code = document["codes"][position]
        printed = ",".join(code)
        kind = "front" if printed in sure else "tie" if position in ties else ""
        words = [block["options"][int(digit)] for block, digit in zip(blocks, code, strict=True)]
        figures = [column[position] for column in document["values"].values()]
        writer.writerow([printed, kind, sure.get(printed), names.get(position, ""), *figures, *words, *by.values()])
    return text.getvalue()
