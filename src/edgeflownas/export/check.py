"""A deploy folder read again: are its files those of its report, and do they still give the test vectors?"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeflownas.errors import DataError
from edgeflownas.export.artefacts import FILES, VECTOR_KERNELS
from edgeflownas.hardware.tflite.model import TfliteModel

__all__ = ["FolderCheck", "check_folder", "read_report", "stored_models"]

REPORT, VECTORS = "report.json", "test_vectors"
INT8 = FILES["tflite-int8"]
REMEDY = "export it again"


@dataclass(frozen=True)
class Vector:
    """One output of one test vector: elements that differ, and by how many integer steps at most."""

    number: int
    output: str
    elements: int
    differing: int
    largest_step: int


@dataclass(frozen=True)
class FolderCheck:
    """``files``: name and what is wrong with it (empty: nothing); ``reasons``: all that is wrong."""

    files: Mapping[str, str]
    vectors: tuple[Vector, ...]
    reasons: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def read_report(folder: Path) -> dict[str, Any]:
    """Facts of an export.  Raises DataError where the folder has none that can be read."""
    path = folder / REPORT
    try:
        report = json.loads(path.read_bytes())
        files, facts = report["files"], report["model"]
        plain = all(Path(name).name == name and isinstance(entry["sha256"], str) for name, entry in files.items())
        if plain and isinstance(facts["code"], str):
            return dict(report)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: give the folder that edgeflownas export made") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DataError(f"{path}: not the report of an export, or damaged: {REMEDY}")


def check_folder(folder: Path, report: Mapping[str, Any]) -> FolderCheck:
    """Hold the files against their hashes, and run the test vectors where the int8 model is the one of the report.

    Raises:
        ConfigError: no LiteRT, where there are test vectors.
    """
    hashes = {name: entry["sha256"] for name, entry in report["files"].items()}
    hashes |= report.get("vectors", {}).get("sha256", {})
    files = {name: _problem(folder / name, expected) for name, expected in hashes.items()}
    reasons = [f"{name}: {problem}" for name, problem in files.items() if problem]
    vectors: list[Vector] = []
    if files.get(INT8) == "":
        try:
            vectors = _run_vectors(folder, {entry["name"] for entry in report["outputs"]})
        except DataError as error:
            reasons.append(str(error))
    for vector in vectors:
        if vector.differing:
            reasons.append(
                f"test vector {vector.number}, {vector.output}: {vector.differing} of {vector.elements} integers "
                f"differ from the stored ones, by {vector.largest_step} at most"
            )
    return FolderCheck(files, tuple(vectors), tuple(reasons))


def stored_models(folder: Path, report: Mapping[str, Any]) -> dict[str, bytes]:
    """Bytes of the models by format."""
    return {kind: (folder / name).read_bytes() for kind, name in FILES.items() if name in report["files"]}


def _problem(path: Path, expected: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{error.strerror}: {REMEDY}"
    if hashlib.sha256(content).hexdigest() == expected:
        return ""
    return f"{len(content):,} bytes, not those that the report has the hash of: {REMEDY}"


def _run_vectors(folder: Path, outputs: set[str]) -> list[Vector]:
    """What the int8 model gives today against what is stored.  Raises DataError where vectors are missing or cut."""
    model = TfliteModel((folder / INT8).read_bytes(), VECTOR_KERNELS, name=INT8)
    found = []
    inputs = sorted(path.name for path in (folder / VECTORS).glob("*_images.bin"))
    numbers = [int(match[1]) for name in inputs if (match := re.fullmatch(r"(\d+)_images\.bin", name))]
    if not numbers:
        raise DataError(f"{VECTORS}: there are none: {REMEDY}")
    for number in numbers:
        images = _vector(folder, f"{number}_images.bin", model.shape(model.inputs[0]))
        values = model.run(images)
        for name in sorted(outputs | set(values)):
            if name not in values:
                raise DataError(f"{INT8}: no output {name!r}, it has {', '.join(values)}: {REMEDY}")
            stored = _vector(folder, f"{number}_{name}.bin", values[name].shape)
            steps = np.abs(stored.astype(np.int16) - values[name])
            found.append(Vector(number, name, steps.size, int(np.count_nonzero(steps)), int(steps.max())))
    return found


def _vector(folder: Path, name: str, shape: tuple[int, ...]) -> Any:
    try:
        values = np.frombuffer((folder / VECTORS / name).read_bytes(), np.int8)
    except OSError as error:
        raise DataError(f"{VECTORS}/{name}: {error.strerror}: {REMEDY}") from None
    if values.size != np.prod(shape):
        raise DataError(f"{VECTORS}/{name}: {values.size:,} bytes, {np.prod(shape):,} expected: {REMEDY}")
    return values.reshape(shape)
