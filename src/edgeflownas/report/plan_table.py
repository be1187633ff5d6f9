"""The figures of a plan (train/plan.py make_plan) as tables: what, how much, from what; then the epoch modes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.report.console import clean, duration

GAP = "  "
Figures = Mapping[str, Any]
Rows = list[tuple[str, str, str]]
MARK = " *"  # this plan's own
MEMORY = {
    "weights_gradient_adam": "weights, gradient and Adam",
    "activations": "activations",
    "prefetch": "prefetch",
    "evaluation_samples": "evaluation samples",
}


def print_plan(plan: Figures) -> None:
    """Write a plan to stdout: rich tables on a terminal, aligned lines elsewhere; warnings and notes below."""
    rows = [*_coverage(plan), *_cost(plan), *_evaluation(plan), *_rates(plan), *_measured(plan)]
    epochs = _count(plan["num_epochs"], "epoch")
    tables: list[Sequence[tuple[str, ...]]] = [[("", "value", "from"), *rows], *_modes(plan["modes"], epochs)]
    tail = [f"{MARK.strip()} this plan; unique: without replacement, exact; expected: unique, drawn with replacement"]
    tail += [f"note: {note}" for note in plan.get("notes", ())]
    warnings = [f"warning: {warning}" for warning in plan["warnings"]]
    if sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
        _print_rich(tables, tail, warnings)
        return
    for table in tables:
        print(_plain(table), end="\n\n")
    print(*map(clean, [*tail, *warnings]), sep="\n")


def _coverage(p: Figures) -> Rows:
    n, draws, replaced = p["train_samples"], p["samples_per_epoch"], p["sampling"] == "random_with_replacement"
    steps, epochs, floor = p["steps_per_epoch"], p["num_epochs"], p["full_pass_steps_floor"]
    drawn = f"{p['draws_per_step']:,} a step"
    return [
        ("training samples N", f"{n:,}", ""),
        ("validation samples", "unknown" if p["val_samples"] is None else f"{p['val_samples']:,}", ""),
        ("steps per epoch", f"{steps:,}", p["epoch_mode"]),
        ("samples per epoch", f"{draws:,}", f"{_count(steps, 'step')}, {drawn}"),
        ("share of the split", _percent(p["share_of_split"], 3), f"{draws:,} / N"),
        (
            "unique samples, without replacement" + MARK * (not replaced),
            f"{p['unique_without_replacement']:,} ({_percent(p['unique_share_without_replacement'], 3)})",
            "exact, of an epoch that begins with a pass",
        ),
        (
            "unique samples, with replacement" + MARK * replaced,
            f"about {_expected(p)} ({_percent(p['expected_unique_share_with_replacement'])})",
            f"expected: N (1 - (1 - 1/N)^{draws})",
        ),
        (
            "steps for a full pass",
            f"{floor:,} (floor) / {p['full_pass_steps_ceil']:,} (ceil)",
            f"N / {p['draws_per_step']:,}",
        ),
        ("present steps over a full pass", _percent(p["share_of_full_pass_steps"]), f"{steps:,} / {floor:,}"),
        ("total samples", f"{p['total_samples']:,}", _count(epochs, "epoch")),
        (
            "equivalent passes",
            f"{p['equivalent_passes']:,.2f}",
            f"{p['optimizer_updates']:,} steps / {floor:,} (whole batches)",
        ),
        ("passes by samples", f"{p['passes_by_samples']:,.2f}", f"{p['total_samples']:,} / N"),
    ]


def _cost(p: Figures) -> Rows:
    checks, paths, micro = p["expected_clip_checks"], p["paths_per_step"], p["micro_batches_per_path"]
    off = "" if p["clip_threshold"] is not None else "; no threshold, nothing is clipped"
    mark = {position: MARK * (p["clip_position"] == position) for position in checks}
    return [
        ("optimizer updates", f"{p['optimizer_updates']:,}", "one a step"),
        ("gradient readings", f"{p['gradient_readings']:,}", "train.monitor_every; each about one step"),
        ("forward passes", f"{p['forward_passes']:,}", f"pairs x {_count(paths, 'path')}; as many backward"),
        ("clip checks, position step" + mark["step"], f"{checks['step']:,}", f"one a step{off}"),
        (
            "clip checks, position micro_step" + mark["micro_step"],
            f"{checks['micro_step']:,}",
            f"{_count(paths, 'path')} x {_count(micro, 'micro-batch')} a step{off}",
        ),
    ]


def _evaluation(p: Figures) -> Rows:
    scored, calibrated = p["evaluation"], p["calibration"]
    share = scored["share_of_split"]
    covered = "share unknown" if share is None else _percent(share)
    models = [("models side by side", f"{p['models']}", "all figures are of each")] if p["models"] > 1 else []
    ema = ", and of the moving average" if scored["weights"] > 1 else ""
    calibration = f"{calibrated['samples_per_arch']:,} ({_percent(calibrated['share_of_split'])})"
    of_training = f"{_count(calibrated['batches_per_arch'], 'batch')}; share of the training split"
    if not calibrated["samples_per_arch"]:
        calibration, of_training = "none", "batch norm is frozen"
    return [
        *models,
        ("evaluations", f"{scored['evaluations']:,}", f"{_count(scored['archs'], 'subnet')} each{ema}"),
        (
            "evaluation samples per arch",
            f"{scored['samples_per_arch']:,} ({covered})",
            f"{_count(scored['batches_per_arch'], 'batch')}; share of the validation split",
        ),
        *_wide(scored["wide"]),
        ("training samples scored", f"{scored['train_samples']:,}", "at each evaluation, in two crops"),
        ("calibration samples per arch", calibration, of_training),
    ]


def _wide(wide: Figures | None) -> Rows:
    if wide is None:
        return [("wide evaluation", "none", "eval.wide_every_epoch turns it on")]
    share, samples = wide["share_of_split"], wide["samples_per_arch"]
    covered = "share unknown" if share is None else _percent(share)
    value = "the whole split" if samples is None else f"{samples:,} ({covered})"
    return [("wide evaluation, samples per arch", value, f"{_count(wide['evaluations'], 'time')} in the run")]


def _rates(p: Figures) -> Rows:
    names = {"start": "start", "quarter": "25 % of the plan", "half": "50 % of the plan", "end": "end"}
    return [
        (f"learning rate, {names[key]}", f"{rate:.2e}" if rate else "0", "") for key, rate in p["learning_rate"].items()
    ]


def _measured(p: Figures) -> Rows:
    m = p["measured"]
    if m is None:
        return [("time and memory", "not measured", "--measure times a few steps here")]
    gpu = m["memory_peak_gpu_mib"]
    scored = p["evaluation"]["evaluations"]
    return [
        ("measured on", m["device"], f"{_count(m['threads'], 'thread')}; {m['input']}"),
        (
            "step",
            f"{m['step_seconds']:.3g} s",
            f"median of {m['timed_steps']}, {_percent(m['data_wait_share'], 1)} data wait",
        ),
        ("calibration batch", f"{m['calibration_batch_seconds']:.3g} s", "the whole pool"),
        ("evaluation batch", f"{m['evaluation_batch_seconds']:.3g} s", "the whole pool"),
        ("estimated epoch", _time(m["epoch_seconds"]), "training alone"),
        (
            "estimated evaluation",
            _time(m["evaluation_seconds"]),
            f"{_time(m['all_evaluations_seconds'])} for {scored:,}",
        ),
        ("estimated run", _time(m["run_seconds"]), f"{_time(m['train_seconds'])} of it training"),
        (
            "memory, estimated",
            f"{m['memory_total_mib']:,.1f} MiB",
            ", ".join(f"{name} {m[f'memory_{key}_mib']:,.1f}" for key, name in MEMORY.items()),
        ),
        (
            "memory, measured peak",
            f"{m['memory_peak_resident_mib']:,.1f} MiB",
            f"resident, of it {m['memory_resident_before_mib']:,.1f} before the network",
        ),
        *([] if gpu is None else [("memory, measured peak of the GPU", f"{gpu:,.1f} MiB", "allocated tensors")]),
    ]


def _modes(modes: Sequence[Figures], epochs: str) -> list[list[tuple[str, ...]]]:
    """The epoch modes side by side: what an epoch covers, what the run costs; each fits 80 columns."""
    covers: list[tuple[str, ...]] = [("an epoch of", "steps", "samples", "share", "unique", "expected", "share")]
    costs: list[tuple[str, ...]] = [(f"{epochs} of", "updates", "forward passes", "cost", "training")]
    for mode in modes:
        name = mode["mode"] + MARK * mode["present"]
        unique, expected = mode["unique_without_replacement"], mode["expected_unique_share_with_replacement"]
        counts = (f"{mode['steps_per_epoch']:,}", f"{mode['samples_per_epoch']:,}", _percent(mode["share_of_split"]))
        covers.append((name, *counts, f"{unique:,}", _expected(mode), _percent(expected)))
        work = (f"{mode['optimizer_updates']:,}", f"{mode['forward_passes']:,}", f"{mode['relative_cost']:.3g}x")
        costs.append((name, *work, "not measured" if mode["train_seconds"] is None else _time(mode["train_seconds"])))
    return [covers, costs]


def _expected(figures: Figures) -> str:
    """Expected unique samples; a tenth matters where they are few."""
    number = figures["expected_unique_with_replacement"]
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def _count(number: int, name: str) -> str:
    """``1 step``, ``1,600 steps``, ``2 batches``."""
    ending = "" if number == 1 else "es" if name.endswith("atch") else "s"
    return f"{number:,} {name}{ending}"


def _percent(share: float, digits: int = 2) -> str:
    return f"{100.0 * share:.{digits}f} %"


def _time(seconds: float | None) -> str:
    """As duration; below a minute with three digits."""
    return f"{seconds:.3g} s" if seconds is not None and seconds < 60.0 else duration(seconds)


def _sides(heads: Sequence[str]) -> str:
    """Names and words to the left, figures to the right."""
    return "".join("l" if place == 0 or head == "from" else "r" for place, head in enumerate(heads))


def _plain(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    columns = list(zip(widths, _sides(lines[0]), strict=True))
    text = []
    for cells in (lines[0], ["-" * width for width in widths], *lines[1:]):
        padded = (c.ljust(w) if side == "l" else c.rjust(w) for c, (w, side) in zip(cells, columns, strict=True))
        text.append(GAP.join(padded).rstrip())
    return clean("\n".join(text))


def _print_rich(tables: Sequence[Sequence[Sequence[str]]], tail: list[str], warnings: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for lines in tables:
        table = Table(box=None, padding=(0, len(GAP), 0, 0), pad_edge=False)
        for heading, side in zip(lines[0], _sides(lines[0]), strict=True):
            table.add_column(heading, justify="left" if side == "l" else "right", no_wrap=side == "r")
        for cells in lines[1:]:
            table.add_row(*map(Text, map(clean, cells)), style="bold cyan" if cells[0].endswith(MARK) else None)
        console.print(table)
        console.print()
    for line in tail:
        console.print(Text(clean(line)))
    for line in warnings:
        console.print(Text(clean(line), style="bold yellow"))
