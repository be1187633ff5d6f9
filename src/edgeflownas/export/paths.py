"""The ways in which one network runs: as it was trained, folded, and from each file of an export.

Every path takes a pair of bytes [h,w,6] (RGB) and gives the graph's outputs by name, float32 [C,h',w'], in the
network's own units.

:func:`layer_rows` finds where error enters a TensorFlow Lite file: every tensor of LiteRT against the same one of the
float executor.  Four questions of each operator:

    snr_db       how far is its output from the float network's, all errors before it included?
    added_db     by how much is that less than at the worst of its inputs?
    own_snr_db   how far is it from what the float operator makes of the very inputs that LiteRT gave it?
    flow_px      that own error, put into the float network at this place alone: by how much does it move the flow?

The last one names the place, because the first errors of a chain are carried through it and cancel or grow on the way.
LiteRT's plain kernels run here, one operator after the other; they may differ by an integer step from those of XNNPACK.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.evaluate.losses import accumulate
from edgeflownas.export.onnx import OnnxModel
from edgeflownas.hardware.tflite import TfliteModel
from edgeflownas.models.blocks import InputForm, StagedNet, up2
from edgeflownas.models.graph import HEADS, SCALES, Buffer, Graph, Layer, Op, run_graph
from edgeflownas.models.int8 import Range

TRAINING, FOLDED = "training", "folded"
LARGEST_SNR = 200.0
Values = dict[str, NDArray[np.float32]]
Tensors = dict[str, Tensor]
Path = Callable[[NDArray[np.uint8]], Values]


def open_paths(
    net: StagedNet, graph: Graph, layers: Mapping[str, Layer], models: Mapping[str, bytes]
) -> dict[str, Path]:
    """The paths by name: ``training`` (the module, batch norm in evaluation), ``folded``, and one for each model.

    Arguments and errors as verify.verify.
    """
    form = net.input_form

    @torch.inference_mode()
    def folded(images: NDArray[np.uint8]) -> Values:
        return _arrays(run_graph(graph, layers, _encoded(form, images)))

    paths = {TRAINING: trained_path(net, graph), FOLDED: folded}
    return paths | {name: _of_file(name, content, form) for name, content in models.items()}


def trained_path(net: StagedNet, graph: Graph) -> Path:
    """The trained network in its own precision; finds the names of what ``graph`` gives independently of it."""
    dtype = next(net.parameters()).dtype

    @torch.inference_mode()
    def run(images: NDArray[np.uint8]) -> Values:
        raw = net(_encoded(net.input_form, images, dtype))
        named = {}
        for scale, prediction, total in zip(SCALES, raw, accumulate(raw), strict=True):
            for head, (first, last) in HEADS.items():
                named[f"{head}_raw_{scale}"] = prediction[:, first:last]
                named[head if scale == SCALES[-1] else f"{head}_{scale}"] = total[:, first:last]
        return _arrays({buffer.name: named[buffer.name] for buffer in graph.outputs})

    return run


def _of_file(name: str, content: bytes, form: InputForm) -> Path:
    if name == "onnx":
        session = OnnxModel(content)
        return lambda images: {
            output: values[0] for output, values in session.run(_encoded(form, images).contiguous().numpy()).items()
        }
    model = TfliteModel(content, "plain")  # the fast kernels of a PC round in a way that no chip does
    return lambda images: {
        output: model.real(output, values)[0].transpose(2, 0, 1)
        for output, values in model.run(tflite_input(model, images, form)).items()
    }


def _arrays(outputs: Mapping[str, Tensor]) -> Values:
    return {name: values[0].numpy() for name, values in outputs.items()}


def _encoded(form: InputForm, images: NDArray[np.uint8], dtype: torch.dtype = torch.float32) -> Tensor:
    return form.encode(torch.from_numpy(images[None]), dtype)


def as_integers(images_HW6: NDArray[np.uint8], form: InputForm) -> NDArray[np.int8]:
    """What an int8 model takes: pixel - 128 in the network's channel order, [1,H,W,6]."""
    pixels = _encoded(InputForm("raw_0_255", form.channel_order), images_HW6, torch.int16)
    return (pixels - 128).to(torch.int8).permute(0, 2, 3, 1).contiguous().numpy()


def tflite_input(model: TfliteModel, images: NDArray[np.uint8], form: InputForm) -> NDArray[Any]:
    """A pair as ``model`` takes it, [1,H,W,6] int8 or float32."""
    if model.dtype(model.inputs[0]) == np.int8:
        return as_integers(images, form)
    return _encoded(form, images).permute(0, 2, 3, 1).contiguous().numpy()


