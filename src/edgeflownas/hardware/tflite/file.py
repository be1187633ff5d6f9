"""A TensorFlow Lite file as a list of tensors and operators, and its bytes.

The classes of the schema are those shipped in ai-edge-litert.  Source: tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas.hardware.extras import need

ALIGNMENT = 16  # of constants in the file, as the schema asks for
TYPES = {"float32": "FLOAT32", "int32": "INT32", "int8": "INT8"}
Steps = tuple[NDArray[np.float32], Sequence[int]]  # scales and zero points, one or one an output channel


class TfliteFile:
    """What a file holds as far as it is added; equal calls give equal bytes."""

    def __init__(self) -> None:
        need("litert")
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.tensors: list[Any] = []
        self.positions: dict[str, int] = {}
        self.buffers: list[Any] = [schema.BufferT()]  # the first is empty: that of tensors without constants
        self.codes: dict[tuple[str, int], int] = {}
        self.operators: list[Any] = []

    def tensor(self, name: str, shape: Sequence[int], kind: str, steps: Steps | None = None, buffer: int = 0) -> str:
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

    def constant(self, name: str, values: NDArray[Any], steps: Steps | None = None) -> str:
        """Add a tensor with its values; several steps are those of its first axis."""
        return self.tensor(name, values.shape, values.dtype.name, steps, self._buffer(values.tobytes()))

    def operator(
        self, code: str, version: int, inputs: Sequence[str], output: str, options: str = "", **fields: object
    ) -> None:
        """Add an operator; ``fields`` are those of its ``options`` table, named as in the schema."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault((code, version), len(self.codes))
        operator.inputs = np.array([self.positions[name] for name in inputs], np.int32)
        operator.outputs = np.array([self.positions[output]], np.int32)
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")(**fields)
        self.operators.append(operator)

    def pack(self, inputs: Sequence[str], outputs: Sequence[str], description: str, notes: Mapping[str, str]) -> bytes:
        """The bytes of the file; ``notes`` become its metadata, in the order of their names."""
        schema = self.schema
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.name, graph.tensors, graph.operators = "main", self.tensors, self.operators
        graph.inputs, graph.outputs = (
            np.array([self.positions[name] for name in names], np.int32) for names in (inputs, outputs)
        )
        model.version, model.description, model.subgraphs = 3, description, [graph]
        model.operatorCodes = [self._code(code, version) for code, version in self.codes]
        model.metadata = [
            schema.MetadataT(name=name, buffer=self._buffer(text.encode())) for name, text in sorted(notes.items())
        ]
        model.buffers = self.buffers
        builder = _aligned_builder(sum(b.data.size + 64 for b in self.buffers[1:]) + 2**16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, name: str, version: int) -> Any:
        code = getattr(self.schema.BuiltinOperator, name)
        return self.schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)

    def _buffer(self, data: bytes) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.buffers.append(buffer)
        return len(self.buffers) - 1


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
