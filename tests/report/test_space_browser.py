"""The page of a space in headless Chromium: what is drawn, what fits, the front found again, wide, narrow and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser
from space_documents import columns, digits_of, dominated, made_document

from edgeflownas.report.space_page import render

pytestmark = pytest.mark.e2e  # a whole browser

CONTRAST = Path(__file__).with_name("contrast.js")
LIMIT = """((name, value) => { const row = [...document.querySelectorAll('.budget')].find(
  r => r.textContent.startsWith(name)); const field = row.querySelector('input[type=number]');
  field.value = value; field.dispatchEvent(new Event('input')); })"""
CHOOSE = (
    "((id, value) => { const s = document.getElementById(id); s.value = value; s.dispatchEvent(new Event('change')); })"
)
OPTION = 'document.querySelector(\'input[data-block="{}"][data-option="{}"]\').click()'


def opened(
    browser: Browser, folder: Path, document: dict[str, Any], width: int = 1280, **options: Any
) -> dict[str, Any]:
    """What the page says of itself once it is drawn; no error, no request, nothing wider than the screen."""
    page = folder / "space.html"
    page.write_text(render(document), encoding="utf-8")
    browser.open(page, width, 1000, **options)
    assert browser.problems == [] and browser.requests == [page.resolve().as_uri()]
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    return now(browser)


def now(browser: Browser) -> dict[str, Any]:
    found = browser.value("scatter.now()")
    assert browser.problems == []
    return dict(found)


def front_of(names: tuple[str, ...], kept: np.ndarray, values: dict[str, np.ndarray]) -> set[int]:
    rows = np.flatnonzero(kept)
    return set(rows[~dominated(np.stack([values[name][rows] for name in names], axis=1))].tolist())


@pytest.mark.parametrize("dark", [False, True])
def test_every_subnet_of_the_space_is_drawn(browser: Browser, tmp_path: Path, dark: bool):
    document = made_document()
    for width in (1280, 390):
        state = opened(browser, tmp_path, document, width, dark=dark)
        assert state["drawn"] == state["remaining"] == 19683
        assert set(state["line"]) == set(document["front"]), "the front found in the page is the one given"
        assert "the exact front of epe, macs" in browser.value("document.getElementById('which').textContent")
    assert browser.value(CONTRAST.read_text(encoding="utf-8")) == []


def test_a_point_says_what_it_is_and_a_click_selects_and_copies(browser: Browser, tmp_path: Path):
    document = made_document(6)
    opened(browser, tmp_path, document)
    for row in (int(np.argmax(document["values"]["epe"])), document["front"][2]):
        x, y = browser.value(f"scatter.place({row})")
        browser.move(x, y)
        assert now(browser)["near"] == row
        text, code = browser.value("document.getElementById('tip').innerText"), ",".join(document["codes"][row])
        assert code in text and f"{document['values']['epe'][row]:.4f} ± 0.0210" in text
        assert "standard error, unpaired" in text and "EB0\u00a0depth\u00a0" in text
        assert "front" in text or row not in document["front"]
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    assert now(browser)["pinned"] == row
    assert browser.value("document.getElementById('picked').innerText").startswith(code)
    browser.value("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    browser.value("document.querySelector('#picked button').click()")
    assert browser.value("window.copied") == code
    browser.move(5, 5)
    assert browser.value("document.getElementById('tip').hidden")


def test_options_and_budgets_leave_what_fits(browser: Browser, tmp_path: Path):
    document, digits = made_document(), digits_of()
    values = columns(digits)
    opened(browser, tmp_path, document)
    browser.value(OPTION.format(1, 2))
    kept = digits[:, 1] != 2
    assert now(browser)["remaining"] == kept.sum()
    browser.value(f"{LIMIT}('sram_kib', 712.5)")
    browser.value(f"{LIMIT}('macs', 3400)")
    kept &= (values["sram_kib"] <= 712.5) & (values["macs"] <= 3.4e9)
    state = now(browser)
    assert state["remaining"] == kept.sum() and 0 < kept.sum() < 4000
    assert state["drawn"] == 19683, "dimmed, not gone"
    assert set(state["line"]) == front_of(("epe", "macs"), kept, values)
    best = int(np.flatnonzero(kept)[values["epe"][kept].argmin()])
    assert ",".join(document["codes"][best]) in browser.value("document.getElementById('remain').innerText")
    assert "computed here" in browser.value("document.getElementById('which').textContent")
    browser.value("document.getElementById('reset').click()")
    assert now(browser)["remaining"] == 19683


def test_the_slider_shows_the_limit_that_holds_and_where_can_be_switched_off(browser: Browser, tmp_path: Path):
    document = made_document(6, where="EB0=1")
    state = opened(browser, tmp_path, document)
    assert state["remaining"] == 243 and state["drawn"] == 729
    browser.value("document.getElementById('where').click()")
    assert now(browser)["remaining"] == 729
    slider = "document.getElementById('limit-5')"
    browser.value(f"{slider}.value = 400; {slider}.dispatchEvent(new Event('input'))")
    limit = float(browser.value(f"{slider}.parentElement.querySelector('input[type=number]').value"))
    assert now(browser)["remaining"] == sum(value <= limit for value in document["values"]["cpu_ms"]) > 0
    assert f"{limit:.2f}" in browser.value(f"{slider}.getAttribute('aria-valuetext')")


def test_the_front_follows_the_axes(browser: Browser, tmp_path: Path):
    document = made_document(6, objectives=("epe", "macs", "sram_kib"))
    values, everything = columns(digits_of(6)), np.ones(729, dtype=bool)
    state = opened(browser, tmp_path, document)
    assert set(state["line"]) == front_of(("epe", "macs"), everything, values) < set(document["front"])
    browser.value(f"{CHOOSE}('axis-x', '4')")
    state = now(browser)
    assert set(state["line"]) == front_of(("epe", "sram_kib"), everything, values)
    assert "epe against sram_kib" in browser.value("document.getElementById('which').textContent")


def test_equal_costs_and_what_is_better_when_larger(browser: Browser, tmp_path: Path):
    """Few different values: equal pairs are on the front together; one column counts the other way round."""
    document, random = made_document(6), np.random.default_rng(3)
    values = {"epe": random.integers(0, 12, 729) / 4, "macs": random.integers(0, 12, 729).astype(float)}
    document["values"].update({name: column.tolist() for name, column in values.items()})
    document["columns"][2]["minimise"] = False
    document["values"]["epe"][5] = None
    front = front_of(("epe", "macs"), np.arange(729) != 5, {"epe": values["epe"], "macs": -values["macs"]})
    state = opened(browser, tmp_path, document | {"front": sorted(front)})
    assert set(state["line"]) == front and state["drawn"] == 728


def test_keys_step_along_the_front_and_zoom(browser: Browser, tmp_path: Path):
    document = made_document(6)
    line = opened(browser, tmp_path, document)["line"]
    browser.value("document.getElementById('base').focus()")
    steps = [("ArrowRight", 0), ("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2), ("Home", 0)]
    for key, place in steps:
        browser.key(key)
        assert now(browser)["near"] == line[place], key
    said = browser.value("document.getElementById('say').textContent")
    assert ",".join(document["codes"][line[0]]) in said and "macs" in said
    browser.key("Enter")
    before = now(browser)
    browser.key("+")
    after = now(browser)
    assert before["pinned"] == line[0] and after["drawn"] < 729
    assert after["view"]["x1"] - after["view"]["x0"] < before["view"]["x1"] - before["view"]["x0"]
    browser.key("0")
    assert now(browser)["view"] == before["view"]


def test_a_drag_zooms_to_its_frame(browser: Browser, tmp_path: Path):
    document = made_document(6)
    opened(browser, tmp_path, document)
    rows = document["front"][0], document["front"][-1]
    (x0, y0), (x1, y1) = (browser.value(f"scatter.place({row})") for row in rows)
    for kind, x, y in (("mousePressed", x0, y0), ("mouseMoved", x1, y1), ("mouseReleased", x1, y1)):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
    view, macs = now(browser)["view"], document["values"]["macs"]
    step = abs(macs[rows[0]] - macs[rows[1]]) / abs(x1 - x0)  # a pixel
    assert [view["x0"], view["x1"]] == pytest.approx(sorted(macs[row] for row in rows), abs=1.5 * step)
    assert now(browser)["pinned"] == -1


def test_the_table_follows_and_sorts(browser: Browser, tmp_path: Path):
    document = made_document(6)
    opened(browser, tmp_path, document)
    cells = "[...document.querySelectorAll('#members tbody td:nth-child(5)')]"
    numbers = f"{cells}.map(c => Number(c.textContent.replace(/\\s/g, '')))"
    browser.value("document.querySelectorAll('#members thead button')[3].click()")
    listed = browser.value(numbers)
    macs = np.array(document["values"]["macs"])
    wanted = {*document["front"], *document["shortlist"], document["knee"], document["baseline"]}
    assert listed == sorted(macs[list(wanted)].tolist())
    browser.value(f"{LIMIT}('epe', 8.6)")
    browser.value("new Promise(done => setTimeout(done, 250))")
    assert len(browser.value(numbers)) < len(listed)
    assert now(browser)["remaining"] == sum(epe <= 8.6 for epe in document["values"]["epe"])


@pytest.mark.parametrize("objectives", [("epe",), ("epe", "macs", "cpu_ms")])
def test_one_objective_or_three_and_columns_that_are_empty(
    browser: Browser, tmp_path: Path, objectives: tuple[str, ...]
):
    document = made_document(
        4, objectives=objectives, knee=None, baseline=None, shortlist=[], ties=[], standard_error=None
    )
    document["values"]["int8_weight_kib"] = [None] * 81
    state = opened(browser, tmp_path, document, 390)
    assert state["drawn"] == 81 and state["line"]
    browser.value(f"{CHOOSE}('colour', 'column 1')")
    browser.value(f"{CHOOSE}('axis-x', '0')")
    assert now(browser)["line"] == []


def test_print_is_light(browser: Browser, tmp_path: Path):
    opened(browser, tmp_path, made_document(6), dark=True)
    browser.value("addEventListener('beforeprint', () => { window.ground = document.documentElement.dataset.theme; })")
    browser.pdf(tmp_path / "page.pdf")
    assert browser.value("window.ground") == "light" and (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert browser.value("document.documentElement.dataset.theme") is None
    assert now(browser)["drawn"] == 729


def test_without_javascript_the_table_remains(browser: Browser, tmp_path: Path):
    page = tmp_path / "space.html"
    page.write_text(render(made_document(5)), encoding="utf-8")
    browser.open(page, scripts=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "needs JavaScript" in browser.value("document.body.innerText")
    assert not browser.value("document.getElementById('explore').offsetParent")
    assert browser.value("document.querySelectorAll('#members tbody tr').length") > 3


def test_nothing_wraps_that_should_not(browser: Browser, tmp_path: Path):
    """The bar of the picture on a screen, the rows of the numbers on a phone; no name of a small picture on another."""
    document = made_document(6)
    opened(browser, tmp_path, document, 1280)
    boxes = "[...document.querySelectorAll('#bar > *')].map((e) => e.getBoundingClientRect())"
    middles = f"{boxes}.map((r) => r.top + r.height / 2)"
    assert np.ptp(browser.value(middles)) < 4
    overlap = """(() => {
      const boxes = (svg) => [...svg.querySelectorAll('.name')].map((t) => t.getBoundingClientRect());
      const meet = (a, b) =>
        a.left < b.right - 2 && b.left < a.right - 2 && a.top < b.bottom - 5 && b.top < a.bottom - 5;
      return [...document.querySelectorAll('.mini svg')].map(boxes)
        .filter((found) => found.some((a, i) => found.some((b, j) => i < j && meet(a, b)))).length; })()"""
    assert browser.value(overlap) == 0
    opened(browser, tmp_path, document, 390)
    assert (
        browser.value("Math.max(...[...document.querySelectorAll('#choices tbody tr')].map((r) => r.offsetHeight))")
        < 36
    )
