"""A checkpoint: what it holds, how it is written, read and verified.

A checkpoint is a folder of safetensors and JSON files under a manifest that holds the hash of each.  The manifest is
written last, in canonical form and with its own hash, so that a folder is either complete and unaltered to the bit or
refused.  Nothing here can run code that a file brings along: no pickle.

Order of a commit: write files into ``.tmp-*`` on the same file system, fsync each, manifest last, fsync the folder,
check that the run is still ours, rename to a name that does not exist, fsync the parent, read everything back
(docs/concepts.md; after "All File Systems Are Not Created Equal", OSDI 2014).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, TensorSpec, serialize
from safetensors.torch import load as tensors_from_bytes
from torch import Tensor

from edgeflownas import files
from edgeflownas.errors import StorageError
from edgeflownas.files import canonical_json, crash_point

FORMAT = 1
MANIFEST_CAP = 2**20
Facts = Mapping[str, Any]  # a JSON document
Tensors = Mapping[str, Mapping[str, Tensor]]  # group (model, optimizer, ema) -> name -> tensor
NONE_YET = "none-yet"  # in checkpoints/ until the first commit: tells a run without one from a run that lost all
_NAME = re.compile(r"step-(\d{8,})(-before-evaluation)?")
_FILE = re.compile(r"[a-z][a-z0-9_]*\.(safetensors|json)")


class DamagedCheckpoint(StorageError):
    """A checkpoint that is incomplete, altered, of another run or of a future format; the message names the file."""


@dataclass(frozen=True)
class Position:
    """A place in the run between two optimiser steps."""

    step: int  # finished steps of the run
    epoch: int  # current one, from 0
    batch: int  # next one in it
    evaluated: bool = True  # False only between the last step of an epoch and the evaluation due there

    @property
    def name(self) -> str:
        """Folder name: ``step-00001234``, or ``step-00001234-before-evaluation``."""
        return f"step-{self.step:08d}" + ("" if self.evaluated else "-before-evaluation")


@dataclass
class Best:
    """The evaluation with the lowest criterion so far, and the evaluation set it was measured on."""

    value: float
    epoch: int
    checkpoint: str
    criterion: str
    eval_set: str


@dataclass
class TrainState:
    """Position and bookkeeping.  ``epoch`` and ``batch`` name the next step; all counts include dropped steps.

    Everything else a run needs (sample order, fair cycles, learning rate, option counts) is a pure function of these.
    """

    planned: int  # draws of the learning-rate plan
    num_epochs: int
    step: int = 0
    epoch: int = 0
    batch: int = 0
    seen: int = 0
    accepted: int = 0
    nonfinite_in_a_row: int = 0
    best: Best | None = None
    evaluations_without_gain: int = 0
    value_of_last_gain: float | None = None  # px; what early stopping compares with, so that small gains add up
    stopped_early: bool = False
    last_epes: list[float] = field(default_factory=list)  # of the last evaluated pool, for kendall_tau_prev
    last_zero_flow_epe: float | None = None
    last_ranks: list[int] = field(default_factory=list)  # shared within noise; empty: an older version did not know
    last_margins: list[float] = field(default_factory=list)  # px: half of each EPE's 95 % interval; empty: unknown
    eval_set: str = ""  # hash of the set the evaluations above were made on
    quarantined: list[str] = field(default_factory=list)
    also: dict[str, dict[str, Any]] = field(default_factory=dict)  # the best of each set of eval.also, by its name

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped_early or self.epoch >= self.num_epochs

    def to_json(self) -> dict[str, Any]:
        """Plain data for state.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainState:
        """Inverse of :meth:`to_json`."""
        values = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        return cls(**values | {"best": Best(**data["best"]) if data.get("best") else None})


@dataclass(frozen=True)
class Checkpoint:
    """What a commit stored, read back and verified."""

    name: str
    position: Position
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]] = field(repr=False)  # group (model, ...) -> name -> contiguous, on the CPU
    logs: dict[str, int]  # file -> length in bytes at the commit
    best: dict[str, Any] | None  # content of best.json as of this checkpoint
    finished: bool
    hash: str
    session: dict[str, Any] = field(repr=False)


def checkpoint_names(folder: Path) -> list[str]:
    """Checkpoints of a ``checkpoints`` folder, newest first, by step (never by date)."""
    entries = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    found = [match for match in map(_NAME.fullmatch, entries) if match]
    found.sort(key=lambda match: (int(match[1]), match[2] is None), reverse=True)
    return [match[0] for match in found]


