"""The document of a choice, from rankings with planted effects, and the recipe of its shortlist."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from numeric import FLOAT32
from rankings import COST, GAIN, factorial_codes, made_ranking

from edgeflownas.config import Config
from edgeflownas.config.load import dump_config, load_config
from edgeflownas.errors import ConfigError, DataError, UserError
from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.search.choose import Question, choose, shortlist_recipe, summary
from edgeflownas.search.front import fill
from edgeflownas.search.ranking import Ranking
from edgeflownas.space import get_space

BLOCKS = [choice.name for choice in get_space("v1").choices]
SMALL = factorial_codes((0, 4, 5, 7))  # 81 subnets


@pytest.fixture(scope="module")
def small() -> Ranking:
    return made_ranking(SMALL)


def without(ranking: Ranking, **columns: np.ndarray) -> Ranking:
    return dataclasses.replace(ranking, columns=ranking.columns | columns)


def brute(ranking: Ranking, names: tuple[str, ...], rows: list[int]) -> set[int]:
    values = np.stack([ranking.columns[name].astype(float) for name in names], axis=1)
    return {a for a in rows if not any((values[b] <= values[a]).all() and (values[b] < values[a]).any() for b in rows)}


@pytest.mark.parametrize("names", [("epe", "macs"), ("epe", "macs", "sram_kib"), ("macs", "epe"), ("epe",)])
def test_front_is_that_of_the_feasible_rows(small: Ranking, names: tuple[str, ...]) -> None:
    document = choose(small, Question(names, where="sram_kib<800"))
    rows = [row for row in range(81) if small.columns["sram_kib"][row] < 800]
    assert set(document["front"]) == brute(small, names, rows) and set(document["shown"]) <= set(document["front"])
    assert document["counts"] == {"table": 81, "allowed": len(rows), "feasible": len(rows)}
    assert not set(document["ties"]) & set(document["front"]) and set(document["ties"]) <= set(rows)
    json.dumps(summary(document), allow_nan=False)


def test_maximising_is_minimising_the_negative(small: Ranking) -> None:
    turned = without(small, quality=-small.columns["epe"])
    one, other = choose(small, Question(("macs", "epe"))), choose(turned, Question(("macs",), ("quality",)))
    assert one["front"] == other["front"] and one["knee"] == other["knee"]
    assert one["hypervolume"]["value"] == pytest.approx(other["hypervolume"]["value"])
    assert other["hypervolume"]["reference"]["quality"] == -one["hypervolume"]["reference"]["epe"]
    assert [c["minimise"] for c in other["columns"] if c["name"] == "quality"] == [False]


def test_a_subnet_without_a_figure_is_on_no_front(small: Ranking) -> None:
    epe = small.columns["epe"].copy()
    best = int(epe.argmin())
    epe[[best, 0]] = np.nan, np.inf
    document = choose(without(small, epe=epe), Question())
    assert not {best, 0} & {*document["front"], *document["ties"]} and document["counts"]["feasible"] == 79
    assert document["marginals"] is None and "2 of the 81 subnets" in document["marginals_missing"]
    assert document["values"]["epe"][0] is None


def test_paired_noise_where_samples_are_kept_else_unpaired(small: Ranking) -> None:
    paired, unpaired = choose(small, Question()), choose(made_ranking(SMALL, keep=False), Question())
    assert (paired["confidence"]["noisy"], unpaired["confidence"]["noisy"]) == ({"epe": "paired"}, {"epe": "unpaired"})
    assert paired["confidence"]["like_best"] < unpaired["confidence"]["like_best"] == 81
    assert len(paired["ties"]) < len(unpaired["ties"]) and len(paired["sure"]) > len(unpaired["sure"])
    noise = pool_noise(small.sample_epe, small.valid_pixels)
    best, epe = paired["confidence"]["best"], small.columns["epe"]
    assert paired["confidence"]["like_best"] == (epe - epe[best] <= noise.bounds[best]).sum()


def test_figures_of_unknown_noise_are_named() -> None:
    found = choose(made_ranking(SMALL), Question(("epe_median", "macs")))
    assert found["confidence"] == {"noisy": {}, "taken_as_exact": ["epe_median"], "objective": None}
    assert found["ties"] == [] and found["sure"] is None
    assert {row["sure"] for row in summary(found)["front"]} == {None}


def test_hypervolume_of_a_given_reference(small: Ranking) -> None:
    question = Question(reference=(8.0, 3e9))
    found = choose(small, question)["hypervolume"]
    rows = sorted((macs, epe) for epe, macs in zip(small.columns["epe"], small.columns["macs"], strict=True))
    area, lowest = 0.0, 8.0
    for macs, epe in rows:  # a staircase from the cheapest on
        if macs < 3e9 and epe < lowest:
            area, lowest = area + (lowest - epe) * (3e9 - macs), epe
    assert found["value"] == pytest.approx(area) and found["reference_is"] == "given"
    assert choose(small, Question(reference=(9.0, 9e9)))["hypervolume"]["outside"] == 0
    none = choose(small, Question(reference=(1.0, 1.0)))
    assert none["hypervolume"]["outside"] == len(none["front"])
    four = choose(small, Question(("epe", "macs", "sram_kib", "parameters")))["hypervolume"]
    assert four["value"] is None and "3 objectives" in four["why"]


@pytest.mark.parametrize("top", [1, 4, 15, 40])
def test_shortlist_covers_the_front(small: Ranking, top: int) -> None:
    baseline = (0, 0, 0, 0, 2, 1, 2, 2, 2)
    ranking = made_ranking([*SMALL, baseline])
    document = choose(ranking, Question(top=top))
    names = dict(zip(document["shortlist_names"], document["shortlist"], strict=True))
    pool = {*document["front"], *document["ties"], 81}
    assert len(names) == len(set(names.values())) == min(top, len(pool)) and set(names.values()) <= pool
    assert names["best"] == int(ranking.columns["epe"].argmin())
    if top > 3:
        assert names["baseline"] == document["baseline"] == 81
        assert names.get("knee", document["knee"]) == document["knee"] and names["least_macs"] == 0
    assert document["shortlist"] == sorted(names.values(), key=lambda row: ranking.columns["macs"][row])
    part = choose(ranking, Question(where="macs<2e9", top=5))  # the baseline is outside: kept for comparison
    assert part["shortlist"][-1] == 81 and part["shortlist_names"][-1] == "baseline" and 81 not in part["front"]
    if top == 15:  # no part of the front is left out: the gap along the cost is never more than twice the fair one
        costs = ranking.columns["macs"][document["shortlist"]] / 1e9
        front = ranking.columns["macs"][document["front"]] / 1e9
        assert np.diff(costs).max() <= max(2 * np.ptp(front) / 14, np.diff(np.sort(front)).max())


def test_ties_on_the_shortlist_lie_near_the_front(small: Ranking) -> None:
    """A few subnets far above the front are tied only because they are very noisy: they come last."""
    rng, columns = np.random.default_rng(0), made_ranking(SMALL, keep=False).columns
    epe, errors = columns["epe"].copy(), np.full(81, 0.05)
    bad = rng.choice(np.arange(1, 80), 12, replace=False)
    epe[bad] += 30.0
    errors[bad] = 20.0
    noisy = dataclasses.replace(small, columns=columns | {"epe": epe, "epe_standard_error": errors}, sample_epe=None)
    document = choose(dataclasses.replace(noisy, valid_pixels=None), Question(top=35))
    assert set(bad.tolist()) <= set(document["ties"]) and len(document["front"]) < 30
    assert not set(bad.tolist()) & set(document["shortlist"])


def test_ties_fill_the_widest_gap_of_the_front_first() -> None:
    values = np.array(
        [[9.0, 0.0], [8.0, 1.0], [3.0, 10.0], [9.5, 0.1], [8.1, 5.0], [8.6, 5.1], [40.0, 6.0], [3.1, 30.0]]
    )
    assert fill(values, [0, 1, 2], [3, 4, 5, 6, 7], [True, False], 9) == [4, 7, 3, 5, 6]
    assert fill(values, [0, 1, 2], [3, 4], [True, False], 1) == [4]


def test_an_objective_that_never_varies_is_left_out_or_refused(small: Ranking) -> None:
    flat = without(small, sram_kib=np.full(81, 108.0))
    found = choose(flat, Question(("epe", "macs", "sram_kib"), reference=(9.0, 9e9, 200.0)))
    two = choose(flat, Question(reference=(9.0, 9e9)))
    assert found == two | {"constant": {"sram_kib": 108.0}} and two["constant"] == {}
    with pytest.raises(ConfigError, match="sram_kib is 108 in all 81 subnets"):
        choose(flat, Question(("epe", "sram_kib")))


def test_what_is_too_little_to_compare(small: Ranking) -> None:
    found = choose(small, Question(where="EB0=depth2,H0Out=k5,H1=k5,H2=k5", top=1))
    assert found["hypervolume"]["value"] is None and "one subnet" in found["hypervolume"]["why"]
    assert found["marginals"] is None and "nothing to compare" in found["marginals_missing"]
    partial = choose(made_ranking(SMALL[:-1]), Question())
    assert partial["marginals"] is None and "every combination" in partial["marginals_missing"]
    full = choose(small, Question(where="EB0=depth2"))["marginals"]
    assert full["subnets"] == 27 and [block["name"] for block in full["blocks"]] == ["H0Out", "H1", "H2"]
    whole = choose(small, Question(where="macs<2e9"))["marginals"]
    assert whole["over"] == "the whole table" and whole["subnets"] == 81


def test_marginals_recover_planted_effects() -> None:
    ranking = made_ranking(SMALL, own=0.0)
    found = choose(ranking, Question())["marginals"]
    rounding = float(np.finfo(np.float16).eps) / 4 * ranking.columns["epe"].max()  # errors are kept in float16
    assert [block["name"] for block in found["blocks"]] == ["EB0", "H0Out", "H1", "H2"]
    for block in found["blocks"]:
        place = BLOCKS.index(block["name"])
        for step in block["steps"]:
            assert step["gain"] == pytest.approx(GAIN[place], abs=rounding)
            assert step["costs"]["macs"] == pytest.approx(COST[place])
            assert step["gain_per_cost"]["macs"] == pytest.approx(step["gain"] / COST[place])
            assert step["costs"]["sram_kib"] or step["gain_per_cost"]["sram_kib"] is None
        assert [option["count"] for option in block["options"]] == [27] * 3
    assert sum(found["shares"].values()) == pytest.approx(1.0, abs=0.01)
    assert len(found["interactions"]) == 6 and found["rest_share"] < 0.01


def test_margins_of_a_step_are_those_of_its_mean_sample_errors(small: Ranking) -> None:
    step = choose(small, Question())["marginals"]["blocks"][0]["steps"][0]
    digits = small.digits[:, 0]
    means = [small.sample_epe[digits == digit].astype(np.float64).mean(axis=0) for digit in (0, 1)]
    noise = pool_noise(np.stack(means), small.valid_pixels)
    assert step["margin"] == pytest.approx(noise.bounds[0, 1], rel=1e-4)
    assert step["gain"] == pytest.approx(noise.epes[0] - noise.epes[1], abs=FLOAT32 * noise.epes.max())
    assert choose(made_ranking(SMALL, keep=False), Question())["marginals"]["blocks"][0]["steps"][0]["margin"] is None


REFUSED = [
    (Question(("epe", "mac")), "no column 'mac'; did you mean 'macs'"),
    (Question(("epe", "epe")), "each once"),
    (Question((), ()), "need columns"),
    (Question(reference=(1.0,)), "give one for each of epe, macs"),
    (Question(top=82), "the ranking holds 81 subnets"),
    (Question(top=0), "give 1 to 81"),
    (Question(where="sram_kib<100"), "sram_kib<100: no subnet fulfils it (sram_kib is 600 to 802)"),
    (
        Question(where="EB0=depth2,sram_kib<602"),
        "no subnet fulfils all of it (18 without EB0=depth2, 27 without sram_kib<602)",
    ),
    (Question(where="smar_kib<900"), "did you mean 'sram_kib'"),
]


@pytest.mark.parametrize(("question", "message"), REFUSED)
def test_what_cannot_be_answered_is_refused(small: Ranking, question: Question, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        choose(small, question)


def test_columns_without_figures_are_refused(small: Ranking) -> None:
    empty = without(small, cpu_ms=np.full(81, np.nan))
    with pytest.raises(DataError, match="column cpu_ms of the ranking holds no figure"):
        choose(empty, Question(("epe", "cpu_ms")))
    halves = without(
        small, cpu_ms=np.where(np.arange(81) == 3, 1.0, np.nan), epe=np.where(np.arange(81) == 3, np.nan, 1)
    )
    with pytest.raises(UserError, match="none of the 81 subnets has a figure for all of epe, cpu_ms"):
        choose(halves, Question(("epe", "cpu_ms")))


CODES = [*factorial_codes((0, 5)), (0, 0, 0, 0, 2, 1, 2, 2, 2)]


def recipe(tmp_path: Path, top: int, facts: dict[str, str] | None = None, run: Path | None = None) -> Config:
    document = choose(made_ranking(CODES, facts=facts), Question(top=top))
    text, _ = shortlist_recipe(document, run)
    (tmp_path / "shortlist.yaml").write_text(text)
    config = load_config(tmp_path / "shortlist.yaml")
    assert [code.replace(",", "") for code in config.train.arch] == [
        document["codes"][p] for p in document["shortlist"]
    ]
    assert config.train.arch_name == tuple(document["shortlist_names"]) and config.train.task == "standalone"
    return config


@pytest.mark.parametrize("top", [1, 2, 6])
def test_it_loads_with_width_and_size_of_the_ranking(tmp_path: Path, top: int) -> None:
    config = recipe(tmp_path, top)
    assert (config.train.width, config.data.crop_size) == (8, (96, 128))
    plan = load_config("retrain_fc2_180x240").train
    assert (config.train.num_epochs, config.train.lr) == (plan.num_epochs, plan.lr)


def test_keys_of_a_run_that_is_there(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    keys = ["--train.width=4", "--train.batch_size=6", "--data.train_dir=here/train", "--data.crop_size=[64, 96]"]
    found = load_config("smoke", [*keys, "--eval.bn_recal_batches=3"])
    (run / "config.yaml").write_text(dump_config(found))
    config = recipe(tmp_path, 3, {"run": "my run", "width": "32", "size": "1x1"}, run)
    assert config.data == found.data and (config.train.width, config.train.batch_size) == (4, 6)
    assert config.eval.bn_recal_batches == 3 and config.eval.eval_pool_size == 1
    assert config.runtime.experiment_name == "shortlist_my_run"


@pytest.mark.parametrize("facts", [{}, {"width": "8"}, {"size": "96x128"}])
def test_a_table_that_does_not_say_width_and_size_gives_no_recipe(tmp_path: Path, facts: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"of which width and image size.*--run"):
        recipe(tmp_path, 2, facts)
    with pytest.raises(ConfigError, match=r"config\.yaml not found"):
        recipe(tmp_path, 2, run=tmp_path)
