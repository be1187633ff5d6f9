"""Parts of the page that are text: head, key figures, the frame of a chart with its table, what a run is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflownas.report.comparison import differing
from edgeflownas.report.html.charts import Chart, Numbers
from edgeflownas.report.html.findings import flat
from edgeflownas.report.html.markup import Markup, join, table, tag

if TYPE_CHECKING:
    from edgeflownas.report.history import History

TABLE_ROWS = 100  # of a chart's table; the files hold every row


def key_figures(history: History, heading: str) -> Markup:
    """The numbers people ask for first, of the last evaluation."""
    tiles = [tile for tile in _tiles(history) if tile is not None]
    body = join(tag("div", tag("dt", name), tag("dd", value, tag("small", rest))) for name, value, rest in tiles)
    return join([tag("h3", heading) if heading else "", tag("dl", body, class_="tiles")])


def _tiles(history: History) -> Iterable[tuple[str, str, str] | None]:
    def last(column: str) -> float:
        return float(history.column(column)[-1])

    epochs = history.column("epoch")
    yield "Epoch", f"{epochs[-1]:.0f}", f" of {history.planned_epochs}" if history.planned_epochs else ""
    means = history.column("mean_epe_12")
    kind = "EPE" if history.pool_size == 1 else "Mean EPE"
    yield kind, _px(means[-1]), " px"
    if np.isfinite(means).any():
        best = int(np.nanargmin(means))
        yield f"Lowest {kind[:1].lower() + kind[1:]}", _px(means[best]), f" px at epoch {epochs[best]:.0f}"
    zero = last("zero_flow_epe")
    if math.isfinite(zero) and zero > 0.0 and math.isfinite(means[-1]):
        yield (
            "Against zero flow",
            f"{100.0 * (means[-1] / zero - 1.0):+.1f} %".replace("-", "\u2212"),
            f" ({zero:.3f} px)",
        )
    if history.pool_size > 1:
        noise = last("smallest_difference_12")
        told = f" px; told apart from {noise:.4f}" if math.isfinite(noise) else " px"
        yield "Spread of the pool", _px(last("std_epe_12")), told
    yield _percent("Clipped", last("clip_rate"), " of checks")
    with np.errstate(invalid="ignore", divide="ignore"):
        yield _percent("Data seen by an epoch", last("unique_samples") / last("train_samples"), "")
    rate = last("lr")
    yield ("Learning rate", f"{rate:.3g}", "") if math.isfinite(rate) else None


def _px(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "not finite"


def _percent(name: str, share: float, rest: str) -> tuple[str, str, str] | None:
    return (name, f"{100.0 * share:.3g} %", rest) if math.isfinite(share) else None


def runs_table(histories: Sequence[History], verdicts: Sequence[str], details: Sequence[Mapping[str, str]]) -> Markup:
    """One line a run, and the keys in which they differ; no column of EPEs, which may belong to different sets."""
    rows = []
    for history, verdict in zip(histories, verdicts, strict=True):
        planned = f" of {history.planned_epochs}" if history.planned_epochs else ""
        where = [history.text(name)[-1] or "not recorded" for name in ("split_label", "eval_set")]
        rows.append([history.name, verdict, f"{history.column('epoch')[-1]:.0f}{planned}", *where])
    header = ["run", "verdict", "epoch", "evaluated on", "evaluation set"]
    parts = [table("The runs of this page; EPEs are comparable within one figure only.", header, rows)]
    differ = differing({h.name: d for h, d in zip(histories, details, strict=True)})[0] if details else []
    if differ:
        lines = [[key, *(values.get(key, "-") for values in details)] for key in differ]
        parts.append(table("What differs in how they train.", ["key", *(h.name for h in histories)], lines))
    return join(parts)


def chart_frame(chart: Chart, axes: Mapping[str, Numbers], links: Markup | None, wide: bool) -> Markup:
    """Title, place to draw, links and the figures as a table; ``wide`` takes the whole row."""
    return tag(
        "figure",
        tag("figcaption", tag("h3", chart.title), tag("p", chart.about)),
        tag("div", class_="plot", data_chart=chart.id),
        tag("p", chart.note, class_="note") if chart.note else None,
        links,
        tag("details", tag("summary", "Figures as a table"), _chart_table(chart, axes), class_="data"),
        id=f"fig-{chart.id}",
        class_=f"chart {chart.kind}{' wide' if wide else ''}",
        data_run=chart.run,
    )


def _chart_table(chart: Chart, axes: Mapping[str, Numbers]) -> Markup:
    """A column a line, a row a place of the x axis; long histories are thinned, and it says so."""
    columns = [(f"{panel.title}: {line.name}", line) for panel in chart.panels for line in panel.series]
    columns = [(line.name, line) for _, line in columns] if chart.panels and chart.run is not None else columns
    columns = [(line.name, line) for line in chart.series] + columns
    columns = list({(name, line.x): (name, line) for name, line in columns}.values())
    places = sorted({x for _, line in columns for x in axes[line.x] if x is not None})
    every = -(-len(places) // TABLE_ROWS) if places else 1
    shown = places[::every] + ([places[-1]] if places and (len(places) - 1) % every else [])
    values = [dict(zip(axes[line.x], line.y, strict=True)) for _, line in columns]
    rows = [[f"{x:g}", *(_cell(own.get(x), chart) for own in values)] for x in shown]
    note = f"Every {every}th of {len(places)} rows; the files of the run hold all." if every > 1 else ""
    return table(f"{chart.title}: {chart.y_label}", [chart.x_label, *(name for name, _ in columns)], rows, note)


def _cell(value: float | None, chart: Chart) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if chart.digits > 4 or chart.scale == "log" else f"{value:.{chart.digits}f}"


def facts_section(history: History, details: Mapping[str, str], heading: str) -> Markup:
    """What the figures belong to: labels, training in words, data, plan, code, machine, every key."""
    parts = [tag("h3", heading), _key_table("Labels of the last evaluation", _labels(history))]
    if details:
        parts.append(_key_table("How it trains", list(details.items())))
    manifest = getattr(history.run, "manifest", None) or {}
    for name, title in (("data", "Data"), ("plan", "Plan"), ("code", "Code"), ("environment", "Environment")):
        if isinstance(manifest.get(name), dict):
            parts.append(_folded(title, flat(manifest[name])))
    config = getattr(history.run, "config", None) or {}
    if config:
        parts.append(_folded("Configuration", flat(dict(config))))
    if history.notes:
        parts.append(tag("p", "While reading: " + "; ".join(history.notes) + ".", class_="note"))
    if history.run is None:
        parts.append(
            tag("p", f"Read from {history.source.name} alone: no run directory, so no manifest.", class_="note")
        )
    return join(parts)


def _labels(history: History) -> list[tuple[str, str]]:
    if not history.rows:
        return []
    names = ("split_label", "eval_set", "calibration_set", "epe_protocol", "eval_samples_per_arch", "bn_recal_batches")
    words = (
        "split label",
        "evaluation set",
        "calibration set",
        "EPE protocol",
        "samples per subnet",
        "calibration batches",
    )
    return [(word, history.text(name)[-1] or "not recorded") for name, word in zip(names, words, strict=True)]


def _folded(title: str, rows: list[tuple[str, Any]]) -> Markup:
    return tag("details", tag("summary", f"{title} ({len(rows)})"), _key_table(title, rows))


def _key_table(title: str, rows: Sequence[tuple[str, str]]) -> Markup:
    return table(title, ["key", "value"], rows)
