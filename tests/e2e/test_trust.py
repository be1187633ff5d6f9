"""`edgeflownas trust` on tiny runs: the truth is measured where the ranking is, and bad input is named."""

import json
import shutil

import numpy as np
import pytest
from runs import ONE_STEP, Ended, command, contents, newest, told
from tiny import make_tiny

from edgeflownas.evaluate.noise import kendall_tau_b
from edgeflownas.search.ranking import Ranking, block_words, write_ranking
from edgeflownas.space import get_space

pytestmark = pytest.mark.e2e
CODES = ("0,0,0,0,0,0,0,0,0", "0,1,2,0,1,2,0,1,2", "2,2,2,2,2,2,2,2,2", "0,0,0,0,2,1,2,2,2")
ALONE = ("--train.task=standalone", "--eval.eval_pool_size=1", *ONE_STEP)


def archs(*codes):
    return [f"--train.arch={code}" for code in codes]


@pytest.fixture(scope="module")
def supernet(place):
    return place.trained("supernet", *ONE_STEP, "--runtime.seed=9")


@pytest.fixture(scope="module")
def truth(place):
    """A folder of four subnets, and three of them again with another seed (one of these by itself)."""
    four = place.trained("four", *ALONE, *archs(*CODES), "--train.arch_name=a,b,c,d", "--runtime.seed=1")
    two = place.trained("two", *ALONE, *archs(*CODES[:2]), "--train.arch_name=a,b", "--runtime.seed=2")
    return [four, two, place.trained("one", *ALONE, *archs(CODES[2]), "--runtime.seed=2")]


def test_errors_are_those_of_evaluate_and_nothing_is_written(place, supernet, truth):
    before = [contents(path) for path in (supernet, *truth)]
    document = told("trust", supernet, "--truth", *truth)
    assert [contents(path) for path in (supernet, *truth)] == before
    wanted = [token for code in CODES for token in ("--arch", code)]
    inherited = told("evaluate", supernet, *wanted)
    rows = document["subnets"]
    assert [row["code"] for row in rows] == list(CODES)
    assert [row["epe"]["supernet"] for row in rows] == [row["epe"] for row in inherited["results"]]
    # The subnets' own sets hold the same samples (equal keys and data), so their own evaluation says the same.
    alone = [told("evaluate", truth[0] / name)["results"][0]["epe"] for name in "abcd"]
    assert [row["by_seed"]["1"] for row in rows] == alone == [row["truth"] for row in rows]
    assert [row["by_seed"]["2"] is None for row in rows] == [False, False, False, True]
    first, *sizes = document["rankings"]
    assert first["tau"]["value"] == kendall_tau_b(alone, [row["epe"] for row in inherited["results"]])
    assert [row["name"] for row in sizes] == ["multiply-adds", "parameters"] and first["change"] is None
    assert sizes[1]["tau"]["value"] == pytest.approx(kendall_tau_b(alone, [-row["parameters"] for row in rows]))
    assert document["seeds"]["in_truth"] == [1] and document["seeds"]["compared"]["subnets"] == 3
    assert document["pairs"]["all"] == 6 and document["truth_steps"] == 2
    assert told("trust", supernet, "--truth", *truth) == document


def test_a_supernet_of_its_own_and_other_readings_are_compared(supernet, truth, place):
    again = place.copy("supernet", "again")
    document = told("trust", supernet, "--truth", truth[0], "--against", again, "--calibrations", 1, 2)
    rows = {row["name"]: row for row in document["rankings"]}
    names = ["supernet", "again", "supernet, calibration 1", "supernet, calibration 2"]
    assert list(rows)[:4] == names
    assert rows["again"]["change"] == {"value": 0.0, "low": 0.0, "high": 0.0, "smallest_visible": 0.0}
    epes = [row["epe"] for row in document["subnets"]]
    assert any(row[names[2]] != row[names[3]] for row in epes)
    assert document["seeds"]["compared"] is None
    text = command("trust", supernet, "--truth", truth[0], "--against", again).err
    assert "regret" in text and "noise ceiling" in text and "again" in text and "smallest change of tau" in text


def ranking(folder, facts, epes):
    space = get_space("v1")
    words = block_words(space, [space.parse(code) for code in CODES[: len(epes)]])
    folder.mkdir()
    write_ranking(folder, Ranking("v1", CODES[: len(epes)], {"epe": np.array(epes)}, words, facts))
    return folder


def test_a_table_stands_for_the_evaluation(supernet, truth, tmp_path):
    own = told("evaluate", supernet)
    manifest = json.loads((newest(supernet) / "manifest.json").read_text())
    facts = {"checkpoint_hash": manifest["hash"], "eval_set": own["eval_set"]}
    table = ranking(tmp_path / "table", facts, [4.0, 3.0, 2.0, 1.0])
    document = told("trust", supernet, "--truth", truth[0], "--ranking", table)
    assert [row["epe"]["supernet"] for row in document["subnets"]] == [4.0, 3.0, 2.0, 1.0]
    assert document["pairs"]["both_apart"] is None
    stale = ranking(tmp_path / "stale", {**facts, "checkpoint_hash": "0"}, [4.0, 3.0, 2.0, 1.0])
    ended = command("trust", supernet, "--truth", truth[0], "--ranking", stale)
    assert ended.code == 65 and "checkpoint_hash" in ended.err
    short = ranking(tmp_path / "short", facts, [4.0, 3.0, 2.0])
    ended = command("trust", supernet, "--truth", truth[0], "--ranking", short)
    assert ended.code == 65 and CODES[3] in ended.err


def refused(*tokens, code=64):
    ended: Ended = command("trust", *tokens)
    assert ended.code == code and ended.err.startswith("error:"), ended
    return ended.err


def test_bad_input_is_named(place, supernet, truth, tmp_path):
    assert "--truth" in refused(supernet)
    assert "give the run directory" in refused("--truth", truth[0])
    assert "fewer than 3" in refused(supernet, "--truth", truth[1])
    assert "another seed" in refused(supernet, "--truth", truth[0], truth[0] / "a")
    assert "supernet" in refused(supernet, "--truth", supernet) and "only a supernet" in refused(
        truth[2], "--truth", truth[0]
    )
    assert "--calibrations 0" in refused(supernet, "--truth", truth[0], "--calibrations", 0)
    wide = place.trained("wide", *ALONE, *archs(CODES[0]), "--train.width=4")
    assert "train.width (4 and 2)" in refused(supernet, "--truth", truth[0], wide)
    longer = place.trained("longer", *ALONE, *archs(CODES[0]), "--train.num_epochs=3", "--runtime.seed=5")
    assert "train.num_epochs" in refused(supernet, "--truth", truth[0], longer)
    data = make_tiny(tmp_path / "other", seed=8)
    other = place.trained("other", *ALONE, *archs(CODES[0]), data=data)
    assert "data.train fingerprint" in refused(supernet, "--truth", truth[0], other)


def test_a_missing_or_an_older_checkpoint_is_named(place, supernet, truth):
    lost = place.copy("one", "lost")
    shutil.rmtree(lost / "checkpoints")
    assert "lost" in refused(supernet, "--truth", truth[0], lost, code=74)
    older = place.trained("older", *ALONE, *archs(CODES[2]), "--runtime.seed=2", "--checkpoint.keep=9")
    for path in older.glob("checkpoints/step-00000002*"):
        shutil.rmtree(path)
    assert "stands at step 1" in refused(supernet, "--truth", truth[0], older)
