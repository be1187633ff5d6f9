"""The page of a space: a picture of every subnet with filters and budgets, the front as a table, what choices cost."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.html import Table, page
from edgeflownas.report.views import zero_flow_alarm
from edgeflownas.search.candidates import holds, parse_where

MILLIONS = 1e6
ERROR = "_standard_error"
MOST_ROWS = 400  # of the table without scripts
MOST_PAIRS = 12
LEAST_SHARE = 1e-4  # of the variance; what a pair explains below that is written as nothing
WIDE = 230  # of the picture of a block, 150 high
LEFT, RIGHT, TOP, BOTTOM = 46.0, 218.0, 10.0, 122.0
CHARACTER, HIGH = 6.6, 11.0  # width of one and height at the size of the names

Place = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Column:
    """Numbers [A] by subnet, nan where not measured, with how they are written."""

    name: str
    unit: str
    minimise: bool
    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None = None  # standard errors [A]

    @cached_property
    def ends(self) -> tuple[float, float] | None:
        """Lowest and highest; None where nothing was measured."""
        known = self.values[np.isfinite(self.values)]
        return (float(known.min()), float(known.max())) if known.size else None

    @cached_property
    def largest(self) -> float:
        """Largest absolute value, 0 of none."""
        return max(map(abs, self.ends or (0.0,)))

    @cached_property
    def digits(self) -> int:
        """Decimals: none for whole numbers, else as many as give the largest five significant digits."""
        known = self.values[np.isfinite(self.values)]
        whole = bool((known == np.floor(known)).all())
        return 0 if whole else int(np.clip(4 - math.floor(math.log10(self.largest)), 0, 6))

    @property
    def scale(self) -> float:
        """What axes and budgets count in: 1, or a million where the numbers are larger than that."""
        return MILLIONS if self.largest >= MILLIONS else 1.0

    @property
    def counted(self) -> str:
        """The unit of axes and budgets: ``million MAC``."""
        return " ".join(filter(None, ["million" if self.scale > 1.0 else "", self.unit]))

    def label(self) -> str:
        """``epe (px)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def words(self, value: float | None) -> str:
        """``8.2134``, ``1 650 321 000``; ``not measured``."""
        return grouped(f"{value:.{self.digits}f}") if value is not None and math.isfinite(value) else "not measured"

    def short(self, value: float) -> str:
        """``8.2134 px``, ``1 650.3 million MAC``."""
        if self.scale == 1.0 or not math.isfinite(value):
            return f"{self.words(value)}\u00a0{self.unit}".rstrip()
        return f"{grouped(f'{value / self.scale:.1f}')}\u00a0million {self.unit}".rstrip()

    def document(self, place: int) -> dict[str, Any]:
        """What the scripts read; numbers as base64 of little-endian floats."""
        low, high = self.ends or (None, None)
        facts = {
            "place": place,
            "name": self.name,
            "unit": self.unit,
            "counted": self.counted,
            "low": low,
            "high": high,
        }
        facts |= {"minimise": self.minimise, "digits": self.digits, "scale": self.scale}
        errors = None if self.errors is None else _floats(self.errors.astype(np.float32))
        return facts | {"errors": errors} | _floats(self.values)


def grouped(text: str) -> str:
    """A number in digits with a thin space between thousands and a real minus sign."""
    sign, digits = ("\u2212", text[1:]) if text.startswith("-") else ("", text)
    whole, point, rest = digits.partition(".")
    return f"{sign}{int(whole):,}".replace(",", "\u202f") + point + rest


