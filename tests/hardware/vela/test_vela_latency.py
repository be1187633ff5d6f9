"""The table of operators against Vela of whole graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.latency import CostModel
from edgeflownas.hardware.vela import Target, get_target
from edgeflownas.hardware.vela.figures import Vela
from edgeflownas.hardware.vela.latency import VelaLatency, in_context
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.space import get_space

V1 = get_space("v1")
SIZE = (48, 64)


def latency(target: str = "grove-vision-ai-v2") -> VelaLatency:
    return VelaLatency(Vela(get_target(target), processes=1))


def test_the_whole_space_and_a_part_of_it() -> None:
    model: CostModel = latency()
    whole = model.costs(V1, 4, SIZE, list(V1))["grove_vision_ai_v2_ms"]
    archs = [V1.parse(code) for code in ("222222222", "021100101", "000000000")]
    places = [int("".join(map(str, arch)), 3) for arch in archs]
    assert model.costs(V1, 4, SIZE, archs)["grove_vision_ai_v2_ms"].tolist() == whole[places].tolist()
    assert whole.shape == (19683,) and whole.dtype == np.float64
    assert whole.argmin() == 0 and whole.argmax() == 19682


def test_fewer_outputs_take_less_time() -> None:
    arch = [V1.parse("000021222")]
    models = (replace(latency(), outputs=outputs) for outputs in ("flow", "half", "quarter"))
    times = [model.costs(V1, 4, SIZE, arch)["grove_vision_ai_v2_ms"][0] for model in models]
    assert times == sorted(times, reverse=True) and len(set(times)) == 3


def test_an_operator_in_its_surroundings() -> None:
    ops = {op.output.name: op for op in subnet_graph(V1, 4, "000021222", SIZE).ops}
    middle = in_context(ops["H1Out"], ops["H1"])
    assert [op.kind for op in middle.ops] == ["add", "conv", "conv", "add"]
    assert [op.kernel for op in middle.ops] == [1, 5, 7, 1]
    assert [op.output.edge for op in middle.ops] == [False, False, False, True]
    first, last = in_context(ops["E0"], None), in_context(ops["flow"], ops["H2Out"])
    assert [op.kind for op in first.ops] == ["conv", "add"]
    assert [op.kind for op in last.ops] == ["add", "conv", "add", "add"] and last.ops[-1].output.name == "own"


def test_facts_say_how_it_was_made() -> None:
    facts = latency().facts["grove_vision_ai_v2_ms"]
    for part in ("Vela 5.2.0", "mode performance", "ethos-u55-64 at 400 MHz", "ini "):
        assert part in facts


@pytest.mark.parametrize("change", [{"mode": "size"}, {"arena_kib": 100}])
def test_only_mode_performance_adds_up(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="mode performance without a limit only"):
        VelaLatency(replace(latency().vela, **change))  # type: ignore[arg-type]


def test_a_memory_mode_that_limits_the_arena_is_refused() -> None:
    target = Target("t", "ethos-u65-256", "Ethos_U65_High_End", "Dedicated_Sram_384KB")
    with pytest.raises(
        ConfigError, match=r"arena 384 KiB \(memory mode Dedicated_Sram_384KB\).*without arena_cache_size"
    ):
        VelaLatency(Vela(target))
    assert "in 384 KiB" in Vela(target).words
    VelaLatency(Vela(replace(target, memory_mode="Dedicated_Sram")))
