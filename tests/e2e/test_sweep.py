"""Sweeps: ordinary runs one after the other, interrupted and resumed to the same bits, compared at the end."""

import csv
import json

import cv2
import pytest
from runs import ONE_STEP, command, contents, outcome, told
from test_interruption import stop_at
from tiny import tiny_options

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_picture")]
KEYS = (*ONE_STEP, "--eval.eval_every_epoch=1", "--eval.eval_pool_size=2")
NAMES = [f"lr_{lr}-seed_{seed}" for seed in (0, 1) for lr in ("1e-3", "2e-3")]


def sweep(place, name, *words, lrs="1e-3,2e-3", seeds="0,1"):
    """Two learning rates, two seeds, two epochs of one step, each evaluated."""
    options = [word for word in tiny_options(place.data, place.runs, "x") if "experiment_name" not in word]
    own = ("--vary", f"train.lr={lrs}", "--seeds", seeds, "--name", name)
    return command("sweep", "smoke", *options, "--train.width=2", *KEYS, *own, *words)


@pytest.fixture(scope="module")
def whole(place):
    """The uninterrupted sweep."""
    ended = sweep(place, "whole")
    assert ended.code == 0, ended.err
    assert [line.split()[0] for line in ended.out.splitlines()[1:3]] == ["lr_1e-3", "lr_2e-3"]
    return place.runs / "whole"


def test_a_run_of_a_sweep_is_an_ordinary_run(place, whole):
    assert outcome(place.trained("alone", *KEYS, "--train.lr=2e-3", "--runtime.seed=1")) == outcome(whole / NAMES[3])
    (row,) = [r for r in told("status", whole) if r["run"].endswith(NAMES[3])]
    assert row["state"] == "finished"


