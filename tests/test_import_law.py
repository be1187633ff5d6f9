"""House rules that no linter knows, read off the syntax trees of the package; each is shown to bite.

The law of imports (docs/adr/0008): what may import what, so that workers and ``--help`` start fast, the network is
usable without the trainer, and the trainer without a screen.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "edgeflownas"
SOURCES = sorted(PACKAGE.rglob("*.py"))

BASE = {"errors", "randomness", "space", "config", "files", "limits", "arrays"}
JUDGING = BASE | {"models", "data", "evaluate", "hardware"}
TRAINING = JUDGING | {"run", "train"}
MAY_IMPORT = {
    **dict.fromkeys(BASE, BASE),
    "models": BASE,
    "data": BASE,
    "evaluate": BASE | {"models", "data"},
    "hardware": BASE | {"models", "data"},
    "run": JUDGING,
    "train": JUDGING | {"run"},
    "search": TRAINING,
    "export": TRAINING | {"search"},
    "report": TRAINING | {"search", "export"},
}
TOP = {"commands", "cli", "__main__"}  # may import anything, and nothing below imports them
WITHOUT_TORCH = BASE | {"data"}
ONLY_IN = {"cyclopts": TOP, "tensorboard": {"report"}, "matplotlib": {"report"}, "jinja2": {"report", "export"}}

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "cloudpickle", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "torch.save", "os.system", "os.popen"}
FORBIDDEN_KEYWORDS = {"shell", "allow_pickle"}

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60


def layer_of(module: str) -> str:
    """Layer of a dotted name below the package."""
    return module.split(".")[0]


@functools.cache
def parsed(source: str) -> ast.Module:
    """Read once for all rules, none of which changes it."""
    return ast.parse(source)


def live(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but `if TYPE_CHECKING:` blocks: naming the type of an object that is handed in imports nothing."""
    yield node
    typing = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    for child in node.orelse if typing else ast.iter_child_nodes(node):
        yield from live(child)


def imports(nodes: Iterable[ast.AST], package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import among the nodes of a file; relative ones made absolute."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            name = ".".join(filter(None, [above, node.module]))
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def import_violations(name: str, source: str) -> Iterator[str]:
    """Broken laws of the file `name`, a path below the package."""
    parts = Path(name).with_suffix("").parts
    layer = layer_of(parts[0])
    if layer == "__init__":  # the public names, imported lazily or for type checkers only
        return
    for line, target in imports(live(parsed(source)), ".".join(["edgeflownas", *parts[:-1]])):
        top, _, below = target.partition(".")
        where = f"{name}:{line}"
        if top == "edgeflownas" and layer not in TOP:
            wanted = layer_of(below)
            if wanted != layer and wanted not in MAY_IMPORT.get(layer, set()):
                yield f"{where}: {layer} must not import {wanted or 'the whole package'}"
        if top == "torch" and layer in WITHOUT_TORCH:
            yield f"{where}: {layer} must not import torch (workers and --help start without it)"
        for library, layers in ONLY_IN.items():
            if library in target.split(".") and layer not in layers:
                yield f"{where}: only {', '.join(sorted(layers))} may import {library}"


def makes_any_object(name: str, call: ast.Call) -> bool:
    """``YAML()`` of ruamel.yaml but for ``typ="safe"``."""
    kinds = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "typ"]
    return name.split(".")[-1] == "YAML" and kinds != ["'safe'"]


def danger_violations(name: str, source: str) -> Iterator[str]:
    """Constructs that run data as code, or a shell."""
    tree = parsed(source)
    for line, target in imports(ast.walk(tree), "edgeflownas"):
        if target.split(".")[0] in FORBIDDEN_MODULES or target in FORBIDDEN_CALLS:
            yield f"{name}:{line}: {target} is not allowed here"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if (called := ast.unparse(node.func)) in FORBIDDEN_CALLS or makes_any_object(called, node):
            yield f"{name}:{node.lineno}: {called}() is not allowed here"
        for keyword in node.keywords:
            constant_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in FORBIDDEN_KEYWORDS and not constant_false:
                yield f"{name}:{node.lineno}: {keyword.arg}= is not allowed here"


def functions(source: str) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines) of every function, decorators and docstring left out."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1 - text


def read(path: Path) -> tuple[str, str]:
    return path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def test_the_package_is_where_this_test_looks():
    """A guard that walks an empty folder passes for ever."""
    assert {"space.py", "keys.py", "errors.py"} <= {path.name for path in SOURCES}
    seen = {layer_of(path.relative_to(PACKAGE).with_suffix("").parts[0]) for path in SOURCES}
    assert seen - {"__init__", "recipes"} <= set(MAY_IMPORT) | TOP, "a new layer needs a line in MAY_IMPORT"


def test_imports_follow_the_law():
    assert [broken for path in SOURCES for broken in import_violations(*read(path))] == []


