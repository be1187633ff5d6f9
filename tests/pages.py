"""Pages read back: their data, and what a reader without scripts gets, as lines of text."""

import json
import os
import re
from html.parser import HTMLParser

NASTY = "<script>alert('x')</script><!-- \"quotes\" & 'more' </script>"


class Reader(HTMLParser):
    """Ids, links, addresses that would be loaded, tags, and the texts of elements a line each with their ids."""

    def __init__(self, page):
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.lines: list[str] = []
        self._line, self._silent = "", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._silent = tag in ("script", "style")
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
                self._end()
                self._line = f"[{value}] "
            if name == "href":
                self.links.append(value or "")
                self._line += f"({value})"
            if name in ("src", "srcset", "poster", "action", "data") and not (value or "").startswith("data:"):
                self.loaded.append(value or "")

    def handle_endtag(self, tag):
        self._silent = False
        if tag in ("th", "td"):
            self._line += " |"
        elif tag in ("p", "h1", "h2", "h3", "h4", "tr", "caption", "summary", "dt", "dd", "title", "header", "nav"):
            self._end()

    def handle_data(self, data):
        if not self._silent:
            self._line += re.sub(r"[ \n]+", " ", data)

    def _end(self):
        if line := re.sub(r" +", " ", self._line).strip():
            self.lines.append(line)
        self._line = ""


def data_of(page):
    """What the page's scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def approve(page, approved):
    """The texts of a page are those of a file that was read and approved; EDGEFLOWNAS_APPROVE=1 writes it anew."""
    text = "\n".join(Reader(page).lines) + "\n"
    if os.environ.get("EDGEFLOWNAS_APPROVE"):
        approved.write_text(text, encoding="utf-8")
    assert text.splitlines() == approved.read_text(encoding="utf-8").splitlines()


def safe(page):
    """Nothing on the page is loaded, and no text of it became markup."""
    assert Reader(page).loaded == []
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:" in page
    assert "<script>alert" not in page and "<!--" not in page
