"""The tree against every subnet alone: exact to the bit, fused to rounding, whatever memory, threads and units."""

import itertools
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from numeric import FLOAT32

from edgeflownas.errors import ConfigError
from edgeflownas.evaluate import tree as tree_module
from edgeflownas.evaluate.calibration import NodeStatistics, recalibrate, walk
from edgeflownas.evaluate.heads import Workers
from edgeflownas.evaluate.pool import full_precision, score_pool
from edgeflownas.evaluate.tree import TreeEvaluator, Trunk, choose_levels, node_counts, tree_work
from edgeflownas.hardware.latency import torch_threads
from edgeflownas.models.batchnorm import use_statistics
from edgeflownas.models.flownet import EdgeFlowNet, FlowNet
from edgeflownas.randomness import permutation
from edgeflownas.space import Arch, get_space

sys.path.insert(0, str(Path(__file__).parent))
from flow_batches import Stop, StopAt, make_batches, moments_of, unchanged  # noqa: E402

SPACE = get_space("v1")


@pytest.fixture(autouse=True)
def one_thread():
    """Torch's threads wait for each other actively: on a busy machine such small work is a hundred times slower."""
    with torch_threads(1):
        yield


def larger(mark, count):
    return pytest.param("v1", count, marks=getattr(pytest.mark, mark))


def some(count, space="v1"):
    archs = list(get_space(space))
    return [archs[position] for position in permutation(len(archs), 0, "tests.tree")[:count]]


def sample_sums(tree, archs, number=0):
    """Summed errors [A,N] on one of the sets."""
    sums = torch.full((len(archs), len(tree.pixels[number])), torch.nan, dtype=torch.float64)
    for scores in tree.score(archs):
        sums[list(scores.unit.members)] = scores.sums[number]
    return sums


def small():
    return make_batches([2, 1], 32, 32), make_batches([2, 1], 28, 32, seed=1)


@torch.no_grad()
@full_precision()
def alone(net, arch, calibration, batch):
    """The subnet, its moments and its three predictions."""
    subnet = net.subnet(arch).eval()
    code, found = subnet.space.arch([0] * len(arch)), []
    nodes = recalibrate(subnet, [code], calibration)
    lend = lambda node: use_statistics(subnet, nodes.get(node, {}))  # noqa: E731
    walk(subnet, [code], subnet.prepare(batch.images), lend, lambda _, predictions: found.extend(predictions))
    return subnet, nodes, found


@pytest.mark.parametrize(("space", "count"), [("v1", 6), ("v3", 6), larger("e2e", 30), larger("slow", 200)])
def test_exact_path_is_every_subnet_alone_to_the_bit(space, count, monkeypatch):
    net, archs = FlowNet(get_space(space), 2), some(count, space)
    calibration, evaluation = make_batches([2], 32, 32), make_batches([2], 32, 32, seed=1)
    nodes: NodeStatistics = {}
    predictions: dict[Arch, list[torch.Tensor]] = {}
    learn = Trunk.learn

    def learned(self, tree):
        learn(self, tree)
        nodes.update(self.statistics)

    def watched(net, archs, features, at_node, at_leaf=None, **where):
        def leaf(member, found):
            predictions[archs[member]] = [prediction.clone() for prediction in found]
            at_leaf(member, found)

        walk(net, archs, features, at_node, at_leaf and leaf, **where)

    monkeypatch.setattr(Trunk, "learn", learned)
    monkeypatch.setattr(tree_module, "walk", watched)
    tree = TreeEvaluator(net, calibration, [evaluation], exact=True)
    sums = sample_sums(tree, archs)
    assert len(predictions) == count
    for arch in archs:
        subnet, single, own = alone(net, arch, calibration, evaluation[0])
        ours = moments_of(net, arch, nodes)
        theirs = moments_of(subnet, subnet.space.arch([0] * len(arch)), single)
        assert ours.keys() == theirs.keys() == {bn.name for bn in subnet.batchnorms}
        assert all(torch.equal(a, b) for name in ours for a, b in zip(ours[name], theirs[name], strict=True))
        assert all(torch.equal(a, b) for a, b in zip(predictions[arch], own, strict=True))
    pool = score_pool(net, archs[:10], calibration, evaluation)
    assert torch.equal(sums[:10] / tree.pixels[0], pool.sample_epe)


