"""Pictures by matplotlib, which no other file knows: the report's figures for papers, and one picture a command.

Text stays text in an SVG (it can be searched, and set in the paper's font), and the same data give the same bytes.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.files import clean, replace_file
from edgeflownas.report.chip_views import facts_text
from edgeflownas.report.compare import LabelColumn
from edgeflownas.report.figures import Chart, Numbers, Scope, Series, all_charts
from edgeflownas.report.pool import PoolRow, pool_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from edgeflownas.evaluate.results import Label
    from edgeflownas.report.diagnosis import Diagnosis
    from edgeflownas.report.history import History
    from edgeflownas.report.run_facts import RunFacts

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
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script its font lacks shows boxes
        yield Figure


def _empty(new: type[Figure], height: float) -> tuple[Figure, Axes]:
    """A figure of the text's width and that height (inches) with one pair of axes."""
    figure = new(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def _png(figure: Figure, dpi: int = DPI) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    return data.getvalue()


def _plain(text: str) -> str:
    """A name that matplotlib neither takes for mathematics (dollar signs) nor hides (a leading underscore)."""
    escaped = clean(text.replace("\n", " ").replace("\t", " ")).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _saved(
    folder: Path, what: str, forms: Sequence[str], draw: Callable[[type[Figure]], Iterator[tuple[str, Figure]]]
) -> list[Path]:
    """The figures that ``draw`` makes, each as NAME.FORM in ``folder`` (made if missing); returns the files.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the folder cannot be written.
    """
    written: list[Path] = []
    try:
        with drawing(f"--figures {folder}:") as Figure:
            folder.mkdir(parents=True, exist_ok=True)
            for name, figure in draw(Figure):
                for form in forms:
                    written.append(folder / f"{name}.{form}")
                    facts = {"Date": None} if form == "svg" else {"Software": None}
                    figure.savefig(written[-1], dpi=DPI, metadata=facts)
    except OSError as error:
        raise StorageError(f"{folder}: {what} cannot be written: {error.strerror or error}") from error
    return written


# -- the report's figures --


def write_figures(histories: Sequence[History], diagnoses: Sequence[Diagnosis], folder: Path) -> list[Path]:
    """Write every figure of the report as ID.png and ID.svg into ``folder``; returns the files.  Raises as _saved."""
    scope = Scope(histories)
    return _saved(folder, "the figures", ("png", "svg"), lambda new: _figures(scope, diagnoses, new))


def _figures(scope: Scope, diagnoses: Sequence[Diagnosis], new: type[Figure]) -> Iterator[tuple[str, Figure]]:
    from matplotlib.ticker import MaxNLocator

    for chart in (chart for group in all_charts(scope, diagnoses).values() for chart in group):
        if chart.kind == "multiples":
            yield chart.id, _multiples(chart, scope.axes, new)
            continue
        figure, axes = _empty(new, HEIGHT if chart.kind != "ranks" else max(HEIGHT, 0.17 * len(chart.series)))
        {"lines": _lines, "stack": _stack, "ranks": _ranks}[chart.kind](axes, chart, scope.axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
        yield chart.id, figure
    for run, history in enumerate(scope.histories):
        if history.pool_size > 1:
            yield scope.id("pool", run), _pool(pool_rows(history), int(history.epochs[-1]), new)


def _plot(axes: Axes, line: Series, x: Numbers, **options: Any) -> None:
    places, values = np.array(x, np.float64), np.array(line.y, np.float64)  # None becomes nan
    alone = np.isfinite(values).sum() < 2
    look = {"color": COLOURS[line.colour], **STYLES[line.style], **({"marker": "o", "markersize": 3} if alone else {})}
    axes.plot(places, values, label=_plain(line.name), **{**look, **options})
    if line.low is not None or line.high is not None:
        low, high = (np.array(edge or line.y, np.float64) for edge in (line.low, line.high))
        axes.fill_between(places, low, high, color=COLOURS[line.colour], alpha=0.15, linewidth=0, label=line.band)


def _scale(axes: Axes, chart: Chart) -> None:
    if chart.scale == "log":
        axes.set_yscale("log")
    else:
        axes.set_ylim(*chart.limits)


def _lines(axes: Axes, chart: Chart, known: Mapping[str, Numbers]) -> None:
    for line in chart.series:
        _plot(axes, line, known[line.x])
    _scale(axes, chart)
    if len(chart.series) > 1:
        axes.legend(loc="best")


def _stack(axes: Axes, chart: Chart, known: Mapping[str, Numbers]) -> None:
    shares = np.nan_to_num(np.array([line.y for line in chart.series], np.float64))
    names, colours = zip(*((_plain(line.name), COLOURS[line.colour]) for line in chart.series), strict=True)
    axes.stackplot(np.array(known[chart.series[0].x]), shares, labels=names, colors=colours, alpha=0.85)
    _scale(axes, chart)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _ranks(axes: Axes, chart: Chart, known: Mapping[str, Numbers]) -> None:
    """First and last rank of the last evaluation in colour, the others grey; names at the right end."""
    from matplotlib.ticker import MaxNLocator

    ends = [math.inf if line.y[-1] is None else line.y[-1] for line in chart.series]
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
            _plot(axes, line, known[line.x], color=COLOURS["c0" if line.arch is not None else line.colour])
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
    (figure, axes), places = _empty(new, max(1.8, 0.19 * len(kept) + 0.8)), range(len(kept))
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


# -- `edgeflownas pareto` and `search` --


def pareto_figure(document: Mapping[str, Any]) -> bytes:
    """PNG of the first objective over the second: every subnet, front, ties, shortlist, knee and baseline.

    Raises ConfigError without matplotlib, or where there is only one objective.
    """
    if len(document["objectives"]) < 2:
        raise ConfigError("a picture needs two objectives, e.g. --minimise epe,macs")
    above, across = document["objectives"][:2]
    x, y = (np.array(document["values"][name], np.float64) for name in (across, above))  # None becomes nan
    scale = 1e6 if np.nanmax(np.abs(x)) >= 1e6 else 1.0  # figures above are written in millions
    x = x / scale
    units = {column["name"]: column["unit"] for column in document["columns"]}
    front, ties, shortlist = document["front"], document["ties"], document["shortlist"]

    def ring(rows: Sequence[int], marker: str, colour: str, label: str) -> None:
        look: dict[str, Any] = {"facecolors": "none", "edgecolors": COLOURS[colour], "linewidths": 1.0}
        axes.scatter(x[rows], y[rows], s=42, marker=marker, label=label, **look)

    with drawing("the picture") as Figure:
        figure, axes = _empty(Figure, WIDTH * 0.66)
        axes.scatter(x, y, s=2, color=COLOURS["muted"], alpha=0.35, linewidths=0, label="subnet", rasterized=True)
        if ties:
            axes.scatter(x[ties], y[ties], s=4, color=COLOURS["c5"], linewidths=0, label=f"tie ({len(ties)})")
        if len(document["objectives"]) == 2:  # of more, the front is no line
            axes.step(x[front], y[front], where="post", color=COLOURS["c0"], linewidth=0.8)
        axes.scatter(x[front], y[front], s=12, color=COLOURS["c0"], label=f"front ({len(front)})")
        ring(shortlist, "o", "c1", f"shortlist ({len(shortlist)})")
        for role, marker, colour in (("knee", "s", "c2"), ("baseline", "D", "ink")):
            if document[role] is not None:
                ring([document[role]], marker, colour, role)
        unit = f" ({'million ' if scale > 1 else ''}{units[across]})" if units[across] or scale > 1 else ""
        axes.set(xlabel=f"{across}{unit}", ylabel=f"{above} ({units[above]})" if units[above] else above)
        where = f", {document['where']}" if document["where"] else ""
        axes.set_title(f"{document['title']}{where}".replace("$", r"\$"))
        axes.legend(loc="best", markerscale=1.0)
        return _png(figure)


def search_figure(document: Mapping[str, Any]) -> bytes:
    """PNG of the curve of a search.  Raises ConfigError without matplotlib."""
    curve = document["curve"]
    with drawing("the picture") as Figure:
        figure, axes = _empty(Figure, HEIGHT)
        for place, (name, own) in enumerate(curve["strategies"].items()):
            colour, many = COLOURS[f"c{place}"], own["seeds"] > 1
            label = f"{name} ({own['seeds']} seeds)" if many else name
            axes.plot(curve["evaluations"], own["mean"], color=colour, linewidth=1.3, label=label)
            if many:
                spread = own["lowest"], own["highest"]
                axes.fill_between(curve["evaluations"], *spread, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel="subnets evaluated", ylabel="share of the exact hypervolume", ylim=(None, 1.005))
        axes.set_title(f"Search in space {document['space']}: {' and '.join(document['objectives'])}")
        axes.legend(loc="lower right")
        return _png(figure)


# -- `edgeflownas vela --figures` --

ROW = 0.155  # inches a bar takes
USES = {"tensor": "c0", "stripes": "c2", "weights": "c1"}
WORDS = {"tensor": "tensor", "stripes": "stripes of a tensor (cascade)", "weights": "weights fetched ahead"}
LETTER = 0.045  # inches a letter of a name takes
LINE, LINE_SMALL = 80, 135  # letters of a title that fit into the picture
ROOM = 1.12  # height of the picture, of the peak: the legend is above


def write_vela_figures(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write NAME_latency.png and NAME_sram.png of one model (docs/vela.md) into ``folder``.  Raises as _saved."""
    kinds = {"latency": _latency, "sram": _sram}
    name = document["name"]
    return _saved(
        folder,
        "the pictures",
        ["png"],
        lambda new: ((f"{name}_{kind}", draw(document, new)) for kind, draw in kinds.items()),
    )


def _latency(document: Mapping[str, Any], new: type[Figure]) -> Figure:
    """A bar for each operator, first at the top, its colour by kind."""
    layers = document["layers"]
    figure, axes = _empty(new, 0.9 + ROW * len(layers))
    unit = document["milliseconds"] / document["cycles"]
    for number, kind in enumerate(dict.fromkeys(layer["kind"] for layer in layers)):
        rows = [row for row, layer in enumerate(layers) if layer["kind"] == kind]
        times = [layers[row]["cycles"] * unit for row in rows]
        bars = axes.barh(rows, times, color=COLOURS[f"c{number % 8}"], label=kind, height=0.75)
        axes.bar_label(bars, [f"{time:.1f}" for time in times], padding=2, fontsize=6)
    axes.set_yticks(range(len(layers)), [layer["name"] for layer in layers], fontsize=6)
    axes.set(ylim=(len(layers) - 0.4, -0.6), xlabel="ms (Vela's estimate)")
    _titles(figure, document, f"{document['milliseconds']:.1f} ms")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.legend(loc="best")
    return figure


def _sram(document: Mapping[str, Any], new: type[Figure]) -> Figure:
    """Every range of the arena as a rectangle: when across, where upwards; the moment of the peak is marked."""
    from matplotlib.patches import Rectangle

    figure, axes = _empty(new, 1.5 * HEIGHT)
    top, last = document["sram_kib"], max(int(one["end"]) + 1 for one in document["placed"])
    for one in document["placed"]:
        corner, height = (one["start"], one["address"] / 1024), one["bytes"] / 1024
        wide = one["end"] + 1 - one["start"]
        colour, word = COLOURS[USES[one["use"]]], WORDS[one["use"]]
        axes.add_patch(Rectangle(corner, wide, height, color=colour, alpha=0.35, lw=0, label=word))
        axes.add_patch(Rectangle(corner, wide, height, fill=False, ec=colour, lw=0.5))
        across, upwards = wide / last * 0.9 * WIDTH, height / (ROOM * top) * HEIGHT  # inches, a little less
        _label(axes, one["names"][-1], (corner[0] + wide / 2, corner[1] + height / 2), across, upwards)
    peak = document["peak"]
    axes.axvspan(peak["time"], peak["time"] + 1, color=COLOURS["muted"], alpha=0.25, lw=0)
    where = textwrap.shorten(", ".join(peak["operators"]), 80, placeholder=" …")
    _titles(figure, document, f"SRAM {top:,.1f} KiB, most in use at {where}")
    names: dict[int, str] = {}
    for layer in document["layers"]:
        names[layer["time"]] = f"{names[layer['time']]}, …" if layer["time"] in names else layer["name"]
    axes.set_xticks([time + 0.5 for time in names], list(names.values()), rotation=90, fontsize=5)
    axes.set(xlim=(0, last), ylim=(0, ROOM * top), ylabel="KiB of the arena")
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(list(entries.values()), list(entries), loc="upper left", ncols=3)
    return figure


def _label(axes: Axes, name: str, middle: tuple[float, float], across: float, upwards: float) -> None:
    """The name inside a rectangle of that size (inches), upright where it fits only so; nothing where it does not."""
    length = len(name) * LETTER
    if max(across, upwards) < length or min(across, upwards) < LETTER:
        return
    turn = 0 if across >= length and upwards >= LETTER else 90
    axes.text(*middle, name, ha="center", va="center", fontsize=5, color=COLOURS["ink"], rotation=turn)


def _titles(figure: Figure, document: Mapping[str, Any], result: str) -> None:
    """What is shown above, and what decides the figures below, in small letters; neither is cut off."""
    facts = document["facts"]
    figure.suptitle(textwrap.fill(f"{document['name']} on {facts['target']}: {result}", LINE), fontsize=9)
    said = facts_text(facts) + ("" if document["arena_kept"] else "; the limit of the arena is not kept")
    figure.supxlabel(textwrap.fill(said, LINE_SMALL), fontsize=6, color=COLOURS["muted"])


# -- `edgeflownas compare --figure` and the comparison of a sweep --

ACROSS, PANEL = 1280, 520  # px of a panel
BARS = 24  # results that a panel without curves shows at most
NAME = 44  # letters of a run that a legend shows
LEGENDS = ("line: mean of the pool (or the model)", "band: its best to its worst subnet")

Point = tuple[float, float, float, float]  # draws seen; mean EPE, lowest, highest of the pool


class Course(NamedTuple):
    """The course of a run, oldest first."""

    run: str
    points: Sequence[Point]


def write_comparison(facts: Sequence[RunFacts], columns: Sequence[LabelColumn], figure: Path) -> None:
    """Write the picture.  Raises ConfigError: nothing to draw, or no matplotlib; StorageError."""
    if not columns:
        raise ConfigError(f"--figure {figure}: none of these runs has a result to draw yet")
    curves = {
        label: [Course(run.name, run.curves[label]) for run in facts if label in run.curves]
        for label in (column.label for column in columns)
    }
    replace_file(figure, [comparison_figure(columns, curves)])


def comparison_figure(
    columns: Sequence[LabelColumn], curves: Mapping[Label, Sequence[Course]], legend: Sequence[str] = LEGENDS
) -> bytes:
    """PNG of EPE over samples seen, a line a run: one panel a label, so that no axis carries figures of two labels.

    Where a label has no course of training (rows recorded by `edgeflownas evaluate`), its panel shows bars, one a
    model.  ``legend`` says what lines and bands are.  Raises ConfigError without matplotlib.
    """
    assert columns, "nothing to draw"
    panels = [_finite(curves.get(column.label, ())) for column in columns]
    named = [course.run for panel in panels for course in panel]
    named += [row.result.run for column in columns for row in column.rows if row.result.run]
    looks = {run: Scope.look(place) for place, run in enumerate(dict.fromkeys(named))}
    pairs = list(zip(columns, panels, strict=True))
    heights = [PANEL if panel else 110 + 20 * min(BARS, len(column.rows)) for column, panel in pairs]
    with drawing("the picture") as Figure:
        figure = Figure(figsize=(ACROSS / 100, sum(heights) / 100), layout="constrained")
        parts = figure.subfigures(len(columns), 1, height_ratios=heights, squeeze=False)[:, 0]
        for (column, panel), part in zip(pairs, parts, strict=True):
            axes = part.add_subplot()
            axes.set_title(_plain(column.label.samples), loc="left", color=COLOURS["c6"])
            part.suptitle(_plain(f"EPE in px, {column.label.protocol} on {column.label.split}"), fontsize=11)
            if panel:
                zero = column.zero_flow_epe
                _courses(axes, panel, looks, [] if zero is None else [zero], legend)
            else:
                _bars(axes, column, looks)
        return _png(figure, 100)


def _finite(courses: Sequence[Course]) -> list[Course]:
    """The courses without the points whose mean is not finite; those that are left with none are dropped."""
    kept = (Course(run, [point for point in points if math.isfinite(point[1])]) for run, points in courses)
    return [course for course in kept if course.points]


def _courses(
    axes: Axes, panel: Sequence[Course], looks: Mapping[str, Any], zero: Sequence[float], legend: Sequence[str]
) -> None:
    """A line a run; ``zero`` holds the EPE of zero flow, if it is known."""
    for run, points in panel:
        seen, mean, low, high = np.array(points, np.float64).T
        style, colour = STYLES[looks[run]["style"]], COLOURS[looks[run]["colour"]]
        name = _plain(run if len(run) <= NAME else f"{run[: NAME - 1]}…")
        axes.plot(seen, mean, color=colour, marker="o", markersize=3.5, label=name, **style)
        axes.fill_between(seen, low, high, where=np.isfinite(low + high), color=colour, alpha=0.13, linewidth=0)
    values = np.array([point[1:] for course in panel for point in course.points])
    everything = np.append(values[np.isfinite(values)], zero)
    low, high = everything.min(), everything.max()
    high = min(high, 3.0 * float(np.median(values[:, 0])) + 1e-6) if high > low else high  # a first wild evaluation
    margin = 0.06 * (high - low) or 0.1 * high or 1.0
    axes.set(xlabel="samples seen (draws)", ylim=(max(0.0, low - margin), high + margin))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    for epe in zero:
        axes.axhline(epe, color=COLOURS["c6"], linewidth=1.0, linestyle=(0, (5, 4)))
    notes = [*legend, *(f"dashes: zero flow, {epe:.2f} px" for epe in zero)]
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="\n".join(notes), title_fontsize=7)


def _bars(axes: Axes, column: LabelColumn, looks: Mapping[str, Any]) -> None:
    """A bar a result, best on top, values beside them in place of an axis."""
    results = [row.result for row in column.rows if math.isfinite(row.result.epe)]
    shown, other = results[:BARS], {"colour": "faint"}
    names = [" ".join(filter(None, (r.run, r.model, (r.code or "").replace(",", "")))) for r in shown]
    colours = [COLOURS[looks.get(result.run, other)["colour"]] for result in shown]
    bars = axes.barh(range(len(shown)), [result.epe for result in shown], color=colours, height=0.75)
    axes.bar_label(bars, [f"{result.epe:.3f} px" for result in shown], padding=4)
    axes.set_yticks(range(len(shown)), [_plain(name) for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.grid(visible=False)
    more = f"and {len(results) - len(shown)} more" if len(results) > len(shown) else ""
    axes.set(xticks=[], xlabel=more if shown else "no finite result")
