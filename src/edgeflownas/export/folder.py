"""The deploy folder: written whole or not at all, and read again to see whether it still holds what its report says."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from edgeflownas import limits
from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.export.build import FILES, INT8, VECTOR_KERNELS, deploy, verify_models
from edgeflownas.export.source import EXPORTED, extracted, open_pairs
from edgeflownas.files import read_file
from edgeflownas.hardware.tflite import TfliteModel
from edgeflownas.models.graph import Outputs
from edgeflownas.run.run import Run

REPORT, README = "report.json", "README.md"
VECTOR = re.compile(r"test_vectors/(\d+)_(\w+)\.bin")
REMEDY = "export it again"


def require_free(out: Path) -> None:
    """Raises StorageError where :func:`write_folder` could not write ``out``; asked before long work."""
    remedy = "give another --out, such as a folder below it"
    try:
        if out.is_symlink():
            raise StorageError(f"{out}: is a link, which is not replaced: give the folder itself as --out")
        if out.is_dir():
            if any(out.iterdir()):
                raise StorageError(f"{out}: holds files already, and an export replaces none: give another --out")
            if os.path.ismount(out):
                raise StorageError(f"{out}: is a mount point, which cannot be replaced: {remedy}")
            if out.samefile(Path.cwd()):
                raise StorageError(f"{out}: is the folder you are in, which is not replaced: {remedy}")
        elif out.exists():
            raise StorageError(f"{out}: is a file; --out needs a folder")
        above = next(folder for folder in out.absolute().parents if folder.exists())
        trial = _temporary(above / out.absolute().name)
        trial.mkdir()
        trial.rmdir()
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"{out}: cannot be made: {error.strerror}; give another --out") from None


def _temporary(out: Path) -> Path:
    return out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` (by path below ``out``) under a temporary name beside ``out``, and rename it.

    Raises:
        StorageError: ``out`` holds files by now, or the disk is full or read-only; nothing is left behind.
    """
    temporary = _temporary(out)
    try:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.rename(temporary, out)  # takes the place of an empty folder, of no other
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=32, le=4096, multiple_of=16)]


