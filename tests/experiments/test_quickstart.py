"""`make quickstart`: its commands, very small, from pairs to the lines that name page, picture and what is next."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from edgeflownas.config.load import find_recipe, load_config
from edgeflownas.run.history import evaluations

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SMALL = "--train.steps_per_epoch=1 --train.width=2 --eval.eval_batches_per_arch=1"
KEYS = [*SMALL.split(), "--eval.bn_recal_batches=1", "--train.batch_size=2"]


@pytest.fixture
def driver():
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "examples/quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_ends_with_a_page_a_picture_of_its_best_and_one_table(driver, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "PAIRS", driver.PAIRS.replace("--train 800 --val 64", "--train 8 --val 8"))
    driver.main(KEYS)
    told = capsys.readouterr()
    opened, seen, then = told.out.splitlines()[-3:]
    pool, alone = (Path("runs") / name for name in sorted(path.name for path in Path("runs").iterdir()))
    assert opened.startswith(f"Open {pool}/report.html") and (pool / "report.html").exists()
    assert Path(re.match(r"See +(\S+):", seen)[1]).exists() and then.startswith(f"Next edgeflownas rank {pool}")
    (last,) = evaluations(pool)
    assert evaluations(alone)[-1].codes == (last.codes[last.epes.index(min(last.epes))],)
    pairs = json.loads((alone / "pictures/index.json").read_text())["pictures"]
    shown = min(pairs, key=lambda pair: pair["sample_epe"] / pair["zero_flow_epe"])
    assert len(pairs) == 8 and f"/{shown['file']}: " in seen
    assert f"EPE {shown['sample_epe']:.2f} px, zero flow {shown['zero_flow_epe']:.2f} px" in seen
    assert [label.split(",")[0].split(":")[0] for label in shown["panels"]] == [
        "image 1", "image 2", "predicted flow", "true flow", "EPE", "colour"
    ]  # fmt: skip
    assert told.err.count("EPE px") == 1  # one table


def test_a_command_that_fails_ends_it(driver, capsys):
    with pytest.raises(SystemExit) as ended:
        driver.call("train", "quickstar")
    assert ended.value.code == 64 and "did you mean 'quickstart'?" in capsys.readouterr().err


def test_the_recipe_reads_the_pairs_that_are_made(driver):
    assert "--out quickstart/pairs " in driver.PAIRS and driver.PAIRS in find_recipe("quickstart").read_text()
    data = load_config("quickstart").data
    assert (str(data.train_dir), str(data.val_dir)) == ("quickstart/pairs/train", "quickstart/pairs/val")
    assert driver.PAIRS in (ROOT / "docs/quickstart.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert "quickstart: install\n\t@$(BIN)/python examples/quickstart.py\n" in makefile
