"""Making a run directory (under another name, then renamed: it exists complete or not at all) and reading its head."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgeflownas.config.yaml import dump_yaml
from edgeflownas.errors import StorageError
from edgeflownas.train.faults import crash_point
from edgeflownas.train.lock import boot_id, is_alive
from edgeflownas.train.storage import canonical_json, read_json, storing, sync_folder, write_durably
from edgeflownas.train.store import NONE_YET

__all__ = [
    "FORMAT",
    "GROUP",
    "config_text",
    "create_folder",
    "create_run",
    "read_config",
    "read_identity",
    "refuse_existing",
]

FORMAT = 1
GROUP = "group.json"  # in a folder of several models that were trained side by side


def create_run(path: Path, config: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Make the run directory ``path`` with config.yaml and run_manifest.json.  Raises StorageError where it exists."""
    document = {"format": FORMAT, "run": uuid.uuid4().hex, "manifest": dict(manifest)}
    files = {
        f"checkpoints/{NONE_YET}": b"",
        "config.yaml": config_text(config),
        "run_manifest.json": canonical_json(document),
    }
    create_folder(path, files)


def create_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make ``path`` with ``files`` (relative path -> content), whole or not at all.

    Raises StorageError where it exists.
    """
    with storing(path, "make the run directory"):
        refuse_existing(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = _unfinished_name(path)
        try:
            _write_files(fresh, files)
            crash_point("create.written")
            refuse_existing(path)  # again: a rename would replace an empty folder
            os.rename(fresh, path)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        sync_folder(path.parent)
    crash_point("create.renamed")


def refuse_existing(path: Path) -> None:
    """Raise StorageError where something has the name of the run directory to be made."""
    if os.path.lexists(path):
        raise StorageError(
            f"{path}: exists already; go on with `edgeflownas train --resume {path}`, or choose another "
            "runtime.experiment_name"
        )


def config_text(config: Mapping[str, Any]) -> bytes:
    """Content of config.yaml, keys in the order of the configuration models."""
    return dump_yaml(dict(config)).encode()


def _write_files(fresh: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        write_durably(fresh / name, content)
    for folder in {(fresh / name).parent for name in files}:
        sync_folder(folder)


def _unfinished_name(path: Path) -> Path:
    """Where the run directory is built before it gets its name; leftovers of dead processes are removed."""
    prefix = f".new-{hashlib.sha256(path.name.encode()).hexdigest()[:8]}-{boot_id()[:8]}-"
    for leftover in path.parent.glob(f"{prefix}*"):
        pid = leftover.name.removeprefix(prefix)
        if pid.isdecimal() and (int(pid) == os.getpid() or not is_alive(int(pid))):
            shutil.rmtree(leftover)
    return path.with_name(f"{prefix}{os.getpid()}")


def read_identity(path: Path) -> dict[str, Any]:
    """Content of run_manifest.json: ``run`` (the identity) and ``manifest`` (the facts).  Raises StorageError."""
    file = path / "run_manifest.json"
    if (path / GROUP).is_file():
        names = ", ".join(str(path / name) for name in read_json(path / GROUP).get("models", {}))
        raise StorageError(f"{path}: holds several models, each a run of its own: give one of {names}")
    if not file.is_file():
        raise StorageError(
            f"{path}: not a run directory (no run_manifest.json); give the folder that `edgeflownas train` made"
        )
    document = read_json(file)
    keys = {"format", "run", "manifest"}
    if not isinstance(document, dict) or not keys <= document.keys() or not isinstance(document["manifest"], dict):
        raise StorageError(f"{file}: not the manifest of a run (expected the keys format, run, manifest)")
    if document["format"] != FORMAT:
        raise StorageError(
            f"{file}: format {document['format']}, this version reads {FORMAT}: use the version that wrote it"
        )
    _refuse_qat(path, document["manifest"])
    return document


def _refuse_qat(path: Path, manifest: Mapping[str, Any]) -> None:
    try:
        task, code = manifest["keys"]["identity"]["train.task"], manifest["code"]
        writer = f"edgeflownas {code['version']}" + (f", commit {code['commit'][:10]}" if code["commit"] else "")
    except (KeyError, TypeError):  # an incomplete manifest, which whoever reads the entry refuses
        return
    if task == "qat":
        raise StorageError(
            f"{path}: a run of train.task qat, which this version no longer has: open it with the version that wrote "
            f"it ({writer})"
        )


def read_config(path: Path) -> dict[str, Any]:
    """Content of config.yaml of the run ``path``.  Raises StorageError."""
    file = path / "config.yaml"
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StorageError(f"{file}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise StorageError(f"{file}: {type(document).__name__}, expected the run's configuration")
    return document
