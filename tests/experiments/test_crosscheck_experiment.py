"""The driver of experiments/crosscheck: what it writes and what it refuses; the other way where its environment is."""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

PLACE = Path(__file__).resolve().parents[2] / "experiments" / "crosscheck"
VARIABLE = "EDGEFLOWNAS_CROSSCHECK_PYTHON"


@pytest.fixture
def driver(monkeypatch):
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("ethosu")
    monkeypatch.syspath_prepend(str(PLACE))
    yield importlib.import_module("driver")
    sys.modules.pop("driver", None)


@pytest.fixture
def written(driver, tmp_path):
    driver.write_case(tmp_path, "000021222", 8, (32, 48), (4, 2))
    return tmp_path


def pretend(folder, noise=0.0):
    """Files as other.py would write them if it did what we do, but for ``noise`` in the outputs of int8."""
    shutil.copy(folder / "ours_int8.tflite", folder / "theirs_minmax.tflite")
    rng, found = np.random.default_rng(0), {}
    for name, values in np.load(folder / "ours_float.npz").items():
        integers = np.load(folder / "ours_int8.npz")[name]
        found |= {f"float/{name}": values, f"average/{name}": integers}
        found[f"minmax/{name}"] = integers + noise * values.std() * rng.standard_normal(values.shape)
    np.savez(folder / "theirs.npz", **found)


def test_two_equal_ways_agree(driver, written):
    pretend(written)
    found = driver.compare(written)
    assert found["faults"] == []
    assert list(found["snr_db"]) == ["flow_quarter", "flow_half", "flow"]
    for row in found["snr_db"].values():
        assert row["ours"] == pytest.approx(row["minmax"]) and 3 < row["ours"] < 60 and row["float"] > 90
        assert row["float files"] == driver.EQUAL
    assert "flow_half" in driver.as_text("case", found)


def test_what_differs_is_named(driver, written):
    pretend(written, noise=1.0)
    theirs = dict(np.load(written / "theirs.npz"))
    theirs["float/flow"] = theirs["float/flow"] * np.float32(1.001)
    np.savez(written / "theirs.npz", **theirs)
    half, whole = written / "half", written / "theirs_minmax.tflite"
    driver.write_case(half, "000000000", 8, (32, 48), (2, 1))
    shutil.copy(half / "ours_int8.tflite", whole)
    faults = "\n".join(driver.compare(written)["faults"])
    assert "flow: float files: 60.0 dB, at least 100 expected" in faults
    assert "at most 1.5 apart expected" in faults
    assert "performance:" in faults and "flash KiB" in faults and "within 1% expected" in faults


@pytest.mark.slow
def test_the_other_environment_makes_the_same_file(driver, tmp_path, monkeypatch, capsys):
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} does not name the interpreter of experiments/crosscheck/requirements.txt")
    words = [str(tmp_path), "--python", python, "--widths", "8", "--codes", "000021222", "--pairs", "16", "4"]
    monkeypatch.setattr(sys, "argv", ["driver.py", *words])
    assert driver.main() == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "crosscheck.json").read_text())["8_000021222"]
    for both in found["cost"].values():
        assert both["ours"] == pytest.approx(both["theirs"], rel=0.01)
