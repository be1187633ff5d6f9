"""What a training history shows: findings with their evidence, most important first.

One small pure function a rule (:data:`RULES`); docs/diagnosis.md says what each tests and why.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeflownas.errors import UserError
from edgeflownas.report.diagnosis.findings import Diagnosis, Finding, NotJudged, Unjudged, in_order, verdict
from edgeflownas.report.diagnosis.rules import OF_THE_WHOLE, RULES
from edgeflownas.report.diagnosis.series import comparable
from edgeflownas.report.histories import History, read_history

__all__ = ["RULES", "Diagnosis", "Finding", "NotJudged", "diagnose", "diagnose_continued"]


def diagnose(history: History) -> Diagnosis:
    """Findings of all rules, and which rules could not be judged and why.  Raises nothing: the history was read."""
    from edgeflownas.report.diagnosis.criteria import criteria
    from edgeflownas.report.diagnosis.stability import stability

    same = comparable(history)
    findings: list[Finding] = []
    not_judged: list[NotJudged] = []
    for name, rule in RULES.items():
        try:
            with np.errstate(all="ignore"):  # values may be anything; what comes out is checked
                found = rule(history if name in OF_THE_WHOLE else same)
        except Unjudged as reason:
            not_judged.append(NotJudged(name, _named(str(reason), history)))
            continue
        if found is not None:
            evidence, why, advice = (_named(text, history) for text in (found.evidence, found.why, found.advice))
            findings.append(replace(found, evidence=evidence, why=why, advice=advice))
    ordered = in_order(findings)
    count = int(np.isfinite(same.column("mean_epe_12")).sum())
    return Diagnosis(verdict(ordered, count), ordered, tuple(not_judged), criteria(same), stability(same))


def diagnose_continued(history: History, parent: History | None = None) -> tuple[History, Diagnosis]:
    """The diagnosis with the go / stop rule against the run this one was continued from.

    Without ``parent`` a forked run's own is read; where that cannot be done, the history that is returned has a note.
    """
    from edgeflownas.report.diagnosis.continuation import continuation

    diagnosis = diagnose(history)
    fork = history.run.manifest.get("forked_from") if history.run is not None else None
    if parent is None and isinstance(fork, dict):
        try:
            parent = read_history(Path(str(fork.get("run"))))
        except UserError as error:
            history = replace(history, notes=(*history.notes, f"its parent is not compared: {error}"))
    if parent is None:
        return history, diagnosis
    return history, replace(diagnosis, continuation=continuation(history, parent))


def _named(text: str, history: History) -> str:
    """A text with the columns as the file names them: ``mean_epe_24`` of a pool of 24 (figures keep ``_12``)."""
    return re.sub(r"(?<=[a-z])_12\b", f"_{history.pool_size}", text)
