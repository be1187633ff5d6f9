"""Figures of how it was learnt: gradients, clipping, rate, coverage, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.html.charts import Chart, Kind, Panel, Series, series
from edgeflownas.report.html.scope import Scope

if TYPE_CHECKING:
    from edgeflownas.report.history import History

PERCENT: dict[str, Any] = {"scale": "percent", "limits": (0.0, 100.0), "digits": 2}


def gradient_charts(scope: Scope) -> Iterator[Chart]:
    """Norms before clipping, share of clipped checks, norms a block, losses an option."""
    about = "Global norm before clipping: quantiles over the epoch's steps, with the threshold of the clip."
    title = ("gradient", "gradient", "Gradient norm", about, "norm (no unit)")
    if scope.many:
        names = (("median", "grad_norm_p50"), ("90 %", "grad_norm_p90"), ("99 %", "grad_norm_p99"))
        panels = tuple(Panel(name, lines) for name, column in names if (lines := scope.each(column)))
        if panels:
            yield Chart(*title, "multiples", panels=panels, scale="log", digits=3)
    else:
        lines = scope.lines(
            0,
            ("median", "grad_norm_p50", {"colour": "c0"}),
            ("90 %", "grad_norm_p90", {"colour": "c2", "style": "dashed"}),
            ("99 %", "grad_norm_p99", {"colour": "c3", "style": "thin"}),
            ("clip threshold", "clip_threshold", {"colour": "c1", "style": "dotted"}),
            ("suggested threshold", "clip_suggested", {"colour": "c4", "style": "dotted"}),
        )
        if lines:
            yield Chart(*title, series=lines, scale="log", digits=3)
    if lines := scope.each("clip_rate", 100.0):
        about = (
            "Share of clip checks that clipped. Always 100 %: the threshold sets the step; always 0 %: it does nothing."
        )
        yield Chart("clip", "gradient", "Clip rate", about, "clipped checks (%)", series=lines, **PERCENT)
    for run, history in enumerate(scope.histories):
        yield from _blocks(scope, run, history)
        yield from _options(scope, run, history)


def _blocks(scope: Scope, run: int, history: History) -> Iterator[Chart]:
    rows = _rows(history, "monitor")
    steps = sorted({_number(row, "step") for row in rows})
    if not steps:
        return
    x = scope.axis(f"monitor.{run}", steps)
    panels = []
    for block in dict.fromkeys(str(row.get("block", "")) for row in rows):
        own = [row for row in rows if str(row.get("block", "")) == block]
        low, middle, high = _across(own, "step", "grad_norm", steps)
        line = series(block, x, middle, low=low, high=high, band="lowest to highest path")
        if line is not None:
            panels.append(Panel("all blocks" if block == "all" else block, (line,)))
    if panels:
        yield Chart(
            scope.id("blocks", run), "gradient", "Gradient norm by block" + _of(scope, history),
            "From passes that change nothing (train.monitor_every): mean over the paths of a step, band from the "
            "lowest to the highest path. A block far below the others hardly learns.",
            "norm (no unit)", "multiples", panels=tuple(panels), x_label="step", scale="log", digits=3, run=run,
        )  # fmt: skip


def _options(scope: Scope, run: int, history: History) -> Iterator[Chart]:
    rows = [row for row in _rows(history, "per_option") if row.get("train_loss_relative") not in (None, "")]
    epochs = sorted({_number(row, "epoch") for row in rows})
    if not epochs:
        return
    x = scope.axis(f"options.{run}", epochs)
    panels = []
    for block in dict.fromkeys(str(row.get("block", "")) for row in rows):
        lines: list[Series] = []
        for option in sorted({str(row.get("option", "")) for row in rows if str(row.get("block", "")) == block}):
            own = [row for row in rows if (str(row.get("block", "")), str(row.get("option", ""))) == (block, option)]
            _, values, _ = _across(own, "epoch", "train_loss_relative", epochs)
            meaning = str(own[0].get("meaning") or f"option {option}")
            look = {"colour": f"c{len(lines) % 8}", "style": ("line", "dashed", "dotted")[len(lines) % 3]}
            line = series(meaning, x, values, **look)
            lines += [line] if line is not None else []
        if lines:
            panels.append(Panel(block, tuple(lines)))
    if panels:
        yield Chart(
            scope.id("options", run), "options", "Training loss by option" + _of(scope, history),
            "Mean loss of the paths that use an option, less the mean over all paths of the epoch: below 0 the option "
            "does better than its rivals.",
            "loss difference (weighted px)", "multiples", panels=tuple(panels), run=run,
        )  # fmt: skip


def plan_charts(scope: Scope) -> Iterator[Chart]:
    """Learning rate and coverage."""
    if lines := scope.each("lr"):
        about = "Rate of the last step before each evaluation; the axis starts at 0 and shows how far it fell."
        yield Chart("lr", "lr", "Learning rate", about, "rate (no unit)", series=lines, limits=(0.0, None), digits=9)
    found = []
    for run, history in enumerate(scope.histories):
        with np.errstate(invalid="ignore", divide="ignore"):
            share = 100.0 * history.column("unique_samples") / history.column("train_samples")
        found.append(series(history.name, f"e{run}", share, **scope.look(run)))
    if lines := tuple(filter(None, found)):
        about = "Different training samples an epoch saw, of all there are."
        title = "Coverage of the training data by one epoch"
        yield Chart("coverage", "coverage", title, about, "samples seen (%)", series=lines, **PERCENT)
    if lines := scope.each("cumulative_passes"):
        about = "Samples drawn since the start over the size of the training set."
        title = "Passes over the training data"
        yield Chart("passes", "coverage", title, about, "passes", series=lines, limits=(0.0, None), digits=3)


_SHARES = ("data_wait", "step", "eval", "recal", "checkpoint", "monitor", "other")
_WORDS = ("waiting for data", "training steps", "evaluation", "recalibration", "checkpoints", "monitors", "other")


def time_charts(scope: Scope) -> Iterator[Chart]:
    """Shares of the wall clock of each run; pairs a second of all."""
    for run, history in enumerate(scope.histories):
        measured = {name: 100.0 * history.column(f"share_{name}") for name in _SHARES}
        note = "Since the row before was logged."
        if not any(np.isfinite(values).any() for values in measured.values()):
            measured, note = _estimated(history), "Of training plus evaluation; checkpoints were not timed."
        parts: list[Series] = []
        for place, (name, words) in enumerate(zip(_SHARES, _WORDS, strict=True)):
            line = series(words, f"e{run}", measured.get(name, [np.nan]), colour=f"c{place}")
            parts += [line] if line is not None and any(line.y) else []
        if parts:
            kind: Kind = "stack" if len(parts) > 1 else "lines"
            name = "Where the time went" if len(parts) > 1 else "Waiting for data"
            yield Chart(
                scope.id("time", run), "time", name + _of(scope, history), "Shares of the wall clock.",
                "share of time (%)", kind, tuple(parts), run=run, note=note, **PERCENT,
            )  # fmt: skip
    if lines := scope.each("images_per_second"):
        about = "Training pairs a second; every path of a step sees the same pairs."
        yield Chart(
            "speed", "time", "Throughput", about, "pairs per second", series=lines, limits=(0.0, None), digits=1
        )


def _estimated(history: History) -> dict[str, NDArray[np.float64]]:
    """Shares (%) from the columns every version has: epoch, evaluation, recalibration seconds and the data wait."""
    waited = history.column("data_wait_share")
    trained, evaluated, recalibrated = (
        history.column(name) for name in ("epoch_seconds", "eval_seconds", "bn_recal_seconds")
    )
    whole = trained + np.nan_to_num(evaluated) + np.nan_to_num(recalibrated)
    if not np.isfinite(whole).any():
        return {"data_wait": 100.0 * waited}
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = {
            "data_wait": waited * trained,
            "step": (1.0 - waited) * trained,
            "eval": evaluated,
            "recal": recalibrated,
        }
        return {name: 100.0 * seconds / whole for name, seconds in parts.items()}


def _of(scope: Scope, history: History) -> str:
    return f" of {history.name}" if scope.many else ""


def _rows(history: History, name: str) -> Sequence[Mapping[str, Any]]:
    return tuple(getattr(history.run, name, ()) or ())


def _number(row: Mapping[str, Any], name: str) -> float:
    try:
        return float("nan" if row.get(name) in (None, "") else row[name])
    except (TypeError, ValueError):
        return float("nan")


def _across(
    rows: Sequence[Mapping[str, Any]], key: str, value: str, places: Sequence[float]
) -> tuple[list[float], list[float], list[float]]:
    """Lowest, mean and highest ``value`` of the rows at each of ``places``; NaN where there is none."""
    groups: dict[float, list[float]] = {}
    for row in rows:
        number = _number(row, value)
        if np.isfinite(number):
            groups.setdefault(_number(row, key), []).append(number)
    missing = [float("nan")]
    kept = [groups.get(place, missing) for place in places]
    return [min(group) for group in kept], [sum(group) / len(group) for group in kept], [max(group) for group in kept]
