from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.config import TrainConfig
from edgeflownas.train.plan import learning_rate


def rate(seen: int, planned: int = 1000, **keys: object) -> float:
    return learning_rate(TrainConfig(**{"lr": 1e-4, **keys}), seen, planned)


def test_cosine_matches_the_users_history() -> None:
    # healthy run: 60 epochs of 17,792 draws; rates after epochs 1 and 2 as its eval_history.csv shows them
    assert f"{rate(17792, 60 * 17792):.6e}" == "9.993148e-05"
    assert f"{rate(2 * 17792, 60 * 17792):.6e}" == "9.972609e-05"
    assert rate(0) == 1e-4
    assert rate(1000) == 0.0


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "fast_anneal"])
def test_floor_is_reached_and_kept_past_the_plan(schedule: str) -> None:
    assert rate(1000, lr_schedule=schedule, lr_final_ratio=0.01) == pytest.approx(1e-6)
    assert rate(5000, lr_schedule=schedule, lr_final_ratio=0.01) == pytest.approx(1e-6)


def test_shapes() -> None:
    assert rate(999, lr_schedule="constant") == 1e-4
    steps = [rate(s, lr_schedule="step_decay", lr_milestones=(0.5, 0.75), lr_decay=0.1) for s in (499, 500, 750)]
    assert steps == pytest.approx([1e-4, 1e-5, 1e-6])
    assert rate(0, lr_schedule="one_cycle") == pytest.approx(1e-4 / 25)
    assert rate(300, lr_schedule="one_cycle", lr_peak_share=0.3) == pytest.approx(1e-4)
    assert rate(400, lr_schedule="fast_anneal", lr_anneal_share=0.4) == pytest.approx(0.0, abs=1e-18)


def test_warm_up_multiplies() -> None:
    assert rate(0, lr_schedule="constant", lr_warmup_share=0.1) == 0.0
    assert rate(50, lr_schedule="constant", lr_warmup_share=0.1) == pytest.approx(5e-5)
    assert rate(100, lr_schedule="constant", lr_warmup_share=0.1) == 1e-4


@given(
    st.sampled_from(["cosine", "constant", "step_decay", "one_cycle", "fast_anneal"]),
    st.integers(0, 3000),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_stays_between_zero_and_the_base_rate(schedule: str, seen: int, floor: float, warm_up: float) -> None:
    assert 0.0 <= rate(seen, lr_schedule=schedule, lr_final_ratio=floor, lr_warmup_share=warm_up) <= 1e-4 * (1 + 1e-12)
