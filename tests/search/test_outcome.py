"""Fronts and curves as plain data, the text and the files made of them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from search_spaces import UNEVEN, problem

from edgeflownas.errors import DataError
from edgeflownas.report.table import text_of
from edgeflownas.report.views import search_view, write_search
from edgeflownas.search.evolve import Ended, Entry, outcome, reference_point, shares

ALL = list(UNEVEN)
VALUES = problem(UNEVEN).values(ALL)
EXACT = dict(zip(ALL, VALUES, strict=True))


def ended(name, seed, order):
    entries = [Entry(ALL[i], tuple(VALUES[i].tolist()), place // 10) for place, i in enumerate(order)]
    return Ended(name, seed, Path("out"), entries)


def both():
    rng = np.random.default_rng(0)
    runs = [ended(name, seed, rng.permutation(48)[:40]) for name in ("random", "nsga2") for seed in (0, 1, 2)]
    return outcome(problem(UNEVEN), runs, 10, EXACT)


def test_reference_point_lies_a_tenth_beyond_the_front():
    assert reference_point([[0.0, 10.0], [4.0, 0.0], [9.0, 90.0]]).tolist() == pytest.approx([4.4, 11.0])
    assert reference_point([[2.0, 5.0]]).tolist() == pytest.approx([2.2, 5.5])
    assert reference_point([[0.0]]).tolist() == pytest.approx([0.1])


def test_shares_by_hand():
    exact = [[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]  # up to (3, 3): 1 + 2 + 3 squares
    found = [[2.5, 2.5], [1.0, 1.0], [0.0, 2.0], [2.0, 0.0]]
    assert shares(found, exact, [3.0, 3.0], [1, 2, 3, 9]) == pytest.approx([0.25 / 6, 4 / 6, 5 / 6, 1.0])


def test_curves_rise_to_one_and_bands_enclose_the_mean():
    whole = outcome(problem(UNEVEN), [ended("random", 0, np.arange(48))], 8, EXACT)["curve"]["strategies"]["random"]
    assert whole["mean"][-1] == pytest.approx(1.0)
    curve = both()["curve"]
    assert curve["evaluations"][-1] == 40 and curve["shown"] == [10, 20, 40]
    for own in curve["strategies"].values():
        assert own["seeds"] == 3
        assert (np.diff(own["mean"]) >= 0).all()
        assert (np.array(own["lowest"]) <= own["mean"]).all() and (own["mean"] <= np.array(own["highest"])).all()
        assert own["lowest"][0] < own["highest"][0]


def test_the_front_says_what_was_found_and_when():
    run = ended("nsga2", 0, np.arange(47, -1, -1))
    broken = run.entries[5]._replace(values=(float("-inf"), 1.0))
    run.entries[5] = broken
    front = outcome(problem(UNEVEN), [run], 10, None)["searches"][0]["front"]
    assert [row["epe"] for row in front] == sorted(row["epe"] for row in front)
    assert [row["macs"] for row in front] == sorted((row["macs"] for row in front), reverse=True)
    assert str(broken.arch) not in [row["code"] for row in front]
    cheapest = front[-1]
    assert cheapest["code"] == "0,0,0,0,0" and cheapest["evaluation"] == 48 and cheapest["generation"] == 4
    assert (cheapest["A"], cheapest["B"], cheapest["sram_kib"]) == ("depth 1", "kernel 3", 0.0)


def test_values_of_another_ranking_are_refused():
    with pytest.raises(DataError, match="another checkpoint"):
        outcome(
            problem(UNEVEN), [ended("random", 0, np.arange(9))], 4, {arch: row + 0.1 for arch, row in EXACT.items()}
        )


def test_files_and_text_hold_the_same_figures(tmp_path):
    document = both()
    written = write_search(tmp_path, document)
    assert sorted(path.name for path in written.values()) == ["curve.csv", "curve.png", "front.csv", "search.json"]
    assert json.loads((tmp_path / "search.json").read_text()) == document
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    own = document["curve"]["strategies"]["nsga2"]
    assert [float(row["nsga2"]) for row in rows] == own["mean"]
    assert [float(row["nsga2_highest"]) for row in rows] == own["highest"]
    members = (tmp_path / "front.csv").read_text().splitlines()[1:]
    assert len(members) == sum(len(one["front"]) for one in document["searches"])
    text = text_of(search_view(document))
    assert f"{100 * own['mean'][-1]:.2f} % ({100 * own['lowest'][-1]:.2f} to" in text
    assert "reference point epe" in text and "of 3 seeds" in text
    first = (tmp_path / "curve.png").read_bytes()
    assert first.startswith(b"\x89PNG") and len(first) > 10_000
    write_search(tmp_path, document)
    assert (tmp_path / "curve.png").read_bytes() == first


def test_no_matplotlib_no_picture(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    told: list[str] = []
    assert "picture" not in write_search(tmp_path, both(), told.append)
    assert len(told) == 1 and "edgeflownas[figures]" in told[0]


def test_an_empty_search_has_an_empty_front(tmp_path):
    document = outcome(problem(UNEVEN), [Ended("random", 0, tmp_path, [])], 4, None)
    assert document["searches"][0]["front"] == []
    assert "0 on the front" in text_of(search_view(document))
    write_search(tmp_path, document)
