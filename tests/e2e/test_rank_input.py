"""What `edgeflownas rank` is given: codes, conditions, data sets, and everything that is refused."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import Place, command, contents, table
from test_rank import SAMPLE, evaluated, rank
from tiny import make_tiny

from edgeflownas.data.formats import write_flo
from edgeflownas.data.sets import open_dataset
from edgeflownas.search.ranking import CSV, read_ranking

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("no_trial")]


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("supernet")


def test_codes_of_a_file_and_conditions(run: Path, tmp_path: Path) -> None:
    """Any choice of codes gives the rows of any other, and the CSV of a ranking is a list of codes."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert rank(run, first).code == 0
    ended = command("rank", run, "--archs", first / CSV, "--where", "EB0>=1", "--exact", "--out", second)
    assert ended.code == 0, ended.err
    whole = {row["code"]: row for row in table(first / CSV)}
    rows = table(second / CSV)
    assert {row["code"] for row in rows} == {code for code, row in whole.items() if row["EB0"] != "depth 1"}
    for row in rows:
        assert {**row, "rank": ""} == {**whole[row["code"]], "rank": ""}
    assert read_ranking(second).sample_epe is None


def test_several_sets(place: Place, run: Path, tmp_path: Path) -> None:
    """Frames of two sizes in one set: the figures of `evaluate --data`."""
    mixed = make_tiny(tmp_path / "mixed")
    large = make_tiny(tmp_path / "large", height=48, width=72, seed=1)
    for path in sorted((large / "val").iterdir()):
        shutil.copy(path, mixed / "val" / f"1{path.name[1:]}")
    sets = ("--data", place.data / "val", "--data", mixed / "val")
    # the folders have the same name: as columns they must differ
    again = ("--data", mixed / "val")
    twice = command("rank", run, "--sample", "3", *sets, *again, "--out", tmp_path / "out")
    assert twice.code == 64 and "would share the column epe_val" in twice.err
    ended = command("rank", run, "--sample", "3", *sets, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    ranking = read_ranking(tmp_path / "out")
    assert "samples of 40x56 48x72" in ranking.facts["epe_val"] and "standard on" in ranking.facts["epe"]
    for name, folder in (("epe", place.data / "val"), ("epe_val", mixed / "val")):
        rows = evaluated(run, ranking.codes, "--data", folder, "--references", "none")
        assert ranking.columns[name] == pytest.approx([row["epe"] for row in rows], rel=1e-5)
        assert (ranking.columns[f"{name}_standard_error"] > 0).all()
    assert ranking.facts["batch_size"].isdecimal() and "threads" not in ranking.facts
    deploy = command("rank", run, *sets, "--protocol", "deploy", "--out", tmp_path / "deploy")
    assert deploy.code == 64 and "deploy" in deploy.err and not (tmp_path / "deploy").exists()


def test_facts_follow_the_options(place: Place, run: Path, tmp_path: Path) -> None:
    """What decides the bits beside the run: with other ones an interrupted ranking is not gone on with."""
    words = ("--sample", "1", "--exact", "--data", place.data / "val", "--out", tmp_path / "out")
    options = ("--train.channels_last=false", "--eval.batch_size=3")
    ended = command("rank", run, *words, *options)
    assert ended.code == 0, ended.err
    facts = read_ranking(tmp_path / "out").facts
    assert (facts["channels_last"], facts["batch_size"]) == ("false", "3") and facts["threads"].isdecimal()
    refused = command("rank", run, *words, options[1])
    assert refused.code == 64 and "channels_last is 'false' there, 'true' here" in refused.err


def test_samples_in_the_order_of_their_set(run: Path, tmp_path: Path) -> None:
    """Frames of two sizes, small, large and small again, which are evaluated size by size."""
    mixed = make_tiny(tmp_path / "mixed") / "val"
    large = make_tiny(tmp_path / "large", height=48, width=72, seed=1) / "val"
    for path in sorted(mixed.iterdir()):
        shutil.copy(path, mixed / f"2{path.name[1:]}")
        shutil.copy(large / path.name, mixed / f"1{path.name[1:]}")
    ended = command("rank", run, "--sample", "2", "--data", mixed, "--keep-sample-errors", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    dataset = open_dataset(str(mixed), "val", "--data", {})
    ranking = read_ranking(tmp_path / "out")
    assert ranking.valid_pixels is not None and ranking.sample_epe is not None
    assert ranking.valid_pixels.tolist() == [int(dataset.read(index).valid.sum()) for index in range(len(dataset))]
    third = len(dataset) // 3
    assert (ranking.sample_epe[:, :third] == ranking.sample_epe[:, -third:]).all()


@pytest.mark.parametrize("arithmetic", [(), ("--exact",)])
def test_a_sample_without_a_valid_pixel(run: Path, tmp_path: Path, arithmetic: tuple[str, ...]) -> None:
    """It counts nowhere: the pooled figures are those of the other samples."""
    folder = make_tiny(tmp_path / "data", train=0) / "val"
    write_flo(folder / "0000001-flow_01.flo", np.zeros((40, 56, 2), np.float32), np.zeros((40, 56), np.bool_))
    ended = command("rank", run, "--sample", "3", "--data", folder, *arithmetic, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    for path in folder.glob("0000001-*"):
        path.unlink()
    without = command("rank", run, "--sample", "3", "--data", folder, *arithmetic, "--out", tmp_path / "without")
    assert without.code == 0, without.err
    found, expected = (read_ranking(tmp_path / name).columns["epe"] for name in ("out", "without"))
    assert np.isfinite(found).all() and found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 64, "give the run directory: edgeflownas rank RUN"),
        (("RUN", "--where", "EB11=1"), 64, "there is no 'EB11'; did you mean 'EB1'?"),
        (("RUN", "--where", "EB0"), 64, "is no condition"),
        (("RUN", "--sample", "0"), 64, "--sample 0 must be a whole number from 1"),
        (("RUN", "--sample", "19684"), 64, "--sample 19684 must be 1 to 19683"),
        (("RUN", "--archs", "missing.txt"), 65, "--archs missing.txt: cannot be read"),
        (("RUN", "--memory", "many"), 64, "--memory 'many' must be a size such as 8GB"),
        (("RUN", "--data", "sintel:claen"), 64, "did you mean sintel:clean?"),
        (("RUN", "--checkpoint", "step-7"), 74, "step-7"),
        (("RUN", "--measure-cpu"), 64, "19,683 are too many (limit 500)"),
        (("RUN", "--sampel", "3"), 64, "did you mean --sample?"),
        (("RUN", "--train.width=4"), 64, "its weights do not fit"),
        (("gone",), 74, "gone"),
    ],
)
def test_mistakes(run: Path, words: tuple[str, ...], code: int, said: str) -> None:
    before = contents(run)
    ended = command("rank", *(run if word == "RUN" else word for word in words))
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert contents(run) == before


