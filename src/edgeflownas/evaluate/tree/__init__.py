"""The whole space, exactly, by the tree of shared prefixes (docs/adr/0019-prefix-tree-in-units.md).

``for scores in TreeEvaluator(net, calibration, [evaluation]).score(list(net.space))`` gives, unit by unit, the
positions of its archs (``scores.unit.members``) and their summed errors on every sample (``scores.sums[0]``).
"""

from edgeflownas.evaluate.tree.evaluator import TreeEvaluator, UnitScores
from edgeflownas.evaluate.tree.units import Estimate, Unit

__all__ = ["Estimate", "TreeEvaluator", "Unit", "UnitScores"]
