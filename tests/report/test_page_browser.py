"""The page in headless Chromium: all figures drawn, no error, no request, wide and narrow, by keys, without scripts."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from pages import NASTY, data_of
from report_histories import made_history, with_record

from edgeflownas.report.diagnosis import Diagnosis, Finding, diagnose
from edgeflownas.report.page import render, waiting_page

pytestmark = pytest.mark.e2e  # a whole browser

FINDINGS = (
    Finding("plateau", "stop", (3, 9), {}, "level", "why", "advice", ("epe",)),
    Finding("outlier_epoch", "warning", (5, 7), {}, "out", "why", "advice", ("epe", "archs", "ranks", "pool")),
)
DRAWN = """[...document.querySelectorAll('[data-chart]')].filter(h => h.offsetParent).map(h => [h.dataset.chart,
  [...h.querySelectorAll('svg[role=group]')].map(s =>
    s.querySelectorAll('path.line, path[fill], circle, rect').length)])"""
RANKS = """(r => [r.x, r.y, r.width, r.height])(
  document.querySelector('[data-chart=ranks] svg[role=group]').getBoundingClientRect())"""


def nan_in_the_middle(history):
    history.epes[2:4] = math.nan
    torn = {"mean_epe_12": math.nan, "train_loss": math.inf}
    return replace(history, rows=tuple({**row, **torn} if 2 <= i < 4 else row for i, row in enumerate(history.rows)))


CASES = {
    "plain": lambda: [made_history()],
    "one epoch": lambda: [made_history(1)],
    "nan values": lambda: [nan_in_the_middle(made_history(8))],
    "single model": lambda: [made_history(6, 1)],
    "48 subnets": lambda: [made_history(12, 48)],
    "1000 epochs": lambda: [made_history(1000, 12)],
    "nasty names": lambda: [made_history(6, 12, NASTY, split_label=NASTY), made_history(6)],
    "three labels": lambda: [made_history(6, 4, name, eval_set=name) for name in ("a", "b", "c")],
    "label changed": lambda: [made_history(12, eval_set=lambda row: "aaaa" if row < 5 else "bbbb")],
    "bare columns": lambda: [
        made_history(6, lr=None, clip_rate=None, train_loss=None, zero_flow_epe=None, eval_set=None, split_label=None)
    ],
    "monitors": lambda: [
        with_record(
            made_history(4),
            per_option=[{"epoch": e, "block": b, "option": o, "meaning": "", "train_loss_relative": 0.1 * int(o)}
                        for e in (1, 2) for b in ("EB0", "H1") for o in "012"],
            monitor=[{"step": s, "epoch": 1, "path": 0, "block": b, "grad_norm": 1.0 + s}
                     for s in (10, 20) for b in ("all", "EB0")],
        )
    ],
}  # fmt: skip


def written(folder, histories, diagnosis=None):
    own = diagnosis or Diagnosis("stop", FINDINGS, ())
    page = folder / "report.html"
    page.write_text(render(histories, [own] * len(histories), written="2026-01-01 12:00"), encoding="utf-8")
    return page


def check(browser, page):
    """Nothing wrong, nothing asked for, nothing wider than the screen, every visible figure has marks."""
    assert browser.problems == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    drawn = browser.value(DRAWN)
    assert drawn, "no figure at all"
    assert [name for name, marks in drawn if not marks or not all(marks)] == []


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_drawn(browser, tmp_path, case):
    page = written(tmp_path, CASES[case]())
    for width in (1280, 320):
        browser.open(page, width)
        check(browser, page)
    charts = data_of(page.read_text(encoding="utf-8"))["charts"]
    visible = {name for name, _ in browser.value(DRAWN)}
    assert visible == {chart["id"] for chart in charts if chart.get("run", 0) == 0}
    ranked = {name.partition("-")[0] for name in visible} & {"archs", "ranks", "tau", "spread"}
    assert bool(ranked) == (case != "single model") == browser.value("!!document.querySelector('figure.pool')")


def test_thinning_keeps_every_spike(browser, tmp_path):
    """Spikes of one epoch among 1000 are drawn at full height, on a screen with fewer pixels than epochs."""
    spikes = range(50, 1000, 83)
    history = made_history(1000, 2, clip_rate=lambda row: 1.0 if row in spikes else 0.0)
    browser.open(written(tmp_path, [history]), 390)
    path = browser.value("document.querySelector('[data-chart=clip] path.line').getAttribute('d')")
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)]
    lines = "[...document.querySelectorAll('[data-chart=clip] .grid-line')].map(l => +l.getAttribute('y1'))"
    top, bottom = min(browser.value(lines)), max(browser.value(lines))
    assert len(heights) < 1000
    assert sum(abs(height - top) < 0.1 for height in heights) == len(spikes)
    assert max(heights) == pytest.approx(bottom, abs=0.1)


def test_keys_read_the_values_aloud(browser, tmp_path):
    history = made_history()
    browser.open(written(tmp_path, [history]))
    chart, said = (
        "document.querySelector('[data-chart=epe] svg[role=group]')",
        "document.getElementById('say').textContent",
    )
    browser.value(f"{chart}.focus()")
    browser.key("Home")
    assert browser.value(said).startswith("epoch 20"), "the first key shows where one is"
    browser.key("Home")
    browser.key("ArrowRight")
    assert browser.value(said).startswith("epoch 2") and f"{history.rows[1]['mean_epe_12']:.4f}" in browser.value(said)
    label = browser.value(f"{chart}.getAttribute('aria-label')")
    assert "EPE (px)" in label and "arrow keys" in label
    browser.key("Escape")
    assert browser.value("document.getElementById('tip').hidden")


def test_pointer_shows_values(browser, tmp_path):
    browser.open(written(tmp_path, [made_history()]), height=6000)
    box = browser.value(RANKS)
    browser.move(box[0] + box[2] / 2, box[1] + box[3] / 2)
    assert re.match(r"epoch \d+", browser.value("document.getElementById('tip').textContent"))


def test_lines_and_subnets_can_be_switched(browser, tmp_path):
    browser.open(written(tmp_path, [made_history()]))
    lines = "document.querySelectorAll('[data-chart=epe] path.line').length"
    before = browser.value(lines)
    browser.value("document.querySelector('[data-chart=epe] .legend button').click()")
    assert browser.value(lines) == before - 1
    assert browser.value("!!document.querySelector('[data-chart=epe] .legend [aria-pressed=false]')")
    coloured = "document.querySelectorAll('[data-chart=ranks] .arch-label.on').length"
    before = browser.value(coloured)
    browser.value("[...document.querySelectorAll('.mini button')].find(b => !b.querySelector('.tag')).click()")
    assert browser.value(coloured) == before + 1
    half = "s.value = '0.5'; s.dispatchEvent(new Event('change'))"
    browser.value(f"(s => {{ {half}; }})(document.querySelector('#part'))")
    first = browser.value("document.querySelector('[data-chart=archs] .mini svg text:nth-last-of-type(2)').textContent")
    assert 9 <= int(first) <= 12 and browser.problems == []


def test_findings_and_figures_link_to_each_other(browser, tmp_path):
    browser.open(written(tmp_path, [made_history(name="a"), made_history(name="b")]))
    assert browser.value("document.querySelectorAll('[data-chart=epe] a.mark').length") == 6
    assert not browser.value("document.getElementById('fig-archs-1').offsetParent")
    browser.value("location.hash = '#fig-archs-1'")
    shown = "!!document.getElementById('fig-archs-1').offsetParent"
    assert browser.value(f"new Promise(done => setTimeout(() => done({shown}), 100))")
    check(browser, tmp_path / "report.html")


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read(browser, tmp_path, dark):
    """Contrast of every text with its ground is at least 4.5 to 1 (WCAG AA)."""
    findings = (*diagnose(made_history(clip_rate=1.0)).findings, *FINDINGS)
    browser.open(written(tmp_path, [made_history()], Diagnosis("look here", findings, ())), dark=dark)
    poor = browser.value(Path(__file__).with_name("contrast.js").read_text(encoding="utf-8"))
    assert poor == []


def test_print_is_light_and_complete(browser, tmp_path):
    page = written(tmp_path, [made_history()])
    browser.open(page, dark=True)
    browser.pdf(tmp_path / "page.pdf")
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF") and data.count(b"/Type /Page\n") >= 2
    assert browser.problems == []


def test_a_run_without_an_evaluation_and_a_page_without_javascript(browser, tmp_path):
    page = tmp_path / "waiting.html"
    page.write_text(waiting_page("run", "later"), encoding="utf-8")
    browser.open(page)
    assert browser.problems == [] and "No evaluation yet" in browser.value("document.body.innerText")
    history = made_history()
    browser.open(written(tmp_path, [history]), scripts=False)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.value("document.querySelectorAll('[data-chart] svg').length") == 0
    assert f"{history.rows[3]['mean_epe_12']:.4f}" in browser.value("document.getElementById('fig-epe').textContent")
    assert "JavaScript" in browser.value("document.body.innerText")
