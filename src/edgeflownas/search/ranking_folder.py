"""The folder of a ranking while it is made: parts of finished units, and the check that they belong together.

``parts/plan.json`` says what is ranked; each part carries a signature of it and of its own codes.  The folder is
locked by rank 0 alone.  Other ranks, on this machine or others, only add parts of units that nobody else has, each
under its own name and by rename; all of them must see the same folder.  Nothing is removed but what a ranking writes
there, by its names: the folder may hold other files of its owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.evaluate.ranking import CSV, TENSORS, Ranking, csv_bytes, read_ranking
from edgeflownas.evaluate.ranking_parts import TIED, Part, read_part
from edgeflownas.files import canonical_json, read_json, replace_file, storing
from edgeflownas.run.directory import RunLock
from edgeflownas.space import Arch

PLAN, UNITS = "plan.json", "unit-[0-9]*.safetensors"
TEMPORARIES = (f".tmp-{PLAN}-*", f".tmp-{UNITS}-*")


class RankingFolder:
    """``path`` as the place of one ranking, described by its facts and codes."""

    def __init__(self, path: Path, facts: Mapping[str, str], archs: Sequence[Arch]) -> None:
        self.path, self.parts = path, path / "parts"
        self.plan = _plan(facts, [str(arch) for arch in archs])
        self.lock = RunLock(path)
        self.opened = False

    def open(self) -> tuple[Ranking, dict[str, Path]] | None:
        """Lock the folder for this ranking; the finished table where it lies here already, and what it was given anew.

        A finished table that lacks nothing is read without a lock, so that read-only storage serves as well.

        Raises:
            ConfigError: the folder holds another ranking; StorageError: it cannot be made, or is in use.
        """
        if (finished := self._finished()) is not None:
            return finished
        with storing(self.path, "make the folder of the ranking"):
            self.path.mkdir(parents=True, exist_ok=True)
        self.lock.acquire()
        if (finished := self._finished()) is not None:  # by a process that had the lock until now
            return finished
        if (self.parts / PLAN).exists():
            self._require_ours(read_json(self.parts / PLAN))
        elif (self.path / CSV).exists() or (self.parts.exists() and any(self.parts.glob("unit-*"))):
            raise self._refusal("files of which ranking is not known")
        self.opened = True
        with storing(self.parts, "make the folder of the parts"):
            self.parts.mkdir(exist_ok=True)
            self._remove(TEMPORARIES)
        if not (self.parts / PLAN).exists():
            replace_file(self.parts / PLAN, canonical_json(self.plan))
        return None

    def _finished(self) -> tuple[Ranking, dict[str, Path]] | None:
        """The table that lies here; its CSV is written again where it says anything else, left parts are removed."""
        if not (self.path / TENSORS).exists():
            return None
        ranking = read_ranking(self.path)
        self._require_ours(_plan(ranking.facts, ranking.codes))
        path, rows = self.path / CSV, csv_bytes(ranking)
        with storing(path, "read"):
            stale = not path.exists() or path.read_bytes() != rows
        left = False
        with suppress(StorageError):  # a plan that cannot be read is nobody's
            left = (self.parts / PLAN).exists() and read_json(self.parts / PLAN) == self.plan
        if (stale or left) and not self.lock.held:
            self.lock.acquire()
        if left:
            self.clear()
        if stale:
            replace_file(path, rows)
        return ranking, {CSV: path} if stale else {}

    def close(self) -> None:
        """Give the lock, and a folder without any finished unit, back."""
        if self.opened and not any(self.parts.glob(UNITS)):
            with suppress(StorageError):
                self.clear()
        self.lock.release()

    def require_shared(self) -> None:
        """Raises StorageError where this rank does not see what rank 0 has written."""
        if not (self.parts / PLAN).exists() or read_json(self.parts / PLAN) != self.plan:
            raise StorageError(
                f"{self.parts / PLAN}: not what rank 0 has written: all ranks must see one folder; give --out a folder "
                "on storage that all machines share"
            )

    def missing(self, units: Sequence[Sequence[Arch]], warn: Callable[[str], None]) -> list[int]:
        """Places of the units without a sound part; a damaged one is named."""
        wanted = []
        for place, unit in enumerate(units):
            try:
                self.read(place, unit)
            except FileNotFoundError:
                wanted.append(place)
            except (OSError, ValueError, KeyError) as error:
                warn(f"{self._part(place)}: damaged ({error}); its {len(unit)} subnets are evaluated again")
                wanted.append(place)
        return wanted

    def read(self, place: int, unit: Sequence[Arch]) -> Part:
        """The part of a unit.  Raises OSError, ValueError or KeyError."""
        path = self._part(place)
        if not path.exists():
            raise FileNotFoundError(path)
        return read_part(path, self._signature(unit))

    def read_again(self, place: int, unit: Sequence[Arch]) -> Part:
        """The part of a unit that is done.  Raises StorageError."""
        try:
            return self.read(place, unit)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"{self._part(place)}: was written and is not to be read ({error}); give the same command again, and "
                "with several machines a folder that all of them share"
            ) from error

    def write(self, place: int, unit: Sequence[Arch], part: Part) -> None:
        """Keep a finished unit.  Raises StorageError."""
        replace_file(self._part(place), part.to_bytes(self._signature(unit)))

    def clear(self) -> None:
        """Remove the parts of a table that is written, the plan last, and their folder where nothing else is in it."""
        with storing(self.parts, "remove the parts"):
            self._remove((UNITS, *TEMPORARIES, PLAN))
        with suppress(OSError):  # not empty, or not there
            self.parts.rmdir()

    def _remove(self, patterns: Sequence[str]) -> None:
        for pattern in patterns:
            for path in self.parts.glob(pattern):
                path.unlink(missing_ok=True)

    def _part(self, place: int) -> Path:
        return self.parts / f"unit-{place:05d}.safetensors"

    def _signature(self, unit: Sequence[Arch]) -> str:
        text = canonical_json(self.plan).decode() + "|".join(map(str, unit))
        return hashlib.sha256(text.encode()).hexdigest()

    def _require_ours(self, plan: Any) -> None:
        if not isinstance(plan, dict) or not isinstance(plan.get("facts"), dict) or not {"codes", "subnets"} <= {*plan}:
            raise self._refusal("files of which ranking is not known")
        theirs, ours = plan["facts"], self.plan["facts"]
        differing = [name for name in {**ours, **theirs} if name != TIED and theirs.get(name) != ours.get(name)]
        if differing:
            name = differing[0]
            raise self._refusal(
                f"{name} is {theirs.get(name, 'not said')!r} there, {ours.get(name, 'not said')!r} here"
            )
        if plan["codes"] != self.plan["codes"]:
            raise self._refusal(f"{plan['subnets']} subnets there, {self.plan['subnets']} (others) here")

    def _refusal(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self.path}: holds another ranking ({what}); nothing was changed: give another folder with --out, or "
            "remove this one"
        )


def _plan(facts: Mapping[str, str], codes: Sequence[str]) -> dict[str, Any]:
    digest = hashlib.sha256("|".join(codes).encode()).hexdigest()
    return {"format": 1, "facts": {**facts}, "subnets": len(codes), "codes": digest}
