"""`edgeflownas evaluate` with a data set and a protocol: labels, references, what is recorded, what is refused."""

import json

import pytest
from runs import BRIEF, command, contents, newest, told

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(place):
    return place.trained("base", *BRIEF)


def test_the_training_protocol_scores_what_the_frozen_evaluation_scores(run, place):
    """Two ways to the same pixels: the run's frozen set (all three pairs), and labelled rows of the same split."""
    frozen = told("evaluate", run)
    assert frozen["samples"] == 3
    before = contents(run)
    found = told("evaluate", run, "--protocol", "training")
    assert contents(run) == before
    assert found["protocol"] == "training:32x48,clip50" and found["samples"] == 3
    assert found["split_label"] == frozen["split_label"]
    assert [row["code"] for row in found["results"]] == [row["code"] for row in frozen["results"]]
    for ours, theirs in zip(found["results"], frozen["results"], strict=True):
        assert ours["epe"] == pytest.approx(theirs["epe"], rel=1e-5)
    zero = found["references"][0]
    assert zero["model"] == "zero" and zero["epe"] == pytest.approx(frozen["zero_flow_epe"], rel=1e-6)
    manifest = json.loads((newest(run) / "manifest.json").read_text())
    assert {row["source"] for row in found["results"]} == {manifest["hash"]}
    assert {row["model"] for row in found["results"]} == {f"base/{newest(run).name}"}


def test_standard_is_the_default_and_sees_whole_frames(run, place):
    words = ("--data", f"fc2:train@{place.data}", "--arch", "000021222", "--references", "zero,farneback")
    found = told("evaluate", run, *words)
    assert found["protocol"] == "standard" and found["samples"] == 6
    assert found["split_label"].startswith("fc2/folder:train/6/")
    (row,) = found["results"]
    assert row["code"] == "0,0,0,0,2,1,2,2,2" and row["batch_shape"] == "1x6x48x64"  # 40x56 on the grid of 16
    assert [reference["model"] for reference in found["references"]] == ["zero", "farneback"]
    alone = told("evaluate", run, *words[:4], "--references", "none", "--protocol", "standard")
    assert alone["results"] == [row] and alone["references"] == []  # company changes nothing
    pool = told("evaluate", run, *words[:2], "--references=none")["results"]
    assert pool[3]["code"] == "0,1,2,0,1,2,0,1,2"
    native = told("evaluate", run, *words[:4], "--protocol=deploy", "--size=40x56", "--references=none")["results"][0]
    assert native["protocol"] == "deploy:40x56" and native["epe"] == row["epe"]  # nothing is resized
    small = told("evaluate", run, *words[:4], "--protocol=deploy", "--size=32x32", "--references=none")["results"][0]
    assert small["batch_shape"] == "1x6x32x32" and small["epe"] != row["epe"]


def test_a_baseline_needs_no_weights(place):
    ended = command("evaluate", "--baseline", "dis", "--data", f"fc2@{place.data}")
    assert ended.code == 0 and ended.out == ""
    lines = ended.err.splitlines()
    assert "protocol standard, split fc2/folder:val/3/" in lines[0] and "3 samples" in lines[0]
    assert [line.split()[0] for line in lines[1:] if line[0] != "-"] == [
        "model",
        "dis",
        "zero",
        "dis_fast",
        "farneback",
    ]
    found = told("evaluate", "--baseline", "dis", "--data", f"fc2@{place.data}", "--references", "none")
    assert found["results"][0]["source"].startswith("opencv ") and len(found["results"]) == 1


def test_rows_are_recorded_only_when_asked_for(run, place):
    words = ("--protocol", "standard", "--arch", "000000000")
    recorded = told("evaluate", run, *words, "--record")
    again = told("evaluate", run, *words, "--record", "--references", "none")
    stored = [json.loads(line) for line in (run / "evaluations.jsonl").read_bytes().splitlines()]
    shown = [*recorded["results"], *recorded["references"], *again["results"]]
    assert stored == shown and len(shown) == 6
    assert [row["model"] for row in stored[1:5]] == ["zero", "dis", "dis_fast", "farneback"]
    (run / "evaluations.jsonl").write_bytes((run / "evaluations.jsonl").read_bytes()[:-9])
    ended = command("evaluate", run, *words, "--record", "--references=none")
    assert ended.code == 74 and "evaluations.jsonl" in ended.err and "cut off" in ended.err
    (run / "evaluations.jsonl").unlink()


