"""The chain of examples/pipeline, very small, from pairs to its page: interrupted once, continued, repeated."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import chromium
import pytest

from edgeflownas.config.load import dump_yaml, parse_yaml

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

DRIVER = Path(__file__).resolve().parents[2] / "examples" / "pipeline" / "driver.py"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's settings with less of everything."""
    folder = tmp_path_factory.mktemp("settings")
    recipe = parse_yaml((DRIVER.parent / "supernet.yaml").read_text(), "supernet.yaml")[0]
    recipe["train"] |= {"width": 4, "num_epochs": 1, "steps_per_epoch": 40, "batch_size": 4}
    recipe["data"] |= {"crop_size": [32, 48]}
    recipe["eval"] |= {"eval_pool_size": 7, "eval_batches_per_arch": 1, "bn_recal_batches": 1, "pictures": 0}
    (folder / "supernet.yaml").write_text(dump_yaml(recipe))
    found = parse_yaml((DRIVER.parent / "settings.yaml").read_text(), "settings.yaml")[0]
    found |= {"pairs": {"train": 12, "val": 4, "seed": 1, "motion": 2}, "size": "32x48", "check": 4}
    found |= {
        "rank": {"where": "EB0=depth1,EB1=depth1,DB0=depth1,DB1=depth1,H0Out=k7"},
        "where": "macs>0",
    }  # holds the baseline
    found["retrain"] |= {"train.steps_per_epoch": 6, "eval.eval_batches_per_arch": 1}
    path = folder / "settings.yaml"
    path.write_text(dump_yaml(found))
    return path


def start(results: Path, settings: Path, log: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(DRIVER), str(results), "--settings", str(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        return subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def finished(results: Path, settings: Path, log: Path) -> str:
    process = start(results, settings, log)
    assert process.wait(900) == 0, log.read_text()[-3000:]
    return log.read_text()


def test_the_chain_survives_an_interruption_and_ends_in_a_page(settings: Path, tmp_path: Path) -> None:
    results, log = tmp_path / "results", tmp_path / "log"
    process = start(results, settings, log)
    events, end = results / "supernet" / "events.jsonl", time.monotonic() + 300
    while not (events.exists() and events.stat().st_size):
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) == 75, log.read_text()[-3000:]
    assert not json.loads((results / "steps" / "supernet.json").read_text())["finished"]
    assert not (results / "rank").exists()

    out = finished(results, settings, log)
    assert "data: finished before" in out and f"train --resume {results / 'supernet'}" in out and "stale" not in out
    commands = [line.split()[2] for line in out.splitlines() if line.startswith("$ edgeflownas")]
    assert [commands.count(word) for word in ("rank", "pareto", "export", "verify", "vela")] == [1, 1, 6, 6, 2]
    page = (results / "page.html").read_text()
    for word in (
        "best",
        "baseline",
        "from scratch",
        "warm start",
        "EdgeFlowNet, 172x224",
        "EdgeFlowNet, 176x224",
        "188.0 ms",
    ):
        assert word in page, word
    assert not re.search(r"(src|href)=\"https?:", page) and "nan" not in page.lower().split("<script")[0]

    check_page(results / "page.html")

    before = (results / "page.html").stat().st_mtime_ns
    again = finished(results, settings, log)
    assert "$ " not in again and again.count("finished before") == len(list((results / "steps").glob("*.json")))
    assert (results / "page.html").stat().st_mtime_ns == before


def check_page(page: Path) -> None:
    """Nothing is loaded, and nothing is wider than the window; skipped where there is no browser."""
    program = chromium.find()
    if program is None:
        return
    with chromium.Browser(program) as browser:
        for width, dark in ((1280, False), (390, True)):
            browser.open(page, width, dark=dark, scripts=False)
            assert browser.problems == []
            assert [url for url in browser.requests if not url.startswith("data:")] == [page.resolve().as_uri()]
            assert browser.value("document.documentElement.scrollWidth <= innerWidth")
            assert browser.value("document.querySelectorAll('svg circle').length") == 12
