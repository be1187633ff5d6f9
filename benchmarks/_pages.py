"""HTML pages by what they say: texts, cells of tables, links within and the data of figures, whatever the markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

# What differs by chance or on purpose, in words for whoever reads the comparison: no mask beyond these.
LEFT_OUT = (
    "scripts, styles and the pixels of pictures",
    "numbers in figures of the topic time, in their tables, and beside a unit of time",
    "values of commit, dirty, version and code, a run's id, dates: which code, which run, when",
    "in the data of figures: defaults that are written out, and `runs`, which came to each chart",
)
DEFAULTS = {"colour": "c0", "style": "line", "limits": [None, None], "x_label": "epoch", "scale": "linear", "digits": 4}
DEFAULTS |= {"kind": "lines"}
EMPTY: tuple[Any, ...] = (None, "", [], {})
IDENTITY = re.compile(r"(commit|dirty|version|code): (-|True|False|[0-9a-f]{40}|\d+\.\d+\.\d+( [0-9a-f]{7,40})?)")
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?([eE][-+]?\d+)?")
TIMED = re.compile(r"\d (s|ms|min|h|seconds?|minutes?|images/s|pairs/s)\b|data wait|waiting for data", re.IGNORECASE)
WHEN = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?|\b[0-9a-f]{32}\b")
SAID = ("title", "aria-label", "alt", "placeholder")


class _Page(HTMLParser):
    """The words of a page in order, and the documents in its script elements."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.documents: list[Any] = []
        self.inside = self.figure = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what attributes say to a reader, and where a figure begins."""
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "style"):
            self.inside = given.get("type") or tag
        if given.get("id"):
            self.figure = given["id"]
        self.words += [given[name] for name in SAID if given.get(name)]
        self.words += [f"-> {given['href']}"] if given.get("href", "").startswith("#") else []

    def handle_endtag(self, tag: str) -> None:
        """Scripts and styles end."""
        self.inside = "" if tag in ("script", "style") else self.inside

    def handle_data(self, data: str) -> None:
        """Text, or the document of a script element."""
        if self.inside == "application/json":
            self.documents.append(_figures(json.loads(data)))
        elif not self.inside and (text := " ".join(data.split())):
            timed = self.figure.startswith(("fig-time", "fig-speed")) or TIMED.search(text)
            identity = IDENTITY.fullmatch(f"{self.words[-1] if self.words else ''}: {text}")
            self.words.append("~" if identity else NUMBER.sub("#", text) if timed else WHEN.sub("~", text))


def _figures(value: Any, timed: bool = False) -> Any:
    """The data of figures without what is written out in one tree and follows from nothing in the other."""
    if isinstance(value, dict):
        timed = timed or value.get("topic") == "time"
        kept = {k: v for k, v in value.items() if v not in EMPTY and v != DEFAULTS.get(k)}
        return {k: _figures(v, timed) for k, v in kept.items() if k != "runs" or "topic" not in value}
    if isinstance(value, list):
        return [_figures(part, timed) for part in value]
    return "#" if timed and isinstance(value, float) else value


def read_page(text: str) -> tuple[list[str], list[Any]]:
    """Words, one text or cell an entry, and documents of a page."""
    page = _Page()
    page.feed(text)
    page.close()
    return page.words, page.documents
