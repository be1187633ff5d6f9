"""The maker of the package's weights: what it writes opens as a run's subnet, with the run's own figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import ship_weights
from shipped import frames
from tiny import tiny_options

from edgeflownas import cli
from edgeflownas.data.synthetic.generate import generate_dataset
from edgeflownas.run import weights
from edgeflownas.run.run import Run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A subnet and a supernet, trained for a moment on generated pairs, and a subnet that began with the first."""
    folder = tmp_path_factory.mktemp("trained")
    generate_dataset(folder / "data", 6, 3, 7, 32, 48)
    single = ["--train.task=standalone", "--train.arch=000021222"]
    for name, own in (
        ("one", single),
        ("super", []),
        ("two", [*single, f"--train.init_from={folder / 'one'}"]),
    ):
        words = [word for word in tiny_options(folder / "data", folder, name) if not (own and "eval_pool_size" in word)]
        assert (
            cli.run(["train", "smoke", *words, "--train.width=2", *own, *["--eval.eval_pool_size=1"] * bool(own)]) == 0
        )
    return folder


def ship(runs, folder, run, *words):
    name = f"tiny-{run}"
    given = [str(runs / run), "--name", name, "--size", "32x48", "--folder", str(folder), "--no-export", *words]
    assert ship_weights.main(given) == 0
    card: dict[str, object] = json.loads((folder / f"{name}.json").read_text())
    return card


def test_a_subnet_keeps_its_figures(runs, tmp_path, monkeypatch):
    card = ship(runs, tmp_path, "two", "--storage", "float32")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    assert (card["code"], card["width"], card["storage"]) == ("000021222", 2, "float32")
    steps = [part["run"] for part in card["trained"]]  # type: ignore[attr-defined]
    assert steps == ["one", "two"] and card["pairs_seen"] == sum(p["pairs_seen"] for p in card["trained"]) > 0  # type: ignore[attr-defined]
    assert "--seed 7" in str(card["data"]) and {row["protocol"] for row in card["epe"]} == {  # type: ignore[attr-defined]
        "deploy:32x48", "standard"
    }  # fmt: skip
    run = Run.open(runs / "two")
    best = run.subnet(None)
    shipped = Run.open(Path("weights:tiny-two"))
    assert np.array_equal(shipped.subnet().flow(*frames()), best.flow(*frames()))
    deployed = shipped.subnet(size=(32, 48))
    assert deployed.calibrated_on == run.stored_eval_set.calibration.label and deployed.calibration_samples == 3


def test_a_supernet_and_half_precision(runs, tmp_path, monkeypatch):
    card = ship(runs, tmp_path, "super")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    assert card["code"] is None and set(card["epe_by_storage"]) == {"float16", "float32"}  # type: ignore[call-overload]
    run = Run.open(Path("weights:tiny-super"))
    assert run.recalibrates and len(run.train) == 3 and len(run.pool) == 4


def test_only_generated_pairs_are_taken(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ship_weights, "GENERATED", "nothing")
    assert ship_weights.main([str(runs / "one"), "--name", "x", "--folder", str(tmp_path / "new")]) == 64
    assert "not generated pairs" in capsys.readouterr().err and not (tmp_path / "new").exists()