def render(document: Mapping[str, Any]) -> str:
    """One self-contained HTML page of a ranked space.

    Args:
        document: as ``edgeflownas pareto --json`` makes it: codes (strings of digits) of A subnets, ``values`` by
            column [A] (None: not measured), ``columns``, ``blocks``, ``objectives``, ``where``, positions of the
            ``front``, ``ties``, ``shortlist``, ``knee`` and ``baseline``, ``standard_error`` of the first objective
            [A], ``marginals`` (or ``marginals_missing``, why) and ``facts`` about where the numbers are from.
            Optional: which of the front are ``sure``, ``shortlist_names``, and the ``best_epe`` and ``zero_flow_epe``.

            ``marginals`` are ``blocks`` (name, options with ``option``, ``mean_epe`` px, ``mean_cost`` by column,
            ``count``, and ``steps`` with the ``margin`` of the gain), ``shares`` of the variance by block, and
            ``interactions`` (two ``blocks`` and their ``share``), over what (``over``).

    Raises:
        ConfigError: its ``where`` cannot be read.
    """
    everything = columns_of(document)
    # one number that all subnets share is a fact, and no axis (nan, not measured, differs from itself)
    columns = [c for c in everything if c.name in document["objectives"] or (c.values != c.values[0]).any()]
    facts = [(str(name), str(value)) for name, value in document.get("facts", {}).items()]
    facts += [(f"{c.name} of every subnet", c.short(float(c.values[0]))) for c in everything if c not in columns]
    return page(
        "space.html",
        title=document["title"],
        status=f"space {document['space']} · {grouped(str(len(document['codes'])))} subnets",
        data=packed(document, columns),
        alarm=zero_flow_alarm(document.get("best_epe"), document.get("zero_flow_epe")),
        lead=_lead(document, columns),
        members=_members(document, columns),
        choices=_choices(document, {column.name: column for column in everything}),
        facts=Table("Where the numbers are from", ("Fact", "Value"), facts) if facts else None,
    )


def columns_of(document: Mapping[str, Any]) -> list[Column]:
    """Columns of the document, in its order; null is nan.

    Standard errors stand with the column they are of, unless they are an objective themselves.  Where the noise is
    paired, the error of a subnet alone would mislead: there are none.
    """
    values = {name: _numbers(column) for name, column in document["values"].items()}
    errors = {name: values[f"{name}{ERROR}"] for name in values if f"{name}{ERROR}" in values}
    if document.get("standard_error"):
        errors.setdefault(document["objectives"][0], _numbers(document["standard_error"]))
    shown, noisy = set(errors), document.get("confidence", {}).get("noisy", {})
    errors = {name: column for name, column in errors.items() if noisy.get(name) != "paired"}
    return [
        Column(c["name"], c.get("unit") or "", c.get("minimise") is not False, values[c["name"]], errors.get(c["name"]))
        for c in document["columns"]
        if not (c["name"].endswith(ERROR) and c["name"].removesuffix(ERROR) in shown)
        or c["name"] in document["objectives"]
    ]


