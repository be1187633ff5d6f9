"""``edgeflownas pareto``: from a ranking to a choice."""

import contextlib
import math
from pathlib import Path

from edgeflownas.commands._shared import Csv, Json, WholeNumber, emit
from edgeflownas.errors import ConfigError
from edgeflownas.files import encoded

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
    anyway: bool = False,
    target: str | None = None,
    mode: str = "performance",
    arena: WholeNumber | None = None,
    csv: Csv | None = None,
    json: Json = False,
) -> None:
    """Choose subnets.

    Example: edgeflownas pareto RANKING [--minimise epe,macs] [--where "macs<2e9"] [--out DIR]

    The exact Pareto front over the whole table, which of its members the noise leaves in doubt and which subnets are
    tied with it, hypervolume, knee, a shortlist for training alone, and what each choice of the space is worth.
    docs/choosing.md says how to read it.

    Args:
        ranking: folder that `edgeflownas rank` wrote, its ranking.safetensors or ranking.csv.
        minimise: columns, separated by commas; the first is what the others are the cost of.
        maximise: columns that should be large.
        where: conditions on columns and on options of blocks, such as "macs<2e9,EB0=depth2,H0Out!=k7".
        reference: reference point of the hypervolume, a number for each objective; default: the worst feasible values.
        top: subnets on the shortlist; default: 15, or the whole table where it is smaller.
        out: write pareto.json, .csv, .png and .html and the shortlist's recipe into this folder.
        recipe: write the shortlist's recipe to this file.
        run: run whose width and data the recipe takes (with --out or --recipe); default: the one around the ranking.
        anyway: write the recipe although no subnet beats zero flow.
        target: compile the front and the shortlist for this chip, such as grove-vision-ai-v2: its time, SRAM and flash.
        mode: of --target: performance or size, as in `edgeflownas vela`.
        arena: of --target: SRAM that mode performance may use, KiB.
    """
    if run is not None and out is None and recipe is None:
        raise ConfigError("--run: only the recipe takes keys of a run; add --out or --recipe")
    if anyway and out is None and recipe is None:
        raise ConfigError("--anyway: only a recipe is held back from subnets that see nothing; add --out or --recipe")
    if target is None and (mode != "performance" or arena is not None):
        raise ConfigError("--mode and --arena say how --target is compiled for: add it, or leave them out")

    from edgeflownas.files import replace_file
    from edgeflownas.report.console import Console
    from edgeflownas.report.pareto import pareto_view, write_choice
    from edgeflownas.report.views import zero_flow_alarm
    from edgeflownas.search.choose import Question, choose, run_around, shortlist_recipe, summary, with_vela_figures
    from edgeflownas.search.ranking import read_ranking

    table, console = read_ranking(ranking), Console()
    top = min(MOST_CHOSEN, len(table)) if top is None else top
    document = choose(table, Question(_names(minimise), _names(maximise), where, _point(reference), top))
    if target is not None:
        from edgeflownas.hardware.vela_table import vela_of

        document = with_vela_figures(document, vela_of(target, mode, arena, console.warn), console.task)
    short, written = summary(document), dict[str, Path]()
    shortlist = recipe or (out / "shortlist.yaml" if out is not None else None)
    if shortlist is not None and not anyway and zero_flow_alarm(short["best_epe"], short["zero_flow_epe"]):
        console.warn(f"{shortlist} is not written: no subnet beats zero flow, so this is no choice; --anyway writes it")
        shortlist = None
    try:
        text, origin = ("", "") if shortlist is None else shortlist_recipe(document, run or run_around(ranking))
    except ConfigError as error:
        if recipe is not None or run is not None:
            raise
        console.warn(f"{shortlist} is not written: {error}")
        shortlist = None
    if out is not None:  # first: a closed pipe must not cost the files
        written |= write_choice(out, document, short, console.warn)
    if shortlist is not None:
        replace_file(shortlist, [encoded(text)])
        written["recipe"] = shortlist
    console.wrote(written)
    console.wrote(emit(short, pareto_view, json, csv))
    if shortlist is not None:
        console.info(f"train the shortlist: edgeflownas train {shortlist} ({origin})")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _point(text: str) -> tuple[float, ...]:
    with contextlib.suppress(ValueError):
        point = tuple(float(part) for part in _names(text))
        if all(map(math.isfinite, point)):
            return point
    raise ConfigError(f"--reference {text}: must be numbers separated by commas, such as 12.5,4e9")
