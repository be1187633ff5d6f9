"""The wheel works outside the checkout: command, recipes, types and licence are inside.

A fresh environment gets the wheel alone; what it depends on is seen through a path file, so nothing is downloaded.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import edgeflownas

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ["pyproject.toml", "README.md", "LICENSE", "src"]
pytestmark = pytest.mark.e2e


def run(*command, folder):
    """stdout of a command started in `folder` with nothing of the checkout in its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no build folder is left in the checkout (and none of it gets in)."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / name, folder / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """`bin` of a fresh environment that holds the wheel and borrows everything else."""
    home = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home, folder=home.parent)
    (packages,) = home.glob("lib/python*/site-packages")
    # Path files of a borrowed folder are not read, so the editable install of this checkout stays out of sight.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python", "install", "--no-deps", "--no-index", "-q"]
    run(*pip, wheel, folder=home.parent)
    return home / "bin"


def test_wheel_holds_what_it_must_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    inside = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/edgeflownas").rglob("*.py")}
    recipes = {f"edgeflownas/recipes/{path.name}" for path in (ROOT / "src/edgeflownas/recipes").glob("*.yaml")}
    assert len(recipes) >= 3
    folder = ROOT / "src/edgeflownas/report/templates"
    page = {f"edgeflownas/report/templates/{path.name}" for path in folder.iterdir()}
    assert len(page) >= 3
    weights = {
        path for path in (ROOT / "src/edgeflownas/weights").iterdir() if path.suffix in (".json", ".safetensors")
    }
    shipped = {f"edgeflownas/weights/{path.name}" for path in weights}
    assert inside | recipes | page | shipped | {"edgeflownas/py.typed"} <= names
    assert sum(path.stat().st_size for path in weights) <= 14e6
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"edgeflownas", f"edgeflownas-{edgeflownas.__version__}.dist-info"}


def test_command_works_outside_the_checkout(installed, tmp_path):
    assert run(installed / "edgeflownas", "--version", folder=tmp_path).strip() == edgeflownas.__version__
    listed = run(installed / "edgeflownas", "recipes", "list", folder=tmp_path)
    packaged = sorted(path.stem for path in (ROOT / "src/edgeflownas/recipes").glob("*.yaml"))
    assert [name for name in packaged if name not in listed] == []
    printed = run(installed / "edgeflownas", "train", "smoke", "--print-config", folder=tmp_path)
    assert "experiment_name: smoke" in printed
    assert list(tmp_path.iterdir()) == []


def test_it_is_the_wheel_that_answers(installed, tmp_path):
    where = run(installed / "python", "-c", "import edgeflownas; print(edgeflownas.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    code = "import edgeflownas as e; print(len(e.get_space('v1')), e.FlowNet.__module__)"
    assert run(installed / "python", "-c", code, folder=tmp_path).split() == ["19683", "edgeflownas.models.flownet"]


def test_every_version_is_pinned_once_and_torch_first():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    assert pins[0] == "torch==2.13.0"
    names = [pin.split("==")[0].lower().replace("_", "-") for pin in pins]
    assert len(names) == len(set(names))
    assert not [name for name in names if "nvidia" in name or "cuda" in name or name == "triton"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.findall(r'^  "([A-Za-z][\w.-]*)', project.split("[project.scripts]")[0], re.MULTILINE)
    assert len(wanted) > 15
    assert [name for name in wanted if name.lower() not in names] == []
