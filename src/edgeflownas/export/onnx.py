"""ONNX file of a deployed graph in floats, through torch.onnx.

Opset 18.  Input ``images`` [1,6,H,W] float32, encoded as the network takes them (InputForm.encode); outputs and all
tensors between have the names of the graph's buffers, float32 [1,C,h,w].  The x2 upsampling is one Resize (linear,
asymmetric); torch's symbolic operators make it so.  Same graph and weights: same bytes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflownas.errors import DataError
from edgeflownas.hardware.extras import need
from edgeflownas.models.graph import Buffer, FoldedNet, Graph, Layer

OPSET = 18
MARKER = "edgeflownas::named"
PRODUCER = "edgeflownas"
Floats = NDArray[np.float32]


def write_onnx(graph: Graph, layers: Mapping[str, Layer], metadata: Mapping[str, str] = {}) -> bytes:
    """Bytes of the float model with folded weights (graph.fold) and text facts as its metadata_props.

    Raises ConfigError where a package of the extra ``export`` is missing.
    """
    need("onnx")
    images = torch.zeros(1, graph.images.channels, graph.images.rows, graph.images.columns)
    with _quiet():
        program = torch.onnx.export(
            FoldedNet(graph, layers, _marked, _resize).eval(),
            (images,),
            dynamo=True,
            input_names=[graph.images.name],
            output_names=[buffer.name for buffer in graph.outputs],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    names = {f"{kind}{index}": f"{name}.{kind}" for index, name in enumerate(layers) for kind in Layer._fields}
    _rename(model.graph, names)
    _crop(model.graph)
    return _clean(model, metadata)


def _resize(x: Tensor) -> Tensor:
    """The x2 upsampling as the one operator it is (torch's own translations know no asymmetric one)."""
    scales = torch.tensor([1.0, 1.0, 2.0, 2.0])
    attributes: Any = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    shape = (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    return torch.onnx.ops.symbolic("Resize", (x, None, scales), attributes, dtype=x.dtype, shape=shape, version=OPSET)


def _marked(buffer: Buffer, values: Tensor) -> Tensor:
    """``values`` through a marker that carries their name."""
    name: Any = {"name": buffer.name}
    return torch.onnx.ops.symbolic(MARKER, (values,), name, dtype=values.dtype, shape=values.shape, version=1)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Take the markers out and give each tensor its name; ``names`` are those known before."""
    markers = [node for node in graph.node if node.op_type == "named"]
    for marker in markers:
        name = marker.attribute[0].s.decode()
        names |= {marker.input[0]: name, marker.output[0]: name}
        graph.node.remove(marker)
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]
        node.name = node.output[0]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del graph.value_info[:]


def _crop(graph: Any) -> None:
    """Let transposed convolutions crop by their own padding, as SAME does, where torch has slices after them."""
    from onnx import helper

    readers = {name: node for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.op_type == "ConvTranspose"]:
        while (slice_ := readers[node.output[0]]).op_type == "Slice":
            node.output[0] = slice_.output[0]
            graph.node.remove(slice_)
        given = {attribute.name: attribute for attribute in node.attribute}
        total = [k - s for k, s in zip(given["kernel_shape"].ints, given["strides"].ints, strict=True)]
        pads = [side // 2 for side in total] + [side - side // 2 for side in total]
        node.attribute.remove(given["pads"])
        node.attribute.append(helper.make_attribute("pads", pads))
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _clean(model: Any, metadata: Mapping[str, str]) -> bytes:
    """The bytes, without paths, traces and what differs from one installation to the next."""
    from onnx import checker, helper, shape_inference

    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    model.producer_name, model.producer_version, graph.name = PRODUCER, "", PRODUCER
    for opset in [opset for opset in model.opset_import if opset.domain == MARKER.split("::")[0]]:
        model.opset_import.remove(opset)
    model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    helper.set_model_props(model, dict(sorted(metadata.items())))
    checker.check_model(model)
    result: bytes = model.SerializeToString(deterministic=True)
    return result


class OnnxModel:
    """A model in ONNX Runtime on the CPU, one thread."""

    def __init__(self, model: bytes) -> None:
        """Raises ConfigError without ONNX Runtime, DataError for bytes that are no model."""
        need("onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes, of no common base
            raise DataError(f"ONNX Runtime does not take the model: {str(error).splitlines()[0]}") from None
        self.names = [output.name for output in self._session.get_outputs()]

    @property
    def metadata(self) -> dict[str, str]:
        """Texts of the file."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, images_16HW: Floats) -> dict[str, Floats]:
        """Outputs [1,C,h,w] by name."""
        values = self._session.run(self.names, {self._session.get_inputs()[0].name: images_16HW})
        return dict(zip(self.names, values, strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither torch's notes on how to export, nor what it deprecates in its own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
            yield
    finally:
        logging.disable(before)
