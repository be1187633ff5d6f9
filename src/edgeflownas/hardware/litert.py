"""LiteRT's interpreter: in this process for what was just written, in one of its own for a file from elsewhere.

LiteRT trusts a model: one that was altered can end the process.  So whatever is not :class:`Made` here is looked
through before it is loaded, and runs where its death, its hanging and its memory are an error that names the file.
Nothing here imports torch: such a process starts in a fraction of a second.
"""

from __future__ import annotations

import math
import os
import resource
import struct
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgeflownas import limits
from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.errors import DataError
from edgeflownas.hardware.extras import need

NOTE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
REMEDY = "the file of an export is expected, whole, as before Vela"


class Made(bytes):
    """A model that this process has just written; any other bytes may come from anybody."""


class Model(NamedTuple):
    """What is loaded, and how."""

    data: bytes
    resolver: str  # name of an operator resolver of LiteRT
    preserve_all: bool
    threads: int
    name: str  # what errors call the file


class Facts(NamedTuple):
    """What LiteRT says of a model: its tensors by name, the names of inputs and outputs in the file's order."""

    details: dict[str, Any]
    inputs: list[str]
    outputs: list[str]


class Interpreter:
    """A loaded model.  Raises DataError for what LiteRT refuses."""

    def __init__(self, model: Model) -> None:
        need("litert")
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        _require_mark(model.data, model.name)
        try:
            with _unannounced():
                self._loaded = Interpreter(
                    model_content=model.data,
                    num_threads=model.threads,
                    experimental_op_resolver_type=getattr(OpResolverType, model.resolver),
                    experimental_preserve_all_tensors=model.preserve_all,
                )
                self._loaded.allocate_tensors()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DataError(
                f"{model.name}: LiteRT does not run it ({' '.join(str(error).split())}): {REMEDY}"
            ) from None
        details = {detail["name"]: detail for detail in self._loaded.get_tensor_details()}
        ends = (self._loaded.get_input_details(), self._loaded.get_output_details())
        self.facts = Facts(details, *([detail["name"] for detail in part] for part in ends))

    def ask(self, images: NDArray[Any] | None, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Tensors by name, after a run with ``images`` (None: those of the last run)."""
        details = self.facts.details
        if images is not None:
            self._loaded.set_tensor(details[self.facts.inputs[0]]["index"], images)
            self._loaded.invoke()
        return {name: self._loaded.get_tensor(details[name]["index"]) for name in names}


class ForeignInterpreter:
    """The same for a model that nobody vouches for."""

    def __init__(self, model: Model) -> None:
        need("litert")
        _require_mark(model.data, model.name)
        self._name, self._waiting = model.name, _Waiting()
        self._replies = in_processes(partial(_answer, model), self._waiting, 1, limits.MODEL_SECONDS)
        self.facts: Facts = self._reply(None)

    def ask(self, images: NDArray[Any] | None, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """As :meth:`Interpreter.ask`."""
        found: dict[str, NDArray[Any]] = self._reply((images, names))
        return found

    def _reply(self, request: Any) -> Any:
        self._waiting.append((request,))
        try:
            return next(self._replies)
        except WorkerDied as error:
            raise DataError(f"{self._name}: LiteRT breaks off on it ({error}): a damaged file; {REMEDY}") from None


class _Waiting(deque[Any]):
    """Requests as they come: an iterator that ends when there is none, and goes on when there is one."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self:
            raise StopIteration
        return self.popleft()


def _answer(model: Model, request: tuple[Any]) -> Any:
    """Life of the process: the facts of the model for None, else tensors."""
    loaded = _opened(model)
    try:
        return loaded.facts if request[0] is None else loaded.ask(*request[0])
    except (RuntimeError, ValueError, KeyError, IndexError, MemoryError) as error:
        raise DataError(f"{model.name}: LiteRT does not run it ({' '.join(str(error).split())}): {REMEDY}") from None


@cache
def _opened(model: Model) -> Interpreter:
    resource.setrlimit(resource.RLIMIT_AS, (limits.MODEL_MEMORY, limits.MODEL_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    verify(model.data, model.name)
    return Interpreter(model)


def verify(data: bytes, name: str) -> None:
    """Follow every offset of a TensorFlow Lite file, and every number of a tensor or buffer.  Raises DataError."""
    from ai_edge_litert import schema_py_generated as schema

    _require_mark(data, name)
    try:
        model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
        for graph in model.subgraphs:
            for tensor in graph.tensors:
                shape = [] if tensor.shape is None else [int(side) for side in tensor.shape]
                if min(shape, default=0) < 0 or math.prod(shape) > limits.MODEL_MEMORY:
                    raise ValueError(f"a tensor of shape {shape}")
                _within(tensor.buffer, model.buffers, "buffer")
            _all_within(graph.inputs, graph.tensors, 0)
            _all_within(graph.outputs, graph.tensors, 0)
            for operator in graph.operators or ():
                _within(operator.opcodeIndex, model.operatorCodes, "operator code")
                _all_within(operator.inputs, graph.tensors, -1)  # -1: an input that is left out
                _all_within(operator.outputs, graph.tensors, 0)
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError, struct.error, MemoryError) as error:
        raise DataError(f"{name}: LiteRT does not run it: no sound TensorFlow Lite file ({error}): {REMEDY}") from None


def _require_mark(data: bytes, name: str) -> None:
    if data[4:8] != b"TFL3":
        raise DataError(f"{name}: not a TensorFlow Lite file (no TFL3 at its start): the file of an export is expected")


def _all_within(numbers: Any, those: Any, least: int) -> None:
    for number in () if numbers is None else numbers:
        if number < least:
            raise ValueError(f"tensor {number} of {len(those)}")
        if number >= 0:
            _within(int(number), those, "tensor")


def _within(number: int, those: Any, what: str) -> None:
    if not 0 <= number < len(those):
        raise ValueError(f"{what} {number} of {len(those)}")


@contextmanager
def _unannounced() -> Iterator[None]:
    """LiteRT says once on standard error which kernels it made, and no setting stops it; all else it says is passed on.

    It writes to the file descriptor, past ``sys.stderr``.
    """
    try:
        before = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            caught.seek(0)
            if others := b"".join(line for line in caught if NOTE not in line):
                os.write(2, others)
