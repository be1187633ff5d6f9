"""Configurations of the TF1 tool: every key accounted for, and what comes out is a valid configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeflownas.cli import run
from edgeflownas.config import Config
from edgeflownas.config.foreign import KEYS, import_config
from edgeflownas.config.load import dump_yaml, load_config
from edgeflownas.errors import ConfigError

REFERENCE: dict[str, Any] = {
    "runtime": {"experiment_name": "fc2 run1", "output_root": "outputs/supernet", "seed": 42},
    "train": {
        **{"gpu_device": 0, "gpu_devices": "0", "multi_gpu_mode": "single_gpu", "num_epochs": 200},
        **{"epoch_mode": "full_pass", "steps_per_epoch": 50, "train_sampling_mode": "shuffle_no_replacement"},
        **{"train_crop_mode": "random", "batch_size": 32, "micro_batch_size": 32, "lr": 1e-4, "lr_min": 1e-6},
        **{"optimizer": "adam", "lr_schedule": "cosine", "weight_decay": 4e-5, "grad_clip_global_norm": 200},
        **{"supernet_mode": "strict_fairness", "uncertainty_type": "LinearSoftplus", "early_stop_patience": 0},
        "distill": {"enabled": False, "lambda": 1.0, "teacher_ckpt": "", "teacher_arch_code": "0 0 0 0 2 1 2 2 2"},
    },
    "data": {
        **{"dataset": "FC2", "base_path": "data/FC2", "train_dir": "train", "val_dir": "val", "input_height": 180},
        **{"input_width": 240, "flow_channels": 2, "fc2_num_workers": 4, "prefetch_batches": 2},
        **{"ft3d_flow_divisor": 12.5, "ft3d_train_augment": {"enabled": False, "min_scale": -0.4}},
    },
    "eval": {
        **{"eval_every_epoch": 5, "eval_pool_size": 12, "bn_recal_batches": 32, "eval_batches_per_arch": 16},
        **{"early_stop_patience": 200, "early_stop_min_delta": 0.002, "sintel": {"dataset_root": ""}},
    },
    "checkpoint": {"load_checkpoint": False, "resume_ckpt_name": "last", "init_mode": "none"},
}


def changed(**groups: Any) -> dict[str, Any]:
    """The reference with other keys: group__key=value."""
    found = {name: dict(group) for name, group in REFERENCE.items()}
    for name, value in groups.items():
        group, _, key = name.partition("__")
        if key:
            found[group][key] = value
        else:
            found[group] = value
    return found


def translated(tmp_path: Path, theirs: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    file, out = tmp_path / "theirs.yaml", tmp_path / "mine.yaml"
    file.write_text(dump_yaml(theirs))
    text, rows = import_config(file)
    out.write_text(text)
    return load_config(out), {row.key: row for row in rows}


def test_the_reference_of_their_repository(tmp_path: Path) -> None:
    config, rows = translated(tmp_path, REFERENCE)
    train = config.train
    assert (train.num_epochs, train.epoch_mode, train.steps_per_epoch, train.batch_size) == (200, "full_pass", None, 32)
    assert (train.lr, train.lr_final_ratio, train.grad_clip_global_norm, train.gpu_device) == (
        1e-4,
        0.01,
        200.0,
        "auto",
    )
    assert (config.data.train_dir, config.data.val_dir, config.data.crop_size) == (
        *("data/FC2/train", "data/FC2/val"),
        (180, 240),
    )
    assert (config.runtime.seed, config.runtime.experiment_name, train.space) == (42, "fc2_run1", "v1")
    own = config.eval
    # 16 and 32 batches of the training batch, 512 and 1,024 samples, there and here
    assert (own.eval_batches_per_arch, own.bn_recal_batches, own.batch_size, config.eval_batch_size) == (
        16,
        32,
        None,
        32,
    )
    assert (own.early_stop_patience, own.early_stop_min_delta, own.also) == (200, 0.002, ())
    assert all(row.becomes or row.note for row in rows.values())
    assert "ignored with epoch_mode full_pass" in rows["train.steps_per_epoch"].note


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_accounted_for(key: str, tmp_path: Path) -> None:
    """Alone, with a value of any kind that their files hold."""
    for value in ("x", 3, 0, True, None, []):
        file = tmp_path / "theirs.yaml"
        tree: Any = value
        for part in reversed(key.split(".")):
            tree = {part: tree}
        tree.setdefault("train", {}) if not isinstance(tree.get("train"), dict) else None
        tree["data"] = {**tree.get("data", {}), "input_height": 180, "flow_channels": 2}
        file.write_text(dump_yaml(tree))
        try:
            rows = {row.key: row for row in import_config(file)[1]}
        except ConfigError as error:  # a value that means nothing is named with its key or its translation
            assert str(file) in str(error)
        else:
            assert rows[key].becomes or rows[key].note, key


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        (changed(train__epoch_mode="fixed_steps"), {"train.epoch_mode": "fixed_steps", "train.steps_per_epoch": 50}),
        (changed(train__train_sampling_mode="random"), {"train.epoch_mode": "near_full"}),
        (changed(train__grad_clip_global_norm=0), {"train.grad_clip_global_norm": None}),
        (changed(train__lr="1e-4"), {"train.lr": 1e-4, "train.lr_final_ratio": 0.01}),
        (changed(train__multi_gpu_mode="arch_parallel"), {"train.distributed": "path"}),
        (changed(train__gpu_device=2), {"train.gpu_device": 2}),
        (changed(runtime__experiment_name="supernet_v2_172x224"), {"train.space": "v2"}),
        (changed(data__train_dir="/abs/train"), {"data.train_dir": "/abs/train"}),
        ({**REFERENCE, "arch_code": "0 0 0 0 2 1 2 2 2"}, {"train.task": "standalone", "train.space": "v1"}),
        ({**REFERENCE, "arch_code": "2,1,0,0,0,0,1,1,1,1,1"}, {"train.space": "v3", "eval.eval_pool_size": 12}),
        (
            {
                **changed(eval__eval_batches=0),
                "arch_codes": {"a": "000021222", "b": [0] * 9},
                "model_names": ["x", "y"],
            },
            {"train.arch_name": ("a", "b"), "eval.eval_batches_per_arch": 10_000},
        ),
        (
            changed(eval__sintel={"dataset_root": "/d/sintel", "eval_every_epoch": 5, "patch_size": "416,1024"}),
            {
                "eval.also": (
                    {
                        "data": "sintel:final@/d/sintel",
                        "every_epoch": 5,
                        "protocol": "edgeflownet",
                        "max_samples": None,
                    },
                )
            },
        ),
        (
            changed(
                data={
                    **{"dataset": "FT3D", "ft3d_frames_base_paths": ["/d/frames_cleanpass", "/d/frames_finalpass"]},
                    **{"ft3d_flow_base_path": "/d/optical_flow", "ft3d_directions": ["into_future"]},
                    **{"ft3d_flow_divisor": 12.5, "ft3d_excluded_flow_paths": ["optical_flow/TRAIN/A/0004/x.pfm"]},
                    **{
                        "ft3d_train_augment": {"enabled": True, "max_scale": 0.5},
                        "input_height": 480,
                        "input_width": 640,
                    },
                }
            ),
            {
                **{"data.train_dir": "flying_things3d:both-train-future@/d", "data.flow_divisor": 12.5},
                **{"data.scale_max": 0.5, "data.scale_min": -0.4, "data.scale_probability": 0.8, "data.eraser": 0.5},
                **{"data.exclude": ("optical_flow/TRAIN/A/0004/x.pfm",), "data.crop_size": (480, 640)},
            },
        ),
    ],
)
def test_what_becomes_of(theirs: dict[str, Any], wanted: dict[str, Any], tmp_path: Path) -> None:
    config, _ = translated(tmp_path, theirs)
    for key, value in wanted.items():
        group, _, name = key.partition(".")
        assert getattr(getattr(config, group), name) == value, key


def test_train_names_the_command_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "theirs.yaml", tmp_path / "mine.yaml"
    file.write_text(dump_yaml(REFERENCE))
    assert run(["train", str(file)]) == 64
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"edgeflownas import-config {file} --out mine.yaml" in said
    assert run(["import-config", str(file), "--out", str(out), "--train.space", "v2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"key", "value", "becomes", "note"} <= document["keys"][0].keys()
    assert run(["train", str(out), "--print-config", "--json"]) == 0  # no data are here
    assert json.loads(capsys.readouterr().out)["train"]["space"] == "v2"
    before = out.read_bytes()
    assert run(["import-config", str(file), "--out", str(out)]) == 64 and out.read_bytes() == before
    for content in ("train: {lr: 1e-4}\n", "a: [\n", ""):
        file.write_text(content)
        assert run(["import-config", str(file), "--out", str(tmp_path / "other.yaml")]) == 64
    assert not (tmp_path / "other.yaml").exists()


def test_one_slip_is_a_slip(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train: {lr_min: 1e-6, lr: 1e-4}\n")
    with pytest.raises(ConfigError, match="train.lr_min: unknown key"):
        load_config(file)
