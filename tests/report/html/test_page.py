"""The page as text: complete, linked, and unbreakable by what it shows."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_histories import made_history, with_record

from edgeflownas.report.diagnosis import Diagnosis, Finding, NotJudged, diagnose
from edgeflownas.report.html import render, waiting_page

NASTY = "<script>alert('x')</script><!-- \"quotes\" & 'more' </script>"


class Reader(HTMLParser):
    """Ids, links to them, addresses that would be loaded, texts by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")
            if name in ("src", "srcset", "poster", "action", "data") and not (value or "").startswith("data:"):
                self.loaded.append(value or "")


def page_of(*histories, **options) -> str:
    return render(histories, [Diagnosis("healthy", (), ())] * len(histories), **options)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_every_link_leads_to_something_on_the_page():
    histories = [made_history(name="a"), made_history(name="b", eval_set="bbbb", clip_rate=1.0)]
    diagnoses = [diagnose(history) for history in histories]
    assert diagnoses[1].findings
    for page in (render(histories[:1], diagnoses[:1]), render(histories, diagnoses)):
        found = Reader(page)
        assert len(found.ids) == len(set(found.ids))
        assert found.links and all(link.startswith("#") and link[1:] in found.ids for link in found.links)


def test_it_loads_nothing():
    page = page_of(made_history())
    assert Reader(page).loaded == []
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", page)
    assert "default-src 'none'" in html.unescape(page)


@pytest.mark.parametrize("many", [False, True])
def test_names_and_labels_cannot_break_out(many: bool):
    history = replace(made_history(name=NASTY, split_label=NASTY, eval_set=NASTY), codes=(NASTY,) * 12, notes=(NASTY,))
    history = with_record(history, config={NASTY: {NASTY: NASTY}}, manifest={"code": {NASTY: NASTY}})
    histories = [history, made_history()] if many else [history]
    page = page_of(*histories, details=[{NASTY: NASTY}] * len(histories), notes=[NASTY])
    assert Reader(page).tags.count("script") == 3, "data, two files"
    assert "<script>alert" not in page and "<!--" not in page
    assert data_of(page)["runs"][0] == NASTY


def test_findings_are_numbered_and_marked_in_their_charts():
    finding = Finding("outlier_epoch", "warning", (7,), {}, "epoch 7", "why", "advice", ("epe", "ranks"))
    span = Finding("plateau", "stop", (3, 9), {}, "level", "", "", ("epe",))
    diagnosis = Diagnosis("stop", (span, finding), (NotJudged("coverage_low", "needs a column"),))
    page = render([made_history()], [diagnosis])
    marks = {mark["number"]: mark for mark in data_of(page)["marks"]}
    assert (marks["1"]["span"], marks["1"]["charts"]) == (True, ["epe"])
    assert (marks["2"]["span"], marks["2"]["charts"]) == (False, ["epe", "ranks"])
    assert 'href="#fig-epe"' in page and 'href="#finding-2"' in page
    assert "Epochs see little of the data" in page and "needs a column" in page


def test_findings_of_one_run_are_not_marked_on_the_figures_of_another():
    finding = Finding("plateau", "warning", (3, 9), {}, "level", "", "", ("epe", "archs"))
    histories = [made_history(name="a"), made_history(name="b", eval_set="bbbb")]
    page = render(histories, [Diagnosis("look here", (finding,), ()), Diagnosis("healthy", (), ())])
    assert data_of(page)["marks"][0]["charts"] == ["epe", "archs-0"]


def test_long_histories_are_thinned_in_tables_only():
    page = page_of(made_history(1000, 3))
    assert "Every 10th of 1000 rows" in page
    assert len(data_of(page)["axes"]["e0"]) == 1000


def test_a_large_history_stays_small():
    assert len(page_of(made_history(1000, 48)).encode()) < 3_000_000


@pytest.mark.parametrize("verdict", ["healthy", "too early to say", "look here", "stop"])
def test_the_verdict_stands_on_top(verdict: str):
    page = render([made_history()], [Diagnosis(verdict, (), ())])
    word = verdict[:1].upper() + verdict[1:]
    assert page.index(f"<h3>{word}</h3>") < page.index("Key figures</h2>") < page.index('id="fig-epe"')


def test_without_javascript_there_are_tables():
    page = page_of(made_history())
    assert "<noscript>" in page
    charts = data_of(page)["charts"]
    assert page.count("Figures as a table") == len(charts) > 8


def test_a_waiting_run_says_so():
    page = waiting_page(NASTY, "The page fills later.")
    assert "No evaluation yet" in page and Reader(page).tags.count("script") == 3


def test_all_nan_is_still_a_page():
    history = made_history(3, 3, mean_epe_12=float("nan"), median_epe_12=float("nan"))
    history.epes[:] = float("nan")
    page = page_of(history)
    assert "not finite" in page
