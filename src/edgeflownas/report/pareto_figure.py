"""The whole table as a picture: every subnet, the front, ties, shortlist, knee and baseline."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.errors import ConfigError
from edgeflownas.report.paper_figures import COLOURS, DPI, WIDTH, drawing

LARGE = 1e6  # figures above are written in millions


def pareto_figure(document: Mapping[str, Any]) -> bytes:
    """PNG of the first objective over the second; the same document gives the same bytes.

    Raises:
        ConfigError: matplotlib is not installed, or there is only one objective.
    """
    if len(document["objectives"]) < 2:
        raise ConfigError("a picture needs two objectives, e.g. --minimise epe,macs")
    above, across = document["objectives"][:2]
    x, y = _numbers(document["values"][across]), _numbers(document["values"][above])
    scale = LARGE if np.nanmax(np.abs(x)) >= LARGE else 1.0
    x = x / scale
    units = {column["name"]: column["unit"] for column in document["columns"]}
    with drawing("the picture") as Figure:
        figure = Figure(figsize=(WIDTH, WIDTH * 0.66), layout="constrained")
        axes = figure.add_subplot()
        axes.scatter(x, y, s=2, color=COLOURS["muted"], alpha=0.35, linewidths=0, label="subnet", rasterized=True)
        _marks(axes, document, x, y)
        unit = f" ({'million ' if scale > 1 else ''}{units[across]})" if units[across] or scale > 1 else ""
        axes.set(xlabel=f"{across}{unit}", ylabel=f"{above} ({units[above]})" if units[above] else above)
        where = f", {document['where']}" if document["where"] else ""
        axes.set_title(f"{document['title']}{where}".replace("$", r"\$"))
        axes.legend(loc="best", markerscale=1.0)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    return data.getvalue()


def _marks(axes: Any, document: Mapping[str, Any], x: Any, y: Any) -> None:
    front, ties = document["front"], document["ties"]
    if ties:
        axes.scatter(x[ties], y[ties], s=4, color=COLOURS["c5"], linewidths=0, label=f"tie ({len(ties)})")
    if len(document["objectives"]) == 2:  # of more, the front is no line
        axes.step(x[front], y[front], where="post", color=COLOURS["c0"], linewidth=0.8)
    axes.scatter(x[front], y[front], s=12, color=COLOURS["c0"], label=f"front ({len(front)})")
    _ring(axes, x, y, document["shortlist"], "o", COLOURS["c1"], f"shortlist ({len(document['shortlist'])})")
    for role, marker, colour in (("knee", "s", COLOURS["c2"]), ("baseline", "D", COLOURS["ink"])):
        if document[role] is not None:
            _ring(axes, x, y, [document[role]], marker, colour, role)


def _ring(axes: Any, x: Any, y: Any, rows: Sequence[int], marker: str, colour: str, label: str) -> None:
    look = {"facecolors": "none", "edgecolors": colour, "linewidths": 1.0}
    axes.scatter(x[rows], y[rows], s=42, marker=marker, label=label, **look)


def _numbers(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], np.float64)
