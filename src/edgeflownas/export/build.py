"""One export: every file of the deploy folder and what report.json says of them.

model_int8.tflite   int8, for TensorFlow Lite Micro, LiteRT and Vela
model_float.tflite  float32, LiteRT
model.onnx          float32, ONNX Runtime
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, get_args

import numpy as np
import torch

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.export.pages import header_text, readme_text
from edgeflownas.export.paths import as_integers
from edgeflownas.export.source import Pairs, check_export_size, example_pairs
from edgeflownas.export.verify import verify
from edgeflownas.files import encoded
from edgeflownas.hardware.extras import need
from edgeflownas.hardware.latency import median_ms, torch_threads
from edgeflownas.hardware.targets import Target
from edgeflownas.hardware.tflite import Kernels, TfliteModel, write_float, write_int8
from edgeflownas.hardware.vela import Compiled, Mode, check_request, compile_tflite
from edgeflownas.models.graph import Buffer, Graph, Layer, Outputs, fold, graph_of, run_graph
from edgeflownas.models.int8 import Range, Scale, collect_ranges, integer_layers, parse_method, tensor_scales
from edgeflownas.run.run import Subnet

Format = Literal["tflite-int8", "tflite-float", "onnx"]
FILES: dict[str, str] = {"tflite-int8": "model_int8.tflite", "tflite-float": "model_float.tflite", "onnx": "model.onnx"}
INT8 = FILES["tflite-int8"]
COMPILED = "model_int8_vela.tflite"
WHAT = {
    INT8: "int8, TensorFlow Lite: what LiteRT and TensorFlow Lite Micro run, and Vela compiles",
    FILES["tflite-float"]: "float32, TensorFlow Lite",
    FILES["onnx"]: "float32, ONNX",
    COMPILED: "compiled by Vela for the Ethos-U",
    "model.h": "the compiled model as an array for firmware, with its scales",
    "README.md": "what goes in, what comes out, and code for both",
}
VECTOR_KERNELS: Kernels = "reference"
TIMED = 1, 5  # runs that warm up, and those whose median counts


def formats_of(text: str) -> tuple[Format, ...]:
    """The formats of a comma-separated list, each once, in the order of FILES.

    Raises ConfigError for an unknown one, or none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if "onnx-int8" in names:
        raise ConfigError("--format: 'onnx-int8' is no longer written: take tflite-int8, the file of integers")
    wrong = [name for name in names if name not in get_args(Format)]
    if wrong or not names:
        found = f"{wrong[0]!r} is unknown" if wrong else f"{text!r} names none"
        raise ConfigError(f"--format: {found}; choose from {', '.join(get_args(Format))}")
    return tuple(name for name in get_args(Format) if name in names)


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    formats: tuple[Format, ...]
    size: tuple[int, int]
    outputs: Outputs
    uncertainty: bool
    method: str
    target: Target
    mode: Mode
    arena: int | None  # KiB

    def __post_init__(self) -> None:
        """Finds everything that can be wrong with the words, before long work.  Raises ConfigError."""
        check_export_size(self.size)
        for option, value, known in (("outputs", self.outputs, Outputs), ("mode", self.mode, Mode)):
            if value not in get_args(known):
                raise ConfigError(f"--{option} {value!r} is unknown: {', '.join(get_args(known))}")
        check_request(self.mode, self.arena)
        parse_method(self.method)
        for name in self.formats:
            need("onnx" if name == "onnx" else "litert")
            if name == "tflite-int8":
                need("vela")


