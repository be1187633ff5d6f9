"""The figures of a plan: those the users know, any small plan counted draw by draw, and the learning rate."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeflownas.config import Config, EvalConfig, TrainConfig
from edgeflownas.data.order import expected_unique
from edgeflownas.errors import DataError
from edgeflownas.train.plan import add_seconds, batch_plan, learning_rate, make_plan, rate_warning
from edgeflownas.train.step import batch_slices

CHAIRS, VAL = 17_785, 640
USERS = {"epoch_mode": "fixed_steps", "steps_per_epoch": 50, "batch_size": 32, "num_epochs": 200}


def plan_of(
    n: int = CHAIRS, val: int | None = VAL, evaluation: EvalConfig | None = None, **train: Any
) -> dict[str, Any]:
    config = Config(train=TrainConfig(**{**USERS, **train}), eval=evaluation or EvalConfig())
    return make_plan(config, batch_plan(config, n), val)


def test_the_figures_the_users_know() -> None:
    plan = plan_of()
    assert plan["samples_per_epoch"] == plan["unique_without_replacement"] == 1600
    assert f"{plan['share_of_split']:.3%}" == "8.996%"
    assert round(plan["expected_unique_with_replacement"]) == 1530
    assert f"{plan['expected_unique_share_with_replacement']:.2%}" == "8.60%"
    assert (plan["full_pass_steps_floor"], plan["full_pass_steps_ceil"]) == (555, 556)
    assert f"{plan['share_of_full_pass_steps']:.2%}" == "9.01%"
    assert plan["total_samples"] == 320_000 and plan["optimizer_updates"] == 10_000
    assert f"{plan['equivalent_passes']:.2f}" == "18.02" and plan["equivalent_passes"] == 320_000 / (555 * 32)
    assert f"{plan['passes_by_samples']:.2f}" == "17.99" and plan["passes_by_samples"] == 320_000 / 17_785
    assert plan["expected_clip_checks"] == {"step": 10_000, "micro_step": 30_000}
    assert plan_of(micro_batch_size=16)["expected_clip_checks"] == {"step": 10_000, "micro_step": 60_000}
    assert plan["forward_passes"] == 320_000 * 3
    rates = [f"{rate:.2e}" for rate in plan["learning_rate"].values()]
    assert rates == ["1.00e-04", "8.54e-05", "5.00e-05", "0.00e+00"]


def test_what_the_pool_is_scored_and_calibrated_on() -> None:
    plan = plan_of(
        evaluation=EvalConfig(eval_batches_per_arch=16, batch_size=8, bn_recal_batches=32, eval_every_epoch=3)
    )
    assert plan["evaluation"] == {
        "archs": 12,
        "batches_per_arch": 16,
        "samples_per_arch": 128,
        "share_of_split": 0.2,
        "evaluations": 67,  # after epochs 3, 6, ... 198, and after the last
        "weights": 1,
        "train_samples": 16,
        "wide": None,
    }
    calibration = {"batches_per_arch": 32, "samples_per_arch": 256, "share_of_split": 256 / CHAIRS}
    assert plan["calibration"] == calibration
    small = plan_of(n=20, val=9, batch_size=4)
    assert small["evaluation"]["samples_per_arch"] == 9 and small["evaluation"]["batches_per_arch"] == 3
    assert small["calibration"]["samples_per_arch"] == 20 and small["calibration"]["batches_per_arch"] == 5
    unknown = plan_of(val=None)
    assert unknown["evaluation"]["samples_per_arch"] == 512 and unknown["evaluation"]["share_of_split"] is None
    single = plan_of(task="edgeflownet", batch_norm="frozen")
    assert single["evaluation"]["archs"] == single["paths_per_step"] == 1
    assert single["calibration"]["batches_per_arch"] == 0


def test_epoch_modes_side_by_side() -> None:
    modes = {mode["mode"]: mode for mode in plan_of()["modes"]}
    shown = {name: (m["steps_per_epoch"], m["samples_per_epoch"], m["forward_passes"]) for name, m in modes.items()}
    assert shown == {
        "fixed_steps 50": (50, 1600, 960_000),
        "by_samples 0.3N": (167, 5336, 3_201_600),
        "by_samples 0.5N": (278, 8892, 5_335_200),
        "by_samples 1.0N": (556, 17_785, 10_671_000),
        "full_pass": (556, 17_792, 10_675_200),
    }
    assert [name for name, mode in modes.items() if mode["present"]] == ["fixed_steps 50"]
    assert modes["full_pass"]["unique_without_replacement"] == CHAIRS
    assert modes["full_pass"]["expected_unique_share_with_replacement"] == pytest.approx(0.6323, abs=1e-4)
    assert modes["full_pass"]["relative_cost"] == pytest.approx(11.12)
    near = plan_of(epoch_mode="near_full", steps_per_epoch=None)["modes"]
    assert near[0]["mode"] == "near_full" and [mode["present"] for mode in near] == [True] + 5 * [False]
    own = plan_of(epoch_mode="by_samples", steps_per_epoch=None, train_samples_per_epoch=0.25)["modes"]
    assert own[0]["mode"] == "by_samples 0.25N" and own[0]["present"]
    shorter = plan_of(epoch_mode="by_samples", steps_per_epoch=None, train_samples_per_epoch=0.5, epoch_divisor=2)
    assert shorter["modes"][0]["mode"] == "by_samples 0.5N / 2" and shorter["samples_per_epoch"] == 4446


@given(
    st.sampled_from(["cosine", "constant", "step_decay", "one_cycle", "fast_anneal"]),
    st.sampled_from([0.0, 0.01]),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.integers(1, 4),
    st.integers(0, 40),
    st.sampled_from([None, 20, 33, 400]),
)
@settings(max_examples=80, deadline=None)
def test_steps_of_rate_zero_are_counted(
    schedule: str, floor: float, share: float, epochs: int, done: int, planned: Any
):
    train = TrainConfig(
        batch_size=4, num_epochs=epochs, epoch_mode="by_samples", train_samples_per_epoch=18, lr_schedule=schedule,
        lr_final_ratio=floor, lr_anneal_share=share, lr_decay=0.0,
    )  # fmt: skip
    order = batch_plan(Config(train=train), 37)
    seen = [int(order.draws(epoch, step)[0]) for epoch in range(epochs) for step in range(order.steps_per_epoch)]
    idle = [learning_rate(train, at, planned or 18 * epochs) == 0 for at in seen[done:]]
    text = rate_warning(train, order, done, planned)
    assert (text is not None) == any(idle)
    if text is not None:
        assert f"({sum(idle)} of {len(idle)}) have learning rate 0" in text


def test_a_plan_says_what_its_rate_and_its_paths_cost() -> None:
    dead = plan_of(lr_schedule="fast_anneal")["warnings"]
    assert any(
        "50 % of the steps (5,000 of 10,000) have learning rate 0" in text and "lr_final" in text for text in dead
    )
    assert not any("learning rate 0" in text for text in plan_of()["warnings"])
    whole = {"epoch_mode": "full_pass", "steps_per_epoch": None}
    [text] = [text for text in plan_of(path_batches="shifted", **whole)["warnings"] if "path_batches" in text]
    assert "where same makes 3: 37,200 updates in this plan, one in 3 of them" in text and "staggered" in text
    same, staggered = (plan_of(path_batches=name, micro_batch_size=8, **whole) for name in ("same", "staggered"))
    assert same == staggered


@st.composite
def small_plans(draw: st.DrawFn) -> tuple[Config, int]:
    mode = draw(st.sampled_from(["fixed_steps", "full_pass", "near_full", "by_samples"]))
    sampling = draw(st.sampled_from(["random_with_replacement", "shuffle_no_replacement", "sequential"]))
    shifted = draw(st.booleans())
    assume(sampling != "random_with_replacement" or not (shifted or mode == "full_pass"))
    batch = draw(st.integers(1, 9))
    n = draw(st.integers(1, 60))
    train = TrainConfig(
        epoch_mode=mode,
        train_sampling_mode=sampling,
        batch_size=batch,
        micro_batch_size=draw(st.none() | st.integers(1, batch)),
        path_batches="shifted" if shifted else "same",
        num_epochs=draw(st.integers(1, 3)),
        steps_per_epoch=draw(st.integers(1, 12)) if mode == "fixed_steps" else None,
        train_samples_per_epoch=(
            draw(st.integers(1, 80) | st.sampled_from([0.1, 0.3, 0.5, 1.0])) if mode == "by_samples" else None
        ),
        epoch_divisor=1 if mode == "full_pass" else draw(st.integers(1, 3)),
    )
    return Config(train=train), n


@settings(max_examples=150, deadline=None)
@given(small_plans())
def test_figures_are_what_is_counted_draw_by_draw(drawn: tuple[Config, int]) -> None:
    config, n = drawn
    train, paths = config.train, 3
    try:
        order = batch_plan(config, n)
    except DataError:  # too few samples for path_batches shifted
        assume(False)
    plan = make_plan(config, order, None)
    counted = {"draws": 0, "updates": 0, "passes": 0, "units": 0}
    for epoch in range(train.num_epochs):
        for step in range(order.steps_per_epoch):
            size = len(order.indices(epoch, step)) // (paths if train.path_batches == "shifted" else 1)
            counted["draws"] += len(order.indices(epoch, step))
            counted["updates"] += 1
            counted["passes"] += paths * size
            counted["units"] += paths * len(batch_slices(size, train.micro_batch_size))
    assert plan["total_samples"] == counted["draws"] and plan["optimizer_updates"] == counted["updates"]
    assert plan["forward_passes"] == counted["passes"]
    assert plan["expected_clip_checks"] == {"step": counted["updates"], "micro_step": counted["units"]}
    first = np.concatenate([order.indices(0, step) for step in range(order.steps_per_epoch)])
    assert plan["samples_per_epoch"] == len(first)
    if train.train_sampling_mode != "random_with_replacement":
        assert plan["unique_without_replacement"] == len(set(first.tolist())) == order.coverage(0).unique
    assert plan["expected_unique_with_replacement"] == order.coverage(0).expected_unique
    (present,) = (mode for mode in plan["modes"] if mode["present"])
    assert present["samples_per_epoch"] == len(first) and present["relative_cost"] == 1.0


@given(st.integers(1, 40), st.integers(0, 80))
def test_expected_unique_is_the_mean_of_the_recurrence(n: int, drawn: int) -> None:
    seen = 0.0
    for _ in range(drawn):
        seen += 1 - seen / n  # the next draw is new with this probability
    assert expected_unique(n, drawn) == pytest.approx(seen)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "sees 9.0 %"),
        ({"train_sampling_mode": "random_with_replacement"}, "sees 8.6 %"),
        ({"num_epochs": 2}, "the whole run draws 3,200 samples"),
        ({"n": 16}, "some come twice"),
        (
            {"val": 513, "evaluation": EvalConfig(eval_batches_per_arch=16, batch_size=8)},
            "eval.eval_batches_per_arch 65",
        ),
        ({"evaluation": EvalConfig(bn_recal_batches=7, batch_size=8)}, "batch norm is recalibrated on 56 samples"),
    ],
)
def test_what_looks_wrong_is_said(change: dict[str, Any], word: str) -> None:
    assert word in " | ".join(plan_of(**change)["warnings"])


def test_a_sound_plan_has_no_warnings() -> None:
    half = {"epoch_mode": "by_samples", "steps_per_epoch": None, "train_samples_per_epoch": 0.5}
    assert plan_of(evaluation=EvalConfig(eval_batches_per_arch=20, bn_recal_batches=8), **half)["warnings"] == []


def test_times_follow_from_what_was_measured() -> None:
    # a step of 96 passes takes 0.96 s, a batch of calibration 2 s, one of evaluation 3 s
    measured = {"pass_seconds": 0.01, "calibration_batch_seconds": 2.0, "evaluation_batch_seconds": 3.0}
    found = add_seconds(plan_of(), measured)
    assert found["measured"] == pytest.approx(
        {
            **measured,
            "epoch_seconds": 48.0,
            "train_seconds": 9600.0,
            "evaluation_seconds": 32 * 2.0 + 16 * 3.0 + 2 * 2 * 3.0,  # 2 batches of training samples in two crops
            "all_evaluations_seconds": 200 * 124.0,
            "all_readings_seconds": 50 * 0.96,
            "run_seconds": 9600.0 + 24_800.0 + 48.0,
        }
    )
    with_average = add_seconds(plan_of(ema_decay=0.99), measured)["measured"]
    assert with_average["evaluation_seconds"] == 2 * 112.0 + 12.0
    assert [round(mode["train_seconds"]) for mode in found["modes"]] == [9600, 32_016, 53_352, 106_710, 106_752]


def test_wide_evaluations_and_gradient_readings_are_counted_and_timed() -> None:
    settings = EvalConfig(eval_every_epoch=3, wide_every_epoch=10, train_batches=0, batch_size=8)
    plan = plan_of(evaluation=settings, monitor_every=None)
    due = {epoch for epoch in (*range(3, 200, 3), 200) if epoch == 200 or epoch // 10 > (epoch - 3) // 10}
    assert plan["evaluation"]["wide"] == {"samples_per_arch": 640, "share_of_split": 1.0, "evaluations": len(due)}
    assert plan["evaluation"]["train_samples"] == plan["gradient_readings"] == 0
    measured = {"pass_seconds": 0.01, "calibration_batch_seconds": 2.0, "evaluation_batch_seconds": 3.0}
    times = add_seconds(plan, measured)["measured"]
    assert times["all_evaluations_seconds"] == pytest.approx(67 * 112.0 + len(due) * 80 * 3.0)
    assert times["all_readings_seconds"] == 0
    part = plan_of(evaluation=EvalConfig(wide_every_epoch=1, wide_batches_per_arch=20, batch_size=8), val=None)
    wide = {"samples_per_arch": 160, "share_of_split": None, "evaluations": 200}
    assert part["evaluation"]["wide"] == wide and part["gradient_readings"] == 50
    odd = plan_of(monitor_every=3, num_epochs=1)["gradient_readings"]
    assert odd == len(range(0, 50, 3))


def test_neither_torch_nor_cv2_is_imported() -> None:
    code = (
        "import sys; from edgeflownas.cli import run; code = run(['plan', '--train-samples', '17785', '--json']);"
        "sys.exit(code or [name for name in ('torch', 'cv2', 'rich') if name in sys.modules] or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


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
