"""One export: every file of the deploy folder and what report.json says of them."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, get_args

import numpy as np
import torch

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.export.artefacts import (
    FILES,
    VECTOR_KERNELS,
    Deployed,
    Format,
    deploy,
    describe_output,
    input_text,
    need_packages,
    write_models,
)
from edgeflownas.export.header import header_text
from edgeflownas.export.pairs import Pairs, example_pairs
from edgeflownas.export.paths import as_integers
from edgeflownas.export.readme import readme_text
from edgeflownas.export.source import check_export_size
from edgeflownas.export.verify import verify
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.hardware.tflite.model import TfliteModel
from edgeflownas.hardware.vela import Compiled, Target, compile_tflite
from edgeflownas.hardware.vela.compiler import Mode, check_request
from edgeflownas.models.deployed.graph import Outputs
from edgeflownas.models.deployed.ranges import parse_method
from edgeflownas.models.deployed.running import run_graph
from edgeflownas.run.run import Subnet

INT8 = FILES["tflite-int8"]
WARM_UP, REPEATS = 1, 5
COMPILED = "model_int8_vela.tflite"
Vectors = tuple[dict[str, bytes], dict[str, Any]]  # files, facts
WHAT = {
    INT8: "int8, TensorFlow Lite: what LiteRT and TensorFlow Lite Micro run, and Vela compiles",
    FILES["tflite-float"]: "float32, TensorFlow Lite",
    FILES["onnx"]: "float32, ONNX",
    FILES["onnx-int8"]: "int8 (QDQ), ONNX Runtime",
    COMPILED: "compiled by Vela for the Ethos-U",
    "model.h": "the compiled model as an array for firmware, with its scales",
    "README.md": "what goes in, what comes out, and code for both",
}


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
        need_packages(self.formats)


@dataclass
class Seconds:
    """Wall time of each step."""

    spent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Count what happens meanwhile."""
        start = time.perf_counter()
        yield
        self.spent[step] = round(time.perf_counter() - start, 3)


