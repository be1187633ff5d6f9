"""What a chart shows, as plain data: drawn by page.js in the browser and by report/paper_figures.py for papers.

All judgement about figures (which belong on one axis, what unit they have, what is left out) is made in Python and
tested there; the two renderers only draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = tuple[float | None, ...]
Kind = Literal["lines", "stack", "multiples", "ranks"]
Style = Literal["line", "thin", "dashed", "dotted", "points"]


@dataclass(frozen=True)
class Series:
    """One line: ``y[i]`` at the i-th place of the x axis called ``x``; None where nothing was measured.

    ``colour`` is c0 to c7, ink, muted or faint (defined in page.css for light and dark).  ``low`` and ``high``, where
    given, are a band around or beside the line.  ``arch`` ties the line to an arch_index of the run's pool.
    """

    name: str
    x: str
    y: Numbers
    colour: str = "c0"
    style: Style = "line"
    low: Numbers | None = None
    high: Numbers | None = None
    band: str = ""  # what the band is, for the legend and the hover box
    arch: int | None = None


@dataclass(frozen=True)
class Panel:
    """One small chart of several that share both axes."""

    title: str
    series: tuple[Series, ...]
    arch: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A figure with its axes; ``run`` is the index of the run it belongs to, None where it shows all of them."""

    id: str  # anchor: fig-<id>
    topic: str  # the name findings use: loss, epe, archs, ranks, tau, gradient, lr, coverage, time, pool
    title: str
    about: str  # one sentence: what is shown and how to read it
    y_label: str  # with unit
    kind: Kind = "lines"
    series: tuple[Series, ...] = ()
    panels: tuple[Panel, ...] = ()
    x_label: str = "epoch"
    scale: Literal["linear", "log", "percent"] = "linear"
    limits: tuple[float | None, float | None] = (None, None)  # fixed ends of the y axis
    digits: int = 4
    run: int | None = None
    runs: tuple[int, ...] = ()  # whose lines it has; empty: every run's
    note: str = ""

    @property
    def lines(self) -> tuple[Series, ...]:
        """All series, those of the panels included."""
        return self.series + tuple(line for panel in self.panels for line in panel.series)

    def document(self) -> dict[str, Any]:
        """As JSON; what is left at its default is left out, for the sake of the page's size."""
        document: dict[str, Any] = _without_defaults(asdict(self))
        return document


def series(name: str, x: str, values: ArrayLike, **options: Any) -> Series | None:
    """A Series of ``values`` (float [E], NaN where missing), or None where nothing finite is among them.

    ``low`` and ``high`` may be arrays too.
    """
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).any():
        return None
    for side in ("low", "high"):
        if options.get(side) is not None:
            edge = np.asarray(options[side], np.float64)
            options[side] = compact(edge) if np.isfinite(edge).any() else None
    return Series(name, x, compact(array), **options)


def compact(values: NDArray[np.float64] | Sequence[float]) -> Numbers:
    """Six significant digits, None for what is not finite: enough for any chart, and a third of the size."""
    return tuple(float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, values))


_DEFAULTS: dict[str, Any] = {
    **{"style": "line", "low": None, "high": None, "band": "", "arch": None, "note": "", "run": None, "runs": ()},
    **{"series": (), "panels": (), "kind": "lines", "x_label": "epoch", "scale": "linear", "digits": 4},
}


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (k in _DEFAULTS and v == _DEFAULTS[k])}
        return {k: _without_defaults(v) for k, v in kept.items()}
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return [_without_defaults(item) for item in value]
    return value
