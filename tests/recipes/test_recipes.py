"""Every packaged recipe validates, explains itself, and is what it claims to be."""

from __future__ import annotations

import pytest

from edgeflownas.config.io import find_recipe, load_config, recipe_names
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError


def test_the_recipes_are_packaged() -> None:
    known = {"smoke", "supernet_fc2_180x240", "supernet_fc2_180x240_run1", "edgeflownet_fc2_352x480"}
    assert known <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_validates_and_opens_with_command_cost_and_expectation(name: str) -> None:
    load_config(name)
    comments = [line for line in find_recipe(name).read_text().splitlines() if line.startswith("#")]
    for word in ("# command:", "# cost:", "# expected:"):
        assert any(line.startswith(word) for line in comments), f"{name}.yaml lacks a comment line '{word}'"
    assert f"train {name}" in "\n".join(comments)


@pytest.mark.parametrize("name", recipe_names())
def test_runs_do_not_share_a_directory(name: str) -> None:
    assert load_config(name).runtime.experiment_name == name


def test_the_reference() -> None:
    config = load_config("supernet_fc2_180x240")
    train = config.train
    assert (train.num_epochs, train.epoch_mode, train.train_sampling_mode) == (
        200,
        "full_pass",
        "shuffle_no_replacement",
    )
    assert (train.batch_size, train.lr, train.lr_schedule, train.weight_decay) == (32, 1e-4, "cosine", 4e-5)
    assert (train.grad_clip_global_norm, train.grad_clip_position) == (200.0, "step")
    assert config.data.crop_size == (180, 240)
    assert (config.eval.eval_pool_size, config.eval.eval_batches_per_arch) == (12, 16)
    assert (config.eval.bn_recal_batches, config.eval.batch_size) == (32, 32)


def test_run1_differs_from_the_reference_only_where_it_says() -> None:
    reference = load_config("supernet_fc2_180x240").model_dump()
    run1 = load_config("supernet_fc2_180x240_run1").model_dump()
    different = {
        f"{group}.{key}": value
        for group, keys in run1.items()
        for key, value in keys.items()
        if value != reference[group][key]
    }
    assert different == {
        "runtime.experiment_name": "supernet_fc2_180x240_run1",
        "train.epoch_mode": "fixed_steps",
        "train.steps_per_epoch": 50,
        "train.train_sampling_mode": "random_with_replacement",
        "train.micro_batch_size": 16,
        "train.grad_clip_global_norm": 5.0,
        "train.grad_clip_position": "micro_step",
    }


def test_the_published_single_model() -> None:
    config = load_config("edgeflownet_fc2_352x480")
    train, data = config.train, config.data
    assert (train.task, train.width, train.batch_norm) == ("edgeflownet", 32, "frozen")
    assert (train.input_normalisation, data.channel_order, data.crop_size) == ("raw_0_255", "bgr", (352, 480))
    assert (train.batch_size, train.lr, train.lr_schedule, train.num_epochs) == (16, 1e-4, "constant", 400)
    assert (train.weight_decay, train.grad_clip_global_norm) == (0.0, None)
    assert (train.epoch_mode, train.train_sampling_mode) == ("near_full", "random_with_replacement")
    assert config.checkpoint.every_steps == 1000  # every epoch commits anyway
    plan = BatchPlan.from_config(train, 17_785, 1, config.runtime.seed)
    assert (plan.steps_per_epoch, plan.draws_per_epoch) == (1111, 17_776)


@pytest.mark.parametrize("name", [name for name in recipe_names() if load_config(name).train.task == "supernet"])
def test_fast_mode_is_not_for_supernets(name: str) -> None:
    with pytest.raises(ConfigError, match="fast_mode is for single models"):
        load_config(name, ["--train.fast_mode=true"])
