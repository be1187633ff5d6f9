"""How far the count of bytes alive (column sram_kib) is from the arena of Vela; figures of docs/vela.md."""

from __future__ import annotations

import numpy as np
import pytest

from edgeflownas.hardware.costs import space_costs
from edgeflownas.hardware.latency import draw_archs
from edgeflownas.hardware.tflite import cost_model_bytes
from edgeflownas.hardware.vela import compile_tflite, get_target
from edgeflownas.models.deployed.networks import subnet_graph
from edgeflownas.space import get_space

WIDTH, DRAWN = 32, 24
BOUNDS = {  # mean and largest of (count / arena - 1), percent, rounded away from 0
    ((192, 256), "performance"): (3.4, 3.8),
    ((96, 128), "performance"): (1.4, 3.2),
    ((192, 256), "size"): (252, 286),
    ((96, 128), "size"): (199, 247),
}


@pytest.mark.slow
@pytest.mark.parametrize("size, mode", BOUNDS)
def test_error_of_the_count(size: tuple[int, int], mode: str) -> None:
    space, board = get_space("v1"), get_target("grove-vision-ai-v2")
    archs = [list(space)[index] for index in draw_archs(space, DRAWN, 0)]
    counted = space_costs(space, WIDTH, size, archs)["sram_kib"]
    graphs = [subnet_graph(space, WIDTH, arch, size) for arch in archs]
    arena = np.array([compile_tflite(cost_model_bytes(graph), board, mode).sram_kib for graph in graphs])
    error = 100 * np.abs(counted / arena - 1)
    print(f"\n{size} {mode}: {DRAWN} codes, mean {error.mean():.2f} %, largest {error.max():.2f} %")
    mean, largest = BOUNDS[size, mode]
    assert error.mean() <= mean and error.max() <= largest