class Seconds(dict[str, float]):
    """Wall time of each step."""

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Count what happens meanwhile."""
        start = time.perf_counter()
        yield
        self[step] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Deployed:
    """Graph, folded layers, and the ranges of its tensors where anything is to be in integers."""

    subnet: Subnet
    graph: Graph
    layers: Mapping[str, Layer]
    ranges: Mapping[str, Range]
    calibration: Mapping[str, Any]  # how the ranges were found, plain data; empty without integers

    @property
    def scales(self) -> dict[str, Scale]:
        """Scale of every tensor by name."""
        return tensor_scales(self.graph, self.ranges, self.subnet.net.input_form)


def deploy(
    subnet: Subnet,
    size: tuple[int, int],
    outputs: Outputs,
    uncertainty: bool,
    method: str,
    pairs: Pairs | None,
    advance: Callable[[], None] = lambda: None,
) -> Deployed:
    """Fold the network, and find the ranges of its tensors, on one thread: the same on every machine of a kind.

    Images are of ``size`` px, multiples of 16; ``outputs`` leave the graph, each with its ``uncertainty`` beside it or
    not (models/graph.py); ranges follow by ``method`` (models/int8.py) from the values of ``pairs``, None where nothing
    will be in integers; ``advance`` is called after each of them.
    """
    graph = graph_of(subnet.net, size, outputs, uncertainty)
    layers = fold(subnet.net, graph)
    if pairs is None:
        return Deployed(subnet, graph, layers, {}, {})
    with torch_threads(1):
        ranges = collect_ranges(graph, layers, pairs.batches(subnet.net.input_form, advance), method)
    return Deployed(subnet, graph, layers, ranges, {"method": method, **pairs.facts()})


def write_models(deployed: Deployed, formats: Iterable[Format]) -> dict[str, bytes]:
    """The asked-for files by name; the same network and ranges give the same bytes."""
    graph, layers, files = deployed.graph, deployed.layers, {}
    for name in formats:
        notes = metadata(deployed, name)
        if name == "onnx":
            from edgeflownas.export.onnx import write_onnx

            files[FILES[name]] = write_onnx(graph, layers, notes)
        elif name == "tflite-float":
            files[FILES[name]] = write_float(graph, layers, notes)
        else:
            scales = deployed.scales
            files[FILES[name]] = write_int8(graph, integer_layers(graph, layers, scales), scales, notes)
    return files


def metadata(deployed: Deployed, name: Format) -> dict[str, str]:
    """What a file says of itself, texts by name."""
    subnet, graph = deployed.subnet, deployed.graph
    notes = {
        "tool": f"edgeflownas {version('edgeflownas')}",
        "code": subnet.code,
        "space": subnet.space,
        "width": str(subnet.net.width),
        "weights": subnet.checkpoint.hash,
        "input_size": f"{graph.images.rows}x{graph.images.columns}",
        "input": input_text(subnet, name),
        "channel_order": subnet.net.input_form.channel_order,
        "normalisation": subnet.net.input_form.normalisation,
        "flow_divisor": repr(subnet.flow_divisor),
    }
    if name == "tflite-int8":
        scales = deployed.scales
        notes["calibration"] = deployed.calibration["method"]
        notes["calibration_hash"] = deployed.calibration["hash"]
        notes["scales"] = json.dumps(
            {b.name: [scales[b.name].scale, scales[b.name].zero_point] for b in (graph.images, *graph.outputs)}
        )
    return notes | {f"output.{buffer.name}": describe_output(buffer, subnet.flow_divisor) for buffer in graph.outputs}


def input_text(subnet: Subnet, name: Format) -> str:
    """What the input tensor of a format holds."""
    order = subnet.net.input_form.channel_order.upper()
    images = f"{'NCHW' if name == 'onnx' else 'NHWC'}, image 1 {order} then image 2 {order}"
    if name == "tflite-int8":
        return f"{images}, int8: pixel - 128"
    values = "pixel / 127.5 - 1" if subnet.net.input_form.normalisation == "minus1_1" else "pixel (0 to 255)"
    return f"{images}, float32: {values}"


def describe_output(buffer: Buffer, divisor: float) -> str:
    """What an output tensor means."""
    size, raw = f"{buffer.rows}x{buffer.columns}", "_raw" in buffer.name
    if buffer.name.startswith("uncertainty"):
        kind = "prediction before summing" if raw else "summed"
        return f"uncertainty of u and v at {size}, {kind}: softplus(value + 0.001) grows with the error"
    times = "" if divisor == 1.0 else f", after multiplying by {divisor:g}"
    kind = "prediction to be summed on the device, no flow by itself" if raw else "flow"
    return f"{kind} at {size}: u (right) and v (down) in px of the full-size image{times}"


def build(
    request: Request,
    subnet: Subnet,
    calibration: Pairs | None,
    checking: Pairs | None,
    seconds: Seconds,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files by path, and the facts in report.json.

    ``calibration`` pairs give the ranges (None without int8), ``checking`` are verified on (None: not verified),
    ``seconds`` is told what each step took, ``advance`` is called after each pair of either.
    """
    with seconds.of("ranges"):
        choices = request.size, request.outputs, request.uncertainty, request.method
        deployed = deploy(subnet, *choices, calibration, advance)
    with seconds.of("write"):
        files = write_models(deployed, request.formats)
    models = {str(name): files[FILES[name]] for name in request.formats}
    report = _facts(request, deployed)
    if INT8 in files:
        with seconds.of("vela"):
            compiled = compile_tflite(files[INT8], request.target, request.mode, request.arena)
            files[COMPILED], report["vela"] = compiled.model, _figures(compiled)
        _add_positions(report["outputs"], files[COMPILED])
        with seconds.of("header"):
            files["model.h"] = encoded(header_text(files[COMPILED], report))
    report["files"] = {name: _entry(name, content) for name, content in files.items()}
    with seconds.of("verify and vectors"), ThreadPoolExecutor(1) as beside:  # the reference kernels are slow
        vectors = None
        if INT8 in files:  # opened in this thread: LiteRT's announcement is caught for the whole process
            runner, fast = TfliteModel(files[INT8], VECTOR_KERNELS), _fast(files[INT8])
            vectors = beside.submit(make_vectors, runner, fast, deployed)
        found = None if checking is None else verify_models(deployed, models, checking, advance)
        report |= {"verified": found and found["verdict"] == "passed", "verification": found}
        if vectors is not None:
            content, report["vectors"] = vectors.result()
            files |= content
    with seconds.of("latency"):
        report["measured"] = {"cpu_ms": latencies(deployed, files), "seconds": seconds}
    files["README.md"] = encoded(readme_text(report))
    report["files"]["README.md"] = _entry("README.md", files["README.md"])
    files["report.json"] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    return files, report


