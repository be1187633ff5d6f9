"""The real trainer killed again and again: the same tensors and the same events.jsonl as if nothing had happened."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from edgeflownas.files import CRASH_POINTS

pytestmark = pytest.mark.faults
HERE = Path(__file__).parent


def load_module(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


harness = load_module(HERE / "kill_harness.py")
tiny = load_module(HERE.parent / "tiny.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root: Path = tiny.make_tiny(tmp_path_factory.mktemp("killed") / "data", train=5)
    return root


def calls(data, workers):
    options = tiny.tiny_options(data, Path("{folder}"), "{name}")
    options += [
        "--train.micro_batch_size=2",
        "--train.ema_decay=0.9",
        "--train.num_epochs=2",
        "--train.width=2",
        "--eval.eval_pool_size=2",
        "--train.monitor_every=2",
        "--eval.train_batches=2",
        "--data.horizontal_flip=0.5",
        "--data.noise_std=0.02",
        "--data.brightness=0.1",
        f"--data.num_workers={workers}",
        "--checkpoint.every_steps=2",
    ]
    main = "edgeflownas.cli:main"
    return harness.Call(main, [["train", "smoke", *options]]), harness.Call(main, [["train", "--resume", "{run}"]])


def test_random_kills_and_crash_points(data, tmp_path):
    """15 kills for each number of workers, EDGEFLOWNAS_KILLS=300 does as many as you like; then every crash point."""
    kills = int(os.environ.get("EDGEFLOWNAS_KILLS", "15"))
    points = [point for point in CRASH_POINTS if point.partition(".")[0] in ("step", "evaluation", "epoch", "commit")]
    killed = [harness.kills(*calls(data, n), tmp_path / f"{n}", count=kills, seed=n) for n in (0, 2)]
    crashed = harness.crashes(*calls(data, 0), tmp_path / "crashed", points)
    reports = harness.ask([*killed, crashed], timeout=1000.0 + 20 * kills)
    print(reports)
    assert [report["mismatches"] for report in reports] == [[], [], []]
    assert min(report["kills"] for report in reports[:2]) >= kills