def test_weights_from_a_file(place, shared):
    """The same weights imported into a run give the same figures."""
    file = shared / "golden" / "tf1_supernet_width8.npz"
    if not file.exists():
        pytest.skip(f"{file} not found")
    keys = [word for word in place.words("x")[1:] if word.startswith(("--data", "--eval"))]
    words = ("--protocol", "standard", "--arch", "000021222", "--references", "none", *keys)
    found = told("evaluate", file, *words)["results"][0]
    out = place.runs / "imported"
    assert command("import-tf1", file, "--out", out).code == 0
    again = told("evaluate", out, *words)["results"][0]
    assert found["model"] == "tf1_supernet_width8.npz" and again["model"] == "imported/step-00000000"
    assert {**found, "model": "", "source": ""} == {**again, "model": "", "source": ""}
    ended = command("evaluate", file, "--protocol", "standard", "--arch", "000021222")
    assert ended.code == 64 and "--data.train_dir" in ended.err
    ended = command("evaluate", file, *words, "--checkpoint", "best")
    assert ended.code == 64 and "one file" in ended.err
    ended = command("evaluate", file, *words, "--record")
    assert ended.code == 64 and "--record" in ended.err


def test_the_published_model_needs_no_training_data(place, shared):
    """Its batch norm is frozen.  BGR, 0..255: the same as through a run made of the file."""
    file = shared / "golden" / "tf1_edgeflownet_width8.npz"
    if not file.exists():
        pytest.skip(f"{file} not found")
    words = ("--data", f"fc2@{place.data}", "--protocol", "edgeflownet", "--size", "32x48", "--references", "none")
    found = told("evaluate", file, *words)
    assert found["protocol"] == "edgeflownet:32x48,clip50"
    (row,) = found["results"]
    assert row["code"] is None and row["model"] == "tf1_edgeflownet_width8.npz"
    out = place.runs / "published"
    assert command("import-tf1", file, "--out", out).code == 0
    (again,) = told("evaluate", out, *words)["results"]
    assert again["epe"] == row["epe"] and again["model"] == "published/step-00000000"
    keys = [word for word in place.words("x")[1:] if word.startswith(("--data", "--eval")) and "pool" not in word]
    frozen = told("evaluate", out, *keys)["results"]
    assert [entry["epe"] for entry in frozen] == pytest.approx([row["epe"]], rel=1e-5)  # all three pairs, one crop


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "--protocol", "kitti"), "standard, edgeflownet, training, deploy"),
        (("RUN", "--protocol", "deploy"), "--size HxW"),
        (("RUN", "--protocol", "deploy", "--size", "180"), "--size '180' must be rows x columns"),
        (("RUN", "--protocol", "standard", "--size", "32x48"), "--size has no meaning"),
        (("RUN", "--protocol", "edgeflownet"), "these are 40x56"),
        (("RUN", "--protocol", "standard", "--references", "raft"), "--references 'raft' is unknown"),
        (("RUN", "--protocol", "standard", "--split", "train"), "--split is an option of the frozen evaluation"),
        (("RUN", "--data", "fc2@DATA", "--batches", "all"), "--batches is an option of the frozen evaluation"),
        (("RUN", "--data", "fc2@DATA", "--baseline", "zero"), "--baseline zero|dis|... alone"),
        (("RUN", "--size", "32x48"), "--size is an option of --data or --protocol"),
        (("RUN", "--record"), "--record is an option of --data or --protocol"),
        (("RUN", "--references", "none"), "--references is an option of --data or --protocol"),
        (("--data", "fc2@DATA"), "give what to evaluate"),
        (("--baseline", "zero"), "--baseline zero needs --data"),
        (("--baseline", "raft", "--data", "fc2@DATA"), "'raft' is unknown"),
        (("--baseline", "zero", "--data", "fc2@DATA", "--protocol", "training"), "give the run directory"),
        (("--baseline", "zero", "--data", "fc2@DATA", "--arch", "000000000"), "--arch"),
        (("--baseline", "zero", "--data", "fc2@DATA", "--record"), "--record"),
        (("RUN", "--data", "fc2@DATA", "--arch", "0"), "1 digits"),
    ],
)
def test_refusals(run, place, words, message):
    given = [word.replace("RUN", str(run)).replace("DATA", str(place.data)) for word in words]
    before = contents(run)
    ended = command("evaluate", *given)
    assert ended.code == 64 and message in ended.err and "Traceback" not in ended.err, ended.err
    assert contents(run) == before


def test_data_that_are_not_there(run, place):
    ended = command("evaluate", run, "--data", f"fc2@{place.folder / 'nowhere'}")
    assert ended.code == 65 and "nowhere" in ended.err
    ended = command("evaluate", run, "--protocol", "standard", f"--data.train_dir={place.data / 'val'}")
    assert ended.code == 65 and "data.train_dir" in ended.err and "calibration" in ended.err