def write_checkpoint(folder: Path, position: Position, state: Facts, tensors: Tensors, facts: Facts) -> str:
    """Write all files into the fresh ``folder``, the manifest last, each brought to the disk.  Returns its hash.

    ``facts`` are the manifest's further entries (run, logs, best, parent ...).  Raises OSError.
    """
    entries: dict[str, dict[str, Any]] = {}

    def write(name: str, data: bytes) -> None:
        assert _FILE.fullmatch(name), name
        files.write_durably(folder / name, data)
        crash_point("commit.file_written")
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    for group, named in tensors.items():
        # What safetensors.torch.save does, but for its search for shared storage and its way through ctypes, which take
        # longer than all else in the commit of a small net.  The tensors live until they are in the bytes.
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
        specs = {
            name: TensorSpec(dtype=str(t.dtype).split(".")[1], shape=t.shape, data_ptr=t.data_ptr(), data_len=t.nbytes)
            for name, t in kept.items()
        }
        write(f"{group}.safetensors", bytes(serialize(specs, {"format": "pt"})))
    write("state.json", canonical_json(files.encode_floats(dict(state))))
    document = {"format": FORMAT, "position": asdict(position), "files": entries, **facts}
    document["hash"] = _own_hash(document)
    files.write_durably(folder / "manifest.json", canonical_json(document))
    crash_point("commit.manifest_written")
    files.sync_folder(folder)
    crash_point("commit.temporary_synced")
    return str(document["hash"])


def _own_hash(document: Facts) -> str:
    return hashlib.sha256(canonical_json({k: v for k, v in document.items() if k != "hash"})).hexdigest()


def read_manifest(folder: Path, run: str) -> dict[str, Any]:
    """The manifest, its files unread.  Raises DamagedCheckpoint: missing, altered, of another run or format."""
    path = folder / "manifest.json"
    data = _read(path, MANIFEST_CAP)
    try:
        document = files.parse_json(data)
        if not isinstance(document, dict) or canonical_json(document) != data:
            raise ValueError("not in the form it was written in")
    except ValueError as error:
        raise DamagedCheckpoint(f"{path}: altered or torn ({error})") from error
    if (found := _own_hash(document)) != document.get("hash"):
        raise DamagedCheckpoint(f"{path}: sha256 {found}, expected {document.get('hash')}")
    if document["format"] != FORMAT:
        raise DamagedCheckpoint(
            f"{path}: format {document['format']}, this version reads {FORMAT}: use the version that wrote it"
        )
    if document["run"] != run:
        raise DamagedCheckpoint(
            f"{path}: belongs to run {document['run']}, expected {run}: it was copied here from elsewhere"
        )
    name = Position(**document["position"]).name
    if name != folder.name and not folder.name.startswith("."):
        raise DamagedCheckpoint(f"{path}: is the manifest of {name}, not {folder.name}")
    return document


def _read(path: Path, cap: int) -> bytes:
    try:
        size = path.lstat().st_size
        if size <= cap:
            return path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{path}: missing") from error
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read: {error.strerror}") from error
    raise DamagedCheckpoint(f"{path}: {size} bytes, expected at most {cap}")


def _verified_bytes(folder: Path, name: str, entry: Facts) -> bytes:
    """Content of one file; what is parsed later is exactly what was hashed here."""
    path = folder / name
    if not _FILE.fullmatch(name):
        raise DamagedCheckpoint(f"{path}: not a name of a checkpoint file")
    expected = int(entry["bytes"])
    data = _read(path, expected)
    if len(data) != expected:
        raise DamagedCheckpoint(f"{path}: {len(data)} bytes, expected {expected} (sha256 {entry['sha256']})")
    found = hashlib.sha256(data).hexdigest()
    if found != entry["sha256"]:
        raise DamagedCheckpoint(f"{path}: sha256 {found}, expected {entry['sha256']}")
    return data


def verify(folder: Path, run: str) -> dict[str, Any]:
    """Check every file against its hash and return the manifest.  Raises DamagedCheckpoint naming the file."""
    manifest = read_manifest(folder, run)
    for name, entry in manifest["files"].items():
        _verified_bytes(folder, name, entry)
    return manifest


def read_checkpoint(folder: Path, run: str, groups: Collection[str] | None = None) -> Checkpoint:
    """Verify and load a checkpoint (of ``groups`` only those tensors).  Raises DamagedCheckpoint naming the file."""
    manifest = read_manifest(folder, run)
    state: dict[str, Any] = {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, entry in manifest["files"].items():
        group = name.removesuffix(".safetensors")
        if name != "state.json" and groups is not None and group not in groups:
            continue
        data = _verified_bytes(folder, name, entry)
        try:
            if name == "state.json":
                state = files.decode_floats(files.parse_json(data[: files.JSON_CAP]))
            else:
                tensors[group] = tensors_from_bytes(data)
        except (ValueError, SafetensorError) as error:
            raise DamagedCheckpoint(f"{folder / name}: {error}") from error
    kept = {name: manifest[name] for name in ("logs", "best", "finished", "hash", "session")}
    return Checkpoint(folder.name, Position(**manifest["position"]), state, tensors, **kept)
