"""Training details in words, from configurations of any version."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflownas.config import Config
from edgeflownas.report.details import UNKNOWN, Progress, training_details

NOTHING = Progress(None, None, None, None, None)
PLAN = {"steps_per_epoch": 556, "draws_per_epoch": 17792, "total_steps": 111200, "planned_samples": 3558400}
DATA = {"train": {"label": "fc2/folder:train/17785/ab12", "count": 17785}, "val": {"label": "v", "count": 640}}


def details(config: dict[str, Any] | None = None, progress: Progress = NOTHING, **manifest: Any) -> dict[str, str]:
    whole = Config().model_dump(mode="json")
    for key, value in (config or {}).items():
        group, _, name = key.partition(".")
        whole[group][name] = value
    return training_details(whole, {"plan": PLAN, "data": DATA, **manifest}, progress)


def test_an_empty_run_of_an_unknown_version_has_every_key() -> None:
    bare = training_details({}, {}, NOTHING)
    assert list(bare) == list(details())
    assert {key for key, value in bare.items() if value == UNKNOWN} >= {"task", "crop", "flow clip", "epoch", "updates"}


def test_keys_of_other_versions_are_shown_where_they_are_there() -> None:
    new = details({"train.task": "edgeflownet", "train.input_normalisation": "raw_0_255", "data.channel_order": "bgr"})
    assert (new["task"], new["input normalisation"], new["channel order"]) == ("edgeflownet", "raw_0_255", "bgr")
    assert details({"train.epoch_divisor": 4})["epoch divisor"] == "4"


def test_the_epoch_in_words() -> None:
    assert details()["epoch"] == "full_pass: 556 steps of 32, 17,792 draws, expected 100 % of 17,785 samples"
    short = {"steps_per_epoch": 80, "draws_per_epoch": 2560}
    assert "expected 14.4 % of 17,785" in details(plan=short)["epoch"]
    replaced = details({"train.train_sampling_mode": "random_with_replacement"}, plan=short)
    assert "expected 13.4 %" in replaced["epoch"]  # 1 - (1 - 1/N)^2560
    measured = Progress(80, 2560, 0.0902, 128, 12)
    assert ", 9.02 % of 17,785" in details(progress=measured, plan=short)["epoch"]


def test_progress_in_words() -> None:
    found = details(progress=Progress(556, 17792, 1.0, 128, 12))
    assert found["updates"] == "556 of 111,200 planned"
    assert found["samples seen"] == "17,792 of 3,558,400 planned"
    assert found["passes over the data"] == "1.00 of 200.08 planned"
    assert found["evaluation coverage"].startswith("128 of 640 samples per arch, 12 archs")


@pytest.mark.parametrize(
    ("config", "key", "text"),
    [
        ({"data.flow_clip": None}, "flow clip", "off"),
        ({"train.grad_clip_global_norm": None}, "gradient clip", "off"),
        ({"train.grad_clip_position": "micro_step"}, "gradient clip", "norm 200, each path and micro-batch"),
        ({"train.lr_final_ratio": 0.01}, "learning rate", "cosine 0.0001 to 1e-06"),
        ({"train.lr_schedule": "constant"}, "learning rate", "constant 0.0001"),
        ({"train.lr_warmup_share": 0.05}, "learning rate", "cosine 0.0001 to 0, warm-up 5 %"),
        ({"train.micro_batch_size": 8}, "batch", "32 in micro-batches of 8, same for all paths"),
        ({"data.horizontal_flip": 0.5}, "augmentation", "random crop, horizontal_flip 0.5"),
        ({"train.init_from": "runs/a@best"}, "initial weights", "runs/a@best"),
        ({"data.crop_size": [352, 480]}, "crop", "352x480"),
        ({"eval.bn_recal_batches": 1}, "calibration", "1 batch of 8"),
        ({"train.batch_norm": "frozen"}, "calibration", "none: frozen batch norm"),
    ],
)
def test_a_key_decides_its_line(config: dict[str, Any], key: str, text: str) -> None:
    assert details(config)[key] == text != details()[key]


def test_where_weights_come_from() -> None:
    assert details()["initial weights"] == "random"
    assert details(forked_from={"run": "runs/a", "checkpoint": "step-00000004"})["initial weights"].startswith("runs/a")
    assert details(imported_from={"file": "w.npz"})["initial weights"] == "imported from w.npz"


def test_the_network_is_that_of_the_manifest() -> None:
    assert details()["network"] == "space v1, width 32"
    assert details(space={"name": "v1", "size": 19683})["network"] == "space v1 of 19,683 archs, width 32"
    assert details(space={"name": "edgeflownet", "size": 1})["network"] == "space edgeflownet, width 32"
