"""The page of the chain: what was trained, what eight bits leave of it, what it costs beside the published network.

python examples/pipeline/page.py RESULTS      # writes RESULTS/page.html
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from collected import STARTS, collect

from edgeflownas.report.html import Table, page

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
    return page(
        "page.html",
        Path(__file__).parent,
        title=f"{len(document['codes'])} subnets for {rows[0]['target']}",
        status=f"width {document['width']} · {size} px · int8",
        data={},
        lead=lead(document, size),
        figure=figure(rows),
        starts=[(COLOURS[start], words) for start, words in STARTS.items()],
        trained=trained_table(rows),
        published=published_table(document),
        steps=steps_table(document["steps"]),
        facts=Table("Where the numbers are from", ("Fact", "Value"), document["facts"]),
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


def trained_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each trained subnet."""
    errors = ("EPE float, px", "EPE int8, px", "loss, %", "int8 SNR, dB")
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
    header = ("subnet", "start", *errors, "ms", "fps", "SRAM, KiB", "flash, KiB")
    return Table("Trained alone and exported; cost of these very files.", header, cells, note)


def plus_minus(value: float, margin: float | None) -> str:
    """A loss with its sign."""
    return f"{value:+.1f}" + ("" if margin is None else f"\u00a0±\u00a0{margin:.1f}")


def published_table(document: Mapping[str, Any]) -> Table:
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
    costs = ("ms", "fps", "time / EdgeFlowNet", "SRAM, KiB", "flash, KiB")
    header = ("network, size", *costs, "ms in 900 KiB", "SRAM then, KiB")
    note = (
        "All of width 32, flow alone, kernels made up: cost needs no trained weights. The last columns hold the "
        f"compiler to 900 KiB, as the board's vendor advises; (over): it took more. {PUBLISHED_FIGURE} was "
        "published for 172x224, by the compiler of its time; docs/published_cost.md."
    )
    return Table("The same subnets at the width of the published network.", header, cells, note)


def steps_table(steps: Mapping[str, Mapping[str, float]]) -> Table:
    """Time of every step."""
    cells = [
        (kind + (f", {row['times']} times" if row["times"] > 1 else ""), f"{row['seconds']:.0f}", f"{row['cpu']:.0f}")
        for kind, row in steps.items()
    ]
    total = ("sum", *(f"{sum(row[key] for row in steps.values()):.0f}" for key in ("seconds", "cpu")))
    header = ("step", "s", "s of processor time")
    return Table("Interruptions included, the page itself left out.", header, [*cells, total])


def figure(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Places of what is drawn: EPE over time on the chip, float with its 95 % and int8."""
    left, right, top, bottom, zero = 58.0, 500.0, 14.0, 250.0, rows[0]["zero"]
    times = [row["milliseconds"] for row in rows]
    start, end = min(times), max(times)
    start, end = start - 0.1 * (end - start or 1), end + 0.1 * (end - start or 1)
    highest = 1.06 * max(zero, *(row["float"]["epe"] + row["margin"] for row in rows))

    def x(value: float) -> float:
        return round(left + (right - left) * (value - start) / (end - start), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * value / highest, 1)

    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if highest / step <= 6)
    levels = [number * step for number in range(int(highest / step) + 1)]
    points = []
    for row in rows:
        scratch, epe, integers = row["start"] == "scratch", row["float"]["epe"], row["int8"]["epe"]
        middle, called_ = x(row["milliseconds"]), called(row["name"])
        points.append(
            {
                "x": middle + (-9 if scratch else 4),
                "colour": COLOURS[row["start"]],
                "float": y(epe),
                "ends": (y(epe - row["margin"]), y(epe + row["margin"])),
                "int8": y(integers),
                "title": f"{called_}, {STARTS[row['start']]}: float {epe:.3f}, int8 {integers:.3f} px",
                "name": (called_, middle) if scratch else None,
            }
        )
    return {
        "up": [(f"{level:.1f}", y(level)) for level in levels],
        "across": [(f"{value:.1f}", x(float(value))) for value in np.linspace(start, end, 5)],
        "middle": x((start + end) / 2),
        "zero": (f"{zero:.2f}", y(zero)),
        "points": points,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
