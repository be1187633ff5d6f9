"""`edgeflownas export` as a user runs it: a folder that works, says what it is, and is whole or not there."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from numeric import relative_difference
from runs import BRIEF, command, contents, told
from tiny import make_tiny

from edgeflownas.data.formats import read_flo, read_image
from edgeflownas.export import build, verify
from edgeflownas.export.paths import as_integers
from edgeflownas.hardware import extras
from edgeflownas.hardware.targets import get_target
from edgeflownas.hardware.tflite import TfliteModel
from edgeflownas.models.blocks import InputForm

pytestmark = pytest.mark.e2e
SIZE, ONE = "--size=32x48", "--eval.eval_pool_size=1"
VECTORS = {f"test_vectors/{number}_{name}.bin" for number in (0, 1) for name in ("images", "flow")}
WHOLE = {"model_int8.tflite", "model_int8_vela.tflite", "model.h", "README.md", "report.json"} | VECTORS


@pytest.fixture(scope="module")
def run(place):
    return place.trained("base", *BRIEF, "--train.width=8")


@pytest.fixture(scope="module")
def deployed(run, place):
    """A folder made once; `json` is what the command said."""
    ended = export(run, place.folder / "deploy", "--json")
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    assert report == json.loads((place.folder / "deploy" / "report.json").read_text())
    return place.folder / "deploy"


def export(run, out, *words):
    size = () if any(str(word).startswith("--size") for word in words) else (SIZE,)
    return command("export", run, *size, "--out", out, "--pairs=3", *words)


def report_of(folder):
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def code(folder, language):
    match = re.search(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert match is not None
    return match[1]


def test_the_folder_holds_everything_and_the_run_is_untouched(run, place, deployed):
    before = contents(run)
    ended = export(run, place.folder / "again")
    assert ended.code == 0 and contents(run) == before
    assert {str(path.relative_to(deployed)) for path in deployed.rglob("*") if path.is_file()} == WHOLE
    for word in ("model_int8_vela.tflite", "grove-vision-ai-v2", "SRAM", "LiteRT int8", "PyTorch float32"):
        assert word in ended.out
    left, right = contents(deployed, ("report.json",)), contents(place.folder / "again", ("report.json",))
    assert left == right
    reports = [report_of(folder) for folder in (deployed, place.folder / "again")]
    assert [report.pop("measured").keys() for report in reports] == [{"cpu_ms", "seconds"}] * 2
    assert reports[0] == reports[1]


def test_the_report_says_where_everything_is_from(run, deployed):
    report = report_of(deployed)
    checkpoint = json.loads((run / "best.json").read_text())
    assert report["model"]["weights"].startswith(f"{run.name}/step-") and checkpoint
    assert report["batch_norm"]["samples"] == 3 and report["calibration"]["names"]
    assert report["vela"]["cpu_ops"] == 0 and report["vela"]["version"] and report["vela"]["ini_sha256"]
    assert "/" not in report["model"]["weights"].replace(run.name + "/", "")
    assert str(run.parent) not in (deployed / "report.json").read_text() + (deployed / "README.md").read_text()
    for name, entry in report["files"].items():
        assert (deployed / name).stat().st_size == entry["bytes"]


def test_the_model_says_what_it_is(deployed):
    data = (deployed / "model_int8.tflite").read_bytes()
    report = report_of(deployed)
    for text in (
        report["model"]["weights_hash"],
        report["calibration"]["hash"],
        report["model"]["code"],
        "pixel - 128",
    ):
        assert text.encode() in data


def pair(place):
    """Two frames of 32x48 on disk, and as the network gets them, uint8 [32,48,6]."""
    found, halves = [], []
    for k in (0, 1):
        image = read_image(place.data / "train" / f"0000003-img_{k}.png")[4:36, 4:52]
        found.append(place.folder / f"frame_{k}.png")
        halves.append(image)
        cv2.imwrite(str(found[-1]), image[..., ::-1])
    return found, np.concatenate(halves, axis=-1)


def test_the_files_compute_the_flow_that_infer_does(run, place):
    """The same subnet, calibration and frames, by the command that knows nothing of folding and integers."""
    frames, images = pair(place)
    arch = "021100101"
    made = command("infer", run, *frames, "--arch", arch, "--out", place.folder / "flow", "--formats=flo")
    assert made.code == 0, made.err
    flow, _ = read_flo(place.folder / "flow" / "frame_0.flo")
    ended = export(run, place.folder / "both", "--arch", arch, "--format", "tflite-float,tflite-int8")
    assert ended.code == 0, ended.err
    floats = TfliteModel((place.folder / "both" / "model_float.tflite").read_bytes())
    (exact,) = floats.run(images.astype(np.float32) / np.float32(127.5) - 1).values()
    assert relative_difference(exact[0], flow) <= 1e-4
    integers = TfliteModel((place.folder / "both" / "model_int8.tflite").read_bytes())
    ((name, values),) = integers.run(as_integers(images, InputForm())).items()
    noise = integers.real(name, values)[0] - flow
    assert 10 * np.log10(np.square(flow).mean() / np.square(noise).mean()) > 6  # hardly trained


def test_the_python_of_the_readme_finds_the_test_vectors(deployed):
    ended = subprocess.run(
        [sys.executable, "-c", code(deployed, "python")], cwd=deployed, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("largest difference in steps 0 ") == 2


STUBS = {
    "micro_mutable_op_resolver.h": """
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
union TfLitePtrUnion { int8_t* int8; };
struct TfLiteTensor { TfLitePtrUnion data; };
namespace tflite {
template <unsigned int count> struct MicroMutableOpResolver { TfLiteStatus AddEthosU() { return kTfLiteOk; } };
}
""",
    "micro_interpreter.h": """
