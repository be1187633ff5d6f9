"""What stands in a file: a graph small enough for arithmetic by hand, and the rules of eight bits read back."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeflownas.errors import DataError
from edgeflownas.hardware.tflite import cost_model_bytes, write_int8
from edgeflownas.hardware.tflite.model import NOTE, TfliteModel, _unannounced
from edgeflownas.models.deployed.graph import Buffer, Graph, Op
from edgeflownas.models.deployed.networks import edgeflownet_graph, subnet_graph
from edgeflownas.models.deployed.quantise import IntegerLayer, Scale
from edgeflownas.space import get_space

SIZE = (32, 48)
GRAPHS = {
    "v1": subnet_graph(get_space("v1"), 8, "021100101", SIZE, "scales", uncertainty=True),
    "v3": subnet_graph(get_space("v3"), 8, get_space("v3").sample(0), SIZE),
    "edgeflownet": edgeflownet_graph(8, SIZE),
}
VERSIONS = {"CONV_2D": 3, "TRANSPOSE_CONV": (3, 4), "RESHAPE": 1}  # all others: 2


def tiny() -> Graph:
    """1x1 convolution to two channels with ReLU, enlarged, added to itself enlarged."""
    images = Buffer("images", 6, 1, 2, True)
    features, larger = Buffer("features", 2, 1, 2), Buffer("larger", 2, 2, 4)
    ops = (
        Op("conv", "a", features, (images,), activation="relu", layer="a"),
        Op("up2", "b", larger, (features,)),
        Op("add", "c", Buffer("flow", 2, 2, 4, True), (larger, larger)),
    )
    return Graph(ops, images, (ops[-1].output,))


def test_by_hand() -> None:
    """Pixels 2 and 4 in every channel.

    Kernel 0 is 0.5 for each of six channels with bias 1: 0.5 x 12 + 1 = 7 and 0.5 x 24 + 1 = 13.
    Kernel 1 is -1 for the first channel with bias 3: 3 - 2 = 1 and 3 - 4 = -1, which ReLU makes 0.
    Enlarged in one row: 7, 10, 13, 13 and 1, 0.5, 0, 0; the half step is -127.5 in integers, so -128: 0.
    The sum is twice that, in steps of 2: 7, 10, 13, 13 and 1, 0, 0, 0.
    """
    weight = np.zeros((2, 6, 1, 1), np.int8)
    weight[0], weight[1, 0] = 5, -4
    steps = np.array([0.1, 0.25], np.float32)
    bias = np.array([10, 12], np.int32)  # in steps of 1.0 x 0.1 and 1.0 x 0.25
    scales = {"images": Scale(1.0, -128), "features": Scale(1.0, -128), "flow": Scale(2.0, 0)}
    scales["larger"] = scales["features"]
    model = TfliteModel(
        write_int8(tiny(), {"features": IntegerLayer(weight, bias, steps)}, scales), "plain", preserve_all=True
    )
    found = model.run(
        np.array([2, 4], np.int16)[None, :, None].repeat(6, 2).astype(np.int8) - np.int8(126) - np.int8(2)
    )
    features = model.real("features", model.tensors(["features"])["features"])
    np.testing.assert_array_equal(features[0, 0], [[7, 1], [13, 0]])
    assert found["flow"].dtype == np.int8 and found["flow"].shape == (1, 2, 4, 2)
    for row in found["flow"][0]:
        np.testing.assert_array_equal(row, [[7, 1], [10, 0], [13, 0], [13, 0]])
    np.testing.assert_array_equal(model.real("flow", found["flow"]), 2.0 * found["flow"])


def names_of(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def parsed(data: bytes) -> tuple[Any, Any]:
    model = schema.ModelT.InitFromPackedBuf(data)
    return model, model.subgraphs[0]


@pytest.mark.parametrize("name", GRAPHS)
def test_the_rules_of_eight_bits(name: str) -> None:
    graph = GRAPHS[name]
    model, body = parsed(cost_model_bytes(graph))
    codes, tensors = names_of(schema.BuiltinOperator), body.tensors
    for operator in body.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind, inputs = codes[code.builtinCode], [tensors[index] for index in operator.inputs]
        output = tensors[operator.outputs[0]]
        known = VERSIONS.get(kind, 2)
        assert code.version in (known if isinstance(known, tuple) else (known,)) and code.deprecatedBuiltinCode < 127
        if kind in ("RESIZE_BILINEAR", "RESHAPE"):
            one, other = inputs[0].quantization, output.quantization
            assert one.scale == other.scale and one.zeroPoint == other.zeroPoint
        if kind == "RESIZE_BILINEAR":
            assert not operator.builtinOptions.halfPixelCenters and not operator.builtinOptions.alignCorners
        if kind == "LOGISTIC":
            assert list(output.quantization.scale) == [1 / 256] and list(output.quantization.zeroPoint) == [-128]
        if kind in ("CONV_2D", "TRANSPOSE_CONV"):
            x, weight, bias = inputs if kind == "CONV_2D" else (inputs[2], inputs[1], inputs[3])
            expected = np.float32(x.quantization.scale[0]) * np.array(weight.quantization.scale, np.float32)
            np.testing.assert_array_equal(np.array(bias.quantization.scale, np.float32), expected)
            assert weight.quantization.quantizedDimension == 0 and len(expected) == weight.shape[0]
            assert not np.any(weight.quantization.zeroPoint) and not np.any(bias.quantization.zeroPoint)
            assert (weight.type, bias.type) == (schema.TensorType.INT8, schema.TensorType.INT32)
            assert operator.builtinOptions.padding == schema.Padding.SAME
    by_name = {tensor.name.decode(): tensor for tensor in tensors}
    assert len(by_name) == len(tensors)
    for buffer in graph.buffers:
        assert tuple(by_name[buffer.name].shape) == buffer.shape_1HWC
        assert by_name[buffer.name].type == schema.TensorType.INT8 and by_name[buffer.name].buffer == 0


def test_constants_are_aligned_and_texts_are_there() -> None:
    graph = tiny()
    layer = IntegerLayer(np.ones((2, 6, 1, 1), np.int8), np.zeros(2, np.int32), np.ones(2, np.float32))
    scales = {buffer.name: Scale(1.0, 0) for buffer in graph.buffers}
    data = write_int8(graph, {"features": layer}, scales, {"space": "v1", "code": "021100101"})
    model, _ = parsed(data)
    root = schema.Model.GetRootAs(data)
    for index in range(1, root.BuffersLength()):
        vector = root.Buffers(index)._tab
        assert vector.Vector(vector.Offset(4)) % 16 == 0
    texts = {note.name.decode(): bytes(model.buffers[note.buffer].data).decode() for note in model.metadata}
    assert texts == {"code": "021100101", "space": "v1"} and model.version == 3
    assert data[4:8] == b"TFL3"


def test_what_is_no_model_is_refused() -> None:
    data = cost_model_bytes(GRAPHS["v1"])
    for broken in (data[: len(data) // 2], data[:20]):
        with pytest.raises(DataError, match=r"m\.tflite: LiteRT does not run it"):
            TfliteModel(broken, name="m.tflite")
    for foreign in (b"", b"\x08\x01 an onnx file", b"x" * 1000):
        with pytest.raises(DataError, match=r"m\.tflite: not a TensorFlow Lite file"):
            TfliteModel(foreign, name="m.tflite")
    model = TfliteModel(data)
    with pytest.raises(DataError, match=r"float32 \[1, 32, 48, 6\] given, int8 \[1, 32, 48, 6\] expected"):
        model.run(np.zeros((32, 48, 6), np.float32))
    with pytest.raises(DataError, match=r"int8 \[1, 8, 8, 6\] given"):
        model.run(np.zeros((8, 8, 6), np.int8))


def test_only_the_note_of_litert_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    """It comes once a process, wherever the fast kernels are made first."""
    with _unannounced():
        os.write(2, b"before\n" + NOTE + b"\nafter\n")
    assert capfd.readouterr().err == "before\nafter\n"
    with pytest.raises(DataError, match="LiteRT"), _unannounced():
        os.write(2, b"kept\n")
        raise DataError("LiteRT")
    assert capfd.readouterr().err == "kept\n"
