"""What a diagnosis says: findings with their evidence, and the rules that could not be judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeflownas.report.diagnosis.catalogue import CATALOGUE
from edgeflownas.report.diagnosis.curves import LEAST
from edgeflownas.report.histories import History

Severity = Literal["stop", "warning", "note", "ok"]
Verdict = Literal["healthy", "too early to say", "look here", "stop"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warning", "note", "ok")
Figure = float | int | str | list[Any]


@dataclass(frozen=True)
class Finding:
    """One thing a history shows."""

    id: str
    severity: Severity
    epochs: tuple[int, ...]
    """Where it shows: single epochs, or the first and last of a span; empty for the whole history."""
    figures: Mapping[str, Figure]
    evidence: str
    why: str
    advice: str
    charts: tuple[str, ...] = ()
    """Figures of the report it belongs to: loss, epe, archs, ranks, tau, gradient, lr, coverage, time, pool."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``epoch`` beside ``epochs`` where there is exactly one, or where figures name the main one."""
        main = self.figures.get("epoch", self.epochs[0] if len(self.epochs) == 1 else None)
        single = {} if main is None else {"epoch": main}
        return {
            "id": self.id,
            "severity": self.severity,
            **single,
            "epochs": list(self.epochs),
            "figures": dict(self.figures),
            "evidence": self.evidence,
            "why": self.why,
            "advice": self.advice,
            "charts": list(self.charts),
        }


@dataclass(frozen=True)
class NotJudged:
    """A rule that had nothing to judge by."""

    id: str
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything `edgeflownas diagnose` says about one history."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    not_judged: tuple[NotJudged, ...]
    criteria: tuple[Mapping[str, Any], ...] = ()
    stability: Mapping[str, Any] = field(default_factory=dict)
    continuation: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data without NaN."""
        document = {
            "verdict": self.verdict,
            "findings": [finding.to_json() for finding in self.findings],
            "not_judged": [{"id": rule.id, "reason": rule.reason} for rule in self.not_judged],
            "criteria": [dict(row) for row in self.criteria],
            "stability": dict(self.stability),
        }
        return document if self.continuation is None else {**document, "continuation": dict(self.continuation)}


class Unjudged(Exception):  # noqa: N818  (not an error: raised inside a rule, caught by diagnose)
    """Raised by a rule that lacks what it needs; the text says what."""


Judged = Finding | None
Rule = Callable[[History], Judged]


def needs(condition: bool, what: str) -> None:
    """Leave the rule as not judged, for the reason ``needs <what>``, where ``condition`` does not hold."""
    if not condition:
        raise Unjudged(f"needs {what}")


def finding(
    id: str,
    severity: Severity,
    evidence: str,
    figures: Mapping[str, Any],
    epochs: Sequence[int] = (),
    advice: str = "",
) -> Finding:
    """A finding with the texts of the catalogue; figures are rounded to what can be read, ``advice`` replaces."""
    entry = CATALOGUE[id]
    kept = {name: _figure(value) for name, value in figures.items() if value is not None}
    return Finding(
        id, severity, tuple(map(int, epochs)), kept, evidence, entry.why, advice or entry.advice, entry.charts
    )


def _figure(value: Any) -> Figure:
    if isinstance(value, (str, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_figure(part) for part in value]
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        return str(number)  # JSON has no word for it
    return int(number) if number.is_integer() and isinstance(value, int) else float(f"{number:.6g}")


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Most important first: by severity, then in the order of the catalogue."""
    place = {name: index for index, name in enumerate(CATALOGUE)}
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), place[f.id])))


def verdict(findings: Sequence[Finding], evaluations: int) -> Verdict:
    """Worst severity in words; without any, ``too early to say`` below the evaluations that rules on curves need."""
    found = {f.severity for f in findings}
    if "stop" in found:
        return "stop"
    return "look here" if "warning" in found else "healthy" if evaluations >= LEAST else "too early to say"