@pytest.mark.parametrize(("space", "count"), [("v1", 4), ("v3", 4), larger("e2e", 16), larger("slow", 50)])
def test_fused_path_agrees(space, count):
    net, archs = FlowNet(get_space(space), 4), some(count, space)
    calibration, evaluation = make_batches([2], 32, 48), make_batches([1], 28, 40, seed=1)
    exact = TreeEvaluator(net, calibration, [evaluation], exact=True)
    fused = TreeEvaluator(net, calibration, [evaluation])
    assert exact.exact and not fused.exact
    errors = [sample_sums(tree, archs) / tree.pixels[0] for tree in (exact, fused)]
    assert ((errors[0] - errors[1]) / errors[0]).abs().max() <= 8 * FLOAT32  # 1e-5 px of an error of 10 px
    assert ((exact.epes(archs) - fused.epes(archs)) / exact.epes(archs)).abs().max() <= 8 * FLOAT32
    assert len(set(fused.epes(archs).tolist())) == count  # a mix-up would show


def test_fused_path_in_float64_is_the_exact_one():
    """Rounding apart nothing differs: with float64 networks the two agree as well as the float32 errors allow."""
    net, archs = FlowNet(SPACE, 2).double(), some(8)
    sets = [[b._replace(images=b.images.double(), flow=b.flow.double()) for b in batches] for batches in small()]
    exact, fused = (sample_sums(TreeEvaluator(net, sets[0], sets[1:], exact=e), archs) for e in (True, False))
    assert ((exact - fused) / exact).abs().max() < 1e-7


@pytest.mark.parametrize("exact", [True, False])
def test_memory_and_units_do_not_change_a_bit(exact, monkeypatch):
    monkeypatch.setattr(tree_module, "quickest", lambda *_, **__: 0.1)  # time is not the question
    digits = itertools.product((0, 2), (0, 1), (1,), (0, 2), (1,), (0,), (2,), (0,), (1, 2))
    net, archs = FlowNet(SPACE, 2), list(map(SPACE.arch, digits))
    calibration, evaluation = small()
    free = TreeEvaluator(net, calibration, [evaluation], exact=exact)
    expected = sample_sums(free, archs)
    levels = set()
    for memory in (free.estimate(archs).memory_bytes - 1, free._working_bytes()):
        tight = TreeEvaluator(net, calibration, [evaluation], exact=exact, memory=memory)
        assert tight.estimate(archs).memory_bytes <= memory
        levels.add(tuple(tight._levels(archs)))
        assert torch.equal(sample_sums(tight, archs), expected)
    assert len(levels) == 2 and () in levels  # something was given up, then everything
    units = free.units(archs)
    for scores in free.score(archs, units[3:5]):
        assert torch.equal(scores.sums[0], expected[list(scores.unit.members)])
    assert torch.equal(sample_sums(free, archs[::-1]), expected.flip(0))


def test_too_little_memory_is_refused():
    net, (calibration, evaluation) = FlowNet(SPACE, 2), small()
    with pytest.raises(ConfigError, match=r"memory of 1,000 bytes is less than the [0-9,]+ bytes .* raise it"):
        next(TreeEvaluator(net, calibration, [evaluation], memory=1000).score(some(2)))
    for sets in ([], [[]]):
        with pytest.raises(ConfigError, match="at least one"):
            TreeEvaluator(net, calibration, sets)


def test_several_sets_share_one_recalibration():
    net, archs, (calibration, evaluation) = FlowNet(SPACE, 2), some(5), small()
    both = TreeEvaluator(net, calibration, [evaluation, evaluation[1:]])
    assert [len(pixels) for pixels in both.pixels] == [3, 1]
    assert torch.equal(sample_sums(both, archs, 1), sample_sums(both, archs)[:, 2:])
    assert torch.equal(both.pixels[1], evaluation[1].valid.sum((1, 2)))


def test_unknown_truth_counts_nowhere():
    net, archs, (calibration, evaluation) = FlowNet(SPACE, 2), [*some(3), some(1)[0]], small()
    evaluation[0].valid[1] = False
    spoilt = [b._replace(flow=b.flow.masked_fill(~b.valid[:, None], torch.nan)) for b in evaluation]
    sums = sample_sums(TreeEvaluator(net, calibration, [spoilt]), archs)
    assert torch.equal(sums, sample_sums(TreeEvaluator(net, calibration, [evaluation]), archs))
    assert (sums[:, 1] == 0).all() and (sums[:, [0, 2]] > 0).all() and torch.equal(sums[0], sums[3])


