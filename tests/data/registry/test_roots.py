"""Where a data set is: configuration before environment before one file."""

from __future__ import annotations

from pathlib import Path

import layouts
import pytest

from edgeflownas.data.sets import find_root, list_datasets, open_dataset, roots_file
from edgeflownas.errors import ConfigError

KNOWN = ("sintel", "fc2")


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of roots of a user whose home is a temporary folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in KNOWN:
        monkeypatch.delenv(f"EDGEFLOWNAS_DATA_{name.upper()}", raising=False)
    path = tmp_path / ".config" / "edgeflownas" / "datasets.yaml"
    path.parent.mkdir(parents=True)
    return path


def test_configuration_wins_over_environment_over_file(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert roots_file() == listed and find_root("sintel", KNOWN) is None
    listed.write_text("sintel: ~/films\nfc2: /data/fc2\n")
    assert find_root("sintel", KNOWN) == (listed.parents[2] / "films", str(listed))
    monkeypatch.setenv("EDGEFLOWNAS_DATA_SINTEL", "/env")
    assert find_root("sintel", KNOWN) == (Path("/env"), "EDGEFLOWNAS_DATA_SINTEL")
    assert find_root("sintel", KNOWN, {"sintel": "/configured"}) == (Path("/configured"), "data.roots")
    assert find_root("fc2", KNOWN, {"sintel": "/configured"}) == (Path("/data/fc2"), str(listed))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/other")
    assert roots_file() == Path("/other/edgeflownas/datasets.yaml") and find_root("fc2", KNOWN) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sintle: /x\n", "no data set is called 'sintle' .*did you mean sintel?"),
        ("sintel: 5\n", "sintel: must be a folder"),
        ("sintel:\n", "sintel: must be a folder"),
        ("sintel: data\n", "sintel: 'data' must be an absolute path"),
        ("- sintel\n", "must hold lines such as"),
        ("sintel: [\n", "not valid YAML"),
        ("sintel: /a\nsintel: /b\n", "given twice"),
    ],
)
def test_a_bad_file_is_refused_by_name(listed: Path, text: str, said: str) -> None:
    listed.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        find_root("sintel", KNOWN)
    assert str(listed) in str(caught.value)


def test_an_unknown_name_in_the_configuration_is_refused(listed: Path) -> None:
    with pytest.raises(ConfigError, match="data.roots: no data set is called 'kitti' .*did you mean kitti20"):
        open_dataset("sintel", "val", "x", {"kitti": "/x"})


def test_no_file_and_an_empty_file_name_nothing(listed: Path) -> None:
    assert find_root("fc2", KNOWN) is None
    listed.write_text("# nothing yet\n")
    assert find_root("fc2", KNOWN) is None
    listed.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no text"):
        find_root("fc2", KNOWN)


def test_the_list_says_where_and_how_many(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed.write_text(f"sintel: {layouts.sintel(tmp_path / 'films')}\nhd1k: {tmp_path / 'gone'}\n")
    monkeypatch.setenv("EDGEFLOWNAS_DATA_FLYING_THINGS3D", str(layouts.things(tmp_path / "things")))
    rows = {row.name: row for row in list_datasets({"kitti2015": str(layouts.kitti(tmp_path / "k", "image_2"))})}
    sintel = rows["sintel"]
    assert sintel.found and sintel.root == str(tmp_path / "films") and sintel.named_by == str(listed)
    assert [(v.variant, v.samples) for v in sintel.variants] == [("clean", 4), ("final", 4), ("both", 8)]
    assert rows["flying_things3d"].named_by == "EDGEFLOWNAS_DATA_FLYING_THINGS3D"
    assert [v.samples for v in rows["flying_things3d"].variants] == [8, 8, 8, 8]
    assert rows["kitti2015"].named_by == "data.roots" and rows["kitti2015"].found
    assert not rows["hd1k"].found and "no folder" in str(rows["hd1k"].variants[0].problem)
    assert rows["spring"].root is None and not rows["spring"].found and rows["spring"].variants == ()
