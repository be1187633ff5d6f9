"""The driver of experiments/trust: its commands are valid runs, and its pairs move as their flow says."""

import importlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeflownas.config.load import load_config

PLACE = Path(__file__).resolve().parents[2] / "experiments" / "trust"


@pytest.fixture
def load(monkeypatch):
    """Import a module of the experiment."""
    monkeypatch.syspath_prepend(str(PLACE))

    def one(name):
        return importlib.import_module(name)

    yield one
    for name in ("driver", "pairs"):
        sys.modules.pop(name, None)


def test_every_training_is_a_valid_run_of_its_own(load, tmp_path):
    planned = load("driver").commands(tmp_path, ["--train.width", "2"])
    configs = {name: load_config(tokens[1], tokens[2:]) for name, tokens in planned.items()}
    alone = {name: config for name, config in configs.items() if name.startswith("truth")}
    assert [config.train.task for name, config in configs.items() if name not in alone] == ["supernet"] * 4
    codes = [code for config in alone.values() if config.runtime.seed == 1 for code in config.train.arch]
    assert len(codes) == len(set(codes)) == 32
    again = [code for config in alone.values() if config.runtime.seed == 2 for code in config.train.arch]
    assert set(again) < set(codes) and len(again) >= 8
    assert {config.runtime.seed for config in configs.values()} == {1, 2, 100, 101} and {
        config.train.width for config in configs.values()
    } == {2}


def test_the_second_image_is_the_first_moved_by_the_flow(load):
    pairs = load("pairs")
    for number in range(3):
        first, second, flow = pairs.pair(5, "test", number)
        place = np.stack(np.meshgrid(np.arange(64), np.arange(48)), axis=-1).astype(np.float32) + flow
        back = cv2.remap(second, place, None, cv2.INTER_CUBIC).astype(float)
        inner = slice(5, -5), slice(5, -5)
        still = np.abs(first[inner].astype(float) - second[inner]).mean()
        assert np.abs(back[inner] - first[inner]).mean() < 1.0 < still
        assert np.abs(flow).max() < 5.0


def test_interrupted_data_are_made_again(load, tmp_path, monkeypatch):
    driver = load("driver")
    (tmp_path / "data.begun" / "train").mkdir(parents=True)
    monkeypatch.setattr(driver, "write_pairs", lambda root, **_: root.mkdir())
    driver.make_data(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    monkeypatch.setattr(driver, "write_pairs", lambda root, **_: pytest.fail("they are there"))
    driver.make_data(tmp_path)
