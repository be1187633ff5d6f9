"""The page of the chain: what was trained, what eight bits leave of it, what it costs beside the published network.

python examples/pipeline/page.py RESULTS      # writes RESULTS/page.html
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from collected import STARTS, collect

from edgeflownas.report.html.document import whole_page
from edgeflownas.report.html.markup import Markup, join, table, tag

COLOURS = {"scratch": "c1", "warm": "c0"}
PUBLISHED_FIGURE = "188.0 ms, 1694 KB"


def main(results: Path) -> None:
    """Read what the steps left and write the page."""
    (results / "page.html").write_text(render(collect(results)), encoding="utf-8")
    print(results / "page.html")


def called(name: str) -> str:
    """The name of a subnet on the shortlist, short."""
    return "fastest" if name.startswith("least_") and name.endswith("_ms") else name


def render(document: Mapping[str, Any]) -> str:
    """One self-contained page.

    Args:
        document: of :func:`collect`.
    """
    rows = document["trained"]
    size = "x".join(map(str, rows[0]["report"]["model"]["size"]))
    body = [
        tag("section", tag("p", lead(document, size), class_="lead"), id="lead"),
        tag(
            "section",
            tag("h2", "Error and time"),
            tag("div", figure(rows), trained_table(rows), class_="grid"),
            id="trained",
        ),
        tag("section", tag("h2", "Beside the published EdgeFlowNet"), published_table(document), id="published"),
        tag("section", tag("h2", "What was run"), steps_table(document["steps"]), id="steps"),
        tag("section", tag("h2", "Labels and origin"), facts_table(document["facts"]), id="origin"),
    ]
    return whole_page(
        f"{len(document['codes'])} subnets for {rows[0]['target']}",
        f"width {document['width']} · {size} px · int8",
        body,
        {},
        brand="EdgeFlowNAS pipeline",
        note="Nothing on this page needs JavaScript.",
        foot="",
    )


def lead(document: Mapping[str, Any], size: str) -> str:
    """What one sees, in words."""
    rows, zero = document["trained"], document["trained"][0]["zero"]
    below = sum(row["float"]["epe"] + row["margin"] < zero for row in rows)
    worst = max(rows, key=lambda row: row["int8"]["loss_percent"])
    told = [f"{document['warm'][name]['text']} ({called(name)})" for name in document["codes"]]
    learned = f"{below} of {len(rows)} trained subnets are below zero flow ({zero:.2f} px) by more than their noise"
    if below < len(rows):
        learned += ": the others have learned nothing that these pairs can show, and their other errors mean little"
    return (
        f"{learned}. Eight bits cost at most {worst['int8']['loss_percent']:.1f} % of the error. As many steps from "
        "the supernet's weights, whose own training comes on top, against from scratch: "
        f"{', '.join(told)}. Errors are on generated pairs of {size} and say nothing about real films; times are "
        "Vela's estimates, not measured on a board."
    )


def trained_table(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """A row for each trained subnet."""
    header = (
        "subnet",
        "start",
        "EPE float, px",
        "EPE int8, px",
        "loss, %",
        "int8 SNR, dB",
        "ms",
        "fps",
        "SRAM, KiB",
        "flash, KiB",
    )
    cells = [
        (
            f"{called(row['name'])} {row['code']}",
            STARTS[row["start"]],
            f"{row['float']['epe']:.3f}\u00a0±\u00a0{row['margin']:.3f}",
            f"{row['int8']['epe']:.3f}",
            plus_minus(row["int8"]["loss_percent"], row["int8"]["margin_percent"]),
            f"{row['snr']:.1f}",
            f"{row['milliseconds']:.1f}",
            f"{row['fps']:.1f}",
            f"{row['sram_kib']:.0f}",
            f"{row['flash_kib']:.0f}",
        )
        for row in rows
    ]
    note = (
        "± is half of a 95 % interval by the pairs: of the EPE itself, and of the loss, which is paired and so better "
        "known. The pairs are the same for all."
    )
    return tag(
        "figure", table("Trained alone and exported; cost of these very files.", header, cells, note), class_="wide"
    )


def plus_minus(value: float, margin: float | None) -> str:
    """A loss with its sign."""
    return f"{value:+.1f}" + ("" if margin is None else f"\u00a0±\u00a0{margin:.1f}")


def published_table(document: Mapping[str, Any]) -> Markup:
    """The chosen subnets at the published width, and the published network, with and without a limit of the arena."""
    free, held = document["costs"]["free"], document["costs"]["900"]
    reference = free["published_176x224"]["milliseconds"]
    names = {"published_172x224": "EdgeFlowNet, 172x224", "published_176x224": "EdgeFlowNet, 176x224"}
    names |= {name: f"{called(name)} {code}, 176x224" for name, code in document["codes"].items()}
    cells = [
        (
            label,
            f"{free[name]['milliseconds']:.1f}",
            f"{1e3 / free[name]['milliseconds']:.1f}",
            f"{free[name]['milliseconds'] / reference:.2f}",
            f"{free[name]['sram_kib']:.0f}",
            f"{free[name]['flash_kib']:.0f}",
            f"{held[name]['milliseconds']:.1f}",
            f"{held[name]['sram_kib']:.0f}" + (" (over)" if held[name]["sram_kib"] > 900 else ""),
        )
        for name, label in names.items()
    ]
    header = (
        "network, size",
        "ms",
        "fps",
        "time / EdgeFlowNet",
        "SRAM, KiB",
        "flash, KiB",
        "ms in 900 KiB",
        "SRAM then, KiB",
    )
    note = (
        "All of width 32, flow alone, kernels made up: cost needs no trained weights. The last columns hold the "
        f"compiler to 900 KiB, as the board's vendor advises; (over): it took more. {PUBLISHED_FIGURE} was "
        "published for 172x224, by the compiler of its time; docs/published_cost.md."
    )
    return tag(
        "figure", table("The same subnets at the width of the published network.", header, cells, note), class_="wide"
    )


def steps_table(steps: Mapping[str, Mapping[str, float]]) -> Markup:
    """Time of every step."""
    cells = [
        (kind + (f", {row['times']} times" if row["times"] > 1 else ""), f"{row['seconds']:.0f}", f"{row['cpu']:.0f}")
        for kind, row in steps.items()
    ]
    total = ("sum", *(f"{sum(row[key] for row in steps.values()):.0f}" for key in ("seconds", "cpu")))
    header = ("step", "s", "s of processor time")
    return tag(
        "div", table("Interruptions included, the page itself left out.", header, [*cells, total]), class_="facts"
    )


def facts_table(found: Sequence[tuple[str, str]]) -> Markup:
    """Name and value."""
    return tag("div", table("Where the numbers are from", ("Fact", "Value"), found), class_="facts")


def figure(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """EPE over time on the chip: open circles float with their 95 %, filled ones int8, the line zero flow."""
    left, right, top, bottom, zero = 58.0, 500.0, 14.0, 250.0, rows[0]["zero"]
    times = [row["milliseconds"] for row in rows]
    start, end = min(times), max(times)
    start, end = start - 0.1 * (end - start or 1), end + 0.1 * (end - start or 1)
    highest = 1.06 * max(zero, *(row["float"]["epe"] + row["margin"] for row in rows))

    def x(value: float) -> float:
        return round(left + (right - left) * (value - start) / (end - start), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * value / highest, 1)

    parts = [axis_y(highest, left, right, y), axis_x(start, end, bottom, x)]
    parts.append(tag("path", class_="mark-line", d=f"M{left},{y(zero)}H{right}"))
    parts.append(tag("text", "zero flow", x=right + 6, y=y(zero) - 2))
    parts.append(tag("text", f"{zero:.2f}", x=right + 6, y=y(zero) + 13))
    for row in rows:
        parts += points(row, x(row["milliseconds"]), y)
        if row["start"] == "scratch":
            parts.append(tag("text", called(row["name"]), x=x(row["milliseconds"]), y=bottom - 6, text_anchor="middle"))
    drawing = tag(
        "svg",
        join(parts),
        viewBox="0 0 570 295",
        role="img",
        aria_label="EPE over milliseconds",
        style="font-size:13px;max-width:46rem",
    )
    caption = tag(
        "figcaption",
        tag("h3", "EPE over time on the chip"),
        tag(
            "p",
            "Open circles: float, with the 95 % of these pairs. Filled: the int8 file on the same pairs. "
            "Down is better, and so is left. ",
            *key(),
        ),
    )
    return tag("figure", caption, tag("div", drawing, class_="plot"), class_="wide")


def points(row: Mapping[str, Any], middle: float, y: Callable[[float], float]) -> list[Markup]:
    """A trained subnet: its float error with its interval, and beside it that of the int8 file."""
    place, colour = middle + (-9 if row["start"] == "scratch" else 4), f"var(--{COLOURS[row['start']]})"
    epe, integers, margin = row["float"]["epe"], row["int8"]["epe"], row["margin"]
    title = tag("title", f"{called(row['name'])}, {STARTS[row['start']]}: float {epe:.3f}, int8 {integers:.3f} px")
    ring = {"r": 4, "stroke": colour, "stroke_width": 1.6, "fill": "var(--paper)"}
    return [
        tag("path", d=f"M{place},{y(epe - margin)}V{y(epe + margin)}", stroke=colour, stroke_width=1.3, fill="none"),
        tag("circle", title, cx=place, cy=y(epe), **ring),
        tag("circle", title, cx=place + 6, cy=y(integers), r=4, fill=colour),
    ]


def key() -> list[Markup]:
    """Colours by start, in words."""
    return [
        tag("span", tag("span", "● ", style=f"color:var(--{COLOURS[start]})"), f"{words}  ")
        for start, words in STARTS.items()
    ]


def axis_y(highest: float, left: float, right: float, y: Callable[[float], float]) -> Markup:
    """Grid and numbers of the EPE, px."""
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if highest / step <= 6)
    parts = [
        tag("text", "EPE, px", x=14, y=132, class_="axis-label", transform="rotate(-90 14 132)", text_anchor="middle")
    ]
    for number in range(int(highest / step) + 1):
        place = y(number * step)
        parts.append(tag("path", class_="base" if number == 0 else "grid-line", d=f"M{left},{place}H{right}"))
        parts.append(tag("text", f"{number * step:.1f}", x=left - 7, y=place + 4, text_anchor="end"))
    return join(parts)


def axis_x(start: float, end: float, bottom: float, x: Callable[[float], float]) -> Markup:
    """Numbers of the milliseconds."""
    parts = [
        tag("text", "ms on the chip", x=x((start + end) / 2), y=bottom + 38, class_="axis-label", text_anchor="middle")
    ]
    for value in np.linspace(start, end, 5):
        parts.append(tag("text", f"{value:.1f}", x=x(float(value)), y=bottom + 18, text_anchor="middle"))
    return join(parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
