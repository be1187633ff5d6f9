"""What a training history shows: findings with their evidence, most important first.

One small pure function a rule (:data:`RULES`); docs/diagnosis.md says what each tests and why.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from edgeflownas.report.diagnosis.findings import Diagnosis, Finding, NotJudged, Unjudged, in_order, verdict
from edgeflownas.report.diagnosis.rules import OF_THE_WHOLE, RULES
from edgeflownas.report.diagnosis.series import comparable
from edgeflownas.report.histories import History

__all__ = ["RULES", "Diagnosis", "Finding", "NotJudged", "diagnose"]


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


def _named(text: str, history: History) -> str:
    """A text with the columns as the file names them: ``mean_epe_24`` of a pool of 24 (figures keep ``_12``)."""
    return re.sub(r"(?<=[a-z])_12\b", f"_{history.pool_size}", text)
