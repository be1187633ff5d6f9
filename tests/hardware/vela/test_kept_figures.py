"""Vela's figures of graphs: what is kept, for how long, and by whom it is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeflownas.hardware.vela import figures, get_target
from edgeflownas.hardware.vela.figures import Vela, cache_folder
from edgeflownas.models.deployed.graph import Graph
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.space import get_space

V1 = get_space("v1")
CODES = ("000000000", "000021222")


@pytest.fixture
def graphs() -> list[Graph]:
    return [subnet_graph(V1, 4, code, (32, 48)) for code in CODES]


@pytest.fixture
def vela(tmp_path: Path) -> Vela:
    return Vela(get_target("grove-vision-ai-v2"), folder=tmp_path / "kept", processes=1)


def refuse(*_: object) -> None:
    raise AssertionError("was compiled again")


def test_a_second_question_is_answered_from_the_folder(
    vela: Vela, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced: list[int] = []
    first = vela.figures([*graphs, graphs[0]], lambda: advanced.append(1))
    assert first[0] == first[2] != first[1]
    assert len(advanced) == len(list(vela.folder.iterdir())) == 2
    assert sum(cycles for _, cycles in first[0].layers) == first[0].cycles
    monkeypatch.setattr(figures, "compile_tflite", refuse)
    assert Vela(vela.target, folder=vela.folder).figures(graphs) == first[:2]


def test_mode_arena_target_and_graph_are_kept_apart(vela: Vela, graphs: list[Graph]) -> None:
    own, target = graphs[:1], get_target("u55-128")
    ways = [vela, Vela(vela.target, "size"), Vela(vela.target, arena_kib=24), Vela(target)]
    found = []
    for way in ways:
        way.folder = vela.folder
        found.append(way.figures(own)[0])
    assert len(list(vela.folder.iterdir())) == len(ways)
    assert found[1].sram_kib < found[2].sram_kib <= 24 < found[0].sram_kib
    assert found[3].milliseconds < found[0].milliseconds


@pytest.mark.parametrize("damage", [b"{", b"", b'{"figures": {"cycles": 1}, "sha256": ""}', None])
def test_a_damaged_entry_is_named_and_made_again(vela: Vela, graphs: list[Graph], damage: bytes | None) -> None:
    notes: list[str] = []
    sound = vela.figures(graphs[:1])
    (entry,) = vela.folder.iterdir()
    content = json.loads(entry.read_bytes())
    content["figures"]["milliseconds"] /= 2
    entry.write_bytes(json.dumps(content).encode() if damage is None else damage)
    vela.note = notes.append
    assert vela.figures(graphs[:1]) == sound == vela.figures(graphs[:1])
    assert len(notes) == 1 and str(entry) in notes[0] and "damaged" in notes[0]


def test_damage_under_a_sound_checksum_and_one_note_for_all(vela: Vela, graphs: list[Graph]) -> None:
    notes: list[str] = []
    sound, vela.note = vela.figures(graphs), notes.append
    for entry in vela.folder.iterdir():
        content = json.loads(entry.read_bytes())["figures"] | {"layers": [["own", None]]}
        entry.write_bytes(json.dumps({"figures": content, "sha256": figures._digest(content)}).encode())
    assert vela.figures(graphs) == sound == vela.figures(graphs)
    assert len(notes) == 1 and "damaged" in notes[0] and ", and 1 more; compiled again" in notes[0]


def test_a_folder_that_cannot_be_written_costs_a_note(tmp_path: Path, graphs: list[Graph]) -> None:
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    vela = Vela(get_target("grove-vision-ai-v2"), folder=tmp_path / "file" / "kept", note=notes.append)
    assert len(vela.figures(graphs)) == 2
    assert len(notes) == 1 and "EDGEFLOWNAS_CACHE" in notes[0]


def test_several_processes_find_the_same(
    vela: Vela, graphs: list[Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "LEAST_SHARE", 1)
    several = Vela(vela.target, folder=tmp_path / "several", processes=2)
    with monkeypatch.context() as here:
        here.setattr(figures, "compile_tflite", refuse)  # of this process
        found = several.figures(graphs)
    assert found == vela.figures(graphs)


def test_where_figures_are_kept(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert cache_folder() == own_cache
    monkeypatch.delenv("EDGEFLOWNAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/edgeflownas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "edgeflownas"
