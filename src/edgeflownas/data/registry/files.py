"""Listing folders of a layout: each folder once, everything that is missing in one message."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from edgeflownas.data.dataset import Sample
from edgeflownas.data.registry.declaration import Request
from edgeflownas.errors import DataError, StorageError

__all__ = ["Files"]


class Files:
    """The files below a root; remembers which of those asked for are not there."""

    def __init__(self, request: Request, layout: str) -> None:
        self._request, self._layout = request, layout
        self._listed: dict[Path, frozenset[str]] = {}
        self.missing: dict[Path, None] = {}

    def matching(self, folder: Path, pattern: str) -> list[re.Match[str]]:
        """The names in a folder that match as a whole, sorted.

        Raises:
            DataError: the folder is missing.  StorageError: it cannot be listed.
        """
        if not folder.is_dir():
            raise DataError(
                f"{self._request.key}: {self._request.spec}: no folder {folder}; the root {self._request.root} must "
                f"hold {self._layout}"
            )
        matches = (re.fullmatch(pattern, name) for name in sorted(self._names(folder)))
        return [match for match in matches if match is not None]

    def has(self, path: Path) -> bool:
        """Whether there is a file of that name."""
        return path.name in self._names(path.parent)

    def need(self, path: Path) -> Path:
        """The path; noted as missing where it is not there."""
        if not self.has(path) and path not in self.missing:  # a frame of two samples is missing once
            self.missing[path] = None
        return path

    def _names(self, folder: Path) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = frozenset()
            except OSError as error:
                raise StorageError(f"{self._request.key}: {folder} cannot be listed: {error.strerror}") from error
        return self._listed[folder]

    def checked(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """The samples in the order of their names.

        Raises:
            DataError: there is none, or files of them are missing.
        """
        request = self._request
        if self.missing:
            shown = "".join(f"\n  {path}" for path in list(self.missing)[:5])
            more = f"\n  and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
            raise DataError(
                f"{request.key}: {request.spec}: {len(self.missing)} files are missing below {request.root}:{shown}"
                f"{more}\nCopy them; the root must hold {self._layout}"
            )
        if not samples:
            raise DataError(
                f"{request.key}: {request.spec}: no samples below {request.root}; it must hold {self._layout}"
            )
        return tuple(sorted(samples, key=lambda sample: sample.name))
