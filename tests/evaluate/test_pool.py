"""Scores of many subnets on frozen batches: shared work, A2, valid pixels, no trace; and the calibration sweep."""

import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from numeric import FLOAT32
from scipy.stats import t

import edgeflownas
from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.errors import ConfigError, DataError
from edgeflownas.evaluate import pool
from edgeflownas.evaluate.frozen import FrozenBatches, freeze_split
from edgeflownas.evaluate.losses import accumulate, multiscale_loss
from edgeflownas.evaluate.noise import pool_noise
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from flow_batches import Stop, StopAt, make_batches, plain_moments, unchanged  # noqa: E402
from tiny import make_tiny  # noqa: E402

SPACE, V3 = get_space("v1"), get_space("v3")
CODES = ("000000000", "000021222", "002102010", "210210210", "000021220")
ARCHS = [SPACE.parse(code) for code in CODES]


def plain_subnet(net, arch, calibration):
    """The subnet as a module of its own, its buffers overwritten by plain moments."""
    subnet = net.subnet(arch)
    for name, (mean, var) in plain_moments(subnet, None, calibration).items():
        subnet.get_submodule(name).running_mean.copy_(mean)
        subnet.get_submodule(name).running_var.copy_(var)
    return subnet.eval()


@torch.no_grad()
def plain_predictions(net, arch, calibration, images):
    """A0, A1, A2 [B,4,h,w]."""
    return [a.double().numpy() for a in accumulate(plain_subnet(net, arch, calibration)(images))]


def numpy_errors(flow, batch, stride=1):
    """Euclidean errors at the valid pixels of each sample, float64."""
    label = batch.flow.numpy()[:, :, ::stride, ::stride].astype(np.float64)
    error = np.hypot(*np.moveaxis(flow[:, :2, : label.shape[2], : label.shape[3]] - label, 1, 0))
    valid = batch.valid.numpy()[:, ::stride, ::stride]
    return [error[i][valid[i]] for i in range(len(error))]


@pytest.fixture(scope="module")
def net():
    return FlowNet(SPACE, 4)


@pytest.fixture(scope="module")
def batches():
    """Calibration and evaluation; the last evaluation batch is smaller, sizes are no multiples of 16."""
    return make_batches([3, 2]), make_batches([3, 1], seed=1)


def test_every_figure_against_numpy(net, batches):
    calibration, evaluation = batches
    result = pool.score_pool(net, ARCHS, calibration, evaluation)
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


def test_loss_terms_are_means_over_samples(net, batches):
    calibration, evaluation = batches
    score = pool.score_pool(net, ARCHS[1:2], calibration, evaluation).scores[0]
    subnet, losses = plain_subnet(net, ARCHS[1], calibration), []
    with torch.no_grad():
        for batch in evaluation:
            for row in range(len(batch.images)):
                one = FlowBatch(*(tensor[row : row + 1] for tensor in batch))
                losses.append([float(term) for term in multiscale_loss(subnet(one.images), one.flow, one.valid)])
    found = [score.loss_total, score.loss_optical, score.loss_uncertainty]
    assert found == pytest.approx(np.mean(losses, axis=0), rel=1e-4)
    assert score.loss_total == pytest.approx(score.loss_optical + score.loss_uncertainty, rel=1e-6)


@pytest.mark.parametrize(
    ("space", "codes"), [("v1", CODES), ("v3", ("00002000000", "00000100000", "00002000001", *map(str, V3.pool(3))))]
)
def test_shared_scores_are_those_of_each_subnet_alone(space, codes, batches):
    """In v3 the context of the bottleneck goes to the gate of its own branch of the tree."""
    net, archs = FlowNet(get_space(space), 4), [get_space(space).parse(code) for code in codes]
    shared = pool.score_pool(net, archs, *batches)
    backward = pool.score_pool(net, [*archs[::-1], archs[0]], *batches)  # neither order nor company matters
    assert backward.epes == [*shared.epes[::-1], shared.epes[0]]
    for arch, score in zip(archs, shared.scores, strict=True):
        subnet = net.subnet(arch)
        alone = pool.score_pool(subnet, list(subnet.space), *batches).scores[0]
        assert torch.equal(score.sample_epe, alone.sample_epe)
        for name in ("epe", "epe_a0", "epe_a1", "loss_total", "loss_optical", "loss_uncertainty"):
            assert getattr(score, name) == getattr(alone, name), name
        flows = [plain_predictions(net, arch, batches[0], batch.images)[2] for batch in batches[1]]  # no walk in it
        errors = [e.mean() for flow, batch in zip(flows, batches[1], strict=True) for e in numpy_errors(flow, batch)]
        assert score.sample_epe.numpy() == pytest.approx(errors, rel=1e-5)
    assert len(set(shared.epes)) == len(archs)  # a mix-up would show


