"""Every reader of files of others is among those that are fuzzed; a few inputs of each, here and now."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import fuzz
import pytest

from edgeflownas.errors import DataError
from edgeflownas.run import documents

SOURCE = Path(fuzz.__file__).resolve().parents[1] / "src" / "edgeflownas"


def test_every_reader_that_exists_is_in_the_list() -> None:
    functions = {
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("read_")
    }
    assert functions == set(fuzz.COVERED)
    assert {name for name in fuzz.COVERED.values() if " " not in name} <= fuzz.READERS.keys()


def test_every_document_of_a_run_is_in_the_list() -> None:
    files = {
        name
        for name, value in vars(documents).items()
        if isinstance(value, type) and value.__module__ == documents.__name__
    }
    parts = {
        "Document",
        "Facts",
        "Kinds",
        "StepEvent",
        "EvaluationEvent",
        "Timing",
    }  # a base, a part, and lines of logs
    public = {name for name in files if not name.startswith("_")} - parts
    assert len(public) == sum(reader.document for reader in fuzz.READERS.values())


def test_a_few_inputs_of_every_reader_and_then_some_more(tmp_path: Path) -> None:
    names = [name for name in fuzz.READERS if name not in ("tflite", "video")]
    report = fuzz.fuzz(tmp_path, names, 8 * len(names))
    assert report["faults"] == [] and report["inputs"] == 8 * len(names)
    assert fuzz.fuzz(tmp_path, names[:2], 2 * 12)["inputs"] == 8 * len(names) + 2 * 4  # goes on where it was
    assert json.loads((tmp_path / "fuzz.json").read_text())["done"][names[0]] == 12


@pytest.mark.parametrize("error", [KeyError("a"), DataError("no name of the file"), RecursionError()])
def test_what_is_no_named_error_is_found(tmp_path: Path, error: Exception) -> None:
    def read(path: Path) -> object:
        raise error

    path = tmp_path / "a.flo"
    path.touch()
    assert fuzz.attempt(fuzz.Reader(".flo", read, lambda folder: []), path)
