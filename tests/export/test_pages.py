"""The page and the header of a deploy folder, from the facts in report.json."""

import re

import pytest

from edgeflownas.export.pages import header_text, readme_text


def outputs(**rows):
    common = {"meaning": "m", "scale": 0.5, "zero_point": -3}
    return [{"name": name, "shape": [1, rows[name], 48, 2], "index": i, **common} for i, name in enumerate(rows)]


def report(**more):
    facts = {"code": "021100101", "space": "v1", "width": 8, "words": "EB0 depth 1", "size": [32, 48]}
    vela = {"version": "5", "target": "t", "accelerator": "a", "mode": "m", "milliseconds": 1.0, "fps": 1000.0}
    vela |= {"clock": "7 MHz", "arena": "9 KiB", "ini_sha256": "e" * 64, "sram_kib": 1.0, "flash_kib": 1.0}
    return {
        "model": {**facts, "weights_hash": "f" * 64, "tool": "edgeflownas 1", "flow_divisor": 1.0, **more},
        "input": {"channel_order": "bgr", "forms": {"model_int8.tflite": "x"}, "scale": 0.25, "zero_point": 0},
        "outputs": outputs(uncertainty=32, flow=32),
        "files": {"model_int8.tflite": {"bytes": 1, "what": "w"}},
        "verified": True,
        "verification": {"notes": []},
        "vectors": {"fast_mean_steps": 0.25, "fast_largest_step": 4},
        "vela": {**vela, "sram_bytes": 1024},
    }


@pytest.mark.parametrize(("divisor", "factor"), [(1.0, ""), (20.0, ' * (20.0 if name.startswith("flow") else 1.0)')])
def test_the_page_has_the_values_of_the_model(divisor, factor):
    text = readme_text(report(flow_divisor=divisor))
    assert f"* scale{factor}\n" in text
    assert ("0.5 x (value +3) x 20.0" in text) == (divisor == 20.0) and "0.5 x (value +3)\n" in text
    assert "blue, green, red" in text and "BGR" in text and "kUncertaintyIndex" in text
    assert "(a at 7 MHz), mode m, arena 9 KiB, ini eeeeeeeeeeee: 1.0 ms" in text
    assert "differ by 0.25 steps on average, 4 at most" in text
    assert "{" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def test_raw_predictions_are_not_called_flow():
    facts = report() | {"outputs": outputs(flow_raw_quarter=8, flow_raw_half=16, flow_raw_full=32)}
    code = readme_text(facts).partition("```cpp")[2].partition("```")[0]
    assert "// This is NOT the flow: read and sum: kFlowRawQuarterIndex, kFlowRawHalfIndex." in code


@pytest.mark.parametrize(
    ("files", "shape"),
    [
        (["model_int8.tflite"], "`flow` [1x32x48x2] (NHWC): "),
        (["model_int8.tflite", "model.onnx"], "`flow` [1x32x48x2] (NHWC), in ONNX files [1x2x32x48] (NCHW): "),
        (["model.onnx"], "`flow` [1x2x32x48] (NCHW): "),
    ],
)
def test_the_page_is_true_of_the_files_there_are(files, shape):
    facts = report() | {"files": {name: {"bytes": 1, "what": "w"} for name in files}}
    facts["input"]["forms"] = dict.fromkeys(files, "x")
    text = readme_text(facts)
    assert shape in text
    lite = "model_int8.tflite" in files
    assert ("pixel - 128" in text) == ("model.h" in text) == lite


@pytest.mark.parametrize(
    ("verified", "notes", "verdict"),
    [(True, [], "passed."), (True, ["x"], "passed, with notes in"), (None, None, "not")],
)
def test_the_page_has_the_verdict(verified, notes, verdict):
    facts = report() | {"verified": verified, "verification": None if notes is None else {"notes": notes}}
    assert f"Verification against the float model: {verdict}" in readme_text(facts)


def test_the_header_has_an_index_and_a_scale_for_every_output():
    text = header_text(bytes(range(256)), report(flow_divisor=20.0))
    for line in (
        "int kFlowIndex = 1;",
        "kUncertaintyIndex = 0;",
        "float kFlowScale = 0.5f;",
        "kFlowZeroPoint = -3;",
    ):
        assert line in text
    assert "kFlowDivisor = 20.0f;" in text and "alignas(16)" in text and text.count("EDGEFLOWNAS_MODEL_H_") == 3
    array = text.partition("kModel[kModelBytes] = {\n")[2].rpartition("};")[0]
    assert bytes(map(int, array.split(","))) == bytes(range(256))
