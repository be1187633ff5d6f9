"""``README.md`` of a deploy folder: what goes in, what comes out, and code that does it, with this model's values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeflownas.export.header import constant_name

Report = Mapping[str, Any]
BGR = "channels in the order blue, green, red"
RGB = "channels in the order red, green, blue"

PYTHON = '''\
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

# The kernels of the test vectors.  Leave the option out for LiteRT's fast ones, which round otherwise.
kernels = OpResolverType.BUILTIN_REF
model = Interpreter("model_int8.tflite", experimental_op_resolver_type=kernels)
model.allocate_tensors()
images = model.get_input_details()[0]["index"]
outputs = {{detail["name"]: detail for detail in model.get_output_details()}}


def integers(first, second):
    """uint8 [{rows},{columns},3] each, {order} -> int8 [1,{rows},{columns},6]."""
    pixels = np.concatenate([first, second], axis=-1).astype(np.int16)
    return (pixels - 128).astype(np.int8)[None]


def run(pixels):
    """int8 [1,{rows},{columns},6] -> every output by name, int8."""
    model.set_tensor(images, pixels)
    model.invoke()
    return {{name: model.get_tensor(detail["index"])[0] for name, detail in outputs.items()}}


def real(name, values):
    scale, zero_point = outputs[name]["quantization"]
    return (values.astype(np.float32) - zero_point) * scale{times}


for number in (0, 1):
    pixels = np.fromfile(f"test_vectors/{{number}}_images.bin", np.int8).reshape(1, {rows}, {columns}, 6)
    for name, found in run(pixels).items():
        expected = np.fromfile(f"test_vectors/{{number}}_{{name}}.bin", np.int8).reshape(found.shape)
        steps = np.abs(found.astype(int) - expected).max()
        print(number, name, "largest difference in steps", steps, "mean", real(name, found).mean((0, 1)))
'''
CPP = """\
#include <cstdint>
#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

using namespace edgeflownas;
alignas(16) static uint8_t arena[kArenaBytes + 16 * 1024];  // the rest: the interpreter; raise it if it fails

