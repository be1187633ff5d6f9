"""What fits a chip: every returned figure is Vela's, and what is better and left out does not fit."""

from pathlib import Path

import numpy as np
import pytest

from edgeflownas.hardware import vela_table
from edgeflownas.hardware.costs import space_costs
from edgeflownas.hardware.targets import Target, get_target
from edgeflownas.hardware.vela_table import Vela
from edgeflownas.models.graph import subnet_graph
from edgeflownas.report.console import Console
from edgeflownas.search import fitting
from edgeflownas.search.fitting import Budget, Subnets, fit, sizes_of
from edgeflownas.space import get_space

V1 = get_space("v1")
CODES = ("000000000", "000021222", "021100101", "111111111", "222222222")
SIZES = [(32, 48), (48, 64), (64, 96)]


def quiet(label, total):
    return Console().task(label, total)


@pytest.fixture(scope="module")
def vela():
    return Vela(get_target("grove-vision-ai-v2"), processes=1)


def subnets(scores=None):
    archs = [V1.parse(code) for code in CODES]
    return Subnets(V1, 8, archs, (32, 48), np.array(scores) if scores else None, Path("measured") if scores else None)


def real(vela, code, size, outputs):
    return vela.figures([subnet_graph(V1, 8, code, size, outputs)])[0]


def test_the_best_that_is_fast_enough(vela):
    """The limit lies between two subnets; the scores put the slow ones first."""
    times = {code: real(vela, code, (32, 48), "flow").milliseconds for code in CODES}
    slow, fast = sorted(times.values())[-2:-4:-1]
    budget = Budget(1000.0, (slow + fast) / 2)
    found = fit(subnets([5, 4, 3, 2, 1]), budget, SIZES[:1], ["flow"], vela, 5, quiet)
    (row,) = found["fits"]
    assert row["milliseconds"] == times[row["code"].replace(",", "")] and row["mode"] == "performance"
    assert row["code"].replace(",", "") == [code for code in CODES if times[code] <= fast][-1]
    assert row["fit_by_table"] == 3 and found["too_slow"] == 2 and found["failed"] == []


def test_memory_decides_how_vela_is_asked(vela):
    plain, small = real(vela, CODES[0], (64, 96), "flow"), Vela(vela.target, "size")
    least = real(small, CODES[0], (64, 96), "flow").sram_kib
    roomy = int(plain.sram_kib) - 20
    found = fit(subnets(), Budget(roomy), SIZES[2:], ["flow"], vela, 5, quiet)
    (row,) = found["fits"]
    limited = Vela(vela.target, arena_kib=roomy)
    assert row["mode"] == f"performance, arena {roomy} KiB"
    assert row["sram_kib"] == real(limited, row["code"], (64, 96), "flow").sram_kib <= roomy < plain.sram_kib
    nothing = fit(subnets(), Budget(least - 1), SIZES[2:], ["flow"], vela, 5, quiet)
    (failed,) = nothing["failed"]
    assert nothing["fits"] == [] and failed["limit"] == "sram_kib" and failed["by"] == "vela"
    assert failed["needs"] == least and failed["mode"] == "size"


def test_a_better_subnet_is_asked_for_the_ways_that_are_left(vela, monkeypatch):
    """The fastest fits in mode performance; the best needs a little more SRAM, which a limit spares."""
    monkeypatch.setattr(fitting, "UNBOUNDED", 2.0)  # at width 8 the count of the SRAM is far too high
    fastest, best = (real(vela, code, (64, 96), "flow").sram_kib for code in (CODES[0], CODES[4]))
    assert fastest < 133 < best
    found = fit(subnets([5, 4, 3, 2, 1]), Budget(133.0), SIZES[2:], ["flow"], vela, 5, quiet)
    (row,) = found["fits"]
    assert row["code"].replace(",", "") == CODES[4] and row["sram_kib"] <= 133
    assert row["mode"] == "performance, arena 133 KiB"
    limited = real(Vela(vela.target, arena_kib=133), CODES[4], (64, 96), "flow")
    assert row["milliseconds"] == limited.milliseconds


def test_a_limit_of_flash_counts_weights_wherever_they_are(vela):
    other = Vela(Target("t", "ethos-u65-256", "Ethos_U65_High_End", "Dedicated_Sram"), processes=1)
    least = min(real(other, code, (32, 48), "flow").flash_kib for code in CODES)
    assert least > 100
    found = fit(subnets(), Budget(1000.0, flash_kib=least - 1), SIZES[:1], ["flow"], other, 5, quiet)
    assert found["fits"] == [] and found["failed"][0]["limit"] == "flash_kib"


def test_a_flash_that_is_guessed_too_high_is_tried(vela):
    """In proportion to the weights the best needs more than it does."""
    archs = [V1.parse(code) for code in CODES]
    flash = {code: real(vela, code, (32, 48), "flow").flash_kib for code in CODES}
    weights = dict(zip(CODES, space_costs(V1, 8, (32, 48), archs)["int8_weight_kib"], strict=True))
    guess = {code: weights[code] * flash[CODES[0]] / weights[CODES[0]] for code in CODES}
    best = max(CODES, key=lambda code: guess[code] / flash[code])
    limit = (guess[best] + flash[best]) / 2
    assert flash[best] < limit < guess[best] < 1.02 * limit
    scores = [1.0 if code == best else 2.0 for code in CODES]
    found = fit(subnets(scores), Budget(1000.0, flash_kib=limit), SIZES[:1], ["flow"], vela, 5, quiet)
    assert found["fits"][0]["code"].replace(",", "") == best


def test_every_row_is_within_the_budget_and_real(vela):
    budget = Budget(60.0, 3.0, 250.0)
    found = fit(subnets([1, 2, 3, 4, 5]), budget, SIZES, ["flow", "half", "quarter"], vela, 20, quiet)
    assert len(found["fits"]) + len(found["failed"]) == found["cases"] == 9 and found["fits"]
    for row in found["fits"]:
        assert row["sram_kib"] <= 60 and row["milliseconds"] <= 3 and row["flash_kib"] <= 250
    scores = [CODES.index(row["code"].replace(",", "")) for row in found["fits"]]
    assert scores == sorted(scores)
    for failed in found["failed"]:
        assert failed["needs"] > failed["allowed"]
    few = fit(subnets(), Budget(1000.0), SIZES, ["flow", "half"], vela, 2, quiet)
    assert few["further"] == 4 and [row["size"] for row in few["fits"]] == [[64, 96], [64, 96]]


def test_multiply_adds_at_full_rate_rule_out_without_vela(vela, monkeypatch):
    def refuse(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(vela_table, "compile_tflite", refuse)
    found = fit(subnets(), Budget(1000.0, 1e-3), SIZES, ["flow"], vela, 2, quiet)
    assert [row["by"] for row in found["failed"]] == ["multiply-adds at full rate"] * 3


def test_sizes_keep_the_sides_until_the_images_fill_the_memory():
    found = sizes_of((180, 240), 900.0)
    assert found[0] == (96, 128) and found[-1] == (336, 448)
    assert all(rows % 16 == columns % 16 == 0 and 6 * rows * columns <= 900 * 1024 for rows, columns in found)
