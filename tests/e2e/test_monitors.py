"""What a run writes about itself while it trains: the bits do not depend on it, nor do its rows on interruptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Place, digest, rows, stop_when, table

from edgeflownas.evaluate.columns import parse_row
from edgeflownas.report.console import Tracker
from edgeflownas.space import get_space
from edgeflownas.train.fairness import fair_cycle
from edgeflownas.train.loop import LAPS

pytestmark = pytest.mark.e2e
# Two epochs of three steps; readings before the first, the third and the fifth step.
KEYS = ("--train.monitor_every=2", "--train.micro_batch_size=3", "--train.epoch_mode=fixed_steps")
KEYS = (*KEYS, "--train.steps_per_epoch=3", "--train.weight_decay=0.1")
FILES = ("events.jsonl", "monitor.csv", "per_option.csv", "per_arch_epe.csv")
SPACE = get_space("v1")


@pytest.fixture(scope="module")
def curves() -> dict[str, list[int]]:
    """Steps of each curve of the run `watched`."""
    return {}


@pytest.fixture(scope="module")
def watched(place: Place, curves: dict[str, list[int]]) -> Path:
    def scalars(self: Tracker, step: int, values: dict[str, Any]) -> None:
        for tag in values:
            curves.setdefault(tag, []).append(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "scalars", scalars)
        return place.trained("watched", *KEYS)


def test_the_bits_are_those_of_a_run_without_readings(place: Place, watched: Path) -> None:
    plain = place.trained("plain", *KEYS, "--train.monitor_every=null")
    assert digest(watched) == digest(plain)
    assert rows(watched, "step") == rows(plain, "step") and rows(watched, "evaluation") == rows(plain, "evaluation")
    assert [row["event"] for row in rows(plain)] == ["step"] * 3 + ["epoch"] + ["step"] * 3 + ["evaluation"]
    assert not (plain / "monitor.csv").exists() and (plain / "per_option.csv").exists()


def test_readings_stand_before_their_steps(watched: Path) -> None:
    order = [(row["event"], row.get("step")) for row in rows(watched)]
    first = [("monitor", 0), ("step", 1), ("step", 2), ("monitor", 2), ("step", 3), ("epoch", None)]
    assert order == [*first, ("step", 4), ("monitor", 4), ("step", 5), ("step", 6), ("evaluation", None)]
    for row in rows(watched, "monitor"):
        assert row["paths"] == [str(path) for path in fair_cycle(SPACE, 0, row["step"])]
        assert row["epoch"] == 1 + row["step"] // 3 and -1 <= row["path_cosine"] <= 1
        squares = np.sum([np.square(norms) for norms in row["norms"].values()], axis=0)
        assert squares == pytest.approx(np.square(row["all"]), rel=1e-5)


def test_monitor_csv_says_the_same(watched: Path) -> None:
    found = [parse_row(row) for row in table(watched / "monitor.csv")]
    (event,) = [row for row in rows(watched, "monitor") if row["step"] == 2]
    own = [row for row in found if row["step"] == 2]
    assert len(found) == 3 * 3 * 16 and {row["epoch"] for row in own} == {1}
    for path, code in enumerate(event["paths"]):
        norms = {row["block"]: row["grad_norm"] for row in own if (row["path"], row["code"]) == (path, code)}
        expected = {**{block: values[path] for block, values in event["norms"].items()}, "all": event["all"][path]}
        assert norms == pytest.approx(expected, rel=1e-5)


def test_option_losses_by_brute_force(watched: Path) -> None:
    found = [parse_row(row) for row in table(watched / "per_option.csv")]
    assert len(found) == 2 * 27
    for row in found:
        position = SPACE.position(str(row["block"]))
        losses = [
            (loss, loss - np.mean(event["path_losses"]))
            for event in rows(watched, "step")
            for path, loss in zip(fair_cycle(SPACE, 0, event["step"] - 1), event["path_losses"], strict=True)
            if event["epoch"] == row["epoch"] and path[position or 0] == row["option"]
        ]
        assert row["count"] == len(losses) == 3
        means = np.mean(losses, axis=0)
        assert row["train_loss"] == pytest.approx(means[0], abs=6e-5)
        assert row["train_loss_relative"] == pytest.approx(means[1], abs=6e-7)
    (event,) = rows(watched, "evaluation")
    eb0 = [row["train_loss"] for row in found if row["epoch"] == 2 and row["block"] == "EB0"]
    assert event["options"]["EB0"]["loss"] == pytest.approx(eb0, abs=6e-5)


def test_shares_add_up(watched: Path) -> None:
    (row,) = table(watched / "eval_history.csv")
    shares = {name: float(row[f"share_{name}"]) for name in LAPS}
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.0005 * len(LAPS) + 1e-9)
    assert all(shares[name] > 0 for name in ("step", "eval", "recal", "checkpoint", "monitor"))
    epochs = [json.loads(line) for line in (watched / "timing.jsonl").read_text().splitlines()]
    laps = [entry["laps"] for entry in epochs if entry["what"] == "epoch"]
    assert len(laps) == 2 and laps[0]["eval"] == 0.0 < laps[1]["eval"]
    commits = [entry["seconds"] for entry in epochs if entry["what"] == "commit"]
    # The commit after the last row is in no window.
    assert sum(lap["checkpoint"] for lap in laps) == pytest.approx(sum(commits[:-1]), rel=0.3, abs=0.005)
    assert sum(lap["eval"] for lap in laps) >= float(row["eval_seconds"]) - 0.051


def test_interrupted_and_resumed(place: Place, watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step asks 1 + 6 times, a reading 6 times: there are stops within the readings and within their steps."""
    stop_when(monkeypatch, lambda asked: asked % 11 == 0 and asked < 7 * 11)
    ended, lives = place.train("stopped", *KEYS), 1
    while ended.code == 75:
        ended, lives = place.resume("stopped"), lives + 1
    assert ended.code == 0 and lives == 7
    for file in FILES:
        assert (place.runs / "stopped" / file).read_bytes() == (watched / file).read_bytes(), file
    assert digest(place.runs / "stopped") == digest(watched)


