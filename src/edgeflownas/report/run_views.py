"""What the commands about whole runs say: a plan before, the state while, the diagnosis after."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.files import clean
from edgeflownas.report.logs import facts_of
from edgeflownas.report.table import Column, Heading, Table, columns, counted, duration, told
from edgeflownas.report.views import Blocks, Document

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Diagnosis
    from edgeflownas.report.history import History

MOST_EPOCHS = 8  # in the table of rank correlations
MARK = " *"  # this plan's own
MEMORY = {
    "weights_gradient_adam": "weights, gradient and Adam",
    "activations": "activations",
    "prefetch": "prefetch",
    "evaluation_samples": "evaluation samples",
}
RATES = {"start": "start", "quarter": "25 % of the plan", "half": "50 % of the plan", "end": "end"}
Rows = list[tuple[str, str, str]]


# ---- edgeflownas plan ----


def plan_view(plan: Document) -> Blocks:
    """The figures of a plan (train/plan.py make_plan): what, how much, from what; the epoch modes; warnings, notes."""
    rates = [
        (f"learning rate, {RATES[key]}", f"{rate:.2e}" if rate else "0", "")
        for key, rate in plan["learning_rate"].items()
    ]
    rows = [*_training(plan), *_evaluation(plan), *rates, *_measured(plan)]
    marked = [number for number, row in enumerate(rows) if row[0].endswith(MARK)]
    covers: Heading = [  # the epoch modes side by side: what an epoch covers,
        *columns("an epoch of=mode | steps:,=steps_per_epoch | samples:,=samples_per_epoch"),
        Column("share", _percent, "share_of_split"),
        *columns("unique:,=unique_without_replacement"),
        Column("expected", _expected, "expected_unique_with_replacement"),
        Column("share", _percent, "expected_unique_share_with_replacement"),
    ]
    costs: Heading = [  # and what the run costs; each fits 80 columns
        Column(f"{counted(plan['num_epochs'], 'epoch')} of", name="mode"),
        *columns("updates:,=optimizer_updates | forward passes:,=forward_passes"),
        Column("cost", "{:.3g}x".format, "relative_cost"),
        Column("training", _time, "train_seconds", missing="not measured"),
    ]
    modes = [{**mode, "mode": mode["mode"] + MARK * mode["present"]} for mode in plan["modes"]]
    present = [number for number, mode in enumerate(modes) if mode["present"]]
    return [
        Table([Column("", name="figure"), Column("value", left=False), "from"], rows, marked=marked),
        "",
        *(block for heading in (covers, costs) for block in (Table.of(heading, modes, marked=present), "")),
        f"{MARK.strip()} this plan; unique: without replacement, exact; expected: unique, drawn with replacement",
        *(f"note: {note}" for note in plan.get("notes", ())),
        *(f"warning: {text}" for text in plan["warnings"]),
    ]


def _training(p: Document) -> Rows:
    n, draws, replaced = p["train_samples"], p["samples_per_epoch"], p["sampling"] == "random_with_replacement"
    steps, floor, updates = p["steps_per_epoch"], p["full_pass_steps_floor"], p["optimizer_updates"]
    drawn, unique = f"{p['draws_per_step']:,}", p["unique_share_without_replacement"]
    checks, paths = p["expected_clip_checks"], counted(p["paths_per_step"], "path")
    off = "" if p["clip_threshold"] is not None else "; no threshold, nothing is clipped"
    each = {"step": "one", "micro_step": f"{paths} x {counted(p['micro_batches_per_path'], 'micro-batch')}"}
    expected, share = p["expected_unique_with_replacement"], p["expected_unique_share_with_replacement"]
    return [
        ("training samples N", f"{n:,}", ""),
        ("validation samples", told(p["val_samples"], "{:,}", "unknown"), ""),
        ("steps per epoch", f"{steps:,}", p["epoch_mode"]),
        ("samples per epoch", f"{draws:,}", f"{counted(steps, 'step')}, {drawn} a step"),
        ("share of the split", _percent(p["share_of_split"], 3), f"{draws:,} / N"),
        (
            "unique samples, without replacement" + MARK * (not replaced),
            f"{p['unique_without_replacement']:,} ({_percent(unique, 3)})",
            "exact, of an epoch that begins with a pass",
        ),
        (
            "unique samples, with replacement" + MARK * replaced,
            f"about {_expected(expected)} ({_percent(share)})",
            f"expected: N (1 - (1 - 1/N)^{draws})",
        ),
        ("steps for a full pass", f"{floor:,} (floor) / {p['full_pass_steps_ceil']:,} (ceil)", f"N / {drawn}"),
        ("present steps over a full pass", _percent(p["share_of_full_pass_steps"]), f"{steps:,} / {floor:,}"),
        ("total samples", f"{p['total_samples']:,}", counted(p["num_epochs"], "epoch")),
        ("equivalent passes", f"{p['equivalent_passes']:,.2f}", f"{updates:,} steps / {floor:,} (whole batches)"),
        ("passes by samples", f"{p['passes_by_samples']:,.2f}", f"{p['total_samples']:,} / N"),
        ("optimizer updates", f"{p['optimizer_updates']:,}", "one a step"),
        ("gradient readings", f"{p['gradient_readings']:,}", "train.monitor_every; each about one step"),
        ("forward passes", f"{p['forward_passes']:,}", f"pairs x {paths}; as many backward"),
        *(
            (
                f"clip checks, position {place}" + MARK * (p["clip_position"] == place),
                f"{count:,}",
                f"{each[place]} a step{off}",
            )
            for place, count in checks.items()
        ),
    ]


def _evaluation(p: Document) -> Rows:
    scored, calibrated, wide = p["evaluation"], p["calibration"], p["evaluation"]["wide"]
    models = [("models side by side", f"{p['models']}", "all figures are of each")] if p["models"] > 1 else []
    ema = ", and of the moving average" if scored["weights"] > 1 else ""
    calibration = f"{calibrated['samples_per_arch']:,} ({_percent(calibrated['share_of_split'])})"
    of_training = f"{counted(calibrated['batches_per_arch'], 'batch')}; share of the training split"
    if not calibrated["samples_per_arch"]:
        calibration, of_training = "none", "batch norm is frozen"

    def covered(part: Document) -> str:
        share = part["share_of_split"]
        return f"{part['samples_per_arch']:,} ({'share unknown' if share is None else _percent(share)})"

    rare = ("wide evaluation", "none", "eval.wide_every_epoch turns it on")
    if wide is not None:
        value = "the whole split" if wide["samples_per_arch"] is None else covered(wide)
        rare = ("wide evaluation, samples per arch", value, f"{counted(wide['evaluations'], 'time')} in the run")
    batches = f"{counted(scored['batches_per_arch'], 'batch')}; share of the validation split"
    return [
        *models,
        ("evaluations", f"{scored['evaluations']:,}", f"{counted(scored['archs'], 'subnet')} each{ema}"),
        ("evaluation samples per arch", covered(scored), batches),
        rare,
        ("training samples scored", f"{scored['train_samples']:,}", "at each evaluation, in two crops"),
        ("calibration samples per arch", calibration, of_training),
    ]


def _measured(p: Document) -> Rows:
    m = p["measured"]
    if m is None:
        return [("time and memory", "not measured", "--measure times a few steps here")]
    gpu, before = m["memory_peak_gpu_mib"], m["memory_resident_before_mib"]
    timed = f"median of {m['timed_steps']}, {_percent(m['data_wait_share'], 1)} data wait"
    all_of_them = f"{_time(m['all_evaluations_seconds'])} for {p['evaluation']['evaluations']:,}"
    parts = ", ".join(f"{name} {m[f'memory_{key}_mib']:,.1f}" for key, name in MEMORY.items())
    peak = f"{m['memory_peak_resident_mib']:,.1f} MiB"
    return [
        ("measured on", m["device"], f"{counted(m['threads'], 'thread')}; {m['input']}"),
        ("step", f"{m['step_seconds']:.3g} s", timed),
        ("calibration batch", f"{m['calibration_batch_seconds']:.3g} s", "the whole pool"),
        ("evaluation batch", f"{m['evaluation_batch_seconds']:.3g} s", "the whole pool"),
        ("estimated epoch", _time(m["epoch_seconds"]), "training alone"),
        ("estimated evaluation", _time(m["evaluation_seconds"]), all_of_them),
        ("estimated run", _time(m["run_seconds"]), f"{_time(m['train_seconds'])} of it training"),
        ("memory, estimated", f"{m['memory_total_mib']:,.1f} MiB", parts),
        ("memory, measured peak", peak, f"resident, of it {before:,.1f} before the network"),
        *([] if gpu is None else [("memory, measured peak of the GPU", f"{gpu:,.1f} MiB", "allocated tensors")]),
    ]


def _expected(number: float) -> str:
    """Expected unique samples; a tenth matters where they are few."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def _percent(share: float, digits: int = 2) -> str:
    return f"{100.0 * share:.{digits}f} %"


