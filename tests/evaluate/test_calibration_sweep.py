"""More, fewer and other calibration batches: which samples, one walk, and the verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import t

from edgeflownas.data.fc2 import scan_fc2
from edgeflownas.evaluate.calibration_sweep import CalibrationSweep, other_samples, sweep_calibration, sweep_sizes
from edgeflownas.evaluate.frozen import FrozenBatches, freeze_split
from edgeflownas.evaluate.pool import ArchScore, PoolEvaluation, score_pool
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from flow_batches import make_batches  # noqa: E402
from tiny import make_tiny  # noqa: E402

SPACE = get_space("v1")
ARCHS = [SPACE.parse(code) for code in ("000000000", "000021222")]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory):
    return scan_fc2(make_tiny(tmp_path_factory.mktemp("sweep") / "data", train=11, val=1) / "train", "train")


def own_split(train, batches: int):
    return freeze_split(train, "label", (32, 48), 2, batches, "spread", "key", lambda text: None)


def test_sizes() -> None:
    assert sweep_sizes(32, 10_000, 8) == [8, 16, 32, 64]
    assert sweep_sizes(4, 10_000, 8) == [4, 8, 16, 32, 64]
    assert sweep_sizes(64, 10_000, 8) == [8, 16, 32, 64, 128]
    assert sweep_sizes(2, 11, 2) == [2, 4, 6] and sweep_sizes(6, 11, 2) == [6]


def test_other_samples_are_not_the_runs_own_as_long_as_there_are_others(train) -> None:
    own = own_split(train, 2)
    other, shared = other_samples(own, train, 6, seed=0)
    assert shared == 0 and not set(other.names[:4]) & set(own.names) and sorted(other.names) == sorted(train.names)
    assert {(w.height, w.width) for w in other.windows} == {(32, 48)} and other.batch_size == 2
    assert other_samples(own, train, 2, seed=0)[0].names == other.names[:4]  # a smaller set is its beginning
    assert other_samples(own, train, 6, seed=1)[0].names != other.names
    most = own_split(train, 4)
    assert other_samples(most, train, 6, seed=0)[1] == 5  # eight of eleven are its own, three others exist


def test_every_size_equals_an_evaluation_of_its_own(train) -> None:
    own = own_split(train, 2)
    other, _ = other_samples(own, train, 4, seed=0)
    place = (None, torch.device("cpu"), torch.float32)
    sets = [FrozenBatches(split, train, *place, hold=hold) for split, hold in ((own, True), (other, False))]
    net, evaluation, asked = FlowNet(SPACE, 2), make_batches([2, 1], 32, 48), []
    found = sweep_calibration(net, ARCHS, *sets, evaluation, [1, 2, 4], lambda: asked.append(1))
    assert (list(found.others), found.own_batches, len(asked)) == ([1, 2, 4], 2, 2 + 4 + 4 * 2)
    calibration = list(sets[1])
    for size, result in found.others.items():
        alone = score_pool(net, ARCHS, calibration[:size], evaluation)
        assert torch.equal(result.sample_epe, alone.sample_epe) and result.epes == alone.epes
    assert found.own.epes == score_pool(net, ARCHS, sets[0], evaluation).epes
    assert len(found.verdicts()) == 2 and set(found.taus()) == {1, 2, 4}


def evaluation(*changes: float, samples: int = 40, noise: float = 0.01, seed: int = 0) -> PoolEvaluation:
    """Archs whose errors differ from a common base by a change and a little noise of their own."""
    base = np.random.default_rng(0).gamma(4.0, 1.0, samples)
    own = np.random.default_rng(seed + 1).normal(0.0, noise, (len(changes), samples))
    rows = torch.from_numpy(base + np.array(changes)[:, None] + own)
    scores = [ArchScore(ARCHS[0], float(row.mean()), 0, 0, 0, 0, 0, row) for row in rows]
    return PoolEvaluation(scores, 1.0, torch.full((samples,), 100), 0.0, 0.0, {})


def test_verdicts() -> None:
    """By arch: nothing moves; more batches help; another set is worse; more batches are worse; a lucky first prefix."""
    apart = (-0.4, -0.2, 0.0, 0.2, 0.4)  # the EPEs of the archs; the gaps' median is 0.2 px

    def scored(*changes: float, seed: int) -> PoolEvaluation:
        return evaluation(*(one + change for one, change in zip(apart, changes, strict=True)), seed=seed)

    others = {2: scored(0, 0, 0.3, 0, -0.3, seed=1), 8: scored(0, -0.2, 0.3, 0.2, -0.3, seed=2)}
    found = CalibrationSweep(scored(0, 0, 0, 0, 0, seed=0), 2, others).verdicts()
    samples = "depends on the samples"
    assert [row.verdict for row in found] == [
        "not calibration",
        "under-calibrated",
        samples,
        samples,
        "not calibration",
    ]
    assert found[1].more == pytest.approx(-0.2, abs=0.01) and found[2].other == pytest.approx(0.3, abs=0.01)
    assert [row.relevant for row in found] == pytest.approx([0.4, 0.2, 0.2, 0.2, 0.4], abs=0.02)
    # 40 samples, five archs: t with 39 degrees of freedom at 1 - 0.025 / 5
    expected = t.ppf(0.995, 39) * 0.01 * (2 / 40) ** 0.5
    assert all(row.more_margin == pytest.approx(expected, rel=0.5) for row in found)


@pytest.mark.parametrize("samples, noise, verdict", [(4, 1.0, "cannot be told"), (400, 0.1, "not calibration")])
def test_no_change_is_not_calibration_only_where_one_would_be_seen(samples: int, noise: float, verdict: str) -> None:
    """Three archs 0.5 px apart that calibration does not change."""
    own, *others = (evaluation(-0.5, 0, 0.5, samples=samples, noise=noise, seed=seed) for seed in (3, 4, 5))
    found = CalibrationSweep(own, 2, dict(zip((2, 8), others, strict=True))).verdicts()
    assert [row.verdict for row in found] == [verdict] * 3
    for row in found:  # the printed figures give the verdict
        shown = [(row.more, row.more_margin), (row.other, row.other_margin), (row.total, row.total_margin)]
        assert all(abs(change) + margin < row.relevant for change, margin in shown) == (verdict == "not calibration")


def test_a_large_change_within_noise_is_no_evidence() -> None:
    """Four samples: the EPE grows by a pixel, by far more than the gaps, and even so it is not beyond the interval."""
    own, other, more = (evaluation(-0.1, 0, 0.1, d, samples=4, noise=0.8, seed=s) for d, s in ((0, 0), (1, 1), (1, 2)))
    row = CalibrationSweep(own, 2, {2: other, 8: more}).verdicts()[3]
    assert row.verdict == "cannot be told" and row.other > 0.4 > row.relevant and row.other < row.other_margin


def test_an_unlucky_prefix_alone_is_no_lack_of_batches() -> None:
    """Fewer of the other samples are bad, more of them as good as the run's own: the run has enough."""
    sweep = CalibrationSweep(evaluation(0), 2, {2: evaluation(0.3, seed=1), 8: evaluation(0, seed=2)})
    assert sweep.verdicts()[0].verdict == "depends on the samples"


def test_what_cannot_be_told() -> None:
    own = evaluation(-1, 0, 1)
    alone = CalibrationSweep(own, 2, {2: evaluation(-1, 0, 1, seed=1)}).verdicts()[0]  # no larger set to look at
    assert alone.more is None and alone.more_margin is None and alone.verdict == "cannot be told"
    of_one = CalibrationSweep(evaluation(0), 2, {2: evaluation(0, seed=1), 4: evaluation(0, seed=2)}).verdicts()[0]
    assert of_one.relevant == 0.0 and of_one.verdict == "cannot be told"
    single = CalibrationSweep(evaluation(0, samples=1), 2, {2: evaluation(0, samples=1), 4: evaluation(0, samples=1)})
    assert single.verdicts()[0].verdict == "cannot be told" and single.verdicts()[0].other is None
