"""Every benchmark at its smallest: it runs, its two sides agree, and what cannot be is refused in words."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import latency_table
import numpy as np
import pytest
from tiny import make_tiny

from edgeflownas.data.formats import write_flo, write_png
from edgeflownas.hardware.targets import get_target
from edgeflownas.hardware.vela_table import Vela, VelaLatency
from edgeflownas.space import Choice, SearchSpace, get_space

pytestmark = pytest.mark.e2e
SPACE = SearchSpace(
    "tiny",
    (Choice("EB0", "depth", (1, 2)), Choice("H1", "kernel", (3, 5)), Choice("H2Out", "kernel", (3, 7))),
)
SMALL = ("--width=2", "--size=32x48")


def figures(capsys, name, *words):
    """What the script prints with --json."""
    assert import_module(name).main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_train_step(capsys):
    found = figures(capsys, "train_step", *SMALL, "--batch=2", "--rounds=1")
    assert found["loss_difference"] < 1e-4
    assert found["speedup_over_plain_loop"] == pytest.approx(found["plain_loop_seconds"] / found["step_seconds"])


def test_eval_pool(capsys):
    found = figures(capsys, "eval_pool", *SMALL, "--batch=1", "--rounds=1")
    assert found["largest_epe_difference_px"] == 0
    assert found["speedup"] == pytest.approx(found["one_by_one_seconds"] / found["together_seconds"])


def test_commit(capsys, tmp_path):
    found = figures(capsys, "commit", "--width=2", "--rounds=2", f"--out={tmp_path}")
    assert 0 < found["commit_seconds"] <= found["commit_seconds_max"] and found["bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_loader(capsys, tmp_path):
    data, before = make_tiny(tmp_path / "data") / "train", os.sched_getaffinity(0)
    words = (str(data), "--size=8x8", "--batch=2", "--batches=8", "--one-core", "--workers", "0", "1")
    found = figures(capsys, "loader", *words)
    assert list(found) == ["0 threads", "1 threads"] and os.sched_getaffinity(0) == before
    for row in found.values():
        assert row["cores"] == 1
        assert 0 < row["decode_ratio"] < 2 and row["samples_per_second"] > 0


def test_motion_statistics_of_a_ramp_that_moves(capsys, tmp_path):
    x = np.arange(96, dtype=np.uint8)
    for part, moved in (("img_0", 0), ("img_1", 4)):
        image = np.broadcast_to((40 + 2 * x - 2 * np.uint8(moved))[None, :, None], (64, 96, 3))
        write_png(tmp_path / f"0000000-{part}.png", np.ascontiguousarray(image))
    write_flo(tmp_path / "0000000-flow_01.flo", np.full((64, 96, 2), (4.0, 6.0), np.float32))
    (found,) = figures(capsys, "motion_statistics", str(tmp_path), "--size=32x48").values()
    assert found["pairs"] == 1 and found["mean"] == pytest.approx(found["p99"]) == pytest.approx(
        13**0.5
    )  # half of (4, 6)
    assert (found["above_5"], found["saturation"]) == (0, 0)
    assert found["gradient"] == pytest.approx(4, abs=0.3) and np.isfinite(found["slope"])


def test_rank_and_its_growth(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("edgeflownas.evaluate.tree.quickest", lambda *_, **__: 0.1)  # its own test has that
    monkeypatch.setattr("edgeflownas.space.SPACES", {"tiny": SPACE})
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra figures)")
    words = ("--space=tiny", "--width=2", "--size=28x32", "--calibration=2", "--evaluation=1", "--codes=3")
    found = figures(capsys, "rank", *words, f"--growth={tmp_path / 'growth'}")
    assert (found["archs"], found["units"]) == (8, 2) and 0 <= found["largest_epe_difference_px"] < 1e-4
    assert found["one_by_one_seconds"] == pytest.approx(8 * found["one_by_one_seconds_each"])
    assert found["speedup"] == pytest.approx(found["one_by_one_seconds"] / found["tree_seconds"])
    assert 0 < found["share_of_peak"] < 2 and found["arithmetic_speedup"] > 1 and found["peak_memory_mib"] > 0
    table, *pictures = (Path(path) for path in found["growth"])
    rows = [line.split(",")[:3] for line in table.read_text().splitlines()]
    assert rows[1:] == [
        *(["samples", "1", "4"], ["samples", "2", "4"]),
        *(["codes", "1", "1"], ["codes", "1", "3"], ["codes", "1", "8"]),
    ]
    assert all(path.stat().st_size > 5000 for path in pictures)


def test_latency_table(capsys):
    assert 0 < figures(capsys, "latency_table", *SMALL, "--subnets=4")["max_error_percent"] < 1


@pytest.mark.parametrize(("name", "target"), [("v1", "grove-vision-ai-v2"), ("v3", "u55-256")])
def test_the_latency_table_agrees_with_vela(name, target):
    """u55-256 waits for kernels: a table that compiles each operator behind an ADD alone misses by 1 %."""
    model = VelaLatency(Vela(get_target(target), processes=1))
    found = latency_table.check_table(model, get_space(name), 8, (48, 64), 12, seed=2)
    assert found["mean_error_percent"] < 0.2 and found["max_error_percent"] < 0.4, found
    assert found["spearman"] > 0.98, found


def test_accuracy(capsys, monkeypatch, tmp_path):
    """Two splits are one set; baselines under both protocols; the table goes between the marks, twice alike."""
    make_tiny(tmp_path / "real" / "flying_chairs_fc2_layout", train=2, val=1)
    monkeypatch.setattr("accuracy.ROOT", tmp_path)
    (tmp_path / "README.md").write_text("above\n<!-- accuracy -->\nold\n<!-- /accuracy -->\nbelow\n")
    words = (str(tmp_path / "real"), "--weights", f"--out={tmp_path}", "--size=32x48")
    found = figures(capsys, "accuracy", *words)
    assert {(row["data"], row["protocol"], row["samples"]) for row in found["rows"]} == {
        *(("Chairs", "deploy:32x48", 3), ("Chairs", "standard", 3)),
    }
    assert all(row["zero_flow_epe"] == found["rows"][0]["epe_per_image"] > 0 for row in found["rows"])
    assert len(Path(found["csv"]).read_text().splitlines()) == 1 + len(found["rows"])
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("above\n") and page.endswith("below\n") and "old" not in page
    assert "| Chairs (3) |" in page and "| DIS medium |" in page and "standard" not in page
    figures(capsys, "accuracy", *words)
    assert len((tmp_path / "README.md").read_text()) == pytest.approx(len(page), abs=8)  # times may differ


def test_no_picture_of_the_docs_is_older_than_what_draws_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of what they show: python benchmarks/pictures.py, or --seen NAME where it shows no other thing."""
    assert figures(capsys, "pictures", "--check")["old"] == 0
    pictures = import_module("pictures")
    there = {path.name for path in (pictures.ROOT / "docs/images").iterdir()} - {"made.json"}
    assert there == set(pictures.PICTURES)
    monkeypatch.setitem(pictures.PICTURES, "trust.png", pictures.PICTURES["controls.png"])
    assert pictures.main(["--check"]) == 65 and "trust.png is older" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("pictures", ["flow.pgn"], "no picture flow.pgn"),
        ("accuracy", ["nowhere"], "holds none of flying_chairs_fc2_layout"),
        ("rank", ["--codes=0"], "0 must be at least 1"),
        ("latency_table", ["--subnets=2"], "2 must be at least 3"),
        ("train_step", ["--size=32"], "must be HEIGHTxWIDTH"),
        ("loader", ["nowhere"], "nowhere"),
        ("rank", ["--space=v9"], "v9"),
    ],
)
def test_refused_in_words(capsys, name, words, said):
    try:
        code = import_module(name).main(words)
    except SystemExit as end:
        code = end.code
    assert code != 0 and said in capsys.readouterr().err