#include <cstddef>
#include "micro_mutable_op_resolver.h"
namespace tflite {
struct Model;
struct MicroInterpreter {
  template <class Resolver> MicroInterpreter(const Model*, const Resolver&, uint8_t*, std::size_t) {}
  TfLiteStatus AllocateTensors(); TfLiteStatus Invoke();
  TfLiteTensor* input(std::size_t); TfLiteTensor* output(std::size_t);
};
}
""",
    "schema_generated.h": "namespace tflite { struct Model; const Model* GetModel(const void*); }",
}


def test_the_cpp_of_the_readme_compiles(deployed, tmp_path):
    """Against the signatures of TensorFlow Lite Micro that it uses, and nothing else."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ on this machine")
    guards = {name: f"#pragma once\n{text}" for name, text in STUBS.items()}
    for folder, names in (
        ("micro", ("micro_mutable_op_resolver.h", "micro_interpreter.h")),
        ("schema", ("schema_generated.h",)),
    ):
        below = tmp_path / "tensorflow" / "lite" / folder
        below.mkdir(parents=True)
        for name in names:
            (below / name).write_text(guards[name])
    (tmp_path / "flow.cpp").write_text(code(deployed, "cpp"))
    words = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{tmp_path}", f"-I{deployed}"]
    ended = subprocess.run([compiler, *words, "flow.cpp"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert len(code(deployed, "cpp").splitlines()) <= 35


def test_the_header_holds_the_compiled_model(deployed):
    text = (deployed / "model.h").read_text()
    array = text.partition("kModel[kModelBytes] = {\n")[2].rpartition("};")[0]
    assert bytes(map(int, array.split(","))) == (deployed / "model_int8_vela.tflite").read_bytes()
    assert f"kModelBytes = {(deployed / 'model_int8_vela.tflite').stat().st_size};" in text


def test_generated_pairs_need_no_data_of_their_own(run, place):
    words = ("--calibration-data=synth", "--data=synth", "--calibration-pairs=8", "--size=48x64", "--outputs=scales")
    ended = export(run, place.folder / "synth", *words, "--uncertainty", "--calibrate=percentile:99.99")
    assert ended.code == 0, ended.err
    report = report_of(place.folder / "synth")
    assert (
        report["calibration"]["from"].startswith("generated:") and report["calibration"]["method"] == "percentile:99.99"
    )
    outputs = {entry["name"]: entry["shape"][1] for entry in report["outputs"]}
    assert outputs == {
        "flow_quarter": 12, "uncertainty_quarter": 12, "flow_half": 24, "uncertainty_half": 24,
        "flow": 48, "uncertainty": 48,
    }  # fmt: skip
    assert {entry["index"] for entry in report["outputs"]} == set(range(6))


def test_pairs_from_elsewhere(run, place, tmp_path):
    """Folders that are overridden are used, and nothing says that they are not."""
    elsewhere = make_tiny(tmp_path / "elsewhere", val=2, seed=9)
    ended = export(run, tmp_path / "out", f"--data.val_dir={elsewhere / 'val'}", "--data.on_bad_sample=quarantine")
    assert ended.code == 0 and "no effect" not in ended.err, ended.err
    assert report_of(tmp_path / "out")["verification"]["from"].endswith("/2")
    ended = export(run, tmp_path / "other", "--data.val_dir=nowhere")
    assert ended.code == 65 and "nowhere" in ended.err and "no effect" not in ended.err
    assert "--train.lr has no effect" in export(run, tmp_path / "other", "--train.lr=1", "--data.val_dir=x").err


def test_a_target_of_ones_own(run, tmp_path):
    ini = tmp_path / "mine.ini"
    ini.write_text(get_target("grove-vision-ai-v2").ini)
    target = get_target("grove-vision-ai-v2")
    words = (str(ini), target.accelerator, target.system_config, target.memory_mode)
    ended = export(run, tmp_path / "out", f"--target={','.join(words)}")
    assert ended.code == 0, ended.err
    vela = report_of(tmp_path / "out")["vela"]
    assert vela["target"] == "mine" and vela["ini_sha256"] == hashlib.sha256(target.ini.encode()).hexdigest()
    model = tmp_path / "out" / "model_int8.tflite"
    assert told("vela", model, "--target", ",".join(words))["models"][0]["name"]


def test_an_arena_that_is_not_kept_is_said(run, tmp_path):
    for arena, kept in ((1, False), (500, True)):
        ended = export(run, tmp_path / str(arena), f"--arena={arena}")
        assert ended.code == 0 and (f"--arena {arena}: Vela could not keep to it" in ended.err) != kept, ended.err


def test_other_networks(place, tmp_path):
    """EdgeFlowNet's published form (frozen batch norm, BGR) and a subnet that was trained alone."""
    alone = place.trained("alone", "--train.task=standalone", ONE, "--train.arch=021100101")
    assert export(alone, tmp_path / "alone").code == 0
    assert report_of(tmp_path / "alone")["model"]["code"] == "021100101"
    words = ("--train.task=edgeflownet", ONE, "--train.batch_norm=frozen", "--data.channel_order=bgr")
    published = place.trained("published", *BRIEF, *words, "--train.input_normalisation=raw_0_255")
    ended = export(published, tmp_path / "published")
    assert ended.code == 0, ended.err
    report = report_of(tmp_path / "published")
    assert report["model"]["code"] == "edgeflownet" and report["batch_norm"]["recalibrated_on"] is None
    assert (
        report["input"]["channel_order"] == "bgr"
        and "blue, green, red" in (tmp_path / "published" / "README.md").read_text()
    )


def test_frozen_statistics_are_folded_as_they_were_trained(run, place, tmp_path):
    """On the evaluation's own pairs and size the EPE of the float files is that of the run's last evaluation."""
    words = ("--train.task=standalone", ONE, "--train.arch=021100101", "--train.width=8", "--data.crop_size=32x48")
    words = (*words, "--train.batch_norm=frozen", "--eval.eval_every_epoch=1")
    tuned = place.trained("tuned", *BRIEF, *words, f"--train.init_from={run}")
    ended = export(tuned, tmp_path / "tuned", "--checkpoint=latest", "--format=tflite-float")
    assert ended.code == 0, ended.err
    report = report_of(tmp_path / "tuned")
    assert report["batch_norm"] == {"recalibrated_on": None, "samples": 0}
    epes = {row["path"]: row["epe"] for row in report["verification"]["paths"]}
    evaluated = told("evaluate", tuned)["results"][0]["epe"]
    for path in ("training", "folded", "tflite-float"):
        assert epes[path] == pytest.approx(evaluated, rel=1e-5)


# ---- refused, interrupted or failed: what it says, and that nothing half-made is left ----


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("--size=36x50",), 64, "the nearest are 32x48 or 48x64"),
        (("--size=32",), 64, "--size '32' must be rows x columns"),
        (("--format=tflite-int4",), 64, "'tflite-int4' is unknown; choose from tflite-int8"),
        (("--format=",), 64, "--format"),
        (("--format=tflite-float,onnx-int8",), 64, "'onnx-int8' is no longer written: take tflite-int8"),
        (("--outputs=all",), 64, "outputs 'all' is unknown"),
        (("--calibrate=max",), 64, "'max'"),
        (("--calibration-pairs=0",), 64, "--calibration-pairs 0"),
        (("--arch=0000",), 64, "has 4 digits"),
        (("--checkpoint=step-00000099",), 74, "no such checkpoint"),
        (("--target=u85",), 64, "target 'u85' is unknown"),
        (("--target=",), 64, "target '' is unknown"),
        (("--mode=fast",), 64, "mode 'fast'"),
        (("--formt=onnx",), 64, "did you mean --format"),
        (("--size=48x48",), 65, "--calibration-data synth"),
        (("--data=nowhere",), 65, "--data synth"),
        (("--calibration-data=nowhere",), 65, "nowhere"),
        (("--data.train_dir=nowhere",), 65, "--data.train_dir DIR"),
        (("--train.width=4",), 64, "weights do not fit"),
        *(
            (("--format=tflite-float,onnx", option), 64, f"{option.replace('=', ' ')} would do nothing: no format is")
            for option in ("--calibration-data=synth", "--calibrate=minmax", "--calibration-pairs=32")
        ),
        *(
            (("--format=onnx", option), 64, f"{option.replace('=', ' ')} would do nothing: Vela compiles")
            for option in ("--target=u55-256", "--mode=performance", "--arena=500")
        ),
        (("--no-verify", "--data=synth"), 64, "--data synth would do nothing: --no-verify compares nothing"),
        (("--target=own.ini,ethos-u55-64,WE2,WE2_Shared",), 65, "own.ini: cannot be read"),
        (("--target=own.ini,ethos-u55-64",), 64, "FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE"),
    ],
)
def test_refusals_name_the_remedy_and_write_nothing(run, place, words, code, text):
    out = place.folder / "refused"
    ended = export(run, out, *words)
    assert ended.code == code and text in ended.err, ended.err
    assert not out.exists() and not list(place.folder.glob(".*"))


