"""The whole space, exactly, by the tree of shared prefixes (docs/adr/0019-prefix-tree-in-units.md).

    evaluator = TreeEvaluator(net, calibration, [evaluation])
    for scores in evaluator.score(list(net.space)):
        ...  # scores.unit.members: positions of the archs; scores.sums[0]: their summed errors by sample
"""

from edgeflownas.evaluate.tree.evaluator import TreeEvaluator, UnitScores
from edgeflownas.evaluate.tree.units import Estimate, Unit

__all__ = ["Estimate", "TreeEvaluator", "Unit", "UnitScores"]
