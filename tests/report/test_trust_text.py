"""What `edgeflownas trust` prints: figures with their intervals, and words where one is not known."""

from __future__ import annotations

from typing import Any

from edgeflownas.report.trust_text import trust_text


def figure(value: float | None, **more: float | None) -> dict[str, float | None]:
    ends = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"value": value, "low": ends[0], "high": ends[1], **more}


def ranking(name: str, tau: float | None, change: dict[str, float | None] | None) -> dict[str, Any]:
    top = {"precision": {"5": figure(0.6)}, "regret": {"1": figure(0.1236), "5": figure(0.0)}}
    return {"name": name, "tau": figure(tau), "spearman": figure(tau), **top, "change": change}


def document(**changed: Any) -> dict[str, Any]:
    return {
        **{"run": "runs/net", "checkpoint": "step-00000800", "eval_set": "abc", "samples": 256, "zero_flow_epe": 2.4},
        **{"truth_steps": 800, "draws": 2000, "subnets": [{}] * 32, "notes": ["the data moved"]},
        "rankings": [ranking("net", 0.5, None), ranking("long", 0.7, figure(0.2, smallest_visible=0.15))],
        "pairs": {
            **{"all": 496, "truth_within_noise": 20, "inherited_within_noise": 40},
            **{"both_apart": 440, "both_apart_same_order": 300},
        },
        "seeds": {
            **{"seeds": [1, 2], "in_truth": [1], "truth_std": 0.2},
            "compared": {"seeds": [1, 2], "subnets": 8, "tau": figure(0.6), "attainable_tau": 0.75, "std": 0.1},
        },
        **changed,
    }


def test_figures_stand_with_their_intervals() -> None:
    text = trust_text(document())
    first, second = (line for line in text.splitlines() if line.startswith(("net ", "long ")))
    assert "0.50 [0.40, 0.60]" in first and "0.1236 [0.0236, 0.2236]" in first and first.endswith(" -")
    assert second.endswith("+0.20 [0.10, 0.30]") and "could be seen, row by row: 0.15" in text
    assert "of 440 told apart by both, 300 in the same order" in text
    assert "a perfect ranking would reach about 0.75" in text and text.endswith("note: the data moved")
    assert max(map(len, text.splitlines())) < 260


def test_what_is_not_known_is_said() -> None:
    pairs = {"all": 3, "truth_within_noise": 1, "inherited_within_noise": None, "both_apart": None}
    seeds = {"seeds": [1], "in_truth": [1], "truth_std": 0.2, "compared": None}
    text = trust_text(document(pairs=pairs, seeds=seeds, rankings=[ranking("net", None, None)]))
    assert "told apart" not in text and "at least three subnets need a second seed" in text
    assert "change of tau" not in text and "could be seen" not in text
    none = {"seeds": [1, 2], "subnets": 8, "tau": figure(-0.2), "attainable_tau": None, "std": 0.1}
    assert "do not agree at all" in trust_text(document(seeds={**seeds, "compared": none}))
