"""`edgeflownas pareto` on a ranking, as a user gives it, and the training of its shortlist."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from rankings import factorial_codes, made_ranking
from runs import BRIEF, Place, command, table, told

from edgeflownas.config.load import load_config
from edgeflownas.search.ranking import read_ranking, write_ranking

pytestmark = pytest.mark.e2e
CODES = [*factorial_codes((0, 4, 5)), (0, 0, 0, 0, 2, 1, 2, 2, 2)]


@pytest.fixture(scope="module")
def ranking(place: Place) -> Path:
    """In a tiny run, where `rank` leaves it."""
    run = place.trained("supernet", *BRIEF)
    folder = run / "ranking"
    folder.mkdir()
    write_ranking(folder, made_ranking(CODES, facts={"run": "supernet", "width": "2", "size": "32x48"}))
    return folder


def test_every_file_says_the_same(ranking: Path, tmp_path: Path) -> None:
    out = tmp_path / "chosen"
    document = told("pareto", ranking, "--out", out, "--top=4")
    assert json.loads((out / "pareto.json").read_text()) == document
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["pareto.json", "pareto.csv", "pareto.html", "pareto.png", "shortlist.yaml"]
    )
    rows = table(out / "pareto.csv")
    assert {row["code"] for row in rows if row["kind"] == "front"} == {row["code"] for row in document["front"]}
    assert {row["code"] for row in rows if row["kind"] == "tie"} == set(document["ties"])
    assert {row["shortlist"]: row["code"] for row in rows if row["shortlist"]} == {
        row["name"]: row["code"] for row in document["shortlist"]
    }
    assert rows[0]["EB0"].startswith("depth ") and float(rows[0]["epe"]) > 0
    page = (out / "pareto.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html") and "http://" not in page.replace("http://www.w3.org", "")


def test_the_same_from_the_csv_but_for_the_samples(ranking: Path, tmp_path: Path) -> None:
    """The CSV holds no sample errors: the same front, with unpaired noise."""
    one, other = (told("pareto", path) for path in (ranking, ranking / "ranking.csv"))
    assert [row["code"] for row in one["front"]] == [row["code"] for row in other["front"]]
    assert (one["confidence"]["noisy"], other["confidence"]["noisy"]) == ({"epe": "paired"}, {"epe": "unpaired"})


def test_the_shortlist_trains(ranking: Path, place: Place, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    ended = command("pareto", ranking, "--recipe", recipe, "--top=3", "--where=macs<2.2e9")
    assert ended.code == 0 and "cannot be told from the best" in ended.out, ended.err
    assert f"edgeflownas train {recipe}" in ended.err
    keys = ["--train.num_epochs=1", f"--runtime.output_root={place.runs}", "--runtime.tensorboard=false"]
    trained = command("train", recipe, *keys, "--runtime.report=false", "--train.gpu_device=-1")
    assert trained.code == 0, trained.err
    run = place.runs / "shortlist_supernet"
    codes = {path.parent.name: {row["code"] for row in table(path)} for path in run.glob("*/per_arch_epe.csv")}
    document = told("pareto", ranking, "--top=3", "--where=macs<2.2e9")
    assert codes == {row["name"]: {row["code"]} for row in document["shortlist"]} and "baseline" in codes


def test_a_run_is_ranked_and_chosen_from(ranking: Path, place: Place) -> None:
    """27 subnets of a real run, a full factorial: front and marginals agree with the table, the recipe with the run."""
    only = "EB1=depth1,DB0=depth1,DB1=depth1,H0Out=k3,H1Out=k3,H2=k3"
    folder = place.folder / "ranked"
    ranked = command(
        "rank", place.runs / "supernet", "--out", folder, f"--where={only}", "--keep-sample-errors", "--yes"
    )
    assert ranked.code == 0, ranked.err
    run = place.runs / "supernet"
    words = ("--top=3", "--run", run, "--anyway", "--json")  # two steps of training see nothing
    ended = command("pareto", folder, "--out", place.folder / "chosen", *words)
    assert ended.code == 0, ended.err
    document, found = json.loads(ended.out), read_ranking(folder)
    pairs = list(zip(found.codes, found.columns["epe"], found.columns["macs"], strict=True))
    expected = {
        a for a, epe, macs in pairs if not any(e <= epe and m <= macs and (e, m) != (epe, macs) for _, e, m in pairs)
    }
    assert {row["code"] for row in document["front"]} == expected
    # rounded to float16
    assert document["confidence"]["like_best"] == pytest.approx(int(found.facts["within_noise_of_best"]), abs=2)
    deepest = next(block for block in document["marginals"]["blocks"] if block["name"] == "EB0")["options"][2]
    mean = found.columns["epe"][found.digits[:, 0] == 2].mean()
    assert deepest["option"] == "depth 3" and deepest["mean_epe"] == pytest.approx(mean)
    config = load_config(place.folder / "chosen" / "shortlist.yaml")
    assert config.data.train_dir == load_config(run / "config.yaml").data.train_dir


def test_a_ranking_of_the_whole_space(place: Place) -> None:
    folder = place.folder / "whole"
    folder.mkdir()
    write_ranking(folder, made_ranking(samples=4))
    ended = command("pareto", folder, "--minimise=epe,macs,sram_kib", "--where=sram_kib<900", "--json")
    document = json.loads(ended.out)
    assert ended.code == 0 and document["counts"]["table"] == 19683 and len(document["shown"]) == 20
    assert document["marginals"]["subnets"] == 19683 and len(document["marginals"]["interactions"]) == 36


def test_a_ranking_of_one_or_two_subnets(place: Place) -> None:
    folder = place.folder / "few"
    folder.mkdir()
    for count in (1, 2):
        write_ranking(folder, made_ranking(CODES[:count], samples=1))
        ended = command("pareto", folder, "--out", folder / "chosen")
        assert ended.code == 0 and "knee: none" in ended.out, ended.err
        assert "noise of epe: not known, taken as exact" in ended.out and "front: " in ended.out


def test_without_matplotlib_all_but_the_picture_is_written(
    ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = command("pareto", ranking, "--out", tmp_path)
    assert ended.code == 0 and "edgeflownas[figures]" in ended.err and (tmp_path / "pareto.html").exists()
    assert not (tmp_path / "pareto.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--minimise=epe,mac"], 64, "did you mean 'macs'"),
        (["--where=macs<1"], 64, "no subnet fulfils it (macs is 1.65e+09 to"),
        (["--where=macs~1"], 64, "is no condition"),
        (["--top=99"], 64, "the ranking holds 28 subnets"),
        (["--reference=1,x"], 64, "--reference 1,x: must be numbers"),
        (["--run=/"], 64, "add --out or --recipe"),
        (["--run=missing", "--recipe=r.yaml"], 64, "missing: no run is here"),
        (["--recipe=missing/folder/r.yaml"], 74, "missing/folder/r.yaml"),
    ],
)
def test_bad_words_end_in_one_line(ranking: Path, words: list[str], code: int, message: str) -> None:
    ended = command("pareto", ranking, *words)
    assert ended.code == code and message in ended.err and "Traceback" not in ended.err, ended.err


def test_damaged_rankings_are_refused(ranking: Path, tmp_path: Path) -> None:
    whole = (ranking / "ranking.safetensors").read_bytes()
    (tmp_path / "ranking.safetensors").write_bytes(whole[: len(whole) // 2])
    text = (ranking / "ranking.csv").read_text()
    (tmp_path / "cut.csv").write_text(text[: len(text) // 2])
    for path in (tmp_path, tmp_path / "cut.csv", tmp_path / "nothing"):
        ended = command("pareto", path)
        assert ended.code == 65 and str(path) in ended.err and not ended.out, ended.err


def test_a_table_of_unknown_width_has_no_recipe(ranking: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes((ranking / "ranking.csv").read_bytes())
    ended = command("pareto", mine, "--out", tmp_path / "o", "--top=2")
    assert ended.code == 0 and "of which width and image size" in ended.err, ended.err
    assert (tmp_path / "o" / "pareto.html").is_file() and not (tmp_path / "o" / "shortlist.yaml").exists()
    assert command("pareto", mine, "--recipe", tmp_path / "r.yaml").code == 64
    ended = command("pareto", tmp_path / "o" / "pareto.csv")
    assert ended.code == 65 and "no ranking" in ended.err


def test_a_column_without_figures_is_refused(ranking: Path, tmp_path: Path) -> None:
    found = read_ranking(ranking)
    rows = [*csv.reader((ranking / "ranking.csv").read_text().splitlines())]
    place = rows[0].index("sram_kib")
    for row in rows[1:]:
        row[place] = "nan"
    with (tmp_path / "r.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    ended = command("pareto", tmp_path / "r.csv", "--minimise=epe,sram_kib")
    assert ended.code == 65 and "column sram_kib" in ended.err and len(found) == 28
