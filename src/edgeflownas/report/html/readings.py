"""What the diagnosis works out beside its findings: which epoch each criterion chooses, how far the ranking holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgeflownas.report.html.markup import Markup, table, tag

if TYPE_CHECKING:
    from edgeflownas.report.diagnosis import Diagnosis


def readings(diagnosis: Diagnosis, anchor: str, run: int, name: str) -> Iterator[Markup]:
    """A card of tables: criteria of the best checkpoint and agreement of rankings; nothing where there is neither."""
    parts = [part for part in (_criteria(diagnosis), _stability(diagnosis.stability)) if part is not None]
    if parts:
        heading = "Choosing the best checkpoint, and how far the ranking holds" + (f" ({name})" if name else "")
        yield tag(
            "figure", tag("figcaption", tag("h3", heading)), *parts, id=f"fig-{anchor}", class_="wide", data_run=run
        )


def _criteria(diagnosis: Diagnosis) -> Markup | None:
    rows = diagnosis.criteria
    if not rows:
        return None
    names = [str(row["criterion"]) for row in rows]
    body = [
        [
            str(row["criterion"]),
            f"{row['epoch']}",
            f"{row['value_px']:.4f}",
            *(f"+{row['costs_px'][name]:.4f}" if name in row["costs_px"] else "-" for name in names),
        ]
        for row in rows
    ]
    header = ["criterion", "chooses epoch", "its value (px)", *(f"costs in {name} (px)" for name in names)]
    return table(
        "What eval.best_by would have chosen, and how far that epoch is above the lowest of the others.", header, body
    )


_TRIVIAL = {"macs": "more MACs is better", "parameters": "more parameters is better"}


def _stability(stability: Mapping[str, Any]) -> Markup | None:
    found = [
        ("the last two evaluations", stability.get("last_two")),
        ("the last two evaluations, interval over samples", stability.get("samples")),
        *(
            (f"the last one and: {_TRIVIAL.get(key, key)}", tau)
            for key, tau in (stability.get("trivial") or {}).items()
        ),
    ]
    body = [
        [words, _number(tau.get("tau")), f"{_number(tau.get('low'))} to {_number(tau.get('high'))}"]
        for words, tau in found
        if tau and tau.get("tau") is not None
    ]
    if not body:
        return None
    return table(
        "Kendall's tau of two rankings: 1 the same order, 0 no relation.", ["rankings", "tau", "95 % interval"], body
    )


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.2f}"
