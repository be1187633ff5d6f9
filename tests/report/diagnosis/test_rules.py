"""Each rule speaks where its defect is planted and is silent where it is not, at many lengths, pools and noises."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defects import DEFECTS, detected, found
from synthetic import Recipe, random_healthy, set_in

from edgeflownas.report.diagnosis import RULES, Finding, diagnose, documented
from edgeflownas.report.history import read_history

DOCS = Path(__file__).parents[3] / "docs"
FINE = {"fairness_equal", "no_divergence"}
EVERY = slice(None)


def test_every_rule_is_documented_and_has_a_planted_defect() -> None:
    page = (DOCS / "diagnosis.md").read_text(encoding="utf-8")
    assert page == documented(page), "run: make docs"
    assert re.findall(r"^### `(\w+)`: ", page, re.MULTILINE) == list(RULES)
    assert set(RULES) == set(DEFECTS) | FINE
    assert len({rule.importance for rule in RULES.values()}) == len(RULES)


@pytest.mark.property
@pytest.mark.parametrize("name", DEFECTS)
def test_planted_defect_is_found(name: str, tmp_path: Path) -> None:
    assert sum(detected(name, seed, tmp_path) for seed in range(1000, 1004)) >= 3


@pytest.mark.property
def test_healthy_histories_raise_no_alarm(tmp_path: Path) -> None:
    alarms: Counter[str] = Counter()
    for seed in range(1000, 1010):
        findings = found(random_healthy(seed), tmp_path)
        assert set(findings) >= FINE
        alarms.update(set(findings) - FINE)
    assert not alarms or alarms.most_common(1)[0][1] <= 1, alarms


@pytest.mark.slow
def test_rates(tmp_path: Path) -> None:
    """Over 200 histories each: at most 5 % false alarms, at least 95 % found."""
    alarms: Counter[str] = Counter()
    for seed in range(200):
        alarms.update(set(found(random_healthy(seed), tmp_path)) - FINE)
    assert not alarms or alarms.most_common(1)[0][1] <= 10, alarms
    for name in DEFECTS:
        hits = sum(detected(name, seed, tmp_path) for seed in range(200))
        assert hits >= 180 if name == "best_on_noise" else hits >= 190, (name, hits)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_short_histories_are_not_judged_and_say_so(epochs: int, tmp_path: Path) -> None:
    diagnosis = diagnose(Recipe(epochs=epochs).history(tmp_path))
    assert {finding.severity for finding in diagnosis.findings} <= {"ok", "note"}
    reasons = {rule.id: rule.reason for rule in diagnosis.not_judged}
    for name in ("plateau", "loss_epe_divergence", "outlier_epoch", "ranking_unstable", "lr_barely_moved"):
        assert re.match(r"needs at least \d+ evaluations", reasons[name]), reasons[name]


@pytest.mark.parametrize(("epochs", "verdict"), [*((n, "too early to say") for n in (1, 2, 4, 7)), (12, "healthy")])
def test_a_young_history_is_not_called_healthy(epochs: int, verdict: str, tmp_path: Path) -> None:
    constant = 5.0 / epochs if epochs < 12 else Recipe.constant
    assert diagnose(Recipe(epochs=epochs, constant=constant).history(tmp_path)).verdict == verdict


def test_missing_columns_are_named_not_skipped(tmp_path: Path) -> None:
    file = tmp_path / "eval_history.csv"
    file.write_text("epoch,mean_epe_3\n" + "".join(f"{e},{9 - 0.1 * e:.4f}\n" for e in range(1, 30)))
    diagnosis = diagnose(read_history(file))
    told = {finding.id for finding in diagnosis.findings} | {rule.id for rule in diagnosis.not_judged}
    silent = {"non_finite_epe", "impossible_values", "epe_rising", "plateau", "outlier_epoch", "best_on_noise"}
    assert set(RULES) - told == silent | {"resumed_with_changes"}  # these were judged, and are in order


def test_a_long_history_takes_less_than_a_second_and_gives_the_same_document(tmp_path: Path) -> None:
    history = Recipe(epochs=200, size=24, seed=3).history(tmp_path)
    first = json.dumps(diagnose(history).to_json())  # imports
    started = time.process_time()
    assert json.dumps(diagnose(history).to_json()) == first
    assert time.process_time() - started < 1.0


def offsets(last: float) -> Any:
    spread = np.linspace(-0.3, 0.3, 12)
    spread[-1] += last
    return spread


ABOVE_ZERO = {"first": 12.6, "last": 12.6, "noise": 0.0}
SATURATED_LATE = set_in(slice(34, None), clip_count=lambda row: row["clip_checks"], clip_rate=1.0)
CASES: dict[str, tuple[Recipe, str, Callable[[Finding], bool]]] = {
    "an arch that is far off": (
        Recipe(offsets=offsets(0.9)), "hard_arch",
        lambda f: f.figures["arch_index"] == 11
        and f.figures["gap_px"] < f.figures["gap_to_best_min_px"] <= f.figures["gap_to_best_max_px"]
        and "{gap_to_best_min_px:.2f} to {gap_to_best_max_px:.2f} px above the best".format(**f.figures) in f.evidence,
    ),
    "equal counts beside unequal progress": (
        Recipe(), "fairness_equal",
        lambda f: f.figures["improved_least_px"] < f.figures["improved_most_px"]
        and f"improved by {f.figures['improved_least_px']:.4f} px" in f.evidence,
    ),
    "a constant rate": (
        Recipe(edit=set_in(EVERY, lr=1e-4)), "lr_barely_moved",
        lambda f: f.figures["decay_pct"] == 0 and "constant" in f.evidence and "fast_anneal" in f.advice,
    ),
    "long above zero flow": (
        Recipe(**ABOVE_ZERO, jitter=0.001), "near_zero_flow",
        lambda f: f.severity == "stop" and bool(re.search(r"is 1\d\.\d\d \+- .* % above zero_flow_epe", f.evidence)),
    ),
    "clipping that saturates late": (
        Recipe(edit=SATURATED_LATE), "clip_saturated",
        lambda f: f.figures["since_epoch"] == 35 and f.epochs == (35, 60) and "since epoch 35" in f.evidence,
    ),
    **{
        f"an impossible {name}": (
            Recipe(edit=set_in(slice(4, 10, 5), **{name: -0.1})), "impossible_values",
            lambda f: f.severity == "stop" and f.epochs == (5, 10) and "2 evaluations" in f.evidence,
        )
        for name in ("mean_epe_12", "zero_flow_epe")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_finding_says(name: str, tmp_path: Path) -> None:
    recipe, rule_id, right = CASES[name]
    finding = found(recipe, tmp_path)[rule_id]
    assert right(finding), finding


def test_what_is_not_called_hard_or_idle(tmp_path: Path) -> None:
    """A smallest subnet that is worst as it should be, and clipping that is off."""
    assert "hard_arch" not in found(Recipe(offsets=offsets(0.1)), tmp_path)
    off = set_in(EVERY, clip_threshold=None, clip_count=0, clip_rate=0.0)
    diagnosis = diagnose(Recipe(edit=off).history(tmp_path))
    assert {"clip_idle", "clip_saturated"} <= {rule.id for rule in diagnosis.not_judged}


def test_curves_are_judged_since_the_last_change_of_the_evaluation(tmp_path: Path) -> None:
    halved = lambda row: row["mean_epe_12"] / 2  # noqa: E731
    easier = set_in(slice(30, None), split_label="fc2/folder:val/64/1111", mean_epe_12=halved)
    diagnosis = diagnose(Recipe(edit=easier).history(tmp_path))
    assert {f.id for f in diagnosis.findings if f.severity != "ok"} == {"label_changed"}
    assert diagnosis.stability["epochs"][0]["epoch"] == 31


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_an_epe_above_zero_flow_is_noted_from_the_first_evaluation_on(epochs: int, tmp_path: Path) -> None:
    finding = found(Recipe(epochs=epochs, first=12.0, last=11.5, noise=0.0), tmp_path)["near_zero_flow"]
    assert finding.severity == "note" and "% above zero_flow_epe" in finding.evidence
    assert f"after {epochs} evaluation{'s' * (epochs > 1)} the EPE is still above zero flow" in finding.evidence
    assert "-" not in finding.evidence.split(" is ")[1].split(" % ")[0].split("+-")[0]
    assert ("+-" in finding.evidence) == ("gain_error_pct" in finding.figures) == (epochs > 2)
    assert "near_zero_flow" not in found(Recipe(epochs=epochs), tmp_path)


@pytest.mark.parametrize(("planned", "last", "severity"), [(2, 11.5, "stop"), (3, 11.5, "note"), (2, 10.85, "stop")])
def test_at_the_end_of_a_plan_few_evaluations_are_no_excuse(
    planned: int, last: float, severity: str, tmp_path: Path
) -> None:
    history = Recipe(epochs=2, first=12.0, last=last, noise=0.0, jitter=0.0, edit=None).history(tmp_path)
    diagnosis = diagnose(history.planned(planned))
    finding = next(finding for finding in diagnosis.findings if finding.id == "near_zero_flow")
    assert finding.severity == severity and ("at the end of the plan" in finding.evidence) == (severity == "stop")
    if severity == "stop":
        assert diagnosis.findings[0] is finding and diagnosis.verdict == "stop"


def test_texts_name_columns_by_the_pool_of_the_file(tmp_path: Path) -> None:
    texts = " ".join(f.evidence + f.why + f.advice for f in found(Recipe(size=24, **ABOVE_ZERO), tmp_path).values())
    assert "mean_epe_24" in texts and "_12" not in texts
    reasons = [rule.reason for rule in diagnose(Recipe(size=24, epochs=2).history(tmp_path)).not_judged]
    assert not [reason for reason in reasons if "_12" in reason]