class _Entries(BaseModel):
    """Entries that are used after reading; those that are not are kept as they are."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Model(_Entries):
    weights: str
    weights_hash: str
    code: str
    space: str
    width: Annotated[int, Field(gt=0)]
    size: tuple[Side, Side]
    outputs: Outputs
    uncertainty: bool


class _File(_Entries):
    sha256: Digest


class _Output(_Entries):
    name: str


class _Vectors(_Entries):
    sha256: dict[str, Digest]


class _Verification(_Entries):
    reasons: list[str]


class _Report(_Entries):
    model: _Model
    outputs: Annotated[list[_Output], Field(min_length=1)]
    files: dict[str, _File]
    vectors: _Vectors | None = None
    verified: bool | None
    verification: _Verification | None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not {README} < set(self.files) or any(Path(name).name != name for name in self.files):
            raise ValueError("files: a name, or none")
        if self.verified is not (None if self.verification is None else not self.verification.reasons):
            raise ValueError("verified: not what verification says")
        if (INT8 in self.files) != (self.vectors is not None):
            raise ValueError("vectors: none, or of no model")
        if self.vectors is not None:
            names = {"images", *(output.name for output in self.outputs)}
            found = {match[1] for name in self.vectors.sha256 if (match := VECTOR.fullmatch(name))}
            expected = {f"test_vectors/{number}_{name}.bin" for number in found for name in names}
            if not found or set(self.vectors.sha256) != expected:
                raise ValueError("vectors: a name")
        return self


def read_report(folder: Path) -> dict[str, Any]:
    """Facts of an export, checked.  Raises DataError where the folder has none that can be read, or damaged ones."""
    path = folder / REPORT

    def refuse(said: str) -> DataError:
        return DataError(f"{said}: give the folder that edgeflownas export made")

    try:
        return _Report.model_validate_json(read_file(path, limits.JSON, refuse)).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise DataError(f"{path}: not the report of an export, or damaged ({reason}): {REMEDY}") from None


def verify_folder(
    folder: Path,
    run: Path | None,
    overrides: Sequence[str],
    data: str | None,
    count: int,
    note: Callable[[str], None],
    progress: Callable[[str, int], Any],
) -> dict[str, Any]:
    """The document of docs/verify.md: hashes and test vectors, and ``count`` pairs through the network of ``run``.

    ``run`` is what the folder was made from, or its weights (None: the files alone), ``overrides`` are
    ``--group.key=value`` tokens for it, ``data`` is where the pairs come from (None: the run's validation data);
    ``progress`` opens a bar with a label and a total, as Console.task does.

    Raises:
        DataError: no report that can be read; ConfigError: a run with other weights, or no LiteRT.
    """
    report = read_report(folder)
    files, vectors, reasons = check_folder(folder, report)
    compared, facts = None, report["model"]
    if run is not None and not reasons:
        arch = None if facts["code"] == facts["space"] else facts["code"]
        _, _, made_of = facts["weights"].partition("/")
        opened = Run.open(run, overrides, note, used=EXPORTED, what="this")
        checkpoint = made_of if opened.directory is not None and made_of else "best"
        subnet = extracted(opened.subnet(arch, checkpoint, size=tuple(facts["size"])), progress)
        if subnet.checkpoint.hash != facts["weights_hash"]:
            raise ConfigError(
                f"{run}: its weights are {subnet.checkpoint.hash[:16]}, the folder was made of "
                f"{facts['weights_hash'][:16]} ({facts['weights']}): give that run"
            )
        size = tuple(facts["size"])
        pairs = open_pairs("--data", data, "val", opened, count, size, note)
        deployed = deploy(subnet, size, facts["outputs"], facts["uncertainty"], "minmax", None)
        if "model_int8.onnx" in report["files"]:
            note("model_int8.onnx, of an earlier version, is held against its hash only")
        models = {
            kind: read_file(folder / name, limits.MODEL, DataError)
            for kind, name in FILES.items()
            if name in report["files"]
        }
        with progress("verify", len(pairs)) as meter:
            compared = verify_models(deployed, models, pairs, meter.advance)
        reasons += compared["reasons"]
    elif report["verification"] is not None:
        reasons += [f"at the export: {reason}" for reason in report["verification"]["reasons"]]
    return {
        "folder": folder.name,
        "model": facts,
        "verdict": "failed" if reasons else "passed",
        "files": files,
        "vectors": vectors,
        "reasons": reasons,
        "verification": compared,
    }


def check_folder(
    folder: Path, report: Mapping[str, Any]
) -> tuple[dict[str, str], Sequence[Mapping[str, Any]], list[str]]:
    """Hold the files against their hashes, and run those test vectors that are sound, where the int8 model is.

    By name of a file what is wrong with it (empty: nothing); by output of a test vector the elements that differ, and
    by how many integer steps at most; all that is wrong.  Raises ConfigError: no LiteRT, where there are test vectors.
    """
    vectors = report["vectors"]["sha256"] if report["vectors"] else {}
    hashes = {name: entry["sha256"] for name, entry in report["files"].items()} | vectors
    files = {name: _problem(folder / name, expected) for name, expected in hashes.items()}
    reasons = [f"{name}: {problem}" for name, problem in files.items() if problem]
    found: list[dict[str, Any]] = []
    if files.get(INT8) == "":
        try:
            found = _run_vectors(folder, [name for name in vectors if not files[name]])
        except DataError as error:
            reasons.append(str(error))
    told = (
        "test vector {number}, {output}: {differing} of {elements} integers differ from the stored ones, by "
        "{largest_step} at most"
    )
    reasons += [told.format(**vector) for vector in found if vector["differing"]]
    return files, found, reasons


def _problem(path: Path, expected: str) -> str:
    if not path.exists():
        return f"No such file or directory: {REMEDY}"
    try:
        content = read_file(path, limits.MODEL, DataError)
    except (DataError, StorageError) as error:
        return f"{str(error).removeprefix(f'{path}: ')}: {REMEDY}"
    if hashlib.sha256(content).hexdigest() == expected:
        return ""
    return f"{len(content):,} bytes, not those that the report has the hash of: {REMEDY}"


def _run_vectors(folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """What the int8 model gives today against the stored outputs among ``names``.

    Raises DataError where model and vectors do not fit each other.
    """
    model = TfliteModel(read_file(folder / INT8, limits.MODEL, DataError), VECTOR_KERNELS, name=str(folder / INT8))
    stored: dict[str, dict[str, str]] = {}  # number -> output or images -> file
    for name in names:
        if match := VECTOR.fullmatch(name):
            stored.setdefault(match[1], {})[match[2]] = name
    found = []
    for number, files in sorted(stored.items()):
        if "images" not in files:  # said already
            continue
        values = model.run(_vector(folder, files.pop("images"), model.shape(model.inputs[0])))
        for output, name in sorted(files.items()):
            if output not in values:
                raise DataError(f"{INT8}: no output {output!r}, it has {', '.join(values)}: {REMEDY}")
            steps = np.abs(_vector(folder, name, values[output].shape).astype(np.int16) - values[output])
            row: dict[str, Any] = {"number": int(number), "output": output, "elements": steps.size}
            found.append(row | {"differing": int(np.count_nonzero(steps)), "largest_step": int(steps.max())})
    return found


def _vector(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.int8]:
    values = np.frombuffer(read_file(folder / name, limits.MODEL, DataError), np.int8)
    if values.size != np.prod(shape):
        raise DataError(f"{name}: {values.size:,} bytes, {np.prod(shape):,} expected: {REMEDY}")
    return values.reshape(shape)