// Frames: kRows x kColumns x 3, {order}. {variable}: {pixels} x 2: u (right), v (down), px.{others}
bool Estimate(const uint8_t* first, const uint8_t* second, float* {variable}) {{
  static tflite::MicroMutableOpResolver<1> operators;
  static const bool added = operators.AddEthosU() == kTfLiteOk;
  static tflite::MicroInterpreter interpreter(tflite::GetModel(kModel), operators, arena, sizeof(arena));
  static const bool ready = added && interpreter.AllocateTensors() == kTfLiteOk;
  if (!ready) return false;
  int8_t* images = interpreter.input(0)->data.int8;
  for (int pixel = 0; pixel < kRows * kColumns; ++pixel) {{
    for (int channel = 0; channel < 3; ++channel) {{
      images[6 * pixel + channel] = static_cast<int8_t>(first[3 * pixel + channel] - 128);
      images[6 * pixel + 3 + channel] = static_cast<int8_t>(second[3 * pixel + channel] - 128);
    }}
  }}
  if (interpreter.Invoke() != kTfLiteOk) return false;
  const int8_t* found = interpreter.output(k{Output}Index)->data.int8;
  for (int i = 0; i < 2 * k{Output}Rows * k{Output}Columns; ++i)
    {variable}[i] = (found[i] - k{Output}ZeroPoint) * k{Output}Scale * kFlowDivisor;
  return true;
}}
"""
TFLM = "TensorFlow Lite Micro with the Ethos-U operator; the board's own code starts the driver before."
TAKE = "Take outputs by their name"
COMPILED = "; in the compiled file, where the firmware sees none, by the index in model.h"
SUMMING = """\
These are predictions to be summed on the device: A0 = quarter, A1 = up2(A0) + half, A2 = up2(A1) + full, and A2 is the
result. up2 doubles rows and columns: repeat every pixel twice each way, then take the mean of each 2x2 window that
begins at a pixel (the last row and column once more beyond the edge)."""


def readme_text(report: Report) -> str:
    """The page, from the facts in report.json."""
    facts = report["model"]
    rows, columns = facts["size"]
    integer = "model_int8.tflite" in report["files"]
    parts = [
        f"# Optical flow, subnet {facts['code']}, {rows}x{columns}",
        _head(report),
        _files(report),
        _input(report),
        _outputs(report),
    ]
    if integer:
        times = f' * ({facts["flow_divisor"]!r} if name.startswith("flow") else 1.0)' if _divided(report) else ""
        values = {"rows": rows, "columns": columns, "order": _order(report), "times": times}
        parts += ["## Python", f"Checks itself against the test vectors.\n\n```python\n{PYTHON.format(**values)}```"]
        parts += [
            "## C++",
            f"{TFLM}\n\n```cpp\n{_cpp(report)}```",
        ]
        parts += ["## Test vectors", _vectors(report), "## Figures", _figures(report)]
    return "\n\n".join(parts) + "\n"


def _head(report: Report) -> str:
    facts = report["model"]
    notes = (report["verification"] or {}).get("notes")
    passed = "passed, with notes in `report.json`" if notes else "passed"
    verdict = {True: passed, False: "FAILED: do not ship it before report.json is read", None: "not run"}
    return "\n".join(
        [
            f"Space {facts['space']}, width {facts['width']}: {facts['words']}.",
            f"Weights `{facts['weights_hash']}`, made by {facts['tool']}.",
            f"Verification against the float model: {verdict[report['verified']]}. Every figure is in `report.json`.",
        ]
    )


def _divided(report: Report) -> bool:
    return bool(report["model"]["flow_divisor"] != 1.0)


def _files(report: Report) -> str:
    rows = [f"| `{name}` | {entry['bytes']:,} | {entry['what']} |" for name, entry in report["files"].items()]
    return "\n".join(["| file | bytes | what |", "|---|---|---|", *rows])


def _order(report: Report) -> str:
    return BGR if report["input"]["channel_order"] == "bgr" else RGB


def _input(report: Report) -> str:
    rows, columns = report["model"]["size"]
    lines = [
        "## Before the network",
        "",
        f"Two frames of {rows}x{columns} px (rows x columns), 8 bits, {_order(report)}; image 1 is the earlier one. "
        "No frame is resized or padded by the model.",
        "",
        *(f"- `{name}`: input `images`, {text}" for name, text in report["input"]["forms"].items()),
    ]
    if "model_int8.tflite" in report["files"]:
        scale, zero = report["input"]["scale"], report["input"]["zero_point"]
        lines += [
            "",
            f"In integers (TensorFlow Lite): value = pixel - 128, nothing else (scale {scale!r}, zero point {zero}).",
        ]
    return "\n".join(lines)


def _outputs(report: Report) -> str:
    integer = "model_int8.tflite" in report["files"]
    lines = ["## After the network", ""]
    for output in report["outputs"]:
        lines.append(f"- `{output['name']}` {_shapes(report, output['shape'])}: {output['meaning']}")
        if integer:
            times = f" x {report['model']['flow_divisor']!r}" if _divided(report) and "flow" in output["name"] else ""
            lines.append(f"  In integers: {output['scale']!r} x (value {-output['zero_point']:+d}){times}")
    if any("_raw" in output["name"] for output in report["outputs"]):
        lines += ["", SUMMING]
    lines += ["", f"{TAKE}{COMPILED if integer else ''}."]
    return "\n".join(lines)


def _shapes(report: Report, shape_1HWC: Sequence[int]) -> str:
    """The shape of an output in the kinds of files there are."""
    n, rows, columns, channels = shape_1HWC
    onnx, lite = (any(name.endswith(ending) for name in report["input"]["forms"]) for ending in (".onnx", ".tflite"))
    first, last = f"[{n}x{rows}x{columns}x{channels}] (NHWC)", f"[{n}x{channels}x{rows}x{columns}] (NCHW)"
    if onnx and lite:
        return f"{first}, in ONNX files {last}"
    return last if onnx else first


def _cpp(report: Report) -> str:
    flows = [output for output in report["outputs"] if output["name"].startswith("flow")]
    output = max(flows, key=lambda output: int(output["shape"][1]))
    name = constant_name(output["name"])
    others = ", ".join(f"k{constant_name(other['name'])}Index" for other in report["outputs"] if other is not output)
    if others:
        raw = "This is NOT the flow: read and sum" if "_raw" in output["name"] else "Also in the file"
        others = f"{raw}: {others}"
    return CPP.format(
        order=report["input"]["channel_order"].upper(),
        Output=name,
        variable=output["name"],
        pixels=f"k{name}Rows x k{name}Columns",
        others=others and f"\n// {others}.",
    )


def _vectors(report: Report) -> str:
    names = ", ".join(f"`N_{output['name']}.bin`" for output in report["outputs"])
    apart = report["vectors"]
    fast = "LiteRT's fast ones do not take this model"
    if apart["fast_mean_steps"] is not None:
        steps = f"{apart['fast_mean_steps']:.2f} steps on average, {apart['fast_largest_step']} at most"
        fast = f"on these pairs LiteRT's fast ones differ by {steps}"
    return (
        "`test_vectors/N_images.bin` is an input (N = 0, 1), "
        f"{names} what LiteRT's reference kernels make of it: raw int8, row by row, channels last. The images are "
        "generated (`edgeflownas data synth`, seed 0), of no data set. Kernels that round otherwise give other "
        f"integers: {fast}. No board has been tried."
    )


def _figures(report: Report) -> str:
    vela = report["vela"]
    return "\n".join(
        [
            f"Estimated by Vela {vela['version']}, target {vela['target']} ({vela['accelerator']} at {vela['clock']}), "
            f"mode {vela['mode']}, arena {vela['arena']}, ini {vela['ini_sha256'][:12]}: "
            f"{vela['milliseconds']:.1f} ms ({vela['fps']:.1f} a second), "
            f"{vela['sram_kib']:.0f} KiB SRAM, {vela['flash_kib']:.0f} KiB flash, no operator on the CPU.",
            "An estimate of the compiler, not a measurement on a board.",
        ]
    )
