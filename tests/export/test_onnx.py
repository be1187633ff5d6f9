"""ONNX files compute what the graph computes, under its names, and are the same bytes every time."""

import json
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from nets import NAMES, NOTES, files_of, samples_of, whole

from edgeflownas.errors import DataError
from edgeflownas.export.onnx import OPSET, OnnxModel, write_onnx
from edgeflownas.export.paths import FOLDED, TRAINING
from edgeflownas.export.verify import LARGEST_LOSS, LEAST_SNR, ZERO, verify
from edgeflownas.models.graph import run_graph

pytestmark = pytest.mark.e2e  # every module is traced and written by torch.onnx


@pytest.fixture(scope="module", params=NAMES)
def made(request):
    return whole(request.param)


def snr(reference, values):
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - values).sum()))


@torch.no_grad()
def test_the_outputs_are_the_graphs(made):
    example, model = made
    images = example.form.encode(example.images[:1], torch.float32).contiguous()
    expected = run_graph(example.graph, example.layers, images)
    found = OnnxModel(model).run(images.numpy())
    assert list(found) == list(expected)
    for name, values in found.items():
        assert snr(expected[name].numpy(), values) > 100.0, name


def test_what_is_in_the_file(made):
    example, content = made
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


def test_a_sound_export_passes(made):
    example, model = made
    models = files_of(example) | {"onnx": model}
    result = verify(example.net, example.graph, example.layers, models, samples_of(example))
    assert not result.reasons, result.reasons
    assert [row.path for row in result.paths] == [ZERO, TRAINING, FOLDED, *models]
    assert len(result.outputs) == 4 * 6 and result.pairs == result.pairs_with_truth == 3
    for row in result.outputs:
        assert (row.snr_db > 15) if row.path.endswith("int8") else (row.snr_db > LEAST_SNR), row
        assert (row.epe_against_float is None) == row.output.startswith("uncertainty")
    losses = {row.path: row for row in result.paths}
    assert 0 < abs(losses["tflite-int8"].loss_percent) < LARGEST_LOSS
    assert abs(losses["onnx"].loss_percent) < 0.01
    document = json.loads(json.dumps(result.document(), allow_nan=False))
    assert document["verdict"] == "passed" and document["layers"] == {}


def test_the_same_bytes_again():
    example, model = whole("v3")
    assert write_onnx(example.graph, example.layers, {"about": "x", "code": "1"}) == model


def test_no_model():
    with pytest.raises(DataError, match="does not take the model"):
        OnnxModel(b"\x08\x07nonsense")
