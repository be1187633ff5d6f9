"""What an evaluation found: figures that never travel without what they belong to, and the files that keep them.

A row of ``evaluations.jsonl`` in a run directory (one JSON object a line, oldest first) is a :class:`ResultRow`; what a
comparison makes of it, and of a run's own history, is a :class:`Result`.  Two EPEs may stand in one ranked column only
where their labels are equal (docs/protocols.md says why).  The errors of every sample of one evaluation are in
``sample_epe/epoch-00012.safetensors``: the same evaluation makes the same bytes, so one that is repeated after an
interruption overwrites its file with itself.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.arrays import check_tensors
from edgeflownas.errors import DataError, StorageError
from edgeflownas.files import write_all

EVALUATIONS = "evaluations.jsonl"
PROTOCOLS = ("standard", "edgeflownet", "training", "deploy")
"""Names; a label may add parameters behind a colon: ``edgeflownet:416x1024,clip50``."""
REFERENCES = ("zero", "zero flow", "dis", "dis_fast", "farneback")
"""Models that are the same for every run."""


@dataclass(frozen=True)
class FlowFigures:
    """Figures of one predictor on one set of pixels: errors in px, shares 0 to 1; None where no pixel decides."""

    samples: int
    epe: float
    """Mean over all valid pixels of all samples."""
    epe_per_image: float
    """Mean over samples of each sample's own mean; a sample without a valid pixel is left out."""
    fl_all: float
    """Share of pixels wrong by more than 3 px and more than 5 % of the true magnitude."""
    px1: float
    """Share of pixels with an error below 1 px."""
    px3: float
    px5: float
    s0_10: float | None
    """EPE of the pixels that truly move less than 10 px."""
    s10_40: float | None
    s40_plus: float | None
    epe_occluded: float | None
    """EPE of the pixels hidden in the second image; None where the data set has no such masks."""
    epe_visible: float | None


FIGURES = tuple(column.name for column in fields(FlowFigures) if column.name != "samples")
"""The numbers of a row, in order."""


@dataclass(frozen=True, kw_only=True)
class ResultRow(FlowFigures):
    """Figures of one predictor under one protocol on one split."""

    model: str
    """Run and checkpoint (``supernet/step-00001234``), weights file, or a baseline: zero, dis, dis_fast, farneback."""
    code: str | None
    """Arch code; None for what has none."""
    protocol: str
    """Name and parameters, e.g. ``standard`` or ``edgeflownet:416x1024,clip50``: two rows with different text differ
    in what the network saw or in what was scored."""
    split_label: str
    """Data set, source kind, split, samples, start of the content hash: ``fc2/folder:val/640/9f3a``."""
    precision: str
    batch_shape: str
    """What the network received at once, ``1x6x448x1024``; a range where the images differ: ``1x6x370-376x1224``."""
    source: str | None
    """Hash of the checkpoint or weights file; the library and its version for a baseline; None for zero flow."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, one key a field: who and on what, the figures, the source."""
        words = ("model", "code", "protocol", "split_label", "precision", "batch_shape")
        return {**{name: getattr(self, name) for name in words}, **asdict(self)}


