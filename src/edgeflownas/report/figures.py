"""The report's figures as data: which there are, what shares an axis and in which unit, what is left out.

report.js (in the browser) and plot.py (for papers) draw the same descriptions.  A new figure is one entry of FIGURES.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeflownas.report.pool import ranks_of

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Diagnosis
    from edgeflownas.report.history import History

COLOURS = 8  # c0 to c7 of page.css

Array = NDArray[np.float64]
Numbers = tuple[float | None, ...]
Style = Literal["line", "thin", "dashed", "dotted", "points"]
STYLES: tuple[Style, ...] = ("line", "dashed", "dotted")  # of lines that differ in nothing else


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


@dataclass(frozen=True)
class Chart:
    """A figure with its axes; ``run`` is the index of the run it belongs to, None where it shows all of them."""

    id: str  # anchor: fig-<id>
    topic: str  # the name findings use: loss, epe, archs, ranks, tau, gradient, lr, coverage, time, pool
    title: str
    about: str  # one sentence: what is shown and how to read it
    y_label: str  # with unit
    kind: Literal["lines", "stack", "multiples", "ranks"] = "lines"
    series: tuple[Series, ...] = ()
    panels: tuple[Panel, ...] = ()
    x_label: str = "epoch"
    scale: Literal["linear", "log", "percent"] = "linear"
    limits: tuple[float | None, float | None] = (None, None)  # fixed ends of the y axis
    digits: int = 4
    run: int | None = None
    runs: tuple[int, ...] = ()  # whose lines it has; empty: every run's
    note: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON; what is left at its default is left out, for the sake of the page's size."""
        document: dict[str, Any] = _plain(self)
        return document


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        own = {entry.name: (getattr(value, entry.name), entry.default) for entry in fields(value)}
        return {name: _plain(found) for name, (found, default) in own.items() if found != default}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def series(name: str, x: str, values: ArrayLike, **options: Any) -> Series | None:
    """A Series of ``values`` (float [E], NaN where missing), or None where nothing finite is among them.

    ``low`` and ``high`` may be arrays too.
    """
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).any():
        return None
    for side in {"low", "high"} & options.keys():
        edge = np.asarray(options[side], np.float64)
        options[side] = compact(edge) if np.isfinite(edge).any() else None
    return Series(name, x, compact(array), **options)


def compact(values: Array | Sequence[float]) -> Numbers:
    """Six significant digits, None for what is not finite: enough for any chart, and a third of the size."""
    return tuple(float(f"{value:.6g}") if math.isfinite(value) else None for value in map(float, values))


class Line(NamedTuple):
    """A line of a run: its name in the legend (that of the run where empty), the column it shows, its look."""

    name: str
    column: str | Callable[[History], Array]
    colour: str = "c0"
    style: Style = "line"
    band: tuple[str, str, str] | None = None  # columns of its lower and upper edge, and what the band is
    alone: bool = False  # left out where the page has several runs


