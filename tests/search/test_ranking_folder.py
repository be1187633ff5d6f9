"""The folder of a ranking: what it removes, what it leaves, and when it locks."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from edgeflownas.errors import ConfigError, StorageError
from edgeflownas.run.directory import RunLock
from edgeflownas.search.rank import RankingFolder
from edgeflownas.search.ranking import CSV, TENSORS, Ranking, block_words, write_ranking
from edgeflownas.space import get_space

V1 = get_space("v1")
ARCHS = [V1.parse(code) for code in ("000000000", "000021222")]
FACTS = {"run": "a"}


def part() -> dict[str, np.ndarray]:
    return {"epe": np.array([1.0, 2.0]), "sample_epe": np.ones((2, 3), dtype=np.float32)}


def table() -> Ranking:
    columns = {"rank": np.array([1, 2]), "epe": np.array([1.0, 2.0])}
    return Ranking("v1", tuple(map(str, ARCHS)), columns, block_words(V1, ARCHS), FACTS)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of the user's in a folder that happens to be called parts."""
    path = tmp_path / "out" / "parts" / "gripper.step"
    path.parent.mkdir(parents=True)
    path.write_text("cad")
    return path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"LOCK"}


def test_files_of_the_user_stay(mine: Path) -> None:
    out = mine.parents[1]
    folder = RankingFolder(out, FACTS, ARCHS)
    assert folder.open() is None
    folder.close()  # nothing was begun
    assert files(out) == {"gripper.step"}
    folder = RankingFolder(out, FACTS, ARCHS)
    folder.open()
    folder.write(0, ARCHS, part())
    (folder.parts / ".tmp-unit-00001.safetensors-0123abcd").write_text("left behind")
    write_ranking(out, table())
    folder.clear()
    folder.close()
    assert files(out) == {"gripper.step", CSV, TENSORS}
    finished = RankingFolder(out, FACTS, ARCHS).open()
    assert finished is not None and mine.read_text() == "cad"


@pytest.mark.parametrize("plan", ["{", "[]", '{"teeth": 24}'])
def test_a_plan_of_somebody_else_is_left(mine: Path, plan: str) -> None:
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


def test_a_refused_folder_is_left(mine: Path) -> None:
    write_ranking(mine.parents[1], table())
    folder = RankingFolder(mine.parents[1], FACTS, ARCHS[:1])
    with pytest.raises(ConfigError, match="holds another ranking .2 subnets there, 1"):
        folder.open()
    folder.close()
    assert mine.exists()


def test_parts_that_outlived_their_table_are_removed(tmp_path: Path) -> None:
    folder = RankingFolder(tmp_path, FACTS, ARCHS)
    folder.open()
    folder.write(0, ARCHS, part())
    write_ranking(tmp_path, table())
    folder.close()  # killed before it could clear
    again = RankingFolder(tmp_path, FACTS, ARCHS)
    assert again.open() is not None
    again.close()
    assert files(tmp_path) == {CSV, TENSORS} and not folder.parts.exists()


def test_a_finished_table_is_read_without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(lock: RunLock) -> NoReturn:
        raise StorageError("read-only")

    write_ranking(tmp_path, table())
    monkeypatch.setattr(RunLock, "acquire", denied)
    folder = RankingFolder(tmp_path, FACTS, ARCHS)
    finished = folder.open()
    assert finished is not None and finished[0].codes == table().codes and finished[1] == {}
    assert {path.name for path in tmp_path.iterdir()} == {CSV, TENSORS}


@pytest.mark.parametrize("change", ["missing", "edited"])
def test_the_csv_follows_the_tensors(tmp_path: Path, change: str) -> None:
    write_ranking(tmp_path, table())
    path = tmp_path / CSV
    rows = path.read_bytes()
    path.unlink()
    if change == "edited":
        path.write_bytes(rows.replace(b"1.0", b"0.5"))
    folder = RankingFolder(tmp_path, FACTS, ARCHS)
    finished = folder.open()
    folder.close()
    assert finished is not None and finished[1] == {CSV: path} and path.read_bytes() == rows
