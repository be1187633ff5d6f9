"""The experiment of docs/qat.md: its runs are valid, and differ in nothing but what is compared."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from edgeflownas.config.load import load_config

PLACE = Path(__file__).resolve().parents[2] / "experiments" / "qat"


def test_float_and_int8_fine_tuning_differ_in_the_task_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLACE))
    try:
        tuning = importlib.import_module("compare").TUNING
    finally:
        for name in ("compare", "pairs"):
            sys.modules.pop(name, None)
    begin = [*tuning, "--train.init_from=runs/source1"]
    plain, rounded = (load_config(str(PLACE / "qat.yaml"), [*begin, *more]) for more in ([], ["--train.task=qat"]))
    assert plain == rounded.model_copy(update={"train": rounded.train.model_copy(update={"task": "standalone"})})
    assert plain.train.num_epochs * (plain.train.steps_per_epoch or 0) == 600
