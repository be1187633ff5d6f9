"""TensorFlow Lite files of deployed graphs: written operator by operator, without a converter, and run by LiteRT.

Layout NHWC, batch 1; kernels OHWI.  Tensors have the names of the graph's, constants those of their operator with
``.weight``, ``.bias`` or another ending.  Eight bits as the specification says (models/int8.py); versions of the
operators are the lowest that know what is used (tensorflow/lite/tools/versioning/op_version.cc).  The classes of the
schema are those shipped in ai-edge-litert.  Source: tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware.extras import need
from edgeflownas.hardware.litert import ForeignInterpreter, Interpreter, Made, Model
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.graph import Buffer, Graph, Layer, Op
from edgeflownas.models.int8 import IntegerLayer, Scale, tensor_scales
from edgeflownas.randomness import words

DESCRIPTION = "edgeflownas optical flow"
SAME, NONE, RELU = 0, 0, 1  # of the schema's enumerations Padding and ActivationFunctionType
ALIGNMENT = 16  # of constants in the file, as the schema asks for
TYPES = {"float32": "FLOAT32", "int32": "INT32", "int8": "INT8"}
KERNEL_STEP = np.float32(0.002)  # of made-up kernels
Steps = tuple[NDArray[np.float32], Sequence[int]]  # scales and zero points, one or one an output channel
Kernels = Literal["fast", "plain", "reference"]
RESOLVERS = {"fast": "AUTO", "plain": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


def write_int8(
    graph: Graph, integers: Mapping[str, IntegerLayer], scales: Mapping[str, Scale], metadata: Mapping[str, str] = {}
) -> bytes:
    """The file of ``graph`` in eight-bit integers, inputs and outputs int8, with texts by name as its ``metadata``.

    Kernels and biases are by the name of the operator's output (int8.integer_layers), scales by that of the tensor
    (int8.tensor_scales).  Raises ConfigError for layers of another graph, and without the package ai-edge-litert.
    """
    return _Writer(scales).write(graph, {name: _Constants(*layer) for name, layer in integers.items()}, metadata)


def write_float(graph: Graph, layers: Mapping[str, Layer], metadata: Mapping[str, str] = {}) -> bytes:
    """The file of ``graph`` in float32; arguments and errors as :func:`write_int8`."""
    arrays = {
        name: _Constants(*(tensor.detach().cpu().numpy().astype(np.float32) for tensor in layer))
        for name, layer in layers.items()
    }
    return _Writer(None).write(graph, arrays, metadata)


class _Constants(NamedTuple):
    """Kernel [out,in,k,k] or [1,1,k], bias [out], and the step of each kernel [out] in a file of integers."""

    weight: NDArray[np.int8] | NDArray[np.float32]
    bias: NDArray[np.int32] | NDArray[np.float32]
    scales: NDArray[np.float32] | None = None


class _Writer:
    """One file in the making; integers where there are scales, else floats.  Equal calls give equal bytes."""

    def __init__(self, scales: Mapping[str, Scale] | None) -> None:
        need("litert")
        from ai_edge_litert import schema_py_generated as schema

        self.scales = scales
        self.schema: Any = schema
        self.tensors: list[Any] = []
        self.positions: dict[str, int] = {}
        self.buffers: list[Any] = [schema.BufferT()]  # the first is empty: that of tensors without constants
        self.codes: dict[tuple[str, int], int] = {}
        self.operators: list[Any] = []

    def write(self, graph: Graph, layers: Mapping[str, _Constants], metadata: Mapping[str, str]) -> bytes:
        """The bytes of ``graph``; ``metadata`` in the order of its names."""
        self._activation(graph.images)
        for op in graph.ops:
            try:
                self._write_op(op, layers[op.output.name] if op.layer else None)
            except KeyError as error:
                raise ConfigError(f"tensor {error}: no layer or scale; they are those of another graph") from None
        schema = self.schema
        main, model = schema.SubGraphT(), schema.ModelT()
        main.name, main.tensors, main.operators = "main", self.tensors, self.operators
        main.inputs = self._positions_of([graph.images.name])
        main.outputs = self._positions_of([buffer.name for buffer in graph.outputs])
        model.version, model.description, model.subgraphs = 3, DESCRIPTION, [main]
        codes = [(getattr(schema.BuiltinOperator, name), version) for name, version in self.codes]
        model.operatorCodes = [schema.OperatorCodeT(min(code, 127), version=v, builtinCode=code) for code, v in codes]
        texts = sorted(metadata.items())
        model.metadata = [schema.MetadataT(name, self._buffer(text.encode())) for name, text in texts]
        model.buffers = self.buffers
        builder = _aligned_builder(sum(b.data.size + 64 for b in self.buffers[1:]) + 2**16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return Made(builder.Output())

    def _write_op(self, op: Op, layer: _Constants | None) -> None:
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
        shape = self._constant(f"{op.output.name}.shape", np.array(output.shape_1HWC, np.int32))
        weight, bias = self._constants(op, layer)
        names = [shape, weight, op.inputs[0].name, bias]
        fields = {"padding": SAME, "strideW": op.stride, "strideH": op.stride, **_fused(op)}
        version = 4 if op.activation == "relu" else 3
        self._operator("TRANSPOSE_CONV", version, names, self._activation(output), "TransposeConvOptions", **fields)

    def _up2(self, op: Op, x: str) -> None:
        """Half-pixel centres stay off: the operator's asymmetric form."""
        size = self._constant(f"{op.output.name}.size", np.array([op.output.rows, op.output.columns], np.int32))
        self._emit("RESIZE_BILINEAR", [x, size], op.output, "ResizeBilinearOptions")

    def _mean(self, op: Op, x: str) -> None:
        axes = self._constant(f"{op.output.name}.axes", np.array([1, 2], np.int32))
        self._emit("MEAN", [x, axes], op.output, "ReducerOptions", keepDims=True)

    def _add(self, op: Op, *inputs: str) -> None:
        self._emit("ADD", list(inputs), op.output, "AddOptions", **_fused(op))

    def _mul(self, op: Op, *inputs: str) -> None:
        self._emit("MUL", list(inputs), op.output, "MulOptions", **_fused(op))

    def _emit(self, code: str, inputs: list[str], output: Buffer, options: str = "", **fields: object) -> None:
        """An operator that is of version 1 in floats and of version 2 in integers."""
        self._operator(code, 1 if self.scales is None else 2, inputs, self._activation(output), options, **fields)

    def _emit_conv(self, op: Op, inputs: list[str], output: str, stride: int) -> None:
        fields = {"padding": SAME, "strideW": stride, "strideH": stride, **_fused(op)}
        fields |= {"dilationWFactor": op.dilation, "dilationHFactor": op.dilation}
        self._operator("CONV_2D", 1 if self.scales is None else 3, inputs, output, "Conv2DOptions", **fields)

    def _reshape(self, x: str, output: Buffer, scale: str) -> None:
        shape = np.array(output.shape_1HWC, np.int32)
        inputs = [x, self._constant(f"{output.name}.shape", shape)]
        self._operator("RESHAPE", 1, inputs, self._activation(output, scale), "ReshapeOptions", newShape=shape)

    def _activation(self, buffer: Buffer, scale: str = "") -> str:
        """Add a tensor, with the scale of the one named ``scale`` if not its own."""
        if self.scales is None:
            return self._tensor(buffer.name, buffer.shape_1HWC, "float32")
        found = self.scales[scale or buffer.name]
        return self._tensor(
            buffer.name, buffer.shape_1HWC, "int8", (np.array([found.scale], np.float32), [found.zero_point])
        )

    def _constants(self, op: Op, layer: _Constants) -> tuple[str, str]:
        """Kernel and bias."""
        name, kernel_steps, bias_steps = op.output.name, None, None
        if layer.scales is not None and self.scales is not None:
            zeros = [0] * len(layer.scales)
            kernel_steps = layer.scales, zeros
            bias_steps = np.float32(self.scales[op.inputs[0].name].scale) * layer.scales, zeros
        weight = np.ascontiguousarray(layer.weight.transpose(0, 2, 3, 1))
        return (
            self._constant(f"{name}.weight", weight, kernel_steps),
            self._constant(f"{name}.bias", layer.bias, bias_steps),
        )

    def _constant(self, name: str, values: NDArray[Any], steps: Steps | None = None) -> str:
        """Add a tensor with its values; several steps are those of its first axis."""
        return self._tensor(name, values.shape, values.dtype.name, steps, self._buffer(values.tobytes()))

    def _tensor(self, name: str, shape: Sequence[int], kind: str, steps: Steps | None = None, buffer: int = 0) -> str:
        """Add a tensor of numpy type ``kind``; returns its name."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer, tensor.hasRank = name, np.array(shape, np.int32), buffer, True
        tensor.type = getattr(self.schema.TensorType, TYPES[kind])
        if steps:
            quantization = self.schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = np.asarray(steps[0], np.float32), np.array(steps[1], np.int64)
            tensor.quantization = quantization
        self.positions[name] = len(self.tensors)
        self.tensors.append(tensor)
        return name

    def _operator(
        self, code: str, version: int, inputs: Sequence[str], output: str, options: str = "", **fields: object
    ) -> None:
        """Add an operator; ``fields`` are those of its ``options`` table, named as in the schema."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault((code, version), len(self.codes))
        operator.inputs, operator.outputs = self._positions_of(inputs), self._positions_of([output])
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")(**fields)
        self.operators.append(operator)

    def _positions_of(self, names: Sequence[str]) -> NDArray[np.int32]:
        return np.array([self.positions[name] for name in names], np.int32)

    def _buffer(self, data: bytes) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.buffers.append(buffer)
        return len(self.buffers) - 1


