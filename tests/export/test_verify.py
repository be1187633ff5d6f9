"""Verification: all paths of a sound export agree, and a broken layer is found and named."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeflownas.export.layers import decibels, layer_rows
from edgeflownas.export.onnx_model import write_onnx, write_onnx_int8
from edgeflownas.export.paths import TRAINING, as_integers, host_flow
from edgeflownas.export.verify import LEAST_SNR, Sample, compare, verify
from edgeflownas.hardware.tflite import write_float, write_int8
from edgeflownas.models.deployed.quantise import Scale, integer_layers

sys.path.insert(0, str(Path(__file__).parent))
from nets import NAMES, Tiny, tiny  # noqa: E402


def samples_of(example: Tiny) -> list[Sample]:
    """Pairs whose truth is as far from the network's own flow as the flow is long."""
    generator = np.random.default_rng(0)
    found = []
    for pair in example.images.numpy():
        with torch.no_grad():
            raw = example.net(example.form.encode(torch.from_numpy(pair[None]), torch.float32))
        flow = host_flow({f"flow_raw_{s}": p[0, :2].numpy() for s, p in zip(("quarter", "half", "full"), raw)})
        truth = flow.permute(1, 2, 0).numpy() + generator.normal(0, float(flow.std()), (1, 1, 2)).astype(np.float32)
        found.append(Sample(pair, truth, generator.random(truth.shape[:2]) < 0.9))
    return found


def tflites(example: Tiny) -> dict[str, bytes]:
    scales = example.scales
    integers = integer_layers(example.graph, example.layers, scales)
    return {
        "tflite-float": write_float(example.graph, example.layers),
        "tflite-int8": write_int8(example.graph, integers, scales),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_export_passes(name: str) -> None:
    example = tiny(name, "scales", uncertainty=True)
    models = tflites(example)
    models["onnx"] = write_onnx(example.graph, example.layers)
    models["onnx-int8"] = write_onnx_int8(models["onnx"], example.graph, example.scales)
    result = verify(example.net, example.graph, example.layers, models, samples_of(example))
    for row in result.outputs:
        print(row)
    for row in result.paths:
        print(row)
    assert result.passed, result.reasons
