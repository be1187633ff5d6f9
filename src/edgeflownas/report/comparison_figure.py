"""EPE over samples seen, a line a run: one panel a label, so that no axis carries figures of two labels.

Where a label has no course of training (rows recorded by `edgeflownas evaluate`), its panel shows bars, one a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate.columns import csv_file
from edgeflownas.evaluate.results import Label
from edgeflownas.files import replace_file
from edgeflownas.report.comparison import LabelColumn, csv_table
from edgeflownas.report.run_facts import RunFacts

WIDTH, PANEL = 1280, 520  # px
LEFT, TOP, BOTTOM, LEGEND = 70, 64, 72, 330  # px around the axes; the legend stands to the right
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, FAINT = (40, 40, 40), (222, 222, 222)
# Okabe and Ito's colours, told apart by colour-blind readers as well (RGB)
OKABE_ITO = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90))
COLOURS = (*OKABE_ITO, (140, 86, 75), (150, 150, 0), (90, 40, 140), (20, 90, 40), (250, 128, 170))  # for many runs
LEGENDS = ("line: mean of the pool (or the model)", "band: its best to its worst subnet")

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Colours = Mapping[str, Colour]
Point = tuple[float, float, float, float]  # draws seen; mean EPE, lowest, highest of the pool


class Series(NamedTuple):
    """The course of a run, oldest first."""

    run: str
    points: Sequence[Point]


class _Axes(NamedTuple):
    """Pixels and values of the four borders."""

    left: int
    right: int
    top: int
    bottom: int
    x_end: float
    y_start: float
    y_end: float

    def place(self, x: float, y: float) -> tuple[int, int]:
        across = self.left + (self.right - self.left) * x / self.x_end
        share = (y - self.y_start) / (self.y_end - self.y_start)
        return round(across), round(self.bottom - (self.bottom - self.top) * min(max(share, 0.0), 1.0))


def comparison_figure(
    columns: Sequence[LabelColumn], curves: Mapping[Label, Sequence[Series]], legend: Sequence[str] = LEGENDS
) -> Picture:
    """RGB picture, a panel for each of ``columns``; ``legend`` says what lines and bands are."""
    assert columns, "nothing to draw"
    runs = [series.run for column in columns for series in curves.get(column.label, ())]
    runs += [row.result.run for column in columns for row in column.rows if row.result.run]
    colours = {run: COLOURS[place % len(COLOURS)] for place, run in enumerate(dict.fromkeys(runs))}
    return np.concatenate([_panel(column, curves.get(column.label, ()), colours, legend) for column in columns])


def png_file(picture: Picture) -> bytes:
    """An RGB picture as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def write_comparison(
    facts: Sequence[RunFacts], columns: Sequence[LabelColumn], table: Path | None, figure: Path | None
) -> dict[str, Path]:
    """Write the files that are asked for; returns what was written by name.

    Raises:
        ConfigError: a figure without anything to draw; StorageError: a file cannot be written.
    """
    written = {}
    if table is not None:
        replace_file(table, [csv_file(csv_table({run.name: run.details for run in facts}, columns))])
        written["table"] = table
    if figure is not None:
        if not columns:
            raise ConfigError(f"--figure {figure}: none of these runs has a result to draw yet")
        labels = [column.label for column in columns]
        curves = {
            label: [Series(run.name, run.curves[label]) for run in facts if label in run.curves] for label in labels
        }
        replace_file(figure, [png_file(comparison_figure(columns, curves))])
        written["figure"] = figure
    return written


def ticks(start: float, end: float, about: int = 5) -> list[float]:
    """Round values within start..end, a step of 1, 2 or 5 times a power of ten apart."""
    step = 10.0 ** math.floor(math.log10((end - start) / about))
    step *= next(factor for factor in (1, 2, 5, 10) if (end - start) / (step * factor) <= about)
    first = math.ceil(start / step - 1e-9)
    return [number * step for number in range(first, math.floor(end / step + 1e-9) + 1)]


def _panel(column: LabelColumn, series: Sequence[Series], colours: Colours, legend: Sequence[str]) -> Picture:
    picture = np.full((PANEL, WIDTH, 3), 255, np.uint8)
    _text(picture, f"EPE in px, {column.label.protocol} on {column.label.split}", (LEFT, 26), 0.6)
    _text(picture, column.label.samples, (LEFT, 48), 0.45, (110, 110, 110))
    drawn = [s for s in series if any(math.isfinite(point[1]) for point in s.points)]
    if drawn:
        zero = [r.result.epe for r in column.rows if not r.result.run and r.result.model in ("zero flow", "zero")]
        _curves(picture, drawn, colours, zero[0] if zero else None, legend)
    else:
        return picture[: _bars(picture, column, colours)]
    return picture


