"""What a training history shows: findings with their evidence, most important first.

One function a rule (rules_evaluation.py, rules_training.py), declared by :func:`~rule.rule`; docs/diagnosis.md, whose
rules are written from there, says what each tests and why.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edgeflownas.errors import UserError
from edgeflownas.report.diagnosis import rules_evaluation, rules_training, tables  # noqa: F401  (they declare the rules)
from edgeflownas.report.diagnosis.rule import DECLARED, SEVERITIES, Diagnosis, Finding, NotJudged, Unjudged, Verdict
from edgeflownas.report.diagnosis.statistics import LEAST
from edgeflownas.report.history import History, read_history

__all__ = ["RULES", "Diagnosis", "Finding", "NotJudged", "diagnose", "diagnose_continued", "documented"]

RULES = {rule.id: rule for rule in sorted(DECLARED, key=lambda rule: -rule.importance)}
"""All rules by id, the most important first."""
WRITTEN = "<!-- Written by `make docs` from the docstrings in src/edgeflownas/report/diagnosis/rules_*.py. -->"


def diagnose(history: History) -> Diagnosis:
    """Findings of all rules, and which rules could not be judged and why.  Raises nothing: the history was read."""
    *earlier, same = history.stretches()
    findings: list[Finding] = []
    not_judged: list[NotJudged] = []
    for rule in RULES.values():
        try:
            if (found := rule(history if rule.whole else same)) is not None:
                findings.append(found)
        except Unjudged as reason:
            not_judged.append(NotJudged(rule.id, history.named(str(reason))))
    before: list[Finding] = []
    for part in earlier:  # by itself: its EPEs belong to other samples
        for rule in (rule for rule in RULES.values() if not rule.whole):
            with suppress(Unjudged):
                if (found := rule(part)) is not None and found.severity != "ok":
                    span = f"epochs {part.epochs[0]} to {part.epochs[-1]}, before the evaluation changed: "
                    before.append(replace(found, evidence=span + found.evidence))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    worst = findings[0].severity if findings else "ok"
    verdict: Verdict = "healthy" if len(same.known("mean_epe_12")) >= LEAST else "too early to say"
    if worst in ("stop", "warning") or before:
        verdict = "stop" if worst == "stop" else "look here"
    findings = sorted([*before, *findings], key=lambda finding: SEVERITIES.index(finding.severity))
    level = next((finding for finding in findings if finding.id == "plateau" and finding not in before), None)
    price = tables.price(history, None if level is None else int(level.figures["epe_from_epoch"]))
    unjudged, criteria = tuple(not_judged), tables.criteria(same)
    return Diagnosis(verdict, tuple(findings), unjudged, criteria, tables.stability(same), price=price)


def diagnose_continued(history: History, parent: History | None = None) -> tuple[History, Diagnosis]:
    """The diagnosis with the go / stop rule against the run this one was continued from.

    Without ``parent`` a forked run's own is read; where that cannot be done, the history that is returned has a note.
    """
    diagnosis = diagnose(history)
    fork = history.run.manifest.get("forked_from") if history.run is not None else None
    if parent is None and isinstance(fork, dict):
        try:
            parent = read_history(Path(str(fork.get("run"))))
        except UserError as error:
            history = replace(history, notes=(*history.notes, f"its parent is not compared: {error}"))
    if parent is None:
        return history, diagnosis
    return history, replace(diagnosis, continuation=tables.continuation(history, parent))


def documented(page: str) -> str:
    """The text of docs/diagnosis.md with its section on the rules written anew from what they declare."""
    head, _, rest = page.partition("## Rules\n")
    tail = rest[rest.index("\n## ") :]
    sections = []
    for rule in RULES.values():
        text = (inspect.getdoc(rule.test) or "").replace("\nTry: ", "\n\nTry: ").replace(".  ", ". ")
        sections.append(f"\n### `{rule.id}`: {rule.title}\n{text}\n")
    return f"{head}## Rules\n\n{WRITTEN}\n{''.join(sections)}{tail}"
