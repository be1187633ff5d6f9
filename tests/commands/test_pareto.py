"""`pareto` on a ranking whose subnets see no motion: it says so first, and writes no recipe unasked."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # rankings.py
from rankings import factorial_codes, made_ranking  # noqa: E402

from edgeflownas import cli  # noqa: E402
from edgeflownas.search.ranking import write_ranking  # noqa: E402

CODES = [*factorial_codes((0, 4)), (0, 0, 0, 0, 2, 1, 2, 2, 2)]
FACTS = {"run": "supernet", "width": "2", "size": "32x48"}


@pytest.fixture
def ranking(tmp_path):
    def made(zero):
        write_ranking(tmp_path, made_ranking(CODES, facts=FACTS, zero=zero))
        return str(tmp_path)

    return made


def test_no_recipe_of_subnets_that_do_not_beat_zero_flow(ranking, tmp_path, capsys):
    folder, out = ranking(7.0), tmp_path / "chosen"
    assert cli.run(["pareto", folder, "--out", str(out), "--top=3"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("no better than zero flow: the best subnet has 7.69")
    assert "shortlist.yaml is not written: no subnet beats zero flow" in told.err and "--anyway" in told.err
    assert {"pareto.json", "pareto.csv", "pareto.html"} <= {path.name for path in out.iterdir()}
    assert not (out / "shortlist.yaml").exists()
    assert 'class="banner stop">no better than zero flow' in (out / "pareto.html").read_text()
    assert cli.run(["pareto", folder, "--recipe", str(tmp_path / "mine.yaml"), "--top=3"]) == 0
    assert not (tmp_path / "mine.yaml").exists()
    assert cli.run(["pareto", folder, "--recipe", str(tmp_path / "mine.yaml"), "--top=3", "--anyway"]) == 0
    assert "zero flow 7.0000 px" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize(("zero", "wanted"), [(9.0, 9.0), (None, None)])
def test_a_ranking_that_beats_it_or_does_not_know_it(zero, wanted, ranking, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    assert cli.run(["pareto", ranking(zero), "--recipe", str(recipe), "--top=3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["zero_flow_epe"] == wanted and document["best_epe"] == document["front"][-1]["epe"]
    assert [row.get("zero_flow_epe") for row in document["front"]] == [wanted] * len(document["front"])
    assert recipe.exists() and ("zero flow" in recipe.read_text()) == (zero is not None)


def test_anyway_belongs_to_a_recipe(ranking, capsys):
    assert cli.run(["pareto", ranking(7.0), "--anyway"]) == 64
    assert "--anyway: only a recipe is held back" in capsys.readouterr().err
