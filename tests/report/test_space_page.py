"""The page of a space as text: exact numbers, nothing loaded, unbreakable, complete without scripts."""

from __future__ import annotations

import base64
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from pages import NASTY, approve, data_of, safe
from space_documents import made_document

from edgeflownas.errors import ConfigError
from edgeflownas.report.space_page import CHARACTER, HIGH, Column, inside, name_places, render


def unpacked(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), dtype="<" + packed["type"])


def test_every_number_arrives_exactly_and_a_whole_space_of_eight_columns_is_small():
    document = made_document(5)
    document["values"]["cpu_ms"][7] = None
    data = data_of(render(document))
    assert data["count"] == 243 and data["codes"] == "".join(document["codes"])
    for column in data["columns"]:
        expected = np.array(document["values"][column["name"]], dtype=np.float64)
        np.testing.assert_array_equal(unpacked(column).astype(np.float64), expected)
        assert (column["low"], column["high"]) == (np.nanmin(expected), np.nanmax(expected))
    kinds = {column["name"]: column["type"] for column in data["columns"]}
    assert (kinds["epe"], kinds["parameters"]) == ("f8", "f4"), "short where nothing is lost"
    document = made_document()
    for name in ("epe_sintel_clean", "gap9_ms"):
        document["columns"].append({"name": name, "unit": "px", "minimise": True})
        document["values"][name] = document["values"]["epe"]
    assert len(document["codes"]) == 19683 and len(render(document).encode()) < 2_500_000


def test_it_loads_nothing_and_names_cannot_break_out():
    document = made_document(3, title=NASTY, facts={NASTY: NASTY})
    document["blocks"][0] = {"name": NASTY, "options": [NASTY] * 3}
    document["marginals"]["blocks"][0] |= {"name": NASTY}
    for option in document["marginals"]["blocks"][0]["options"]:
        option["option"] = NASTY
    document["columns"][0] |= {"unit": NASTY}
    page = render(document)
    safe(page)
    assert page.count("<script") == 5, "data and four files"
    assert data_of(page)["blocks"][0]["name"] == NASTY


def test_the_page_without_scripts_is_as_approved():
    """Lead, front and shortlist with their roles, what each choice is worth, and what all subnets share as facts."""
    document = made_document(
        3, sure=[3], front=[3, 4], ties=[1, 2], shortlist=[4, 9], shortlist_names=["front01", "cheap"], where="macs<9e9"
    )
    document["marginals"]["blocks"][0]["steps"] = [{"to": "depth 2", "margin": 0.01}]
    document["marginals"] |= {"over": "all 27", "rest_share": 0.02}
    document["marginals"]["interactions"][1]["share"] = 1e-9
    for name, values in (("epe_standard_error", [0.5] * 27), ("samples", [640] * 27)):
        document["columns"].append({"name": name, "unit": "", "minimise": True})
        document["values"][name] = values
    page = render(document)
    approve(page, Path(__file__).parent / "approved" / "space.txt")
    columns = {column["name"]: column for column in data_of(page)["columns"]}
    assert "epe_standard_error" not in columns and set(unpacked(columns["epe"]["errors"])) == {0.5}
    assert "<noscript>" in page and re.search(r'id="explore"[^>]* hidden', page)


def test_where_is_worked_out_for_the_scripts():
    document = made_document(4, where="EB0=depth2,sram_kib<=712.5")
    kept = [
        code[0] == "1" and sram <= 712.5
        for code, sram in zip(document["codes"], document["values"]["sram_kib"], strict=True)
    ]
    assert data_of(render(document))["inside"] == "".join("01"[value] for value in kept) and any(kept)
    assert inside(made_document(3)) is None
    with pytest.raises(ConfigError, match="sram"):
        render(made_document(3, where="srm_kib<9"))


def test_what_was_not_measured_and_what_says_nothing_is_left_out():
    for missing in ("marginals", "standard_error"):
        document = made_document(3, **{missing: None})
        document["values"]["cpu_ms"] = [None] * 27
        page = render(document)
        assert "not measured" in page and ("What each choice is worth" in page) == (missing != "marginals")
        assert (data_of(page)["columns"][0]["errors"] is None) == (missing == "standard_error")
    document = made_document(3)
    document["marginals"]["interactions"] = [{"blocks": ["EB0", "EB1"], "share": 1e-9}]
    assert "No pair of blocks explains 0.01" in render(document)
    page = render(made_document(3, marginals=None, marginals_missing="too few subnets", knee=None))
    assert "Not shown: too few subnets." in page and "The knee" not in page


@pytest.mark.parametrize(
    ("values", "digits", "scale", "words"),
    [
        ([1650321000.0, 2.0e9], 0, 1e6, "1\u202f650\u202f321\u202f000"),
        ([8.21337, 9.0], 4, 1.0, "8.2134"),
        ([712.5, 900.25], 2, 1.0, "712.50"),
        ([-1234.5, 1.0], 1, 1.0, "\u22121\u202f234.5"),
        ([0.0, 0.0], 0, 1.0, "0"),
        ([float("nan")] * 2, 0, 1.0, "not measured"),
    ],
)
def test_numbers_have_useful_digits(values: list[float], digits: int, scale: float, words: str):
    column = Column("x", "", True, np.array(values))
    assert (column.digits, column.scale, column.words(values[0])) == (digits, scale, words)


def test_errors_of_paired_noise_are_not_shown_and_an_error_may_be_an_objective():
    document = made_document(3)
    document["columns"].append({"name": "epe_standard_error", "unit": "px", "minimise": True})
    document["values"]["epe_standard_error"] = [0.5] * 26 + [0.6]
    document["confidence"] = {"noisy": {"epe": "paired"}}
    columns = {column["name"]: column for column in data_of(render(document))["columns"]}
    assert columns["epe"]["errors"] is None and "epe_standard_error" not in columns
    document["objectives"] = ["epe_standard_error", "macs"]
    page = data_of(render(document))
    assert page["columns"][page["objectives"][0]]["name"] == "epe_standard_error"


@pytest.mark.parametrize("shape", ["falling", "rising", "steep", "one place"])
def test_names_of_a_small_picture_do_not_lie_on_each_other(shape: str):
    slopes = {"falling": (60, 30), "rising": (60, -30), "steep": (3, 20), "one place": (0, 1)}
    across, down = slopes[shape]
    dots = [(80.0 + k * across, 70.0 + k * down) for k in range(3)]
    found = name_places(dots, ["kernel 3", "kernel 5", "kernel 7"])
    for one, other in itertools.combinations(found, 2):
        assert abs(one[0] - other[0]) >= 8 * CHARACTER or abs(one[1] - other[1]) >= HIGH
