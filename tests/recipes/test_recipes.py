"""Every packaged recipe validates, explains itself, and is what it claims to be."""

from __future__ import annotations

import pytest

from edgeflownas.config.load import find_recipe, load_config, read_recipe, recipe_names
from edgeflownas.data.order import BatchPlan
from edgeflownas.errors import ConfigError
from edgeflownas.train.sweep import plan_sweep


def test_the_recipes_are_packaged() -> None:
    known = {"smoke", "supernet_fc2_180x240", "supernet_fc2_180x240_run1", "edgeflownet_fc2_352x480"}
    assert known <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_validates_and_opens_with_command_cost_and_expectation(name: str) -> None:
    load_config(name)
    comments = [line for line in find_recipe(name).read_text().splitlines() if line.startswith("#")]
    for word in ("# command:", "# cost:", "# expected:"):
        assert any(line.startswith(word) for line in comments), f"{name}.yaml lacks a comment line '{word}'"
    verb = "train" if read_recipe(name)[2].sweep is None else "sweep"
    assert f"edgeflownas {verb} {name}" in "\n".join(comments) or name == "smoke"


@pytest.mark.parametrize("name", [name for name in recipe_names() if not read_recipe(name)[2].fork])
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


def different(name: str) -> dict[str, object]:
    """Keys of a recipe that differ from the reference, with their values."""
    reference, own = (load_config(one).model_dump() for one in ("supernet_fc2_180x240", name))
    found = {
        f"{g}.{key}": value for g, keys in own.items() for key, value in keys.items() if value != reference[g][key]
    }
    assert found.pop("runtime.experiment_name", name) == name
    return found


def steps_and_samples(name: str) -> tuple[int, int]:
    """Of the whole run on the 17,785 training pairs."""
    config = load_config(name)
    plan = BatchPlan.from_config(config.train, 17_785, 3, config.runtime.seed)
    return plan.steps_per_epoch * config.train.num_epochs, plan.draws_per_epoch * config.train.num_epochs


def test_run1_differs_from_the_reference_only_where_it_says() -> None:
    assert different("supernet_fc2_180x240_run1") == {
        "train.epoch_mode": "fixed_steps",
        "train.steps_per_epoch": 50,
        "train.train_sampling_mode": "random_with_replacement",
        "train.micro_batch_size": 16,
        "train.grad_clip_global_norm": 5.0,
        "train.grad_clip_position": "micro_step",
        "eval.eval_batches_per_arch": 4,
        "eval.bn_recal_batches": 8,
        "eval.selection": "prefix",
        "eval.wide_every_epoch": None,
    }


def test_the_policies_change_one_thing_of_the_reference() -> None:
    assert different("supernet_fc2_by_samples_half") == {
        "train.epoch_mode": "by_samples",
        "train.train_samples_per_epoch": 0.5,
        "train.num_epochs": 400,
    }
    assert different("supernet_fc2_fast_anneal") == {"train.lr_schedule": "fast_anneal", "train.lr_final_ratio": 0.01}
    assert different("supernet_fc2_multistep") == {"train.lr_schedule": "step_decay"}
    config = load_config("supernet_fc2_multistep").train
    assert (config.lr_milestones, config.lr_decay) == ((0.5, 0.75), 0.1)
    assert load_config("supernet_fc2_by_samples_half").train.train_sampling_mode == "shuffle_no_replacement"
    for name in ("supernet_fc2_180x240", "supernet_fc2_fast_anneal", "supernet_fc2_multistep"):
        assert steps_and_samples(name) == (111_200, 3_558_400)
    assert steps_and_samples("supernet_fc2_by_samples_half") == (111_200, 3_556_800)


def test_space_v3_is_the_reference_on_another_space() -> None:
    assert different("supernet_fc2_180x240_v3") == {"train.space": "v3"}
    assert steps_and_samples("supernet_fc2_180x240_v3") == (111_200, 3_558_400)


def test_the_clip_sweep_is_the_reference_at_four_thresholds() -> None:
    assert different("supernet_fc2_clip_sweep") == {"train.num_epochs": 20}
    runs = plan_sweep("supernet_fc2_clip_sweep").runs
    assert [dict(run.keys) for run in runs] == [
        {"train.grad_clip_global_norm": text} for text in ("5", "20", "50", "200")
    ]
    assert steps_and_samples("supernet_fc2_clip_sweep")[0] == 11_120


def test_continuing_writes_two_keys() -> None:
    groups, _, usage = read_recipe("continue_fork")
    assert groups == {"train": {"num_epochs": 30, "lr": 5e-5}} and usage.fork and usage.sweep is None


def test_retraining_compares_two_subnets_over_the_whole_validation_split() -> None:
    config = load_config("retrain_fc2_180x240")
    train = config.train
    assert (train.task, train.num_epochs, train.batch_size) == ("standalone", 400, 32)
    assert (train.lr, train.lr_schedule) == (1e-4, "cosine")
    assert train.lr * train.lr_final_ratio == pytest.approx(1e-6)
    assert dict(zip(train.arch_name, train.arch, strict=True)) == {
        "target": "0,2,1,1,0,0,1,0,1",
        "baseline": "0,0,0,0,2,1,2,2,2",
    }
    assert config.eval.eval_batches_per_arch * config.eval.batch_size == 640


def test_fine_tuning_begins_with_the_retrained_target_at_a_tenth_of_its_rate() -> None:
    before, config = load_config("retrain_fc2_180x240"), load_config("finetune_frozen_bn")
    target = f"{before.runtime.output_root}/{before.runtime.experiment_name}/{before.train.arch_name[0]}"
    assert (config.train.task, config.train.arch) == ("standalone", before.train.arch[:1])
    assert (config.train.batch_norm, config.train.lr) == ("frozen", pytest.approx(before.train.lr / 10))
    assert config.train.init_from == f"{target}@best" and config.train.num_epochs <= 10
    assert (config.data, config.eval, config.train.width) == (before.data, before.eval, before.train.width)


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
