"""`edgeflownas rank` on a tiny run: the figures of `evaluate`, resumed to the bit, and refused in words."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import BRIEF, Ended, Place, command, contents, table
from test_interruption import stop_at
from tiny import make_tiny

from edgeflownas.data.formats import write_flo
from edgeflownas.data.sets import open_dataset
from edgeflownas.errors import StorageError
from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.run.directory import RunLock
from edgeflownas.search.ranking import CSV, TENSORS, read_ranking
from edgeflownas.space import get_space

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("no_trial")]
SAMPLE = ("--sample", "12", "--seed", "1")
WRITTEN = {CSV, TENSORS, "LOCK"}


@pytest.fixture(scope="module")
def run(place: Place) -> Path:
    return place.trained("supernet", *BRIEF)


@pytest.fixture(scope="module")
def ranked(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The uninterrupted ranking."""
    out = tmp_path_factory.mktemp("ranked") / "out"
    ended = rank(run, out)
    assert ended.code == 0, ended.err
    return out, ended


def rank(run: Path, out: Path, *words: object) -> Ended:
    return command("rank", run, "--out", out, *SAMPLE, "--exact", "--keep-sample-errors", *words)


def tables(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in (CSV, TENSORS)]


def evaluated(run: Path, codes: tuple[str, ...], *words: object) -> list[dict[str, Any]]:
    ended = command("evaluate", run, *(word for code in codes for word in ("--arch", code)), "--json", *words)
    assert ended.code == 0, ended.err
    found: list[dict[str, Any]] = json.loads(ended.out)["results"]
    return found


def test_the_figures_of_evaluate_and_noise(run: Path, ranked: tuple[Path, Ended]) -> None:
    ranking = read_ranking(ranked[0])
    rows = evaluated(run, ranking.codes)
    assert ranking.columns["epe"].tolist() == [row["epe"] for row in rows]
    errors, pixels = np.array([row["sample_epe"] for row in rows]), ranking.valid_pixels
    assert pixels is not None and ranking.sample_epe is not None
    np.testing.assert_array_equal(ranking.sample_epe, errors.astype(np.float16))
    noise = pool_noise(errors, pixels)
    np.testing.assert_allclose(ranking.columns["epe_standard_error"], noise.standard_errors, rtol=1e-6)
    np.testing.assert_allclose(ranking.columns["epe_median"], np.median(errors, axis=1))
    np.testing.assert_allclose(ranking.columns["epe_p90"], np.percentile(errors, 90, axis=1))
    best = int(np.argmin(noise.epes))
    tied = noise.epes - noise.epes[best] <= noise.bounds[:, best]
    assert ranking.facts["within_noise_of_best"] == str(tied.sum())
    assert list(ranking.columns["samples"]) == [noise.samples] * len(ranking)
    zero = table(run / "eval_history.csv")[-1]["zero_flow_epe"]  # of the same pixels
    assert {f"{value:.4f}" for value in ranking.columns["zero_flow_epe"]} == {zero}


def test_the_table(run: Path, ranked: tuple[Path, Ended]) -> None:
    out, ended = ranked
    rows = table(out / CSV)
    space = get_space("v1")
    archs = [space.parse(row["code"]) for row in rows]
    assert archs == sorted(archs) and len(archs) == 12
    assert [row["H2Out"] for row in rows] == [f"kernel {(3, 5, 7)[arch[8]]}" for arch in archs]
    names = list(rows[0])
    assert names[:6] == ["code", "rank", "epe", "epe_standard_error", "epe_median", "epe_p90"]
    assert names[6:8] == ["samples", "zero_flow_epe"]
    assert names[8:] == [*(c.name for c in space.choices), "parameters", "macs", "int8_weight_kib", "sram_kib"]
    by_rank = sorted(rows, key=lambda row: int(row["rank"]))
    assert [float(row["epe"]) for row in by_rank] == sorted(float(row["epe"]) for row in rows)
    assert by_rank[0]["code"] in ended.err and "within noise of the best" in ended.err
    assert "12 subnets in" in ended.err and "GMAC" in ended.err
    assert {path.name for path in out.iterdir()} == WRITTEN
    facts = read_ranking(out).facts
    assert (facts["run"], facts["size"], facts["width"], facts["space"]) == ("supernet", "32x48", "2", "v1")
    assert facts["eval_set"] == json.loads((run / "eval_set.json").read_text())["hash"]


def test_the_run_is_left_alone(place: Place, run: Path, ranked: tuple[Path, Ended]) -> None:
    before = contents(run)
    assert command("rank", run, "--sample", "1").code == 0
    fresh = {name: data for name, data in contents(run).items() if not name.startswith("ranking/")}
    assert fresh == before and (run / "ranking" / CSV).exists()
    shutil.rmtree(run / "ranking")


def test_a_finished_ranking_is_shown_again(run: Path, ranked: tuple[Path, Ended]) -> None:
    out, ended = ranked
    before = contents(out)
    again = rank(run, out, "--json")
    document = json.loads(again.out)
    assert again.code == 0 and contents(out) == before and "estimated" not in again.err
    assert f"{out}: finished before, nothing was computed" in again.err and "wrote" not in again.err
    assert [row["rank"] for row in document["top"]] == list(range(1, 11))
    assert document["top"][0]["options"]["EB0"].startswith("depth ")
    assert document["worst"]["rank"] == 12 and document["facts"]["run"] == "supernet"


