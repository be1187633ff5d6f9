"""Every view gives the text that was approved for a document of its command, and what a document may lack."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
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
    "fit_none": chip_views.fit_view,
    "listing": sweep.listing_view,
    "noise": views.noise_view,
    "noise_single": views.noise_view,
    "pareto": pareto.pareto_view,
    "plan": run_views.plan_view,
    "profile": chip_views.profile_view,
    "profile_space": chip_views.profile_view,
    "ranking": views.ranking_view,
    "search": views.search_view,
    "search_several": views.search_view,
    "status": lambda rows: run_views.status_view(rows, Path("runs")),
    "targets": chip_views.targets_view,
    "trust": views.trust_view,
    "vela": lambda document: chip_views.vela_view(document["models"]),
    "vela_several": lambda document: chip_views.vela_view(document["models"]),
    "verify": chip_views.folder_view,
}


def document(name: str) -> Any:
    return json.loads((APPROVED / f"{name}.json").read_text())


def view(name: str, changed: Any = None) -> str:
    return text_of(VIEWS[name](document(name) if changed is None else changed))


def test_each_document_has_a_view() -> None:
    assert {path.stem for path in APPROVED.glob("*.json")} == VIEWS.keys()


@pytest.mark.parametrize("name", VIEWS)
def test_the_text_is_the_approved_one_and_the_table_can_be_read(name: str) -> None:
    blocks = VIEWS[name](document(name))
    assert text_of(blocks) + "\n" == (APPROVED / f"{name}.txt").read_text()
    tables = [block for block in blocks if isinstance(block, Table)]
    if name != "fit_none":
        header, *rows = csv.reader(io.StringIO(tables[0].csv().decode()))
        assert len(set(header)) == len(header) and len(rows) == len(tables[0].rows) == len(tables[0].json())


def test_what_a_ranking_may_lack() -> None:
    found = document("ranking")
    diverged = {**found["top"][0], **dict.fromkeys(("epe", "epe_margin", "epe_median", "epe_p90"))}
    assert view("ranking", found | {"top": [diverged]}).endswith("no subnet has a finite EPE: all of them diverged")
    assert view("ranking", found | {"within_noise_of_best": None}).endswith("nothing is known of the noise")
    assert view("ranking", found | {"within_noise_of_best": 1}).endswith("95 %): 1 subnet, itself included")
    assert "baseline" not in view("ranking", found | {"baseline": None})


def test_a_small_piece_of_work() -> None:
    names = ("calibration_macs", "evaluation_macs", "one_by_one_macs", "memory_bytes", "data_bytes", "disk_bytes")
    work = {**dict.fromkeys(names, 774_144), "seconds": 3.0}
    work |= {"subnets": 1, "units": 1, "units_done": 0, "nodes": 9, "processes": 1}
    text = views.workload_text(work)
    assert text.startswith("1 subnet in 1 unit, 9 nodes; 1.55 MMAC, one by one")
    assert text.endswith("memory 774 kB beside 774 kB of data, disk 774 kB")
    assert "(1 of 3 units are done) by 2 processes" not in text
    more = views.workload_text(work | {"units": 3, "units_done": 1, "processes": 2})
    assert "in 2 units (1 of 3 units are done)" in more and "3 s by 2 processes" in more


def test_what_trust_may_not_know() -> None:
    found = document("trust")
    pairs = {"all": 3, "truth_within_noise": 1, "inherited_within_noise": None, "both_apart": None}
    seeds = {"seeds": [1], "in_truth": [1], "truth_std": 0.2, "compared": None}
    unknown = {"value": None, "low": None, "high": None}
    rows = [row | {"tau": unknown, "change": None} for row in found["rankings"]]
    text = view("trust", found | {"pairs": pairs, "seeds": seeds, "rankings": rows})
    assert "told apart" not in text and "at least three subnets need a second seed" in text
    assert "change of tau" not in text and "could be seen" not in text
    disagree = {"seeds": [1, 2], "subnets": 8, "tau": unknown | {"value": -0.2}, "attainable_tau": None, "std": 0.1}
    assert "do not agree at all" in view("trust", found | {"seeds": seeds | {"compared": disagree}})


def test_where_weights_lie() -> None:
    for name in ("fit", "vela_several"):
        found = document(name)
        for facts in [found["facts"]] if name == "fit" else [model["facts"] for model in found["models"]]:
            assert "flash KiB" in view(name)
            facts["constants"] = "Dram"
        assert "weights in Dram KiB" in view(name, found) and "flash" not in view(name, found)


def test_a_model_of_cascades_that_keeps_its_arena() -> None:
    found = document("vela")
    (model,) = found["models"]
    model |= {"arena_kept": True, "peak": {**model["peak"], "gaps_kib": 0.5}}
    for layer in model["layers"]:
        layer["cascade"] = 0
    text = view("vela", found)
    assert "is not kept" not in text and "cascade" not in text and "[" not in text and ", gaps 0.5 KiB" in text
    model["layers"][0]["cascade"] = 3
    assert f"{model['layers'][0]['name']} [3]" in view("vela", found) and "one cascade" in view("vela", found)


def test_a_failed_verification() -> None:
    found = document("verify")
    layers = [
        {"name": "E0", "kind": "conv", "snr_db": 40.0, "added_db": 160.0, "own_snr_db": 40.0, "flow_px": 0.01},
        {"name": "E1", "kind": "conv", "snr_db": 3.0, "added_db": 37.0, "own_snr_db": 3.5, "flow_px": 4.0},
    ]
    failed = {"verdict": "failed", "reasons": ["int8: too far"], "layers": {"int8": layers}}
    changed = {"reasons": ["a: gone", "int8: too far"], "verdict": "failed", "files": {"a": "gone", "b": ""}}
    lines = view("verify", found | changed | {"verification": found["verification"] | failed}).splitlines()
    assert lines[1].endswith("1 of 2") and lines.count("int8: too far") == 1
    assert lines[-2:] == ["a: gone", "verdict: failed"]
    marked = [line.split() for line in lines if line.startswith("E")]
    assert [words[-1] for words in marked] == ["0.01", "<"]
    assert "verification on" not in view("verify", found | {"verification": None})


ROW = ResultRow(
    *(2, 2.0, 2.5, 0.125, 0.5, 0.75, 0.875, 1.0, None, 12.0, None, None),
    model="run/step-00000004",
    code="0,1",
    protocol="deploy:180x240",
    split_label="fc2/folder:val/2/c7d8",
    precision="fp32",
    batch_shape="1x6x192x240",
    source="ab",
)
ZERO = replace(ROW, model="zero", code=None, epe=1.5, source=None)


def test_results_of_one_protocol_with_references_below() -> None:
    best = replace(ROW, code="1,0", epe=1.75, epe_occluded=3.0)
    assert text_of(views.results_view([ROW, best], [ZERO])).split("\n") == [
        "run/step-00000004, protocol deploy:180x240, split fc2/folder:val/2/c7d8, 2 samples, fp32, input 1x6x192x240",
        "model  EPE px  per image  Fl-all %  <1px %  <3px %  <5px %   s0-10     s40+  occluded",
        "-----  ------  ---------  --------  ------  ------  ------  ------  -------  --------",
        "1,0    1.7500     2.5000     12.50   50.00   75.00   87.50  1.0000  12.0000    3.0000",
        "0,1    2.0000     2.5000     12.50   50.00   75.00   87.50  1.0000  12.0000         -",
        "-----  ------  ---------  --------  ------  ------  ------  ------  -------  --------",
        "zero   1.5000     2.5000     12.50   50.00   75.00   87.50  1.0000  12.0000         -",
    ]
    for other in (replace(ZERO, protocol="standard"), replace(ZERO, split_label="x"), replace(ZERO, samples=1)):
        with pytest.raises(AssertionError, match="one protocol and one split"):
            views.results_view([ROW], [other])


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


def test_a_plan_of_other_settings() -> None:
    screen = io.StringIO()
    Console(screen).show(run_views.plan_view(chairs(task="edgeflownet", grad_clip_global_norm=None, ema_decay=0.99)))
    out = screen.getvalue()
    assert out.isascii() and "\x1b" not in out and "a [note]\\x1b" in out
    assert "1 path x 1 micro-batch a step; no threshold, nothing is clipped" in out
    assert "1 subnet each, and of the moving average" in out
    assert all(line == line.rstrip() for line in out.splitlines())
