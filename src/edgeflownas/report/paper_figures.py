"""The report's figures as PNG and SVG for papers: matplotlib draws the same descriptions (report/html/charts.py).

Text stays text in the SVG (it can be searched, and set in the paper's font), and the same history gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.report.html.charts import Chart, Numbers, Series
from edgeflownas.report.html.page import all_charts
from edgeflownas.report.html.pool import PoolRow, pool_rows
from edgeflownas.report.html.scope import Scope

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edgeflownas.report.diagnosis import Diagnosis
    from edgeflownas.report.history import History

WIDTH, HEIGHT = 6.3, 3.1  # inches: the text width of an A4 page
DPI = 200
COLUMNS = 4  # small figures in a row
# Okabe and Ito's colours, told apart by colour-blind readers as well; yellow and sky blue darkened for white paper
COLOURS = {
    **{"c0": "#0068a8", "c1": "#c44e00", "c2": "#007a5a", "c3": "#a8467e", "c4": "#8a6400", "c5": "#3b8fb5"},
    **{"c6": "#6a6a6a", "c7": "#6b3fa0", "ink": "#1c1e21", "muted": "#8a8f96", "faint": "#dddcd6"},
}
STYLES: dict[str, dict[str, Any]] = {
    "line": {"linewidth": 1.3},
    "thin": {"linewidth": 0.8},
    "dashed": {"linewidth": 1.2, "linestyle": (0, (5, 2.5))},
    "dotted": {"linewidth": 1.3, "linestyle": (0, (1, 2))},
    "points": {"linestyle": "none", "marker": "o", "markersize": 3.5},
}
SETTINGS: Any = {
    **{"svg.fonttype": "none", "svg.hashsalt": "edgeflownas", "font.size": 8, "axes.titlesize": 9},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e2dd"},
    **{"grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 7},
}


@contextmanager
def drawing(what: str) -> Iterator[type[Figure]]:
    """The class of figures, under the style of all of them.  Raises ConfigError: ``what`` needs matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            f'{what} needs the package matplotlib ({error}): pip install "edgeflownas[figures]"'
        ) from error
    with matplotlib.rc_context(SETTINGS):
        yield Figure


