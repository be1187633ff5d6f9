"""The folder of a ranking while it is made: parts of finished units, and the check that they belong together.

``parts/plan.json`` says what is ranked; each part carries a signature of it and of its own codes.  The folder is
locked by rank 0 alone.  Other ranks, on this machine or others, only add parts of units that nobody else has, each
under its own name and by rename; all of them must see the same folder.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.evaluate.ranking import CSV, TENSORS, Ranking, read_ranking
from edgeflownas.evaluate.ranking_parts import TIED, Part, read_part
from edgeflownas.space import Arch
from edgeflownas.train.lock import RunLock
from edgeflownas.train.storage import canonical_json, read_json, remove_temporaries, replace_file, storing

__all__ = ["RankingFolder"]

PLAN = "plan.json"


class RankingFolder:
    """``path`` as the place of one ranking, described by its facts and codes."""

    def __init__(self, path: Path, facts: Mapping[str, str], archs: Sequence[Arch]) -> None:
        codes = hashlib.sha256("|".join(map(str, archs)).encode()).hexdigest()
        self.path, self.parts = path, path / "parts"
        self.plan: dict[str, Any] = {"format": 1, "facts": {**facts}, "subnets": len(archs), "codes": codes}
        self.lock = RunLock(path)

    def open(self) -> Ranking | None:
        """Lock the folder for this ranking; the finished table where it lies here already.

        Raises:
            ConfigError: the folder holds another ranking; StorageError: it cannot be made, or is in use.
        """
        with storing(self.path, "make the folder of the ranking"):
            self.path.mkdir(parents=True, exist_ok=True)
        self.lock.acquire()
        finished = (self.path / TENSORS).exists()
        if finished:
            self._require_ours(_facts_of(read_ranking(self.path)))
        elif (self.parts / PLAN).exists():
            self._require_ours(read_json(self.parts / PLAN))
        elif (self.path / CSV).exists() or (self.parts.exists() and any(self.parts.glob("unit-*"))):
            raise self._refusal("files of which ranking is not known")
        if finished:
            self.clear()
            return read_ranking(self.path)
        with storing(self.parts, "make the folder of the parts"):
            self.parts.mkdir(exist_ok=True)
            remove_temporaries(self.parts)
        if not (self.parts / PLAN).exists():
            replace_file(self.parts / PLAN, canonical_json(self.plan))
        return None

    def close(self) -> None:
        """Give the lock, and a folder without any finished unit, back."""
        if self.lock.held and not any(self.parts.glob("unit-*")):
            shutil.rmtree(self.parts, ignore_errors=True)
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
                warn(f"{self.part(place)}: damaged ({error}); its {len(unit)} subnets are evaluated again")
                wanted.append(place)
        return wanted

    def part(self, place: int) -> Path:
        """The file of a unit."""
        return self.parts / f"unit-{place:05d}.safetensors"

    def read(self, place: int, unit: Sequence[Arch]) -> Part:
        """The part of a unit.  Raises OSError, ValueError or KeyError."""
        path = self.part(place)
        if not path.exists():
            raise FileNotFoundError(path)
        return read_part(path, self._signature(unit))

    def read_again(self, place: int, unit: Sequence[Arch]) -> Part:
        """The part of a unit that is done.  Raises StorageError."""
        try:
            return self.read(place, unit)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(
                f"{self.part(place)}: was written and is not to be read ({error}); give the same command again, and "
                "with several machines a folder that all of them share"
            ) from error

    def write(self, place: int, unit: Sequence[Arch], part: Part) -> None:
        """Keep a finished unit.  Raises StorageError."""
        replace_file(self.part(place), part.to_bytes(self._signature(unit)))

    def clear(self) -> None:
        """Remove the parts of a table that is written."""
        with storing(self.parts, "remove the parts"):
            if self.parts.exists():
                shutil.rmtree(self.parts)

    def _signature(self, unit: Sequence[Arch]) -> str:
        text = canonical_json(self.plan).decode() + "|".join(map(str, unit))
        return hashlib.sha256(text.encode()).hexdigest()

    def _require_ours(self, plan: Mapping[str, Any]) -> None:
        theirs, ours = plan.get("facts", {}), self.plan["facts"]
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


def _facts_of(ranking: Ranking) -> dict[str, Any]:
    """The plan of a finished table."""
    codes = hashlib.sha256("|".join(ranking.codes).encode()).hexdigest()
    return {"facts": ranking.facts, "subnets": len(ranking), "codes": codes}
