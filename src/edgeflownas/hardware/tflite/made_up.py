"""An int8 file without a trained network, for what a compiler says about cost.

What it says depends on shapes, and a little on how well the kernels compress.  So the kernels are normal numbers,
rounded where the largest of each output channel is about 127, as quantised kernels are; scales and biases are any.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgeflownas.hardware.tflite.writer import write_int8
from edgeflownas.models.blocks import InputForm
from edgeflownas.models.deployed.graph import Graph, Op
from edgeflownas.models.deployed.quantise import IntegerLayer, tensor_scales
from edgeflownas.randomness import words

KERNEL_STEP = np.float32(0.002)


def cost_model_bytes(graph: Graph) -> bytes:
    """The int8 file of ``graph`` with made-up kernels and ranges; the same graph gives the same bytes.

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