def test_what_is_missing_is_named(run, place):
    ended = command("export", run, "--out", place.folder / "x")
    assert ended.code == 64 and "--size ROWSxCOLUMNS missing" in ended.err
    ended = command("export", SIZE)
    assert ended.code == 64 and "the run and --out DIR missing" in ended.err
    ended = export(place.folder / "runs" / "bsae", place.folder / "x")
    assert ended.code == 74 and "bsae" in ended.err


def test_an_interruption_leaves_nothing(run, place, monkeypatch):
    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "compile_tflite", interrupted)
    assert export(run, place.folder / "stopped").code == 130
    assert not (place.folder / "stopped").exists() and not list(place.folder.glob(".*"))


def test_a_missing_package_is_named_before_any_work(run, place, monkeypatch):
    monkeypatch.setitem(extras.PACKAGES, "vela", {"ethos-u-vela": ("ethosu.nothing",)})
    extras.need.cache_clear()
    try:
        ended = export(place.folder / "no-such-run", place.folder / "x")
        assert ended.code == 64 and "ethos-u-vela" in ended.err and 'pip install "edgeflownas[export]"' in ended.err
        ended = export(run, place.folder / "floats", "--format=tflite-float", "--data=synth")
        assert ended.code == 0, ended.err
    finally:
        monkeypatch.undo()
        extras.need.cache_clear()
    assert {path.name for path in (place.folder / "floats").iterdir()} == {
        "model_float.tflite",
        "README.md",
        "report.json",
    }
    assert report_of(place.folder / "floats")["calibration"] is None
    assert "-128" not in (place.folder / "floats" / "README.md").read_text()


