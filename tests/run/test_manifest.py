"""Which changes a resume may bring: every key by its kind, the data, the space."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from edgeflownas.config import Config, DataConfig, EvalConfig, TrainConfig
from edgeflownas.config.load import load_config
from edgeflownas.errors import ConfigError
from edgeflownas.files import canonical_json
from edgeflownas.run import manifest
from edgeflownas.run.directory import RunDirectory
from edgeflownas.run.manifest import (
    Difference,
    as_today,
    build_manifest,
    code_version,
    compare,
    environment,
    refuse,
    refused,
)
from edgeflownas.space import Choice, get_space

PLAN = SimpleNamespace(steps_per_epoch=20, draws_per_epoch=640)


def data(digest="9f3a", source="folder"):
    return SimpleNamespace(hash=digest * 16, count=640, label=f"fc2/{source}:train/640/{digest}", source=source)


def build(config=None, train=None, val=None, space=None, surroundings=None):
    config, space = config or Config(), space or get_space("v1")
    return build_manifest(
        config, {"train": train or data(), "val": val or data("0001")}, space, PLAN, surroundings or {"torch": "2.13.0"}
    )


def test_facts_of_a_manifest():
    facts = build(Config(train=TrainConfig(num_epochs=7)))
    assert facts["plan"] == {
        "num_epochs": 7,
        "steps_per_epoch": 20,
        "total_steps": 140,
        "draws_per_epoch": 640,
        "planned_samples": 4480,
    }
    assert facts["data"]["train"] == {
        "fingerprint": "9f3a" * 16,
        "count": 640,
        "label": "fc2/folder:train/640/9f3a",
        "source": "folder",
    }
    assert facts["space"]["size"] == 19683 and len(facts["space"]["choices"]) == 9
    assert facts["generated_data"] is False
    assert build(train=data(source="generated"))["generated_data"] is True


def test_equal_manifests_also_after_a_trip_through_json():
    facts = build()
    assert compare(facts, build()) == []
    assert compare(json.loads(canonical_json(facts)), build()) == []


@pytest.mark.parametrize(
    ("config", "kind", "key"),
    [
        (Config(train=TrainConfig(width=8)), "identity", "train.width"),
        (Config(data=DataConfig(crop_size=(64, 64))), "identity", "data.crop_size"),
        (Config(data=DataConfig(flow_clip=None)), "identity", "data.flow_clip"),
        (Config(train=TrainConfig(lr=1e-3)), "dynamics", "train.lr"),
        (Config(train=TrainConfig(num_epochs=3)), "dynamics", "train.num_epochs"),
        (Config(eval=EvalConfig(batch_size=3)), "observation", "eval.batch_size"),
        (Config(data=DataConfig(num_workers=0)), "observation", "data.num_workers"),
        (Config(data=DataConfig(train_dir="elsewhere")), "observation", "data.train_dir"),
    ],
)
def test_changed_key(config, kind, key):
    differences = compare(build(), build(config))
    assert [(d.kind, d.key) for d in differences] == [(kind, key)]
    assert bool(refused(differences)) == (kind != "observation")
    assert (build(config)["config_hash"] != build()["config_hash"]) == (kind != "observation")


def test_changed_data_and_space_are_identity():
    differences = compare(build(), build(train=data("aaaa"), val=data("bbbb")))
    assert [(d.kind, d.key) for d in differences] == [
        ("identity", "data.train fingerprint"),
        ("identity", "data.val fingerprint"),
    ]
    v1 = get_space("v1")
    deeper = replace(v1, choices=(Choice("EB0", "depth", (1, 2, 4)), *v1.choices[1:]))
    assert [(d.kind, d.key) for d in compare(build(), build(space=deeper))] == [("identity", "space declaration")]
    v3 = get_space("v3")
    bare = build(space=replace(v3, fixed=()))
    assert [d.key for d in compare(build(space=v3), bare)] == ["space declaration"] and "fixed" not in bare["space"]
    assert compare(json.loads(canonical_json(build(space=v3))), build(space=v3)) == []


def test_code_and_machine_are_observation(monkeypatch):
    before = build()
    code = {"version": "9.9", "commit": "c0ffee", "dirty": True}
    monkeypatch.setattr("edgeflownas.run.manifest.code_version", lambda: code)
    differences = compare(before, build(surroundings={"torch": "3.0"}))
    assert {d.key for d in differences} >= {"code.version", "environment.torch"}
    assert {d.kind for d in differences} == {"observation"}


def test_a_sanctioned_key_comes_back_as_an_observation():
    longer = build(Config(train=TrainConfig(num_epochs=300, lr=1e-3)))
    differences = compare(build(), longer, allow={"train.num_epochs"})
    assert [(d.kind, d.key) for d in differences] == [("dynamics", "train.lr"), ("observation", "train.num_epochs")]


def test_keys_that_an_older_version_did_not_know_stand_for_the_default():
    old = build()
    del old["keys"]["dynamics"]["train.ema_decay"]
    assert compare(old, build()) == []
    assert [d.key for d in compare(old, build(Config(train=TrainConfig(ema_decay=0.5))))] == ["train.ema_decay"]
    old["keys"]["dynamics"]["train.gone"] = 3
    assert compare(old, build()) == [Difference("dynamics", "train.gone", 3, "(absent)")]


def test_a_key_that_is_gone_is_no_change_where_it_meant_nothing():
    old = json.loads(canonical_json(build()))
    old["keys"]["dynamics"]["train.qat_calibrate"] = "minmax"
    assert compare(old, build()) == []
    assert not compare(old, json.loads(json.dumps(old)))  # two runs of a version that knew it
    old["keys"]["dynamics"]["train.qat_calibrate"] = "mse"
    assert [d.key for d in compare(old, build())] == ["train.qat_calibrate"]


def test_table_of_refusal():
    now = build(Config(train=TrainConfig(lr=1e-3, width=8), data=DataConfig(num_workers=7)))
    with pytest.raises(ConfigError) as refusal:
        refuse(compare(build(), now))
    text = str(refusal.value)
    rows = [line.split() for line in text.splitlines()]
    assert ["key", "run", "now", "kind"] in rows
    assert ["train.width", "32", "8", "identity"] in rows
    assert ["train.lr", "0.0001", "0.001", "dynamics"] in rows
    assert "num_workers" not in text and "--fork NEW_NAME" in text
    refuse(compare(build(), build(Config(data=DataConfig(num_workers=7)))))


def test_environment_and_code_are_json():
    facts = environment()
    assert {"python", "torch", "numpy", "cv2", "cpu", "threads", "host"} <= facts.keys()
    assert all(facts[name] for name in ("python", "torch", "numpy", "cv2", "cpu", "host"))
    canonical_json({**facts, **code_version()})


def test_code_outside_a_checkout_has_no_commit(monkeypatch):
    monkeypatch.setattr(manifest, "__file__", "/usr/share/elsewhere.py")
    assert code_version()["commit"] is None
    monkeypatch.undo()

    def no_git(*arguments, **keywords):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert code_version()["commit"] is None


def test_a_run_of_v3_as_it_was_is_read_as_v3_nobias(tmp_path):
    """Its manifest declares E0 as kernels; configuration and manifest take today's name, and nothing else differs."""
    old = get_space("v3_nobias")
    config = Config(train=TrainConfig(space="v3_nobias"))
    facts = build(config, space=old)
    facts["space"] |= {"name": "v3", "fixed": ["ECA", "Gate"]}
    facts["keys"]["identity"]["train.space"] = "v3"
    assert compare(as_today(facts), build(config, space=old)) == []
    today = build(Config(train=TrainConfig(space="v3")), space=get_space("v3"))
    assert as_today(today) == today and [d.key for d in compare(as_today(facts), today)][0] == "train.space"
    document = {"format": 2, "run": "a" * 32, "manifest": facts}
    (tmp_path / "run_manifest.json").write_bytes(canonical_json(document))
    (tmp_path / "config.yaml").write_text("train: {space: v3, batch_size: 32}\neval: {eval_pool_size: 7}\n")
    read = load_config(tmp_path / "config.yaml")
    assert (read.train.space, read.eval_batch_size) == ("v3_nobias", 8)  # and the former size of its evaluations
    assert RunDirectory(tmp_path).manifest["space"]["name"] == "v3_nobias"
    assert RunDirectory(tmp_path).config["train"]["space"] == "v3_nobias"
    (tmp_path / "run_manifest.json").unlink()
    assert load_config(tmp_path / "config.yaml").train.space == "v3"  # nobody's: a recipe of that name
