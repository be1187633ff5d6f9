"""Event files, read back."""

import math
import subprocess
import sys

import numpy as np
import pytest

from edgeflownas.errors import ConfigError
from edgeflownas.report.console import Tracker


def read(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def test_scalars_and_pictures_come_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    with Tracker(tmp_path / "tb") as tracker:
        for step in (1, 2):
            tracker.scalars(step, {"train/loss": 10.0 / step, "train/lr": None})
        tracker.scalars(2, {"train/gradient_norm": math.inf})
        tracker.images(2, "pair/0000004", picture)
        tracker.flush()
        assert [event.value for event in read(tmp_path / "tb").Scalars("train/loss")] == [10.0, 5.0]  # before close
    events = read(tmp_path / "tb")
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 10.0), (2, 5.0)]
    assert "train/lr" not in events.Tags()["scalars"]
    assert events.Scalars("train/gradient_norm")[0].value == math.inf
    (image,) = events.Images("pair/0000004")
    assert (image.step, image.height, image.width) == (2, 6, 8)
    import cv2

    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert (decoded == picture).all()


def test_a_resumed_run_hides_the_abandoned_tail(tmp_path, monkeypatch):
    import time

    with Tracker(tmp_path) as tracker:
        for step in range(1, 6):
            tracker.scalars(step, {"loss": float(step)})
    moment = time.time()
    monkeypatch.setattr(time, "time", lambda: moment + 2)  # the file name holds whole seconds; the readers sort by it
    with Tracker(tmp_path, purge_step=4) as tracker:
        tracker.scalars(4, {"loss": 40.0})
    assert [(e.step, e.value) for e in read(tmp_path).Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]


def test_disabled_writes_and_imports_nothing(tmp_path):
    program = (
        "import sys, pathlib, numpy as np\n"
        "from edgeflownas.report.console import Tracker\n"
        "with Tracker(pathlib.Path(sys.argv[1]), enabled=False) as t:\n"
        "    t.scalars(1, {'loss': 1.0}); t.images(1, 'x', np.zeros((2, 2, 3), np.uint8)); t.flush(); t.close()\n"
        "print('tensorboard' in sys.modules, 'torch' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program, str(tmp_path / "tb")], capture_output=True, text=True)
    assert (answer.stdout, answer.stderr) == ("False False\n", "")
    assert not (tmp_path / "tb").exists()


def test_a_missing_package_names_key_and_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="runtime.tensorboard.*pip install tensorboard.*false"):
        Tracker(tmp_path)