def test_a_resume_may_change_it(place: Place, watched: Path) -> None:
    keys = ("--train.num_epochs=2", "--train.monitor_every=null")
    place.train("changed", *KEYS, *keys, "--max-seconds=0.01")
    assert place.resume("changed", "--train.monitor_every=5").code == 0
    assert digest(place.runs / "changed") == digest(watched)
    assert [row["step"] for row in rows(place.runs / "changed", "monitor")] == [0, 5]


@pytest.mark.parametrize(
    ("threshold", "verdict", "text"),
    [("1e-3", "saturated", "warning: clipping saturated"), ("1e9", "idle", "clipping idle"), ("null", "off", "")],
)
def test_clip_verdict(place: Place, threshold: str, verdict: str, text: str) -> None:
    words = ("--train.steps_per_epoch=1", "--train.monitor_every=null", "--eval.eval_every_epoch=1")
    run = place.trained(f"clip{verdict}", *KEYS, *words, f"--train.grad_clip_global_norm={threshold}")
    found = table(run / "eval_history.csv")
    assert [row["clip_verdict"] for row in found] == [verdict] * 2
    assert [row["clip_suggested"] for row in found] == ["", ""], "two epochs have not settled"
    lines = [line for line in (run / "train.log").read_text().splitlines() if "clipping" in line]
    assert len(lines) == (1 if text else 0) and all(text in line for line in lines)


def test_a_single_model_has_readings_and_no_option_losses(place: Place) -> None:
    words = ("--train.task=standalone", "--train.arch=000021222", "--eval.eval_pool_size=1", "--train.num_epochs=1")
    run = place.trained("single", *KEYS, *words)
    assert not (run / "per_option.csv").exists() and "options" not in rows(run, "evaluation")[0]
    reading = rows(run, "monitor")[0]
    assert reading["paths"] == ["0,0,0,0,2,1,2,2,2"] and reading["path_cosine"] is None


def test_a_non_finite_reading_is_logged(place: Place) -> None:
    words = ("--train.lr=1e30", "--train.max_nonfinite_steps=2")
    ended = place.train("broken", *KEYS, *words)
    assert ended.code == 70
    last = rows(place.runs / "broken", "monitor")[-1]
    assert "nan" in last["all"] and table(place.runs / "broken" / "monitor.csv")[-1]["grad_norm"] == "nan"


def test_curves(watched: Path, curves: dict[str, list[int]]) -> None:
    assert curves["monitor/grad_norm E0"] == curves["monitor/path_cosine"] == [0, 2, 4]
    assert curves["options/EB0 depth 2"] == curves["epoch/train_loss"] == [3, 6] and "epoch/share_step" in curves


def test_every_epoch_is_in_the_training_history_evaluated_or_not(watched: Path) -> None:
    from edgeflownas.report.figures import FIGURES, Scope
    from edgeflownas.report.history import read_history

    found = [parse_row(row) for row in table(watched / "training_history.csv")]
    assert [(row["epoch"], row["global_step"], row["fairness_gap"]) for row in found] == [(1, 3, 0), (2, 6, 0)]
    (evaluated,) = [parse_row(row) for row in table(watched / "eval_history.csv")]
    assert {name: evaluated[name] for name in found[1]} == found[1]
    losses = [row["loss"] for row in rows(watched, "step") if row["epoch"] == 1]
    assert found[0]["train_loss"] == pytest.approx(np.mean(losses), abs=6e-5)
    scope = Scope([read_history(watched)])
    charts = {chart.id: chart for makers in FIGURES.values() for maker in makers for chart in maker(scope, [])}
    assert {scope.axes[charts[name].series[0].x] for name in ("loss", "gradient", "lr", "coverage")} == {(1.0, 2.0)}
    assert scope.axes[charts["epe"].series[0].x] == (2.0,)
