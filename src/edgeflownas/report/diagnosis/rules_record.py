"""Rules on what figures belong to: labels, resumes, inputs, and the same figure measured in two ways."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeflownas.report.diagnosis.curves import LEAST
from edgeflownas.report.diagnosis.findings import Finding, finding, needs
from edgeflownas.report.diagnosis.rules_epe import PROPORTION, change, elasticity, mismatch_severity
from edgeflownas.report.diagnosis.series import LABELS, changes, series, span
from edgeflownas.report.diagnosis.statistics import Array, noise_of, recent, slope_of
from edgeflownas.report.histories import History

SETTINGS = ("clip_threshold", "train_samples", "train_drawn", "bn_recal_batches", "eval_batches_per_arch")


def label_changed(history: History) -> Finding | None:
    """The evaluation's samples, rule or pool are others than before."""
    known = [name for name in LABELS[:-1] if name in history.columns]
    needs(bool(known), "one of the columns " + ", ".join(LABELS[:-1]))
    found = [(name, *entry) for name in LABELS for entry in changes(history, name)]
    if not found:
        return None
    lines = [f"{name} {before} -> {after} in epoch {epoch}" for name, epoch, before, after in found]
    epochs = sorted({epoch for _, epoch, _, _ in found})
    figures: dict[str, Any] = {"columns": sorted({name for name, *_ in found}), "changes": len(found)}
    text = "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
    text += f"; curves of the EPE are judged from epoch {epochs[-1]} on"
    return finding("label_changed", "warning", text, figures, epochs)


def resumed_with_changes(history: History) -> Finding | None:
    """A session went on with other keys, or a setting that the history logs changes inside it."""
    lines, epochs = _logged(history)
    keys = {line.partition(":")[0] for line in lines}
    for name in SETTINGS:
        for epoch, before, after in changes(history, name):
            lines.append(f"{name}: {before} -> {after} (epoch {epoch})")
            epochs.append(epoch)
            keys.add(name)
    for epoch, low, high in _raised(history):
        lines.append(f"lr: {low:.3e} -> {high:.3e} (epoch {epoch})")
        epochs.append(epoch)
        keys.add("lr")
    if not lines:
        return None
    outer = {key for key in keys if key.partition(".")[0] in ("code", "environment", "runtime")}
    figures = {"changed": sorted(keys), "changes": len(lines)}
    text = "; ".join(lines[:6]) + (f"; and {len(lines) - 6} more" if len(lines) > 6 else "")
    return finding("resumed_with_changes", "note" if keys == outer else "warning", text, figures, sorted(set(epochs)))


def _logged(history: History) -> tuple[list[str], list[int]]:
    """Changes that resumes wrote to timing.jsonl, and the epochs they took place in."""
    if history.run is None:
        return [], []
    lines: list[str] = []
    epochs: list[int] = []
    steps = history.column("global_step")
    for row in history.run.timing:
        changed = row.get("changed")
        if row.get("what") != "resumed" or not isinstance(changed, list) or not changed:
            continue
        lines += [str(line) for line in changed]
        step = row.get("step")
        after = history.epochs[steps > float(step)] if isinstance(step, (int, float)) else history.epochs[:0]
        epochs += [int(after[0])] if len(after) else []
    return list(dict.fromkeys(lines)), epochs


def _raised(history: History) -> list[tuple[int, float, float]]:
    """Epochs in which a rate that was falling jumps up by a fifth: no schedule here does that."""
    rates = history.column("lr")
    found = []
    for place in range(2, len(rates)):
        older, before, now = rates[place - 2 : place + 1]
        if 0 < before <= older and now > 1.2 * before:
            found.append((int(history.epochs[place]), float(before), float(now)))
    return found


