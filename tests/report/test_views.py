"""Every view gives the text that was approved for a document of its command, and what a document may lack."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.config import Config, EvalConfig, TrainConfig
from edgeflownas.evaluate.results import ResultRow
from edgeflownas.report import chip_views, pareto, run_views, sweep, views
from edgeflownas.report.console import Console
from edgeflownas.report.table import Table, text_of
from edgeflownas.train.plan import batch_plan, make_plan

APPROVED = Path(__file__).parent / "approved"  # a document as `--json` gave it, and what was printed of it
VIEWS: dict[str, Any] = {
    "export": chip_views.export_view,
    "fit": chip_views.fit_view,
    "listing": sweep.listing_view,
    "noise": views.noise_view,
    "pareto": pareto.pareto_view,
    "plan": run_views.plan_view,
    "profile": chip_views.profile_view,
    "ranking": views.ranking_view,
    "results": lambda found: views.results_view(*([ResultRow(**row) for row in part] for part in found)),
    "search": views.search_view,
    "status": lambda rows: run_views.status_view(rows, Path("runs")),
    "targets": chip_views.targets_view,
    "trust": views.trust_view,
    "vela": lambda document: chip_views.vela_view(document["models"]),
    "verify": chip_views.folder_view,
    "work": lambda document: [views.workload_text(document)],
}


DOCUMENTS = sorted(path.stem for path in APPROVED.glob("*.json"))  # a view's name, and what is special of it


def test_each_view_has_a_document() -> None:
    assert {name.partition("_")[0] for name in DOCUMENTS} == VIEWS.keys()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_text_is_the_approved_one_and_the_table_can_be_read(name: str) -> None:
    blocks = VIEWS[name.partition("_")[0]](json.loads((APPROVED / f"{name}.json").read_text()))
    if os.environ.get("EDGEFLOWNAS_APPROVE"):
        (APPROVED / f"{name}.txt").write_text(text_of(blocks) + "\n")
    assert text_of(blocks) + "\n" == (APPROVED / f"{name}.txt").read_text()
    tables = [block for block in blocks if isinstance(block, Table)]
    if name not in ("fit_none", "work", "work_resumed"):
        header, *rows = csv.reader(io.StringIO(tables[0].csv().decode()))
        assert len(set(header)) == len(header) and len(rows) == len(tables[0].rows) == len(tables[0].json())


def test_a_table_of_results_holds_one_protocol_and_one_split() -> None:
    ((row, *_), _) = json.loads((APPROVED / "results.json").read_text())
    for other in ({"protocol": "standard"}, {"split_label": "x"}, {"samples": 1}):
        with pytest.raises(AssertionError, match="one protocol and one split"):
            views.results_view([ResultRow(**row)], [ResultRow(**{**row, **other})])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def chairs(**train: Any) -> dict[str, Any]:
    config = Config(train=TrainConfig(**train), eval=EvalConfig(batch_size=32))
    return {**make_plan(config, batch_plan(config, 17_785), 640), "notes": ["a [note]\x1b"]}


def test_a_plan_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    Console(sys.stdout).show(run_views.plan_view(chairs()))
    lines = screen.getvalue()
    for figure in ("17,785", "10,675,200", "555 (floor) / 556 (ceil)", "by_samples 0.5N", "63.21 %", "5.00e-05"):
        assert figure in lines
    assert "…" not in lines and "\x1b[" in lines and "a [note]\\x1b" in lines
