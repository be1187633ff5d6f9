"""The folder is whole, or not there."""

import os
from pathlib import Path

import pytest

from edgeflownas.errors import StorageError
from edgeflownas.export.folder import require_free, write_folder


def test_files_are_written_below_a_new_or_an_empty_folder(tmp_path):
    for out in (tmp_path / "new" / "deploy", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        require_free(out)
        write_folder(out, {"a": b"1", "below/b": b"2"})
        assert (out / "below" / "b").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_nothing_is_replaced(tmp_path):
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


def test_what_a_folder_cannot_take_the_place_of(tmp_path, monkeypatch):
    for name in ("empty", "there"):
        (tmp_path / name).mkdir()
    for name, target in (("link", "empty"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(StorageError, match="is a link"):
            require_free(tmp_path / name)
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(StorageError, match="folder you are in"):
        require_free(Path("."))
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "empty")
    with pytest.raises(StorageError, match="mount point"):
        require_free(tmp_path / "empty")
    for folder in ("a" * 240, "a" * 300):
        with pytest.raises(StorageError, match="cannot be made: File name too long"):
            require_free(tmp_path / folder)
    assert not list(tmp_path.glob(".*"))


def test_the_folder_above_is_tried(tmp_path, monkeypatch):
    """That of an empty folder too: what is written appears beside it first."""
    (tmp_path / "read-only" / "out").mkdir(parents=True)

    def refused(path, *words, **more):
        assert path.parent == tmp_path / "read-only"
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    for out in ("out", "new", "new/below"):
        with pytest.raises(StorageError, match="cannot be made: Permission denied"):
            require_free(tmp_path / "read-only" / out)


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, content):
        path.open("wb").close()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "out", {"a": b"1"})
    assert not list(tmp_path.iterdir())
