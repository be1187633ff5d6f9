"""Where the time goes, on a clock that the test moves."""

from types import SimpleNamespace
from typing import Any

import pytest

from edgeflownas.config import Config
from edgeflownas.run.checkpoint import Best, TrainState
from edgeflownas.train import loop, records
from edgeflownas.train.loop import LAPS, EpochClock


class Time:
    def __init__(self):
        self.value = 100.0

    def __call__(self):
        return self.value


@pytest.fixture
def parts():
    loader, time = SimpleNamespace(wait_seconds=5.0), Time()
    return loader, time, EpochClock(loader, time)  # type: ignore[arg-type]


def spend(parts, name, seconds):
    loader, time, clock = parts
    if name == "data_wait":
        loader.wait_seconds += seconds
        time.value += seconds
    elif name == "other":
        time.value += seconds
    else:
        with clock.lap(name):
            time.value += seconds


def test_seconds_and_shares_of_a_window(parts):
    clock = parts[2]
    spent = {"data_wait": 1.0, "step": 6.0, "eval": 3.0, "checkpoint": 0.5, "monitor": 0.25, "other": 0.25}
    for name, seconds in spent.items():
        spend(parts, name, seconds)
    clock.move(1.0, "eval", "recal")
    expected = {**spent, "eval": 2.0, "recal": 1.0}
    assert clock.since("epoch") == pytest.approx(expected)
    shares = clock.shares("row")
    assert list(shares) == [f"share_{name}" for name in LAPS] and sum(shares.values()) == pytest.approx(1.0)
    assert shares["share_step"] == pytest.approx(6 / 11)


def test_a_window_begins_where_its_mark_was_asked_for_last(parts):
    clock = parts[2]
    spend(parts, "step", 2.0)
    clock.since("epoch")
    spend(parts, "checkpoint", 1.0)  # the commit after the row
    clock.restart()
    spend(parts, "step", 3.0)
    assert clock.since("epoch") == pytest.approx({**dict.fromkeys(LAPS, 0.0), "step": 3.0, "checkpoint": 1.0})
    assert clock.since("row") == pytest.approx({**dict.fromkeys(LAPS, 0.0), "step": 5.0, "checkpoint": 1.0})
    assert clock.seconds == pytest.approx(3.0)


def test_data_wait_share_is_of_the_epoch(parts):
    assert sum(parts[2].shares("row").values()) == 0.0  # no time at all is no error
    spend(parts, "data_wait", 4.0)
    parts[2].restart()
    spend(parts, "data_wait", 1.0)
    spend(parts, "step", 3.0)
    assert parts[2].figures()["data_wait_share"] == pytest.approx(0.25)
    assert parts[2].shares("row")["share_data_wait"] == pytest.approx(5 / 8)


def test_a_lap_that_ends_badly_counts(parts):
    with pytest.raises(KeyError), parts[2].lap("step"):
        parts[1].value += 2.0
        raise KeyError
    assert parts[2].since("row")["step"] == pytest.approx(2.0)


def test_state_survives_json():
    best = Best(3.5, 2, "step-00000012", "mean", "abcd")
    state = TrainState(planned=100, num_epochs=4, step=12, best=best, last_epes=[4.0, 3.0], quarantined=["0000001"])
    assert TrainState.from_json(state.to_json()) == state
    assert not state.finished and TrainState(planned=1, num_epochs=1, epoch=1).finished


def test_small_gains_add_up_against_early_stopping(monkeypatch):
    """Each evaluation is 0.06 px better: less than 0.1 at a time, more than 0.1 every second time."""
    values = iter([5.0, 4.94, 4.88, 4.82, 4.76, 4.76, 4.76])
    monkeypatch.setattr(records, "criterion", lambda config, result: next(values))
    config = Config.model_validate({"eval": {"early_stop_patience": 2, "early_stop_min_delta": 0.1}})
    silent = SimpleNamespace(info=lambda text: None, warn=lambda text: None)
    state, stops = TrainState(planned=1, num_epochs=9), []
    evaluator = SimpleNamespace(eval_set=SimpleNamespace(hash="x"))
    training: Any = SimpleNamespace(config=config, console=silent, evaluator=evaluator, state=state)
    for _ in range(7):
        loop.choose_best(training, None)  # type: ignore[arg-type]
        stops.append(state.stopped_early)
    assert stops == [False] * 6 + [True]
    assert state.best is not None and state.best.value == 4.76
