from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgeflownas.config import Config
from edgeflownas.run.checkpoint import Best, TrainState
from edgeflownas.train import epoch_end


def test_state_survives_json() -> None:
    best = Best(3.5, 2, "step-00000012", "mean", "abcd")
    state = TrainState(planned=100, num_epochs=4, step=12, best=best, last_epes=[4.0, 3.0], quarantined=["0000001"])
    assert TrainState.from_json(state.to_json()) == state
    assert not state.finished and TrainState(planned=1, num_epochs=1, epoch=1).finished


def test_small_gains_add_up_against_early_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation is 0.06 px better: less than 0.1 at a time, more than 0.1 every second time."""
    values = iter([5.0, 4.94, 4.88, 4.82, 4.76, 4.76, 4.76])
    monkeypatch.setattr(epoch_end, "criterion", lambda config, result: next(values))
    config = Config.model_validate({"eval": {"early_stop_patience": 2, "early_stop_min_delta": 0.1}})
    silent = SimpleNamespace(info=lambda text: None, warn=lambda text: None)
    job: Any = SimpleNamespace(
        config=config, console=silent, evaluator=SimpleNamespace(eval_set=SimpleNamespace(hash="x"))
    )
    state, stops = TrainState(planned=1, num_epochs=9), []
    for _ in range(7):
        epoch_end._choose_best(job, state, None)  # type: ignore[arg-type]
        stops.append(state.stopped_early)
    assert stops == [False] * 6 + [True]
    assert state.best is not None and state.best.value == 4.76
