"""Real figures of a chip's compiler for the front and the shortlist of a choice, beside the columns of the ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.vela_table import Vela
from edgeflownas.models.graph import subnet_graph
from edgeflownas.space import get_space

FIGURES = {"milliseconds": "ms", "sram_kib": "sram_kib", "flash_kib": "flash_kib"}


def with_chip(document: Mapping[str, Any], vela: Vela, progress: Callable[[str, int], Any]) -> dict[str, Any]:
    """The document of ``choose`` with columns ``vela_ms``, ``vela_sram_kib`` and ``vela_flash_kib``.

    They are of the whole graph of each member of the front and of the shortlist, compiled; None for the others.  An
    arena that Vela does not keep to is told to ``vela.note``.

    Args:
        document: of search/choosing.py, of a ranking that says its width and image size.
        vela: target and mode.
        progress: opens a bar with a label and a total, as Console.task does.

    Raises:
        ConfigError: a ranking that does not say them, no Vela, or an operator that would run on the CPU.
    """
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
    over = sum(most is not None and figures.sram_kib > most for figures in found.values())
    if over:
        vela.note(f"{over} of {len(found)} compiled subnets need more SRAM than the limit of the arena, {most:g} KiB")
    values, described = dict(document["values"]), list(document["columns"])
    for figure, ending in FIGURES.items():
        name = f"vela_{ending}"
        column = [getattr(found[place], figure) if place in found else None for place in range(len(document["codes"]))]
        largest = max(value for value in column if value is not None)
        values[name] = column
        described.append({"name": name, "unit": ending[-3:].strip("_").replace("kib", "KiB"), "minimise": True})
        described[-1]["largest"] = largest
    names = [f"{vela.slug}_ms"] if f"{vela.slug}_ms" in values else []
    names += [f"vela_{ending}" for ending in FIGURES.values()]
    return {
        **document,
        "values": values,
        "columns": described,
        "chip": {"columns": names, "figures_by": f"{vela.target.name}, {vela.words}"},
    }
