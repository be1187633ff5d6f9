"""What a diagnosis says, how a rule is declared, and what rules read from a history.

A rule is one function below :func:`rule`: it gets a history and returns what it found, or None where all is well.
Catalogue, order, titles and docs/diagnosis.md follow from what is declared there.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.report.diagnosis.statistics import LEAST, Array, cleaned, jitter, noise_of
from edgeflownas.report.history import History

Severity = Literal["stop", "warning", "note", "ok"]
Verdict = Literal["healthy", "too early to say", "look here", "stop"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warning", "note", "ok")


@dataclass(frozen=True)
class Finding:
    """One thing a history shows."""

    id: str
    severity: Severity
    epochs: tuple[int, ...]
    """Where it shows: single epochs, or the first and last of a span; empty for the whole history."""
    figures: Mapping[str, Any]
    evidence: str
    why: str
    advice: str
    charts: tuple[str, ...] = ()
    """Figures of the report it belongs to: loss, epe, archs, ranks, tau, gradient, lr, coverage, time, pool."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``epoch`` beside ``epochs`` where there is exactly one, or where figures name the main one."""
        main = self.figures.get("epoch", self.epochs[0] if len(self.epochs) == 1 else None)
        single = {} if main is None else {"epoch": main}
        lists = {"epochs": list(self.epochs), "charts": list(self.charts)}
        return {"id": self.id, "severity": self.severity, **single, **asdict(self), **lists}


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
    price: Mapping[str, Any] | None = None
    """Of going on: what was spent since the EPE is level, and what is left; None without times."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data without NaN; ``continuation`` and ``price`` only where there is one."""
        document = {**asdict(self), "findings": [finding.to_json() for finding in self.findings]}
        lists = {name: list(document[name]) for name in ("not_judged", "criteria")}
        return {name: value for name, value in {**document, **lists}.items() if value is not None}


# ---- declaring a rule ----


class Unjudged(Exception):  # noqa: N818  (not an error: raised inside a rule, caught by diagnose)
    """Raised by a rule that lacks what it needs; the text says what."""


def needs(condition: object, what: str) -> None:
    """Leave the rule as not judged, for the reason ``needs <what>``, where ``condition`` does not hold."""
    if not condition:
        raise Unjudged(f"needs {what}")


class Found(NamedTuple):
    """What a rule's test returns where it has something to say."""

    severity: Severity
    evidence: str  # with columns named ``_12``, whatever the pool
    figures: Mapping[str, Any]
    """Numbers, texts and lists of them; what is None is left out, the rest rounded to what can be read."""
    epochs: Iterable[int] = ()  # where it shows; of a rule that is not ``dated`` the first and last count
    advice: str = ""  # in place of the rule's own


Test = Callable[[History], Found | None]


@dataclass(frozen=True)
class Rule:
    """A rule as declared by :func:`rule`; called with a history it judges it."""

    id: str
    title: str
    importance: int
    charts: tuple[str, ...]
    whole: bool
    dated: bool
    test: Test
    why: str
    advice: str

    def __call__(self, history: History) -> Finding | None:
        """The finding, None where there is none.  Raises Unjudged."""
        with np.errstate(all="ignore"):  # values may be anything; what comes out is checked
            found = self.test(history)
        if found is None:
            return None
        figures = {name: _figure(value) for name, value in found.figures.items() if value is not None}
        evidence, why, advice = map(history.named, (found.evidence, self.why, found.advice or self.advice))
        epochs = tuple(map(int, found.epochs))
        epochs = epochs if self.dated or len(epochs) < 3 else (epochs[0], epochs[-1])
        return Finding(self.id, found.severity, epochs, figures, evidence, why, advice, self.charts)


DECLARED: list[Rule] = []


def rule(title: str, importance: int, *charts: str, whole: bool = False, dated: bool = False) -> Callable[[Test], Test]:
    """Declares the function below as the rule of its name.

    Its docstring says what is tested, then ``Why:`` it matters and what to ``Try:``.  Findings repeat the last two, and
    the whole of it stands in docs/diagnosis.md.

    Args:
        title: a few words, on the page of the report.
        importance: place among findings of one severity, the largest first: from 500 what makes figures worthless,
            from 400 what makes training useless, from 300 what makes rankings unreadable, from 200 what costs time,
            below what is in order.
        charts: figures of the report it belongs to (:attr:`Finding.charts`).
        whole: whether it judges the whole history; else the part since the last change of the evaluation.
        dated: whether the epochs it names are single ones, not the ends of a span.
    """

    def declare(test: Test) -> Test:
        if sys.flags.optimize > 1:
            raise ConfigError(
                "a diagnosis takes its words from docstrings, which `python -OO` (PYTHONOPTIMIZE=2) drops: start "
                "Python without it, or with -O"
            )
        parts = re.fullmatch(r".+\n\nWhy: (.+)\nTry: (.+)", inspect.getdoc(test) or "", re.DOTALL)
        assert parts is not None, f"the docstring of {test.__name__} must end with Why: and Try:"
        why, advice = (" ".join(part.split()) for part in parts.groups())
        DECLARED.append(Rule(test.__name__, title, importance, charts, whole, dated, test, why, advice))
        return test

    return declare


def _figure(value: Any) -> Any:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, list | tuple):
        return [_figure(part) for part in value]
    number = float(value)
    if not math.isfinite(number):
        return str(number)  # JSON has no word for it
    return int(number) if number.is_integer() and isinstance(value, int) else float(f"{number:.6g}")


# ---- reading a history ----


def values_of(history: History, name: str) -> Array:
    """A column [E] that must be there.  Leaves the rule as not judged where no row has it."""
    needs(name in history.columns, f"the column {name}")
    return history.column(name)


def series(history: History, name: str) -> tuple[Array, Array]:
    """Epochs and values of a column without gaps, non-finite values and outliers; at least :data:`LEAST` of them."""
    values = values_of(history, name)
    finite = int(np.isfinite(values).sum())
    needs(finite >= LEAST, f"at least {LEAST} evaluations with {name}, there are {finite}")
    epochs, kept = cleaned(history.epochs.astype(np.float64), values)
    needs(len(kept) >= LEAST, f"at least {LEAST} evaluations with {name} that are no outliers, there are {len(kept)}")
    return epochs, kept


def whole_pool(history: History, least: int) -> tuple[NDArray[np.int64], Array]:
    """Epochs [e] and EPE [e, A] in px of the evaluations in which every arch of the last pool has a finite EPE."""
    whole = np.isfinite(history.epes).all(axis=1)
    count = int(whole.sum())
    needs(count >= least, f"at least {least} evaluations with the EPE of every arch, there are {count}")
    return history.epochs[whole], history.epes[whole]


def mean_noise(history: History, values: Array) -> float:
    """Standard deviation in px of the pool's mean EPE: from its own second differences, or from the archs' jitter."""
    whole = np.isfinite(history.epes).all(axis=1)
    own = noise_of(values)
    if history.pool_size < 4 or int(whole.sum()) < LEAST:
        return own
    return max(own, jitter(history.epes[whole]) / math.sqrt(history.pool_size))
