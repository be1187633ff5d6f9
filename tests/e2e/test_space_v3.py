"""A run of space v3 from training to retraining, and codes of v1 refused on the way."""

import json

import pytest
from numeric import FLOAT32, relative_difference
from runs import BRIEF, command, outcome, rows, state, stop_when, table, tensors, told

from edgeflownas.space import get_space

pytestmark = pytest.mark.e2e

V3 = get_space("v3")
V3_KEYS = ("--train.space=v3", "--eval.eval_every_epoch=1", "--eval.eval_pool_size=7", "--train.micro_batch_size=3")
V1_CODE, V3_CODE = "000021222", "21000011111"


@pytest.fixture(scope="module")
def run(place):
    return place.trained("third", *V3_KEYS)


def test_files_of_a_run(run):
    space = json.loads((run / "run_manifest.json").read_text())["manifest"]["space"]
    assert (space["name"], space["size"], len(space["choices"]), space["fixed"]) == ("v3", 23_328, 11, ["ECA", "Gate"])
    assert space["choices"][1]["options"] == ["3x3", "5x5", "3x3+dilated3x3"]
    for row in rows(run, "step"):
        assert row["accepted"] and len(row["path_losses"]) == 3
    last = table(run / "eval_history.csv")[-1]
    # Three draws of two options in each of four steps: even.
    assert last["fairness_gap"] == "0" and last["bilinear_arch_epe"] and float(last["mean_epe_7"]) > 0
    meanings = {row["meaning"] for row in table(run / "per_option.csv") if row["block"] == "E1"}
    assert meanings == {"3x3", "5x5", "3x3 + dilated 3x3"}
    held = tensors(run)
    assert {"model/ECA.weight", "model/Gate.weight", "optimizer/Gate.weight/exp_avg"} <= set(held)
    assert held["optimizer/ECA.weight/exp_avg"].any() and held["optimizer/Gate.weight/exp_avg"].any()


def test_interrupted_and_resumed_ends_in_the_same_bits(run, place, monkeypatch):
    stop_when(monkeypatch, lambda asked: asked in (10, 25))
    assert place.train("broken", *V3_KEYS).code == 75 and place.resume("broken").code == 75
    assert place.resume("broken").code == 0
    assert outcome(place.runs / "broken") == outcome(run)


def test_evaluation_from_outside_repeats_the_run(run):
    results = told("evaluate", run, "--checkpoint", "latest")["results"]
    assert [row["epe"] for row in results] == state(run)["last_epes"]
    assert [row["code"] for row in results] == [str(V3.parse(code)) for code in V3.anchors]


def test_one_subnet_starts_from_the_supernet_and_learns_from_another(run, place):
    alone = ("--train.space=v3", f"--train.arch={V3_CODE}", "--eval.eval_pool_size=1", *BRIEF)
    warm = place.trained("warm", *alone, "--train.task=standalone", f"--train.init_from={run}", "--train.lr=1e-9")
    source, taken = tensors(run), tensors(warm)
    names = {name for name in taken if name.startswith("model/") and name.endswith("weight")}
    assert {"model/Gate.weight", "model/E1.conv5x5.0.weight"} <= names
    assert all(relative_difference(taken[name], source[name]) <= FLOAT32 for name in names)
    taught = place.trained(
        "taught", *alone, "--train.task=distil", f"--train.teacher={run}", "--train.teacher_arch=22222211111"
    )
    assert rows(taught, "step")[0]["loss_feature"] > 0


def test_a_fork_keeps_the_space(run, place):
    ended = command("train", "--resume", run, "--fork", "forked", "--train.lr=1e-4", "--train.num_epochs=1")
    assert ended.code == 0 and "forked from" in ended.err
    assert tensors(place.runs / "forked")["optimizer/Gate.weight/step"] == 6  # Adam goes on counting
    refused = command("train", "--resume", run, "--fork", "other", "--train.space=v1")
    assert refused.code == 64 and "train.space" in refused.err and not (place.runs / "other").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "RUN", "--arch", V1_CODE),
        ("train", "NEW", "--train.space=v3", "--train.task=standalone", f"--train.arch={V1_CODE}"),
        ("train", "NEW", "--train.task=standalone", f"--train.arch={V3_CODE}"),
        (
            "train",
            "NEW",
            *V3_KEYS[:1],
            "--train.task=distil",
            f"--train.arch={V3_CODE}",
            f"--train.teacher_arch={V1_CODE}",
        ),
    ],
)
def test_codes_of_the_other_space_are_refused(run, place, words):
    new = [*place.words("refused"), f"--train.teacher={run}", "--eval.eval_pool_size=1"]
    new = new if any("distil" in word for word in words) else [word for word in new if "teacher" not in word]
    given = [part for word in words for part in {"RUN": [run], "NEW": new}.get(word, [word])]
    ended = command(*given)
    assert ended.code == 64 and "digits, space 'v" in ended.err and "(a code of space v" in ended.err
    assert not (place.runs / "refused").exists()


def test_a_resume_under_the_other_space_and_weights_of_it_are_refused(run, place):
    place.copy("third", "copy")
    ended = place.resume("copy", "--train.space=v1")
    assert ended.code == 64 and "train.space" in ended.err and "space declaration" in ended.err
    ended = place.train("refused", "--train.space=v1", f"--train.init_from={run}")
    assert ended.code == 64 and "its train.space is v3" in ended.err


def test_tf1_weights_are_those_of_v1(tmp_path, shared):
    file = shared / "golden" / "tf1_supernet_width8.npz"
    ended = command("import-tf1", file, "--out", tmp_path / "imported", "--train.space=v3")
    assert ended.code == 64 and "whose space is v1" in ended.err and not (tmp_path / "imported").exists()
