"""Scores of many subnets on frozen batches: shared work, A2, valid pixels, no trace."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numeric import FLOAT32

import edgeflownas
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.pool import evaluate_pool, score_pool
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import Arch, get_space

sys.path.insert(0, str(Path(__file__).parent))
from flow_batches import make_batches, plain_moments  # noqa: E402

SPACE = get_space("v1")
CODES = ("000000000", "000021222", "002102010", "210210210", "000021220")
ARCHS = [SPACE.parse(code) for code in CODES]


@torch.no_grad()
def plain_predictions(net: FlowNet, arch: Arch, calibration: list[FlowBatch], images: torch.Tensor) -> list[np.ndarray]:
    """A0, A1, A2 [B,4,h,w] of the subnet as a module of its own, its buffers overwritten by plain moments."""
    subnet = net.subnet(arch)
    for name, (mean, var) in plain_moments(subnet, None, calibration).items():
        bn = subnet.get_submodule(name)
        bn.running_mean.copy_(mean)
        bn.running_var.copy_(var)
    subnet.eval()
    return [a.double().numpy() for a in accumulate(subnet(images))]


def numpy_errors(flow: np.ndarray, batch: FlowBatch, stride: int = 1) -> list[np.ndarray]:
    """Euclidean errors at the valid pixels of each sample, float64."""
    label = batch.flow.numpy()[:, :, ::stride, ::stride].astype(np.float64)
    error = np.hypot(*np.moveaxis(flow[:, :2, : label.shape[2], : label.shape[3]] - label, 1, 0))
    valid = batch.valid.numpy()[:, ::stride, ::stride]
    return [error[i][valid[i]] for i in range(len(error))]


@pytest.fixture(scope="module")
def net() -> FlowNet:
    return FlowNet(SPACE, 4)


@pytest.fixture(scope="module")
def batches() -> tuple[list[FlowBatch], list[FlowBatch]]:
    """Calibration and evaluation; the last evaluation batch is smaller, sizes are no multiples of 16."""
    return make_batches([3, 2]), make_batches([3, 1], seed=1)


def test_every_figure_against_numpy(net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    calibration, evaluation = batches
    result = score_pool(net, ARCHS, calibration, evaluation)
    assert result.samples == 4 and [s.arch for s in result.scores] == ARCHS
    for arch, score in zip(ARCHS, result.scores, strict=True):
        sums = [plain_predictions(net, arch, calibration, batch.images) for batch in evaluation]
        per_sample = [e for a, b in zip(sums, evaluation, strict=True) for e in numpy_errors(a[2], b)]
        assert score.sample_epe.numpy() == pytest.approx([e.mean() for e in per_sample], rel=1e-5)
        assert score.epe == pytest.approx(np.concatenate(per_sample).mean(), rel=1e-5)  # pixels are pooled, not samples
        for scale, stride, figure in ((0, 4, score.epe_a0), (1, 2, score.epe_a1)):
            errors = [e for a, b in zip(sums, evaluation, strict=True) for e in numpy_errors(a[scale], b, stride)]
            assert figure == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)
    zero = [np.linalg.norm(b.flow.double().numpy(), axis=1)[b.valid.numpy()] for b in evaluation]
    assert result.zero_flow_epe == pytest.approx(np.concatenate(zero).mean(), rel=1e-6)


def test_loss_terms_are_means_over_samples(net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    calibration, evaluation = batches
    score = score_pool(net, ARCHS[1:2], calibration, evaluation).scores[0]
    subnet, losses = net.subnet(ARCHS[1]), []
    for name, (mean, var) in plain_moments(subnet, None, calibration).items():
        subnet.get_submodule(name).running_mean.copy_(mean)
        subnet.get_submodule(name).running_var.copy_(var)
    with torch.no_grad():
        for batch in evaluation:
            for row in range(len(batch.images)):
                one = FlowBatch(*(tensor[row : row + 1] for tensor in batch))
                losses.append([float(t) for t in multiscale_loss(subnet.eval()(one.images), one.flow, one.valid)])
    assert [score.loss_total, score.loss_optical, score.loss_uncertainty] == pytest.approx(
        np.mean(losses, axis=0), rel=1e-4
    )
    assert score.loss_total == pytest.approx(score.loss_optical + score.loss_uncertainty, rel=1e-6)


def test_shared_scores_are_those_of_each_subnet_alone(
    net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]
) -> None:
    shared = score_pool(net, ARCHS, *batches)
    for arch, score in zip(ARCHS, shared.scores, strict=True):
        subnet = net.subnet(arch)
        alone = score_pool(subnet, [subnet.space.arch([0] * 9)], *batches).scores[0]
        assert torch.equal(score.sample_epe, alone.sample_epe)
        for name in ("epe", "epe_a0", "epe_a1", "loss_total", "loss_optical", "loss_uncertainty"):
            assert getattr(score, name) == getattr(alone, name), name
    assert len({score.epe for score in shared.scores}) == len(ARCHS)  # a mix-up would show


def test_shared_scores_of_v3_are_those_of_each_subnet_alone(batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    """Context of the bottleneck goes to the gate of its own branch of the tree."""
    space = get_space("v3")
    archs = [*space.pool(3), *map(space.parse, ("00002000000", "00000100000", "00002000001"))]
    net = FlowNet(space, 4)
    shared = score_pool(net, archs[::-1], *batches).scores[::-1]
    for arch, score in zip(archs, shared, strict=True):
        subnet = net.subnet(arch)
        alone = score_pool(subnet, list(subnet.space), *batches).scores[0]
        assert torch.equal(score.sample_epe, alone.sample_epe) and score.loss_total == alone.loss_total
        flows = [plain_predictions(net, arch, batches[0], batch.images)[2] for batch in batches[1]]  # no walk in it
        errors = [e.mean() for flow, batch in zip(flows, batches[1], strict=True) for e in numpy_errors(flow, batch)]
        assert score.sample_epe.numpy() == pytest.approx(errors, rel=1e-5)
    assert len({score.epe for score in shared}) == len(archs)


def test_order_of_the_archs_does_not_matter(net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    forward, backward = score_pool(net, ARCHS, *batches), score_pool(net, ARCHS[::-1], *batches)
    assert [s.epe for s in forward.scores] == [s.epe for s in backward.scores][::-1]
    twice = score_pool(net, [ARCHS[0], ARCHS[0]], *batches)
    assert twice.scores[0].epe == twice.scores[1].epe == forward.scores[0].epe


def plant(monkeypatch: pytest.MonkeyPatch, net: FlowNet, outputs: list[torch.Tensor]) -> None:
    """Let the prediction stages of ``net`` return ``outputs`` (p0, p1, p2)."""
    run_stage = net.run_stage

    def planted(index: int, *rest: Any) -> torch.Tensor:
        scale = net.stages[index].output
        return run_stage(index, *rest) if scale is None else outputs[scale]

    monkeypatch.setattr(net, "run_stage", planted)


def test_scores_the_accumulated_flow_not_the_last_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batches([2], 32, 32)[0]
    coarse, middle, last = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 16, 16), torch.zeros(2, 4, 32, 32)
    last[:, :2] = batch.flow
    net = FlowNet(SPACE, 2)
    plant(monkeypatch, net, [coarse, middle, last])  # p2 alone is perfect; A2 is off by (1, 1) everywhere
    score = score_pool(net, [SPACE.sample(0)], [batch], [batch]).scores[0]
    assert score.epe == pytest.approx(2**0.5, rel=1e-6)
    last[:, :2] -= 1  # now the sum is perfect and p2 alone is not
    assert score_pool(net, [SPACE.sample(0)], [batch], [batch]).scores[0].epe <= FLOAT32 * batch.flow.abs().max()


def test_invalid_pixels_count_nowhere(net: FlowNet) -> None:
    calibration, evaluation = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    spoilt = evaluation[0]._replace(
        flow=torch.where(evaluation[0].valid[:, None], evaluation[0].flow, torch.tensor(float("nan")))
    )
    clean = score_pool(net, ARCHS[:1], calibration, evaluation)
    dirty = score_pool(net, ARCHS[:1], calibration, [spoilt])
    assert clean.scores[0].epe == dirty.scores[0].epe and clean.zero_flow_epe == dirty.zero_flow_epe
    assert clean.scores[0].epe_a0 == dirty.scores[0].epe_a0
    assert clean.scores[0].loss_total == dirty.scores[0].loss_total


def test_a_sample_without_a_valid_pixel(net: FlowNet) -> None:
    calibration, (batch,) = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    batch.valid[1] = False
    score = score_pool(net, ARCHS[:1], calibration, [batch]).scores[0]
    assert torch.isnan(score.sample_epe[1]) and score.epe == pytest.approx(float(score.sample_epe[0]), rel=1e-12)
    batch.valid[:] = False
    with pytest.raises(DataError, match="no valid pixel"):
        score_pool(net, ARCHS[:1], calibration, [batch])


@pytest.mark.parametrize("training", [True, False])
def test_leaves_no_trace(net: FlowNet, training: bool) -> None:
    net.train(training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    score_pool(net, ARCHS[:2], make_batches([2], 32, 32), make_batches([2], 32, 32))
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.training is training and all(p.grad is None for p in net.parameters())
    assert all(bn.recorder is None and bn.lent is None and not bn.lending for bn in net.batchnorms)


class Stop(Exception):
    pass


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_an_abandoned_evaluation_restores_the_network(net: FlowNet, moment: int) -> None:
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    asked: list[int] = []

    def check_stop() -> None:
        asked.append(1)
        if len(asked) == moment:
            raise Stop

    with pytest.raises(Stop):
        score_pool(net, ARCHS[:1], make_batches([1, 1], 32, 32), make_batches([1, 1], 32, 32), check_stop)
    assert net.training and all(bn.recorder is None and bn.lent is None for bn in net.batchnorms)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


# ---- the public function ----


def test_evaluate_pool_takes_tuples_and_texts(net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    calibration, evaluation = batches
    expected = score_pool(net, ARCHS[:2], calibration, evaluation).scores
    tuples = [tuple(batch) for batch in evaluation]
    archs = [CODES[0], "0,0,0,0,2,1,2,2,2"]
    results = edgeflownas.evaluate_pool(net, archs, [(b.images, b.flow, None) for b in calibration], tuples)
    for result, score in zip(results, expected, strict=True):
        assert result.epe == score.epe and torch.equal(result.sample_epe, score.sample_epe)
        assert result[0] == result.epe and result[1] is result.sample_epe


def test_valid_none_means_every_pixel(net: FlowNet) -> None:
    calibration, (batch,) = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    everywhere = torch.ones_like(batch.valid)
    none, ones, some = (
        evaluate_pool(net, ARCHS[:1], calibration, [(batch.images, batch.flow, valid)])[0].epe
        for valid in (None, everywhere, batch.valid)
    )
    assert none == ones != some


def test_an_arch_of_another_space_is_refused(net: FlowNet) -> None:
    batch = make_batches([2], 32, 32)
    other = SPACE.restrict(ARCHS[0]).arch([0] * 9)
    with pytest.raises(ConfigError, match="space"):
        evaluate_pool(net, [other], batch, batch)
    for wrong, message in (("00000000", "8 digits"), ("000000003", "digit 3 of H2Out"), ("nonsense", "'nonsense'")):
        with pytest.raises(ConfigError, match=message):
            evaluate_pool(net, [wrong], batch, batch)


def test_wrong_shapes_and_missing_batches_are_refused(net: FlowNet) -> None:
    (batch,) = make_batches([2], 32, 32)
    channels_last_flow = batch.flow.permute(0, 2, 3, 1)
    for flow in (channels_last_flow, batch.flow[:1], batch.flow[:, :, :16], batch.flow[:, :1]):
        with pytest.raises(ConfigError, match="flow"):
            evaluate_pool(net, ARCHS[:1], [batch], [(batch.images, flow, None)])
    for calibration, evaluation in (([], [batch]), ([batch], [])):
        with pytest.raises(ConfigError, match="at least one"):
            evaluate_pool(net, ARCHS[:1], calibration, evaluation)


@pytest.mark.parametrize("valid", [torch.ones(2, 32, 16), torch.ones(1, 32, 32), torch.ones(2, 2, 32, 32)])
def test_a_valid_mask_of_another_shape_is_refused(net: FlowNet, valid: torch.Tensor) -> None:
    (batch,) = make_batches([2], 32, 32)
    with pytest.raises(ConfigError, match="valid"):
        evaluate_pool(net, ARCHS[:1], [batch], [(batch.images, batch.flow, valid)])


def test_calibration_flow_does_not_matter(net: FlowNet) -> None:
    """Only images are used for calibration, so its truth may be anything of the right shape."""
    (batch,) = make_batches([2], 32, 32)
    other = batch._replace(flow=batch.flow * 1e3)
    assert (
        evaluate_pool(net, ARCHS[:1], [batch], [batch])[0].epe == evaluate_pool(net, ARCHS[:1], [other], [batch])[0].epe
    )


def test_figures_are_fp32_whatever_the_switches_say(
    net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]
) -> None:
    """TF32 (of the training step, or torch's default for convolutions) is off meanwhile and back afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    seen: set[tuple[bool, bool]] = set()
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        score_pool(net, ARCHS[:1], *batches, check_stop=lambda: seen.add((matmul.allow_tf32, cudnn.allow_tf32)))
        assert seen == {(False, False)} and matmul.allow_tf32 and cudnn.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def test_a_divisor_of_the_labels_is_undone(net: FlowNet, batches: tuple[list[FlowBatch], list[FlowBatch]]) -> None:
    """A network that learned flow / 8: errors in pixels, 8 times those in its own units, and losses as in training."""
    calibration, evaluation = batches
    own_units = [batch._replace(flow=batch.flow / 8) for batch in evaluation]
    in_pixels = score_pool(net, ARCHS[:2], calibration, evaluation, flow_divisor=8.0)
    learned = score_pool(net, ARCHS[:2], calibration, own_units)
    for one, other in zip(in_pixels.scores, learned.scores, strict=True):
        for figure in ("epe", "epe_a0", "epe_a1"):
            assert getattr(one, figure) == pytest.approx(8 * getattr(other, figure), rel=1e-6)
        for loss in ("loss_total", "loss_optical", "loss_uncertainty"):
            assert getattr(one, loss) == getattr(other, loss)
        assert torch.allclose(one.sample_epe, 8 * other.sample_epe)
    assert in_pixels.zero_flow_epe == score_pool(net, ARCHS[:1], calibration, evaluation).zero_flow_epe
