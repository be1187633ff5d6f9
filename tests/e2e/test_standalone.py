"""Fixed subnets from scratch: one or several on the same batches, each an ordinary run."""

import json
import shutil

import numpy as np
import pytest
import torch
from runs import BRIEF, command, digest, outcome, rows, table, tensors, told

from edgeflownas import space as spaces
from edgeflownas.config.load import load_config
from edgeflownas.run.run import Run
from edgeflownas.train import loop

pytestmark = pytest.mark.e2e
TARGET, BASELINE = "0,2,1,1,0,0,1,0,1", "0,0,0,0,2,1,2,2,2"
EVERY = "--eval.eval_every_epoch=1"
ALONE = ("--train.task=standalone", "--eval.eval_pool_size=1", EVERY)
BOTH = (*ALONE, f"--train.arch={TARGET}", f"--train.arch={BASELINE}", "--train.arch_name=target,baseline")


@pytest.fixture(scope="module")
def pair(place):
    return place.trained("pair", *BOTH)


@pytest.fixture(scope="module")
def alone(place):
    codes = {"target": TARGET, "baseline": BASELINE}
    return {name: place.trained(f"{name}-alone", *ALONE, f"--train.arch={code}") for name, code in codes.items()}


@pytest.fixture(scope="module")
def source(place):
    return place.trained("supernet", *BRIEF, "--train.lr=1e-2")


@pytest.mark.parametrize(("name", "code"), [("target", TARGET), ("baseline", BASELINE)])
def test_models_side_by_side_end_in_the_bits_of_models_alone(pair, alone, name, code):
    assert outcome(alone[name]) == outcome(pair / name)
    assert table(alone[name] / "per_arch_epe.csv") == table(pair / name / "per_arch_epe.csv")
    assert {row["code"] for row in table(alone[name] / "per_arch_epe.csv")} == {code}


def test_the_same_loop_the_same_bits_as_a_supernet_of_one_arch(alone, place, monkeypatch):
    only = spaces.get_space("v1").restrict(spaces.get_space("v1").parse(TARGET))
    monkeypatch.setitem(spaces.SPACES, "one", only)
    supernet = place.trained("one-arch", "--train.space=one", "--eval.eval_pool_size=1", EVERY)
    assert digest(supernet) == digest(alone["target"])
    runs = (supernet, alone["target"])
    steps = [[(row["loss"], row["grad_norms"], row["draws"]) for row in rows(run, "step")] for run in runs]
    assert steps[0] == steps[1]


def test_comparison_holds_both_and_their_difference(pair):
    found = table(pair / "comparison.csv")
    assert [row["epoch"] for row in found] == ["1", "2"]
    histories = {name: table(pair / name / "eval_history.csv") for name in ("target", "baseline")}
    for i, row in enumerate(found):
        assert row["target_epe"] == histories["target"][i]["mean_epe_1"]
        assert row["baseline_train_loss"] == histories["baseline"][i]["train_loss"]
        difference = float(row["baseline_epe"]) - float(row["target_epe"])
        assert float(row["baseline_minus_target_epe"]) == pytest.approx(difference, abs=1e-4)


def test_every_model_is_a_run_of_its_own(pair):
    (score,) = told("evaluate", pair / "target")["results"]
    assert score["code"] == TARGET
    assert f"{score['epe']:.4f}" == table(pair / "target" / "per_arch_epe.csv")[-1]["epe"]
    other = command("evaluate", pair / "target", f"--arch={BASELINE}")
    assert other.code == 64 and TARGET in other.err
    whole = command("evaluate", pair)
    assert whole.code == 74 and str(pair / "target") in whole.err
    states = {row["run"]: row["state"] for row in told("status", pair)}
    assert states == {str(pair / "baseline"): "finished", str(pair / "target"): "finished"}


@pytest.mark.parametrize("steps", [2, 5])
def test_interrupted_and_resumed_as_a_group(pair, place, steps, monkeypatch):
    """After an odd number of steps one model is a step ahead."""
    record, calls = loop.record, []

    def stopping(job, *args):
        record(job, *args)
        calls.append(job.model)
        if len(calls) == steps:
            job.stop.reason = "the test"

    monkeypatch.setattr(loop, "record", stopping)
    name = f"stopped-{steps}"
    ended = place.train(name, *BOTH)
    assert ended.code == 75 and "resume to go on" in ended.err and len(calls) == steps
    monkeypatch.undo()
    ended = place.resume(name)
    assert ended.code == 0, ended.err
    for model in ("target", "baseline"):
        assert outcome(place.runs / name / model) == outcome(pair / model)
    assert (place.runs / name / "comparison.csv").read_bytes() == (pair / "comparison.csv").read_bytes()
    assert "nothing left to train" in place.resume(name).err


