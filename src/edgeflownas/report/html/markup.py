"""HTML that cannot be broken by what it shows: every text is escaped unless it already is markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any


class Markup(str):
    """Text that is HTML already."""


_VOID = {"img", "meta", "br", "input"}


def tag(name: str, /, *content: str | None, **attributes: str | float | bool | None) -> Markup:
    """``<name attributes>content</name>``; ``class_`` is class, ``data_run`` is data-run, None and False leave out."""
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            label = key.rstrip("_").replace("_", "-")
            words.append(label if value is True else f'{label}="{html.escape(str(value))}"')
    inner = join(part for part in content if part is not None)
    return Markup(f"<{' '.join(words)}>" + ("" if name in _VOID else f"{inner}</{name}>"))


def join(parts: Iterable[str]) -> Markup:
    """One piece of markup of many texts and pieces."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]], note: str = "") -> Markup:
    """A table that scrolls sideways within itself on a narrow screen; the first cell of a row is its header."""
    head = tag("thead", tag("tr", join(tag("th", cell, scope="col") for cell in header)))
    body = []
    for row in rows:
        first, *rest = row
        body.append(tag("tr", tag("th", first, scope="row"), join(tag("td", cell) for cell in rest)))
    whole = tag("table", tag("caption", caption), head, tag("tbody", join(body)))
    inner = tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return join([inner, tag("p", note, class_="note") if note else Markup("")])


def script_json(name: str, document: Any) -> Markup:
    """A data block that no text in it can end: ``<``, ``>`` and ``&`` are written as escapes.

    Raises:
        ValueError: a number that is not finite; JSON has no word for it.
    """
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{text}</script>')