def append_results(path: Path, rows: Iterable[ResultRow]) -> None:
    """Append rows to ``path`` (made where missing), whole lines in one write, and bring them to the disk.

    Raises:
        StorageError: it cannot be written, or its last line was cut off and would swallow the new one.
    """
    text = "".join(json.dumps(row.to_json(), allow_nan=False) + "\n" for row in rows).encode()
    try:
        with open(path, "ab+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                raise StorageError(f"{path}: its last line is cut off; remove that line, then record again")
            write_all(file.fileno(), text)
            os.fsync(file.fileno())
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


# ---- results of several runs ----


class Label(NamedTuple):
    """Protocol with its parameters, split label, and which samples of the split."""

    protocol: str
    split: str
    samples: str  # "640 samples", or with the hash of names and windows where that is known

    def __str__(self) -> str:
        return f"{self.protocol} on {self.split} ({self.samples})"


@dataclass(frozen=True)
class Result:
    """One evaluated model, or the mean of a pool."""

    run: str  # empty for a reference that needs no run: zero flow, classical methods
    model: str
    code: str | None
    label: Label
    kind: str  # "model", or which mean it is: only results of one kind are ranked with each other
    figures: Mapping[str, float]  # of FIGURES; epe always
    when: str = ""  # which evaluation of the run
    precision: str = ""
    batch_shape: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def epe(self) -> float:
        """Px, over all valid pixels; NaN where the model diverged."""
        return self.figures["epe"]


def parse_result(row: Mapping[str, Any], run: str) -> Result:
    """A row of ``evaluations.jsonl``: strict on what decides the label and on ``epe``, lenient on the rest.

    Raises:
        ValueError: what is missing or of another kind; the caller knows the file and the line.
    """
    for name in ("protocol", "split_label"):
        if not isinstance(row.get(name), str) or not str(row[name]).strip():
            raise ValueError(f"{name} must be text, got {row.get(name)!r}: the figure belongs to nothing without it")
    protocol = str(row["protocol"])
    if protocol.partition(":")[0] not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is unknown: expected {', '.join(PROTOCOLS)}")
    samples = row.get("samples")
    if samples is not None and (type(samples) is not int or samples < 1):
        raise ValueError(f"samples must be a positive count, got {samples!r}")
    model, code, precision, batch_shape, source = (
        _text(name, row.get(name)) for name in ("model", "code", "precision", "batch_shape", "source")
    )
    figures = {name: _number(name, row[name]) for name in FIGURES if row.get(name) is not None}
    if "epe" not in figures:
        raise ValueError("epe is missing")
    counted = f"{samples} samples" if samples is not None else f"an unknown number of samples, by {run}"
    of_run = "" if code is None and model in REFERENCES else run
    label = Label(protocol, str(row["split_label"]), counted)
    words = {"precision": precision or "", "batch_shape": batch_shape or "", "extra": {"source": source}}
    return Result(of_run, model or run, code, label, "model", figures, **words)  # type: ignore[arg-type]


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if math.isfinite(value) and value < 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")
    return float(value)


# ---- errors of every sample ----


@dataclass(frozen=True)
class SampleErrors:
    """What one evaluation measured, sample by sample.

    ``codes`` are those of the archs, with commas as everywhere, or the name of a model that has none; ``sample_epe``
    [A, N] the mean errors of each sample's valid pixels, px, nan where it has none; ``valid_pixels`` [N];  ``eval_set``
    the hash of the frozen set the samples are of, in its order.
    """

    codes: tuple[str, ...]
    sample_epe: NDArray[np.float32]
    valid_pixels: NDArray[np.int64]
    eval_set: str
    epoch: int

    def to_bytes(self) -> bytes:
        """The content of the file: tensors ``sample_epe`` [A, N] and ``valid_pixels`` [N], and metadata."""
        codes = "|".join(code.replace(",", "") for code in self.codes)
        words = {"codes": codes, "epoch": str(self.epoch), "eval_set": self.eval_set}
        pixels, errors = self.valid_pixels.astype(np.int64), self.sample_epe.astype(np.float32)
        return tensor_bytes({"valid_pixels": pixels, "sample_epe": errors}, words)


def sample_errors_name(epoch: int, tier: str = "epoch") -> str:
    """Path of the file within the run; ``tier`` is ``epoch`` (the frequent set) or ``wide``."""
    return f"sample_epe/{tier}-{epoch:05d}.safetensors"


def read_sample_errors(path: Path) -> SampleErrors:
    """Inverse of :meth:`SampleErrors.to_bytes`.  Raises DataError for a file that is missing or not one of these."""
    try:
        arrays, facts = read_tensors(path)
        errors, pixels = arrays["sample_epe"], arrays["valid_pixels"]
        # digits of a code stand apart as everywhere; the name of a single model has none
        codes = tuple(",".join(code) if code.isdecimal() else code for code in facts["codes"].split("|"))
        if errors.shape != (len(codes), *pixels.shape) or pixels.ndim != 1:
            raise ValueError(f"{len(codes)} codes, errors {errors.shape}, pixels {pixels.shape}")
        return SampleErrors(codes, errors, pixels, facts["eval_set"], int(facts["epoch"]))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not readable as the errors of an evaluation's samples ({error})") from error


KINDS = {"F64": "<f8", "I64": "<i8", "F32": "<f4", "F16": "<f2", "U8": "|u1"}  # widest first: each is aligned


def tensor_bytes(arrays: Mapping[str, NDArray[Any]], words: Mapping[str, str]) -> bytes:
    """A safetensors file with these arrays (of KINDS) and words: the same bytes whenever the content is the same.

    The library's writer orders metadata by chance; the file is therefore written here (length of the header, JSON
    header, data: see the format's description) and read by the library.
    """
    header: dict[str, object] = {"__metadata__": dict(words)}
    assert {array.dtype for array in arrays.values()} <= set(map(np.dtype, KINDS.values())), "arrays of KINDS"
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

    check_tensors(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, TypeError, AttributeError, OverflowError) as error:  # also of a kind numpy has not
        raise ValueError(str(error)) from error
