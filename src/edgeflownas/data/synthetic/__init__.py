"""Image pairs with exact flow, generated in the manner of FlyingChairs."""

from edgeflownas.data.synthetic.render import GeneratedPair, generate_pair
from edgeflownas.data.synthetic.write import GeneratedStats, generate_dataset

__all__ = ["GeneratedPair", "GeneratedStats", "generate_dataset", "generate_pair"]