def inside(document: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """Which subnets fulfil the document's ``where``: bool [A]; None where there is none.  Raises ConfigError."""
    if not document.get("where"):
        return None
    digits = np.array([list(code) for code in document["codes"]], dtype=np.float64)
    values = {block["name"]: digits[:, place] for place, block in enumerate(document["blocks"])}
    values |= {name: _numbers(column) for name, column in document["values"].items()}
    blocks = {block["name"]: block["options"] for block in document["blocks"]}
    return holds(parse_where(document["where"], [name for name in values if name not in blocks], blocks), values)


def packed(document: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """What controls and scripts of the page read; codes as one string of digits."""
    where, names = inside(document), [column.name for column in columns]
    given = {name: document.get(name) or [] for name in ("front", "sure", "ties", "shortlist", "shortlist_names")}
    given |= {name: document.get(name) for name in ("knee", "baseline")}
    return {
        **{"count": len(document["codes"]), "codes": "".join(document["codes"]), "blocks": document["blocks"]},
        "columns": [column.document(place) for place, column in enumerate(columns)],
        "objectives": [names.index(name) for name in document["objectives"]],
        "where": document.get("where") or "",
        "inside": None if where is None else "".join("01"[kept] for kept in where.tolist()),
        "given": given | {"judged": document.get("sure") is not None},
    }


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    found = np.array(values, dtype=np.float64)  # None becomes nan
    found[~np.isfinite(found)] = np.nan
    return found


def _floats(values: NDArray[Any]) -> dict[str, str]:
    """Four bytes a number where that loses nothing, else eight: equal and different numbers stay what they are."""
    short = values.astype("<f4")
    exact = np.array_equal(short.astype(np.float64), values, equal_nan=True)
    data = short if exact else values.astype("<f8")
    return {"type": "f4" if exact else "f8", "data": base64.b64encode(data.tobytes()).decode()}


def _lead(document: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """What one sees, in words."""
    names = {column.name: column for column in columns}
    objectives = document["objectives"]
    where = f" where {document['where']}" if document.get("where") else ""
    front, ties = len(document["front"]), len(document.get("ties") or ())
    sure = document.get("sure")
    among = f"{'is' if front == 1 else 'are'} on the exact front of {' and '.join(objectives)}{where}"
    judged = "" if sure is None else f", {grouped(str(len(sure)))} of them sure and the others in doubt"
    tied = f", and {grouped(str(ties))} more cannot be told from it within the noise" if ties else ""
    text = [
        f"Each point is one of {grouped(str(len(document['codes'])))} subnets with its own cost and accuracy; "
        f"{grouped(str(front))} {among}{judged}{tied}."
    ]
    if (zero := document.get("zero_flow_epe")) is not None:
        text.append(f"Predicting no motion scores {zero:.4f} px on the same pixels.")
    for role in ("knee", "baseline"):
        row = document.get(role)
        if row is not None:
            numbers = ", ".join(f"{name} {names[name].short(float(names[name].values[row]))}" for name in objectives)
            text.append(f"The {role} {','.join(document['codes'][row])} has {numbers}.")
    return " ".join(text)


def _members(document: Mapping[str, Any], columns: Sequence[Column]) -> Table:
    """The front, the shortlist, knee and baseline by the first objective; the scripts replace the rows."""
    members = {*document["front"], *(document.get("shortlist") or ())}
    members |= {document[role] for role in ("knee", "baseline") if document.get(role) is not None}
    first = next(column for column in columns if column.name == document["objectives"][0])
    ordered = sorted(members, key=lambda row: (np.nan_to_num(first.values[row], nan=np.inf), row))
    more = f"; the first {MOST_ROWS} of them" if len(ordered) > MOST_ROWS else ""
    rows = []
    for row in ordered[:MOST_ROWS]:
        values = [column.words(float(column.values[row])) for column in columns]
        rows.append([",".join(document["codes"][row]), ", ".join(_roles(document, row)), *values])
    caption = f"{grouped(str(len(ordered)))} subnets: the front and the shortlist, knee and baseline{more}."
    return Table(caption, ["code", "what it is", *(column.label() for column in columns)], rows)


def _roles(document: Mapping[str, Any], row: int) -> Iterator[str]:
    yield from (role for role in ("knee", "baseline") if document.get(role) == row)
    sure = document.get("sure")
    if row in document["front"]:
        yield "front" if sure is None else "front, sure" if row in sure else "front, in doubt"
    if row in (document.get("shortlist") or ()):
        names = document.get("shortlist_names")
        yield f"shortlist: {names[document['shortlist'].index(row)]}" if names else "shortlist"


def _choices(document: Mapping[str, Any], known: Mapping[str, Column]) -> dict[str, Any] | None:
    """What each choice is worth: pictures with the same axes in all, a table of every number, pairs that matter.

    The first objective that is a cost is the one drawn; ``known`` are the columns by name, for units.
    """
    marginals, missing = document.get("marginals"), document.get("marginals_missing")
    if not marginals or not marginals["blocks"]:
        missing = missing if not marginals else missing or "no block varies"
        return {"missing": missing} if missing else None
    target, costs = marginals.get("target", "epe"), list(marginals["blocks"][0]["options"][0]["mean_cost"])
    drawn = next((known[name] for name in (*document["objectives"], *costs) if name in costs), None)
    return {
        "missing": "",
        "target": target,
        "drawn": drawn and f"mean {drawn.name}",
        "unit": f" ({drawn.counted})" if drawn and drawn.counted else "",
        "pictures": _pictures(marginals["blocks"], drawn) if drawn else [],
        "numbers": _option_table(marginals, target, [known[name] for name in costs]),
        "pairs": _pairs(marginals["interactions"], target) if marginals.get("interactions") else None,
        "least": _percent(LEAST_SHARE),
    }


def _pictures(blocks: Sequence[Mapping[str, Any]], column: Column) -> list[dict[str, Any]]:
    """What is drawn of each block: its options as dots with their names, joined from light to heavy."""

    def cost(option: Mapping[str, Any]) -> float:
        return float(option["mean_cost"][column.name])

    blocks = [{**block, "options": sorted(block["options"], key=cost)} for block in blocks]  # digits may run any way
    points = [[(cost(option), option["mean_epe"]) for option in block["options"]] for block in blocks]
    everything = np.array([point for group in points for point in group], dtype=np.float64)
    low, high = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
    room = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0)) * 0.08
    low, high = low - room * (1.0, 2.5), high + room  # the lowest dot has its name below it
    across = [_short(value / column.scale) for value in (low[0], high[0])]
    axes = {"across": across, "up": [f"{high[1]:.3f}", f"{low[1]:.3f}"]}
    drawn = []
    for block, group in zip(blocks, points, strict=True):
        share = (np.array(group, dtype=np.float64) - low) / (high - low)
        dots = [(LEFT + x * (RIGHT - LEFT), BOTTOM - y * (BOTTOM - TOP)) for x, y in share.tolist()]
        names = [option["option"] for option in block["options"]]
        words = "; ".join(f"{o['option']}: {o['mean_epe']:.4f} px" for o in block["options"])
        placed = list(zip(name_places(dots, names), names, strict=True))
        drawn.append({"name": block["name"], "words": words, "dots": dots, "names": placed, **axes})
    return drawn


def name_places(dots: Sequence[Place], names: Sequence[str]) -> list[Place]:
    """Left end and base of each name: of the spots around its dot the one that covers least of line, dots and names."""
    ink = [
        (x + part * (x2 - x), y + part * (y2 - y))
        for (x, y), (x2, y2) in zip(dots, [*dots[1:], dots[-1]], strict=True)
        for part in np.linspace(0.0, 1.0, 24).tolist()
    ]
    found: list[Place] = []
    for (x, y), name in zip(dots, names, strict=True):
        wide = CHARACTER * len(name)

        def covered(spot: Place, wide: float = wide) -> float:
            left, base = spot
            right, top = left + wide, base - HIGH
            crossed = sum(left - 2 < px < right + 2 and top - 1 < py < base + 3 for px, py in ink)
            taken = [
                (other, other + CHARACTER * len(text), at) for (other, at), text in zip(found, names, strict=False)
            ]
            over = sum(left < end and begin < right and abs(base - at) < HIGH for begin, end, at in taken)
            outside = left < LEFT or right > WIDE or top < 0 or base > BOTTOM - 2
            return float(crossed + 100 * over + 200 * outside)

        across = (x + 5, x - 5 - wide, x - wide / 2)
        spots = [(left, y + down) for down in (-6, 14, 4, -18, 26) for left in across if down != 4 or left != across[2]]
        found.append(min(spots, key=covered))
    return found


def _short(value: float) -> str:
    return grouped(f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}")


def _option_table(marginals: Mapping[str, Any], target: str, costs: Sequence[Column]) -> Table:
    shares, rows = marginals.get("shares") or {}, []
    for block in marginals["blocks"]:
        margins = {step["to"]: step.get("margin") for step in block.get("steps", ())}
        share, above = shares.get(block["name"]), None
        for option in block["options"]:
            margin = margins.get(option["option"])
            gain = "" if above is None else f"{above - option['mean_epe']:+.4f}".replace("-", "\u2212")
            gain += f" ± {margin:.4f}" if margin and gain else ""
            means = [column.words(option["mean_cost"].get(column.name)) for column in costs]
            explained = _percent(share) if share is not None and above is None else ""
            name = f"{block['name']} {option['option']}"
            rows.append([name, f"{option['mean_epe']:.4f}", gain, *means, grouped(str(option["count"])), explained])
            above = option["mean_epe"]
    measured, rest = any("±" in row[2] for row in rows), marginals.get("rest_share")
    gain = "gain on the option above (px)" + (", ± 95\u00a0%" if measured else "")
    names = [f"mean {column.label()}" for column in costs]
    header = ["option", f"mean {target} (px)", gain, *names, "subnets", "share of variance"]
    note = (
        f"Exact means over {marginals.get('over', 'all subnets')}, those with the option. The share of the variance of "
        f"{target} is what the block explains alone"
        + (f"; three blocks and more together explain {_percent(rest)}." if rest is not None else ".")
        + (" ±: half of the 95\u00a0% interval by the samples." if measured else "")
    )
    return Table(f"Mean {target} and cost by option", header, rows, note)


def _pairs(interactions: Sequence[Mapping[str, Any]], target: str) -> Table:
    told = sorted((pair for pair in interactions if pair["share"] >= LEAST_SHARE), key=lambda pair: -pair["share"])
    rows = [(" with ".join(pair["blocks"]), _percent(pair["share"])) for pair in told[:MOST_PAIRS]]
    count = f"the {len(rows)} largest of {len(interactions)}"
    caption = f"Pairs of blocks by what they explain beyond both alone, {count}"
    return Table(caption, ("blocks", f"share of the variance of {target}"), rows)


def _percent(share: float) -> str:
    return f"{100.0 * share:.2f}\u00a0%"
