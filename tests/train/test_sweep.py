"""A sweep: which runs there are and their names, what is refused before anything trains, and its plan on disk."""

import json
from pathlib import Path

import pytest

from edgeflownas.errors import ConfigError
from edgeflownas.run.directory import RunDirectory
from edgeflownas.train.sweep import PLAN, open_sweep, plan_sweep, read_plan, run_state

LR = "train.lr=1e-3,5e-5"


def recipe(folder, text):
    path = folder / "mine.yaml"
    path.write_text("train: {num_epochs: 3}\n" + text)
    return path


def test_every_combination_for_every_seed():
    sweep = plan_sweep("smoke", ["--train.width=4"], [LR, "train.grad_clip_global_norm=null,5"], "7,0", "mine")
    assert sweep.folder == Path("runs/mine") and len(sweep.runs) == 8
    first = sweep.runs[0]
    assert first.name == "lr_1e-3-grad_clip_global_norm_null-seed_7" and first.variant == first.name[:-7]
    assert (first.config.train.lr, first.config.train.grad_clip_global_norm, first.config.runtime.seed) == (
        1e-3,
        None,
        7,
    )
    assert first.config.runtime.output_root == "runs/mine" and first.config.runtime.experiment_name == first.name
    assert [run.seed for run in sweep.runs] == [7] * 4 + [0] * 4  # a table over all variants as early as possible
    assert {run.config.train.width for run in sweep.runs} == {4}
    assert dict(sweep.runs[-1].keys) == {"train.lr": "5e-5", "train.grad_clip_global_norm": "5"}


def test_values_with_commas_stand_in_brackets():
    runs = plan_sweep("smoke", ["--train.lr_schedule=step_decay"], ["train.lr_milestones=[0.5,0.75],[0.9]"]).runs
    assert [run.config.train.lr_milestones for run in runs] == [(0.5, 0.75), (0.9,)]
    assert [run.name for run in runs] == ["lr_milestones_0.5_0.75-seed_0", "lr_milestones_0.9-seed_0"]


def test_seeds_alone_are_a_sweep():
    assert [run.name for run in plan_sweep("smoke", seeds="0,1").runs] == ["same-seed_0", "same-seed_1"]


def test_a_recipe_says_what_varies(tmp_path):
    path = recipe(
        tmp_path,
        """sweep:
  seeds: [0, 2]
  plain:
  half.5: {train.epoch_mode: by_samples, train.train_samples_per_epoch: 0.5, train.num_epochs: 6}
  train.lr: [1.0e-4, 5.0e-5]
""",
    )
    runs = plan_sweep(path).runs
    assert len(runs) == 8 and runs[0].name == "plain-lr_0.0001-seed_0"
    assert {(run.variant[:4], run.config.train.num_epochs) for run in runs} == {("plai", 3), ("half", 6)}
    assert [run.seed for run in plan_sweep(path, seeds="5").runs] == [5] * 4
    replaced = plan_sweep(path, vary=["train.lr=1e-2,1e-3,1e-4"], seeds="0").runs
    assert len(replaced) == 6 and replaced[0].name == "plain-lr_1e-2-seed_0"


def test_text_that_looks_like_a_number_stays_as_it_is_written(tmp_path):
    runs = plan_sweep(recipe(tmp_path, "sweep: {data.cache_dir: [0042, 1e3]}\n")).runs
    assert [(run.name, run.config.data.cache_dir) for run in runs] == [
        ("cache_dir_0042-seed_0", "0042"),
        ("cache_dir_1e3-seed_0", "1e3"),
    ]


def test_the_packaged_clip_sweep():
    runs = plan_sweep("supernet_fc2_clip_sweep").runs
    assert [run.config.train.grad_clip_global_norm for run in runs] == [5.0, 20.0, 50.0, 200.0]
    assert runs[0].config.runtime.output_root == "runs/supernet_fc2_clip_sweep"


