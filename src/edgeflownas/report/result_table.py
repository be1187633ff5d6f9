"""Result rows of one protocol and one split as aligned plain text, references below a line."""

from __future__ import annotations

from collections.abc import Sequence

from edgeflownas.evaluate.results import ResultRow

__all__ = ["result_table"]

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
