"""The configuration models: defaults, strict values, checks between keys."""

import pytest
from pydantic import ValidationError

from edgeflownas.config import Config, DataConfig, EvalConfig, TrainConfig
from edgeflownas.config.keys import groups, keys

KINDS = ("identity", "dynamics", "observation")
SHIFTED = {"path_batches": "shifted", "epoch_mode": "near_full", "train_sampling_mode": "random_with_replacement"}
ALONE = {"task": "standalone", "arch": ("000021222",)}


def test_defaults_are_the_reference_run():
    config = Config()
    assert (config.train.width, config.train.epoch_mode, config.train.batch_size) == (32, "full_pass", 32)
    assert config.data.crop_size == (180, 240) and config.eval.eval_pool_size == 12


def test_every_key_has_a_kind_and_a_help_text():
    assert set(keys()) == {f"{group}.{name}" for group, values in Config().model_dump().items() for name in values}
    kinds = {full: key.kind for full, key in keys().items()}
    assert [kinds[full] for full in ("train.width", "train.lr", "eval.batch_size")] == list(KINDS)
    assert set(kinds.values()) == set(KINDS)
    assert [full for full, key in keys().items() if not key.help] == []


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().train.lr = 1.0  # type: ignore[misc]


REFUSED = {
    "train.batch_size": (True, "8", 0),  # pydantic alone would read 1, 8
    "train.lr": (True, float("nan"), float("inf")),
    "train.lr_peak_share": (1.0,),
    "train.width": (7,),
    "train.gpu_device": (-2, True),
    "train.lr_milestones": ((0.7, 0.5),),
    "runtime.experiment_name": ("../up", ".hidden", ""),
    "runtime.deterministic": (None,),
    "data.crop_size": ((0, 96), "96", "96x128x3"),
    "data.flow_clip": (0.0,),
    "eval.best_mix": ((0.0, 0.0, 0.0),),
}


@pytest.mark.parametrize(("full", "value"), [(full, value) for full, values in REFUSED.items() for value in values])
def test_refused(full, value):
    group, _, name = full.partition(".")
    with pytest.raises(ValidationError):
        groups()[group](**{name: value})


def test_a_share_above_one_is_refused():
    with pytest.raises(ValidationError):
        TrainConfig(epoch_mode="by_samples", train_samples_per_epoch=1.5)


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
        ({"path_batches": "staggered", "micro_batch_size": 32}, ("path_batches staggered", "micro_batch_size")),
        (SHIFTED, ("path_batches shifted", "train_sampling_mode random_with_replacement")),
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
