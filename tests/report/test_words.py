"""Durations and the epoch line."""

import pytest

from edgeflownas.files import clean
from edgeflownas.report.console import epoch_line, step_facts
from edgeflownas.report.table import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (41.4, "41 s"),
        (59.6, "1 min"),
        (725, "12 min 5 s"),
        (3600, "1 h"),
        (11520, "3 h 12 min"),
        (183600, "2 d 3 h"),
        (-3, "0 s"),
        (None, "?"),
        (float("inf"), "?"),
        (float("nan"), "?"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


ROW = {
    "epoch": 3,
    "num_epochs": 200,
    "global_step": 1668,
    "train_loss": 9.1234,
    "lr": 9.9e-5,
    "mean_epe_12": 8.2111,
    "std_epe_12": 0.2743,
    "best_epe": 8.2111,
    "improved": True,
    "clip_rate": 0.0102,
    "data_wait_share": 0.003,
    "images_per_second": 41.04,
    "seconds_left": 11525.0,
    "arch_rank_12": "1:0:8.2111",
}


def test_the_epoch_line_of_the_documentation():
    assert epoch_line(ROW) == (
        "epoch 3/200 step 1668 loss 9.123 lr 9.9e-05 mean_epe_12 8.21 std 0.27 best 8.21* clip_rate 0.01 "
        "data wait 0.3 % 41 images/s left 3 h 12 min"
    )


def test_what_was_not_measured_is_left_out():
    assert epoch_line({"epoch": 1, "global_step": 5, "train_loss": 2.0, "mean_epe_12": None}) == "epoch 1 step 5 loss 2"
    line = epoch_line({**ROW, "improved": False, "mean_epe_12_ema": 8.1, "dropped_steps": 2})
    assert "best 8.21 " in line and "ema 8.10" in line and "dropped_steps 2" in line
    assert "dropped" not in epoch_line({**ROW, "dropped_steps": 0})


def test_another_pool_size():
    assert epoch_line({"epoch": 1, "mean_epe_24_ema": 7.0, "mean_epe_24": 8.0, "std_epe_24": 0.5}) == (
        "epoch 1 mean_epe_24 8.00 std 0.50 ema 7.00"
    )


def test_step_facts():
    assert step_facts(loss=9.1234, lr=9.9e-5, epe=8.211, images_per_second=41.04, data_wait_share=0.003) == (
        "loss 9.123  lr 9.9e-05  epe 8.21  41 images/s  data wait 0.3 %"
    )
    assert step_facts() == ""
    assert step_facts(loss=float("nan")) == "loss nan"


def test_control_characters_cannot_forge_or_colour_a_log_line():
    assert clean("a\x1b[31mred\rb\udcff") == r"a\x1b[31mred\rb\udcff"
    assert clean("two\nlines, 飞") == "two\nlines, 飞"
