"""The estimate of time on a made-up machine whose every node and multiply-add takes a known time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeflownas.evaluate.tree import TreeEvaluator, Unit, evaluator
from edgeflownas.evaluate.tree.units import node_counts, tree_work
from edgeflownas.models.blocks import FlowBatch
from edgeflownas.models.flownet import FlowNet
from edgeflownas.randomness import permutation
from edgeflownas.space import get_space

sys.path.insert(0, str(Path(__file__).parents[1]))
from flow_batches import make_batches  # noqa: E402

NODE, CALIBRATION, EVALUATION = 1e-3, 3e-9, 1e-9  # seconds of a node, and of a multiply-add of one sample


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("count", [1, 2, 300])
def test_costs_are_told_apart(exact: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    space = get_space("v1")
    every = list(space)
    archs = [every[position] for position in permutation(len(every), 0, "tests.trial")[:count]]
    net, seen = FlowNet(space, 2), []

    def cost(some: Sequence[int], calibration: Sequence[FlowBatch], evaluation: Sequence[FlowBatch]) -> float:
        chosen = [archs[member] for member in some]
        seconds = NODE * sum(map(len, node_counts(net, chosen)))
        for batches, kind, each in ((calibration, 0, CALIBRATION), (evaluation, 1, EVALUATION)):
            for batch in batches:
                seconds += each * len(batch.images) * tree_work(net, chosen, batch.images.shape[2:])[0][kind]
        return seconds

    class Machine(TreeEvaluator):
        def score(self, archs: object, units: Sequence[Unit] | None = None) -> object:
            whole = [member for unit in units for member in unit.members]
            seconds = cost(whole, self.calibration, self.sets[0])
            if len(units) > 1:
                seconds -= cost(units[0].members, self.calibration, self.sets[0])
            seen.append((len(units), sum(len(batch.images) for batch in self.sets[0])))
            return seconds

    monkeypatch.setattr(evaluator, "TreeEvaluator", Machine)
    monkeypatch.setattr(evaluator, "quickest", lambda score, skip: score())
    sets = (
        make_batches([3, 2], 30, 48),
        [*make_batches([4], 32, 48), *make_batches([1, 1], 60, 130), *make_batches([2])],
    )
    found = Machine(net, make_batches([8, 4], 32, 48), sets, exact=exact).estimate(archs).seconds
    expected = cost(range(count), make_batches([8, 4], 32, 48), [batch for batches in sets for batch in batches])
    assert found == pytest.approx(expected, rel=0.02)
    assert len(seen) == 3 + 3 and max(seen)[0] <= 10  # two units, the base, more calibration, each of three sizes
