"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("any machine", deadline=None)  # a slow or busy one is no failure
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def nobody_cuts_the_power():
    """Waiting for the disk (5 ms, 45 times a tiny run) can show nothing here: what a kill leaves is in the page cache.

    The order of the calls is looked at in tests/faults, whose killed processes also wait.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared():
    """Folder with reference outputs and real image pairs; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("EDGEFLOWNAS_SHARED", ROOT.parent / "shared"))
    if not (folder / "DESIGN.md").is_file():
        pytest.skip(f"reference data not found at {folder} (set EDGEFLOWNAS_SHARED)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What commands keep for the user lies in a folder of the tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFLOWNAS_CACHE", str(folder))
        yield folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder that the package's weights are in, with one tiny subnet and one supernet."""
    from shipped import NAME, SUPERNET, make_weights

    from edgeflownas.run import weights

    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(weights, "FOLDER", folder)
    for name in (NAME, SUPERNET):
        make_weights(folder, name)
    return folder