def build(
    request: Request,
    source: Subnet,
    calibration: Pairs | None,
    checking: Pairs | None,
    seconds: Seconds,
    advance: Callable[[], None] = lambda: None,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files by path, and the facts in report.json.

    Args:
        request: what is asked for.
        source: the network.
        calibration: pairs that give the ranges; None without int8.
        checking: pairs to verify on; None: not verified.
        seconds: told what each step took.
        advance: called after each pair of either.
    """
    with seconds.of("ranges"):
        choices = request.size, request.outputs, request.uncertainty, request.method
        deployed = deploy(source, *choices, calibration, advance)
    with seconds.of("write"):
        files = write_models(deployed, request.formats)
    report = _facts(request, deployed)
    if INT8 in files:
        with seconds.of("vela"):
            compiled = compile_tflite(files[INT8], request.target, request.mode, request.arena)
        files[COMPILED] = compiled.model
        report["vela"] = _vela(compiled)
        report["outputs"] = _with_positions(report["outputs"], compiled.model)
        with seconds.of("header"):
            files["model.h"] = header_text(compiled.model, report).encode()
    report["files"] = {name: _entry(name, content) for name, content in files.items() if name in WHAT}
    with seconds.of("verify and vectors"), ThreadPoolExecutor(1) as aside:
        vectors = _begin_vectors(files[INT8], deployed, aside) if INT8 in files else None
        models = {str(name): files[FILES[name]] for name in request.formats}
        found = None if checking is None else verify_models(deployed, models, checking, advance)
        report |= {"verified": found and found["verdict"] == "passed", "verification": found}
        if vectors is not None:
            content, report["vectors"] = vectors.result()
            files |= content
    with seconds.of("latency"):
        report["measured"] = {"cpu_ms": _latencies(deployed, files), "seconds": seconds.spent}
    files["README.md"] = readme_text(report).encode()
    report["files"]["README.md"] = _entry("README.md", files["README.md"])
    files["report.json"] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    return files, report


def _facts(request: Request, deployed: Deployed) -> dict[str, Any]:
    source, form = deployed.source, deployed.source.net.input_form
    rows, columns = request.size
    facts: dict[str, Any] = {
        "model": {
            "tool": f"edgeflownas {version('edgeflownas')}",
            "weights": source.short_name,
            "weights_hash": source.checkpoint.hash,
            "code": source.code,
            "code_choice": source.reason,
            "words": source.run.space.describe(source.arch),
            "space": source.space,
            "width": source.net.width,
            "size": [rows, columns],
            "outputs": request.outputs,
            "uncertainty": request.uncertainty,
            "flow_divisor": source.flow_divisor,
        },
        "input": {
            "channel_order": form.channel_order,
            "normalisation": form.normalisation,
            "forms": {FILES[name]: input_text(source, name) for name in request.formats},
        },
        "outputs": [
            {
                "name": b.name,
                "shape": list(b.shape_1HWC),
                "layout": "NHWC",
                "meaning": describe_output(b, source.flow_divisor),
            }
            for b in deployed.graph.outputs
        ],
        "batch_norm": {"recalibrated_on": source.calibrated_on or None, "samples": source.calibration_samples},
        "calibration": dict(deployed.calibration) or None,
    }
    if deployed.ranges:
        scales = deployed.scales
        for entry, name in ((facts["input"], deployed.graph.images.name), *((e, e["name"]) for e in facts["outputs"])):
            entry |= {"scale": scales[name].scale, "zero_point": scales[name].zero_point}
    return facts


def _vela(compiled: Compiled) -> dict[str, Any]:
    return {
        **compiled.facts,
        "milliseconds": compiled.milliseconds,
        "fps": 1e3 / compiled.milliseconds,
        "cycles": compiled.cycles,
        "sram_kib": compiled.sram_kib,
        "sram_bytes": round(compiled.sram_kib * 1024),
        "flash_kib": compiled.flash_kib,
        "npu_ops": compiled.npu_ops,
        "cpu_ops": compiled.cpu_ops,
    }


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "what": WHAT[name]}


def _with_positions(outputs: list[dict[str, Any]], model: bytes) -> list[dict[str, Any]]:
    """The outputs with their ``index`` in a compiled file, where nothing but the position says which is which."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    names = [graph.Tensors(graph.Outputs(i)).Name().decode() for i in range(graph.OutputsLength())]
    return [entry | {"index": names.index(entry["name"])} for entry in outputs]


def _begin_vectors(model: bytes, deployed: Deployed, aside: ThreadPoolExecutor) -> Future[Vectors]:
    """The test vectors, made beside other work: the reference kernels are slow."""
    return aside.submit(_vectors, TfliteModel(model, VECTOR_KERNELS), _fast(model), deployed)


def _vectors(runner: TfliteModel, fast: TfliteModel | None, deployed: Deployed) -> Vectors:
    """Two inputs and what LiteRT's reference kernels make of them, raw int8; how far its fast kernels are from that."""
    images, files, steps = deployed.graph.images, {}, []
    for number, pair in enumerate(example_pairs((images.rows, images.columns)).images):
        integers = as_integers(pair, deployed.source.net.input_form)
        files[f"test_vectors/{number}_images.bin"] = integers.tobytes()
        others = fast.run(integers) if fast else {}
        for name, values in runner.run(integers).items():
            files[f"test_vectors/{number}_{name}.bin"] = np.ascontiguousarray(values).tobytes()
            if fast:
                steps.append(np.abs(values.astype(np.int16) - others[name]).ravel())
    apart = np.concatenate(steps) if fast else None
    facts: dict[str, Any] = {"kernels": VECTOR_KERNELS, "fast_mean_steps": None, "fast_largest_step": None}
    if apart is not None:
        facts |= {"fast_mean_steps": float(apart.mean()), "fast_largest_step": int(apart.max())}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return files, {**facts, "sha256": hashes}


def _fast(model: bytes) -> TfliteModel | None:
    """The model with LiteRT's fast kernels; None where they refuse its scales, as no device does."""
    try:
        return TfliteModel(model)
    except DataError:
        return None


def _latencies(deployed: Deployed, files: Mapping[str, bytes]) -> dict[str, float]:
    """Median ms of one pair on this CPU with one thread: what is in the files in torch, and the int8 file in LiteRT."""
    form, size = deployed.source.net.input_form, (deployed.graph.images.rows, deployed.graph.images.columns)
    pair = example_pairs(size).images[0]
    images = form.encode(torch.from_numpy(pair[None]), torch.float32)
    with torch_threads(1), torch.inference_mode():
        found = {"PyTorch float32": _median_ms(lambda: run_graph(deployed.graph, deployed.layers, images))}
    if INT8 in files and (runner := _fast(files[INT8])):
        integers = as_integers(pair, form)
        found["LiteRT int8"] = _median_ms(lambda: runner.run(integers))
    return found


def _median_ms(run: Callable[[], object]) -> float:
    times = []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times[WARM_UP:]), 3)


def verify_models(
    deployed: Deployed, models: Mapping[str, bytes], pairs: Pairs, advance: Callable[[], None]
) -> dict[str, Any]:
    """The document of a verification of ``models`` (bytes by format) on ``pairs``; errors as verify.verify."""
    source = deployed.source
    net, divisor = source.net, source.flow_divisor
    found = verify(net, deployed.graph, deployed.layers, models, pairs.samples(), divisor, advance)
    return {**pairs.facts(), **found.document()}
