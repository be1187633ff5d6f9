"""The page of a space: a picture of every subnet with filters and budgets, the front as a table, what choices cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeflownas.report.html.document import whole_page
from edgeflownas.report.html.markup import Markup, join, table, tag
from edgeflownas.report.scatter.marginals import marginals_section
from edgeflownas.report.scatter.packed import Column, columns_of, grouped, packed

FILES = ("scatter/scatter.css", "scatter/table.js", "scatter/paint.js", "scatter/scatter.js")
MOST_ROWS = 400  # of the table without scripts


def render(document: Mapping[str, Any]) -> str:
    """One self-contained HTML page of a ranked space.

    Args:
        document: as ``edgeflownas pareto --json`` makes it: codes (strings of digits) of A subnets, ``values`` by
            column [A] (None: not measured), ``columns``, ``blocks``, ``objectives``, ``where``, positions of the
            ``front``, ``ties``, ``shortlist``, ``knee`` and ``baseline``, ``standard_error`` of the first objective
            [A], ``marginals`` (or ``marginals_missing``, why) and ``facts`` about where the numbers are from.
            Optional: which of the front are ``sure``, and ``shortlist_names``.

    Raises:
        ConfigError: its ``where`` cannot be read.
    """
    everything = columns_of(document)
    columns = [c for c in everything if c.name in document["objectives"] or _varies(c)]
    body = [
        tag("section", tag("p", _lead(document, columns), class_="lead"), _explorer(), id="picture"),
        tag("section", tag("h2", "Front and shortlist"), _members(document, columns), id="front"),
    ]
    if document.get("marginals") or document.get("marginals_missing"):
        body.append(marginals_section(document, {column.name: column for column in everything}))
    facts = [(str(name), str(value)) for name, value in document.get("facts", {}).items()]
    facts += [(f"{c.name} of every subnet", c.short(c.values[0])) for c in everything if c not in columns]
    if facts:
        whole = table("Where the numbers are from", ("Fact", "Value"), facts)
        inner = tag("div", whole, class_="facts")
        body.append(tag("section", tag("h2", "Labels and origin"), inner, id="origin"))
    return whole_page(
        document["title"],
        f"space {document['space']} · {grouped(str(len(document['codes'])))} subnets",
        body,
        packed(document, columns),
        brand="EdgeFlowNAS space",
        note="The picture needs JavaScript; the front and the shortlist are in the table below.",
        foot="",
        files=FILES,
    )


def _varies(column: Column) -> bool:
    """False for one number that all subnets share: a fact, and no axis."""
    return bool((column.values != column.values[0]).any())  # nan, not measured, differs from itself


def _lead(document: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """What one sees, in words."""
    names = {column.name: column for column in columns}
    objectives = document["objectives"]
    where = f" where {document['where']}" if document.get("where") else ""
    front, ties = len(document["front"]), len(document.get("ties") or ())
    sure = document.get("sure")
    text = [
        f"Each point is one of {grouped(str(len(document['codes'])))} subnets with its own cost and accuracy; "
        f"{grouped(str(front))} {'is' if front == 1 else 'are'} on the exact front of {' and '.join(objectives)}{where}"
        + (f", {grouped(str(len(sure)))} of them sure and the others in doubt" if sure is not None else "")
        + (f", and {grouped(str(ties))} more cannot be told from it within the noise" if ties else "")
        + "."
    ]
    for role in ("knee", "baseline"):
        row = document.get(role)
        if row is not None:
            numbers = ", ".join(f"{name} {names[name].short(float(names[name].values[row]))}" for name in objectives)
            text.append(f"The {role} {_code(document, row)} has {numbers}.")
    return " ".join(text)


def _explorer() -> Markup:
    """The frame that the scripts fill; hidden without them."""

    def empty(name: str, kind: str = "div", **attributes: str | bool) -> Markup:
        return tag(kind, id=name, **attributes)

    plot = tag("div", empty("base", "canvas", tabindex="0", role="group"), empty("over", "canvas"), id="plot")
    hint = (
        "Point for the numbers, click to select, drag to zoom, double-click to show all; the wheel zooms once the "
        "picture was clicked. Keys: left and right along the line, Enter, + and −, 0."
    )
    which = [empty("which", "p", class_="note"), tag("p", hint, class_="note screen")]
    left = [tag("figure", empty("bar"), empty("legend"), plot, *which), empty("picked", class_="panel", hidden=True)]
    reset = tag("button", "Reset", id="reset", type="button")
    right = [
        tag("div", empty("remain", aria_live="polite"), class_="panel"),
        tag("div", tag("h3", "Budgets", reset), empty("budgets"), class_="panel"),
        tag("div", tag("h3", "Options"), empty("blocks"), class_="panel"),
    ]
    inner = [tag("div", join(left)), tag("div", join(right))]
    return tag("div", join(inner), id="explore", class_="explore", hidden=True)


def _members(document: Mapping[str, Any], columns: Sequence[Column]) -> Markup:
    """The front, the shortlist, knee and baseline by the first objective; the scripts replace the rows."""
    rows = {row: None for row in (*document["front"], *(document.get("shortlist") or ()))}
    rows.update((document[role], None) for role in ("knee", "baseline") if document.get(role) is not None)
    first = next(column for column in columns if column.name == document["objectives"][0])
    ordered = sorted(rows, key=lambda row: (np.nan_to_num(first.values[row], nan=np.inf), row))
    cells = (
        (
            _code(document, row),
            ", ".join(_roles(document, row)),
            *(column.words(float(column.values[row])) for column in columns),
        )
        for row in ordered[:MOST_ROWS]
    )
    more = f"; the first {MOST_ROWS} of them" if len(ordered) > MOST_ROWS else ""
    caption = f"{grouped(str(len(ordered)))} subnets: the front and the shortlist, knee and baseline{more}."
    whole = table(caption, ("code", "what it is", *(column.label() for column in columns)), cells)
    return tag("div", whole, id="members", class_="panel")


def _roles(document: Mapping[str, Any], row: int) -> Iterator[str]:
    yield from (role for role in ("knee", "baseline") if document.get(role) == row)
    sure = document.get("sure")
    if row in document["front"]:
        yield "front" if sure is None else "front, sure" if row in sure else "front, in doubt"
    if row in (document.get("shortlist") or ()):
        names = document.get("shortlist_names")
        yield f"shortlist: {names[document['shortlist'].index(row)]}" if names else "shortlist"


def _code(document: Mapping[str, Any], row: int) -> str:
    return ",".join(document["codes"][row])