def test_a_divisor_of_the_labels_is_undone():
    net, archs, (calibration, evaluation) = FlowNet(SPACE, 2), some(3), small()
    own_units = [batch._replace(flow=batch.flow / 8) for batch in evaluation]
    learned = sample_sums(TreeEvaluator(net, calibration, [own_units]), archs)
    for exact in (True, False):
        pixels = sample_sums(TreeEvaluator(net, calibration, [evaluation], exact=exact, flow_divisor=8.0), archs)
        torch.testing.assert_close(pixels, 8 * learned, rtol=1e-5, atol=0)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("moment", "threads"), [(1, 2), (5, 1), (None, 1)])
def test_leaves_no_trace(exact, moment, threads):
    torch.set_num_threads(threads)
    net, (calibration, evaluation) = FlowNet(SPACE, 2).train(), small()
    tree = TreeEvaluator(net, calibration, [evaluation], exact=exact, check_stop=StopAt(moment))
    with unchanged(net), pytest.raises(Stop) if moment else nullcontext():
        sample_sums(tree, some(1))


def test_shared_prefixes_are_computed_once(monkeypatch):
    net, archs = FlowNet(SPACE, 2), [arch for arch in list(SPACE)[::121] if max(arch[:4]) < 2]
    batch = make_batches([1], 32, 32)
    calls: list[str] = []
    run_stage = net.run_stage
    monkeypatch.setattr(net, "run_stage", lambda i, *a: calls.append(net.stages[i].name) or run_stage(i, *a))
    tree = TreeEvaluator(net, batch, [batch])
    sample_sums(tree, archs)
    counts = {name: calls.count(name) for name in ("E0", "EB0", "EB1", "DB0", "DB1", "Up2")}
    probes = counts.pop("E0") - 2  # the sizes of features are measured first
    assert {name: count - probes for name, count in counts.items()} == {
        "EB0": 2 * 2, "EB1": 2 * 4, "DB0": 2 * 8, "DB1": 2 * 16, "Up2": 2 * 16
    }  # fmt: skip


def test_estimate_counts_the_tree(monkeypatch):
    monkeypatch.setattr(tree_module, "quickest", lambda *_, **__: 0.1)  # time is not the question
    net, (calibration, evaluation) = FlowNet(SPACE, 2), small()
    estimate = TreeEvaluator(net, calibration, [evaluation]).estimate(list(SPACE))
    trunk = 2 + 3 + 1 * 3 + 9 + 9 + 27 + 27 + 81 + 81
    assert (estimate.units, estimate.nodes) == (81, trunk + 81 * (3 + 3 + 9 + 9 + 27))
    assert estimate.seconds > 0 and estimate.memory_bytes > 0 and estimate.data_bytes > 0
    one = TreeEvaluator(net, calibration, [evaluation]).estimate(some(1))
    assert one.calibration_macs + one.evaluation_macs == one.one_by_one_macs
    assert estimate.evaluation_macs < estimate.one_by_one_macs / 50


@pytest.mark.parametrize("exact", [True, False])
def test_every_frame_counts_with_its_own_size(exact, monkeypatch):
    monkeypatch.setattr(tree_module, "quickest", lambda *_, **__: 0.1)  # time is not the question
    net, archs, calibration = FlowNet(get_space("v3"), 2), some(3, "v3"), make_batches([2], 32, 32)
    large = [*make_batches([1, 1], 60, 128, seed=1), *make_batches([1], 32, 32)]
    tree = TreeEvaluator(net, calibration, [make_batches([2], 32, 32), large], exact=exact)
    estimate = tree.estimate(archs)
    small_only = TreeEvaluator(net, calibration, [make_batches([3], 32, 32)], exact=exact).estimate(archs)
    large_only = TreeEvaluator(net, calibration, [large[:2]], exact=exact).estimate(archs)
    assert estimate.evaluation_macs == small_only.evaluation_macs + large_only.evaluation_macs
    assert large_only.evaluation_macs > 5 * small_only.evaluation_macs
    assert estimate.calibration_macs == small_only.calibration_macs
    kept: list[int] = []
    enter = Trunk.enter

    def watched(self, *words):
        found = enter(self, *words)
        states = [state for level in self.kept.values() for part in level[1:] for state in part]
        kept.append(sum(t.numel() * t.element_size() for state in states for t in state if t is not None))
        return found

    monkeypatch.setattr(Trunk, "enter", watched)
    for memory in (None, estimate.memory_bytes, estimate.memory_bytes - 1, tree._working_bytes()):
        kept.clear()
        bound = TreeEvaluator(net, calibration, [make_batches([2], 32, 32), large], exact=exact, memory=memory)
        list(bound.score(archs))
        assert max(kept) == bound.estimate(archs).memory_bytes - bound._working_bytes()
        assert memory is None or max(kept) + bound._working_bytes() <= memory