def test_a_planted_import_is_caught():
    planted = [
        ("space.py", "from edgeflownas.models.flownet import FlowNet"),
        ("config/load.py", "import edgeflownas.commands.train"),
        ("config/keys.py", "import torch"),
        ("data/loader.py", "from torch.utils.data import Dataset"),
        ("data/loader.py", "def work():\n    import torch.nn"),
        ("data/loader.py", "from ..models import flownet"),
        ("models/flownet.py", "from edgeflownas.data import formats"),
        ("models/flownet.py", "from edgeflownas.evaluate.losses import accumulate"),
        ("evaluate/pool.py", "from edgeflownas import train"),
        ("evaluate/pool.py", "from edgeflownas import get_space"),
        ("evaluate/pool.py", "from edgeflownas.hardware.costs import space_costs"),
        ("hardware/costs.py", "from edgeflownas.evaluate.pool import evaluate_pool"),
        ("run/run.py", "from edgeflownas.train.loop import fit"),
        ("files.py", "from edgeflownas.data.formats import read_flo"),
        ("models/graph.py", "from edgeflownas.hardware.costs import space_costs"),
        ("train/loop.py", "from edgeflownas.report.console import Console"),
        ("train/loop.py", "from edgeflownas.report.console import Tracker"),
        ("report/console.py", "from edgeflownas.commands.train import train"),
        ("search/pareto.py", "from edgeflownas.report.console import Console"),
        ("train/loop.py", "from edgeflownas.search.front import front"),
        ("train/loop.py", "import cyclopts"),
        ("train/loop.py", "if not TYPE_CHECKING:\n    from edgeflownas.report.console import Tracker"),
        ("train/loop.py", "if TYPE_CHECKING:\n    pass\nelse:\n    from edgeflownas.report.console import Tracker"),
        ("train/loop.py", "from torch.utils.tensorboard import SummaryWriter"),
        ("newlayer/x.py", "from edgeflownas.space import get_space"),
    ]
    assert [case for case in planted if not list(import_violations(*case))] == []


def test_what_the_law_allows_passes():
    allowed = (
        "from edgeflownas.space import get_space\nimport torch\nfrom . import blocks\nfrom ..errors import DataError"
    )
    assert not list(import_violations("models/flownet.py", allowed))
    assert not list(import_violations("commands/train.py", "import cyclopts\nfrom edgeflownas.train import loop"))
    handed_in = "if TYPE_CHECKING:\n    from edgeflownas.report.console import Tracker"
    assert not list(import_violations("train/loop.py", handed_in))
    assert not list(import_violations("config/load.py", "from edgeflownas.config import Config\nimport ruamel.yaml"))


def test_nothing_runs_data_as_code():
    assert [danger for path in SOURCES for danger in danger_violations(*read(path))] == []


def test_planted_danger_is_caught():
    planted = [
        "import pickle",
        "from pickle import loads",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "torch.save({}, path)",
        "eval('1')",
        "exec(text)",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "os.system('ls')",
        "import yaml",
        "YAML(typ='unsafe', pure=True)",
        "ruamel.yaml.YAML(pure=True)",
        "YAML(typ=kind)",
        "numpy.load(path, allow_pickle=True)",
    ]
    assert [statement for statement in planted if not list(danger_violations("train/x.py", statement))] == []


def test_safe_relatives_pass():
    safe = "net.eval()\nYAML(typ='safe')\nnumpy.load(path, allow_pickle=False)\nsubprocess.run(['ls'])\njson.load(f)"
    assert not list(danger_violations("train/x.py", safe))


@pytest.mark.parametrize("folder", ["src", "tests", "examples"])
def test_files_can_be_read_in_one_sitting(folder: str):
    lines = {path: len(path.read_bytes().splitlines()) for path in sorted((ROOT / folder).rglob("*.py"))}
    assert not {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MAX_FILE_LINES}


def names_its_public(name: str, source: str) -> bool:
    """A module with a list of what it exports, a list that goes stale; a package's own names are what users import."""
    return not name.endswith("__init__.py") and any(
        isinstance(node, ast.Name) and node.id == "__all__" and isinstance(node.ctx, ast.Store)
        for node in ast.walk(parsed(source))
    )


def test_only_packages_list_what_they_export():
    assert names_its_public("run/run.py", "__all__ = ['Run']") and not names_its_public("x/__init__.py", "__all__ = []")
    assert [name for name, source in map(read, SOURCES) if names_its_public(name, source)] == []


def test_functions_fit_on_a_screen():
    found = [
        (count, f"{path.name}:{line} {name}") for path in SOURCES for name, line, count in functions(read(path)[1])
    ]
    assert sorted(entry for entry in found if entry[0] > MAX_FUNCTION_LINES) == []


def test_a_long_function_is_measured():
    source = '@decorated\ndef f():\n    """Two\n    lines."""\n' + "    x = 1\n" * MAX_FUNCTION_LINES
    assert list(functions(source)) == [("f", 2, MAX_FUNCTION_LINES + 1)]
