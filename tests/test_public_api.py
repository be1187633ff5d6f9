"""The names other projects rely on, and that asking for none of them loads nothing heavy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import edgeflownas

PROMISED = {
    "Arch",
    "Config",
    "EdgeFlowNet",
    "FlowNet",
    "SearchSpace",
    "UserError",
    "__version__",
    "accumulate",
    "evaluate_pool",
    "get_space",
    "load",
    "load_config",
    "load_tf1_weights",
    "multiscale_loss",
    "read_flo",
    "read_flo5",
    "write_flo",
}


def test_exactly_the_promised_names():
    """Adding a public name is a decision: it is made here too."""
    assert set(edgeflownas.__all__) == PROMISED
    assert set(dir(edgeflownas)) >= PROMISED


@pytest.mark.parametrize("name", sorted(PROMISED - {"__version__"}))
def test_every_name_is_the_object_its_module_defines(name: str):
    value = getattr(edgeflownas, name)
    home = importlib.import_module(f"edgeflownas.{edgeflownas._HOME[name]}")
    assert value is getattr(home, name)
    assert value.__module__ == home.__name__, f"{name} is only passed on by {home.__name__}"


def test_type_checkers_see_the_same_names():
    source = Path(edgeflownas.__file__).read_text(encoding="utf-8")
    imported = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert imported == {name: f"edgeflownas.{home}" for name, home in edgeflownas._HOME.items()}


def test_version_is_the_installed_one():
    assert edgeflownas.__version__.count(".") == 2


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'Flownet'"):
        _ = edgeflownas.Flownet


LIGHT = ["import edgeflownas", "from edgeflownas import get_space, read_flo, load_config"]


@pytest.mark.parametrize("statement", LIGHT)
def test_light_names_do_not_import_torch_or_the_command_line(statement: str):
    check = f"{statement}; import sys; print(*({{'torch', 'cyclopts'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