def test_a_group_cut_off_while_it_was_made(pair, place):
    """Only the first model has a directory yet."""
    copy = place.copy("pair", "cut")
    shutil.rmtree(copy / "baseline")
    ended = place.resume("cut")
    assert ended.code == 0, ended.err
    assert outcome(copy / "baseline") == outcome(pair / "baseline")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--train.task=standalone",), "train.arch"),
        ((f"--train.arch={TARGET}",), "train.task"),
        ((*ALONE, "--train.arch=0,0"), "needs 9"),
        ((*ALONE, f"--train.arch={TARGET}", f"--train.arch={TARGET}", "--train.arch_name=a,b"), "twice"),
        ((*ALONE, f"--train.arch={TARGET}", "--train.arch_name=a,b"), "one for each"),
        ((*ALONE, f"--train.arch={TARGET}", "--train.arch_name=../a"), "letters"),
        ((*ALONE, f"--train.arch={TARGET}", "--train.arch_name=config.yaml"), "beside the models"),
        ((*BOTH[:-1], "--train.arch_name=A,a"), "lower case"),
    ],
)
def test_what_cannot_be_is_refused(place, words, said):
    ended = place.train("refused", *words)
    assert ended.code == 64 and said in ended.err and not (place.runs / "refused").exists()


def test_a_group_is_not_begun_twice_nor_forked(pair, place):
    again = place.train("pair", *BOTH)
    assert again.code == 74 and "exists already" in again.err
    fork = command("train", "--resume", pair, "--fork", "other")
    assert fork.code == 64 and str(pair / "target") in fork.err
    changed = command("train", "--resume", pair, f"--train.arch={TARGET}")
    assert changed.code == 64 and "--train.arch" in changed.err
    dry = command("train", *place.words("dry", *BOTH), "--dry-run", "--json")
    assert dry.code == 0 and set(json.loads(dry.out)) == {"target", "baseline"} and not (place.runs / "dry").exists()


def test_one_subnet_starts_from_a_supernet(source, place):
    still = (*BRIEF, "--train.lr=1e-12")
    run = place.trained("taken", *ALONE, f"--train.arch={TARGET}", f"--train.init_from={source}", *still)
    theirs, ours = tensors(source), tensors(run)
    weights = [name for name in ours if name.startswith("model/") and "running" not in name]
    assert weights and all(np.allclose(ours[name], theirs[name], atol=1e-9) for name in weights)
    scored = command("evaluate", source, f"--arch={TARGET}", "--json")
    by_supernet = json.loads(scored.out)["results"][0]["epe"]
    assert float(table(run / "per_arch_epe.csv")[-1]["epe"]) == pytest.approx(by_supernet, abs=2e-4)
    origin = json.loads((run / "run_manifest.json").read_text())["manifest"]["initialised_from"]
    assert origin["run"] == str(source) and origin["batch_norm"].startswith("recalibrated")
    start = load_config(run / "config.yaml")
    assert start.train.arch == (TARGET,)


def test_buffers_of_a_warm_start_are_those_of_the_subnet(source, place):
    """What eval mode uses before the first step: moments recalibrated on this run's calibration samples."""
    words = (*ALONE, f"--train.arch={TARGET}", f"--train.init_from={source}", "--runtime.max_seconds=1e-9")
    assert place.train("still", *words).code == 75
    run = Run.open(place.runs / "still")
    buffers = {name: value.clone() for name, value in run.net(run.checkpoint()).named_buffers()}
    supernet = tensors(source)
    means = [name for name in buffers if name.endswith("running_mean")]
    assert any(not np.allclose(buffers[name].numpy(), supernet[f"model/{name}"]) for name in means)
    assert all(torch.isfinite(value).all() for value in buffers.values())


def test_sources_that_do_not_fit(pair, place):
    ended = place.train("no", *ALONE, f"--train.arch={BASELINE}", f"--train.init_from={pair / 'target'}")
    assert ended.code == 64 and TARGET in ended.err
    ended = place.train("no", f"--train.init_from={pair / 'target'}")
    assert ended.code == 64 and "every subnet" in ended.err
    ended = place.train("no", *BOTH, f"--train.init_from={pair / 'target'}")
    assert ended.code == 64 and not (place.runs / "no").exists()  # fits one of the two: nothing is begun
