"""`train --dry-run` refuses what the run would be refused for, and writes nothing."""

import json

import pytest
from runs import command, contents

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(place):
    return place.trained("base", "--train.num_epochs=1")


def test_a_dry_run_writes_nothing(place):
    before = contents(place.folder)
    cache = place.folder / "cache"
    ended = place.train("dry", f"--data.cache_dir={cache}", "--dry-run")
    assert ended.code == 0 and contents(place.folder) == before and not cache.exists()
    facts = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert (facts["steps_per_epoch"], facts["total_steps"], facts["train_samples"]) == ("2", "4", "6")
    assert float(facts["memory_total_mib"]) > 0
    document = json.loads(place.train("dry", "--dry-run", "--json").out)
    assert document["planned_samples"] == 16 and document["unique_samples_per_epoch"] == 6


@pytest.mark.parametrize(
    ("name", "word", "code", "message"),
    [
        ("base", "--train.lr=1e-3", 74, "exists already"),
        ("dry", "--train.precision=tf32", 64, "train.precision"),
    ],
)
def test_a_new_run(run, place, name, word, code, message):
    gpu = "--train.gpu_device=auto" if "tf32" in word else "--train.gpu_device=-1"
    ended = place.train(name, gpu, word, "--dry-run")
    assert ended.code == code and message in ended.err and not ended.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--train.lr=1e-3",), 64, "--fork"),
        (("--fork", "base"), 74, "exists already"),
        (("--fork", "other", "--train.width=4"), 64, "train.width"),
        (("--fork", "other", "--train.lr=1e-3"), 0, ""),
        (("--train.num_epochs=2", "--train.lr_plan=keep"), 0, ""),
    ],
)
def test_a_resume_or_fork(run, words, code, message):
    before = contents(run.parent)
    ended = command("train", "--resume", run, *words, "--dry-run")
    assert ended.code == code and message in ended.err
    assert contents(run.parent) == before