def _time(seconds: float | None) -> str:
    """As duration; below a minute with three digits."""
    return f"{seconds:.3g} s" if seconds is not None and seconds < 60.0 else duration(seconds)


# ---- edgeflownas status, edgeflownas diagnose ----


def status_view(rows: Sequence[Document], root: Path) -> Blocks:
    """Runs and their states."""
    if not rows:
        return [f"no runs below {root} (a run directory holds run_manifest.json)"]

    def best(found: Document) -> str:
        value, zero = found.get("value"), told(found["zero_flow_epe"], " (zero flow {:.4f})", "")
        zero = "" if str(found.get("criterion")).startswith("wide_") else zero  # it is of the frequent evaluation
        by = f"{found['criterion']} ".replace("_", " ") if found.get("criterion") else ""
        epe = f"{by}{value:.4f}{zero} at " if isinstance(value, float) else ""
        return epe + str(found["checkpoint"])

    def clock(seconds: float) -> str:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m{rest:02d}s"

    def owner(held: Document) -> str:
        return f"{held['host']}:{held['pid']} since {time.strftime('%Y-%m-%d %H:%M', time.localtime(held['started']))}"

    heading: Heading = [
        *("run", "state"),
        Column("step", lambda at: f"{at['value']}/{at['of']}" if at["of"] else str(at["value"])),
        "epoch",
        Column("best", best),
        Column("time left", clock, "seconds_left"),
        Column("lock owner", owner, "lock_owner"),
    ]
    records = [
        {"run": row["run"], "state": f"unreadable: {row['problem']}"}
        if row["state"] == "unreadable"
        else {
            **row,
            "step": {"value": row["step"], "of": row["total_steps"]},
            "best": row["best"] and {**row["best"], "zero_flow_epe": row["zero_flow_epe"]},
        }
        for row in rows
    ]
    return [Table.of(heading, records, left="all", missing="", rule=False)]


