"""The folder is whole, or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflownas.errors import StorageError
from edgeflownas.export.folder import require_free, write_folder


def test_files_are_written_below_a_new_or_an_empty_folder(tmp_path: Path) -> None:
    for out in (tmp_path / "new" / "deploy", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        require_free(out)
        write_folder(out, {"a": b"1", "below/b": b"2"})
        assert (out / "below" / "b").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(StorageError, match="replaces none"):
        require_free(tmp_path)
    with pytest.raises(StorageError, match="is a file"):
        require_free(tmp_path / "mine")
    with pytest.raises(StorageError, match="cannot be made"):
        require_free(tmp_path / "mine" / "below")
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        write_folder(tmp_path / "late", {"a": b""})
    assert [path.name for path in (tmp_path / "late").iterdir()] == ["file"]
    assert not list(tmp_path.glob(".*"))


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, content: bytes) -> None:
        path.open("wb").close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", {"a": b"1"})
    assert not list(tmp_path.iterdir())
