"""Parts of an export that a whole command hides."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgeflownas.errors import DataError
from edgeflownas.export import build
from edgeflownas.hardware.tflite import write_int8
from edgeflownas.hardware.tflite.model import TfliteModel
from edgeflownas.models.deployed.quantise import integer_layers

sys.path.insert(0, str(Path(__file__).parent))
from nets import tiny  # noqa: E402


def test_a_layer_that_is_always_zero_stops_no_export() -> None:
    """Its scale is out of reach of LiteRT's fast kernels, which only a comparison and a time are taken from."""
    example = tiny("v1")
    example.ranges["EB0.0.conv1"] = (0.0, 0.0)
    model = write_int8(example.graph, integer_layers(example.graph, example.layers, example.scales), example.scales)
    with pytest.raises(DataError):
        TfliteModel(model)
    source = SimpleNamespace(net=SimpleNamespace(input_form=example.form))
    deployed = SimpleNamespace(graph=example.graph, layers=example.layers, source=source)
    with ThreadPoolExecutor(1) as aside:
        files, facts = build._begin_vectors(model, deployed, aside).result()  # type: ignore[arg-type]
    assert len(files) == 4 and facts["fast_mean_steps"] is None and facts["fast_largest_step"] is None
    assert set(build._latencies(deployed, {build.INT8: model})) == {"PyTorch float32"}  # type: ignore[arg-type]


def test_times_are_those_of_the_deployed_part(monkeypatch: pytest.MonkeyPatch) -> None:
    example, ran = tiny("v1", "quarter"), []
    monkeypatch.setattr(build, "run_graph", lambda graph, layers, images: ran.append((graph, images.shape)))
    deployed = SimpleNamespace(graph=example.graph, layers=example.layers, source=SimpleNamespace(net=example.net))
    with torch.inference_mode():
        build._latencies(deployed, {})  # type: ignore[arg-type]
    assert len(ran) == build.WARM_UP + build.REPEATS and ran[0] == (example.graph, (1, 6, 32, 48))
