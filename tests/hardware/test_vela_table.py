"""The table of operators against Vela of whole graphs; what is kept of figures, and who makes them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeflownas.errors import ConfigError
from edgeflownas.hardware import vela_table
from edgeflownas.hardware.latency import CostModel
from edgeflownas.hardware.targets import Target, get_target
from edgeflownas.hardware.vela_table import Vela, VelaLatency, cache_folder, in_context
from edgeflownas.models.graph import subnet_graph
from edgeflownas.space import get_space

V1 = get_space("v1")
SIZE = (48, 64)


def latency(target="grove-vision-ai-v2"):
    return VelaLatency(Vela(get_target(target), processes=1))


def test_the_whole_space_and_a_part_of_it():
    model: CostModel = latency()
    whole = model.costs(V1, 4, SIZE, list(V1))["grove_vision_ai_v2_ms"]
    archs = [V1.parse(code) for code in ("222222222", "021100101", "000000000")]
    places = [int("".join(map(str, arch)), 3) for arch in archs]
    assert model.costs(V1, 4, SIZE, archs)["grove_vision_ai_v2_ms"].tolist() == whole[places].tolist()
    assert whole.shape == (19683,) and whole.dtype == np.float64
    assert whole.argmin() == 0 and whole.argmax() == 19682


def test_fewer_outputs_take_less_time():
    arch = [V1.parse("000021222")]
    models = (replace(latency(), outputs=outputs) for outputs in ("flow", "half", "quarter"))
    times = [model.costs(V1, 4, SIZE, arch)["grove_vision_ai_v2_ms"][0] for model in models]
    assert times == sorted(times, reverse=True) and len(set(times)) == 3


def test_an_operator_in_its_surroundings():
    ops = {op.output.name: op for op in subnet_graph(V1, 4, "000021222", SIZE).ops}
    middle = in_context(ops["H1Out"], ops["H1"])
    assert [op.kind for op in middle.ops] == ["add", "conv", "conv", "add"]
    assert [op.kernel for op in middle.ops] == [1, 5, 7, 1]
    assert [op.output.edge for op in middle.ops] == [False, False, False, True]
    first, last = in_context(ops["E0"], None), in_context(ops["flow"], ops["H2Out"])
    assert [op.kind for op in first.ops] == ["conv", "add"]
    assert [op.kind for op in last.ops] == ["add", "conv", "add", "add"] and last.ops[-1].output.name == "own"


def test_facts_say_how_it_was_made():
    facts = latency().facts["grove_vision_ai_v2_ms"]
    for part in ("Vela 5.2.0", "mode performance", "ethos-u55-64 at 400 MHz", "ini "):
        assert part in facts


@pytest.mark.parametrize("change", [{"mode": "size"}, {"arena_kib": 100}])
def test_only_mode_performance_adds_up(change):
    with pytest.raises(ConfigError, match="mode performance without a limit only"):
        VelaLatency(replace(latency().vela, **change))  # type: ignore[arg-type]


def test_a_memory_mode_that_limits_the_arena_is_refused():
    target = Target("t", "ethos-u65-256", "Ethos_U65_High_End", "Dedicated_Sram_384KB")
    with pytest.raises(
        ConfigError, match=r"arena 384 KiB \(memory mode Dedicated_Sram_384KB\).*without arena_cache_size"
    ):
        VelaLatency(Vela(target))
    assert "in 384 KiB" in Vela(target).words
    VelaLatency(Vela(replace(target, memory_mode="Dedicated_Sram")))


CODES = ("000000000", "000021222")


@pytest.fixture
def graphs():
    return [subnet_graph(V1, 4, code, (32, 48)) for code in CODES]


@pytest.fixture
def vela(tmp_path):
    return Vela(get_target("grove-vision-ai-v2"), folder=tmp_path / "kept", processes=1)


def refuse(*_):
    raise AssertionError("was compiled again")


def test_a_second_question_is_answered_from_the_folder(vela, graphs, monkeypatch):
    advanced: list[int] = []
    first = vela.figures([*graphs, graphs[0]], lambda: advanced.append(1))
    assert first[0] == first[2] != first[1]
    assert len(advanced) == len(list(vela.folder.iterdir())) == 2
    assert sum(cycles for _, cycles in first[0].layers) == first[0].cycles
    monkeypatch.setattr(vela_table, "compile_tflite", refuse)
    assert Vela(vela.target, folder=vela.folder).figures(graphs) == first[:2]


def test_mode_arena_target_and_graph_are_kept_apart(vela, graphs):
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
def test_a_damaged_entry_is_named_and_made_again(vela, graphs, damage):
    notes: list[str] = []
    sound = vela.figures(graphs[:1])
    (entry,) = vela.folder.iterdir()
    content = json.loads(entry.read_bytes())
    content["figures"]["milliseconds"] /= 2
    entry.write_bytes(json.dumps(content).encode() if damage is None else damage)
    vela.note = notes.append
    assert vela.figures(graphs[:1]) == sound == vela.figures(graphs[:1])
    assert len(notes) == 1 and str(entry) in notes[0] and "damaged" in notes[0]


def test_damage_under_a_sound_checksum_and_one_note_for_all(vela, graphs):
    notes: list[str] = []
    sound, vela.note = vela.figures(graphs), notes.append
    for entry in vela.folder.iterdir():
        content = json.loads(entry.read_bytes())["figures"] | {"layers": [["own", None]]}
        entry.write_bytes(json.dumps({"figures": content, "sha256": vela_table._digest(content)}).encode())
    assert vela.figures(graphs) == sound == vela.figures(graphs)
    assert len(notes) == 1 and "damaged" in notes[0] and ", and 1 more; compiled again" in notes[0]


def test_a_folder_that_cannot_be_written_costs_a_note(tmp_path, graphs):
    (tmp_path / "file").write_text("")
    notes: list[str] = []
    vela = Vela(get_target("grove-vision-ai-v2"), folder=tmp_path / "file" / "kept", note=notes.append)
    assert len(vela.figures(graphs)) == 2
    assert len(notes) == 1 and "EDGEFLOWNAS_CACHE" in notes[0]


@pytest.mark.e2e  # processes of their own
def test_several_processes_find_the_same(vela, graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(vela_table, "LEAST_SHARE", 1)
    several = Vela(vela.target, folder=tmp_path / "several", processes=2)
    with monkeypatch.context() as here:
        here.setattr(vela_table, "compile_tflite", refuse)  # of this process
        found = several.figures(graphs)
    assert found == vela.figures(graphs)


def test_where_figures_are_kept(monkeypatch, own_cache):
    assert cache_folder() == own_cache
    monkeypatch.delenv("EDGEFLOWNAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/edgeflownas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "edgeflownas"
