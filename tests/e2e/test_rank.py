"""`edgeflownas rank` on a tiny run: the figures of `evaluate`, resumed to the bit, and refused in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Ended, Place, command, contents, table
from test_interruption import stop_at

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
    return place.trained("supernet")


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


def test_the_table(run: Path, ranked: tuple[Path, Ended]) -> None:
    out, ended = ranked
    rows = table(out / CSV)
    space = get_space("v1")
    archs = [space.parse(row["code"]) for row in rows]
    assert archs == sorted(archs) and len(archs) == 12
    assert [row["H2Out"] for row in rows] == [f"kernel {(3, 5, 7)[arch[8]]}" for arch in archs]
    names = list(rows[0])
    assert names[:7] == ["code", "rank", "epe", "epe_standard_error", "epe_median", "epe_p90", "samples"]
    assert names[7:] == [*(c.name for c in space.choices), "parameters", "macs", "int8_weight_kib", "sram_kib"]
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
    assert rank(run, tmp_path / "out", "--checkpoint", "step-00000004-before-evaluation").code == 64
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
