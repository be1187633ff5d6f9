"""`edgeflownas verify` as a user runs it: a sound folder passes, and whatever is wrong with one is said."""

import copy
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from runs import BRIEF, command, contents, told

from edgeflownas.hardware.tflite import TfliteModel

pytestmark = pytest.mark.e2e
USED = ("model", "outputs", "files", "vectors", "verified", "verification")
FORMATS = "tflite-int8,tflite-float,onnx"


@pytest.fixture(scope="module")
def run(place):
    return place.trained("base", *BRIEF, "--train.width=8")


@pytest.fixture(scope="module")
def deployed(run, place):
    out = place.folder / "deploy"
    ended = command("export", run, "--size=32x48", "--out", out, "--pairs=2", "--format", FORMATS, "--outputs=scales")
    assert ended.code == 0, ended.err
    return out


def test_a_sound_folder(run, deployed):
    before = contents(deployed), contents(run)
    ended = command("verify", deployed)
    assert ended.code == 0, ended.out + ended.err
    assert "hash of the report: 14 of 14" in ended.out and "to the bit: 6 of 6" in ended.out
    assert ended.out.endswith("verdict: passed\n")
    document = told("verify", deployed, run, "--pairs=2")
    assert document["verdict"] == "passed" and not document["reasons"]
    found = document["verification"]
    stored = json.loads((deployed / "report.json").read_text())["verification"]
    assert found == stored and found["pairs"] == 2
    assert {row["path"] for row in found["outputs"]} == {"folded", *FORMATS.split(",")}
    ended = command("verify", deployed, run, "--data=synth", "--pairs=1")
    assert "verification on 1 pair of generated" in ended.out and "onnx" in ended.out
    assert (contents(deployed), contents(run)) == before


def cut(folder):
    os.truncate(folder / "model_int8.tflite", 1000)


def change(folder):
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def remove(folder):
    (folder / "model_int8_vela.tflite").unlink()


def change_vector(folder):
    path = folder / "test_vectors" / "1_flow.bin"
    content = bytearray(path.read_bytes())
    content[5] = (content[5] + 3) % 256
    path.write_bytes(content)


def change_page(folder):
    (folder / "README.md").write_text("Add 128 to every pixel.")


def fake_vector(folder):
    change_vector(folder)
    report = json.loads((folder / "report.json").read_text())
    digest = hashlib.sha256((folder / "test_vectors" / "1_flow.bin").read_bytes()).hexdigest()
    report["vectors"]["sha256"]["test_vectors/1_flow.bin"] = digest
    (folder / "report.json").write_text(json.dumps(report))


def cut_vector(folder):
    os.truncate(folder / "test_vectors" / "0_images.bin", 10)


def remove_vectors(folder):
    shutil.rmtree(folder / "test_vectors")


def fake_report(folder):
    """A model that is cut, with the hash of the cut one."""
    cut(folder)
    report = json.loads((folder / "report.json").read_text())
    digest = hashlib.sha256((folder / "model_int8.tflite").read_bytes()).hexdigest()
    report["files"]["model_int8.tflite"]["sha256"] = digest
    (folder / "report.json").write_text(json.dumps(report))


def failed_before(folder):
    report = json.loads((folder / "report.json").read_text())
    report["verified"] = False
    report["verification"]["reasons"] = ["something"]
    (folder / "report.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (cut, "model_int8.tflite: 1,000 bytes, not those that the report has the hash of"),
        (change, "model.onnx: "),
        (remove, "model_int8_vela.tflite: No such file or directory: export it again"),
        (change_page, "README.md: "),
        (change_vector, "test_vectors/1_flow.bin: 3,072 bytes, not those that the report has the hash of"),
        (cut_vector, "test_vectors/0_images.bin: 10 bytes, not those"),
        (remove_vectors, "test_vectors/1_flow_half.bin: No such file or directory: export it again"),
        (fake_vector, "test vector 1, flow: 1 of 3072 integers differ from the stored ones, by 3 at most"),
        (fake_report, "model_int8.tflite: "),
        (failed_before, "at the export: something"),
    ],
)
def test_what_is_wrong_is_said(deployed, tmp_path, harm, text):
    folder = shutil.copytree(deployed, tmp_path / "deploy")
    harm(folder)
    ended = command("verify", folder)
    assert ended.code == 65 and text in ended.out and ended.out.endswith("verdict: failed\n"), ended.out + ended.err
    ended = command("verify", folder, "--json")
    assert ended.code == 65 and json.loads(ended.out)["verdict"] == "failed"
    reasons = json.loads(ended.out)["reasons"]
    assert len({reason.split(":")[0] for reason in reasons}) == len(reasons)  # each is said once


