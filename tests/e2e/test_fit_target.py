"""A chip in `rank`, `pareto`, `profile` and `fit-target`, as a user asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import BRIEF, Place, command, table, told

from edgeflownas.hardware.targets import WE2, get_target
from edgeflownas.hardware.vela_table import Vela
from edgeflownas.models.graph import subnet_graph
from edgeflownas.search.ranking import read_ranking
from edgeflownas.space import get_space

pytestmark = pytest.mark.e2e
CHIP, COLUMN = "grove-vision-ai-v2", "grove_vision_ai_v2_ms"


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("supernet", *BRIEF)


@pytest.fixture(scope="module")
def ranking(run: Path) -> Path:
    out = run / "ranking"
    ended = command("rank", run, "--target", CHIP, "--sample", 12, "--where", f"{COLUMN}<0.9,H1<=k5", "--yes")
    assert ended.code == 0, ended.err
    return out


def real(code: str, outputs: str = "flow") -> float:
    graph = subnet_graph(get_space("v1"), 2, code, (32, 48), outputs)  # type: ignore[arg-type]
    return Vela(get_target(CHIP)).figures([graph])[0].milliseconds


def test_a_ranking_with_the_time_on_a_chip(ranking: Path) -> None:
    found = read_ranking(ranking)
    assert (found.columns[COLUMN] < 0.9).all() and (found.blocks["H1"] <= 1).all()
    assert found.columns[COLUMN][0] == pytest.approx(real(found.codes[0]), rel=5e-3)
    assert "Vela 5.2.0, mode performance, ethos-u55-64 at 400 MHz" in found.facts[COLUMN]


def test_the_front_by_vela_itself(ranking: Path, tmp_path: Path) -> None:
    words = ("pareto", ranking, "--minimise", f"epe,{COLUMN}", "--top=3", "--target", CHIP)
    ended = command(*words, "--json", "--anyway", "--out", tmp_path)
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    for row in [*document["front"], *document["shortlist"]]:
        assert row["vela_ms"] == real(row["code"]) != row[COLUMN]
        assert 0 < row["vela_sram_kib"] < 100 and row["vela_flash_kib"] > 0
    assert document["chip"]["figures_by"].startswith(f"{CHIP}, Vela 5.2.0, mode performance")
    compiled = {row["code"] for row in [*document["front"], *document["shortlist"]]}
    rows = table(tmp_path / "pareto.csv")
    assert {row["code"] for row in rows if row["vela_ms"]} == compiled
    assert {row["vela_by"] for row in rows} == {document["chip"]["figures_by"]}
    assert "warning" not in ended.err
    tight = command(*words, "--arena=1").err
    assert (
        f"{len(compiled)} of {len(compiled)} compiled subnets need more SRAM than the limit of the arena, 1 KiB"
        in tight
    )
    small = told(*words, "--mode=size")
    assert small["front"][0]["vela_sram_kib"] < document["front"][0]["vela_sram_kib"]
    assert "vela_ms" in command(*words).out


def test_what_fits_by_a_ranking(ranking: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "fits.csv"
    words = ("fit-target", "--target", CHIP, "--sram=28KiB", "--fps=1100", "--sizes=32x48,64x96", "--out", out)
    document = told(*words, ranking)
    epes = [row["epe"] for row in document["fits"]]
    assert epes and epes == sorted(epes)
    for row in document["fits"]:
        assert row["fps"] >= 1100 and row["sram_kib"] <= 28
        assert row["epe_measured_here"] == (row["outputs"] == "flow" and row["size"] == [32, 48])
    assert {row["limit"] for row in document["failed"]} <= {"sram_kib", "milliseconds"}
    assert [row["fits"] for row in table(out)] == ["yes"] * len(epes) + ["no"] * len(document["failed"])
    for row in table(out):
        assert "Vela 5.2.0" in row["figures_by"] and f"mode {row['mode'].split(', ')[0]}, arena" in row["figures_by"]
    assert told(*words, run)["fits"] == document["fits"]
    text = command(*words, ranking).out
    assert "figures are Vela's of the whole graph" in text and "only assumed" in text and "what does not fit" in text


def test_what_fits_without_a_ranking() -> None:
    ended = command(
        "fit-target", "--sram=1MiB", "--width=2", "--sizes=32x48", "--where=EB0=depth1,DB0=depth1", "--outputs=flow"
    )
    assert ended.code == 0, ended.err
    assert "no accuracy is known without a ranking" in ended.out and "0,2,0,2,2,2,2,2,2" in ended.out


def test_profile_with_a_chip(tmp_path: Path) -> None:
    """The time, and what decides it, on the screen, in JSON and in the table."""
    words = ("profile", "--arch=000000000", "--width=2", "--size=32x48", "--target", CHIP)
    document = json.loads(command(*words, "--json", "--out", tmp_path / "table.csv").out)
    assert document[COLUMN] == pytest.approx(real("000000000"), rel=5e-3)
    facts = document["facts"][COLUMN]
    assert "Vela 5.2.0, mode performance, ethos-u55-64 at 400 MHz, ini " in facts
    assert f"{COLUMN}: {facts}" in command(*words).out.splitlines()
    assert [row[f"{COLUMN}_by"] for row in table(tmp_path / "table.csv")] == [facts]


@pytest.mark.parametrize("name", ["cpu", "vela", "U55.128", "grove-vision-ai-v2", "板"])
def test_a_file_whose_name_makes_the_column_of_something_else(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.ini").write_text(WE2.replace("400e6", "100e6"))
    words = ("profile", "--arch=000000000", "--width=2", "--size=32x48", "--target")
    ended = command(*words, f"{tmp_path}/{name}.ini,ethos-u55-64,WE2,WE2_Shared")
    assert ended.code == 64 and "give a copy of another name" in ended.err


def test_a_file_below_a_folder_with_a_comma(tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b" / "mine.ini").write_text(WE2)
    words = ("profile", "--arch=000000000", "--width=2", "--size=32x48", "--json", "--target")
    ended = command(*words, f"{tmp_path}/a,b/mine.ini,ethos-u55-64,WE2,WE2_Shared")
    assert json.loads(ended.out)["mine_ms"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fit-target"], "--sram (not given)"),
        (["fit-target", "--sram=900"], "at least 16KiB"),
        (["fit-target", "--sram=1MiB", "--fps=0"], "--fps 0"),
        (["fit-target", "--sram=1MiB", "--sizes=30x48"], "multiples of 16"),
        (["fit-target", "--sram=1MiB", "--outputs=raw"], "--outputs raw"),
        (["fit-target", "--sram=1MiB", "--target=h100"], "u65-256; or give your own as FILE.ini,ACCELERATOR"),
        (["fit-target", "--sram=1MiB", "--target="], "'' is unknown"),
        (["fit-target", "--sram=1MiB", "--target=a.ini,b"], "FILE.ini,ACCELERATOR"),
        (["fit-target", "nothing", "--sram=1MiB"], "no ranking is here"),
        (["fit-target", "--sram=1MiB", "--out=/no/where.csv"], "there is no folder /no"),
        (["fit-target", "nothing", "--sram=1MiB", "--space=v1"], "has its own"),
        (["profile", "--space=v1", "--target=h100"], "'h100' is unknown"),
    ],
)
def test_refused_in_words(words: list[str], said: str) -> None:
    ended = command(*words)
    assert ended.code != 0 and said in ended.err and "Traceback" not in ended.err


def test_refused_of_a_ranking(ranking: Path) -> None:
    for words, said in ((["--mode=size"], "--target"), (["--target", CHIP, "--mode=fast"], "performance or size")):
        ended = command("pareto", ranking, *words)
        assert ended.code == 64 and said in ended.err
    alone = command("pareto", ranking / "ranking.csv", "--minimise", f"epe,{COLUMN}", "--target", CHIP)
    assert alone.code == 0  # its safetensors file lies beside it
