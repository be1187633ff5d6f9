"""The recipe of a shortlist."""

from __future__ import annotations

from pathlib import Path

import pytest
from rankings import factorial_codes, made_ranking

from edgeflownas.config import Config
from edgeflownas.config.load import dump_config, load_config
from edgeflownas.errors import ConfigError
from edgeflownas.search.choose import Question, choose, shortlist_recipe

CODES = [*factorial_codes((0, 5)), (0, 0, 0, 0, 2, 1, 2, 2, 2)]


def recipe(tmp_path: Path, top: int, facts: dict[str, str] | None = None, run: Path | None = None) -> Config:
    document = choose(made_ranking(CODES, facts=facts), Question(top=top))
    text, _ = shortlist_recipe(document, run)
    (tmp_path / "shortlist.yaml").write_text(text)
    config = load_config(tmp_path / "shortlist.yaml")
    assert [code.replace(",", "") for code in config.train.arch] == [
        document["codes"][p] for p in document["shortlist"]
    ]
    assert config.train.arch_name == tuple(document["shortlist_names"]) and config.train.task == "standalone"
    return config


@pytest.mark.parametrize("top", [1, 2, 6])
def test_it_loads_with_width_and_size_of_the_ranking(tmp_path: Path, top: int) -> None:
    config = recipe(tmp_path, top)
    assert (config.train.width, config.data.crop_size) == (8, (96, 128))
    plan = load_config("retrain_fc2_180x240").train
    assert (config.train.num_epochs, config.train.lr) == (plan.num_epochs, plan.lr)


def test_keys_of_a_run_that_is_there(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    keys = ["--train.width=4", "--train.batch_size=6", "--data.train_dir=here/train", "--data.crop_size=[64, 96]"]
    found = load_config("smoke", [*keys, "--eval.bn_recal_batches=3"])
    (run / "config.yaml").write_text(dump_config(found))
    config = recipe(tmp_path, 3, {"run": "my run", "width": "32", "size": "1x1"}, run)
    assert config.data == found.data and (config.train.width, config.train.batch_size) == (4, 6)
    assert config.eval.bn_recal_batches == 3 and config.eval.eval_pool_size == 1
    assert config.runtime.experiment_name == "shortlist_my_run"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml not found"):
        recipe(tmp_path, 2, run=tmp_path)


@pytest.mark.parametrize("facts", [{}, {"width": "8"}, {"size": "96x128"}])
def test_a_table_that_does_not_say_width_and_size_gives_no_recipe(tmp_path: Path, facts: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"of which width and image size.*--run"):
        recipe(tmp_path, 2, facts)
