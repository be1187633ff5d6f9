"""Several sets of batches on one recalibration, and what a pool evaluation knows of its own noise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.evaluate.pool import score_pool, score_recalibrated
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

sys.path.insert(0, str(Path(__file__).parent))
from flow_batches import make_batches  # noqa: E402

SPACE = get_space("v1")
ARCHS = [SPACE.parse(code) for code in ("000000000", "000021222", "002102010")]


@pytest.fixture(scope="module")
def net() -> FlowNet:
    return FlowNet(SPACE, 4)


@pytest.fixture(scope="module")
def batches() -> tuple[list[FlowBatch], list[FlowBatch]]:
    """Calibration and evaluation; the last evaluation batch is smaller, sizes are no multiples of 16."""
    return make_batches([3, 2]), make_batches([3, 1], seed=1)


def test_several_sets_on_one_recalibration_are_evaluations_of_their_own(
    net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]
) -> None:
    calibration, evaluation = batches
    first = score_pool(net, ARCHS, calibration, evaluation)
    for seed, sizes in ((5, [2, 2, 1]), (6, [4])):
        other = make_batches(sizes, 32, 48, seed=seed)
        shared = score_recalibrated(net, ARCHS, first.statistics, iter(other))
        alone = score_pool(net, ARCHS, calibration, other)
        assert torch.equal(shared.sample_epe, alone.sample_epe) and torch.equal(shared.valid_pixels, alone.valid_pixels)
        assert (shared.epes, shared.zero_flow_epe, shared.samples) == (alone.epes, alone.zero_flow_epe, sum(sizes))
        for one, two in zip(shared.scores, alone.scores, strict=True):
            assert (one.loss_total, one.epe_a0, one.epe_a1) == (two.loss_total, two.epe_a0, two.epe_a1)
    again = score_recalibrated(net, ARCHS, first.statistics, evaluation)
    assert again.epes == first.epes and again.recal_seconds == 0.0 < first.recal_seconds


def test_valid_pixels_and_noise(net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    result = score_pool(net, ARCHS, *batches)
    pixels = torch.cat([batch.valid.sum((1, 2)) for batch in batches[1]])
    assert result.valid_pixels.dtype == torch.int64 and torch.equal(result.valid_pixels, pixels)
    expected = pool_noise(result.sample_epe, pixels)
    assert np.array_equal(result.noise.paired, expected.paired) and result.noise.samples == 4
    assert result.noise.epes == pytest.approx(result.epes, rel=1e-6)
    assert torch.equal(score_pool(net, [], *batches).valid_pixels, pixels)  # a rank without archs knows them, too