def plant(monkeypatch, net, outputs):
    """Let the prediction stages of ``net`` return ``outputs`` (p0, p1, p2)."""
    run_stage = net.run_stage

    def planted(index, *rest):
        scale = net.stages[index].output
        return run_stage(index, *rest) if scale is None else outputs[scale]

    monkeypatch.setattr(net, "run_stage", planted)


def test_scores_the_accumulated_flow_not_the_last_prediction(monkeypatch):
    batch = make_batches([2], 32, 32)[0]
    coarse, middle, last = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 16, 16), torch.zeros(2, 4, 32, 32)
    last[:, :2] = batch.flow
    net = FlowNet(SPACE, 2)
    plant(monkeypatch, net, [coarse, middle, last])  # p2 alone is perfect; A2 is off by (1, 1) everywhere
    score = pool.score_pool(net, [SPACE.sample(0)], [batch], [batch]).scores[0]
    assert score.epe == pytest.approx(2**0.5, rel=1e-6)
    last[:, :2] -= 1  # now the sum is perfect and p2 alone is not
    assert pool.score_pool(net, [SPACE.sample(0)], [batch], [batch]).scores[0].epe <= FLOAT32 * batch.flow.abs().max()


def test_invalid_pixels_count_nowhere(net):
    calibration, evaluation = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    spoilt = evaluation[0]._replace(
        flow=torch.where(evaluation[0].valid[:, None], evaluation[0].flow, torch.tensor(float("nan")))
    )
    clean = pool.score_pool(net, ARCHS[:1], calibration, evaluation)
    dirty = pool.score_pool(net, ARCHS[:1], calibration, [spoilt])
    assert clean.scores[0].epe == dirty.scores[0].epe and clean.zero_flow_epe == dirty.zero_flow_epe
    assert clean.scores[0].epe_a0 == dirty.scores[0].epe_a0
    assert clean.scores[0].loss_total == dirty.scores[0].loss_total


def test_a_sample_without_a_valid_pixel(net):
    calibration, (batch,) = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    batch.valid[1] = False
    score = pool.score_pool(net, ARCHS[:1], calibration, [batch]).scores[0]
    assert torch.isnan(score.sample_epe[1]) and score.epe == pytest.approx(float(score.sample_epe[0]), rel=1e-12)
    batch.valid[:] = False
    with pytest.raises(DataError, match="no valid pixel"):
        pool.score_pool(net, ARCHS[:1], calibration, [batch])


@pytest.mark.parametrize(("moment", "training"), [(None, True), (None, False), *((m, True) for m in (1, 2, 3, 4))])
def test_leaves_no_trace(net, moment, training):
    """Also where it is abandoned in calibration (1, 2) or evaluation (3, 4)."""
    net.train(training)
    with unchanged(net), pytest.raises(Stop) if moment else nullcontext():
        pool.score_pool(net, ARCHS[:1], make_batches([1, 1], 32, 32), make_batches([1, 1], 32, 32), StopAt(moment))


# ---- the public function ----


def test_evaluate_pool_takes_tuples_and_texts(net, batches):
    calibration, evaluation = batches
    expected = pool.score_pool(net, ARCHS[:2], calibration, evaluation).scores
    tuples = [tuple(batch) for batch in evaluation]
    archs = [CODES[0], "0,0,0,0,2,1,2,2,2"]
    results = edgeflownas.evaluate_pool(net, archs, [(b.images, b.flow, None) for b in calibration], tuples)
    for result, score in zip(results, expected, strict=True):
        assert result.epe == score.epe and torch.equal(result.sample_epe, score.sample_epe)
        assert result[0] == result.epe and result[1] is result.sample_epe


