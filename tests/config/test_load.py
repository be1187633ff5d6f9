"""Recipes, overrides, error lines, YAML there and back."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflownas.config import Config
from edgeflownas.config.keys import keys
from edgeflownas.config.load import (
    dump_config,
    dump_yaml,
    find_recipe,
    load_config,
    parse_overrides,
    parse_yaml,
    recipe_names,
)
from edgeflownas.errors import ConfigError


def write(folder, text):
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(name, overrides=None):
    with pytest.raises(ConfigError) as caught:
        load_config(str(name), overrides or [])
    assert caught.value.exit_code == 64
    return str(caught.value)


def test_values_as_people_write_them(tmp_path):
    path = write(tmp_path, "train: {lr: 5e-5, ema_decay: none, channels_last: false}\ndata: {crop_size: 96x128}\n")
    config = load_config(path)
    assert config.train.lr == 5e-5 and config.train.ema_decay is None and config.train.channels_last is False
    assert config.data.crop_size == (96, 128)


@pytest.mark.parametrize(
    ("tokens", "key", "value"),
    [
        (["--train.lr", "5e-5"], "train.lr", 5e-5),
        (["--train.lr=5e-5"], "train.lr", 5e-5),
        (["--train.lr", "1", "--train.lr", "2"], "train.lr", 2.0),  # the last one wins
        (["--data.crop_size", "[180, 240]"], "data.crop_size", (180, 240)),
        (["--data.crop_size=96x128"], "data.crop_size", (96, 128)),
        (["--data.flow_clip", "null"], "data.flow_clip", None),
        (["--data.flow_clip", "none"], "data.flow_clip", None),
        (["--data.cache_dir", "none"], "data.cache_dir", None),
        (["--data.cache_dir", "a: b #c"], "data.cache_dir", "a: b #c"),  # paths are taken as they stand
        (["--runtime.experiment_name", "007"], "runtime.experiment_name", "007"),
        (["--runtime.experiment_name", "none"], "runtime.experiment_name", "none"),
        (["--train.gpu_device", "-1"], "train.gpu_device", -1),
        (["--train.gpu_device=auto"], "train.gpu_device", "auto"),
        (["--train.channels_last", "false"], "train.channels_last", False),
        (["--train.lr_milestones", "[0.2, 0.9]"], "train.lr_milestones", (0.2, 0.9)),
        # either alone would be refused: all are merged before they are validated
        (["--train.steps_per_epoch=3", "--train.epoch_mode=fixed_steps"], "train.steps_per_epoch", 3),
    ],
)
def test_overrides(tokens, key, value):
    group, name = key.split(".")
    assert getattr(getattr(load_config("smoke", tokens), group), name) == value


@pytest.mark.parametrize(
    "overrides", [[], ["--runtime.experiment_name", "0042", "--train.arch", "[000021222, 111111111]"]]
)
def test_text_that_looks_like_a_number_stays_as_it_is_written(tmp_path, overrides):
    path = write(
        tmp_path,
        "runtime: {experiment_name: 0042}\ndata: {train_dir: 1e3, cache_dir: 2026}\n"
        "train: {task: standalone, arch: [000021222, 111111111], arch_name: [1_0, 0x1F]}\n",
    )
    config = load_config(path, overrides)
    assert (config.runtime.experiment_name, config.data.train_dir, config.data.cache_dir) == ("0042", "1e3", "2026")
    assert config.train.arch == ("000021222", "111111111") and config.train.arch_name == ("1_0", "0x1F")
    assert load_config(write(tmp_path, dump_config(config))) == config
    assert load_config(path, ["--train.arch", "000021222", "--train.arch_name", "[]"]).train.arch == ("000021222",)


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (["--train.lr_schedule=cosin"], ["--train.lr_schedule: must be one of cosine", "(got 'cosin')", "'cosine'?"]),
        (["--train.lrr", "3"], ["--train.lrr: unknown key; did you mean train.lr?"]),
        (["--train.batch-size", "3"], ["unknown key; did you mean train.batch_size?"]),
        (["--trian.lr", "3"], ["--trian: unknown key; did you mean train?"]),
        (["--data.worker_kind=thread"], ["--data.worker_kind: was removed (loader workers are", "remove the key"]),
        (["--train.eval_pool_size", "3"], ["did you mean eval.eval_pool_size?"]),
        (["--train.channels_last"], ["--train.channels_last needs a value", "true or false"]),
        (["--train.lr="], ["--train.lr has an empty value", "number above 0"]),
        (["--train.lr", "[1"], ["--train.lr", "not a YAML value"]),
        (["--train.lr", "[1]"], ["must be a number above 0 (got [1])"]),
        (["--train.batch_size", "true"], ["must be a whole number above 0 (got true)"]),
        (["--data.crop_size", "[1, 2, 3]"], ["must be a list of 2", "[1, 2, 3]"]),
        (["--train.micro_batch_size", "9"], ["train.micro_batch_size 9", "train.batch_size 8"]),
        (
            ["--eval.best_by=wide_p90"],
            ["command line (--eval.best_by): eval.best_by wide_p90 needs", "set eval.wide_every"],
        ),
        (["stray"], ["stray is not a configuration key"]),
    ],
)
def test_bad_override(tokens, parts):
    text = problem("smoke", tokens)
    for part in parts:
        assert part in text
    assert "\n" not in text


def test_a_problem_between_keys_names_the_command_line_where_that_caused_it(tmp_path):
    path = write(tmp_path, "train:\n  batch_size: 8\n  epoch_mode: fixed_steps\n  steps_per_epoch: 4\n")
    text = problem(path, ["--train.epoch_mode=full_pass", "--train.width=8"])
    assert text.startswith("command line (--train.epoch_mode): train.steps_per_epoch has no effect")
    assert "my.yaml" not in text
    assert problem(write(tmp_path, "train:\n  steps_per_epoch: 4\n")).startswith(f"{tmp_path}/my.yaml:1: ")


@pytest.mark.parametrize(("text", "share"), [("0.5N", 0.5), ("50%", 0.5), ("30 %", 0.3), ("1N", 1.0), (".25n", 0.25)])
def test_shares_of_the_split_as_people_write_them(text, share):
    words = ["--train.epoch_mode=by_samples", f"--train.train_samples_per_epoch={text}"]
    assert load_config(None, words).train.train_samples_per_epoch == share
    assert load_config(None, words[:1] + ["--train.train_samples_per_epoch=1"]).train.train_samples_per_epoch == 1


@pytest.mark.parametrize("text", ["2N", "150%", "half", "N"])
def test_what_is_no_share_of_the_split_is_refused(text):
    said = problem("smoke", ["--train.epoch_mode=by_samples", f"--train.train_samples_per_epoch={text}"])
    assert "--train.train_samples_per_epoch: " in said and f"(got '{text}')" in said


def test_every_problem_is_listed_once(tmp_path):
    text = problem(write(tmp_path, "train:\n  lr: x\n  widht: 8\n  gpu_device: autoo\n"), ["--data.crop_size=[a, b]"])
    assert text.startswith("4 problems")
    assert f"{tmp_path}/my.yaml:2: train.lr: must be a number above 0 (got 'x')" in text
    assert "my.yaml:3: train.widht: unknown key; did you mean train.width?" in text
    assert text.count("gpu_device") == text.count("crop_size") == 1


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("train: 3", ["my.yaml:1: train: must be a mapping with keys such as", "(got 3)"]),
        ("just text", ["must be a mapping with the groups runtime, train", "'just text'"]),
        ("", ["is empty"]),
        ("train:\n  lr: [1, 2]", ["my.yaml:2: train.lr: must be a number above 0 (got [1, 2])"]),
        ("train:\n  lr: 1\n  lr: 2", ["my.yaml:3: train.lr is given twice (first on line 2)"]),
        ("train:\n  lr: 1\ntrain:\n  width: 8", ["my.yaml:3: train is given twice"]),
        ("train: {lr: 1", ["my.yaml:1: not valid YAML"]),
        ("train:\n\tlr: 1", ["my.yaml:2: not valid YAML"]),
        ("train: !!python/object/apply:os.system ['true']", ["not valid YAML", "python/object"]),
        ("train: {lr: !!bool maybe}", ["my.yaml: not valid YAML"]),
        ("train: {lr: 1}\nrun\0time: 2", ["not valid YAML: special characters"]),
        ("train: {<<: {lr: 1}}", ["my.yaml:1: train.<<: unknown key"]),
        ("train: {[lr]: 1}", ["my.yaml:1: not valid YAML: found unhashable key"]),
        ("train: {lr: *lr}", ["my.yaml:1: not valid YAML: found undefined alias"]),
        ("train: {lr: 1}\n---\ntrain: {lr: 2}", ["not valid YAML"]),
        ("lr: 1e-4", ["my.yaml:1: lr: unknown key; did you mean train.lr?"]),
        ("runtime:\n  experiment_name: true", ["experiment_name: must be text (got true)"]),
        ("train:\n  1: 2", ["train.1: unknown key"]),
        ("train: &a\n  lr: *a", ["train.lr: must be a number above 0"]),
        ("[" * 1000, ["not valid YAML"]),
        ("runtime:\n  deterministic: 5", ["deterministic: must be true or false (got 5)"]),
    ],
)
def test_bad_file(tmp_path, content, parts):
    text = problem(write(tmp_path, content))
    for part in parts:
        assert part in text


def test_removed_keys_are_left_out_of_what_a_run_stored(tmp_path):
    content = "data:\n  worker_kind: process\n  num_workers: 1\n"
    assert "my.yaml:2: data.worker_kind: was removed" in problem(write(tmp_path, content))
    stored = tmp_path / "config.yaml"
    stored.write_text(content)
    assert load_config(stored).data.num_workers == 1
    assert "--data.worker_kind: was removed" in problem(stored, ["--data.worker_kind=process"])


def test_aliases_of_aliases_do_not_explode(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    assert "a0: unknown key" in problem(write(tmp_path, "\n".join([*lines, "train: {lr: *a39}"])))
    assert "train.lr: must be" in problem(write(tmp_path, "\n".join([*lines, "train: {lr: !!pairs [z: *a39]}"])))
    assert "(got a whole number of 16000 bits)" in problem(
        write(tmp_path, f"train: {{lr_schedule: !!int 0x{'f' * 4000}}}")
    )


def test_unusable_files(tmp_path):
    (tmp_path / "image.yaml").write_bytes(bytes(range(256)))
    assert "is not text (byte 128 is not UTF-8)" in problem(tmp_path / "image.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    assert "1048577 bytes" in problem(tmp_path / "large.yaml") and "is a directory" in problem(tmp_path)
    assert "not found" in problem(tmp_path / "none.yaml") and "not a regular file" in problem("/dev/null")
    assert "did you mean 'smoke'?" in problem("smok")
    assert "smoke, supernet_fc2_180x240, " in problem("unlike anything")


def test_group_with_all_keys_commented_out_means_defaults(tmp_path):
    assert load_config(write(tmp_path, "eval:\n  # batch_size: 3\n")) == Config()


def test_a_packaged_name_wins_and_a_path_reaches_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("smoke").mkdir()
    assert find_recipe("smoke").parent.name == "recipes"
    Path("mine").write_text("train: {width: 4}")
    assert load_config("./mine").train.width == 4


@pytest.mark.parametrize("name", recipe_names())
def test_dump_and_load_of_recipes(tmp_path, name):
    config = load_config(name)
    assert load_config(write(tmp_path, dump_config(config))) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5), ("1.", 1.0), (".5", 0.5), ("010", 10.0), ("1_000", 1000), ("-.inf", -math.inf), ("-0", 0),
        ("on", "on"), ("yes", "yes"), ("1:30", "1:30"), ("0x1F", "0x1F"), ("0o10", "0o10"), ("1e", "1e"),
        ("=", "="), ("TRUE", True), ("none", None), ("~", None), ("", None), ("'none'", "none"), ("!!str 5", "5"),
        ("!!float 5", 5.0),
    ],
)  # fmt: skip
def test_words_without_quotes(text, value):
    for head in ("", "%YAML 1.1\n---\n", "\ufeff"):
        found, lines = parse_yaml(f"{head}first: 1\nkey: {text}\n", "text")
        assert (found["key"], type(found["key"])) == (value, type(value))
        assert lines == {("first",): 1 + head.count("\n"), ("key",): 2 + head.count("\n")}


def test_what_is_written_reads_well_for_people_and_for_yaml_1_1():
    value = {
        "train": {"lr": 1e-8, "size": [180, 240], "arch": ["0,0", "000021222", "on"], "roots": {}, "path": "a b " * 60}
    }
    assert dump_yaml(value) == (
        "train:\n  lr: 1.0e-08\n  size: [180, 240]\n  arch: ['0,0', '000021222', on]\n  roots: {}\n"
        f"  path: '{'a b ' * 60}'\n"
    )


def test_a_file_of_the_first_version_is_read_the_same(tmp_path):
    """As PyYAML wrote it, long lists over several lines."""
    path = write(
        tmp_path,
        "runtime:\n  experiment_name: 2026-01-01\ntrain:\n  task: standalone\n  arch: ['0,0,0,0,2,1,2,2,2',\n"
        "    '111111111']\n  arch_name: [on, 1e]\n  weight_decay: 4.0e-05\n  ema_decay: null\n",
    )
    train = load_config(path).train
    assert train.arch == ("0,0,0,0,2,1,2,2,2", "111111111") and train.arch_name == ("on", "1e")
    assert (train.weight_decay, train.ema_decay) == (4e-5, None)
    assert load_config(path).runtime.experiment_name == "2026-01-01"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.sampled_from(["none", "1e3", "010", "on", "1:30", "2024-01-01", "~", "", "- x", "a: b", "=", "<<", "'"])
        | st.sampled_from(["?x", ":x", "\x85", "\ufeff", "x" * 200, "word " * 40])
        | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
        max_leaves=6,
    )
)
def test_yaml_there_and_back(value):
    text = dump_yaml({"key": value})
    assert parse_yaml(text, "text")[0] == {"key": value}


@given(st.lists(st.tuples(st.sampled_from([*keys()]), st.text("ab1[],.=", min_size=1))))
def test_overrides_split_alike_in_both_forms(pairs):
    spaced = [token for key, value in pairs for token in (f"--{key}", value)]
    joined = [f"--{key}={value}" for key, value in pairs]
    assert parse_overrides(spaced) == parse_overrides(joined) == (pairs, [])