def test_the_comparison(whole):
    document = json.loads((whole / "comparison.json").read_text())
    assert [row["state"] for row in document["runs"]] == ["finished"] * 4
    first = document["variants"][0]
    assert (first["variant"], first["keys"], first["seeds"]) == ("lr_1e-3", {"train.lr": "1e-3"}, [0, 1])
    own = [run for run in document["runs"] if run["variant"] == "lr_1e-3"]
    assert first["mean_epe"] == pytest.approx(sum(run["mean_epe"] for run in own) / 2)
    assert first["seen_samples"] == 8 and first["mean_epe_sd"] > 0 and first["noise"] > 0 and first["seconds"] > 0
    with (whole / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train.lr"] for row in rows] == ["1e-3", "2e-3"]
    assert float(rows[0]["mean_epe"]) == pytest.approx(first["mean_epe"], rel=1e-5)
    assert cv2.imread(str(whole / "comparison.png")).shape[1] == 1280


def test_a_finished_sweep_is_not_run_again(place, whole):
    before = {name: contents(whole / name) for name in NAMES}
    ended = sweep(place, "whole", "--json")
    assert ended.code == 0 and ended.err.count("finished") == 4
    assert json.loads(ended.out) == json.loads((whole / "comparison.json").read_text())
    assert {name: contents(whole / name) for name in NAMES} == before


def test_interrupted_and_resumed_it_ends_in_the_same_bits(place, whole, monkeypatch):
    lives = 0
    with monkeypatch.context() as patch:
        stop_at(patch, 9)
        while (ended := sweep(place, "stopped")).code == 75:
            assert "the same command goes on" in ended.err
            lives += 1
            assert lives < 40
    assert ended.code == 0 and lives >= 3, ended.err
    for name in NAMES:
        assert outcome(place.runs / "stopped" / name) == outcome(whole / name)
    ours, theirs = (json.loads((place.runs / n / "comparison.json").read_text()) for n in ("stopped", "whole"))
    for document in (ours, theirs):
        for row in (*document["variants"], *document["runs"]):
            [row.pop(key) for key in list(row) if key.startswith("seconds")]
    assert ours["variants"] == theirs["variants"] and ours["runs"] == theirs["runs"]


def test_a_folder_begun_with_other_settings_is_refused(place, whole):
    before = contents(whole)
    for word, key in (
        ("--train.batch_size=2", "train.batch_size: 4 then, 2 now"),
        ("--eval.batch_size=2", "eval.batch"),
    ):
        ended = sweep(place, "whole", word)
        assert ended.code == 64 and key in ended.err and "--name" in ended.err
        assert sweep(place, "whole", word, lrs="3e-3,4e-3").code == 64  # also where no run has the same name
        assert sweep(place, "whole", word, "--dry-run").code == 64
    assert contents(whole) == before
    place.trained("occupied", "--train.num_epochs=1")
    ended = sweep(place, "occupied")
    assert ended.code == 74 and "is no sweep" in ended.err
    (place.runs / "altered").mkdir()
    (place.runs / "altered" / "sweep.json").write_text('{"format": 1, "runs": [["a", {}]]}')
    assert sweep(place, "altered").code == 74


def test_more_variants_and_seeds_join(place):
    assert sweep(place, "growing", seeds="0").code == 0
    grown = sweep(place, "growing", "--runtime.summary_every=7", "--json", lrs="2e-3,4e-3", seeds="0,1")
    assert grown.code == 0 and grown.err.count(", finished") == 1
    seeds = {row["variant"]: row["seeds"] for row in json.loads(grown.out)["variants"]}
    assert seeds == {"lr_1e-3": [0], "lr_2e-3": [0, 1], "lr_4e-3": [0, 1]}


def test_dry_run_lists_and_makes_nothing(place):
    ended = sweep(place, "dry", "--dry-run", "--json")
    assert ended.code == 0 and not (place.runs / "dry").exists()
    rows = json.loads(ended.out)["runs"]
    assert [(row["run"], row["state"], row["steps"], row["samples"]) for row in rows] == [
        (name, "new", 2, 8) for name in NAMES
    ]
    assert "4 runs in" in sweep(place, "dry", "--dry-run").out


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("--vary", "data.val_dir={data}/val,{data}/nowhere"), 65, "variant val_dir"),
        (("--vary", "train.init_from=null,runs/nowhere"), 74, "runs/nowhere"),
        (("--vary", "train.lrr=1,2"), 64, "did you mean train.lr?"),
    ],
)
def test_what_would_stop_a_later_run_is_refused_before_the_first(place, words, code, part):
    varied = words[1].partition("=")[0]
    options = [w for w in tiny_options(place.data, place.runs, "x") if "experiment_name" not in w and varied not in w]
    ended = command("sweep", "smoke", *options, "--name", "early", *(word.format(data=place.data) for word in words))
    assert ended.code == code and part in ended.err and "Traceback" not in ended.err
    assert not (place.runs / "early").exists()


def test_unequal_samples_are_said(place):
    options = [word for word in tiny_options(place.data, place.runs, "unequal") if "num_epochs" not in word]
    words = [word.replace("--runtime.experiment_name=", "--name=") for word in options]
    ended = command("sweep", "smoke", *words, "--vary", "train.num_epochs=1,2", "--dry-run")
    assert ended.code == 0 and "different numbers of samples" in ended.err


def test_a_diverged_variant_does_not_stop_the_others(place, monkeypatch):
    from edgeflownas.errors import NonFiniteError
    from edgeflownas.train import start

    launch = start.launch

    def diverging(config, *words):
        if config is not None and config.train.lr == 1e-3:  # type: ignore[attr-defined]
            raise NonFiniteError("5 steps in a row")
        return launch(config, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(start, "launch", diverging)
    ended = sweep(place, "diverged", seeds="0")
    assert ended.code == 70 and "lr_1e-3-seed_0" in ended.err and "lr_2e-3" in ended.out


def test_a_sweep_recipe_is_no_recipe_of_train(place, tmp_path):
    ended = command("train", "supernet_fc2_clip_sweep")
    assert ended.code == 64 and "edgeflownas sweep supernet_fc2_clip_sweep" in ended.err
    for words, verb in (("supernet_fc2_clip_sweep", "sweep"), ("smoke", "train"), ("continue_fork", "--fork")):
        ended = command("recipes", "copy", words, tmp_path / f"{words}.yaml")
        assert ended.code == 0 and verb in ended.out.partition("run it:")[2]
