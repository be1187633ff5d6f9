"""The pool table: order, differences, intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_histories import made_history

from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.evaluate.results import SampleErrors, sample_errors_name
from edgeflownas.report.html.pool import pool_rows, pool_section


def stored(folder: Path, eval_set: str = "aaaa"):
    """A history of one evaluation with the errors of its samples beside it."""
    rng = np.random.default_rng(0)
    history = made_history(1, 3)
    errors = (5 + rng.random((1, 40)) + 0.3 * np.arange(3)[:, None] + 0.01 * rng.random((3, 40))).astype(np.float32)
    pixels = rng.integers(50, 100, 40)
    noise = pool_noise(errors, pixels)
    history = replace(history, source=folder, epes=noise.epes[None], rows=({**history.rows[0], "arch_rank_12": ""},))
    path = folder / sample_errors_name(1)
    path.parent.mkdir()
    path.write_bytes(SampleErrors(history.codes, errors, pixels, eval_set, 1).to_bytes())
    return history, noise


def test_best_first_and_differences_from_it():
    history = made_history()
    rows = pool_rows(history)
    assert [row.epe for row in rows] == sorted(history.epes[-1].tolist())
    assert rows[0].behind == 0.0 and [row.rank for row in rows[:3]] == ["1", "2", "3"]
    assert [row.arch for row in rows if row.baseline] == [6]
    assert {row.interval for row in rows} == {None}


def test_intervals_are_paired(tmp_path: Path):
    history, noise = stored(tmp_path)
    rows = {row.arch: row for row in pool_rows(history)}
    assert rows[2].interval == pytest.approx(noise.bounds[0, 2])
    assert rows[2].interval < noise.margins()[2] / 5, "the difficulty of the samples cancels"
    assert not rows[2].tied and rows[0].interval is None


def test_errors_of_another_set_are_not_used(tmp_path: Path):
    history, _ = stored(tmp_path, eval_set="bbbb")
    assert all(row.interval is None for row in pool_rows(history))


def test_shared_ranks_are_marked_as_tied():
    history = made_history(1, 3)
    history = replace(history, rows=({**history.rows[0], "arch_rank_12": "1:0:5.0|1:1:5.0|3:2:5.1"},))
    assert [(row.rank, row.tied) for row in pool_rows(history)] == [("1", True), ("1", True), ("3", False)]


def test_nan_comes_last_and_has_no_bar():
    history = made_history(1, 3)
    history.epes[0, 0] = math.nan
    rows = pool_rows(history)
    assert rows[-1].arch == 0 and math.isnan(rows[-1].behind)
    assert pool_section(history, "pool", 0, "The pool", None).count("<svg") == 2


def test_single_model_has_no_pool():
    assert pool_section(made_history(1, 1), "pool", 0, "The pool", None) is None