def _curves(
    picture: Picture, series: Sequence[Series], colours: Colours, zero: float | None, legend: Sequence[str]
) -> None:
    means = [point[1] for s in series for point in s.points if math.isfinite(point[1])]
    everything = [v for s in series for point in s.points for v in point[1:] if math.isfinite(v)]
    everything += [] if zero is None else [zero]
    low, high = min(everything), max(everything)
    high = min(high, 3.0 * sorted(means)[len(means) // 2] + 1e-6) if high > low else high  # a first wild evaluation
    margin = 0.06 * (high - low) or 0.1 * high or 1.0
    x_end = max(point[0] for s in series for point in s.points) * 1.03 or 1.0
    axes = _Axes(LEFT, WIDTH - LEGEND, TOP, PANEL - BOTTOM, x_end, max(0.0, low - margin), high + margin)
    _frame(picture, axes)
    if zero is not None:
        _dashes(picture, axes, zero)
    finite = [(s.run, [point for point in s.points if math.isfinite(point[1])]) for s in series]
    for run, points in finite:
        _band(picture, axes, colours[run], points)
    for run, points in finite:  # no band over a line
        _line(picture, axes, colours[run], points)
    _legend(picture, [(run, colours[run]) for run, _ in finite], zero, legend)


def _band(picture: Picture, axes: _Axes, colour: Colour, points: Sequence[Point]) -> None:
    """Lowest to highest of the pool, pale."""
    band = [point for point in points if all(map(math.isfinite, point[2:]))]
    if len(band) < 2:
        return
    outline = [axes.place(p[0], p[3]) for p in band] + [axes.place(p[0], p[2]) for p in reversed(band)]
    layer = picture.copy()
    cv2.fillPoly(layer, [np.array(outline, np.int32)], colour, cv2.LINE_AA)
    picture[:] = cv2.addWeighted(layer, 0.13, picture, 0.87, 0.0)


def _line(picture: Picture, axes: _Axes, colour: Colour, points: Sequence[Point]) -> None:
    """Mean, with a dot each evaluation."""
    places = [axes.place(point[0], point[1]) for point in points]
    cv2.polylines(picture, [np.array(places, np.int32)], False, colour, 2, cv2.LINE_AA)
    for place in places if len(places) <= 80 else places[-1:]:
        cv2.circle(picture, place, 4, colour, -1, cv2.LINE_AA)


def _frame(picture: Picture, axes: _Axes) -> None:
    for value in ticks(axes.y_start, axes.y_end):
        _, y = axes.place(0.0, value)
        cv2.line(picture, (axes.left, y), (axes.right, y), FAINT, 1)
        _text(picture, f"{value:g}", (axes.left - 8, y + 5), 0.45, right=True)
    for value in ticks(0.0, axes.x_end):
        x, _ = axes.place(value, axes.y_start)
        cv2.line(picture, (x, axes.bottom), (x, axes.bottom + 5), INK, 1)
        _text(picture, _count(value), (x, axes.bottom + 22), 0.45, centred=True)
    cv2.line(picture, (axes.left, axes.top), (axes.left, axes.bottom), INK, 1)
    cv2.line(picture, (axes.left, axes.bottom), (axes.right, axes.bottom), INK, 1)
    _text(picture, "samples seen (draws)", ((axes.left + axes.right) // 2, axes.bottom + 48), 0.5, centred=True)


def _dashes(picture: Picture, axes: _Axes, value: float) -> None:
    _, y = axes.place(0.0, value)
    for x in range(axes.left, axes.right, 14):
        cv2.line(picture, (x, y), (min(x + 7, axes.right), y), (120, 120, 120), 1)


def _legend(picture: Picture, names: Sequence[tuple[str, Colour]], zero: float | None, legend: Sequence[str]) -> None:
    x, y = WIDTH - LEGEND + 24, TOP + 10
    for run, colour in names:
        cv2.line(picture, (x, y - 5), (x + 26, y - 5), colour, 3, cv2.LINE_AA)
        _text(picture, run, (x + 36, y), 0.5, room=WIDTH - x - 44)
        y += 26
    notes = [*legend, *([] if zero is None else [f"dashes: zero flow, {zero:.2f} px"])]
    for note in notes:
        y += 20
        _text(picture, note, (x, y), 0.4, (110, 110, 110), room=WIDTH - x - 8)


def _bars(picture: Picture, column: LabelColumn, colours: Colours) -> int:
    """A bar a result, best on top, values beside them in place of an axis; returns the height that is used."""
    rows = [row.result for row in column.rows if math.isfinite(row.result.epe)]
    if not rows:
        _text(picture, "no finite result", (LEFT, TOP + 40), 0.5)
        return TOP + 80
    most = (PANEL - TOP - 40) // 18
    shown, left = rows[:most], 520
    height = min(40, (PANEL - TOP - 40) // len(shown))
    longest = max(result.epe for result in shown) or 1.0
    for place, result in enumerate(shown):
        top = TOP + 10 + place * height
        name = " ".join(filter(None, (result.run, result.model, (result.code or "").replace(",", ""))))
        middle = top + height // 2
        _text(picture, name, (left - 12, middle + 5), 0.45, right=True, room=left - 24)
        end = left + round((WIDTH - left - 120) * result.epe / longest)
        colour = colours.get(result.run, (150, 150, 150))
        cv2.rectangle(picture, (left, top + 2), (end, top + height - 4), colour, -1)
        _text(picture, f"{result.epe:.3f} px", (end + 8, middle + 5), 0.45)
    if len(rows) > len(shown):
        _text(picture, f"and {len(rows) - len(shown)} more", (left, PANEL - 12), 0.45, (110, 110, 110))
    return min(PANEL, TOP + 40 + len(shown) * height)


def _count(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _text(
    picture: Picture,
    text: str,
    place: tuple[int, int],
    size: float,
    colour: Colour = INK,
    right: bool = False,
    centred: bool = False,
    room: int | None = None,
) -> None:
    """Text at its left, right or middle end; cut with dots where it is longer than ``room`` pixels."""
    text = text.encode("ascii", "replace").decode()  # the font has no more

    def width(words: str) -> int:
        return int(cv2.getTextSize(words, FONT, size, 1)[0][0])

    if room is not None and width(text) > room:
        while len(text) > 1 and width(text + "...") > room:
            text = text[:-1]
        text += "..."
    x, y = place
    x -= width(text) if right else width(text) // 2 if centred else 0
    cv2.putText(picture, text, (x, y), FONT, size, colour, 1, cv2.LINE_AA)
