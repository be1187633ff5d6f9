"""Arrays from files that others made: ``.npz`` and ``.safetensors``, their sizes judged before memory is taken."""

from __future__ import annotations

import errno
import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflownas import limits
from edgeflownas.errors import DataError
from edgeflownas.files import PathLike, open_stream, parse_json

_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, SyntaxError)


def read_npz(path: PathLike, wanted: Callable[[list[str]], list[str]] = list) -> dict[str, NDArray[Any]]:
    """Arrays of numbers of an .npz by name; ``wanted`` gets all names and gives those to read.

    Of every entry the header is judged first: numbers only, at most limits.ARRAY_DIMENSIONS dimensions, as many bytes
    as the archive says; and of all together, against limits.ARRAYS and the size of the file.
    Raises DataError naming file and entry.
    """
    found: dict[str, NDArray[Any]] = {}
    place = f"{path}"
    with open_stream(path, limits.ARRAYS, DataError) as stream:
        length = stream.seek(0, 2)
        stream.seek(0)
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                if len(entries) > limits.ARRAY_ENTRIES:
                    raise ValueError(f"it has {len(entries)} entries, expected at most {limits.ARRAY_ENTRIES}")
                chosen = {name: entries[name] for name in wanted(list(entries))}
                total = sum(entry.file_size for entry in chosen.values())
                most = min(limits.ARRAYS, max(limits.ARRAYS_FREE, limits.ARRAYS_RATIO * length))
                if total > most:
                    raise ValueError(f"its {length} bytes unpack to {total}, expected at most {most}")
                for name, entry in chosen.items():
                    place = f"{path}: {name}"
                    if entry.compress_type not in _PACKINGS or entry.flag_bits & 1:
                        raise ValueError("it is packed in a way that numpy does not write, or locked by a password")
                    with archive.open(entry) as file:
                        found[name] = _read_array(file, entry.file_size)
        except (*_FAULTS, tokenize.TokenError, zipfile.LargeZipFile, MemoryError, OverflowError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the start of the file
                raise
            raise DataError(f"{place}: not readable as an npz file of named arrays ({_words(error)})") from None
    return found


def _read_array(file: Any, length: int) -> NDArray[Any]:
    """One entry of ``length`` bytes.  Raises what the library raises, ValueError for what is beyond a limit."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the npy format, expected 1.0 or 2.0")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"it holds {dtype}, expected numbers")
    if len(shape) > limits.ARRAY_DIMENSIONS or any(side < 0 for side in shape):
        raise ValueError(f"it has the shape {list(shape)}, expected at most {limits.ARRAY_DIMENSIONS} dimensions")
    taken = math.prod(shape) * dtype.itemsize
    if taken != length - file.tell():
        raise ValueError(f"its header says {taken} bytes, the archive {length - file.tell()}")
    values = np.frombuffer(file.read(taken), dtype=dtype)  # shorter where the archive is cut off
    return values.reshape(shape, order="F" if by_columns else "C").copy(order="K")  # of bytes: may not be written to


def check_tensors(path: PathLike) -> None:
    """Judge a .safetensors file by its size and its header, before the library reads it.  Raises ValueError."""
    with open_stream(path, limits.TENSORS, DataError) as stream:
        length, head = stream.seek(0, 2), stream.seek(0)
        head = int.from_bytes(stream.read(8), "little")
        if length < 8 or head > min(limits.TENSORS_HEADER, length - 8):
            raise ValueError(f"no safetensors file: its header would be {head} bytes of {length}")
        try:
            if len(parse_json(stream.read(head))) > limits.ARRAY_ENTRIES:
                raise ValueError(f"more than {limits.ARRAY_ENTRIES} tensors")
        except (ValueError, TypeError) as error:
            raise ValueError(f"no safetensors file: its header cannot be read ({error})") from None


def _words(error: BaseException) -> str:
    """The first line, without numpy's advice to trust the file."""
    return (str(error) or type(error).__name__).partition("\n")[0].partition("; set allow")[0][:300]
