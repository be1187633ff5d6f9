"""Columns of the sets of a ranking, figures of units, and the folder while it is made."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from edgeflownas.errors import ConfigError, DataError, StorageError
from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.models.flownet import FlowNet
from edgeflownas.run.directory import RunLock
from edgeflownas.search.rank import RankingFolder, RankingJob, column_names, part_of
from edgeflownas.search.ranking import CSV, TENSORS, TIED, Ranking, assemble, block_words, write_ranking
from edgeflownas.space import get_space

V1 = get_space("v1")
ARCHS = [V1.parse(code) for code in ("000000000", "000021222")]
FACTS = {"run": "a"}
PIXELS = torch.tensor([5, 0, 7, 9])
MEANS = torch.rand(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
SUMS = MEANS * PIXELS
NOISE = pool_noise((SUMS / PIXELS).numpy(), PIXELS.numpy())


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (["a", "b/median"], "would share the column epe_median;"),
        (["a", "b/p90"], "would share the column epe_p90;"),
        (["a", "b/standard_error"], "would share the column epe_standard_error;"),
        (["a", "b/x", "c/x_standard_error"], "would share the column epe_x_standard_error;"),
        (["a", "b/x", "c/X"], "would share the column epe_x;"),
        (["a", "b/\u5149\u6d41"], "no ASCII letter or digit"),
    ],
)
def test_columns_of_sets(specs, words):
    assert column_names(["a/x", "sintel:clean", "b/Val Set"]) == ["epe", "epe_sintel_clean", "epe_val_set"]
    with pytest.raises(ConfigError, match=words):
        column_names(specs)


def test_facts_of_the_arithmetic():
    run: Any = None
    fast, exact = (
        RankingJob(run, FlowNet(V1, 2), [], {}, {"device": "cpu"}, exact=exact).table_facts([])
        for exact in (False, True)
    )
    assert exact["threads"] == str(torch.get_num_threads()) and "threads" not in fast
    assert list(fast) == ["device", "arithmetic", "sample_errors", "cost_models"]


# ---- figures ----


def test_figures_of_a_unit():
    part = part_of(["epe", "epe_b"], [SUMS, SUMS[:, 2:]], [PIXELS, PIXELS[2:]])
    np.testing.assert_allclose(part["epe"], NOISE.epes, rtol=1e-6)
    np.testing.assert_array_equal(part["epe_standard_error"], NOISE.standard_errors)
    np.testing.assert_allclose(part["epe_median"], (SUMS / PIXELS)[:, [0, 2, 3]].median(1).values)
    assert part["samples"].tolist() == [3] * 6 and np.isnan(part["sample_epe"][:, 1]).all()
    np.testing.assert_allclose(part["epe_b"], SUMS[:, 2:].sum(1) / 16)
    assert list(part)[-2:] == ["epe_b", "epe_b_standard_error"] and "epe_b_median" not in part
    with pytest.raises(DataError, match="no valid pixel"):
        part_of(["epe"], [SUMS * 0], [PIXELS * 0])


def test_a_subnet_that_diverged_is_a_row():
    total = SUMS[:3].clone()
    total[1, 2], total[2, 3] = math.nan, math.inf
    part = part_of(["epe"], [total], [PIXELS])
    assert np.isnan(part["epe"][1]) and np.isinf(part["epe"][2]) and part["epe"][0] < 3
    assert np.isfinite(part["epe_standard_error"]).tolist() == [True, False, False]
    ranking = assemble(V1, list(V1)[:3], [[0, 1, 2]], lambda place: part, PIXELS.numpy(), {}, keep=True)
    assert ranking.columns["rank"].tolist() == [1, 3, 2] and ranking.facts[TIED] == "1"


@pytest.mark.parametrize("order", [[[0, 1, 2], [3, 4, 5]], [[5, 0], [3], [4, 2, 1]]])
def test_the_table_of_all_parts(order):
    parts = [part_of(["epe"], [SUMS[members]], [PIXELS]) for members in order]
    ranking = assemble(V1, list(V1)[:6], order, parts.__getitem__, PIXELS.numpy(), FACTS, keep=False)
    np.testing.assert_allclose(ranking.columns["epe"], NOISE.epes, rtol=1e-6)
    best = int(NOISE.epes.argmin())
    assert ranking.columns["rank"][best] == 1
    assert ranking.facts == FACTS | {TIED: str((NOISE.epes - NOISE.epes[best] <= NOISE.bounds[best]).sum())}
    assert ranking.words["H2Out"][:4] == ("kernel 3", "kernel 5", "kernel 7", "kernel 3")
    assert ranking.sample_epe is None


def test_a_part_is_read_back_or_refused(tmp_path):
    archs = list(V1)[:6]
    folder, other = (RankingFolder(tmp_path, {"run": run}, archs) for run in ("mine", "other"))
    folder.parts.mkdir()
    part = part_of(["epe"], [SUMS], [PIXELS])
    folder.write(0, archs, part)
    again = folder.read(0, archs)
    assert list(again) == list(part) and all(np.array_equal(again[name], part[name], equal_nan=True) for name in part)
    with pytest.raises(ValueError, match="another ranking"):
        other.read(0, archs)
    (path,) = folder.parts.iterdir()
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises((ValueError, KeyError, OSError)):
            folder.read(0, archs)


# ---- the folder ----


def table():
    columns = {"rank": np.array([1, 2]), "epe": np.array([1.0, 2.0])}
    return Ranking("v1", tuple(map(str, ARCHS)), columns, block_words(V1, ARCHS), FACTS)


def begun(out):
    """With the part of the only unit."""
    folder = RankingFolder(out, FACTS, ARCHS)
    assert folder.open() is None
    folder.write(0, ARCHS, part_of(["epe"], [SUMS[:2]], [PIXELS]))
    return folder


@pytest.fixture
def mine(tmp_path):
    """A file of the user's in a folder that happens to be called parts."""
    path = tmp_path / "out" / "parts" / "gripper.step"
    path.parent.mkdir(parents=True)
    path.write_text("cad")
    return path


