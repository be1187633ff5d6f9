"""The verdict on top of the page, and the findings with their links to the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeflownas.report.diagnosis import RULES
from edgeflownas.report.html.charts import Chart
from edgeflownas.report.html.markup import Markup, join, tag

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Diagnosis, Finding

_VERDICTS = {
    "healthy": ("Healthy", "✓", "Nothing found that would make this run's figures doubtful."),
    "too early to say": ("Too early to say", "…", "Too few evaluations to judge; come back after eight of them."),
    "look here": ("Look here", "!", "Something limits this run or its figures; the list says what, and what to try."),
    "stop": ("Stop", "✕", "Going on as it is wastes time: read the first finding before you train further."),
}
_SEVERITIES = {"stop": "stop", "warning": "warning", "note": "note", "ok": "fine"}
_TOPICS = {
    "epe": "EPE",
    "archs": "subnets",
    "tau": "agreement of rankings",
    "lr": "learning rate",
    "pool": "pool table",
}
_SHOWN = ("stop", "warning")


@dataclass(frozen=True)
class Numbered:
    """A finding with its number on the page: 1, 2 ... of a single run, 2.1 of the second run among several."""

    number: str
    run: int
    finding: Finding

    @property
    def anchor(self) -> str:
        """Id of its element."""
        return "finding-" + self.number.replace(".", "-")


def numbered(diagnoses: Sequence[Diagnosis]) -> list[Numbered]:
    """All findings of all runs, in their order."""
    many = len(diagnoses) > 1
    return [
        Numbered(f"{run + 1}.{place}" if many else str(place), run, finding)
        for run, diagnosis in enumerate(diagnoses)
        for place, finding in enumerate(diagnosis.findings, start=1)
    ]


def belongs(item: Numbered, chart: Chart) -> bool:
    """Whether a finding is about what a chart shows."""
    return (
        chart.topic in item.finding.charts and chart.run in (None, item.run) and item.run in (chart.runs or (item.run,))
    )


def marks(items: Sequence[Numbered], charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """Findings at epochs, for the charts that show them: what page.js needs to mark them."""
    return [
        {
            "number": item.number,
            "anchor": item.anchor,
            "epochs": list(item.finding.epochs),
            "span": len(item.finding.epochs) == 2 and not RULES[item.finding.id].dated,
            "severity": item.finding.severity,
            "title": title(item.finding.id),
            "run": item.run,
            "charts": [chart.id for chart in charts if belongs(item, chart)],
        }
        for item in items
        if item.finding.severity != "ok"
    ]


def title(identifier: str) -> str:
    """What the rule of that id is called on the page."""
    return RULES[identifier].title


def verdict_section(
    names: Sequence[str], diagnoses: Sequence[Diagnosis], items: Sequence[Numbered], charts: Sequence[Chart]
) -> Markup:
    """One block a run: the verdict in a word, what needs attention, and the rest folded."""
    blocks = []
    for run, (name, diagnosis) in enumerate(zip(names, diagnoses, strict=True)):
        own = [item for item in items if item.run == run]
        blocks.append(_verdict(name if len(names) > 1 else "", diagnosis, own, charts))
    return tag("section", tag("h2", "Verdict", class_="hidden"), join(blocks), id="verdict")


def _verdict(name: str, diagnosis: Diagnosis, items: Sequence[Numbered], charts: Sequence[Chart]) -> Markup:
    word, sign, sentence = _VERDICTS[diagnosis.verdict]
    head = tag(
        "div",
        tag("span", sign, class_="sign", aria_hidden="true"),
        tag("div", tag("h3", f"{name}: {word}" if name else word), tag("p", sentence)),
        class_="verdict-head",
    )
    loud = [item for item in items if item.finding.severity in _SHOWN]
    quiet = [item for item in items if item.finding.severity not in _SHOWN]
    fine = sum(item.finding.severity == "ok" for item in quiet)
    parts = [head]
    if loud:
        parts.append(tag("ol", join(_finding(item, charts, opened=place < 3) for place, item in enumerate(loud))))
    if quiet:
        inner = tag("ol", join(_finding(item, charts, opened=True) for item in quiet))
        counts = ((len(quiet) - fine, "to know"), (fine, "that is no problem" if fine == 1 else "that are no problem"))
        summary = ", ".join(f"{count} {words}" for count, words in counts if count)
        parts.append(tag("details", tag("summary", summary), inner, class_="quiet"))
    if diagnosis.not_judged:
        parts.append(_not_judged(diagnosis))
    return tag("article", join(parts), class_=f"verdict {diagnosis.verdict.replace(' ', '-')}")


def _not_judged(diagnosis: Diagnosis) -> Markup:
    rows = join(tag("li", tag("b", title(rule.id)), f": {rule.reason}") for rule in diagnosis.not_judged)
    count = len(diagnosis.not_judged)
    summary = tag("summary", f"{count} question{'s' if count > 1 else ''} that this history cannot answer")
    return tag("details", summary, tag("ul", rows), class_="quiet")


def _finding(item: Numbered, charts: Sequence[Chart], opened: bool) -> Markup:
    finding = item.finding
    links = [
        tag("a", _TOPICS.get(chart.topic, chart.topic), href=f"#fig-{chart.id}")
        for chart in {chart.topic: chart for chart in reversed(charts) if belongs(item, chart)}.values()
    ]
    shown = join(x for link in reversed(links) for x in (Markup(" "), link))
    advice = finding.advice and tag("p", tag("b", "Try: "), finding.advice)
    why = finding.why and tag("p", tag("b", "Why it matters: "), finding.why)
    inner = tag("div", why or None, advice or None, class_="reasons")
    more = tag("details", tag("summary", "Why, and what to try"), inner, open=opened)
    return tag(
        "li",
        tag("span", item.number, class_=f"number {finding.severity}"),
        tag(
            "div",
            tag(
                "p",
                tag("b", title(finding.id)),
                Markup(" "),
                tag("span", _SEVERITIES.get(finding.severity, finding.severity), class_=f"chip {finding.severity}"),
            ),
            tag("p", finding.evidence),
            more if finding.why or finding.advice else None,
            tag("p", "Figures:", shown, class_="links") if links else None,
        ),
        id=item.anchor,
        class_="finding",
        tabindex="-1",
    )


def back_links(items: Sequence[Numbered], chart: Chart) -> Markup | None:
    """Chips below a chart that lead to the findings about it."""
    about = [item for item in items if belongs(item, chart) and item.finding.severity != "ok"]
    if not about:
        return None
    links = [
        tag(
            "a",
            f"{item.number} {title(item.finding.id)}",
            href=f"#{item.anchor}",
            class_=f"chip {item.finding.severity}",
        )
        for item in about
    ]
    return tag("p", "Findings: ", join(x for link in links for x in (link, Markup(" "))), class_="links")


def flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of nested mappings as (dotted key, text)."""
    found: list[tuple[str, str]] = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", "-" if value is None else str(value)))
    return found
