"""Results of `edgeflownas evaluate` for people: rows of one protocol and one split, and calibration sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeflownas.evaluate.noise import rank_order
from edgeflownas.evaluate.pool import CalibrationSweep
from edgeflownas.evaluate.results import ResultRow
from edgeflownas.report.text_table import text_table

GAP = "  "
# Field, heading, whether it is a share (printed in percent).
FIGURES = (
    ("epe", "EPE px", False),
    ("epe_per_image", "per image", False),
    ("fl_all", "Fl-all %", True),
    ("px1", "<1px %", True),
    ("px3", "<3px %", True),
    ("px5", "<5px %", True),
    ("s0_10", "s0-10", False),
    ("s10_40", "s10-40", False),
    ("s40_plus", "s40+", False),
    ("epe_occluded", "occluded", False),
    ("epe_visible", "visible", False),
)


def result_table(results: Sequence[ResultRow], references: Sequence[ResultRow] = ()) -> str:
    """Results by EPE, best first, then the references on the same pixels; a figure that nobody has gets no column.

    The first line names protocol, split and precision.
    """
    ranked = sorted(results, key=lambda row: row.epe)
    everyone = [*ranked, *references]
    labels = {(row.protocol, row.split_label, row.samples) for row in everyone}
    assert len(labels) == 1, f"one table holds one protocol and one split, got {labels}"
    first = everyone[0]
    shown = [figure for figure in FIGURES if any(getattr(row, figure[0]) is not None for row in everyone)]
    lines = [["model", *(heading for _, heading, _ in shown)]]
    lines += [[row.code or row.model, *(_cell(row, name, share) for name, _, share in shown)] for row in everyone]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [GAP.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    text.insert(1, GAP.join("-" * width for width in widths))
    if references and results:
        text.insert(2 + len(ranked), text[1])
    title = (
        f"protocol {first.protocol}, split {first.split_label}, {first.samples} samples, {first.precision}, "
        f"input {first.batch_shape}"
    )
    names = [name for name in dict.fromkeys(row.model for row in results if row.code)]
    return "\n".join([", ".join([*names, title]), *text])


def _cell(row: ResultRow, name: str, share: bool) -> str:
    value = getattr(row, name)
    if value is None:
        return "-"
    return f"{100 * value:.2f}" if share else f"{value:.4f}"


def result_document(results: Sequence[ResultRow], references: Sequence[ResultRow]) -> dict[str, Any]:
    """The same rows as plain data under what they have in common."""
    common = {name: getattr(results[0], name) for name in ("protocol", "split_label", "precision", "samples")}
    rows = {"results": results, "references": references}
    return {**common, **{name: [row.to_json() for row in part] for name, part in rows.items()}}


def calibration_table(found: CalibrationSweep) -> str:
    """EPE of each arch under every calibration set, what changed between them, and the verdict."""
    largest, taus, verdicts = max(found.others), found.taus(), found.verdicts()
    heading = ["index", "code", f"own {found.own_batches}", *map(str, found.others)]
    heading += [f"{found.own_batches}->{largest}", "+-", "own->other", "+-", f"own->{largest}", "+-", "gap", "verdict"]
    rows = []
    for index in rank_order(found.own.epes):
        score, verdict = found.own.scores[index], verdicts[index]
        figures = [f"{result.epes[index]:.4f}" for result in (found.own, *found.others.values())]
        changes = [verdict.more, verdict.more_margin, verdict.other, verdict.other_margin]
        changes += [verdict.total, verdict.total_margin, verdict.relevant]
        signs = ("+.4f", ".4f") * 3 + (".4f",)
        cells = ["-" if value is None else format(value, sign) for value, sign in zip(changes, signs, strict=True)]
        rows.append([str(index), str(score.arch), *figures, *cells, verdict.verdict])
    last = [taus[size] for size in found.others]
    rows.append(["", "Kendall tau", "", *("-" if tau is None else f"{tau:.3f}" for tau in last), *[""] * 8])
    notes = (
        "EPE px by number of calibration batches: the run's own set, then growing random sets; Kendall tau: to its own",
        f"{found.own_batches}->{largest}: change with more batches; own->other: with other samples; own->{largest}: "
        "with both; +-: 95 % for the whole pool",
        "gap: to the pool's median EPE (at least the median gap); not calibration: all changes, with their +-, are "
        "smaller (docs/evaluation.md)",
    )
    return "\n".join([text_table(heading, rows, ("code", "verdict")), *notes])
