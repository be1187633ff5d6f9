"""What each choice is worth: mean EPE against mean cost by option, one small picture a block, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.report.html.markup import Markup, join, table, tag
from edgeflownas.report.scatter.packed import Column, grouped

__all__ = ["marginals_section"]

WIDE, TALL = 230, 150
LEFT, RIGHT, TOP, BOTTOM = 46.0, 218.0, 10.0, 122.0
MOST_PAIRS = 12


def marginals_section(marginals: Mapping[str, Any], columns: Sequence[Column], objectives: Sequence[str]) -> Markup:
    """Pictures with the same axes in all, a table of every number, and the pairs of blocks that matter.

    Args:
        marginals: ``blocks`` (name, options with ``option``, ``mean_epe`` px, ``mean_cost`` by column, ``count``),
            ``shares`` of the variance by block, and ``interactions`` (two ``blocks`` and their ``share``).
        columns: give the units of the costs.
        objectives: the first that is a cost is the one drawn.
    """
    blocks = marginals["blocks"]
    costs = [name for name in blocks[0]["options"][0]["mean_cost"]] if blocks else []
    known = {column.name: column for column in columns}
    inner: list[Markup] = []
    drawn = next((name for name in (*objectives, *costs) if name in costs), None)
    if drawn is not None:
        inner.append(_pictures(blocks, drawn, known[drawn]))
    inner.append(tag("div", _numbers(marginals, [known[name] for name in costs]), class_="panel"))
    if marginals.get("interactions"):
        inner.append(tag("div", _pairs(marginals["interactions"]), class_="panel"))
    return tag("section", tag("h2", "What each choice is worth"), tag("div", join(inner), class_="grid one"), id="choices")


def _pictures(blocks: Sequence[Mapping[str, Any]], cost: str, column: Column) -> Markup:
    points = [[(o["mean_cost"][cost], o["mean_epe"]) for o in block["options"]] for block in blocks]
    table_ = np.array([point for group in points for point in group], dtype=np.float64)
    low, high = np.nanmin(table_, axis=0), np.nanmax(table_, axis=0)
    room = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0)) * 0.08
    low, high = low - room, high + room
    unit = " ".join(filter(None, ["million" if column.scale > 1 else "", column.unit]))
    words = (
        f"Mean EPE (px, up) of the subnets with an option against their mean {cost} ({unit or 'across'}), the "
        "same axes in all: a steep line down is an option worth its cost, a level one is not."
    )
    cells = [
        tag("div", tag("h4", block["name"]), _picture(block, group, low, high, column.scale), class_="mini")
        for block, group in zip(blocks, points, strict=True)
    ]
    caption = tag("figcaption", tag("h3", f"Mean EPE against mean {cost} by option"), tag("p", words))
    return tag("figure", caption, tag("div", join(cells), class_="minis marginals"), class_="wide")


def _picture(
    block: Mapping[str, Any], points: Sequence[tuple[float, float]], low: Any, high: Any, scale: float
) -> Markup:
    """An SVG of one block: its options as dots with their names, joined from light to heavy."""
    share = (np.array(points, dtype=np.float64) - low) / (high - low)
    places = [(LEFT + x * (RIGHT - LEFT), BOTTOM - y * (BOTTOM - TOP)) for x, y in share.tolist()]
    parts = [
        _line(LEFT, BOTTOM, RIGHT, BOTTOM),
        _line(LEFT, TOP, LEFT, BOTTOM),
        *(_text(LEFT - 5, y, f"{value:.3f}", "end") for y, value in ((TOP + 8, high[1]), (BOTTOM, low[1]))),
        _text(LEFT, BOTTOM + 15, _short(low[0] / scale), "start"),
        _text(RIGHT, BOTTOM + 15, _short(high[0] / scale), "end"),
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(tag("polyline", points=path, fill="none", stroke="var(--c0)", stroke_width=1.8))
    for (x, y), option in zip(places, block["options"], strict=True):
        parts.append(tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, fill="var(--c0)", stroke="var(--paper)"))
        right = x > (LEFT + RIGHT) / 2
        up = y - 7 if y > TOP + 14 else y + 15
        parts.append(_text(x + (2 if right else -2), up, option["option"], "end" if right else "start", "name"))
    words = "; ".join(f"{o['option']}: {o['mean_epe']:.4f} px" for o in block["options"])
    return tag("svg", join(parts), viewBox=f"0 0 {WIDE} {TALL}", role="img", aria_label=f"{block['name']}. {words}")


def _line(x: float, y: float, x2: float, y2: float) -> Markup:
    return tag("line", x1=x, y1=y, x2=x2, y2=y2, stroke="var(--edge)")


def _text(x: float, y: float, text: str, anchor: str, kind: str | None = None) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _short(value: float) -> str:
    return grouped(f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}")


def _numbers(marginals: Mapping[str, Any], costs: Sequence[Column]) -> Markup:
    shares = marginals.get("shares") or {}

    def rows() -> Iterator[tuple[str, ...]]:
        for block in marginals["blocks"]:
            best = min(option["mean_epe"] for option in block["options"])
            for place, option in enumerate(block["options"]):
                share = shares.get(block["name"])
                yield (
                    f"{block['name']} {option['option']}",
                    f"{option['mean_epe']:.4f}",
                    f"{option['mean_epe'] - best:+.4f}".replace("+0.0000", "best"),
                    *(_mean(option["mean_cost"][column.name], column) for column in costs),
                    grouped(str(option["count"])),
                    _percent(share) if share is not None and not place else "",
                )

    names = (f"mean {column.label()}" for column in costs)
    header = ("option", "mean EPE (px)", "above the block's best (px)", *names, "subnets", "variance of the EPE")
    note = "Means over all subnets with the option, exact over the table. The last column is the share that the block explains alone."
    return table("Mean EPE and cost by option", header, rows(), note)


def _mean(value: float | None, column: Column) -> str:
    return "not measured" if value is None else grouped(f"{value:.{column.digits}f}")


def _pairs(interactions: Sequence[Mapping[str, Any]]) -> Markup:
    ordered = sorted(interactions, key=lambda pair: -pair["share"])[:MOST_PAIRS]
    rows = ((" and ".join(pair["blocks"]), _percent(pair["share"])) for pair in ordered)
    return table("Pairs of blocks whose effect is more than the sum of both", ("blocks", "variance of the EPE"), rows)


def _percent(share: float) -> str:
    return f"{100.0 * share:.2f}\u00a0%"