def input_differs(history: History) -> Finding | None:
    """Training and evaluation differ in crop: by configuration, or by what the EPE on training pairs shows."""
    lines, figures = _configured(history)
    judged = history.run is not None
    fixed, random = history.column("train_epe_12"), history.column("train_epe_random_crop_12")
    there = np.isfinite(fixed) & np.isfinite(random)
    if int(there.sum()) >= 3:
        judged = True
        gap = (random - fixed)[there]
        middle = float(np.median(gap))
        error = float(gap.std(ddof=1)) / math.sqrt(len(gap)) * 1.253
        if abs(middle) > 3.0 * error and abs(middle) > 0.1 * float(np.median(fixed[there])):
            figures |= {"crop_gap_px": middle, "crop_gap_error_px": error}
            lines.append(f"train_epe_12 is {middle:+.4f} +- {1.96 * error:.4f} px on random crops against centre crops")
    needs(judged, "a run directory, or train_epe_12 and train_epe_random_crop_12 in 3 evaluations")
    if not lines:
        return None
    return finding("input_differs", "warning", "; ".join(lines), figures, ())


def _configured(history: History) -> tuple[list[str], dict[str, Any]]:
    run = history.run
    if run is None:
        return [], {}
    crop, sizes = run.key("data.crop_size"), run.eval_sizes
    if not isinstance(crop, (list, tuple)) or not sizes:
        return [], {}
    wanted = "x".join(map(str, crop))
    if set(sizes) == {wanted}:
        return [], {}
    return [f"training crops {wanted}, evaluation {', '.join(sizes)}"], {"train_crop": wanted, "eval_crop": list(sizes)}


def train_eval_gap(history: History) -> Finding | None:
    """The EPE on fixed training pairs goes on falling while that on the evaluation pairs does not."""
    times, train = series(history, "train_epe_12")
    epochs, held = series(history, "mean_epe_12")
    slopes = []
    for when, values in ((times, train), (epochs, held)):
        last = recent(len(values), LEAST)
        slopes.append(slope_of(when[last], values[last], noise_of(values)))
    falls = slopes[0].slope < -1.96 * slopes[0].error
    follows = slopes[1].slope - 1.645 * slopes[1].error < PROPORTION * slopes[0].slope
    gap = float(np.median(held[recent(len(held))]) - np.median(train[recent(len(train))]))
    grown = gap - float(np.median(held[:3]) - np.median(train[:3]))
    noise = 3.0 * math.hypot(noise_of(train), noise_of(held))
    if not falls or follows or gap <= noise or grown <= noise:
        return None
    figures = {"gap_px": gap, "grown_px": grown, "train_slope_px": slopes[0].slope, "eval_slope_px": slopes[1].slope}
    text = (
        f"train_epe_12 falls by {-slopes[0].slope:.2g} px an epoch, mean_epe_12 changes by {slopes[1].slope:+.2g}; the "
        f"gap is {gap:.4f} px, {grown:.4f} more than at the start"
    )
    return finding("train_eval_gap", "warning", text, figures, span(history.epochs))


def objective_mismatch(history: History) -> Finding | None:
    """On the same pixels, in evaluation mode, the loss falls and the EPE does not follow."""
    pairs = (("train_eval_loss_total", "train_epe_12"), ("eval_loss_total", "mean_epe_12"))
    known = [(loss, epe) for loss, epe in pairs if {loss, epe} <= history.columns]
    needs(bool(known), "eval_loss_total, or train_eval_loss_total with train_epe_12")
    for loss_name, epe_name in known:
        ratio, bound, loss, epe = elasticity(history, loss_name, epe_name)
        if bound >= PROPORTION:
            continue
        figures: dict[str, Any] = {"loss_change_pct": loss, "epe_change_pct": epe, "elasticity": ratio}
        figures |= _terms(history, loss_name)
        text = f"{loss_name} {loss:+.1f} %, {epe_name} {epe:+.2f} % on the same pixels"
        for term in ("optical", "uncertainty"):
            if f"{term}_change_pct" in figures:
                text += f"; {term} term {figures[f'{term}_change_pct']:+.1f} %"
        return finding("objective_mismatch", mismatch_severity(epe), text, figures, span(history.epochs))
    return None


def _terms(history: History, total: str) -> Mapping[str, float]:
    found = {}
    for term in ("optical", "uncertainty"):
        values: Array = history.column(total.replace("total", term))
        values = values[np.isfinite(values)]
        if len(values) > 1 and values[0]:
            found[f"{term}_change_pct"] = change(values)
    return found
