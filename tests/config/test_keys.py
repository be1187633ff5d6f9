"""The configuration models: defaults, strict values, checks between keys."""

import pytest
from pydantic import ValidationError

from edgeflownas.config import Config, DataConfig, EvalConfig, RuntimeConfig, TrainConfig
from edgeflownas.config.keys import keys

ALONE = {"task": "standalone", "arch": ("000021222",)}


def test_defaults_are_the_reference_run():
    config = Config()
    assert (config.train.width, config.train.epoch_mode, config.train.batch_size) == (32, "full_pass", 32)
    assert config.data.crop_size == (180, 240) and config.eval.eval_pool_size == 12


def test_every_key_has_a_kind_and_a_help_text():
    assert set(keys()) == {f"{group}.{name}" for group, values in Config().model_dump().items() for name in values}
    kinds = {full: key.kind for full, key in keys().items()}
    assert (kinds["train.width"], kinds["train.lr"], kinds["eval.batch_size"]) == (
        "identity",
        "dynamics",
        "observation",
    )
    assert set(kinds.values()) == {"identity", "dynamics", "observation"}
    assert [full for full, key in keys().items() if not key.help] == []


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().train.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (TrainConfig, {"batch_size": True}),  # pydantic alone would read 1
        (TrainConfig, {"batch_size": "8"}),
        (TrainConfig, {"batch_size": 0}),
        (TrainConfig, {"lr": True}),
        (TrainConfig, {"lr": float("nan")}),
        (TrainConfig, {"lr": float("inf")}),
        (TrainConfig, {"lr_peak_share": 1.0}),
        (TrainConfig, {"width": 7}),
        (TrainConfig, {"gpu_device": -2}),
        (TrainConfig, {"gpu_device": True}),
        (TrainConfig, {"lr_milestones": (0.7, 0.5)}),
        (TrainConfig, {"epoch_mode": "by_samples", "train_samples_per_epoch": 1.5}),
        (RuntimeConfig, {"experiment_name": "../up"}),
        (RuntimeConfig, {"experiment_name": ".hidden"}),
        (RuntimeConfig, {"experiment_name": ""}),
        (RuntimeConfig, {"deterministic": None}),
        (DataConfig, {"crop_size": (0, 96)}),
        (DataConfig, {"crop_size": "96"}),
        (DataConfig, {"crop_size": "96x128x3"}),
        (DataConfig, {"flow_clip": 0.0}),
        (EvalConfig, {"best_mix": (0.0, 0.0, 0.0)}),
    ],
)
def test_refused(group, values):
    with pytest.raises(ValidationError):
        group(**values)


@pytest.mark.parametrize("given", ["96x128", [96, 128], (96, 128)])
def test_crop_size_as_text_or_list(given):
    assert DataConfig(crop_size=given).crop_size == (96, 128)  # type: ignore[arg-type]


def test_samples_per_epoch_keeps_count_and_fraction_apart():
    for given, read in ((1, 1), (1.0, 1.0), (0.5, 0.5), (20000.0, 20000)):
        value = TrainConfig(epoch_mode="by_samples", train_samples_per_epoch=given).train_samples_per_epoch
        assert (value, type(value)) == (read, type(read))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"train_sampling_mode": "random_with_replacement"}, ("epoch_mode full_pass", "train_sampling_mode")),
        ({"epoch_mode": "fixed_steps"}, ("epoch_mode fixed_steps", "steps_per_epoch")),
        ({"steps_per_epoch": 50}, ("steps_per_epoch", "epoch_mode full_pass")),
        ({"epoch_mode": "by_samples"}, ("epoch_mode by_samples", "train_samples_per_epoch")),
        ({"micro_batch_size": 64}, ("micro_batch_size 64", "batch_size 32")),
        ({"precision": "tf32", "gpu_device": -1}, ("precision tf32", "gpu_device")),
        ({"epoch_divisor": 2}, ("epoch_divisor 2", "epoch_mode full_pass")),
        ({"batch_norm": "frozen"}, ("batch_norm frozen", "task standalone")),
        ({"batch_norm": "frozen", **ALONE}, ("batch_norm frozen", "init_from")),
        ({"batch_norm": "frozen", **ALONE, "task": "distil", "teacher": "runs/a"}, ("batch_norm frozen", "init_from")),
        ({"fast_mode": True}, ("fast_mode", "fast_mode to false")),
        ({"task": "edgeflownet", "space": "v0"}, ("space v0", "task edgeflownet")),
        ({"task": "edgeflownet", "distributed": "path"}, ("distributed path", "task edgeflownet")),
        ({"task": "edgeflownet", "path_batches": "shifted"}, ("path_batches shifted", "task edgeflownet")),
        (
            {
                "path_batches": "shifted",
                "epoch_mode": "fixed_steps",
                "steps_per_epoch": 5,
                "train_sampling_mode": "random_with_replacement",
            },
            ("path_batches shifted", "train_sampling_mode random_with_replacement"),
        ),
    ],
)
def test_checks_between_keys_name_both(values, named):
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**values)  # type: ignore[arg-type]
    for name in named:
        assert f"train.{name}" in str(caught.value)


def test_a_single_model_is_a_pool_of_one():
    single = TrainConfig(task="edgeflownet")
    assert Config(train=single).eval.eval_pool_size == 12  # the default, which nobody asked for
    Config(train=single, eval=EvalConfig(eval_pool_size=1))
    with pytest.raises(ValidationError, match=r"eval\.eval_pool_size 3.*train\.task edgeflownet"):
        Config(train=single, eval=EvalConfig(eval_pool_size=3))
    assert TrainConfig(task="edgeflownet", distributed="both").distributed == "both"  # micro-batches are dealt


def test_a_task_of_an_earlier_version_is_refused_with_what_replaces_it():
    with pytest.raises(ValidationError, match=r"recipe finetune_frozen_bn"):
        TrainConfig.model_validate({**ALONE, "task": "qat"})