def test_other_data_are_refused(place: Place, run: Path, tmp_path: Path) -> None:
    other = make_tiny(tmp_path / "other", seed=5)
    ended = command("rank", run, *SAMPLE, "--data.train_dir", other / "train", "--out", tmp_path / "out")
    assert ended.code == 65 and "the data differ from those of the run" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_single_model_has_no_ranking(place: Place) -> None:
    alone = place.trained("alone", "--train.task=standalone", "--train.arch=000021222", "--eval.eval_pool_size=1")
    ended = command("rank", alone)
    assert ended.code == 64 and "nothing to rank" in ended.err and "edgeflownas evaluate" in ended.err


def test_a_long_ranking_is_not_begun_unasked(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeflownas.commands._shared.ASK_SECONDS", -1)
    monkeypatch.setattr("edgeflownas.commands._shared.REFUSE_SECONDS", -1)
    refused = rank(run, tmp_path / "out")
    assert refused.code == 64 and "nobody is there to ask: add --yes" in refused.err
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    monkeypatch.setattr("edgeflownas.commands._shared._is_asked", lambda processes: True)
    declined = rank(run, tmp_path / "out")
    assert declined.code == 0 and "go on? [y/N]" in declined.err and "nothing was computed" in declined.err
    assert not (tmp_path / "out" / "parts").exists()  # the folder is free for any other ranking
    assert rank(run, tmp_path / "out", "--yes").code == 0


def test_too_little_memory(run: Path, tmp_path: Path) -> None:
    ended = command("rank", run, "--sample", "2", "--memory", "1", "--out", tmp_path / "out")
    assert ended.code == 64 and "memory of 1 bytes is less than the " in ended.err
    assert not (tmp_path / "out" / "parts").exists()


def test_the_time_on_this_cpu(run: Path, tmp_path: Path) -> None:
    ended = command("rank", run, "--sample", "2", "--measure-cpu", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert (read_ranking(tmp_path / "out").columns["cpu_ms"] > 0).all()
