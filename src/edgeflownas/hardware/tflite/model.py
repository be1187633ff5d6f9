"""Runs a TensorFlow Lite file in LiteRT, its tensors known by name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeflownas.errors import DataError
from edgeflownas.hardware.extras import need

Kernels = Literal["fast", "plain", "reference"]
RESOLVERS = {"fast": "AUTO", "plain": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}
NOTE = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."
MAGIC = slice(4, 8)  # where the identifier TFL3 stands


class TfliteModel:
    """A file ready to run on the processor.

    Attributes:
        inputs: names of what goes in; ``outputs``: of what comes out, in the file's order.
    """

    def __init__(
        self,
        data: bytes,
        kernels: Kernels = "fast",
        *,
        preserve_all: bool = False,
        threads: int = 1,
        name: str = "the model",
    ) -> None:
        """Load ``data``.

        Args:
            data: bytes of the file.
            kernels: ``fast`` are XNNPACK's, which may fuse, and round int8 in a way of their own; ``plain`` LiteRT's
                own, within one step of the arithmetic of models/deployed/quantise.py; ``reference`` those that
                TensorFlow Lite Micro has too, slow.
            preserve_all: keep every tensor for :meth:`tensors`; not with ``fast`` kernels, which may leave some out.
            threads: how many the kernels use.
            name: what errors call the file.

        Raises:
            ConfigError: no package ai-edge-litert.
            DataError: no TensorFlow Lite file, one cut short, or one with an operator that LiteRT does not have.
        """
        need("litert")
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        _check(data, name)
        try:
            with _unannounced():
                self._interpreter = Interpreter(
                    model_content=data,
                    num_threads=threads,
                    experimental_op_resolver_type=getattr(OpResolverType, RESOLVERS[kernels]),
                    experimental_preserve_all_tensors=preserve_all,
                )
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{name}: LiteRT does not run it ({reason}): the file of an export is expected, whole, as before Vela"
            ) from None
        self._details: dict[str, Any] = {detail["name"]: detail for detail in self._interpreter.get_tensor_details()}
        self.inputs = [detail["name"] for detail in self._interpreter.get_input_details()]
        self.outputs = [detail["name"] for detail in self._interpreter.get_output_details()]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor as it is stored: [1,H,W,C]."""
        return tuple(int(side) for side in self._details[name]["shape"])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of a tensor's elements: int8 or float32."""
        found: np.dtype[Any] = np.dtype(self._details[name]["dtype"])
        return found

    def run(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The outputs [1,h,w,C] for ``images`` [H,W,6] or [1,H,W,6], both as they are stored.

        Raises:
            DataError: images of another shape or type.
        """
        (name,) = self.inputs
        given = images if images.ndim == 4 else images[None]
        if given.shape != self.shape(name) or given.dtype != self.dtype(name):
            raise DataError(
                f"input {name!r}: {given.dtype} {list(given.shape)} given, "
                f"{self.dtype(name)} {list(self.shape(name))} expected"
            )
        self._interpreter.set_tensor(self._details[name]["index"], given)
        self._interpreter.invoke()
        return self.tensors(self.outputs)

    def tensors(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Tensors of the last run by name, as they are stored; others than inputs and outputs with ``preserve_all``."""
        return {name: self._interpreter.get_tensor(self._details[name]["index"]) for name in names}

    def real(self, name: str, values: NDArray[Any]) -> NDArray[np.float32]:
        """The real numbers that the stored ``values`` of a tensor stand for; floats are themselves."""
        if self.dtype(name).kind == "f":
            return values.astype(np.float32)
        scale, zero_point = self._details[name]["quantization"]
        real: NDArray[np.float32] = np.float32(scale) * (values.astype(np.int32) - zero_point).astype(np.float32)
        return real


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


def _check(data: bytes, name: str) -> None:
    if data[MAGIC] != b"TFL3":
        raise DataError(f"{name}: not a TensorFlow Lite file (no TFL3 at its start): the file of an export is expected")
