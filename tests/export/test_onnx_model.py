"""ONNX files compute what the graph computes, under its names, and are the same bytes every time."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgeflownas.errors import DataError
from edgeflownas.export.onnx_model import OPSET, OnnxModel, write_onnx, write_onnx_int8
from edgeflownas.models.deployed.quantise import PixelScale
from edgeflownas.models.deployed.running import run_graph

sys.path.insert(0, str(Path(__file__).parent))
from nets import NAMES, NOTES, Tiny, whole  # noqa: E402

pytestmark = pytest.mark.e2e  # every module is traced and written by torch.onnx


@pytest.fixture(scope="module", params=NAMES)
def made(request) -> tuple[Tiny, bytes, bytes]:
    example, model = whole(request.param)
    return example, model, write_onnx_int8(model, example.graph, example.scales, {"code": "1"})


def snr(reference: np.ndarray, values: np.ndarray) -> float:
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - values).sum()))


@torch.no_grad()
def test_the_outputs_are_the_graphs(made: tuple[Tiny, bytes, bytes]) -> None:
    example, model, int8 = made
    images = example.form.encode(example.images[:1], torch.float32).contiguous()
    expected = run_graph(example.graph, example.layers, images)
    for content, least in ((model, 100.0), (int8, 15.0)):
        found = OnnxModel(content).run(images.numpy())
        assert list(found) == list(expected)
        for name, values in found.items():
            assert snr(expected[name].numpy(), values) > least, name


def test_what_is_in_the_file(made: tuple[Tiny, bytes, bytes]) -> None:
    example, content, _ = made
    model = onnx.load_model_from_string(content)
    kinds = Counter(node.op_type for node in model.graph.node)
    ups = sum(op.kind == "up2" for op in example.graph.ops)
    assert kinds["Resize"] == ups and not kinds["AveragePool"] and not kinds["Pad"] and not kinds["Slice"]
    for node in model.graph.node:
        if node.op_type == "Resize":
            chosen = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            assert chosen["coordinate_transformation_mode"] == b"asymmetric" and chosen["mode"] == b"linear"
    tensors = {name for node in model.graph.node for name in node.output}
    assert {op.output.name for op in example.graph.ops} <= tensors
    constants = {tensor.name for tensor in model.graph.initializer}
    convs = {op.output.name for op in example.graph.ops if op.kind == "conv"}
    assert {f"{name}.weight" for name in convs} <= constants
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert OnnxModel(content).metadata == NOTES
    for trace in (b".py", b"/src", b"torch", b"pkg."):
        assert trace not in content


def test_the_same_bytes_again() -> None:
    example, model = whole("v3")
    int8 = write_onnx_int8(model, example.graph, example.scales)
    again = write_onnx(example.graph, example.layers, {"about": "x", "code": "1"})
    assert again == model
    assert write_onnx_int8(again, example.graph, example.scales) == int8


def test_int8_has_the_scales_of_the_graph(made: tuple[Tiny, bytes, bytes]) -> None:
    example, _, int8 = made
    model = onnx.load_model_from_string(int8)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kinds = Counter(node.op_type for node in model.graph.node)
    assert not kinds["Relu"] and kinds["QuantizeLinear"] >= len(example.graph.ops)
    for name, scale in example.scales.items():
        if isinstance(scale, PixelScale):
            continue
        own = constants.get(f"{name}_scale")
        if own is None:  # an enlarged tensor has its input's, a vector that of its reshaped form
            assert name.endswith("_x2") or name in ("ECA.mean", "ECA.scale.logits"), name
            continue
        assert own == np.float32(scale.scale) and constants[f"{name}_zero_point"] == scale.zero_point + 128
    weights = [values for values in constants.values() if values.dtype == np.int8 and values.ndim >= 3]
    assert len(weights) == len(example.layers)
    assert constants["E0.weight_scale"].shape == (8,)


def test_no_model() -> None:
    with pytest.raises(DataError, match="does not take the model"):
        OnnxModel(b"\x08\x07nonsense")
