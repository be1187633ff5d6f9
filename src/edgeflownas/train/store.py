"""The folder ``checkpoints/`` of a run: commit by rename, newest that verifies, pruning.

Order of a commit: write files into ``.tmp-*`` on the same file system, fsync each, manifest last, fsync the folder,
check that the run is still ours, rename to a name that does not exist, fsync the parent, read everything back
(docs/concepts.md; after "All File Systems Are Not Created Equal", OSDI 2014).
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from edgeflownas.errors import StorageError
from edgeflownas.train.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    Position,
    checkpoint_names,
    read_checkpoint,
    verify,
    write_checkpoint,
)
from edgeflownas.train.faults import crash_point
from edgeflownas.train.storage import remove_temporaries, storing, sync_folder

__all__ = ["NONE_YET", "CheckpointStore"]

NONE_YET = "none-yet"
"""File that lies here from creation to the first commit: tells a run without a checkpoint from one that lost all."""


class CheckpointStore:
    """Checkpoints of run ``run`` in ``folder``; ``warn`` is told of every damaged one passed over."""

    def __init__(self, folder: Path, run: str, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self.run = run
        self.warn = warn
        self._verified: dict[str, str | None] = {}  # name -> the best checkpoint as of that one

    def names(self) -> list[str]:
        """Newest first, by step; not verified."""
        return checkpoint_names(self.folder)

    def load(self, name: str, groups: Collection[str] | None = None) -> Checkpoint:
        """One checkpoint by name.  Raises StorageError."""
        if name not in self.names():
            raise StorageError(
                f"{self.folder / name}: no such checkpoint (there are: {', '.join(self.names()) or 'none'})"
            )
        return read_checkpoint(self.folder / name, self.run, groups)

    def newest_verified(
        self, groups: Collection[str] | None = None, check: Callable[[Checkpoint], None] | None = None
    ) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that verifies, and the names of the damaged newer ones.

        ``check`` may refuse a sound checkpoint by raising DamagedCheckpoint.  None before the first commit; raises
        StorageError when there were checkpoints and none is left.
        """
        damaged: list[str] = []
        for name in self.names():
            try:
                checkpoint = read_checkpoint(self.folder / name, self.run, groups)
                if check is not None:
                    check(checkpoint)
            except DamagedCheckpoint as damage:
                self.warn(f"{damage}; going back to the checkpoint before {name}")
                damaged.append(name)
                continue
            self._verified[name] = _best_name(checkpoint.best)
            return checkpoint, damaged
        if damaged or not (self.folder / NONE_YET).exists():
            raise StorageError(
                f"{self.folder}: no usable checkpoint is left ({len(damaged)} damaged, expected at least one that "
                "verifies); restore the folder from a copy, or start anew under another runtime.experiment_name"
            )
        return None, []

    def has(self, name: str) -> bool:
        """Whether ``name`` is stored and verifies; a damaged one of that name is set aside to make room."""
        if name not in self.names():
            return False
        try:
            verify(self.folder / name, self.run)
        except DamagedCheckpoint as damage:
            self.warn(f"{damage}; {name} is made again")
            with storing(self.folder, "set a damaged checkpoint aside"):
                self.set_aside(name)
            return False
        return True

    def put(
        self,
        position: Position,
        state: Mapping[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
        facts: Mapping[str, Any],
        still_ours: Callable[[], None],
    ) -> str:
        """Commit one checkpoint and return its hash.  ``still_ours`` raises where another process holds the run.

        Raises StorageError; whatever was written of it is then removed and no older checkpoint touched.
        """
        temporary = self.folder / f".tmp-{uuid.uuid4().hex}"
        final = self.folder / position.name
        with storing(self.folder, f"commit {position.name}"):
            try:
                temporary.mkdir()
                crash_point("commit.temporary_made")
                digest = write_checkpoint(temporary, position, state, tensors, facts)
                still_ours()
                os.rename(temporary, final)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            crash_point("commit.renamed")
            sync_folder(self.folder)
            self._read_back(position.name, digest)
            crash_point("commit.verified")
            (self.folder / NONE_YET).unlink(missing_ok=True)
        crash_point("commit.marked")
        return digest

    def _read_back(self, name: str, digest: str) -> None:
        try:
            manifest = verify(self.folder / name, self.run)
            if manifest["hash"] != digest:
                raise DamagedCheckpoint(f"{self.folder / name}: not what was written")
        except DamagedCheckpoint:
            self.set_aside(name)
            raise
        self._verified[name] = _best_name(manifest["best"])

    def set_aside(self, name: str) -> None:
        """Take a damaged checkpoint out of the way without deleting it.  Raises OSError."""
        target = self.folder / f".damaged-{name}"
        if target.exists():
            target = self.folder / f".damaged-{name}-{uuid.uuid4().hex[:8]}"
        os.rename(self.folder / name, target)
        sync_folder(self.folder)
        self._verified.pop(name, None)
        crash_point("resume.damaged_set_aside")

    def prune(self, keep: int) -> None:
        """Remove all but the newest ``keep`` verified checkpoints and those that they name as best.

        Raises StorageError.
        """
        kept: list[str] = []
        with storing(self.folder, "remove an old checkpoint"):
            for name in self.names():
                if len(kept) < keep:
                    kept += [name] if self._is_sound(name) else []
                elif name not in {self._verified[k] for k in kept}:
                    self._remove(name)

    def _is_sound(self, name: str) -> bool:
        if name not in self._verified:
            try:
                self._verified[name] = _best_name(verify(self.folder / name, self.run)["best"])
            except DamagedCheckpoint as damage:
                self.warn(f"{damage}; {name} does not count among the checkpoints kept")
                return False
        return True

    def _remove(self, name: str) -> None:
        """Rename first: a half-removed checkpoint must not look like a damaged one."""
        doomed = self.folder / f".tmp-pruned-{uuid.uuid4().hex}"
        os.rename(self.folder / name, doomed)
        crash_point("prune.renamed")
        shutil.rmtree(doomed)
        self._verified.pop(name, None)
        crash_point("prune.removed")

    def remove_temporaries(self) -> None:
        """Remove what an interrupted commit or pruning left.  Raises OSError."""
        remove_temporaries(self.folder)


def _best_name(best: Mapping[str, Any] | None) -> str | None:
    return best["checkpoint"] if best else None
