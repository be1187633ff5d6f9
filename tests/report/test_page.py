"""The report as text: complete, linked, and unbreakable by what it shows."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pages import NASTY, Reader, approve, data_of, safe
from report_histories import made_history, with_record

from edgeflownas.report.diagnosis import Diagnosis, Finding, NotJudged, diagnose
from edgeflownas.report.page import render, waiting_page
from edgeflownas.report.pictures import draw

APPROVED = Path(__file__).parent / "approved"
PLATEAU = Finding("plateau", "stop", (3, 9), {}, "level since epoch 3", "a reason", "an advice", ("epe", "archs"))
OUTLIER = Finding("outlier_epoch", "warning", (4,), {}, "epoch 4 is apart", "", "an advice", ("epe", "ranks"))
FINE = Finding("no_divergence", "ok", (), {}, "nothing to see", "", "", ())


def page_of(*histories, **options) -> str:
    return render(histories, [Diagnosis("healthy", (), ())] * len(histories), **options)


def test_the_page_of_a_run_is_as_approved():
    """Every text: verdict and findings with their links, key figures, figures in tables, the pool, origin."""
    monitor = [{"step": 10, "path": 0, "block": block, "grad_norm": 2.0} for block in ("all", "EB0")]
    facts = {"config": {"train": {"lr": 1e-3}}, "manifest": {"code": {"commit": "0123abc"}}}
    tau = {"tau": 0.5, "low": 0.25, "high": None}
    criteria = ({"criterion": "mean", "epoch": 4, "value_px": 5.5, "costs_px": {"mean": 0.0}},)
    stability = {"last_two": tau, "trivial": {"macs": tau}}
    found = Diagnosis("stop", (PLATEAU, OUTLIER, FINE), (NotJudged("coverage_low", "needs a column"),))
    found = replace(found, criteria=criteria, stability=stability)
    said = {"details": [{"batch": "8"}], "notes": ["b: no evaluation yet"], "written": "2026-01-01 12:00"}
    approve(
        render([with_record(made_history(4, 3), monitor=monitor, **facts)], [found], **said), APPROVED / "report.txt"
    )


def test_every_link_leads_to_something_on_the_page():
    histories = [made_history(name="a"), made_history(name="b", eval_set="bbbb", clip_rate=1.0)]
    diagnoses = [diagnose(history) for history in histories]
    assert diagnoses[1].findings
    for page in (render(histories[:1], diagnoses[:1]), render(histories, diagnoses)):
        found = Reader(page)
        assert len(found.ids) == len(set(found.ids))
        assert found.links and all(link.startswith("#") and link[1:] in found.ids for link in found.links)


@pytest.mark.parametrize("many", [False, True])
def test_it_loads_nothing_and_names_and_labels_cannot_break_out(many: bool):
    history = replace(made_history(name=NASTY, split_label=NASTY, eval_set=NASTY), codes=(NASTY,) * 12, notes=(NASTY,))
    history = with_record(history, config={NASTY: {NASTY: NASTY}}, manifest={"code": {NASTY: NASTY}})
    histories = [history, made_history()] if many else [history]
    page = page_of(*histories, details=[{NASTY: NASTY}] * len(histories), notes=[NASTY])
    safe(page)
    assert Reader(page).tags.count("script") == 3, "data, two files"
    assert data_of(page)["runs"][0] == NASTY and (not many or "What differs" not in page)


def test_findings_are_marked_in_the_charts_of_their_run():
    page = render([made_history()], [Diagnosis("stop", (PLATEAU, OUTLIER), ())])
    marks = [(mark["span"], mark["charts"]) for mark in data_of(page)["marks"]]
    assert marks == [(True, ["epe", "archs"]), (False, ["epe", "ranks"])]
    histories = [made_history(name="a"), made_history(name="b", eval_set="bbbb")]
    page = render(histories, [Diagnosis("look here", (PLATEAU,), ()), Diagnosis("healthy", (), ())])
    assert data_of(page)["marks"][0]["charts"] == ["epe", "archs-0"]


def test_a_large_history_stays_small_and_is_thinned_in_tables_only():
    page = page_of(made_history(1000, 48))
    assert len(page.encode()) < 3_000_000 and "Every 10th of 1000 rows" in page
    data = data_of(page)
    assert len(data["axes"]["e0"]) == 1000 and page.count("Figures as a table") == len(data["charts"]) > 8


@pytest.mark.parametrize("verdict", ["healthy", "too early to say", "look here", "stop"])
def test_the_verdict_stands_on_top(verdict: str):
    page = render([made_history()], [Diagnosis(verdict, (), ())])
    word = verdict[:1].upper() + verdict[1:]
    assert page.index(f"<h3>{word}</h3>") < page.index("Key figures</h2>") < page.index('id="fig-epe"')


def test_a_waiting_run_a_single_model_and_one_without_a_number_are_still_a_page():
    page = waiting_page(NASTY, "The page fills later.")
    safe(page)
    assert "No evaluation yet" in page and "The page fills later." in page and "<nav" not in page
    history = made_history(3, 3, mean_epe_12=float("nan"), median_epe_12=float("nan"))
    history.epes[:] = float("nan")
    assert "not finite" in page_of(history) and 'class="pool"' not in page_of(made_history(3, 1))


# -- pictures --


def drawn(folder: Path, **changes: object):
    """A history of a run with one picture of six panels."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    flow = rng.normal(0, 2, (90, 120, 2)).astype(np.float32)
    made = draw((image, image), flow, np.zeros_like(flow), np.ones((90, 120), bool))
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures/best-0.png"), cv2.cvtColor(made.picture, cv2.COLOR_RGB2BGR))
    entry = {"file": "best-0.png", "roles": ["best"], "code": "0,0", "sample": "<b>", "epe": 2.5, "panels": made.labels}
    index = {"epoch": 3, "checkpoint": "step-00000003", "pictures": [{**entry, **changes}]}
    (folder / "pictures/index.json").write_text(json.dumps(index))
    return replace(made_history(2, 2), source=folder)


def test_six_small_panels_without_their_strips(tmp_path: Path):
    page = page_of(drawn(tmp_path))
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    sizes = [cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR).shape for data in found]
    assert sizes == [(270, 360, 3)] * 6 and len("".join(found)) < 400_000
    assert "predicted flow, full colour" in page and "EPE 2.5000 px" in page and 'alt="image 1: &lt;b&gt;"' in page


def test_missing_and_torn_pictures(tmp_path: Path):
    history = drawn(tmp_path, file="../../elsewhere.png")
    assert "could not be read" in page_of(history)
    (tmp_path / "pictures/index.json").write_text("{torn")
    assert 'id="pictures"' not in page_of(history)
