"""Liveness of hand-made graphs, counted by hand."""

from __future__ import annotations

from edgeflownas.hardware.liveness import liveness
from edgeflownas.models.deployed.graph import Buffer, Op

A, B, C, D = (Buffer(name, 16, 1, 1) for name in "abcd")
SMALL = Buffer("small", 3, 2, 2, edge=True)


def alive(*ops: Op) -> list[tuple[str, ...]]:
    return [tuple(buffer.name for buffer in moment.alive) for moment in liveness(ops)]


def test_bytes_of_buffers() -> None:
    assert Buffer("x", 1, 3, 5).bytes == 16 * 15
    assert Buffer("x", 17, 3, 5).bytes == 32 * 15
    assert SMALL.bytes == 16  # 12 bytes of NHWC
    assert Buffer("x", 6, 16, 16, edge=True).bytes == 6 * 256


def test_a_buffer_dies_after_its_last_reader() -> None:
    ops = [Op("conv", "s", B, (A,)), Op("conv", "s", C, (B,)), Op("conv", "s", D, (C, A))]
    assert alive(*ops) == [("a", "b"), ("a", "b", "c"), ("a", "c", "d")]
    assert [moment.bytes for moment in liveness(ops)] == [32, 48, 48]


def test_a_sum_takes_the_place_of_an_input_that_dies() -> None:
    assert alive(Op("conv", "s", B, (A,)), Op("add", "s", C, (B, A))) == [("a", "b"), ("a", "c")]


def test_a_sum_leaves_an_input_that_is_read_later() -> None:
    ops = [Op("conv", "s", B, (A,)), Op("add", "s", C, (A, B)), Op("add", "s", D, (C, A, B))]
    assert alive(*ops) == [("a", "b"), ("a", "b", "c"), ("a", "b", "d")]


def test_a_sum_of_another_size_has_a_place_of_its_own() -> None:
    wide = Buffer("wide", 32, 1, 1)
    assert alive(Op("add", "s", wide, (A, A))) == [("a", "wide")]


def test_what_nobody_reads_dies_at_once() -> None:
    assert alive(Op("conv", "s", B, (A,)), Op("conv", "s", C, (A,))) == [("a", "b"), ("a", "c")]


def test_an_output_of_the_graph_lives_to_the_end() -> None:
    ops = [Op("conv", "s", B, (A,)), Op("conv", "s", C, (B,)), Op("conv", "s", D, (C,))]
    assert [len(moment.alive) for moment in liveness(ops, (B, D))] == [2, 2, 3]
