"""Parts of an export that a whole command hides."""

from types import SimpleNamespace

import pytest
import torch
from nets import tiny

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.export import build
from edgeflownas.export.build import formats_of
from edgeflownas.hardware.tflite import TfliteModel, write_int8
from edgeflownas.models.int8 import integer_layers


def test_a_layer_that_is_always_zero_stops_no_export():
    """Its scale is out of reach of LiteRT's fast kernels, which only a comparison and a time are taken from."""
    example = tiny("v1")
    example.ranges["EB0.0.conv1"] = (0.0, 0.0)
    model = write_int8(example.graph, integer_layers(example.graph, example.layers, example.scales), example.scales)
    with pytest.raises(DataError):
        TfliteModel(model)
    subnet = SimpleNamespace(net=SimpleNamespace(input_form=example.form))
    deployed = SimpleNamespace(graph=example.graph, layers=example.layers, subnet=subnet)
    files, facts = build.make_vectors(TfliteModel(model, "reference"), build._fast(model), deployed)  # type: ignore[arg-type]
    assert len(files) == 4 and facts["fast_mean_steps"] is None and facts["fast_largest_step"] is None
    assert set(build.latencies(deployed, {build.INT8: model})) == {"PyTorch float32"}  # type: ignore[arg-type]


def test_times_are_those_of_the_deployed_part(monkeypatch):
    example, ran = tiny("v1", "quarter"), []
    monkeypatch.setattr(build, "run_graph", lambda graph, layers, images: ran.append((graph, images.shape)))
    deployed = SimpleNamespace(graph=example.graph, layers=example.layers, subnet=SimpleNamespace(net=example.net))
    with torch.inference_mode():
        build.latencies(deployed, {})  # type: ignore[arg-type]
    assert len(ran) == sum(build.TIMED) and ran[0] == (example.graph, (1, 6, 32, 48))


def test_formats_have_one_order():
    """Whatever the order of the words: files, report and page are the same."""
    assert formats_of("onnx, tflite-int8,onnx") == ("tflite-int8", "onnx")
    for text in ("", ",", "onnx,onyx", "onnx,onnx-int8"):
        with pytest.raises(ConfigError, match="--format"):
            formats_of(text)
