"""Writes a deployed graph as a TensorFlow Lite file, operator by operator; no converter is involved.

Layout NHWC, batch 1; kernels OHWI.  Tensors have the names of the graph's, constants those of their operator with
``.weight``, ``.bias`` or another ending.  Eight bits as the specification says (quantise.py); versions of the
operators are the lowest that know what is used (tensorflow/lite/tools/versioning/op_version.cc).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.tflite.file import TfliteFile
from edgeflownas.models.deployed.folding import Layer
from edgeflownas.models.deployed.graph import Buffer, Graph, Op
from edgeflownas.models.deployed.quantise import IntegerLayer, Scale

SAME, NONE, RELU = 0, 0, 1  # of the schema's enumerations Padding and ActivationFunctionType
DESCRIPTION = "edgeflownas optical flow"


def write_int8(
    graph: Graph, integers: Mapping[str, IntegerLayer], scales: Mapping[str, Scale], metadata: Mapping[str, str] = {}
) -> bytes:
    """The file of ``graph`` in eight-bit integers, inputs and outputs int8.

    Args:
        graph: what to write.
        integers: kernels and biases by the name of the operator's output (quantise.integer_layers).
        scales: scale of every tensor by name (quantise.tensor_scales).
        metadata: texts by name for the file's metadata.

    Raises:
        ConfigError: layers of another graph; no package ai-edge-litert.
    """
    return _Writer(scales).write(graph, {name: _integer(layer) for name, layer in integers.items()}, metadata)


def write_float(graph: Graph, layers: Mapping[str, Layer], metadata: Mapping[str, str] = {}) -> bytes:
    """The file of ``graph`` in float32; arguments and errors as :func:`write_int8`."""
    return _Writer(None).write(graph, {name: _real(layer) for name, layer in layers.items()}, metadata)


class _Constants(NamedTuple):
    """Kernel [out,in,k,k] or [1,1,k], bias [out], and the step of each kernel [out] in a file of integers."""

    weight: NDArray[np.int8] | NDArray[np.float32]
    bias: NDArray[np.int32] | NDArray[np.float32]
    scales: NDArray[np.float32] | None


def _integer(layer: IntegerLayer) -> _Constants:
    return _Constants(layer.weight, layer.bias, layer.scales)


def _real(layer: Layer) -> _Constants:
    weight, bias = (tensor.detach().cpu().numpy().astype(np.float32) for tensor in layer)
    return _Constants(weight, bias, None)


class _Writer:
    """One file in the making; integers where there are scales, else floats."""

    def __init__(self, scales: Mapping[str, Scale] | None) -> None:
        self.file, self.scales = TfliteFile(), scales

    def write(self, graph: Graph, layers: Mapping[str, _Constants], metadata: Mapping[str, str]) -> bytes:
        self._activation(graph.images)
        for op in graph.ops:
            try:
                self._write(op, layers[op.output.name] if op.layer else None)
            except KeyError as error:
                raise ConfigError(f"tensor {error}: no layer or scale; they are those of another graph") from None
        outputs = [buffer.name for buffer in graph.outputs]
        return self.file.pack([graph.images.name], outputs, DESCRIPTION, metadata)

    def _write(self, op: Op, layer: _Constants | None) -> None:
        if layer is not None:
            output = op.logits if op.activation == "sigmoid" else op.output
            getattr(self, f"_{op.kind}")(op, layer, output)
            if op.activation == "sigmoid":
                self._emit("LOGISTIC", [output.name], op.output)
        else:
            getattr(self, f"_{op.kind}")(op, *(buffer.name for buffer in op.inputs))

    def _conv(self, op: Op, layer: _Constants, output: Buffer) -> None:
        names = [op.inputs[0].name, *self._constants(op, layer)]
        self._emit_conv(op, names, self._activation(output), op.stride)

    def _channel_conv(self, op: Op, layer: _Constants, output: Buffer) -> None:
        """The vector as a row of one channel, convolved along it."""
        row = Buffer(f"{op.output.name}.row", 1, 1, output.channels)
        convolved = Buffer(f"{op.output.name}.row_logits", 1, 1, output.channels)
        self._reshape(op.inputs[0].name, row, op.inputs[0].name)
        constants = self._constants(op, layer._replace(weight=layer.weight[:, :, None]))
        self._emit_conv(op, [row.name, *constants], self._activation(convolved, output.name), 1)
        self._reshape(convolved.name, output, output.name)

    def _transposed_conv(self, op: Op, layer: _Constants, output: Buffer) -> None:
        shape = self.file.constant(f"{op.output.name}.shape", np.array(output.shape_1HWC, np.int32))
        weight, bias = self._constants(op, layer)
        names = [shape, weight, op.inputs[0].name, bias]
        fields = {"padding": SAME, "strideW": op.stride, "strideH": op.stride, **_fused(op)}
        version = 4 if op.activation == "relu" else 3
        self.file.operator("TRANSPOSE_CONV", version, names, self._activation(output), "TransposeConvOptions", **fields)

    def _up2(self, op: Op, x: str) -> None:
        """Half-pixel centres stay off: the operator's asymmetric form."""
        size = self.file.constant(f"{op.output.name}.size", np.array([op.output.rows, op.output.columns], np.int32))
        self._emit("RESIZE_BILINEAR", [x, size], op.output, "ResizeBilinearOptions")

    def _mean(self, op: Op, x: str) -> None:
        axes = self.file.constant(f"{op.output.name}.axes", np.array([1, 2], np.int32))
        self._emit("MEAN", [x, axes], op.output, "ReducerOptions", keepDims=True)

    def _add(self, op: Op, one: str, other: str) -> None:
        self._emit("ADD", [one, other], op.output, "AddOptions", **_fused(op))

    def _mul(self, op: Op, one: str, other: str) -> None:
        self._emit("MUL", [one, other], op.output, "MulOptions", **_fused(op))

    def _emit(self, code: str, inputs: list[str], output: Buffer, options: str = "", **fields: object) -> None:
        """An operator that is of version 1 in floats and of version 2 in integers."""
        self.file.operator(code, 1 if self.scales is None else 2, inputs, self._activation(output), options, **fields)

    def _emit_conv(self, op: Op, inputs: list[str], output: str, stride: int) -> None:
        fields = {"padding": SAME, "strideW": stride, "strideH": stride, **_fused(op)}
        fields |= {"dilationWFactor": op.dilation, "dilationHFactor": op.dilation}
        self.file.operator("CONV_2D", 1 if self.scales is None else 3, inputs, output, "Conv2DOptions", **fields)

    def _reshape(self, x: str, output: Buffer, scale: str) -> None:
        shape = np.array(output.shape_1HWC, np.int32)
        name = self.file.constant(f"{output.name}.shape", shape)
        inputs, target = [x, name], self._activation(output, scale)
        self.file.operator("RESHAPE", 1, inputs, target, "ReshapeOptions", newShape=shape)

    def _activation(self, buffer: Buffer, scale: str = "") -> str:
        """Add a tensor, with the scale of the one named ``scale`` if not its own."""
        if self.scales is None:
            return self.file.tensor(buffer.name, buffer.shape_1HWC, "float32")
        found = self.scales[scale or buffer.name]
        steps = (np.array([found.scale], np.float32), [found.zero_point])
        return self.file.tensor(buffer.name, buffer.shape_1HWC, "int8", steps)

    def _constants(self, op: Op, layer: _Constants) -> tuple[str, str]:
        """Kernel and bias."""
        name, kernel_steps, bias_steps = op.output.name, None, None
        if layer.scales is not None and self.scales is not None:
            zeros = [0] * len(layer.scales)
            kernel_steps = layer.scales, zeros
            bias_steps = np.float32(self.scales[op.inputs[0].name].scale) * layer.scales, zeros
        weight = np.ascontiguousarray(layer.weight.transpose(0, 2, 3, 1))
        return (
            self.file.constant(f"{name}.weight", weight, kernel_steps),
            self.file.constant(f"{name}.bias", layer.bias, bias_steps),
        )


def _fused(op: Op) -> dict[str, int]:
    return {"fusedActivationFunction": RELU if op.activation == "relu" else NONE}
