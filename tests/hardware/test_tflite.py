"""What stands in a file, and what LiteRT computes from it: what the graph computes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from integers import rounded_layers, rounding
from numpy.typing import NDArray
from settled import SIZE, networks

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.hardware import litert, tflite
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.graph import (
    Buffer,
    Graph,
    Layer,
    Op,
    Outputs,
    edgeflownet_graph,
    fold,
    graph_of,
    run_graph,
    subnet_graph,
)
from edgeflownas.models.int8 import IntegerLayer, Scale, collect_ranges, integer_layers, tensor_scales
from edgeflownas.space import get_space

FORM = InputForm()
Case = tuple[Graph, dict[str, Layer], dict[str, Scale]]


def pixels() -> torch.Tensor:
    """Bytes of a pair [1,H,W,6]: smooth, as pictures are."""
    coarse = torch.rand(1, 6, 4, 6, generator=torch.Generator().manual_seed(0)) * 255
    fine = torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 255)
    return fine.permute(0, 2, 3, 1).round().to(torch.uint8)


def case(name: str, outputs: Outputs = "scales") -> Case:
    net = networks()[name]()
    graph = graph_of(net, SIZE, outputs, uncertainty=True)
    layers = fold(net, graph)
    ranges = collect_ranges(graph, layers, [FORM.encode(pixels(), torch.float32)])
    return graph, layers, tensor_scales(graph, ranges, FORM)


def integer_file(graph: Graph, layers: Mapping[str, Layer], scales: Mapping[str, Scale]) -> bytes:
    return tflite.write_int8(graph, integer_layers(graph, layers, scales), scales)


def as_stored(values: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.permute(0, 2, 3, 1).numpy())


def snr(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    noise = float(np.square(found.astype(np.float64) - expected).mean())
    return float(10 * np.log10(np.square(expected.astype(np.float64)).mean() / max(noise, 1e-30)))


@pytest.mark.parametrize("name", networks())
@torch.inference_mode()
def test_floats_are_the_graphs(name: str) -> None:
    net, images = networks()[name](), FORM.encode(pixels(), torch.float32)
    for outputs in get_args(Outputs):
        graph = graph_of(net, SIZE, outputs, uncertainty=True)
        layers = fold(net, graph)
        expected = run_graph(graph, layers, images)
        model = tflite.TfliteModel(tflite.write_float(graph, layers))
        found = model.run(as_stored(images))
        assert model.inputs == ["images"] and list(found) == [buffer.name for buffer in graph.outputs]
        for output, values in expected.items():
            assert snr(as_stored(values), found[output]) > 100, (outputs, output)


@pytest.mark.parametrize("name", networks())
@torch.inference_mode()
def test_each_operator_computes_the_integers_of_the_arithmetic(name: str) -> None:
    """Every operator on the file's own inputs: its integers are those of ``rounding``, or next to them."""
    graph, layers, scales = case(name)
    model = tflite.TfliteModel(integer_file(graph, layers, scales), "plain", preserve_all=True)
    model.run((pixels().to(torch.int16) - 128).to(torch.int8).numpy())
    kinds = {op.output.name: op.kind for op in graph.ops} | {"images": "images"}
    seen, off, at = defaultdict(int), defaultdict(int), rounding(graph, scales)

    def compare(buffer: Buffer, values: torch.Tensor) -> torch.Tensor:
        stored = model.tensors([buffer.name])[buffer.name]
        mine = np.round(as_stored(at(buffer, values)) / scales[buffer.name].scale) + scales[buffer.name].zero_point
        difference = np.abs(stored - mine)
        assert difference.max() <= 1, buffer.name
        kind = kinds.get(buffer.name, "logits")
        seen[kind] += difference.size
        off[kind] += int(difference.sum())
        return torch.from_numpy(model.real(buffer.name, stored)).permute(0, 3, 1, 2)

    run_graph(graph, rounded_layers(graph, layers, scales), FORM.encode(pixels(), torch.float32), compare)
    off.pop("mean", None)  # LiteRT's kernel cuts its zero point to a whole number: up to one step everywhere
    # Which values fall on the other side of a half differs by processor, as the ranges do in their last bits: one in a
    # hundred (of products 0.4 to 1.0 %), and three standard deviations of such a count.
    limits = {kind: 0.01 * values + 3 * (0.01 * values) ** 0.5 for kind, values in seen.items()}
    assert {kind: count for kind, count in off.items() if count > limits[kind]} == {}
    assert sum(off.values()) <= 0.002 * sum(seen.values())
    assert off["up2"] == off["images"] == 0


