from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from edgeflownas.config import Config, EvalConfig, TrainConfig
from edgeflownas.report.plan_table import print_plan
from edgeflownas.train.plan import batch_plan, make_plan


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def chairs(**train: Any) -> dict[str, Any]:
    config = Config(train=TrainConfig(**train), eval=EvalConfig(batch_size=32))
    return {**make_plan(config, batch_plan(config, 17_785), 640), "notes": ["a [note]\x1b"]}


def test_every_figure_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    print_plan(chairs())
    lines = screen.getvalue()
    for figure in ("17,785", "10,675,200", "555 (floor) / 556 (ceil)", "by_samples 0.5N", "63.21 %", "5.00e-05"):
        assert figure in lines
    assert "…" not in lines and "\x1b[" in lines and "a [note]\\x1b" in lines


def test_plain_lines_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(chairs(task="edgeflownet", grad_clip_global_norm=None, ema_decay=0.99))
    out = capsys.readouterr().out
    assert out.isascii() and "\x1b" not in out and "a [note]\\x1b" in out
    assert "1 path x 1 micro-batch a step; no threshold, nothing is clipped" in out
    assert "1 subnet each, and of the moving average" in out
    assert all(line == line.rstrip() for line in out.splitlines())