def integer_ends(models: Mapping[str, bytes]) -> dict[str, dict[str, Range]]:
    """Least and greatest number of each output of the int8 model, by its format; errors as :func:`open_paths`."""
    if "tflite-int8" not in models:
        return {}
    model, ends = TfliteModel(models["tflite-int8"], "plain"), np.array([-128, 127], np.int8)
    limits = {output: model.real(output, ends).tolist() for output in model.outputs}
    return {"tflite-int8": {output: (low, high) for output, (low, high) in limits.items()}}


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


def decibels(signal: float, error: float) -> float:
    """10 log10(signal / error) of two sums of squares, within +-200; 200 without error, -200 where it is not finite."""
    if error == 0.0:
        return LARGEST_SNR
    if not math.isfinite(error) or signal <= 0.0:
        return -LARGEST_SNR
    return float(np.clip(10.0 * (math.log10(signal) - math.log10(error)), -LARGEST_SNR, LARGEST_SNR))


@dataclass(frozen=True)
class LayerRow:
    """One operator, by the name of what it writes; see above."""

    name: str
    kind: str
    snr_db: float
    added_db: float
    own_snr_db: float
    flow_px: float


def layer_rows(
    graph: Graph,
    layers: Mapping[str, Layer],
    model: bytes,
    form: InputForm,
    images: Sequence[NDArray[np.uint8]],
    divisor: float = 1.0,
) -> tuple[LayerRow, ...]:
    """A row for each operator of ``graph``, in order, over all of ``images`` [h,w,6].

    ``model`` is the TensorFlow Lite file of ``graph`` and ``layers``, ``form`` how the float network takes images, its
    flow times ``divisor`` is in px.  It takes a float forward pass for each operator and pair.

    Raises:
        ConfigError: no LiteRT; DataError: bytes that are no model.
    """
    runner = TfliteModel(model, "plain", preserve_all=True)
    written = sorted({name for op in graph.ops for name in _written(op)})
    powers = {name: np.zeros(4) for name in written}  # sums of squares: exact, its error; float operator's, own error
    flow = {op.output.name: 0.0 for op in graph.ops}
    for pair in images:
        encoded = _encoded(form, pair)
        runner.run(tflite_input(runner, pair, form))
        found = {
            name: torch.from_numpy(runner.real(name, values)).permute(0, 3, 1, 2)
            for name, values in runner.tensors(written).items()
        }
        with torch.inference_mode():
            exact, made = _watch(graph, layers, encoded), _watch(graph, layers, encoded, found)
            errors = {name: values - made[name] for name, values in found.items()}
            for name, values in found.items():
                parts = exact[name], values - exact[name], made[name], errors[name]
                powers[name] += [float(part.double().square().sum()) for part in parts]
            for op in graph.ops:
                flow[op.output.name] += divisor * _moved(graph, layers, encoded, op, errors, exact) / len(images)
    snr = {graph.images.name: LARGEST_SNR} | {name: decibels(*sums[:2]) for name, sums in powers.items()}
    rows = []
    for op in graph.ops:
        name = op.output.name
        added = min(snr[buffer.name] for buffer in op.inputs) - snr[name]
        rows.append(LayerRow(name, op.kind, snr[name], added, decibels(*powers[name][2:]), flow[name]))
    return tuple(rows)


def _written(op: Op) -> set[str]:
    return {op.output.name, op.logits.name} if op.activation == "sigmoid" else {op.output.name}


def _watch(graph: Graph, layers: Mapping[str, Layer], images: Tensor, instead: Tensors | None = None) -> Tensors:
    """Every tensor of the float network; with ``instead`` each operator takes those in the place of its inputs."""
    seen: Tensors = {}

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        seen[buffer.name] = values
        return instead.get(buffer.name, values) if instead else values

    run_graph(graph, layers, images, at)
    return seen


def _moved(graph: Graph, layers: Mapping[str, Layer], images: Tensor, op: Op, errors: Tensors, exact: Tensors) -> float:
    """Mean length by which the flow moves when ``op`` alone makes its error, in the network's units."""

    def at(buffer: Buffer, values: Tensor) -> Tensor:
        return values + errors[buffer.name] if buffer.name in _written(op) else values

    moved = host_flow(_arrays(run_graph(graph, layers, images, at)))
    before = host_flow(_arrays({buffer.name: exact[buffer.name] for buffer in graph.outputs}))
    return float(torch.linalg.vector_norm(moved - before, dim=0).mean())
