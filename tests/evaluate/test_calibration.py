"""Batch-norm recalibration: pooled moments, shared by what archs share, leaving no trace."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from edgeflownas.evaluate.calibration import recalibrate, recalibrate_prefixes
from edgeflownas.models.flownet import FlowNet
from edgeflownas.space import get_space

sys.path.insert(0, str(Path(__file__).parent))
from flow_batches import Stop, StopAt, make_batches, moments_of, plain_moments, unchanged  # noqa: E402

SPACE = get_space("v1")
CODES = ("000000000", "000021222", "002102010", "210210210", "222222222")


@pytest.mark.parametrize("channels_last", [True, False])
def test_pooled_moments_are_those_of_one_giant_batch(channels_last):
    net = FlowNet(SPACE, 4, channels_last=channels_last)
    batches = make_batches([3, 3, 1])  # the last one smaller: batches must count by their pixels
    archs = [SPACE.parse(code) for code in CODES]
    nodes = recalibrate(net, archs, batches)
    telling = 0
    for arch in archs:
        ours, plain = moments_of(net, arch, nodes), plain_moments(net, arch, batches)
        assert ours.keys() == plain.keys()
        for name, (mean, var) in plain.items():
            scale = var.sqrt()
            assert float(((ours[name][0] - mean).abs() / scale).max()) < 1e-6, name
            assert float(((ours[name][1] - var).abs() / var).max()) < 1e-6, name
        # The two wrong ways to pool are visibly different here, so this test can tell.
        by_batch = [plain_moments(net, arch, [batch]) for batch in batches]
        unweighted = [
            (sum(m[name][0] for m in by_batch) / 3 - mean) / var.sqrt() for name, (mean, var) in plain.items()
        ]
        averaged = [(sum(m[name][1] for m in by_batch) / 3 - var) / var for name, (_, var) in plain.items()]
        telling += max(float(d.abs().max()) for d in unweighted) > 1e-3
        telling += max(float(d.abs().max()) for d in averaged) > 1e-3
    assert telling == 2 * len(archs)


def test_shared_prefixes_are_computed_once(monkeypatch):
    net = FlowNet(SPACE, 2)
    calls: list[str] = []
    run_stage = net.run_stage
    monkeypatch.setattr(net, "run_stage", lambda i, *rest: calls.append(net.stages[i].name) or run_stage(i, *rest))
    archs = [SPACE.parse(code) for code in ("000000000", "000000012", "000100000", "100000000")]
    recalibrate(net, archs, make_batches([2], 32, 32))
    assert [calls.count(name) for name in ("E0", "E1", "EB0", "EB1", "DB0", "DB1", "H2")] == [1, 1, 2, 2, 2, 3, 4]
    assert not {"H0Out", "H1Out", "H2Out"} & set(calls)  # they hold no batch norm


@pytest.mark.parametrize("moment", [None, 2])
def test_leaves_no_trace(moment):
    net = FlowNet(SPACE, 2).eval()
    with unchanged(net), pytest.raises(Stop) if moment else nullcontext():
        recalibrate(net, [SPACE.sample(0)], make_batches([2, 2], 32, 32), StopAt(moment))


def test_depends_on_the_batches_not_on_buffers_or_repetition():
    net, batches = FlowNet(SPACE, 2), make_batches([2, 2], 32, 32)
    arch = SPACE.sample(1)
    first = moments_of(net, arch, recalibrate(net, [arch], batches))
    for bn in net.batchnorms:
        bn.running_mean.fill_(7.0)
    again = moments_of(net, arch, recalibrate(net, [arch], batches))
    other = moments_of(net, arch, recalibrate(net, [arch], batches[:1]))
    assert all(torch.equal(first[n][k], again[n][k]) for n in first for k in (0, 1))
    assert not all(torch.equal(first[n][0], other[n][0]) for n in first)


def test_float64_networks_get_float64_moments():
    net, batches = FlowNet(SPACE, 2).double(), make_batches([2, 1], 32, 32)
    batches = [batch._replace(images=batch.images.double()) for batch in batches]
    arch = SPACE.sample(2)
    ours, plain = moments_of(net, arch, recalibrate(net, [arch], batches)), plain_moments(net, arch, batches)
    for name, (mean, var) in plain.items():
        torch.testing.assert_close(ours[name][0], mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours[name][1], var, rtol=1e-11, atol=1e-13)


def test_prefixes_of_one_walk_are_recalibrations_of_their_own():
    net, batches = FlowNet(SPACE, 2), make_batches([2, 1, 2, 1], 32, 32)
    archs = [SPACE.parse(code) for code in CODES[:2]]
    found = recalibrate_prefixes(net, archs, batches, (1, 3))
    assert len(found) == 3
    for size, nodes in zip((1, 3, 4), found, strict=True):
        alone = recalibrate(net, archs, batches[:size])
        assert alone.keys() == nodes.keys()
        for node, slots in alone.items():
            for slot, pair in slots.items():
                assert all(torch.equal(a, b) for a, b in zip(pair, nodes[node][slot], strict=True))
