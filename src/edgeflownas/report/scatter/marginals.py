"""What each choice is worth: mean error against mean cost by option, one small picture a block, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.report.html.markup import Markup, join, table, tag
from edgeflownas.report.scatter.packed import Column, grouped

WIDE, TALL = 230, 150
LEFT, RIGHT, TOP, BOTTOM = 46.0, 218.0, 10.0, 122.0
CHARACTER, HIGH = 6.6, 11.0  # width of one and height at the size of the names
MOST_PAIRS = 12
LEAST_SHARE = 1e-4  # of the variance; what a pair explains below that is written as nothing


def marginals_section(document: Mapping[str, Any], known: Mapping[str, Column]) -> Markup:
    """Pictures with the same axes in all, a table of every number, and the pairs of blocks that matter.

    Args:
        document: its ``marginals``: ``blocks`` (name, options with ``option``, ``mean_epe`` px, ``mean_cost`` by
            column, ``count``, and ``steps`` with the ``margin`` of the gain), ``shares`` of the variance by block, and
            ``interactions`` (two ``blocks`` and their ``share``), over what (``over``); or ``marginals_missing``, why
            there are none.  The first objective that is a cost is the one drawn.
        known: columns by name, for units.
    """
    heading, marginals = tag("h2", "What each choice is worth"), document.get("marginals")
    if not marginals or not marginals["blocks"]:
        reason = f"Not shown: {document.get('marginals_missing') or 'no block varies'}."
        return tag("section", heading, tag("p", reason, class_="note"), id="choices")
    blocks = marginals["blocks"]
    costs = list(blocks[0]["options"][0]["mean_cost"])
    target = marginals.get("target", "epe")
    inner = [tag("div", _numbers(marginals, target, [known[name] for name in costs]), class_="panel")]
    drawn = next((name for name in (*document["objectives"], *costs) if name in costs), None)
    if drawn is not None:
        inner.insert(0, _pictures(blocks, target, known[drawn]))
    if marginals.get("interactions"):
        inner.append(tag("div", _pairs(marginals["interactions"], target), class_="panel"))
    return tag("section", heading, tag("div", join(inner), class_="stack"), id="choices")


def _pictures(blocks: Sequence[Mapping[str, Any]], target: str, column: Column) -> Markup:
    points = [[(o["mean_cost"][column.name], o["mean_epe"]) for o in block["options"]] for block in blocks]
    table_ = np.array([point for group in points for point in group], dtype=np.float64)
    low, high = np.nanmin(table_, axis=0), np.nanmax(table_, axis=0)
    room = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0)) * 0.08
    low, high = low - room * (1.0, 2.5), high + room  # the lowest dot has its name below it
    unit = " ".join(filter(None, ["million" if column.scale > 1 else "", column.unit]))
    words = (
        f"Mean {target} (px, up) of the subnets with an option against their mean {column.name}"
        f"{f' ({unit})' if unit else ''}, the same axes in all: a steep line down is an option worth its cost, a "
        "level one is not."
    )
    cells = [
        tag("div", tag("h4", block["name"]), _picture(block, group, low, high, column.scale), class_="mini")
        for block, group in zip(blocks, points, strict=True)
    ]
    caption = tag("figcaption", tag("h3", f"Mean {target} against mean {column.name} by option"), tag("p", words))
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
    for x, y in places:
        parts.append(tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=4, fill="var(--c0)", stroke="var(--paper)"))
    names = [option["option"] for option in block["options"]]
    parts += [
        _text(x, y, name, "start", "name") for (x, y), name in zip(_name_places(places, names), names, strict=True)
    ]
    words = "; ".join(f"{o['option']}: {o['mean_epe']:.4f} px" for o in block["options"])
    return tag("svg", join(parts), viewBox=f"0 0 {WIDE} {TALL}", role="img", aria_label=f"{block['name']}. {words}")


def _name_places(places: Sequence[tuple[float, float]], names: Sequence[str]) -> list[tuple[float, float]]:
    """Left end and base of each name: of the spots around its dot the one that covers least of line, dots and names."""
    ink = [
        (x + part * (x2 - x), y + part * (y2 - y))
        for (x, y), (x2, y2) in zip(places, [*places[1:], places[-1]], strict=True)
        for part in np.linspace(0.0, 1.0, 24).tolist()
    ]
    found: list[tuple[float, float]] = []
    for (x, y), name in zip(places, names, strict=True):
        wide = CHARACTER * len(name)

        def covered(spot: tuple[float, float], wide: float = wide) -> float:
            left, base = spot
            right, top = left + wide, base - HIGH
            crossed = sum(left - 2 < px < right + 2 and top - 1 < py < base + 3 for px, py in ink)
            over = sum(
                left < other + CHARACTER * len(text) and other < right and abs(base - at) < HIGH
                for (other, at), text in zip(found, names, strict=False)
            )
            outside = left < LEFT or right > WIDE or top < 0 or base > BOTTOM - 2
            return float(crossed + 100 * over + 200 * outside)

        across = (x + 5, x - 5 - wide, x - wide / 2)
        spots = [(left, y + down) for down in (-6, 14, 4, -18, 26) for left in across if down != 4 or left != across[2]]
        found.append(min(spots, key=covered))
    return found


def _line(x: float, y: float, x2: float, y2: float) -> Markup:
    return tag("line", x1=x, y1=y, x2=x2, y2=y2, stroke="var(--edge)")


def _text(x: float, y: float, text: str, anchor: str, kind: str | None = None) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=kind)


def _short(value: float) -> str:
    return grouped(f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}")


def _numbers(marginals: Mapping[str, Any], target: str, costs: Sequence[Column]) -> Markup:
    shares = marginals.get("shares") or {}

    def rows() -> Iterator[tuple[str, ...]]:
        for block in marginals["blocks"]:
            margins = {step["to"]: step.get("margin") for step in block.get("steps", ())}
            share = shares.get(block["name"])
            for place, option in enumerate(block["options"]):
                gain = block["options"][place - 1]["mean_epe"] - option["mean_epe"]
                margin = margins.get(option["option"])
                yield (
                    f"{block['name']} {option['option']}",
                    f"{option['mean_epe']:.4f}",
                    (f"{gain:+.4f}".replace("-", "\u2212") + (f" ± {margin:.4f}" if margin else "")) if place else "",
                    *(column.words(option["mean_cost"].get(column.name)) for column in costs),
                    grouped(str(option["count"])),
                    _percent(share) if share is not None and not place else "",
                )

    names = (f"mean {column.label()}" for column in costs)
    gain = "gain on the option above (px)" + (", ± 95\u00a0%" if any("±" in row[2] for row in rows()) else "")
    header = ("option", f"mean {target} (px)", gain, *names, "subnets", "share of variance")
    rest = marginals.get("rest_share")
    note = (
        f"Exact means over {marginals.get('over', 'all subnets')}, those with the option. The share of the variance of "
        f"{target} is what the block explains alone"
        + (f"; three blocks and more together explain {_percent(rest)}." if rest is not None else ".")
        + (" ±: half of the 95\u00a0% interval by the samples." if any("±" in row[2] for row in rows()) else "")
    )
    return table(f"Mean {target} and cost by option", header, rows(), note)


def _pairs(interactions: Sequence[Mapping[str, Any]], target: str) -> Markup:
    told = [pair for pair in interactions if pair["share"] >= LEAST_SHARE]
    ordered = sorted(told, key=lambda pair: -pair["share"])[:MOST_PAIRS]
    if not ordered:
        return tag("p", f"No pair of blocks explains {_percent(LEAST_SHARE)} beyond what both explain alone.")
    rows = ((" with ".join(pair["blocks"]), _percent(pair["share"])) for pair in ordered)
    shown = f"Pairs of blocks by what they explain beyond both alone, the {len(ordered)} largest of {len(interactions)}"
    return table(shown, ("blocks", f"share of the variance of {target}"), rows)


def _percent(share: float) -> str:
    return f"{100.0 * share:.2f}\u00a0%"
