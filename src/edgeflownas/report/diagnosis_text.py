"""A diagnosis as plain text: findings most important first, then the small tables."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.report.console import clean
from edgeflownas.report.diagnosis import Diagnosis, Finding
from edgeflownas.report.history import History

MOST_ROWS = 8  # epochs in the table of rank correlations


def diagnosis_document(history: History, diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything as a JSON document."""
    return {
        "history": history.name,
        "source": str(history.source),
        "evaluations": len(history.rows),
        "last_epoch": int(history.epochs[-1]),
        "planned_epochs": history.planned_epochs,
        "pool_size": history.pool_size,
        **diagnosis.to_json(),
        "notes": list(history.notes),
    }


def diagnosis_text(history: History, diagnosis: Diagnosis, width: int) -> str:
    """Lines of at most ``width`` characters where words allow it."""
    epochs = f"epochs {history.epochs[0]} to {history.epochs[-1]}"
    epochs += "" if history.planned_epochs is None else f" of {history.planned_epochs}"
    lines = [f"{history.name}: {diagnosis.verdict}", f"{len(history.rows)} evaluations, {epochs}, pool of "]
    lines[1] += f"{history.pool_size}; {history.source}"
    for found in diagnosis.findings:
        if found.severity != "ok":
            lines += ["", *_finding(found, width)]
    if fine := [found for found in diagnosis.findings if found.severity == "ok"]:
        lines += ["", "in order:", *(line for found in fine for line in _wrapped(found.evidence, width))]
    if diagnosis.continuation is not None:
        lines += ["", *_continuation(diagnosis.continuation, width)]
    lines += _criteria(diagnosis.criteria) + _stability(diagnosis.stability)
    if diagnosis.not_judged:
        reasons: dict[str, list[str]] = {}
        for rule in diagnosis.not_judged:
            reasons.setdefault(rule.reason, []).append(rule.id)
        lines += ["", "not judged:"]
        lines += [line for why, ids in reasons.items() for line in _wrapped(f"{', '.join(ids)}: {why}", width)]
    if history.notes:
        lines += ["", "while reading:", *(line for note in history.notes for line in _wrapped(note, width))]
    return clean("\n".join(lines))


def _wrapped(text: str, width: int, first: str = "  ") -> list[str]:
    return textwrap.wrap(text, max(width, 40), initial_indent=first, subsequent_indent=" " * len(first)) or [first]


def _finding(found: Finding, width: int) -> list[str]:
    head = f"[{found.severity}] {found.id}"
    return [
        head,
        *_wrapped(found.evidence, width),
        *_wrapped(found.why, width, "  why: "),
        *_wrapped(found.advice, width, "  try: "),
    ]


def _continuation(facts: Mapping[str, Any], width: int) -> list[str]:
    lines = [f"against {facts['parent']}: {facts['verdict']}"]
    if "reason" in facts:
        return [*lines, *_wrapped(facts["reason"], width)]
    words = {
        "best_mean": "best mean EPE lower by",
        "median_std": "median std",
        "tail": "p90 of the last third higher by",
    }
    rows = [
        [
            words[rule["id"]],
            "-" if rule["value_px"] is None else f"{rule['value_px']:.4f} px",
            f"{'at least' if rule['id'] == 'best_mean' else 'at most'} {rule['limit_px']:.4f}",
            "met" if rule["met"] else "not met",
        ]
        for rule in facts["rules"]
    ]
    lines += _aligned(rows)
    if facts["caveat"] is not None:
        lines += _wrapped(f"best mean EPE: {facts['caveat']}", width)
    if facts["evaluation_noise_px"] is not None:
        text = f"(noise of the evaluation {facts['evaluation_noise_px']:.4f} px at 95 %, from {facts['noise_from']})"
        lines += _wrapped(text, width)
    noise = facts["noise_px"]
    return lines if noise is None else [*lines, f"  (the mean EPE's noise from epoch to epoch is {noise:.4f} px)"]


def _criteria(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    names = [row["criterion"] for row in rows]
    table = [["best by", "epoch", "EPE px", *(f"cost in {name}" for name in names)]]
    for row in rows:
        costs = [f"{row['costs_px'][name]:.4f}" if name in row["costs_px"] else "-" for name in names]
        table.append([row["criterion"], str(row["epoch"]), f"{row['value_px']:.4f}", *costs])
    return ["", "best checkpoint by each criterion, and what its epoch costs under the others (px):", *_aligned(table)]


def _stability(facts: Mapping[str, Any]) -> list[str]:
    if not facts:
        return []
    rows = facts["epochs"]
    step = max(1, -(-len(rows) // MOST_ROWS))
    shown = rows[::-1][::step][::-1]
    table = [["epoch", "tau to the one before", f"to the last ({facts['final_epoch']})"]]
    table[0].append(f"to the best ({facts['best_epoch']})")
    table += [
        [str(row["epoch"]), *(_tau(row[name]) for name in ("tau_prev", "tau_final", "tau_best"))] for row in shown
    ]
    lines = ["", "stability of the ranking (Kendall's tau-b, 95 % interval over archs):", *_aligned(table)]
    named = {"last two evaluations": facts.get("last_two")}
    by_samples = facts.get("samples", {})
    named |= {"the same, interval over samples": by_samples} if "tau" in by_samples else {}
    named |= {f"more {name} is better": value for name, value in facts.get("trivial", {}).items()}
    pairs = [[name, _interval(value)] for name, value in named.items() if value is not None]
    notes = [f"  interval over samples: {by_samples['reason']}"] if "reason" in by_samples else []
    return lines + _aligned(pairs) + notes


def _tau(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(value: Mapping[str, Any]) -> str:
    between = "" if value["low"] is None else f" ({value['low']:.2f} to {value['high']:.2f})"
    return _tau(value["tau"]) + between


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells below each other: the first column to the left, the others to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
