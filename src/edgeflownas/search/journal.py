"""The journal of a search: one line for every evaluated arch, never rewritten, from which a search goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeflownas.errors import ConfigError, DataError
from edgeflownas.files import JsonLog, parse_json, row_text, storing
from edgeflownas.space import Arch, SearchSpace

FORMAT = "edgeflownas search 1"


class Entry(NamedTuple):
    """An evaluated arch, its objectives in the order of the search, and the generation that proposed it."""

    arch: Arch
    values: tuple[float, ...]
    generation: int


class Journal:
    """JSON lines: a header with everything that decides the search, then the entries in the order of evaluation.

    Args:
        path: the file, made with its header if missing; its folder must exist.
        space: of the archs.
        signature: what decides proposals and values, ``objectives`` among it; the budget is no part of it.
        note: told when a line torn by a kill is dropped.

    Raises:
        ConfigError: the journal of another search, with what differs.
        DataError: a line that is no entry.
        StorageError: it cannot be read or written.
    """

    def __init__(
        self, path: Path, space: SearchSpace, signature: Mapping[str, Any], note: Callable[[str], None] = print
    ) -> None:
        self.path = path
        self._space = space
        self._names: list[str] = list(signature["objectives"])
        self._log = JsonLog(path)
        header = {"format": FORMAT, "signature": dict(signature)}
        lines = self._whole_lines(row_text(header), note)
        if not lines:
            self._log.append(header)
        else:
            self._check_header(lines[0], parse_json(row_text(header).encode()))
        self.entries = [self._entry(number, line) for number, line in enumerate(lines[1:], 2)]

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries and bring them to the disk.  Raises StorageError."""
        for entry in entries:
            values = dict(zip(self._names, entry.values, strict=True))
            self._log.append({"code": str(entry.arch), "generation": entry.generation, "values": values})
        self._log.sync()
        self.entries.extend(entries)

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _whole_lines(self, header: str, note: Callable[[str], None]) -> list[bytes]:
        with storing(self.path, "read"):
            data = self.path.read_bytes() if self.path.exists() else b""
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            if not whole and not header.encode().startswith(torn):
                raise ConfigError(f"{self.path}: is no journal of a search; choose another --out")
            note(f"{self.path}: the last line was cut off by a kill: dropped")
            self._log.truncate(len(data) - len(torn))
        return whole.split(b"\n") if whole else []

    def _check_header(self, line: bytes, expected: dict[str, Any]) -> None:
        try:
            found = parse_json(line)
            then, now = dict(found["signature"]), expected["signature"]
            if found["format"] != FORMAT:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"{self.path}: is no journal of a search of this version; choose another --out") from None
        other = [key for key in {**now, **then} if then.get(key) != now.get(key)]
        if other:
            told = "; ".join(f"{key} {then.get(key)!r} then, {now.get(key)!r} now" for key in other)
            raise ConfigError(f"{self.path}: the journal of another search ({told}); choose another --out")

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            row = parse_json(line)
            if row.keys() != {"code", "generation", "values"} or list(row["values"]) != sorted(self._names):
                raise ValueError("other keys than code, generation, values, or other objectives")
            values = tuple(float(row["values"][name]) for name in self._names)
            return Entry(self._space.parse(row["code"]), values, int(row["generation"]))
        except (ValueError, TypeError, AttributeError, ConfigError) as error:
            raise DataError(
                f"{self.path} line {number}: no entry of a search ({error}); remove the lines from there on, they are "
                "evaluated again"
            ) from None
