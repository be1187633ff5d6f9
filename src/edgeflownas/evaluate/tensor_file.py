"""Arrays and words in one safetensors file, the same bytes whenever the content is the same.

The library's writer orders metadata by chance; the file is therefore written here (length of the header, JSON header,
data: see the format's description) and read by the library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "F16": "<f2", "U8": "|u1"}  # widest first: each is aligned


def tensor_bytes(arrays: Mapping[str, NDArray[Any]], words: Mapping[str, str]) -> bytes:
    """The content of a file with these arrays (float64, int64, float32, float16, uint8) and these words."""
    header: dict[str, object] = {"__metadata__": dict(words)}
    forms = [np.dtype(form) for form in KINDS.values()]
    assert all(array.dtype in forms for array in arrays.values()), "a kind of array this file does not take"
    parts: list[bytes] = []
    end = 0
    for kind, form in KINDS.items():
        for name, array in arrays.items():
            if array.dtype == np.dtype(form):
                parts.append(np.ascontiguousarray(array, dtype=form).tobytes())
                header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + len(parts[-1])]}
                end += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def read_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and words of a safetensors file.  Raises ValueError or OSError where it is none, or is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from error