@pytest.mark.parametrize(
    ("vary", "seeds", "parts"),
    [
        (["train.lrr=1,2"], None, ["unknown key train.lrr", "did you mean train.lr?"]),
        (["grad_clip_global_norm=5,20"], None, ["did you mean train.grad_clip_global_norm?"]),
        (["nothing=1,2"], None, ["unknown key nothing", "config keys"]),
        (["train.lr=fast,slow"], None, ["variant lr_fast", "--train.lr", "number above 0", "'fast'"]),
        (["train.lr=1e-3"], None, ["one value (1e-3)", "--train.lr 1e-3"]),
        (["train.lr="], None, ["empty value"]),
        (["train.lr"], None, ["no values", "--vary train.lr=1e-4,5e-5"]),
        (["train.lr=1e-3,1e-3"], None, ["1e-3 is given twice"]),
        (["train.lr=1e-3,0.001"], None, ["lr_1e-3-seed_0 and lr_0.001-seed_0 are the same run"]),
        ([LR, LR], None, ["given twice", "train.lr=A,B,C"]),
        (["runtime.seed=0,1"], None, ["--seeds 0,1,2"]),
        (["runtime.experiment_name=a,b"], None, ["--name NAME"]),
        (["train.epoch_mode=full_pass,fixed_steps"], None, ["variant epoch_mode_fixed_steps", "train.steps_per_epoch"]),
        ([LR], "0,0", ["--seeds 0,0", "twice"]),
        ([LR], "zero", ["--seeds zero", "whole numbers"]),
        ([], None, ["two runs"]),
        ([], "3", ["two runs"]),
    ],
)
def test_mistakes_are_refused(vary, seeds, parts):
    with pytest.raises(ConfigError) as caught:
        plan_sweep("smoke", [], vary, seeds)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("overrides", "name", "part"),
    [
        (["--train.lr=1e-2"], None, "the sweep varies this key"),
        (["--runtime.seed=3"], None, "--seeds"),
        (["--runtime.experiment_name=x"], None, "--name NAME names the sweep"),
        ([], "../outside", "--name ../outside"),
        (["--train.task=standalone", "--train.arch=000000000", "--train.arch=111111111", "--train.arch_name=a,b"], None,
         "train.arch_name"),
    ],
)  # fmt: skip
def test_what_a_sweep_sets_itself_is_not_overridden(overrides, name, part):
    with pytest.raises(ConfigError, match=part):
        plan_sweep("smoke", overrides, [LR], None, name)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sweep: 3\n", ["mine.yaml:2", "must map keys to lists"]),
        ("sweep: {train.lrr: [1, 2]}\n", ["mine.yaml:2", "sweep.train.lrr", "did you mean train.lr?"]),
        ("sweep:\n  a: {train.lrr: 1}\n  b: {}\n", ["mine.yaml:3", "sweep.a", "did you mean train.lr?"]),
        ("sweep: {train.lr: [1.0e-3]}\n", ["one value (0.001)"]),
        ("sweep: {train.lr: {a: 1}}\n", ["sweep.train.lr", "give a list of values"]),
        ("sweep:\n  only: {train.lr: 1.0e-3}\n", ["one named variant (only)"]),
        ("sweep:\n  a b: {}\n  c: {}\n", ["sweep.a b", "letters"]),
        ("sweep:\n  a: {}\n  b: {}\n", ["a-seed_0 and b-seed_0 are the same run"]),
        ("sweep:\n  a: {}\n  b: {train.lr: 1.0e-3}\n  train.lr: [0.1, 0.2]\n", ["varies train.lr in two ways"]),
        ("sweep: {seeds: [one]}\n", ["sweep.seeds", "whole numbers"]),
        ("fork: maybe\n", ["mine.yaml:2", "fork: must be true or false"]),
    ],
)
def test_mistakes_in_a_recipe_name_file_and_line(tmp_path, text, parts):
    with pytest.raises(ConfigError) as caught:
        plan_sweep(recipe(tmp_path, text))
    assert [part for part in parts if part not in str(caught.value)] == []


# ---- the plan on disk ----


def planned(root, lrs="1e-3,2e-3", seeds="0", *words):
    return plan_sweep("smoke", [f"--runtime.output_root={root}", *words], [f"train.lr={lrs}"], seeds, "s")


def names(root):
    return list(read_plan(root / "s"))


def test_the_plan_holds_runs_in_their_order_and_grows(tmp_path):
    open_sweep(planned(tmp_path, "2e-3,1e-3"))
    assert names(tmp_path) == ["lr_2e-3-seed_0", "lr_1e-3-seed_0"]
    before = (tmp_path / "s" / PLAN).read_bytes()
    open_sweep(planned(tmp_path))
    assert (tmp_path / "s" / PLAN).read_bytes() == before
    open_sweep(planned(tmp_path, "1e-3,4e-3", "0,1"))
    assert len(names(tmp_path)) == 5 and names(tmp_path)[:2] == ["lr_2e-3-seed_0", "lr_1e-3-seed_0"]
    entry = read_plan(tmp_path / "s")["lr_4e-3-seed_1"]
    assert (entry["variant"], entry["seed"], entry["keys"]) == ("lr_4e-3", 1, {"train.lr": "4e-3"})
    assert "runtime.seed" not in entry["settings"] and "runtime.num_threads" not in entry["settings"]


def test_a_plan_of_an_older_version_stands_for_the_defaults(tmp_path):
    open_sweep(planned(tmp_path))
    file = tmp_path / "s" / PLAN
    document = json.loads(file.read_text())
    for _, entry in document["runs"]:
        del entry["settings"]["train.ema_decay"]
    file.write_text(json.dumps(document))
    open_sweep(planned(tmp_path, "1e-3,9e-3"))
    with pytest.raises(ConfigError, match="ema_decay"):
        open_sweep(planned(tmp_path, "1e-3,9e-3", "0", "--train.ema_decay=0.5"))


def test_states(tmp_path):
    sweep = planned(tmp_path)
    run = sweep.runs[0]
    assert run_state(sweep.folder / run.name) == "new"
    RunDirectory.create(sweep.folder / run.name, run.config.model_dump(mode="json"), {})
    assert run_state(sweep.folder / run.name) == "begun"