def test_valid_none_means_every_pixel_and_calibration_flow_does_not_matter(net):
    (calibration,), (batch,) = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    none, ones, some = (
        pool.evaluate_pool(net, ARCHS[:1], [calibrated], [(batch.images, batch.flow, valid)])[0].epe
        for calibrated, valid in (
            (calibration, None),
            (calibration._replace(flow=batch.flow * 1e3), torch.ones_like(batch.valid)),
            (calibration, batch.valid),
        )
    )
    assert none == ones != some


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": SPACE.restrict(ARCHS[0]).arch([0] * 9)}, "space"),
        ({"arch": "00000000"}, "8 digits"),
        ({"arch": "000000003"}, "digit 3 of H2Out"),
        ({"arch": "nonsense"}, "'nonsense'"),
        ({"calibration": []}, "at least one"),
        ({"evaluation": []}, "at least one"),
        *(({"flow": shape}, "flow") for shape in ((2, 32, 32, 2), (1, 2, 32, 32), (2, 2, 32, 16), (2, 1, 32, 32))),
        *(({"valid": shape}, "valid") for shape in ((2, 32, 16), (1, 32, 32), (2, 2, 32, 32))),
    ],
)
def test_refusals(net, change, message):
    (batch,) = make_batches([2], 32, 32)
    flow, valid = torch.zeros(change.get("flow", (2, 2, 32, 32))), torch.ones(change.get("valid", (2, 32, 32)))
    evaluation = change.get("evaluation", [(batch.images, flow, valid)])
    with pytest.raises(ConfigError, match=message):
        pool.evaluate_pool(net, [change.get("arch", ARCHS[0])], change.get("calibration", [batch]), evaluation)


