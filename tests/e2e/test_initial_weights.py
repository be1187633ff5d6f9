"""train.init_from: a new run from another run's weights, on other data and crops."""

import json

import numpy as np
import pytest
from runs import BRIEF, command, rows, tensors
from tiny import make_tiny

pytestmark = pytest.mark.e2e
TINY_RATE = (*BRIEF, "--train.lr=1e-12")


@pytest.fixture(scope="module")
def source(place):
    return place.trained("source", "--train.lr=1e-2", "--train.lr_schedule=constant", "--eval.eval_every_epoch=1")


def manifest(run):
    content: dict[str, object] = json.loads((run / "run_manifest.json").read_text())["manifest"]
    return content


def model(run):
    return {name: array for name, array in tensors(run).items() if name.startswith("model/")}


def test_weights_come_over_and_nothing_else(source, place):
    """Another crop, other data and another plan: what a fork refuses."""
    data = make_tiny(place.folder / "other", seed=5)
    run = place.trained("warm", *TINY_RATE, f"--train.init_from={source}", "--data.crop_size=32x32", data=data)
    theirs, ours = model(source), model(run)
    weights = [name for name in theirs if "running" not in name]
    assert weights and all(np.allclose(ours[name], theirs[name], atol=1e-9) for name in weights)
    cold = model(place.trained("cold", *TINY_RATE, "--data.crop_size=32x32", data=data))
    assert not all(np.allclose(ours[name], cold[name], atol=1e-6) for name in weights)
    steps = {float(value) for name, value in tensors(run).items() if name.endswith("/step")}
    assert steps == {float(len(rows(run, "step")))}  # Adam counts this run's steps only
    origin = manifest(run)["initialised_from"]
    assert isinstance(origin, dict) and origin["run"] == str(source) and len(origin["hash"]) == 64


def test_best_and_named_checkpoints(source, place):
    best = json.loads((source / "best.json").read_text())["checkpoint"]
    for number, name in enumerate(("best", best)):
        words = (*TINY_RATE, f"--train.init_from={source}@{name}", "--max-seconds=1e-9")
        assert place.train(f"from-{number}", *words).code == 75
        origin = manifest(place.runs / f"from-{number}")["initialised_from"]
        assert isinstance(origin, dict) and origin["checkpoint"] == best
    ended = place.train("from-none", f"--train.init_from={source}@step-99999999")
    assert ended.code == 74 and "step-99999999" in ended.err and not (place.runs / "from-none").exists()


def test_resume_keeps_its_origin_and_needs_the_source_no_more(source, place):
    whole = place.trained("whole", *BRIEF, f"--train.init_from={source}")
    copy = place.copy("source", "gone")
    ended = place.train("part", *BRIEF, f"--train.init_from={copy}", "--runtime.max_seconds=1e-9")
    assert ended.code == 75
    copy.rename(place.runs / "elsewhere")
    ended = place.resume("part", "--runtime.max_seconds=null")
    assert ended.code == 0, ended.err
    ours, theirs = model(place.runs / "part"), model(whole)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert "initialised_from" in manifest(place.runs / "part")


def test_a_wider_network_begins_with_the_same_flow(source, place):
    """Six channels for two: kernels and their sums are shared among copies, EPEs of the pool are the source's."""
    same = (*TINY_RATE, f"--train.init_from={source}", "--train.batch_norm=trained", "--eval.eval_every_epoch=1")
    narrow, wide = (evaluated(place.trained(f"width-{width}", *same, f"--train.width={width}")) for width in (2, 6))
    assert np.allclose(narrow, wide, rtol=1e-4) and len(set(narrow)) > 1
    assert manifest(place.runs / "width-6")["initialised_from"]["widened_from"] == 2  # type: ignore[index]
    kernel = next(array for name, array in model(place.runs / "width-6").items() if "EB0" in name and array.ndim == 4)
    assert not np.allclose(kernel[:, 0], kernel[:, 4], rtol=0.01)  # copies differ, or they would learn alike


def evaluated(run):
    (row,) = rows(run, "evaluation")
    return list(row["epes"])


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_source_that_does_not_fit_is_refused(source, place, words):
    ended = command("train", *place.words("bad", f"--train.init_from={source}", "--data.flow_divisor=2"), *words)
    assert ended.code == 64 and "data.flow_divisor is 1.0" in ended.err and not (place.runs / "bad").exists()
    ended = command("train", *place.words("bad", "--train.init_from=/nowhere/run"), *words)
    assert ended.code in (65, 74) and "/nowhere/run" in ended.err and "Traceback" not in ended.err
