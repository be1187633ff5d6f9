"""Files to compile."""

from functools import cache

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.models.graph import subnet_graph
from edgeflownas.space import get_space

BASELINE = "000021222"


@cache
def model(width=8, size=(32, 48), outputs="flow", arch=BASELINE):
    """An int8 file of the baseline of v1."""
    return cost_model_bytes(subnet_graph(get_space("v1"), width, arch, size, outputs))


def with_corners_aligned(data):
    """The same with every enlargement of another kind, which the accelerator does not have."""
    import flatbuffers

    found = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    for op in found.subgraphs[0].operators:
        if isinstance(op.builtinOptions, schema.ResizeBilinearOptionsT):
            op.builtinOptions.alignCorners = True
    for buffer in found.buffers:
        buffer.data = None if buffer.data is None else np.asarray(buffer.data, np.uint8)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(found.Pack(builder), b"TFL3")
    return bytes(builder.Output())
