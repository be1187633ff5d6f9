"""One checkpoint: a folder of safetensors and JSON files under a manifest that holds the hash of each.

The manifest is written last, in canonical form and with its own hash, so that a folder is either complete and
unaltered to the bit or refused.  Nothing here can run code that a file brings along: no pickle.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from edgeflownas.errors import StorageError
from edgeflownas.train.faults import crash_point
from edgeflownas.train.storage import (
    JSON_CAP,
    canonical_json,
    decode_floats,
    encode_floats,
    parse_json,
    sync_folder,
    write_durably,
)

__all__ = [
    "Checkpoint",
    "DamagedCheckpoint",
    "Position",
    "checkpoint_names",
    "read_checkpoint",
    "read_manifest",
    "verify",
]

FORMAT = 1
MANIFEST_CAP = 2**20
_NAME = re.compile(r"step-(\d{8,})(-before-evaluation)?")
_FILE = re.compile(r"[a-z][a-z0-9_]*\.(safetensors|json)")


class DamagedCheckpoint(StorageError):
    """A checkpoint that is incomplete, altered, of another run or of a future format; the message names the file."""


@dataclass(frozen=True)
class Position:
    """A place in the run between two optimiser steps.

    ``step`` counts finished steps of the run, ``epoch`` is the current epoch (from 0) and ``batch`` the next batch
    in it.  ``evaluated`` is False only between the last step of an epoch and the evaluation due there.
    """

    step: int
    epoch: int
    batch: int
    evaluated: bool = True

    @property
    def name(self) -> str:
        """Folder name: ``step-00001234``, or ``step-00001234-before-evaluation``."""
        return f"step-{self.step:08d}" + ("" if self.evaluated else "-before-evaluation")


@dataclass(frozen=True)
class Checkpoint:
    """What a commit stored, read back and verified.

    ``tensors`` maps group (model, optimizer, ...) and name to a contiguous CPU tensor; ``logs`` maps log file names
    to their lengths in bytes at the commit; ``best`` is the content of best.json as of this checkpoint.
    """

    name: str
    position: Position
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]] = field(repr=False)
    logs: dict[str, int]
    best: dict[str, Any] | None
    finished: bool
    hash: str
    session: dict[str, Any] = field(repr=False)


def checkpoint_names(folder: Path) -> list[str]:
    """Checkpoints of a ``checkpoints`` folder, newest first, by step (never by date)."""
    found = [match for match in map(_NAME.fullmatch, _entries(folder)) if match]
    found.sort(key=lambda match: (int(match[1]), match[2] is None), reverse=True)
    return [match[0] for match in found]


def _entries(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def write_checkpoint(
    folder: Path,
    position: Position,
    state: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
    facts: Mapping[str, Any],
) -> str:
    """Write all files into the fresh ``folder``, the manifest last, each brought to the disk.  Returns its hash.

    ``facts`` are the manifest's further entries (run, logs, best, parent ...).  Raises OSError.
    """
    contents = {f"{group}.safetensors": named for group, named in tensors.items()}
    files: dict[str, dict[str, Any]] = {}
    for name, named in contents.items():
        assert _FILE.fullmatch(name), name
        files[name] = _write_file(folder / name, tensors_to_bytes(_detached(named), {"format": "pt"}))
    files["state.json"] = _write_file(folder / "state.json", canonical_json(encode_floats(dict(state))))
    document = {"format": FORMAT, "position": asdict(position), "files": files, **facts}
    document["hash"] = _own_hash(document)
    write_durably(folder / "manifest.json", canonical_json(document))
    crash_point("commit.manifest_written")
    sync_folder(folder)
    crash_point("commit.temporary_synced")
    return str(document["hash"])


def _write_file(path: Path, data: bytes) -> dict[str, Any]:
    write_durably(path, data)
    crash_point("commit.file_written")
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _detached(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU copies: safetensors stores neither memory formats nor views of a shared buffer."""
    with torch.no_grad():
        return {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in named.items()
        }


def _own_hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json({k: v for k, v in document.items() if k != "hash"})).hexdigest()


def read_manifest(folder: Path, run: str | None = None) -> dict[str, Any]:
    """The checked manifest of a checkpoint folder; its files are not looked at.

    Raises DamagedCheckpoint when it is missing, altered, of another run than ``run`` or of a newer format.
    """
    path = folder / "manifest.json"
    data = _read(path, MANIFEST_CAP)
    try:
        document = parse_json(data)
        if not isinstance(document, dict) or canonical_json(document) != data:
            raise ValueError("not in the form it was written in")
    except ValueError as error:
        raise DamagedCheckpoint(f"{path}: altered or torn ({error})") from error
    if document.get("hash") != _own_hash(document):
        raise DamagedCheckpoint(f"{path}: sha256 {_own_hash(document)}, expected {document.get('hash')}")
    if document["format"] != FORMAT:
        raise DamagedCheckpoint(
            f"{path}: format {document['format']}, this version reads {FORMAT}: use the version that wrote it"
        )
    if run is not None and document["run"] != run:
        raise DamagedCheckpoint(
            f"{path}: belongs to run {document['run']}, expected {run}: it was copied here from elsewhere"
        )
    if Position(**document["position"]).name != folder.name and not folder.name.startswith("."):
        raise DamagedCheckpoint(
            f"{path}: is the manifest of {Position(**document['position']).name}, not {folder.name}"
        )
    return document


def _read(path: Path, cap: int) -> bytes:
    try:
        size = path.lstat().st_size
        if size > cap:
            raise DamagedCheckpoint(f"{path}: {size} bytes, expected at most {cap}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{path}: missing") from error
    except OSError as error:
        raise DamagedCheckpoint(f"{path}: cannot be read: {error.strerror}") from error


def _verified_bytes(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
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


def verify(folder: Path, run: str | None = None) -> dict[str, Any]:
    """Check every file against its hash and return the manifest.  Raises DamagedCheckpoint naming the file."""
    manifest = read_manifest(folder, run)
    for name, entry in manifest["files"].items():
        _verified_bytes(folder, name, entry)
    return manifest


def read_checkpoint(folder: Path, run: str | None = None, groups: Collection[str] | None = None) -> Checkpoint:
    """Verify and load a checkpoint folder (only the tensor ``groups`` named, if any; the rest is then not read).

    Raises DamagedCheckpoint naming the file and, for altered content, the hash expected and found.
    """
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
                state = decode_floats(parse_json(data[:JSON_CAP]))
            else:
                tensors[group] = tensors_from_bytes(data)
        except (ValueError, SafetensorError) as error:
            raise DamagedCheckpoint(f"{folder / name}: {error}") from error
    return Checkpoint(
        name=folder.name,
        position=Position(**manifest["position"]),
        state=state,
        tensors=tensors,
        logs=manifest["logs"],
        best=manifest["best"],
        finished=manifest["finished"],
        hash=manifest["hash"],
        session=manifest["session"],
    )
