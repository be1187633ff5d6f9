"""The other way to an int8 file: litert-torch and ai-edge-quantizer, in an environment of their own.

    PYTHONPATH=src OTHER/bin/python experiments/crosscheck/other.py FOLDER ...

Reads what driver.py wrote into each FOLDER and adds theirs_*.tflite and theirs.npz.  Of this package it takes the
module that is converted; from there on nothing is shared: not the writer, not the ranges, not the arithmetic.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils
from ai_edge_quantizer import calibrator, quantizer, recipe
from ai_edge_quantizer.utils import qsv_utils
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F

from edgeflownas.models.graph import FoldedNet, Layer, subnet_graph
from edgeflownas.space import get_space

UPDATES = {"minmax": qsv_utils.min_max_update, "average": qsv_utils.moving_average_update}


def main() -> None:
    """Every folder named on the command line."""
    for folder in map(Path, sys.argv[1:]):
        print(folder.name, flush=True)
        convert(folder)


def convert(folder: Path) -> None:
    """One float file, an int8 file for each way to calibrate, and their outputs for the test pairs."""
    net, pairs = read_net(folder), np.load(folder / "pairs.npz")
    calibration, test = (as_network(pairs[name]) for name in ("calibration", "test"))
    files = {"float": float_file(net, test[:1])}
    data = {"serving_default": [{"args_0": image[None]} for image in calibration]}
    for name, update in UPDATES.items():
        files[name] = quantise(files["float"], data, update)
    names = [buffer.name for buffer in net.graph.outputs]
    found = {}
    for name, file in files.items():
        (folder / f"theirs_{name}.tflite").write_bytes(file)
        found |= {f"{name}/{output}": values for output, values in zip(names, run(file, test), strict=True)}
    np.savez(folder / "theirs.npz", **found)


def read_net(folder: Path) -> FoldedNet:
    """The folded subnet, with the half-pixel bilinear in place of the asymmetric one (see ``asymmetric``)."""
    case, tensors = json.loads((folder / "case.json").read_text()), load_file(folder / "layers.safetensors")
    graph = subnet_graph(get_space(case["space"]), case["width"], case["code"], tuple(case["size"]), case["outputs"])
    names = [op.output.name for op in graph.ops if op.layer]
    layers = {name: Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names}
    net = FoldedNet(graph, layers, resize=lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"))
    return net.eval()  # type: ignore[no-any-return]


def as_network(pairs_BHW6: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes as the network takes them: in [-1,1]."""
    return (pairs_BHW6 / np.float32(127.5) - 1).astype(np.float32)


def float_file(net: FoldedNet, sample_1HW6: NDArray[np.float32]) -> bytes:
    """A float32 file with NHWC inputs and outputs."""
    outputs = list(range(len(net.graph.outputs)))
    module = litert_torch.to_channel_last_io(net, args=[0], outputs=outputs)
    model = litert_torch.convert(module, (torch.from_numpy(sample_1HW6),))
    return repacked(bytes(model.model_content()), edit=asymmetric)


def asymmetric(model: Any) -> None:
    """Every bilinear operator asymmetric.

    litert-torch knows the half-pixel one alone: the asymmetric one written in torch (nearest, replicate, mean) stops
    it ('tfl.pad' op failed to verify that operand 0 is at most 5-D).
    """
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, schema.ResizeBilinearOptionsT):
            operator.builtinOptions.halfPixelCenters = False


def repacked(file: bytes, edit: Any = lambda model: None) -> bytes:
    """``file`` after ``edit``, with all constants inside the flatbuffer (large ones may come behind it)."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(file))
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(file, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    edit(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def quantise(file: bytes, data: dict[str, list[dict[str, NDArray[np.float32]]]], update: Any) -> bytes:
    """Static int8 with a scale for each output channel; ``update`` joins the ranges of the calibration images."""
    work = quantizer.Quantizer(file, recipe.static_wi8_ai8())
    ranges = calibrator.Calibrator(file, num_threads=1, qsv_update_func=update)
    ranges.calibrate(data, work._recipe_manager)  # Quantizer.calibrate() would always take the moving average
    result = work.quantize(ranges.get_model_qsvs(), enable_progress_report=False).quantized_model
    return repacked(bytes(result))


def run(file: bytes, images_BHW6: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Outputs [B,h,w,2] in real numbers, in the order of the graph's."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    call = interpreter.get_signature_runner()
    (source,), targets = call.get_input_details().items(), call.get_output_details()
    rows = []
    for image in images_BHW6:
        found = call(**{source[0]: to_integers(image[None], source[1])})
        rows.append([to_real(found[f"output_{index}"], targets[f"output_{index}"]) for index in range(len(targets))])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def to_integers(values: NDArray[np.float32], details: dict[str, Any]) -> NDArray[Any]:
    """What an input takes, int8 or float32."""
    scale, zero_point = details["quantization"]
    if details["dtype"] == np.float32:
        return values
    return np.clip(np.rint(values / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)


def to_real(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    """The real numbers of an output, int8 or float32."""
    scale, zero_point = details["quantization"]
    if details["dtype"] == np.float32:
        return values
    return ((values.astype(np.int32) - zero_point) * np.float32(scale)).astype(np.float32)


if __name__ == "__main__":
    main()