def test_a_failed_verification_keeps_the_files_and_says_so(run, place, monkeypatch):
    monkeypatch.setattr(verify, "LARGEST_LOSS", -1e9)
    ended = export(run, place.folder / "failed")
    assert ended.code == 65 and "the verification failed" in ended.err and "failed" in ended.out
    assert report_of(place.folder / "failed")["verified"] is False
    assert {str(path.relative_to(place.folder / "failed")) for path in (place.folder / "failed").rglob("*.*")} == WHOLE
    assert "FAILED" in (place.folder / "failed" / "README.md").read_text()
    unasked = command("export", run, SIZE, "--out", place.folder / "unasked", "--no-verify")
    assert unasked.code == 0 and "not verified" in unasked.out
    assert report_of(place.folder / "unasked")["verified"] is None


def test_a_folder_with_files_is_left_alone(run):
    before = contents(run)
    ended = export(run, run)
    assert ended.code == 74 and "replaces none" in ended.err and contents(run) == before


def test_a_cut_checkpoint_is_an_error(run, place):
    copy = place.copy("base", "cut")
    for file in copy.glob("checkpoints/*/model.safetensors"):
        os.truncate(file, 100)
    ended = export(copy, place.folder / "x")
    assert ended.code == 74 and "checkpoint" in ended.err and not (place.folder / "x").exists()
