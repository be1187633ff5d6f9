"""`edgeflownas export` refused, interrupted or failed: what it says, and that nothing half-made is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runs import Place, command, contents
from test_export import SIZE, WHOLE, export, report_of

from edgeflownas.export import build, verify
from edgeflownas.hardware import extras

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("base", "--train.width=8")


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
def test_refusals_name_the_remedy_and_write_nothing(
    run: Path, place: Place, words: tuple[str, ...], code: int, text: str
) -> None:
    out = place.folder / "refused"
    ended = export(run, out, *words)
    assert ended.code == code and text in ended.err, ended.err
    assert not out.exists() and not list(place.folder.glob(".*"))


def test_what_is_missing_is_named(run: Path, place: Place) -> None:
    ended = command("export", run, "--out", place.folder / "x")
    assert ended.code == 64 and "--size ROWSxCOLUMNS missing" in ended.err
    ended = command("export", SIZE)
    assert ended.code == 64 and "the run and --out DIR missing" in ended.err
    ended = export(place.folder / "runs" / "bsae", place.folder / "x")
    assert ended.code == 74 and "bsae" in ended.err


def test_an_interruption_leaves_nothing(run: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "compile_tflite", interrupted)
    assert export(run, place.folder / "stopped").code == 130
    assert not (place.folder / "stopped").exists() and not list(place.folder.glob(".*"))


def test_a_missing_package_is_named_before_any_work(run: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_failed_verification_keeps_the_files_and_says_so(
    run: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "LARGEST_LOSS", -1e9)
    ended = export(run, place.folder / "failed")
    assert ended.code == 65 and "the verification failed" in ended.err and "failed" in ended.out
    assert report_of(place.folder / "failed")["verified"] is False
    assert {str(path.relative_to(place.folder / "failed")) for path in (place.folder / "failed").rglob("*.*")} == WHOLE
    assert "FAILED" in (place.folder / "failed" / "README.md").read_text()
    unasked = command("export", run, SIZE, "--out", place.folder / "unasked", "--no-verify")
    assert unasked.code == 0 and "not verified" in unasked.out
    assert report_of(place.folder / "unasked")["verified"] is None


def test_a_folder_with_files_is_left_alone(run: Path) -> None:
    before = contents(run)
    ended = export(run, run)
    assert ended.code == 74 and "replaces none" in ended.err and contents(run) == before


def test_a_cut_checkpoint_is_an_error(run: Path, place: Place) -> None:
    copy = place.copy("base", "cut")
    for file in copy.glob("checkpoints/*/model.safetensors"):
        os.truncate(file, 100)
    ended = export(copy, place.folder / "x")
    assert ended.code == 74 and "checkpoint" in ended.err and not (place.folder / "x").exists()
