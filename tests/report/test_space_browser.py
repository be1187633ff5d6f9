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
SET = """((s, value, event) => { s = document.querySelector(s) || [...document.querySelectorAll('.budget')].find(
  (row) => row.textContent.trim().startsWith(s)).querySelector('input[type=number]');
  s.value = value; s.dispatchEvent(new Event(event, { bubbles: true })); })"""


def change(browser: Browser, field: str, value: float | str, event: str = "input") -> None:
    """Give a field (a selector, or the name of a budget) a value, as a user does."""
    browser.value(f"{SET}('{field}', '{value}', '{event}')")


def click(browser: Browser, selector: str) -> None:
    browser.value(f"document.querySelector('{selector}').click()")


def text(browser: Browser, name: str) -> str:
    return str(browser.value(f"document.getElementById('{name}').innerText"))


def mouse(browser: Browser, *events: tuple[str, float, float]) -> None:
    for kind, x, y in events:
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


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
        assert "the exact front of epe, macs" in text(browser, "which")
    assert browser.value(CONTRAST.read_text(encoding="utf-8")) == []


def test_a_point_says_what_it_is_and_a_click_selects_and_copies(browser: Browser, tmp_path: Path):
    document = made_document(6)
    opened(browser, tmp_path, document)
    for row in (int(np.argmax(document["values"]["epe"])), document["front"][2]):
        x, y = browser.value(f"scatter.place({row})")
        browser.move(x, y)
        assert now(browser)["near"] == row
        said, code = text(browser, "tip"), ",".join(document["codes"][row])
        assert code in said and f"{document['values']['epe'][row]:.4f} ± 0.0210" in said
        assert "standard error, unpaired" in said and "EB0\u00a0depth\u00a0" in said
        assert "front" in said or row not in document["front"]
    mouse(browser, ("mousePressed", x, y), ("mouseReleased", x, y))
    assert now(browser)["pinned"] == row and text(browser, "picked").startswith(code)
    browser.value("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    click(browser, "#picked button")
    assert browser.value("window.copied") == code
    browser.move(5, 5)
    assert browser.value("document.getElementById('tip').hidden")


def test_options_and_budgets_leave_what_fits(browser: Browser, tmp_path: Path):
    document, digits = made_document(), digits_of()
    values = columns(digits)
    opened(browser, tmp_path, document)
    click(browser, "[data-block=\\'1\\'][data-option=\\'2\\']")
    kept = digits[:, 1] != 2
    assert now(browser)["remaining"] == kept.sum()
    change(browser, "sram_kib", 712.5)
    change(browser, "macs", 3400)
    kept &= (values["sram_kib"] <= 712.5) & (values["macs"] <= 3.4e9)
    state = now(browser)
    assert state["remaining"] == kept.sum() and 0 < kept.sum() < 4000
    assert state["drawn"] == 19683, "dimmed, not gone"
    assert set(state["line"]) == front_of(("epe", "macs"), kept, values)
    best = int(np.flatnonzero(kept)[values["epe"][kept].argmin()])
    assert ",".join(document["codes"][best]) in text(browser, "remain")
    assert "computed here" in text(browser, "which")
    click(browser, "#reset")
    assert browser.value("new Promise(done => setTimeout(() => done(scatter.now().remaining), 50))") == 19683


def test_the_slider_shows_the_limit_that_holds_and_where_can_be_switched_off(browser: Browser, tmp_path: Path):
    document = made_document(6, where="EB0=depth2")
    state = opened(browser, tmp_path, document)
    assert state["remaining"] == 243 and state["drawn"] == 729
    click(browser, "#where")
    assert now(browser)["remaining"] == 729
    change(browser, "#limit-5", 400)
    limit = float(browser.value("document.querySelector('#limit-5 ~ input').value"))
    assert now(browser)["remaining"] == sum(value <= limit for value in document["values"]["cpu_ms"]) > 0
    assert f"{limit:.2f}" in browser.value("document.getElementById('limit-5').getAttribute('aria-valuetext')")


def test_the_front_follows_the_axes(browser: Browser, tmp_path: Path):
    document = made_document(6, objectives=("epe", "macs", "sram_kib"))
    values, everything = columns(digits_of(6)), np.ones(729, dtype=bool)
    line = opened(browser, tmp_path, document)["line"]
    assert set(line) == front_of(("epe", "macs"), everything, values) < set(document["front"])
    change(browser, "#axis-x", 4, "change")
    assert set(now(browser)["line"]) == front_of(("epe", "sram_kib"), everything, values)
    assert "epe against sram_kib" in text(browser, "which")


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
    for key, place in (("ArrowRight", 0), ("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2), ("Home", 0)):
        browser.key(key)
        assert now(browser)["near"] == line[place], key
    said = text(browser, "say")
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
    mouse(browser, ("mousePressed", x0, y0), ("mouseMoved", x1, y1), ("mouseReleased", x1, y1))
    view, macs = now(browser)["view"], document["values"]["macs"]
    step = abs(macs[rows[0]] - macs[rows[1]]) / abs(x1 - x0)  # a pixel
    assert [view["x0"], view["x1"]] == pytest.approx(sorted(macs[row] for row in rows), abs=1.5 * step)
    assert now(browser)["pinned"] == -1


def test_the_table_follows_and_sorts(browser: Browser, tmp_path: Path):
    document = made_document(6)
    opened(browser, tmp_path, document)
    cells = "[...document.querySelectorAll('#members tbody td:nth-child(5)')]"
    numbers = f"{cells}.map(c => Number(c.textContent.replace(/\\s/g, '')))"
    click(browser, "#members th:nth-child(5) button")
    listed, macs = browser.value(numbers), np.array(document["values"]["macs"])
    wanted = {*document["front"], *document["shortlist"], document["knee"], document["baseline"]}
    assert listed == sorted(macs[list(wanted)].tolist())
    change(browser, "epe", 8.6)
    browser.value("new Promise(done => setTimeout(done, 250))")
    assert len(browser.value(numbers)) < len(listed)
    assert now(browser)["remaining"] == sum(epe <= 8.6 for epe in document["values"]["epe"])


@pytest.mark.parametrize("objectives", [("epe",), ("epe", "macs", "cpu_ms")])
def test_one_objective_or_three_and_columns_that_are_empty(browser: Browser, tmp_path: Path, objectives: Any):
    absent = {"knee": None, "baseline": None, "shortlist": [], "ties": [], "standard_error": None}
    document = made_document(4, objectives=objectives, **absent)
    document["values"]["int8_weight_kib"] = [None] * 81
    state = opened(browser, tmp_path, document, 390)
    assert state["drawn"] == 81 and state["line"]
    change(browser, "#colour", "column 1", "change")
    change(browser, "#axis-x", 0, "change")
    assert now(browser)["line"] == []


def test_print_is_light_and_without_javascript_the_table_remains(browser: Browser, tmp_path: Path):
    opened(browser, tmp_path, made_document(6), dark=True)
    browser.value(
        "addEventListener('beforeprint', () => { window.ground = getComputedStyle(document.body).colorScheme; })"
    )
    browser.pdf(tmp_path / "page.pdf")
    assert browser.value("window.ground") == "light" and (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert browser.value("document.getElementById('theme').value") == "" and now(browser)["drawn"] == 729
    browser.open(tmp_path / "space.html", scripts=False)
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
    rows = "[...document.querySelectorAll('#choices tbody tr')].map((row) => row.offsetHeight)"
    assert max(browser.value(rows)) < 36
