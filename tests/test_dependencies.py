"""Declared, used, pinned and explained: the four lists of dependencies agree."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "ruamel.yaml": "ruamel",
    "Jinja2": "jinja2",
    "ai-edge-litert": "ai_edge_litert",
    "ethos-u-vela": "ethosu",
}
IMPORTED_BY_TORCH = {"onnxscript"}


def package(requirement):
    return re.split(r"[<>=!~;\[ ]", requirement)[0]


EXTRAS = PROJECT["optional-dependencies"]
RUNTIME = [package(requirement) for requirement in PROJECT["dependencies"]]
OPTIONAL = [package(one) for extra in ("spring", "figures", "search", "export") for one in EXTRAS[extra]]
DEVELOPMENT = [package(requirement) for requirement in EXTRAS["dev"]]


def imported_by_the_package():
    """First parts of all absolute imports; torch.utils.tensorboard counts as tensorboard, which it needs."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return {"tensorboard" if name.startswith("torch.utils.tensorboard") else name.split(".")[0] for name in found}


def test_every_import_is_declared_and_every_declaration_imported():
    third_party = imported_by_the_package() - set(sys.stdlib_module_names) - {"edgeflownas"}
    declared = {IMPORT_NAMES.get(name, name) for name in (*RUNTIME, *OPTIONAL)}
    assert third_party | IMPORTED_BY_TORCH == declared


def test_every_dependency_has_a_row_with_the_pinned_version():
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \|", (ROOT / "docs/dependencies.md").read_text("utf-8"), re.M))
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    wanted = {*RUNTIME, *OPTIONAL, *DEVELOPMENT}
    assert wanted - set(rows) == set()
    assert {name: rows[name] for name in wanted} == {name: pins[name] for name in wanted}