def files(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"LOCK"}


def test_files_of_the_user_stay(mine):
    out = mine.parents[1]
    folder = RankingFolder(out, FACTS, ARCHS)
    assert folder.open() is None
    folder.close()  # nothing was begun
    assert files(out) == {"gripper.step"}
    folder = begun(out)
    (folder.parts / ".tmp-unit-00001.safetensors-0123abcd").write_text("left behind")
    write_ranking(out, table())
    folder.clear()
    folder.close()
    assert files(out) == {"gripper.step", CSV, TENSORS}
    folder = RankingFolder(out, FACTS, ARCHS)
    assert folder.open() is not None and mine.read_text() == "cad"
    folder = RankingFolder(out, FACTS, ARCHS[:1])
    with pytest.raises(ConfigError, match="holds another ranking .2 subnets there, 1"):
        folder.open()
    folder.close()
    assert mine.exists()


@pytest.mark.parametrize("plan", ["{", "[]", '{"teeth": 24}'])
def test_a_plan_of_somebody_else_is_left(mine, plan):
    (mine.parent / "plan.json").write_text(plan)
    folder = RankingFolder(mine.parents[1], FACTS, ARCHS)
    with pytest.raises((ConfigError, StorageError)):
        folder.open()
    folder.close()
    assert files(mine.parents[1]) == {"gripper.step", "plan.json"}
    write_ranking(mine.parents[1], table())
    assert folder.open() is not None
    folder.close()
    assert files(mine.parents[1]) == {"gripper.step", "plan.json", CSV, TENSORS}


def test_parts_that_outlived_their_table_are_removed(tmp_path):
    folder = begun(tmp_path)
    write_ranking(tmp_path, table())
    folder.close()  # killed before it could clear
    again = RankingFolder(tmp_path, FACTS, ARCHS)
    assert again.open() is not None
    again.close()
    assert files(tmp_path) == {CSV, TENSORS} and not folder.parts.exists()


def test_a_finished_table_is_read_without_a_lock(tmp_path, monkeypatch):
    def denied(lock):
        raise StorageError("read-only")

    write_ranking(tmp_path, table())
    monkeypatch.setattr(RunLock, "acquire", denied)
    finished = RankingFolder(tmp_path, FACTS, ARCHS).open()
    assert finished is not None and finished[0].codes == table().codes and finished[1] == {}
    assert {path.name for path in tmp_path.iterdir()} == {CSV, TENSORS}


@pytest.mark.parametrize("edited", [True, False])
def test_the_csv_follows_the_tensors(tmp_path, edited):
    write_ranking(tmp_path, table())
    path = tmp_path / CSV
    rows = path.read_bytes()
    path.unlink()
    if edited:
        path.write_bytes(rows.replace(b"1.0", b"0.5"))
    folder = RankingFolder(tmp_path, FACTS, ARCHS)
    finished = folder.open()
    folder.close()
    assert finished is not None and finished[1] == {CSV: path} and path.read_bytes() == rows
