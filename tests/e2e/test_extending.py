"""The four changes of docs/extending.md, one place each, applied to a copy of the package: what they add is there."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import table
from tiny import make_tiny, tiny_options

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
CHANGES = re.findall(r"```diff\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), re.DOTALL)
PROGRAM = """
import contextlib, io, json, sys
from pathlib import Path
from edgeflownas import cli
from edgeflownas.data import sets
from edgeflownas.report import diagnosis
from edgeflownas.space import list_spaces

def said(words):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = cli.run(words)
    assert code == 0, (words, code)
    return out.getvalue()

pages = [write((Path(sys.argv[1]) / name).read_text(encoding="utf-8")) for write, name in
         ((sets.documented, "data.md"), (diagnosis.documented, "diagnosis.md"))]
print(json.dumps([cli.__file__, list_spaces(), pages, *map(said, json.load(sys.stdin))]))
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package with the four changes."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for number, change in enumerate(CHANGES):
        (folder / f"{number}.diff").write_text(change, encoding="utf-8")
        done = subprocess.run(["git", "apply", f"{number}.diff"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"docs/extending.md is out of date: {done.stderr}\n{change}"
    return folder


def answers(package: Path, *commands: list[str]) -> list[str]:
    """Place of the package, its spaces, two pages of the documentation, and what each command prints."""
    variables = {**os.environ, "PYTHONPATH": str(package / "src"), "EDGEFLOWNAS_DATA_AUTOFLOW": str(package / "auto")}
    program = [sys.executable, "-c", PROGRAM, str(ROOT / "docs")]
    done = subprocess.run(program, input=json.dumps(commands), capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def autoflow(folder: Path) -> None:
    """Six pairs as AutoFlow lays them out."""
    pairs = make_tiny(folder / "pairs", train=6, val=1) / "train"
    for number in range(6):
        own = folder / "auto" / "static_40k_png_1_of_4" / f"table_0_batch_{number}"
        own.mkdir(parents=True)
        for old, new in (("img_0.png", "im0.png"), ("img_1.png", "im1.png"), ("flow_01.flo", "forward.flo")):
            shutil.copy(pairs / f"{number:07d}-{old}", own / new)


def test_each_is_one_place() -> None:
    files = [re.findall(r"^\+\+\+ b/(\S+)", change, re.MULTILINE) for change in CHANGES]
    names = ("space.py", "data/sets.py", "report/figures.py", "report/diagnosis/rules_training.py")
    assert files == [[f"src/edgeflownas/{name}"] for name in names]
    for change in CHANGES:
        assert len(re.findall(r"^@@", change, re.MULTILINE)) == 1
        assert not re.search(r"^-(?!-- )", change, re.MULTILINE), "something is only added"


def test_what_they_add_works(extended: Path) -> None:
    autoflow(extended)
    run, slow, fast = extended / "runs" / "new", extended / "slow.csv", extended / "fast.csv"
    data = extended / "auto"
    options = dict(word.split("=", 1) for word in tiny_options(data, extended / "runs", "new"))
    options |= {"--data.train_dir": "autoflow", "--data.val_dir": f"autoflow:all@{data}", "--train.space": "heads"}
    options |= {"--train.width": "2", "--train.num_epochs": "1", "--eval.eval_pool_size": "2"}
    place, spaces, pages, _, listed, evaluated, ranked, _ = answers(
        extended,
        ["train", "smoke", *(f"{key}={value}" for key, value in options.items())],
        ["data", "list", "--json"],
        ["evaluate", str(run), "--arch", "11111", "--data", "autoflow", "--json"],
        ["rank", str(run), "--yes", "--json"],
        ["report", str(run)],
    )
    assert Path(place).is_relative_to(extended)

    assert spaces == ["heads", "v1", "v2", "v3", "v3_nobias"]
    codes = {row["code"] for row in table(run / "ranking" / "ranking.csv")}
    assert len(codes) == 2**5 and "1,1,1,1,1" in codes and json.loads(ranked)["subnets"] == len(codes)

    sets = {row["name"]: row for row in json.loads(listed)["sets"]}
    assert sets["autoflow"]["found"] and sets["autoflow"]["variants"][0]["samples"] == 6
    assert "autoflow/folder:all/6/" in evaluated and "autoflow/folder:all/6/" in ranked
    assert "| `autoflow` | `all` |" in pages[0]

    assert 'id="fig-flow-clip"' in (run / "report.html").read_text(encoding="utf-8")

    (row,) = table(run / "eval_history.csv")
    for file, seconds in ((slow, "200.0"), (fast, "50.0")):
        with file.open("w", newline="") as out:
            changed = csv.DictWriter(out, list(row))
            changed.writeheader()
            changed.writerow({**row, "eval_seconds": seconds, "epoch_seconds": "100.0"})
    *_, found, silent = answers(extended, ["diagnose", str(slow), "--json"], ["diagnose", str(fast), "--json"])
    assert "evaluations take 67 % of the time" in found and "evaluation_dominates" not in silent
    assert "### `evaluation_dominates`: Evaluation takes most of the time" in pages[1]