@pytest.mark.parametrize(
    "count", [61, 83]
)  # of some 94 times: a trial, which every session repeats, asks 4 times, a unit 8
def test_interrupted_and_resumed(
    run: Path, ranked: tuple[Path, Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    stop_at(monkeypatch, count)
    first = rank(run, tmp_path / "out")
    assert first.code == 75 and "SIGTERM" in first.err and "same command again" in first.err
    for _ in range(40):
        if (ended := rank(run, tmp_path / "out")).code == 0:
            break
        assert ended.code == 75, ended.err
    assert ended.code == 0 and tables(tmp_path / "out") == tables(ranked[0])
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN


def test_interrupted_before_it_began(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 3)
    ended = rank(run, tmp_path / "out")
    assert ended.code == 75 and "SIGTERM: nothing was begun" in ended.err
    assert not (tmp_path / "out" / "parts").exists()


def interrupted(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Parts of a ranking that lacks its table: writing it failed, as on a full disk."""

    def full(directory: Path, ranking: object) -> None:
        raise StorageError(f"{directory / CSV}: cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edgeflownas.search.ranking.write_ranking", full)
        ended = rank(run, out)
    assert ended.code == 74 and "No space left" in ended.err
    return sorted((out / "parts").glob("unit-*"))


def test_a_damaged_part_is_computed_again(
    run: Path, ranked: tuple[Path, Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    parts = interrupted(run, out, monkeypatch)
    data = bytearray(parts[0].read_bytes())
    data[-3] ^= 1  # a figure
    parts[0].write_bytes(data)
    parts[1].write_bytes(parts[1].read_bytes()[:-5])
    parts[2].write_bytes(parts[3].read_bytes())  # sound, but of another unit
    (out / "parts" / ".tmp-unit-00001").write_text("left behind")
    times = {path: path.stat().st_mtime_ns for path in parts[3:]}
    monkeypatch.setattr("edgeflownas.search.rank.RankingFolder.clear", lambda self: None)
    ended = rank(run, out)
    assert ended.code == 0 and tables(out) == tables(ranked[0])
    for path in parts[:3]:
        assert f"{path}: damaged" in ended.err
    assert ended.err.count(": damaged (") == 3
    assert {path: path.stat().st_mtime_ns for path in parts[3:]} == times


def test_a_part_cannot_be_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        if "unit-" in path.name:
            raise StorageError(f"{path}: cannot write: No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("edgeflownas.search.rank.replace_file", full)
    ended = rank(run, tmp_path / "out")
    assert ended.code == 74 and "unit-00000" in ended.err and "No space left" in ended.err


def test_the_folder_of_another_ranking(
    run: Path, ranked: tuple[Path, Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(ranked[0])
    other = command("rank", run, "--out", ranked[0], "--sample", "12", "--exact", "--keep-sample-errors")
    assert other.code == 64 and "holds another ranking (12 subnets there, 12 (others) here)" in other.err
    assert "nothing was changed: give another folder with --out" in other.err
    fewer = command("rank", run, "--out", ranked[0], *SAMPLE, "--keep-sample-errors")
    assert fewer.code == 64 and "arithmetic is 'exact' there, 'fast' here" in fewer.err
    assert contents(ranked[0]) == before
    interrupted(run, tmp_path / "out", monkeypatch)
    before = contents(tmp_path / "out")
    assert rank(run, tmp_path / "out", "--checkpoint", "step-00000001-before-evaluation").code == 64
    assert contents(tmp_path / "out") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / CSV).write_text("mine")
    assert rank(run, tmp_path / "mine").code == 64 and (tmp_path / "mine" / CSV).read_text() == "mine"


def test_a_folder_in_use(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    lock = RunLock(tmp_path / "out")
    lock.acquire()
    ended = rank(run, tmp_path / "out")
    lock.release()
    assert ended.code == 74 and "in use by process" in ended.err
    (tmp_path / "file").write_text("")
    assert rank(run, tmp_path / "file").code == 74


# ---- what it is given: codes, conditions, data sets, and everything that is refused ----


def test_codes_of_a_file_and_conditions(run: Path, ranked: tuple[Path, Ended], tmp_path: Path) -> None:
    """Any choice of codes gives the rows of any other, and the CSV of a ranking is a list of codes."""
    first, second = ranked[0], tmp_path / "second"
    ended = command("rank", run, "--archs", first / CSV, "--where", "EB0>=depth2", "--exact", "--out", second)
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
    assert ranking.zero_flow("epe") != ranking.zero_flow("epe_val") is not None
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
        (("RUN", "--where", "EB0=1"), 64, "write EB0=depth1 or EB0#1 (the digit of depth2)"),
        (("RUN", "--where", "EB0=depth9", "--checkpoint=none"), 64, "EB0 has depth1, depth2, depth3"),
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
    alone = place.trained(
        "alone", *BRIEF, "--train.task=standalone", "--train.arch=000021222", "--eval.eval_pool_size=1"
    )
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