def test_figures_are_fp32_whatever_the_switches_say(net, batches):
    """TF32 (of the training step, or torch's default for convolutions) is off meanwhile and back afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    seen: set[tuple[bool, bool]] = set()
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = True
        pool.score_pool(net, ARCHS[:1], *batches, check_stop=lambda: seen.add((matmul.allow_tf32, cudnn.allow_tf32)))
        assert seen == {(False, False)} and matmul.allow_tf32 and cudnn.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def test_a_divisor_of_the_labels_is_undone(net, batches):
    """A network that learned flow / 8: errors in pixels, 8 times those in its own units, and losses as in training."""
    calibration, evaluation = batches
    own_units = [batch._replace(flow=batch.flow / 8) for batch in evaluation]
    in_pixels = pool.score_pool(net, ARCHS[:2], calibration, evaluation, flow_divisor=8.0)
    learned = pool.score_pool(net, ARCHS[:2], calibration, own_units)
    for one, other in zip(in_pixels.scores, learned.scores, strict=True):
        for figure in ("epe", "epe_a0", "epe_a1"):
            assert getattr(one, figure) == pytest.approx(8 * getattr(other, figure), rel=1e-6)
        for loss in ("loss_total", "loss_optical", "loss_uncertainty"):
            assert getattr(one, loss) == getattr(other, loss)
        assert torch.allclose(one.sample_epe, 8 * other.sample_epe)
    assert in_pixels.zero_flow_epe == pool.score_pool(net, ARCHS[:1], calibration, evaluation).zero_flow_epe


def test_several_sets_on_one_recalibration_are_evaluations_of_their_own(net, batches):
    calibration, evaluation = batches
    first = pool.score_pool(net, ARCHS, calibration, evaluation)
    for seed, sizes in ((5, [2, 2, 1]), (6, [4])):
        other = make_batches(sizes, 32, 48, seed=seed)
        shared = pool.score_recalibrated(net, ARCHS, first.statistics, iter(other))
        alone = pool.score_pool(net, ARCHS, calibration, other)
        assert torch.equal(shared.sample_epe, alone.sample_epe) and torch.equal(shared.valid_pixels, alone.valid_pixels)
        assert (shared.epes, shared.zero_flow_epe, shared.samples) == (alone.epes, alone.zero_flow_epe, sum(sizes))
        for one, two in zip(shared.scores, alone.scores, strict=True):
            assert (one.loss_total, one.epe_a0, one.epe_a1) == (two.loss_total, two.epe_a0, two.epe_a1)
    again = pool.score_recalibrated(net, ARCHS, first.statistics, evaluation)
    assert again.epes == first.epes and again.recal_seconds == 0.0 < first.recal_seconds


def test_valid_pixels_and_noise(net, batches):
    result = pool.score_pool(net, ARCHS, *batches)
    pixels = torch.cat([batch.valid.sum((1, 2)) for batch in batches[1]])
    assert result.valid_pixels.dtype == torch.int64 and torch.equal(result.valid_pixels, pixels)
    expected = pool_noise(result.sample_epe, pixels)
    assert np.array_equal(result.noise.paired, expected.paired) and result.noise.samples == 4
    assert result.noise.epes == pytest.approx(result.epes, rel=1e-6)
    assert torch.equal(pool.score_pool(net, [], *batches).valid_pixels, pixels)  # a rank without archs knows them, too


# ---- calibration sweep ----


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    return scan_fc2(make_tiny(tmp_path_factory.mktemp("sweep") / "data", train=11, val=1) / "train", "train")


def own_split(train, batches):
    return freeze_split(train, "label", (32, 48), 2, batches, "spread", "key", lambda text: None)


def test_sizes():
    assert pool.sweep_sizes(32, 10_000, 8) == [8, 16, 32, 64]
    assert pool.sweep_sizes(4, 10_000, 8) == [4, 8, 16, 32, 64]
    assert pool.sweep_sizes(64, 10_000, 8) == [8, 16, 32, 64, 128]
    assert pool.sweep_sizes(2, 11, 2) == [2, 4, 6] and pool.sweep_sizes(6, 11, 2) == [6]


def test_other_samples_are_not_the_runs_own_as_long_as_there_are_others(train):
    own = own_split(train, 2)
    other, shared = pool.other_samples(own, train, 6, seed=0)
    assert shared == 0 and not set(other.names[:4]) & set(own.names) and sorted(other.names) == sorted(train.names)
    assert {(w.height, w.width) for w in other.windows} == {(32, 48)} and other.batch_size == 2
    assert pool.other_samples(own, train, 2, seed=0)[0].names == other.names[:4]  # a smaller set is its beginning
    assert pool.other_samples(own, train, 6, seed=1)[0].names != other.names
    most = own_split(train, 4)
    assert pool.other_samples(most, train, 6, seed=0)[1] == 5  # eight of eleven are its own, three others exist


def test_every_size_equals_an_evaluation_of_its_own(train):
    own = own_split(train, 2)
    other, _ = pool.other_samples(own, train, 4, seed=0)
    place = (None, torch.device("cpu"), torch.float32)
    sets = [FrozenBatches(split, train, *place, hold=hold) for split, hold in ((own, True), (other, False))]
    net, evaluation, asked = FlowNet(SPACE, 2), make_batches([2, 1], 32, 48), []
    found = pool.sweep_calibration(net, ARCHS[:2], *sets, evaluation, [1, 2, 4], lambda: asked.append(1))
    assert (list(found.others), found.own_batches, len(asked)) == ([1, 2, 4], 2, 2 + 4 + 4 * 2)
    calibration = list(sets[1])
    for size, result in found.others.items():
        alone = pool.score_pool(net, ARCHS[:2], calibration[:size], evaluation)
        assert torch.equal(result.sample_epe, alone.sample_epe) and result.epes == alone.epes
    assert found.own.epes == pool.score_pool(net, ARCHS[:2], sets[0], evaluation).epes
    assert len(found.verdicts()) == 2 and set(found.taus()) == {1, 2, 4}


def evaluation(*changes, samples=40, noise=0.01, seed=0):
    """Archs whose errors differ from a common base by a change and a little noise of their own."""
    base = np.random.default_rng(0).gamma(4.0, 1.0, samples)
    own = np.random.default_rng(seed + 1).normal(0.0, noise, (len(changes), samples))
    rows = torch.from_numpy(base + np.array(changes)[:, None] + own)
    scores = [pool.ArchScore(ARCHS[0], float(row.mean()), 0, 0, 0, 0, 0, row) for row in rows]
    return pool.PoolEvaluation(scores, 1.0, torch.full((samples,), 100), 0.0, 0.0, {})


def test_verdicts():
    """By arch: nothing moves; more batches help; another set is worse; more batches are worse; a lucky first prefix."""
    apart = (-0.4, -0.2, 0.0, 0.2, 0.4)  # the EPEs of the archs; the gaps' median is 0.2 px

    def scored(*changes, seed):
        return evaluation(*(one + change for one, change in zip(apart, changes, strict=True)), seed=seed)

    others = {2: scored(0, 0, 0.3, 0, -0.3, seed=1), 8: scored(0, -0.2, 0.3, 0.2, -0.3, seed=2)}
    found = pool.CalibrationSweep(scored(0, 0, 0, 0, 0, seed=0), 2, others).verdicts()
    verdicts = ["not calibration", "under-calibrated", *["depends on the samples"] * 2, "not calibration"]
    assert [row.verdict for row in found] == verdicts
    assert found[1].more == pytest.approx(-0.2, abs=0.01) and found[2].other == pytest.approx(0.3, abs=0.01)
    assert [row.relevant for row in found] == pytest.approx([0.4, 0.2, 0.2, 0.2, 0.4], abs=0.02)
    # 40 samples, five archs: t with 39 degrees of freedom at 1 - 0.025 / 5
    expected = t.ppf(0.995, 39) * 0.01 * (2 / 40) ** 0.5
    assert all(row.more_margin == pytest.approx(expected, rel=0.5) for row in found)


@pytest.mark.parametrize("samples, noise, verdict", [(4, 1.0, "cannot be told"), (400, 0.1, "not calibration")])
def test_no_change_is_not_calibration_only_where_one_would_be_seen(samples, noise, verdict):
    """Three archs 0.5 px apart that calibration does not change."""
    own, *others = (evaluation(-0.5, 0, 0.5, samples=samples, noise=noise, seed=seed) for seed in (3, 4, 5))
    found = pool.CalibrationSweep(own, 2, dict(zip((2, 8), others, strict=True))).verdicts()
    assert [row.verdict for row in found] == [verdict] * 3
    for row in found:  # the printed figures give the verdict
        shown = [(row.more, row.more_margin), (row.other, row.other_margin), (row.total, row.total_margin)]
        assert all(abs(change) + margin < row.relevant for change, margin in shown) == (verdict == "not calibration")


def test_a_large_change_within_noise_is_no_evidence():
    """Four samples: the EPE grows by a pixel, by far more than the gaps, and even so it is not beyond the interval."""
    own, other, more = (evaluation(-0.1, 0, 0.1, d, samples=4, noise=0.8, seed=s) for d, s in ((0, 0), (1, 1), (1, 2)))
    row = pool.CalibrationSweep(own, 2, {2: other, 8: more}).verdicts()[3]
    assert row.verdict == "cannot be told" and row.other > 0.4 > row.relevant and row.other < row.other_margin


def test_an_unlucky_prefix_alone_is_no_lack_of_batches():
    """Fewer of the other samples are bad, more of them as good as the run's own: the run has enough."""
    sweep = pool.CalibrationSweep(evaluation(0), 2, {2: evaluation(0.3, seed=1), 8: evaluation(0, seed=2)})
    assert sweep.verdicts()[0].verdict == "depends on the samples"


def test_what_cannot_be_told():
    own = evaluation(-1, 0, 1)
    alone = pool.CalibrationSweep(own, 2, {2: evaluation(-1, 0, 1, seed=1)}).verdicts()[0]  # no larger set to look at
    assert alone.more is None and alone.more_margin is None and alone.verdict == "cannot be told"
    of_one = pool.CalibrationSweep(evaluation(0), 2, {2: evaluation(0, seed=1), 4: evaluation(0, seed=2)}).verdicts()[0]
    assert of_one.relevant == 0.0 and of_one.verdict == "cannot be told"
    single = pool.CalibrationSweep(
        evaluation(0, samples=1), 2, {2: evaluation(0, samples=1), 4: evaluation(0, samples=1)}
    )
    assert single.verdicts()[0].verdict == "cannot be told" and single.verdicts()[0].other is None
