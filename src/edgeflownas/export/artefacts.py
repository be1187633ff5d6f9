"""The network in the form a device runs, and its files.

model_int8.tflite   int8, for TensorFlow Lite Micro, LiteRT and Vela
model_float.tflite  float32, LiteRT
model.onnx          float32, ONNX Runtime
model_int8.onnx     the same with QDQ operators
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, get_args

from edgeflownas.errors import ConfigError
from edgeflownas.export.pairs import Pairs
from edgeflownas.hardware.extras import need
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.hardware.tflite.model import Kernels
from edgeflownas.models.deployed.folding import Layer, fold
from edgeflownas.models.deployed.graph import Buffer, Graph, Outputs
from edgeflownas.models.deployed.networks import graph_of
from edgeflownas.models.deployed.quantise import Range, Scale, integer_layers, tensor_scales
from edgeflownas.models.deployed.ranges import collect_ranges
from edgeflownas.run.run import Subnet

Format = Literal["tflite-int8", "tflite-float", "onnx", "onnx-int8"]
FILES: dict[str, str] = {
    "tflite-int8": "model_int8.tflite",
    "tflite-float": "model_float.tflite",
    "onnx": "model.onnx",
    "onnx-int8": "model_int8.onnx",
}
VECTOR_KERNELS: Kernels = "reference"


@dataclass(frozen=True)
class Deployed:
    """Graph, folded layers, and the ranges of its tensors where anything is to be in integers."""

    source: Subnet
    graph: Graph
    layers: Mapping[str, Layer]
    ranges: Mapping[str, Range]
    calibration: Mapping[str, Any]  # how the ranges were found, plain data; empty without integers

    @property
    def scales(self) -> dict[str, Scale]:
        """Scale of every tensor by name."""
        return tensor_scales(self.graph, self.ranges, self.source.net.input_form)


def formats_of(text: str) -> tuple[Format, ...]:
    """The formats of a comma-separated list, each once, in the order of FILES.

    Raises ConfigError for an unknown one, or none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [name for name in names if name not in get_args(Format)]
    if wrong or not names:
        found = f"{wrong[0]!r} is unknown" if wrong else f"{text!r} names none"
        raise ConfigError(f"--format: {found}; choose from {', '.join(get_args(Format))}")
    return tuple(name for name in get_args(Format) if name in names)


def need_packages(formats: Iterable[Format]) -> None:
    """Raises ConfigError where a package is missing that one of the formats takes."""
    for name in formats:
        need("onnx" if name.startswith("onnx") else "litert")
        if name == "tflite-int8":
            need("vela")


def deploy(
    source: Subnet,
    size: tuple[int, int],
    outputs: Outputs,
    uncertainty: bool,
    method: str,
    pairs: Pairs | None,
    advance: Callable[[], None] = lambda: None,
) -> Deployed:
    """Fold the network, and find the ranges of its tensors, on one thread: the same on every machine of a kind.

    Args:
        source: the network.
        size: rows and columns of the images, px, multiples of 16.
        outputs: what leaves the graph (models/deployed/graph.py).
        uncertainty: whether each output has its uncertainty beside it.
        method: how ranges follow from values (models/deployed/ranges.py).
        pairs: what the values are of; None where nothing will be in integers.
        advance: called after each of them.
    """
    graph = graph_of(source.net, size, outputs, uncertainty)
    layers = fold(source.net, graph)
    if pairs is None:
        return Deployed(source, graph, layers, {}, {})
    with torch_threads(1):
        ranges = collect_ranges(graph, layers, pairs.batches(source.net.input_form, advance), method)
    return Deployed(source, graph, layers, ranges, {"method": method, **pairs.facts()})


def write_models(deployed: Deployed, formats: Iterable[Format]) -> dict[str, bytes]:
    """The asked-for files by name; the same network and ranges give the same bytes."""
    return {FILES[name]: _write(deployed, name, metadata(deployed, name)) for name in formats}


def _write(deployed: Deployed, name: Format, notes: dict[str, str]) -> bytes:
    graph, layers = deployed.graph, deployed.layers
    if name.startswith("onnx"):
        from edgeflownas.export.onnx_model import write_onnx, write_onnx_int8

        if name == "onnx":
            return write_onnx(graph, layers, notes)
        return write_onnx_int8(write_onnx(graph, layers), graph, deployed.scales, notes)
    from edgeflownas.hardware.tflite import write_float, write_int8

    if name == "tflite-float":
        return write_float(graph, layers, notes)
    scales = deployed.scales
    return write_int8(graph, integer_layers(graph, layers, scales), scales, notes)


def metadata(deployed: Deployed, name: Format) -> dict[str, str]:
    """What a file says of itself, texts by name."""
    source, graph = deployed.source, deployed.graph
    notes = {
        "tool": f"edgeflownas {version('edgeflownas')}",
        "code": source.code,
        "space": source.space,
        "width": str(source.net.width),
        "weights": source.checkpoint.hash,
        "input_size": f"{graph.images.rows}x{graph.images.columns}",
        "input": input_text(source, name),
        "channel_order": source.net.input_form.channel_order,
        "normalisation": source.net.input_form.normalisation,
        "flow_divisor": repr(source.flow_divisor),
    }
    if name.endswith("int8"):
        notes["calibration"] = deployed.calibration["method"]
        notes["calibration_hash"] = deployed.calibration["hash"]
    if name == "tflite-int8":
        scales = deployed.scales
        notes["scales"] = json.dumps(
            {b.name: [scales[b.name].scale, scales[b.name].zero_point] for b in (graph.images, *graph.outputs)}
        )
    return notes | {f"output.{buffer.name}": describe_output(buffer, source.flow_divisor) for buffer in graph.outputs}


def input_text(source: Subnet, name: Format) -> str:
    """What the input tensor of a format holds."""
    order = source.net.input_form.channel_order.upper()
    layout = "NCHW" if name.startswith("onnx") else "NHWC"
    if name == "tflite-int8":
        return f"{layout}, image 1 {order} then image 2 {order}, int8: pixel - 128"
    values = "pixel / 127.5 - 1" if source.net.input_form.normalisation == "minus1_1" else "pixel (0 to 255)"
    return f"{layout}, image 1 {order} then image 2 {order}, float32: {values}"


def describe_output(buffer: Buffer, divisor: float) -> str:
    """What an output tensor means."""
    where = f"{buffer.rows}x{buffer.columns}"
    raw = "_raw" in buffer.name
    if buffer.name.startswith("uncertainty"):
        kind = "prediction before summing" if raw else "summed"
        return f"uncertainty of u and v at {where}, {kind}: softplus(value + 0.001) grows with the error"
    times = "" if divisor == 1.0 else f", after multiplying by {divisor:g}"
    kind = "prediction to be summed on the device, no flow by itself" if raw else "flow"
    return f"{kind} at {where}: u (right) and v (down) in px of the full-size image{times}"
