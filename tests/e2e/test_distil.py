"""Task distil: a student whose decoder features are drawn towards a frozen teacher's."""

import json

import numpy as np
import pytest
from runs import BRIEF, ONE_STEP, command, outcome, rows, tensors, told

pytestmark = pytest.mark.e2e
CODE, OTHER = "0,2,1,1,0,0,1,0,1", "0,0,0,0,2,1,2,2,2"
EVERY = (*ONE_STEP, "--eval.eval_every_epoch=1")
STUDENT = ("--train.task=distil", "--eval.eval_pool_size=1", *EVERY, f"--train.arch={CODE}")


@pytest.fixture(scope="module")
def supernet(place):
    return place.trained("teacher", *EVERY, "--train.lr=1e-2", "--checkpoint.keep=9")


@pytest.fixture(scope="module")
def student(place, supernet):
    return place.trained("student", *STUDENT, f"--train.teacher={supernet}", f"--train.teacher_arch={OTHER}")


def test_the_feature_loss_is_part_of_the_loss_and_teaches(student, place):
    alone = place.trained("untaught", *STUDENT, "--train.task=standalone")
    for taught, plain in zip(rows(student, "step"), rows(alone, "step"), strict=True):
        assert taught["loss_feature"] > 0 and "loss_feature" not in plain
        assert taught["draws"] == plain["draws"]
        flow = taught["loss_optical"] + taught["loss_uncertainty"]
        assert taught["loss"] == pytest.approx(flow + taught["loss_feature"], rel=1e-4)
    first = rows(student, "step")[0], rows(alone, "step")[0]
    assert first[0]["loss_optical"] == first[1]["loss_optical"]  # the same student before its first update
    assert any(not np.array_equal(tensors(student)[name], value) for name, value in tensors(alone).items())


def test_lambda_scales_the_feature_loss(student, supernet, place):
    teacher = (f"--train.teacher={supernet}", f"--train.teacher_arch={OTHER}")
    half = place.trained("half", *STUDENT, *BRIEF, *teacher, "--train.distil_lambda=0.5")
    losses = [rows(run, "step")[0]["loss_feature"] for run in (student, half)]
    assert losses[1] == pytest.approx(losses[0] / 2, rel=1e-5)


def test_the_teacher_stays_as_it_is(student, supernet, place):
    before = {path: path.read_bytes() for path in supernet.rglob("*") if path.is_file()}
    place.trained("again", *STUDENT, f"--train.teacher={supernet}", f"--train.teacher_arch={OTHER}")
    assert {path: path.read_bytes() for path in supernet.rglob("*") if path.is_file()} == before
    assert outcome(place.runs / "again") == outcome(student)
    facts = json.loads((student / "run_manifest.json").read_text())["manifest"]["teacher"]
    assert facts["code"] == OTHER and len(facts["hash"]) == 64


def test_interrupted_and_resumed(student, supernet, place):
    """Another evaluation setting at the resume changes nothing in training: the teacher has samples of its own."""
    words = (*STUDENT, f"--train.teacher={supernet}", f"--train.teacher_arch={OTHER}", "--runtime.max_seconds=1e-9")
    assert place.train("cut", *words).code == 75
    ended = place.resume("cut", "--runtime.max_seconds=null", "--eval.bn_recal_batches=2")
    assert ended.code == 0, ended.err
    ours, theirs = rows(place.runs / "cut", "step"), rows(student, "step")
    assert ours == theirs
    assert all(np.array_equal(tensors(student)[name], value) for name, value in tensors(place.runs / "cut").items())


def test_a_teacher_that_trained_on_or_moved_still_teaches_what_it_did(student, supernet, place):
    copy = place.copy("teacher", "moving")
    words = (*STUDENT, f"--train.teacher={copy}", f"--train.teacher_arch={OTHER}", "--runtime.max_seconds=1e-9")
    assert place.train("left", *words).code == 75
    more = command("train", "--resume", copy, "--train.num_epochs=3", "--train.lr_plan=keep")
    assert more.code == 0, more.err
    moved = copy.rename(place.runs / "moved")
    gone = place.resume("left", "--runtime.max_seconds=null")
    assert gone.code == 74 and str(copy) in gone.err
    on = ("--runtime.max_seconds=null", f"--train.teacher={moved}")
    assert place.resume("left", *on, "--dry-run").code == 0
    ended = place.resume("left", *on)
    assert ended.code == 0, ended.err
    assert rows(place.runs / "left", "step") == rows(student, "step")


def test_another_teacher_is_refused_at_resume(supernet, place):
    """Its checkpoint has the name of the first one's, and another content."""
    other = place.trained("other_teacher", *EVERY, "--runtime.seed=9", "--checkpoint.keep=9")
    words = (*STUDENT, f"--train.teacher={supernet}", f"--train.teacher_arch={OTHER}", "--runtime.max_seconds=1e-9")
    assert place.train("swapped", *words).code == 75
    for more in ((), ("--dry-run",)):
        ended = place.resume("swapped", "--runtime.max_seconds=null", f"--train.teacher={other}", *more)
        assert ended.code == 64 and "teacher" in ended.err and "identity" in ended.err


def test_a_single_model_with_another_input_teaches(place):
    raw = ("--train.input_normalisation=raw_0_255", "--data.channel_order=bgr")
    words = (*BRIEF, "--train.task=edgeflownet", "--eval.eval_pool_size=1", "--train.width=4", *raw)
    teacher = place.trained("edgeflownet", *words)
    run = place.trained("taught", *STUDENT, *BRIEF, f"--train.teacher={teacher}")
    assert all(row["loss_feature"] > 0 for row in rows(run, "step"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--train.teacher=TEACHER",), 64, "train.teacher_arch"),
        ((), 64, "train.teacher"),
        (("--train.teacher=TEACHER", "--train.teacher_arch=0,0"), 64, "needs 9"),
        (("--train.teacher=/nowhere", f"--train.teacher_arch={OTHER}"), 74, "/nowhere"),
        (("--train.teacher=TEACHER", "--train.distil_weights=[0,0,0]"), 64, "distil_weights"),
        (("--train.task=standalone", "--train.distil_lambda=2"), 64, "distil_lambda"),
    ],
)
def test_what_cannot_teach_is_refused(supernet, place, words, code, said):
    ended = place.train("refused", *STUDENT, *(word.replace("TEACHER", str(supernet)) for word in words))
    assert ended.code == code and said in ended.err and not (place.runs / "refused").exists()


def test_compare_names_the_teacher_and_its_weight(student, supernet, place):
    words = (f"--train.teacher={supernet}", f"--train.teacher_arch={OTHER}", "--train.distil_lambda=3")
    other = place.trained("heavier", *STUDENT, *BRIEF, *words)
    shown = told("compare", student, other)
    text = json.dumps(shown)
    assert OTHER in text and "lambda 1," in text and "lambda 3," in text