def _facts(request: Request, deployed: Deployed) -> dict[str, Any]:
    subnet, form = deployed.subnet, deployed.subnet.net.input_form
    divisor = subnet.flow_divisor
    facts: dict[str, Any] = {
        "model": {
            "tool": f"edgeflownas {version('edgeflownas')}",
            "weights": subnet.short_name,
            "weights_hash": subnet.checkpoint.hash,
            "code": subnet.code,
            "code_choice": subnet.reason,
            "words": subnet.run.space.describe(subnet.arch),
            "space": subnet.space,
            "width": subnet.net.width,
            "size": list(request.size),
            "outputs": request.outputs,
            "uncertainty": request.uncertainty,
            "flow_divisor": divisor,
        },
        "input": {
            "channel_order": form.channel_order,
            "normalisation": form.normalisation,
            "forms": {FILES[name]: input_text(subnet, name) for name in request.formats},
        },
        "outputs": [
            {"name": b.name, "shape": list(b.shape_1HWC), "layout": "NHWC", "meaning": describe_output(b, divisor)}
            for b in deployed.graph.outputs
        ],
        "batch_norm": {"recalibrated_on": subnet.calibrated_on or None, "samples": subnet.calibration_samples},
        "calibration": dict(deployed.calibration) or None,
    }
    if deployed.ranges:
        scales, buffers = deployed.scales, (deployed.graph.images, *deployed.graph.outputs)
        for entry, buffer in zip((facts["input"], *facts["outputs"]), buffers, strict=True):
            scale = scales[buffer.name]
            entry |= {"scale": scale.scale, "zero_point": scale.zero_point}
    return facts


