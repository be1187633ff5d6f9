"""Tables and graph against what the extracted module really does, operator by operator."""

from __future__ import annotations

import numpy as np
import pytest
from module_count import traced

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.costs import COLUMNS, space_costs, stage_costs
from edgeflownas.hardware.latency import draw_archs
from edgeflownas.hardware.liveness import liveness
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.models.flops import macs, parameters
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import Arch, Choice, SearchSpace, get_space

V1 = get_space("v1")
STAGES = [(4, (16, 32)), (8, (45, 50)), (18, (32, 16))]  # widths that fill no brick, one, and some; sizes


def drawn(space: SearchSpace, count: int) -> list[Arch]:
    every = list(space)
    return [every[position] for position in draw_archs(space, count, seed=7)]


def compare(space: SearchSpace, width: int, size: tuple[int, int], archs: list[Arch]) -> None:
    net = FlowNet(space, width, seed=None, plain=True)
    table = space_costs(space, width, size, archs)
    for row, arch in enumerate(archs):
        own_parameters, own_macs, weight_bytes, timeline = traced(net, arch, size)
        assert table["parameters"][row] == own_parameters
        assert table["macs"][row] == own_macs
        assert table["int8_weight_kib"][row] == weight_bytes / 1024
        assert table["sram_kib"][row] == max(timeline) / 1024
        assert [moment.bytes for moment in liveness(subnet_graph(space, width, arch, size).ops)] == timeline


@pytest.mark.parametrize("name", ["v1", "v3"])
@pytest.mark.parametrize(("width", "size"), STAGES)
def test_against_the_module(name: str, width: int, size: tuple[int, int]) -> None:
    space = get_space(name)
    compare(space, width, size, drawn(space, 8))


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["v1", "v3"])
def test_three_hundred_codes(name: str) -> None:
    """A third of them at each width and size."""
    space = get_space(name)
    archs = drawn(space, 300)
    for part, (width, size) in enumerate(STAGES):
        compare(space, width, size, archs[part::3])


def test_whole_space_in_its_order() -> None:
    table = space_costs(V1, 32, (180, 240))
    assert tuple(table) == COLUMNS
    assert [column.dtype for column in table.values()] == [np.int64, np.int64, np.float64, np.float64]
    assert all(column.shape == (len(V1),) for column in table.values())
    every = list(V1)
    for position in (0, 1, 4567, len(V1) - 1):
        assert table["parameters"][position] == parameters(V1, 32, every[position])
        assert table["macs"][position] == macs(V1, 32, every[position], 180, 240)
    assert space_costs(V1, 32, (180, 240), every[4567:4568])["macs"] == table["macs"][4567:4568]
    assert all(len(column) == 0 for column in space_costs(V1, 32, (180, 240), []).values())


def test_stages_add_up() -> None:
    arch = V1.parse("021102120")
    stages = stage_costs(V1, 32, arch, (180, 240))
    table = space_costs(V1, 32, (180, 240), [arch])
    assert sum(stage.parameters for stage in stages) == table["parameters"][0]
    assert sum(stage.macs for stage in stages) == table["macs"][0]
    assert sum(stage.weight_bytes for stage in stages) / 1024 == table["int8_weight_kib"][0]
    worst = max(stages, key=lambda stage: stage.peak.bytes)
    assert worst.peak.bytes / 1024 == table["sram_kib"][0]
    # 192x240 px: H1 upsampled (32 channels) and H2 (16) at full size, the summed flow (one brick) at a quarter.
    assert worst.name == "H2"
    assert worst.peak.bytes == 192 * 240 * (32 + 16 + 16 // 4)


def test_a_restricted_space_holds_one_row() -> None:
    arch = V1.parse("021102120")
    alone = space_costs(V1.restrict(arch), 8, (45, 50))
    assert {name: column.tolist() for name, column in alone.items()} == {
        name: column.tolist() for name, column in space_costs(V1, 8, (45, 50), [arch]).items()
    }


def test_an_option_may_decide_the_peak_of_its_stage() -> None:
    """A stem of two links at 1/2 against one."""
    choice = Choice("E0", "conv", ("3x3", "3x3+3x3"))
    space = SearchSpace("stem", (choice,))
    net = FlowNet(space, 32, seed=None, plain=True)
    table = space_costs(space, 32, (32, 32))
    for row, arch in enumerate(space):
        timeline = traced(net, arch, (32, 32))[3]
        assert table["sram_kib"][row] == max(timeline) / 1024
        stem = stage_costs(space, 32, arch, (32, 32))[0]
        assert stem.peak.bytes == max(timeline[: row + 1])
    assert stage_costs(space, 32, "1", (32, 32))[0].peak.bytes > stage_costs(space, 32, "0", (32, 32))[0].peak.bytes


@pytest.mark.parametrize(
    ("width", "size", "arch", "said"),
    [
        (7, (32, 32), None, "even number"),
        (8, (0, 32), None, "0x32"),
        (8, (32, 20_000), None, "16384"),
        (8, (32, 32), Arch((0,) * 9, "v9"), "belongs to space 'v9'"),
    ],
)
def test_bad_input(width: int, size: tuple[int, int], arch: Arch | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        space_costs(V1, width, size, None if arch is None else [arch])
