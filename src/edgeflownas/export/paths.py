"""The ways in which one network runs: as it was trained, folded, and from each file of an export.

Every path takes a pair of bytes [h,w,6] (RGB) and gives the graph's outputs by name, float32 [C,h',w'], in the
network's own units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.evaluate.losses import accumulate
from edgeflownas.export.onnx_model import OnnxModel, integer_outputs
from edgeflownas.hardware.tflite.model import TfliteModel
from edgeflownas.models.blocks import InputForm, StagedNet, up2
from edgeflownas.models.deployed.builder import HEADS, SCALES
from edgeflownas.models.deployed.folding import Layer
from edgeflownas.models.deployed.graph import Graph
from edgeflownas.models.deployed.quantise import Range
from edgeflownas.models.deployed.running import run_graph

TRAINING, FOLDED = "training", "folded"
Values = dict[str, NDArray[np.float32]]
Path = Callable[[NDArray[np.uint8]], Values]


def open_paths(
    net: StagedNet,
    graph: Graph,
    layers: Mapping[str, Layer],
    models: Mapping[str, bytes],
) -> dict[str, Path]:
    """The paths by name: ``training`` (the module, batch norm in evaluation), ``folded``, and one for each model.

    Args:
        net: fixed network in evaluation mode, float32, on the CPU.
        graph: what is deployed of it.
        layers: its folded weights.
        models: bytes of files by format: tflite-float, tflite-int8, onnx, onnx-int8.

    Raises:
        ConfigError: a package of the extra ``export`` is missing.
        DataError: bytes that are no model.
    """
    form = net.input_form
    paths = {TRAINING: trained_path(net, graph), FOLDED: _folded(graph, layers, form)}
    return paths | {name: _of_file(name, content, form) for name, content in models.items()}


def integer_ends(models: Mapping[str, bytes]) -> dict[str, dict[str, Range]]:
    """Least and greatest number of each output of the int8 models, by format; errors as :func:`open_paths`."""
    found = {}
    for name, content in models.items():
        if name == "onnx-int8":
            found[name] = integer_outputs(content)
        elif name == "tflite-int8":
            model, ends = TfliteModel(content, "plain"), np.array([-128, 127], np.int8)
            limits = {output: model.real(output, ends).tolist() for output in model.outputs}
            found[name] = {output: (low, high) for output, (low, high) in limits.items()}
    return found


def as_integers(images_HW6: NDArray[np.uint8], form: InputForm) -> NDArray[np.int8]:
    """What an int8 model takes: pixel - 128 in the network's channel order, [1,H,W,6]."""
    pixels = InputForm("raw_0_255", form.channel_order).encode(torch.from_numpy(images_HW6[None]), torch.int16)
    return (pixels - 128).to(torch.int8).permute(0, 2, 3, 1).contiguous().numpy()


def host_flow(outputs: Mapping[str, NDArray[np.float32]]) -> Tensor:
    """The flow [2,H,W] at the size of the images: A2, an enlarged A1 or A0 (up2), or the sum of raw predictions.

    In the network's own units.
    """
    values = {name: torch.from_numpy(array)[None] for name, array in outputs.items()}
    if f"flow_raw_{SCALES[0]}" in values:
        return accumulate([values[f"flow_raw_{scale}"] for scale in SCALES])[-1][0]
    names = ("flow", f"flow_{SCALES[1]}", f"flow_{SCALES[0]}")
    doublings, name = next((index, name) for index, name in enumerate(names) if name in values)
    flow = values[name]
    for _ in range(doublings):
        flow = up2(flow)
    return flow[0]


def _encoded(form: InputForm, images: NDArray[np.uint8], dtype: torch.dtype = torch.float32) -> Tensor:
    return form.encode(torch.from_numpy(images[None]), dtype)


def trained_path(net: StagedNet, graph: Graph) -> Path:
    """The trained network in its own precision; finds the names of what ``graph`` gives independently of it."""
    dtype = next(net.parameters()).dtype

    @torch.inference_mode()
    def run(images: NDArray[np.uint8]) -> Values:
        raw = net(_encoded(net.input_form, images, dtype))
        named = {}
        for scale, prediction, total in zip(SCALES, raw, accumulate(raw), strict=True):
            for head, (first, last) in HEADS.items():
                named[f"{head}_raw_{scale}"] = prediction[0, first:last]
                named[head if scale == SCALES[-1] else f"{head}_{scale}"] = total[0, first:last]
        return {buffer.name: named[buffer.name].numpy() for buffer in graph.outputs}

    return run


def _folded(graph: Graph, layers: Mapping[str, Layer], form: InputForm) -> Path:
    @torch.inference_mode()
    def run(images: NDArray[np.uint8]) -> Values:
        found = run_graph(graph, layers, _encoded(form, images))
        return {name: values[0].numpy() for name, values in found.items()}

    return run


def _of_file(name: str, content: bytes, form: InputForm) -> Path:
    if name.startswith("onnx"):
        session = OnnxModel(content)
        return lambda images: {
            output: values[0] for output, values in session.run(_encoded(form, images).contiguous().numpy()).items()
        }
    model = TfliteModel(content, "plain")  # the fast kernels of a PC round in a way that no chip does
    return lambda images: {
        output: model.real(output, values)[0].transpose(2, 0, 1)
        for output, values in model.run(tflite_input(model, images, form)).items()
    }


def tflite_input(model: TfliteModel, images: NDArray[np.uint8], form: InputForm) -> NDArray[Any]:
    """A pair as ``model`` takes it, [1,H,W,6] int8 or float32."""
    if model.dtype(model.inputs[0]) == np.int8:
        return as_integers(images, form)
    return _encoded(form, images).permute(0, 2, 3, 1).contiguous().numpy()