@pytest.mark.parametrize("name", networks())
@pytest.mark.parametrize("kernels", ["fast", "plain", "reference"])
@torch.inference_mode()
def test_eight_bits_lose_as_much_as_the_arithmetic_says(name: str, kernels: tflite.Kernels) -> None:
    graph, layers, scales = case(name)
    images = FORM.encode(pixels(), torch.float32)
    exact = run_graph(graph, layers, images)
    rounded = run_graph(graph, rounded_layers(graph, layers, scales), images, rounding(graph, scales))
    model = tflite.TfliteModel(integer_file(graph, layers, scales), kernels)
    found = model.run((pixels().to(torch.int16) - 128).to(torch.int8).numpy())
    # The mean of the plain kernels cuts its zero point to a whole number, which channel attention passes on.
    spare = 6 if kernels == "plain" and any(op.kind == "mean" for op in graph.ops) else 3
    for output, values in exact.items():
        loss = snr(as_stored(values), as_stored(rounded[output]))
        assert snr(as_stored(values), model.real(output, found[output])) > min(loss - spare, 40), output
        assert loss > 10


def test_the_same_bytes_again() -> None:
    graph, layers, scales = case("v3 11111111111")
    integers = integer_layers(graph, layers, scales)
    one = tflite.write_int8(graph, integers, scales, {"code": "1", "space": "v1"})
    other = tflite.write_int8(graph, dict(reversed(integers.items())), scales, {"space": "v1", "code": "1"})
    assert one == other != tflite.write_int8(graph, integers, scales, {"code": "2", "space": "v1"})
    assert tflite.cost_model_bytes(graph) == tflite.cost_model_bytes(graph)


def test_made_up_kernels_look_like_quantised_ones() -> None:
    graph, _, _ = case("v1 021100101")
    model = tflite.TfliteModel(tflite.cost_model_bytes(graph), "plain", preserve_all=True)
    kernel = model.tensors(["EB1.0.conv1.weight"])["EB1.0.conv1.weight"]
    peaks = np.abs(kernel.astype(int)).reshape(len(kernel), -1).max(1)
    assert kernel.shape == (32, 3, 3, 32) and 100 < np.median(peaks) <= 127
    assert abs(float(kernel.mean())) < 2 and len(np.unique(kernel, axis=0)) == len(kernel)


def test_layers_of_another_graph() -> None:
    graph, layers, scales = case("v1 021100101")
    with pytest.raises(ConfigError, match="'E0': no layer or scale"):
        tflite.write_float(graph, {name: layer for name, layer in layers.items() if name != "E0"})
    integers = integer_layers(graph, layers, scales)
    with pytest.raises(ConfigError, match="'H2': no layer or scale"):
        tflite.write_int8(graph, integers, {name: scale for name, scale in scales.items() if name != "H2"})


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
    model = tflite.TfliteModel(
        tflite.write_int8(tiny(), {"features": IntegerLayer(weight, bias, steps)}, scales), "plain", preserve_all=True
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
    model, body = parsed(tflite.cost_model_bytes(graph))
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
    data = tflite.write_int8(graph, {"features": layer}, scales, {"space": "v1", "code": "021100101"})
    model, _ = parsed(data)
    root = schema.Model.GetRootAs(data)
    for index in range(1, root.BuffersLength()):
        vector = root.Buffers(index)._tab
        assert vector.Vector(vector.Offset(4)) % 16 == 0
    texts = {note.name.decode(): bytes(model.buffers[note.buffer].data).decode() for note in model.metadata}
    assert texts == {"code": "021100101", "space": "v1"} and model.version == 3
    assert data[4:8] == b"TFL3"


def test_what_is_no_model_is_refused() -> None:
    data = tflite.cost_model_bytes(GRAPHS["v1"])
    for broken in (data[: len(data) // 2], data[:20]):
        with pytest.raises(DataError, match=r"m\.tflite: LiteRT does not run it"):
            tflite.TfliteModel(broken, name="m.tflite")
    for foreign in (b"", b"\x08\x01 an onnx file", b"x" * 1000):
        with pytest.raises(DataError, match=r"m\.tflite: not a TensorFlow Lite file"):
            tflite.TfliteModel(foreign, name="m.tflite")
    model = tflite.TfliteModel(data)
    with pytest.raises(DataError, match=r"float32 \[1, 32, 48, 6\] given, int8 \[1, 32, 48, 6\] expected"):
        model.run(np.zeros((32, 48, 6), np.float32))
    with pytest.raises(DataError, match=r"int8 \[1, 8, 8, 6\] given"):
        model.run(np.zeros((8, 8, 6), np.int8))


def test_only_the_note_of_litert_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    """It comes once a process, wherever the fast kernels are made first."""
    with litert._unannounced():
        os.write(2, b"before\n" + litert.NOTE + b"\nafter\n")
    assert capfd.readouterr().err == "before\nafter\n"
    with pytest.raises(DataError, match="LiteRT"), litert._unannounced():
        os.write(2, b"kept\n")
        raise DataError("LiteRT")
    assert capfd.readouterr().err == "kept\n"
