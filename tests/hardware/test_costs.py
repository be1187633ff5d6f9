"""Tables and graph against what the extracted module really does, operator by operator."""

import numpy as np
import pytest
from module_count import traced

from edgeflownas.errors import ConfigError
from edgeflownas.hardware.costs import COLUMNS, liveness, space_costs, stage_costs
from edgeflownas.hardware.latency import draw_archs
from edgeflownas.models.flownet import FlowNet
from edgeflownas.models.graph import Buffer, Op, macs, parameters, subnet_graph
from edgeflownas.space import Arch, Choice, SearchSpace, get_space

V1 = get_space("v1")
STAGES = [(4, (16, 32)), (8, (45, 50)), (18, (32, 16))]  # widths that fill no brick, one, and some; sizes


def drawn(space, count):
    every = list(space)
    return [every[position] for position in draw_archs(space, count, seed=7)]


def compare(space, width, size, archs):
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
def test_against_the_module(name, width, size):
    space = get_space(name)
    compare(space, width, size, drawn(space, 8))


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["v1", "v3"])
def test_three_hundred_codes(name):
    """A third of them at each width and size."""
    space = get_space(name)
    archs = drawn(space, 300)
    for part, (width, size) in enumerate(STAGES):
        compare(space, width, size, archs[part::3])


def test_whole_space_in_its_order():
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


def test_stages_add_up():
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


def test_a_restricted_space_holds_one_row():
    arch = V1.parse("021102120")
    alone = space_costs(V1.restrict(arch), 8, (45, 50))
    assert {name: column.tolist() for name, column in alone.items()} == {
        name: column.tolist() for name, column in space_costs(V1, 8, (45, 50), [arch]).items()
    }


def test_an_option_may_decide_the_peak_of_its_stage():
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
def test_bad_input(width, size, arch, said):
    with pytest.raises(ConfigError, match=said):
        space_costs(V1, width, size, None if arch is None else [arch])


A, B, C, D = (Buffer(name, 16, 1, 1) for name in "abcd")
SMALL = Buffer("small", 3, 2, 2, edge=True)


def alive(*ops):
    return [tuple(buffer.name for buffer in moment.alive) for moment in liveness(ops)]


def test_bytes_of_buffers():
    assert Buffer("x", 1, 3, 5).bytes == 16 * 15
    assert Buffer("x", 17, 3, 5).bytes == 32 * 15
    assert SMALL.bytes == 16  # 12 bytes of NHWC
    assert Buffer("x", 6, 16, 16, edge=True).bytes == 6 * 256


def test_a_buffer_dies_after_its_last_reader():
    ops = [Op("conv", "s", B, (A,)), Op("conv", "s", C, (B,)), Op("conv", "s", D, (C, A))]
    assert alive(*ops) == [("a", "b"), ("a", "b", "c"), ("a", "c", "d")]
    assert [moment.bytes for moment in liveness(ops)] == [32, 48, 48]


def test_a_sum_takes_the_place_of_an_input_that_dies():
    assert alive(Op("conv", "s", B, (A,)), Op("add", "s", C, (B, A))) == [("a", "b"), ("a", "c")]


def test_a_sum_leaves_an_input_that_is_read_later():
    ops = [Op("conv", "s", B, (A,)), Op("add", "s", C, (A, B)), Op("add", "s", D, (C, A, B))]
    assert alive(*ops) == [("a", "b"), ("a", "b", "c"), ("a", "b", "d")]


def test_a_sum_of_another_size_has_a_place_of_its_own():
    wide = Buffer("wide", 32, 1, 1)
    assert alive(Op("add", "s", wide, (A, A))) == [("a", "wide")]


def test_what_nobody_reads_dies_at_once():
    assert alive(Op("conv", "s", B, (A,)), Op("conv", "s", C, (A,))) == [("a", "b"), ("a", "c")]


def test_an_output_of_the_graph_lives_to_the_end():
    ops = [Op("conv", "s", B, (A,)), Op("conv", "s", C, (B,)), Op("conv", "s", D, (C,))]
    assert [len(moment.alive) for moment in liveness(ops, (B, D))] == [2, 2, 3]