class Scope:
    """The histories of one page, with the names, colours and x axes they go by."""

    def __init__(self, histories: Sequence[History]) -> None:
        self.histories = tuple(histories)
        self.many = len(self.histories) > 1
        self.every = tuple(history.every_epoch() for history in histories)
        self.axes: dict[str, Numbers] = {f"e{run}": compact(h.column("epoch")) for run, h in enumerate(histories)}
        more = {f"t{run}": h.column("epoch") for run, h in enumerate(self.every) if h is not self.histories[run]}
        self.axes |= {name: compact(values) for name, values in more.items()}

    def axis(self, name: str, values: Sequence[float] | Array) -> str:
        """Make an x axis known that is not the epochs of a whole run."""
        self.axes[name] = compact(values)
        return name

    def id(self, name: str, run: int) -> str:
        """Anchor of a figure that belongs to one run."""
        return f"{name}-{run}" if self.many else name

    def of(self, run: int, words: str = " of ") -> str:
        """The run in a title, where the page has several."""
        return f"{words}{self.histories[run].name}" if self.many else ""

    def chart(self, run: int, /, name: str, topic: str, title: str, about: str, y_label: str, **more: Any) -> Chart:
        """A figure of one run, whose name it carries where there are several."""
        return Chart(self.id(name, run), topic, title + self.of(run), about, y_label, **more)

    @staticmethod
    def look(run: int) -> dict[str, Any]:
        """Colour and style of a run among several."""
        return {"colour": f"c{run % COLOURS}", "style": STYLES[run // COLOURS % 3]}

    def lines(
        self, run: int, wanted: Iterable[Line], rows: Sequence[int] | None = None, x: str = "", every: bool = False
    ) -> list[Series]:
        """The lines of one run that have a value; of its ``rows`` alone, on their own axis ``x``, or of every epoch."""
        history, found = (self.every if every else self.histories)[run], []
        x = x or (f"t{run}" if every and f"t{run}" in self.axes else f"e{run}")
        kept = slice(None) if rows is None else list(rows)
        for line in wanted:
            values = line.column(history) if callable(line.column) else history.column(line.column)
            look: dict[str, Any] = {"colour": line.colour, "style": line.style}
            if line.band is not None:
                low, high = (history.column(name)[kept] for name in line.band[:2])
                look |= {"low": low, "high": high, "band": line.band[2]}
            found.append(series(line.name or history.name, x, values[kept], **look))
        return [line for line in found if line is not None]

    def each(self, line: Line, every: bool = False) -> tuple[Series, ...]:
        """This line of every run that has it, under the run's name."""
        own = (line._replace(name="", **self.look(run)) for run in range(len(self.histories)))
        return tuple(found for run, wanted in enumerate(own) for found in self.lines(run, [wanted], every=every))


@dataclass(frozen=True)
class Declared:
    """A figure of columns, by how it shows several runs.

    ``overlay``: the first line of each run; ``panels``: a small chart a line; ``apart``: a figure for each run.
    """

    id: str
    topic: str
    title: str
    about: str
    y_label: str
    lines: tuple[Line, ...]
    several: Literal["overlay", "panels", "apart"] = "overlay"
    axes: Mapping[str, Any] = field(default_factory=dict)  # scale, limits and digits of the Chart
    pool: bool = False  # only where a run has more than one subnet
    every: bool = False  # of every epoch, evaluated or not

    def __call__(self, scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
        """The figure, or none where nothing of it was measured."""
        if self.pool and all(history.pool_size == 1 for history in scope.histories):
            return
        facts = (self.id, self.topic, self.title, self.about, self.y_label)
        if self.several == "apart" or not scope.many:
            for run in range(len(scope.histories)):
                if lines := scope.lines(run, self.lines, every=self.every):
                    yield scope.chart(run, *facts, series=tuple(lines), runs=(run,), **self.axes)
        elif self.several == "panels":
            shown = ((line.name, scope.each(line, self.every)) for line in self.lines if not line.alone)
            if panels := tuple(Panel(name, lines) for name, lines in shown if lines):
                yield Chart(*facts, "multiples", panels=panels, **self.axes)
        elif drawn := scope.each(self.lines[0], self.every):
            yield Chart(*facts, series=drawn, **self.axes)


# -- labels: which evaluations may share an axis --


EpeLabel = tuple[str, str, str, str]  # protocol and split, pixels, pool, hash of its codes; equal ones share an axis


def stretches(histories: Sequence[History]) -> dict[EpeLabel, dict[int, list[int]]]:
    """Label -> run -> its rows (ascending) under that label, labels in order of first appearance.

    The rule of `edgeflownas compare` (evaluate/results.py), for whole histories: the same pixels, the same pool, the
    same protocol.  Where it is not known which samples a history was evaluated on, it shares an axis with itself only.
    """
    found: dict[EpeLabel, dict[int, list[int]]] = {}
    for run, history in enumerate(histories):
        single = history.pool_size == 1
        digest = "" if single else hashlib.sha256("|".join(history.codes).encode()).hexdigest()
        pool = "single model" if single else f"mean of {history.pool_size} subnets"
        texts = (history.text(name) for name in ("split_label", "eval_set", "epe_protocol", "eval_samples_per_arch"))
        for row, (split, frozen, protocol, count) in enumerate(zip(*texts, strict=True)):
            samples = f"{count} samples" if count else "an unknown number of samples"
            pixels = f"{samples}, set {frozen}" if frozen else f"{samples} of {history.name}"
            words = " ".join(filter(None, [protocol, split or "unknown split"]))
            found.setdefault((words, pixels, pool, digest), {}).setdefault(run, []).append(row)
    return found


# -- figures that are more than columns --

ZERO_FLOW = Line("zero flow", "zero_flow_epe", "ink", "dotted")
ABOUT_EPE = (
    "Mean, median and 90th percentile of the pool. Zero flow is what a network that predicts no motion would score: "
    "a curve beside it has learnt next to nothing."
)
ONE_MODEL = (Line("EPE", "mean_epe_12"), Line("averaged weights", "mean_epe_12_ema", "c2", "dashed"), ZERO_FLOW)
ONE_POOL = (
    Line("mean", "mean_epe_12"),
    Line("median", "median_epe_12", "c1", "dashed", ("per_arch_epe_min", "per_arch_epe_max", "best to worst subnet")),
    Line("90th percentile", "p90_epe_12", "c3", "thin"),
    Line("averaged weights, mean", "mean_epe_12_ema", "c2", "dashed"),
    ZERO_FLOW,
)
ONE_OF_MANY = Line("", "mean_epe_12", band=("median_epe_12", "p90_epe_12", "median to 90th percentile"))
ABOUT_EPES = "Mean of each run's pool; band: median to 90th percentile. Zero flow is the score of no prediction."


def epe_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
    """EPE on the evaluation set, a figure a label."""
    labels = stretches(scope.histories)
    for place, (label, parts) in enumerate(labels.items()):
        name = "epe" if place == 0 else f"epe-{place + 1}"
        drawn: list[Series] = []
        for run, rows in parts.items():
            history = scope.histories[run]
            x = scope.axis(f"{name}.{run}", history.column("epoch")[rows])
            many = (ONE_OF_MANY._replace(**scope.look(run)), ZERO_FLOW)
            lines = many if scope.many else ONE_MODEL if history.pool_size == 1 else ONE_POOL
            drawn += scope.lines(run, lines, rows, x)
        single = all(scope.histories[run].pool_size == 1 for run in parts)
        about = "End-point error of the single model." if single else ABOUT_EPES if scope.many else ABOUT_EPE
        title, note = "EPE on the evaluation set", f"Evaluated on {', '.join(label[:3])}."
        if len(labels) > 1:
            note += " Another label has a figure of its own."
            if scope.many:
                title = f"EPE of {', '.join(scope.histories[run].name for run in parts)}"
            else:
                epochs = scope.histories[0].epochs[parts[0]]
                title += f" of epochs {epochs[0]} to {epochs[-1]}"
        yield Chart(name, "epe", title, about, "EPE (px)", series=_distinct(drawn), runs=tuple(parts), note=note)


def _distinct(drawn: Sequence[Series]) -> tuple[Series, ...]:
    """Zero flow of several runs once, its longest line, where it is the same number."""
    references: dict[float | None, Series] = {}
    for line in drawn:
        if line.name == ZERO_FLOW.name:
            value = next((y for y in line.y if y is not None), None)
            if value not in references or len(line.y) > len(references[value].y):
                references[value] = line
    return (*(line for line in drawn if line.name != ZERO_FLOW.name), *references.values())


WIDE_LINES = tuple(
    line._replace(column=f"wide_{line.column}", band=None) for line in ONE_POOL if "weights" not in line.name
)


def wide_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
    """The wide tier has another evaluation set, so it never shares an axis with the frequent one."""
    about = "The wide tier: more samples per subnet, evaluated less often. Its pixels differ from those above."
    for run, history in enumerate(scope.histories):
        kept = np.flatnonzero(np.isfinite(history.column("wide_mean_epe_12"))).tolist()
        x = scope.axis(f"wide.{run}", history.column("epoch")[kept])
        if kept:
            count = history.column("wide_samples_per_arch")[kept[-1]]
            note = f"{count:.0f} samples per subnet." if np.isfinite(count) else ""
            lines = tuple(scope.lines(run, WIDE_LINES, kept, x))
            title, more = "EPE on the wide evaluation set", {"series": lines, "runs": (run,), "note": note}
            yield scope.chart(run, "wide", "epe", title, about, "EPE (px)", **more)


def subnet_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
    """EPE and rank of each subnet, run after run, of the evaluations under the last label."""
    for run, history in enumerate(scope.histories):
        rows = max((parts[0] for parts in stretches([history]).values()), key=max, default=[])
        if history.pool_size == 1 or not rows or not np.isfinite(history.epes[rows]).any():
            continue
        epes, ranks = history.epes[rows], np.array([ranks_of(history, row) for row in rows])
        x = scope.axis(f"subnets.{run}", history.column("epoch")[rows])
        note = "" if len(rows) == len(history.rows) else f"Only the {len(rows)} evaluations under the last label."
        middles = [float(np.median(row[np.isfinite(row)])) if np.isfinite(row).any() else math.nan for row in epes]
        middle = series("median of the pool", x, middles, colour="muted", style="thin")
        assert middle is not None, "some EPE is finite"
        codes = dict(enumerate(code.replace(",", "") for code in history.codes))
        names = [f"{arch} · {codes[arch]}" if codes.get(arch) else str(arch) for arch in range(len(epes.T))]
        drawn, ranked = (
            [series(name, x, values[:, arch], arch=arch) for arch, name in enumerate(names)] for values in (epes, ranks)
        )
        yield scope.chart(
            run, "archs", "archs", "EPE of each subnet",
            "One small figure a subnet, all on the same axes; grey: the median of the pool.", "EPE (px)",
            kind="multiples", panels=tuple(Panel(own.name, (middle, own), own.arch) for own in drawn if own),
            run=run, note=note,
        )  # fmt: skip
        yield scope.chart(
            run, "ranks", "ranks", "Rank of each subnet",
            "1 is the lowest EPE; subnets tied within the noise share a rank where that was measured. Lines that cross "
            "all the time: the ranking cannot be read yet.",
            "rank", kind="ranks", series=tuple(filter(None, ranked)), digits=0, run=run, note=note,
        )  # fmt: skip


def tau_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
    """How rankings agree: with the one before, with the final and the best one, frequent with wide tier."""
    about = (
        "Kendall's tau of the ranking with the one before: 1 the same order, 0 no relation, -1 reversed. Around 0 the "
        "ranking is noise."
    )
    before = Line("with the evaluation before", "kendall_tau_prev")
    if scope.many:
        lines = scope.each(before)
    else:
        known = (diagnoses[0].stability if diagnoses else {}).get("epochs") or ()
        x = scope.axis("stability", [row["epoch"] for row in known])
        values = {key: [row.get(key) for row in known] for key in ("tau_final", "tau_best")}  # None becomes nan
        final = series("with the final one", x, values["tau_final"], colour="c2", style="dashed")
        best = series("with the best one", x, values["tau_best"], colour="c3", style="dotted")
        wide = Line("frequent with wide tier", "wide_kendall_tau", "c1", "points")
        lines = tuple(filter(None, (*scope.lines(0, [before]), final, best, *scope.lines(0, [wide]))))
    if lines:
        label = "Kendall's tau (-1 to 1)"
        yield Chart("tau", "tau", "Agreement of rankings", about, label, series=lines, limits=(-1.0, 1.0))


Groups = dict[float, list[float]]  # numbers by place, a step or an epoch


def block_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
    """Gradient norms a block and losses an option, of each run that measured them."""
    for run, history in enumerate(scope.histories):
        norms, places = _by_block(getattr(history.run, "monitor", ()), "step", "grad_norm")
        if norms:
            x, band = scope.axis(f"monitor.{run}", places), "lowest to highest path"
            panels = []
            for block, options in norms.items():
                line = _means(block, x, places, next(iter(options.values())), band)
                panels.append(Panel("all blocks" if block == "all" else block, (line,)))
            yield scope.chart(
                run, "blocks", "gradient", "Gradient norm by block",
                "From passes that change nothing (train.monitor_every): mean over the paths of a step, band from the "
                "lowest to the highest path. A block far below the others hardly learns.",
                "norm (no unit)", kind="multiples", panels=tuple(panels),
                x_label="step", scale="log", digits=3, run=run,
            )  # fmt: skip
        losses, places = _by_block(getattr(history.run, "per_option", ()), "epoch", "train_loss_relative")
        if losses:
            x, panels = scope.axis(f"options.{run}", places), []
            for block, options in losses.items():
                looks = [{"colour": f"c{n % COLOURS}", "style": STYLES[n % 3]} for n in range(len(options))]
                own = zip(sorted(options.items()), looks, strict=True)
                lines = (_means(words, x, places, groups, **look) for ((_, words), groups), look in own)
                panels.append(Panel(block, tuple(lines)))
            yield scope.chart(
                run, "options", "options", "Training loss by option",
                "Mean loss of the paths that use an option, less the mean over all paths of the epoch: below 0 the "
                "option does better than its rivals.",
                "loss difference (weighted px)", kind="multiples", panels=tuple(panels), run=run,
            )  # fmt: skip


def _by_block(
    rows: Iterable[Mapping[str, Any]], place: str, value: str
) -> tuple[dict[str, dict[tuple[str, str], Groups]], list[float]]:
    """The finite numbers of a monitor by block, by option (digit and words) and by place; and all places."""
    found: dict[str, dict[tuple[str, str], Groups]] = {}
    places = set()
    for row in rows or ():
        try:
            where, number = float(row[place]), float(row[value])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(where) and math.isfinite(number):
            option = str(row.get("option", ""))
            own = found.setdefault(str(row.get("block", "")), {})
            groups = own.setdefault((option, str(row.get("meaning") or f"option {option}")), {})
            groups.setdefault(where, []).append(number)
            places.add(where)
    return found, sorted(places)


def _means(name: str, x: str, places: Sequence[float], groups: Groups, band: str = "", **look: Any) -> Series:
    """Mean at each place, NaN where there is no number; with ``band`` from the lowest to the highest."""
    own = [groups.get(place, [math.nan]) for place in places]
    edges = {"low": list(map(min, own)), "high": list(map(max, own))} if band else {}
    line = series(name, x, [sum(group) / len(group) for group in own], band=band, **edges, **look)
    assert line is not None, "every group has a finite number"
    return line


SHARES = {
    **{"data_wait": "waiting for data", "step": "training steps", "eval": "evaluation", "recal": "recalibration"},
    **{"checkpoint": "checkpoints", "monitor": "monitors", "other": "other"},
}


def time_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> Iterator[Chart]:
    """Shares of the wall clock of each run."""
    for run, history in enumerate(scope.histories):
        measured = {name: 100.0 * history.column(f"share_{name}") for name in SHARES}
        note = "Since the row before was logged."
        if not any(np.isfinite(values).any() for values in measured.values()):
            measured, note = _estimated(history), "Of training plus evaluation; checkpoints were not timed."
        drawn = (
            series(words, f"e{run}", measured.get(name, [math.nan]), colour=f"c{place}")
            for place, (name, words) in enumerate(SHARES.items())
        )
        parts = tuple(line for line in drawn if line is not None and any(line.y))
        if parts:
            title, kind = ("Where the time went", "stack") if len(parts) > 1 else ("Waiting for data", "lines")
            facts = ("time", "time", title, "Shares of the wall clock.", "share of time (%)")
            yield scope.chart(run, *facts, kind=kind, series=parts, run=run, note=note, **PERCENT)


def _estimated(history: History) -> dict[str, Array]:
    """Shares (%) from the columns every version has: epoch, evaluation, recalibration seconds and the data wait."""
    waited = history.column("data_wait_share")
    trained, evaluated, recalibrated = map(history.column, ("epoch_seconds", "eval_seconds", "bn_recal_seconds"))
    whole = trained + np.nan_to_num(evaluated) + np.nan_to_num(recalibrated)
    if not np.isfinite(whole).any():
        return {"data_wait": 100.0 * waited}
    seconds = {"data_wait": waited * trained, "step": (1.0 - waited) * trained}
    seconds |= {"eval": evaluated, "recal": recalibrated}
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: 100.0 * own / whole for name, own in seconds.items()}


def coverage(history: History) -> Array:
    """Share of the training samples (%) that an epoch saw [E]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100.0 * history.column("unique_samples") / history.column("train_samples")


# -- all of them --

FROM_ZERO = {"limits": (0.0, None)}
PERCENT: dict[str, Any] = {"scale": "percent", "limits": (0.0, 100.0), "digits": 2}

Maker = Callable[[Scope, Sequence["Diagnosis"]], Iterator[Chart]]
FIGURES: dict[str, tuple[Maker, ...]] = {
    "Accuracy": (
        epe_charts,
        wide_charts,
        Declared(
            "loss", "loss", "Training loss",
            "Mean of the epoch's accepted steps. Total is the weighted sum over scales of optical (px) and "
            "uncertainty; the uncertainty term may go on falling, also below zero, while the flow stays as it is.",
            "loss (weighted px)",
            (
                Line("total", "train_loss"), Line("optical", "train_loss_optical", "c1", "dashed"),
                Line("uncertainty", "train_loss_uncertainty", "c2", "dotted"),
            ), "panels", every=True,
        ),
        Declared(
            "eval-loss", "loss", "Loss in evaluation",
            "Mean of the pool with recalibrated batch norm, on frozen samples: what the training loss means there.",
            "loss (weighted px)",
            tuple(
                Line(f"{where}, {part}", f"{columns}_{part}", colour, style)
                for where, columns, style in (
                    ("evaluation set", "eval_loss", STYLES[0]), ("training samples", "train_eval_loss", STYLES[1])
                )
                for part, colour in (("total", "c0"), ("optical", "c1"), ("uncertainty", "c2"))
            ), "apart",
        ),
        Declared(
            "train-epe", "epe", "EPE on a few training samples",
            "Mean of the pool on a fixed part of the training data. Far below the evaluation EPE: over-fitting. "
            "A gap between the two lines: the crops differ in difficulty.",
            "EPE (px)",
            (
                Line("centre crop, as in evaluation", "train_epe_12"),
                Line("random crop, as in training", "train_epe_random_crop_12", "c1", "dashed"),
            ), "apart",
        ),
    ),
    "Subnets": (
        subnet_charts,
        Declared(
            "spread", "spread", "Spread of the pool",
            "Standard deviation of the pool's EPEs. Differences below the smallest one the set can tell apart (95 %, "
            "where it was measured) are noise: a ranking within it cannot be read.",
            "EPE (px)",
            (
                Line("standard deviation", "std_epe_12"),
                Line("smallest difference told apart", "smallest_difference_12", "c1", "dashed"),
                Line("standard error of a subnet", "epe_standard_error_12", "muted", "dotted"),
            ), axes=FROM_ZERO, pool=True,
        ),
        tau_charts,
    ),
    "Gradients": (
        Declared(
            "gradient", "gradient", "Gradient norm",
            "Global norm before clipping: quantiles over the epoch's steps, with the threshold of the clip.",
            "norm (no unit)",
            (
                Line("median", "grad_norm_p50"), Line("90 %", "grad_norm_p90", "c2", "dashed"),
                Line("99 %", "grad_norm_p99", "c3", "thin"),
                Line("clip threshold", "clip_threshold", "c1", "dotted", alone=True),
                Line("suggested threshold", "clip_suggested", "c4", "dotted", alone=True),
            ), "panels", {"scale": "log", "digits": 3}, every=True,
        ),
        Declared(
            "clip", "gradient", "Clip rate",
            "Share of clip checks that clipped. Always 100 %: the threshold sets the step; always 0 %: it does "
            "nothing.",
            "clipped checks (%)", (Line("", lambda history: 100.0 * history.column("clip_rate")),), axes=PERCENT,
            every=True,
        ),
        block_charts,
    ),
    "Rate and data": (
        Declared(
            "lr", "lr", "Learning rate",
            "Rate after each epoch; the axis starts at 0 and shows how far it fell.",
            "rate (no unit)", (Line("", "lr"),), axes={**FROM_ZERO, "digits": 9}, every=True,
        ),
        Declared(
            "coverage", "coverage", "Coverage of the training data by one epoch",
            "Different training samples an epoch saw, of all there are.",
            "samples seen (%)", (Line("", coverage),), axes=PERCENT, every=True,
        ),
        Declared(
            "passes", "coverage", "Passes over the training data",
            "Samples drawn since the start over the size of the training set.",
            "passes", (Line("", "cumulative_passes"),), axes={**FROM_ZERO, "digits": 3}, every=True,
        ),
    ),
    "Time": (
        time_charts,
        Declared(
            "speed", "time", "Throughput",
            "Training pairs a second; every path of a step sees the same pairs.",
            "pairs per second", (Line("", "images_per_second"),), axes={**FROM_ZERO, "digits": 1},
        ),
    ),
}  # fmt: skip


def all_charts(scope: Scope, diagnoses: Sequence[Diagnosis]) -> dict[str, list[Chart]]:
    """The figures of the page by section, in its order; sections without one are left out."""
    found = {name: [c for maker in makers for c in maker(scope, diagnoses)] for name, makers in FIGURES.items()}
    return {name: charts for name, charts in found.items() if charts}