def _fused(op: Op) -> dict[str, int]:
    return {"fusedActivationFunction": RELU if op.activation == "relu" else NONE}


def _aligned_builder(size: int) -> Any:
    """A builder of flatbuffers with room for ``size`` bytes that aligns constants: the schema's classes do not."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, values: NDArray[Any]) -> int:
            if values.dtype == np.uint8:
                self.Prep(ALIGNMENT, values.size)
            result: int = super().CreateNumpyVector(values)
            return result

    return Aligned(size)


def cost_model_bytes(graph: Graph) -> bytes:
    """The int8 file of ``graph`` with made-up kernels and ranges, for what a compiler says about cost.

    What it says depends on shapes, and a little on how well the kernels compress.  So the kernels are normal numbers,
    rounded where the largest of each output channel is about 127, as quantised kernels are; scales and biases are any.
    The same graph gives the same bytes.

    Raises:
        ConfigError: no package ai-edge-litert.
    """
    buffers = [(op.output, op.activation) for op in graph.ops] + [(op.logits, "") for op in graph.ops]
    ranges = {buffer.name: (0.0 if activation == "relu" else -6.0, 6.0) for buffer, activation in buffers}
    integers = {op.output.name: _layer(op, index) for index, op in enumerate(graph.ops) if op.layer}
    return write_int8(graph, integers, tensor_scales(graph, ranges, InputForm()))


def _layer(op: Op, index: int) -> IntegerLayer:
    out = 1 if op.kind == "channel_conv" else op.output.channels
    shape = (1, 1, op.kernel) if op.kind == "channel_conv" else (out, op.inputs[0].channels, op.kernel, op.kernel)
    count = int(np.prod(shape))
    draws = words(0, "made-up kernel", index, count=-(-count // 4)).view(np.uint16)[:count]
    weight = _normal(count // out)[draws].reshape(shape)
    return IntegerLayer(weight, np.arange(out, dtype=np.int32), np.full(out, KERNEL_STEP, np.float32))


@cache
def _normal(count: int) -> NDArray[np.int8]:
    """Normal numbers by 16 random bits [65536]; the largest magnitude of ``count`` of them has the median 127."""
    deviation = 127 / NormalDist().inv_cdf(1 - np.log(2) / 2 / max(count, 2))
    edges = [NormalDist(0, deviation).cdf(step + 0.5) for step in range(-127, 127)]
    return (np.searchsorted(edges, (np.arange(65536) + 0.5) / 65536) - 127).astype(np.int8)


class TfliteModel:
    """A file ready to run on the processor; ``inputs`` and ``outputs`` are names, in the file's order."""

    def __init__(
        self,
        data: bytes,
        kernels: Kernels = "fast",
        *,
        preserve_all: bool = False,
        threads: int = 1,
        name: str = "the model",
    ) -> None:
        """Load the bytes of a file, which errors call ``name``; unless they were just made, in a process of its own.

        Kernels: ``fast`` are XNNPACK's, which may fuse, and round int8 in a way of their own; ``plain`` LiteRT's own,
        within one step of the arithmetic of models/int8.py; ``reference`` those that TensorFlow Lite Micro has too,
        slow.  ``preserve_all`` keeps every tensor for :meth:`tensors`; not with ``fast``, which may leave some out.

        Raises:
            ConfigError: no package ai-edge-litert.
            DataError: no TensorFlow Lite file, one cut short, or one with an operator that LiteRT does not have.
        """
        wanted = Model(data, RESOLVERS[kernels], preserve_all, threads, name)
        self._model = Interpreter(wanted) if isinstance(data, Made) else ForeignInterpreter(wanted)
        self._details, self.inputs, self.outputs = self._model.facts

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor as it is stored: [1,H,W,C]."""
        return tuple(int(side) for side in self._details[name]["shape"])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of a tensor's elements: int8 or float32."""
        found: np.dtype[Any] = np.dtype(self._details[name]["dtype"])
        return found

    def run(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The outputs [1,h,w,C] for ``images`` [H,W,6] or [1,H,W,6], both as they are stored.

        Raises:
            DataError: images of another shape or type.
        """
        (name,) = self.inputs
        given = images if images.ndim == 4 else images[None]
        if given.shape != self.shape(name) or given.dtype != self.dtype(name):
            raise DataError(
                f"input {name!r}: {given.dtype} {list(given.shape)} given, "
                f"{self.dtype(name)} {list(self.shape(name))} expected"
            )
        return self._model.ask(given, self.outputs)

    def tensors(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Tensors of the last run by name, as they are stored; others than inputs and outputs with ``preserve_all``."""
        return self._model.ask(None, names)

    def real(self, name: str, values: NDArray[Any]) -> NDArray[np.float32]:
        """The real numbers that the stored ``values`` of a tensor stand for; floats are themselves."""
        if self.dtype(name).kind == "f":
            return values.astype(np.float32)
        scale, zero_point = self._details[name]["quantization"]
        real: NDArray[np.float32] = np.float32(scale) * (values.astype(np.int32) - zero_point).astype(np.float32)
        return real
