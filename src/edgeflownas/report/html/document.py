"""The frame of every page that is written: one file with style, scripts and data inside, which loads nothing."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Mapping, Sequence

from edgeflownas.report.html.markup import Markup, join, script_json, tag

#: No address is ever loaded, whatever the names on a page contain.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_SECTION = re.compile(r'<section id="([\w-]+)"><h2>([^<]+)</h2>')


def whole_page(
    title: str,
    status: str,
    body: Sequence[Markup],
    data: Mapping[str, object],
    *,
    brand: str,
    note: str,
    foot: str,
    files: Sequence[str] = (),
) -> str:
    """HTML of a page with a head, links to its sections, and a block of data that its scripts read.

    Args:
        title: of the page and its first heading.
        status: one line below the heading.
        body: sections; one that opens with a level-2 heading is linked to from the top.
        data: what the scripts draw from (JSON).
        brand: what kind of page this is.
        note: what is said where there is no JavaScript.
        foot: the last line, before the words that nothing is loaded.
        files: styles and scripts after ``page.css`` and ``draw.js``, as ``html/page.js`` (paths below report/).
    """
    folder = importlib.resources.files("edgeflownas.report")
    texts = {
        name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("html/page.css", "html/draw.js", *files)
    }
    header = tag(
        "header",
        tag("div", tag("p", brand, class_="brand"), tag("h1", title), tag("p", status, class_="status")),
        tag("div", id="tools"),
    )
    styles = (text for name, text in texts.items() if name.endswith(".css"))
    page = tag(
        "body",
        tag("a", "Skip to the content", href="#main", class_="skip"),
        header,
        _navigation(body),
        tag("noscript", tag("p", note, class_="banner")),
        tag("main", join(body), id="main", tabindex="-1"),
        tag("footer", tag("p", foot, "This file loads nothing.")),
        tag("div", id="tip", aria_hidden="true", hidden=True),
        tag("div", id="say", role="status", aria_live="polite"),
        script_json("data", data),
        join(Markup(f"<script>{text}</script>") for name, text in texts.items() if name.endswith(".js")),
    )
    return "<!doctype html>\n" + tag("html", _head(f"{title} · {brand}", styles), page, lang="en") + "\n"


def _head(title: str, styles: Iterable[str]) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        join(Markup(f"<style>{text}</style>") for text in styles),
    )


def _navigation(body: Sequence[Markup]) -> Markup:
    """Links to the sections that are there."""
    found = [(name, title) for part in body for name, title in _SECTION.findall(part) if name != "verdict"]
    links = (tag("a", Markup(title), href=f"#{name}") for name, title in found)
    return tag("nav", join(links), aria_label="Sections") if found else Markup("")