def _figures(compiled: Compiled) -> dict[str, Any]:
    rate = {"milliseconds": compiled.milliseconds, "fps": 1e3 / compiled.milliseconds, "cycles": compiled.cycles}
    memory = {"sram_kib": compiled.sram_kib, "sram_bytes": round(compiled.sram_kib * 1024)}
    counts = {"flash_kib": compiled.flash_kib, "npu_ops": compiled.npu_ops, "cpu_ops": compiled.cpu_ops}
    return {**compiled.facts, **rate, **memory, **counts}


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "what": WHAT[name]}


def _add_positions(outputs: list[dict[str, Any]], model: bytes) -> None:
    """Give each output its ``index`` in a compiled file, where nothing but the position says which is which."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    names = [graph.Tensors(graph.Outputs(i)).Name().decode() for i in range(graph.OutputsLength())]
    for entry in outputs:
        entry["index"] = names.index(entry["name"])


def verify_models(
    deployed: Deployed, models: Mapping[str, bytes], pairs: Pairs, advance: Callable[[], None]
) -> dict[str, Any]:
    """The document of a verification of ``models`` (bytes by format) on ``pairs``; errors as verify.verify."""
    net, divisor = deployed.subnet.net, deployed.subnet.flow_divisor
    found = verify(net, deployed.graph, deployed.layers, models, pairs.samples, divisor, advance)
    return {**pairs.facts(), **found.document()}


def make_vectors(
    runner: TfliteModel, fast: TfliteModel | None, deployed: Deployed
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Two inputs and what LiteRT's reference kernels make of them, raw int8; how far its fast kernels are from that."""
    images, files, steps = deployed.graph.images, dict[str, bytes](), []
    for number, pair in enumerate(example_pairs((images.rows, images.columns)).images):
        integers = as_integers(pair, deployed.subnet.net.input_form)
        files[f"test_vectors/{number}_images.bin"] = integers.tobytes()
        others = fast.run(integers) if fast else {}
        for name, values in runner.run(integers).items():
            files[f"test_vectors/{number}_{name}.bin"] = np.ascontiguousarray(values).tobytes()
            if fast:
                steps.append(np.abs(values.astype(np.int16) - others[name]).ravel())
    facts: dict[str, Any] = {"kernels": VECTOR_KERNELS, "fast_mean_steps": None, "fast_largest_step": None}
    if fast:
        differences = np.concatenate(steps)
        facts |= {"fast_mean_steps": float(differences.mean()), "fast_largest_step": int(differences.max())}
    return files, {**facts, "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}}


def _fast(model: bytes) -> TfliteModel | None:
    """The model with LiteRT's fast kernels; None where they refuse its scales, as no device does."""
    try:
        return TfliteModel(model)
    except DataError:
        return None


def latencies(deployed: Deployed, files: Mapping[str, bytes]) -> dict[str, float]:
    """Median ms of one pair on this CPU with one thread: what is in the files in torch, and the int8 file in LiteRT."""
    form, size = deployed.subnet.net.input_form, (deployed.graph.images.rows, deployed.graph.images.columns)
    pair = example_pairs(size).images[0]
    images = form.encode(torch.from_numpy(pair[None]), torch.float32)
    with torch_threads(1), torch.inference_mode():
        found = {"PyTorch float32": median_ms(lambda: run_graph(deployed.graph, deployed.layers, images), *TIMED)}
    if INT8 in files and (runner := _fast(files[INT8])):
        integers = as_integers(pair, form)
        found["LiteRT int8"] = median_ms(lambda: runner.run(integers), *TIMED)
    return {name: round(milliseconds, 3) for name, milliseconds in found.items()}