def write_figures(histories: Sequence[History], diagnoses: Sequence[Diagnosis], folder: Path) -> list[Path]:
    """Write every figure of the report as ID.png and ID.svg into ``folder`` (made if missing); returns the files.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the folder cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drawing(f"--figures {folder}:") as Figure:
            for name, figure in _figures(Scope(histories), diagnoses, Figure):
                for form in ("png", "svg"):
                    path = folder / f"{name}.{form}"
                    facts = {"Date": None} if form == "svg" else {"Software": None}
                    figure.savefig(path, dpi=DPI, metadata=facts)
                    written.append(path)
    except OSError as error:
        raise StorageError(f"{folder}: the figures cannot be written: {error.strerror or error}") from error
    return written


def _figures(scope: Scope, diagnoses: Sequence[Diagnosis], new: type[Figure]) -> Iterator[tuple[str, Figure]]:
    from matplotlib.ticker import MaxNLocator

    for group in all_charts(scope, diagnoses).values():
        for chart in group:
            if chart.kind == "multiples":
                yield chart.id, _multiples(chart, scope.axes, new)
            else:
                size = HEIGHT if chart.kind != "ranks" else max(HEIGHT, 0.17 * len(chart.series))
                figure = new(figsize=(WIDTH, size), layout="constrained")
                axes = figure.add_subplot()
                {"lines": _lines, "stack": _stack, "ranks": _ranks}[chart.kind](axes, chart, scope.axes)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
                yield chart.id, figure
    for run, history in enumerate(scope.histories):
        if history.pool_size > 1:
            yield scope.id("pool", run), _pool(pool_rows(history), int(history.epochs[-1]), new)


def _plot(axes: Axes, line: Series, x: Numbers, **options: Any) -> None:
    places, values = _array(x), _array(line.y)
    alone = np.isfinite(values).sum() < 2
    look = {"color": COLOURS[line.colour], **STYLES[line.style], **({"marker": "o", "markersize": 3} if alone else {})}
    axes.plot(places, values, label=_plain(line.name), **{**look, **options})
    if line.low is not None or line.high is not None:
        low, high = _array(line.low or line.y), _array(line.high or line.y)
        axes.fill_between(places, low, high, color=COLOURS[line.colour], alpha=0.15, linewidth=0, label=line.band)


def _lines(axes: Axes, chart: Chart, known: Mapping[str, Numbers]) -> None:
    for line in chart.series:
        _plot(axes, line, known[line.x])
    _scale(axes, chart)
    if len(chart.series) > 1:
        axes.legend(loc="best")


def _stack(axes: Axes, chart: Chart, known: Mapping[str, Numbers]) -> None:
    shares = np.nan_to_num(np.stack([_array(line.y) for line in chart.series]))
    names = [_plain(line.name) for line in chart.series]
    colours = [COLOURS[line.colour] for line in chart.series]
    axes.stackplot(_array(known[chart.series[0].x]), shares, labels=names, colors=colours, alpha=0.85)
    _scale(axes, chart)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _ranks(axes: Axes, chart: Chart, known: Mapping[str, Numbers]) -> None:
    """First and last rank of the last evaluation in colour, the others grey; names at the right end."""
    from matplotlib.ticker import MaxNLocator

    ends = [line.y[-1] if line.y[-1] is not None else float("inf") for line in chart.series]
    order = sorted(range(len(ends)), key=lambda place: (ends[place], place))
    for place in (*order[1:-1], order[-1], order[0]):
        line = chart.series[place]
        colour = "c0" if ends[place] == 1 and ends.count(1) == 1 else "c1" if place == order[-1] else "muted"
        _plot(axes, line, known[line.x], color=COLOURS[colour], linewidth=1.4 if colour != "muted" else 0.7)
    axes.set_ylim(len(ends) + 0.5, 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(1, len(ends) + 1), [_plain(chart.series[place].name) for place in order], fontsize=6)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)


def _multiples(chart: Chart, known: Mapping[str, Numbers], new: type[Figure]) -> Figure:
    count = len(chart.panels)
    wide = min(COLUMNS, count)
    high = -(-count // wide)
    figure = new(figsize=(WIDTH, max(HEIGHT * 0.8, 1.25 * high + 0.6)), layout="constrained")
    grid = figure.subplots(high, wide, sharex=True, sharey=count > 3, squeeze=False)
    for axes, panel in zip(grid.flat, chart.panels, strict=False):
        for line in panel.series:
            colour = "c0" if line.arch is not None else line.colour
            _plot(axes, line, known[line.x], color=COLOURS[colour])
        axes.set_title(_plain(panel.title), fontsize=7)
        _scale(axes, chart)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    handles, names = grid.flat[0].get_legend_handles_labels()
    if all(panel.arch is None for panel in chart.panels) and len(names) > 1:
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=7)
    figure.suptitle(chart.title, fontsize=9)
    figure.supxlabel(chart.x_label, fontsize=8)
    figure.supylabel(chart.y_label, fontsize=8)
    return figure


def _pool(rows: Sequence[PoolRow], epoch: int, new: type[Figure]) -> Figure:
    """Bars of the difference to the best subnet, with its 95 % interval where it is known."""
    kept = [row for row in rows if np.isfinite(row.behind)]
    figure = new(figsize=(WIDTH, max(1.8, 0.19 * len(kept) + 0.8)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(kept))
    colours = [COLOURS["c5" if row.tied else "c0"] for row in kept]
    axes.barh(places, [row.behind for row in kept], color=colours, height=0.62)
    for place, row in zip(places, kept, strict=True):
        if row.interval is not None:
            axes.errorbar(row.behind, place, xerr=row.interval, color=COLOURS["ink"], linewidth=0.9, capsize=2)
    names = [f"{row.arch} {row.code.replace(',', '')}{' (baseline)' if row.baseline else ''}" for row in kept]
    axes.set_yticks(places, names, fontsize=6)
    axes.invert_yaxis()
    axes.set(title=f"Subnets at epoch {epoch}", xlabel="EPE above the best subnet (px)", ylabel="subnet")
    return figure


def _scale(axes: Axes, chart: Chart) -> None:
    if chart.scale == "log":
        axes.set_yscale("log")
        return
    low, high = chart.limits
    axes.set_ylim(bottom=low, top=high)


def _plain(text: str) -> str:
    """A name that matplotlib neither takes for mathematics (dollar signs) nor hides (a leading underscore)."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _array(values: Numbers) -> Any:
    return np.array([np.nan if value is None else value for value in values], np.float64)