def test_networks_without_these_heads_take_the_exact_path():
    calibration, evaluation = small()
    plain = FlowNet(SPACE, 2, plain=True)
    single = EdgeFlowNet(width=2)
    for net, archs in ((plain, some(3)), (single, list(single.space))):
        tree = TreeEvaluator(net, calibration, [evaluation])
        pool = score_pool(net, archs, calibration, evaluation)
        assert tree.exact and torch.equal(sample_sums(tree, archs) / tree.pixels[0], pool.sample_epe)


@pytest.mark.parametrize(
    ("memory", "kept"), [(None, [1, 2, 3]), (70, [1, 2, 3]), (59, [2, 3]), (35, [1, 3]), (29, [3]), (10, [1]), (0, [])]
)
def test_levels_that_leave_least_to_compute_again(memory, kept):
    costs, visits, sizes = [1, 5, 5, 1], [1, 3, 9, 27], [0, 10, 30, 20]
    assert choose_levels(costs, visits, sizes, memory) == kept


NODE, CALIBRATION, EVALUATION = 1e-3, 3e-9, 1e-9  # seconds of a node, and of a multiply-add of one sample


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_costs_are_told_apart(exact, count, monkeypatch):
    space = get_space("v1")
    every = list(space)
    archs = [every[position] for position in permutation(len(every), 0, "tests.trial")[:count]]
    net, seen = FlowNet(space, 2), []

    def cost(some, calibration, evaluation):
        chosen = [archs[member] for member in some]
        seconds = NODE * sum(map(len, node_counts(net, chosen)))
        for batches, kind, each in ((calibration, 0, CALIBRATION), (evaluation, 1, EVALUATION)):
            for batch in batches:
                seconds += each * len(batch.images) * tree_work(net, chosen, batch.images.shape[2:])[0][kind]
        return seconds

    class Machine(TreeEvaluator):
        def score(self, archs, units=None):
            whole = [member for unit in units for member in unit.members]
            seconds = cost(whole, self.calibration, self.sets[0])
            if len(units) > 1:
                seconds -= cost(units[0].members, self.calibration, self.sets[0])
            seen.append((len(units), sum(len(batch.images) for batch in self.sets[0])))
            return seconds

    monkeypatch.setattr(tree_module, "TreeEvaluator", Machine)
    monkeypatch.setattr(tree_module, "quickest", lambda score, skip: score())
    sets = (
        make_batches([3, 2], 30, 48),
        [*make_batches([4], 32, 48), *make_batches([1, 1], 60, 130), *make_batches([2])],
    )
    found = Machine(net, make_batches([8, 4], 32, 48), sets, exact=exact).estimate(archs).seconds
    expected = cost(range(count), make_batches([8, 4], 32, 48), [batch for batches in sets for batch in batches])
    assert found == pytest.approx(expected, rel=0.02)
    assert len(seen) == 3 + 3 and max(seen)[0] <= 10  # two units, the base, more calibration, each of three sizes


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_torch_thread_each(threads):
    before = torch.get_num_threads()
    together = threading.Barrier(threads)  # passes only where that many chunks run at once

    def chunk(number):
        together.wait(timeout=30)
        torch.ones(1000, 1000).exp_()  # the first parallel operation settles the number of threads
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    try:
        torch.set_num_threads(threads)
        with torch.no_grad(), Workers(torch.device("cpu"), lambda: None) as workers:
            found = list(workers.map(chunk, range(2 * threads)))
        assert found == [(number, 1, False) for number in range(2 * threads)]
        assert torch.get_num_threads() == threads and torch.is_grad_enabled()
    finally:
        torch.set_num_threads(before)
