"""Figures of what was learnt: EPE, losses, the pool's subnets and their ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.html.charts import Chart, Panel, Series, series
from edgeflownas.report.html.labels import EpeLabel, Stretch, stretches
from edgeflownas.report.html.losses import loss_charts
from edgeflownas.report.html.scope import Scope

if TYPE_CHECKING:
    from edgeflownas.report.history import History

ZERO_FLOW = {"colour": "ink", "style": "dotted"}
DASHED, DOTTED = {"style": "dashed"}, {"style": "dotted"}


def accuracy_charts(scope: Scope) -> Iterator[Chart]:
    """EPE a label, the wide tier, EPE on training samples, losses."""
    labels = stretches(scope.histories)
    for place, (label, parts) in enumerate(labels.items()):
        yield _epe(scope, label, parts, "epe" if place == 0 else f"epe-{place + 1}", len(labels) > 1)
    yield from _wide(scope)
    yield from loss_charts(scope)
    yield from _on_training_samples(scope)


def _epe(scope: Scope, label: EpeLabel, parts: list[Stretch], name: str, several: bool) -> Chart:
    drawn: list[Series | None] = []
    for run, rows in parts:
        picked = list(rows)
        history = scope.histories[run]
        x = scope.axis(f"{name}.{run}", history.column("epoch")[picked])

        def column(wanted: str, h: History = history, picked: list[int] = picked) -> NDArray[np.float64]:
            return h.column(wanted)[picked]

        drawn += _epe_of_several(scope, run, x, column) if scope.many else _epe_of_one(history, x, column)
    single = all(scope.histories[run].pool_size == 1 for run, _ in parts)
    about = "End-point error of the single model." if single else _ABOUT_EPE_MANY if scope.many else _ABOUT_EPE
    return Chart(
        id=name,
        topic="epe",
        title=_epe_title(scope, parts) if several else "EPE on the evaluation set",
        about=about,
        y_label="EPE (px)",
        series=_distinct(drawn),
        runs=tuple(run for run, _ in parts),
        note=f"Evaluated on {label}." + (" Another label has a figure of its own." if several else ""),
    )


def _epe_title(scope: Scope, parts: list[Stretch]) -> str:
    """Of one label among several: whose it is, or of one run which of its epochs."""
    if scope.many:
        names = [scope.histories[run].name for run, _ in parts]
        return f"EPE of {', '.join(names)}"
    epochs = scope.histories[0].epochs[list(parts[0].rows)]
    return f"EPE on the evaluation set of epochs {epochs[0]} to {epochs[-1]}"


_ABOUT_EPE = (
    "Mean, median and 90th percentile of the pool. Zero flow is what a network that predicts no motion would score: "
    "a curve beside it has learnt next to nothing."
)
_ABOUT_EPE_MANY = "Mean of each run's pool; band: median to 90th percentile. Zero flow is the score of no prediction."


def _epe_of_one(history: History, x: str, column: Any) -> list[Series | None]:
    if history.pool_size == 1:
        return [
            series("EPE", x, column("mean_epe_12")),
            series("averaged weights", x, column("mean_epe_12_ema"), colour="c2", style="dashed"),
            series("zero flow", x, column("zero_flow_epe"), **ZERO_FLOW),
        ]
    band = {"low": column("per_arch_epe_min"), "high": column("per_arch_epe_max"), "band": "best to worst subnet"}
    return [
        series("mean", x, column("mean_epe_12"), colour="c0"),
        series("median", x, column("median_epe_12"), colour="c1", style="dashed", **band),
        series("90th percentile", x, column("p90_epe_12"), colour="c3", style="thin"),
        series("averaged weights, mean", x, column("mean_epe_12_ema"), colour="c2", style="dashed"),
        series("zero flow", x, column("zero_flow_epe"), **ZERO_FLOW),
    ]


def _epe_of_several(scope: Scope, run: int, x: str, column: Any) -> list[Series | None]:
    band = {"low": column("median_epe_12"), "high": column("p90_epe_12"), "band": "median to 90th percentile"}
    return [
        series(scope.histories[run].name, x, column("mean_epe_12"), **band, **scope.look(run)),
        series("zero flow", x, column("zero_flow_epe"), **ZERO_FLOW),
    ]


def _distinct(drawn: list[Series | None]) -> tuple[Series, ...]:
    """Without the empty ones; zero flow of several runs once, its longest line, where it is the same number."""
    kept: list[Series] = []
    references: dict[float | None, Series] = {}
    for line in filter(None, drawn):
        if line.name == "zero flow":
            value = next((y for y in line.y if y is not None), None)
            if value not in references or len(line.y) > len(references[value].y):
                references[value] = line
        else:
            kept.append(line)
    return (*kept, *references.values())


def _wide(scope: Scope) -> Iterator[Chart]:
    """The wide tier has another evaluation set, so it never shares an axis with the frequent one."""
    for run, history in enumerate(scope.histories):
        wanted = (
            ("mean", "wide_mean_epe_12", {"colour": "c0"}),
            ("median", "wide_median_epe_12", {"colour": "c1", **DASHED}),
            ("90th percentile", "wide_p90_epe_12", {"colour": "c3", "style": "thin"}),
            ("zero flow", "wide_zero_flow_epe", ZERO_FLOW),
        )
        kept = [row for row, value in enumerate(history.column("wide_mean_epe_12")) if np.isfinite(value)]
        x = scope.axis(f"wide.{run}", history.column("epoch")[kept])
        lines = [series(name, x, history.column(column)[kept], **look) for name, column, look in wanted]
        if kept:
            count = history.column("wide_samples_per_arch")[kept[-1]]
            of_run = f" of {history.name}" if scope.many else ""
            about = "The wide tier: more samples per subnet, evaluated less often. Its pixels differ from those above."
            yield Chart(
                scope.id("wide", run), "epe", f"EPE on the wide evaluation set{of_run}", about, "EPE (px)",
                series=tuple(filter(None, lines)), runs=(run,),
                note=f"{count:.0f} samples per subnet." if np.isfinite(count) else "",
            )  # fmt: skip


def _on_training_samples(scope: Scope) -> Iterator[Chart]:
    for run, history in enumerate(scope.histories):
        lines = scope.lines(
            run,
            ("centre crop, as in evaluation", "train_epe_12", {"colour": "c0"}),
            ("random crop, as in training", "train_epe_random_crop_12", {"colour": "c1", **DASHED}),
        )
        if lines:
            yield Chart(
                scope.id("train-epe", run), "epe",
                "EPE on a few training samples" + (f" of {history.name}" if scope.many else ""),
                "Mean of the pool on a fixed part of the training data. Far below the evaluation EPE: over-fitting. "
                "A gap between the two lines: the crops differ in difficulty.",
                "EPE (px)", series=lines, runs=(run,),
            )  # fmt: skip


def last_stretch(history: History) -> list[int]:
    """Rows under the label of the last evaluation."""
    found: list[tuple[int, ...]] = [part.rows for parts in stretches([history]).values() for part in parts]
    return list(max(found, key=max, default=()))


def subnet_charts(scope: Scope, stability: Sequence[Mapping[str, Any]] = ()) -> Iterator[Chart]:
    """Per-subnet EPE and ranks, run after run; then the spread against the noise, and how rankings agree."""
    for run, history in enumerate(scope.histories):
        if history.pool_size > 1 and history.rows:
            yield from _subnets(scope, run)
    yield from _spread(scope)
    yield from _tau(scope, stability)


def _spread(scope: Scope) -> Iterator[Chart]:
    about = (
        "Standard deviation of the pool's EPEs. Differences below the smallest one the set can tell apart (95 %, "
        "where it was measured) are noise: a ranking within it cannot be read."
    )
    noise = {"colour": "c1", **DASHED}
    if scope.many:
        lines = scope.each("std_epe_12")
    else:
        lines = scope.lines(
            0,
            ("standard deviation", "std_epe_12", {"colour": "c0"}),
            ("smallest difference told apart", "smallest_difference_12", noise),
            ("standard error of a subnet", "epe_standard_error_12", {"colour": "muted", **DOTTED}),
        )
    if lines and any(history.pool_size > 1 for history in scope.histories):
        yield Chart("spread", "spread", "Spread of the pool", about, "EPE (px)", series=lines, limits=(0.0, None))


def _subnets(scope: Scope, run: int) -> Iterator[Chart]:
    history = scope.histories[run]
    rows = last_stretch(history)
    x = scope.axis(f"subnets.{run}", history.column("epoch")[rows])
    epes = history.epes[rows]
    if not np.isfinite(epes).any():
        return
    of_run = f" of {history.name}" if scope.many else ""
    part = "" if len(rows) == len(history.rows) else f" Only the {len(rows)} evaluations under the last label."
    middle = series("median of the pool", x, _median(epes), colour="muted", style="thin")
    panels = []
    for arch in range(epes.shape[1]):
        own = series(_name(history, arch), x, epes[:, arch], arch=arch)
        if own is not None and middle is not None:
            panels.append(Panel(_name(history, arch), (replace(middle), own), arch))
    yield Chart(
        scope.id("archs", run), "archs", f"EPE of each subnet{of_run}",
        "One small figure a subnet, all on the same axes; grey: the median of the pool.",
        "EPE (px)", "multiples", panels=tuple(panels), run=run, note=part.strip(),
    )  # fmt: skip
    ranks = _ranks(history, rows)
    lines = [series(_name(history, arch), x, ranks[:, arch], arch=arch) for arch in range(ranks.shape[1])]
    yield Chart(
        scope.id("ranks", run), "ranks", f"Rank of each subnet{of_run}",
        "1 is the lowest EPE; subnets tied within the noise share a rank where that was measured. Lines that cross all "
        "the time: the ranking cannot be read yet.",
        "rank", "ranks", tuple(filter(None, lines)), digits=0, run=run, note=part.strip(),
    )  # fmt: skip


def _median(epes: NDArray[np.float64]) -> list[float]:
    return [float(np.median(row[np.isfinite(row)])) if np.isfinite(row).any() else float("nan") for row in epes]


def _name(history: History, arch: int) -> str:
    code = history.codes[arch].replace(",", "") if arch < len(history.codes) else ""
    return f"{arch} · {code}" if code else str(arch)


def _ranks(history: History, rows: list[int]) -> NDArray[np.float64]:
    """Ranks [E, A] as recorded (arch_rank_12, shared by ties); by EPE where a row has none."""
    texts = history.text("arch_rank_12")
    found = np.full((len(rows), history.epes.shape[1]), np.nan)
    for place, row in enumerate(rows):
        entries = [entry.split(":") for entry in (texts[row] or "").split("|") if entry.count(":") == 2]
        if entries:
            for rank, arch, _ in entries:
                if rank.isdecimal() and arch.isdecimal() and int(arch) < found.shape[1]:
                    found[place, int(arch)] = int(rank)
        else:
            known = np.flatnonzero(np.isfinite(history.epes[row]))
            found[place, known[np.argsort(history.epes[row][known], kind="stable")]] = np.arange(1, len(known) + 1)
    return found


def _tau(scope: Scope, stability: Sequence[Mapping[str, Any]]) -> Iterator[Chart]:
    about = (
        "Kendall's tau of the ranking with the one before: 1 the same order, 0 no relation, -1 reversed. Around 0 the "
        "ranking is noise."
    )
    if scope.many:
        lines = scope.each("kendall_tau_prev")
    else:
        known = (stability[0] if stability else {}).get("epochs") or ()
        x = scope.axis("stability", [row["epoch"] for row in known])
        wanted = (
            ("with the final one", "tau_final", {"colour": "c2", **DASHED}),
            ("with the best one", "tau_best", {"colour": "c3", **DOTTED}),
        )
        lines = scope.lines(0, ("with the evaluation before", "kendall_tau_prev", {"colour": "c0"}))
        lines += tuple(filter(None, (series(name, x, _numbers(known, key), **look) for name, key, look in wanted)))
        lines += scope.lines(0, ("frequent with wide tier", "wide_kendall_tau", {"colour": "c1", "style": "points"}))
    if lines:
        yield Chart(
            "tau", "tau", "Agreement of rankings", about, "Kendall's tau (-1 to 1)", series=lines, limits=(-1.0, 1.0)
        )


def _numbers(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [float("nan") if row.get(key) is None else float(row[key]) for row in rows]