def diagnosis_document(history: History, diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything as a JSON document."""
    return {
        "history": history.name,
        "source": str(history.source),
        "evaluations": history.evaluated,
        "facts": facts_of(history),
        "last_epoch": int(history.epochs[-1]),
        "planned_epochs": history.planned_epochs,
        "pool_size": history.pool_size,
        **diagnosis.to_json(),
        "notes": list(history.notes),
    }


def diagnosis_view(judged: Sequence[tuple[History, Diagnosis]], width: int) -> Blocks:
    """Findings, most important first, then the small tables; lines of at most ``width`` where words allow it."""
    names = ("severity", "id", "evidence", "why", "advice")
    rows = [
        [history.name, *(getattr(found, name) for name in names)]
        for history, diagnosis in judged
        for found in diagnosis.findings
    ]
    blocks: Blocks = [Table(["history", *names], rows, printed=False)]
    for place, (history, diagnosis) in enumerate(judged):
        blocks += [""] * (place > 0) + _diagnosed(history, diagnosis, width)
    return [clean(block) if isinstance(block, str) else block for block in blocks]


def _diagnosed(history: History, diagnosis: Diagnosis, width: int) -> Blocks:
    epochs = f"epochs {history.epochs[0]} to {history.epochs[-1]}"
    epochs += told(history.planned_epochs, " of {}", "")
    blocks: Blocks = [
        f"{history.name}: {diagnosis.verdict}",
        f"{history.evaluated} evaluations, {epochs}, pool of {history.pool_size}; {history.source}",
        *_facts(facts_of(history)),
        *([] if diagnosis.price is None else ["", diagnosis.price["text"]]),
    ]
    for found in diagnosis.findings:
        if found.severity != "ok":
            blocks += ["", f"[{found.severity}] {found.id}", *_wrapped(found.evidence, width)]
            blocks += _wrapped(found.why, width, "  why: ") + _wrapped(found.advice, width, "  try: ")
    if fine := [found for found in diagnosis.findings if found.severity == "ok"]:
        blocks += ["", "in order:", *(line for found in fine for line in _wrapped(found.evidence, width))]
    if diagnosis.continuation is not None:
        blocks += ["", *_continuation(diagnosis.continuation, width)]
    if rows := diagnosis.criteria:
        names = [row["criterion"] for row in rows]
        blocks += ["", "best checkpoint by each criterion, and what its epoch costs under the others (px):"]
        heading = columns("best by | epoch | EPE px:.4f | " + " | ".join(f"cost in {name}:.4f" for name in names))
        cells = [[r["criterion"], r["epoch"], r["value_px"], *map(r["costs_px"].get, names)] for r in rows]
        blocks.append(_small(heading, cells))
    if diagnosis.stability:
        blocks += ["", *_stability(diagnosis.stability)]
    if diagnosis.not_judged:
        reasons: dict[str, list[str]] = {}
        for rule in diagnosis.not_judged:
            reasons.setdefault(rule.reason, []).append(rule.id)
        blocks += ["", "not judged:"]
        blocks += [line for why, ids in reasons.items() for line in _wrapped(f"{', '.join(ids)}: {why}", width)]
    if history.notes:
        blocks += ["", "while reading:", *(line for note in history.notes for line in _wrapped(note, width))]
    return blocks


FACTS = ("epochs", "steps", "samples", "passes", "evaluation_samples_per_arch", "minutes_per_epoch")


def _facts(facts: Document) -> Blocks:
    """What a log of the TF1 tool, or the plan of a run, says of the training: the main figures, then its starts."""
    settings = ("batch_size", "micro_batch_size", "train_samples", "val_samples", "steps_per_epoch", "epoch_mode")
    names = [name for name in (*FACTS, *settings, "grad_clip_global_norm", "gpu_device") if name in facts]
    rows = [[name.replace("_", " "), facts[name]] for name in (*names, "early_stop_epoch") if name in facts]
    starts = facts.get("starts", [])
    rows += [["starts", len(starts)]] if starts else []
    for number, start in enumerate(starts[:MOST_EPOCHS] if len(starts) > 1 else (), start=1):
        span = f", epochs {start['first_epoch']} to {start['last_epoch']}" if start.get("first_epoch") else ""
        val = told(start.get("val_samples"), ", val_samples {}", "")
        rows.append([f"start {number}", f"{start['time'] or 'time unknown'}{span}{val}"])

    def told_value(value: Any) -> str:
        return f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value

    return ["", _small([Column("fact"), Column("value", told_value)], rows)] if rows else []


def _wrapped(text: str, width: int, first: str = "  ") -> list[str]:
    return textwrap.wrap(text, max(width, 40), initial_indent=first, subsequent_indent=" " * len(first)) or [first]


def _small(heading: Sequence[Column | str], rows: Sequence[Sequence[Any]]) -> Table:
    """Below a line that says what it is."""
    return Table(heading, rows, left="first", rule=False, indent="  ")


def _continuation(facts: Document, width: int) -> Blocks:
    lines: Blocks = [f"against {facts['parent']}: {facts['verdict']}"]
    if "reason" in facts:
        return [*lines, *_wrapped(facts["reason"], width)]
    words = {
        "best_mean": ("best mean EPE lower by", "at least"),
        "median_std": ("median std", "at most"),
        "tail": ("p90 of the last third higher by", "at most"),
    }
    rows = [
        [words[rule["id"]][0], rule["value_px"], f"{words[rule['id']][1]} {rule['limit_px']:.4f}", rule["met"]]
        for rule in facts["rules"]
    ]
    met = Column("", lambda met: "met" if met else "not met")
    lines.append(_small([Column(""), Column("", "{:.4f} px".format), Column(""), met], rows))
    if facts["caveat"] is not None:
        lines += _wrapped(f"best mean EPE: {facts['caveat']}", width)
    if facts["evaluation_noise_px"] is not None:
        text = f"(noise of the evaluation {facts['evaluation_noise_px']:.4f} px at 95 %, from {facts['noise_from']})"
        lines += _wrapped(text, width)
    if facts["noise_px"] is not None:
        lines.append(f"  (the mean EPE's noise from epoch to epoch is {facts['noise_px']:.4f} px)")
    return lines


def _stability(facts: Document) -> Blocks:
    step = max(1, -(-len(facts["epochs"]) // MOST_EPOCHS))
    shown = facts["epochs"][::-1][::step][::-1]
    heading = columns(
        f"epoch | tau to the one before:.2f=tau_prev | to the last ({facts['final_epoch']}):.2f=tau_final | "
        f"to the best ({facts['best_epoch']}):.2f=tau_best"
    )
    named, by_samples = {"last two evaluations": facts.get("last_two")}, facts.get("samples", {})
    named |= {"the same, interval over samples": by_samples} if "tau" in by_samples else {}
    named |= {f"more {name} is better": value for name, value in facts.get("trivial", {}).items()}

    def interval(tau: Document) -> str:
        between = "" if tau["low"] is None else f" ({tau['low']:.2f} to {tau['high']:.2f})"
        return told(tau["tau"], "{:.2f}") + between

    pairs = [[name, value] for name, value in named.items() if value is not None]
    return [
        "stability of the ranking (Kendall's tau-b, 95 % interval over archs):",
        _small(heading, [[row[column.key] for column in heading] for row in shown]),
        *([_small([Column(""), Column("", interval)], pairs)] if pairs else []),
        *([f"  interval over samples: {by_samples['reason']}"] if "reason" in by_samples else []),
    ]