def test_a_model_that_computes_something_else(run, deployed, tmp_path):
    """Its hashes and vectors are its own: only the comparison with the run finds it, and names the operator."""
    folder = shutil.copytree(deployed, tmp_path / "deploy")
    path = folder / "model_float.tflite"
    content = path.read_bytes()
    model = TfliteModel(content, "plain", preserve_all=True)
    (bias,) = model.tensors(["Up1.bias"]).values()
    assert content.count(bias.tobytes()) == 1
    path.write_bytes(content.replace(bias.tobytes(), (bias + np.float32(0.5)).tobytes()))
    report = json.loads((folder / "report.json").read_text())
    report["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "report.json").write_text(json.dumps(report))
    assert command("verify", folder).code == 0
    ended = command("verify", folder, run, "--pairs=2")
    assert ended.code == 65 and "tflite-float: most of the error enters at Up1 (conv)" in ended.out
    (line,) = [line for line in ended.out.splitlines() if line.endswith(" <")]
    assert line.startswith("Up1 ")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 64, "one folder and at most one run expected"),
        (("nowhere",), 65, "give the folder that edgeflownas export made"),
        (("DEPLOY", "--pairs=2"), 64, "--pairs belongs to a comparison with the run"),
        (("DEPLOY", "--data.train_dir=x"), 64, "belongs to a comparison"),
        (("DEPLOY", "RUN", "--pairs=0"), 64, "--pairs 0"),
        (("DEPLOY", "nowhere"), 74, "nowhere"),
        (("DEPLOY", "RUN", "--data=nowhere"), 65, "--data synth"),
        (("DEPLOY", "RUN", "--pear=2"), 64, "did you mean --pairs"),
    ],
)
def test_refusals(run, deployed, words, code, text):
    known = {"DEPLOY": deployed, "RUN": run}
    ended = command("verify", *(known.get(word, word) for word in words))
    assert ended.code == code and text in ended.err, ended.err


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"files": {"../x": {"sha256": ""}}, "model": {"code": "1"}}'])
def test_a_damaged_report(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    ended = command("verify", tmp_path)
    assert ended.code == 65 and "not the report of an export, or damaged" in ended.err


def altered(report, *path, value=None):
    """Its text with the entry at ``path`` replaced, removed without ``value``."""
    changed = copy.deepcopy(report)
    part = changed
    for name in path[:-1]:
        part = part[name]
    if value is None:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return json.dumps(changed)


def test_whatever_is_damaged_is_one_error(deployed, tmp_path):
    report = json.loads((deployed / "report.json").read_text())
    texts = [
        *(altered(report, name, value=value) for name in report for value in ("x", [3]) if name in USED),
        *(altered(report, name) for name in ("files", "outputs", "vectors", "verified", "verification", "model")),
        *(altered(report, "model", name) for name in ("space", "width", "weights_hash", "outputs", "uncertainty")),
        altered(report, "verified", value=False),
        altered(report, "verification", "reasons", value=["something"]),
        altered(report, "files", value={}),
        altered(report, "files", "README.md"),
        altered(report, "model", "size", value=[32, 50]),
        altered(report, "vectors", "sha256", "test_vectors/1_flow.bin"),
        altered(report, "files", "model.h", "sha256", value="no digest"),
        json.dumps(report)[:-100],
        "[" * 100_000,
    ]
    assert len(texts) > 25
    for text in texts:
        (tmp_path / "report.json").write_text(text)
        ended = command("verify", tmp_path)
        assert ended.code == 65 and "not the report of an export, or damaged (" in ended.err, text[:300]
        assert ended.err.count("\n") == 1 and not ended.out


def test_a_file_of_weights_in_place_of_the_run(deployed, shared):
    ended = command("verify", deployed, shared / "golden" / "tf1_edgeflownet_width8.npz", "--data=synth")
    assert ended.code == 64 and "checkpoint" not in ended.err, ended.err


def test_another_run(place, deployed):
    other = place.trained("other", *BRIEF, "--runtime.seed=5")
    ended = command("verify", deployed, other)
    assert ended.code in (64, 74) and ("the folder was made of" in ended.err or "no such checkpoint" in ended.err)
