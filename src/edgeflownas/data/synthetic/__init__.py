"""Image pairs with exact flow, made from nothing but a seed, in the manner of FlyingChairs.

``draws`` (randomness), ``fields`` and ``textures`` (surfaces), ``shapes`` and ``raster`` (outlines and their pixels),
``motion`` (affine motions), ``render`` (one pair), ``write`` (a set on disk).
"""

from edgeflownas.data.synthetic.render import GeneratedPair, generate_pair
from edgeflownas.data.synthetic.write import GeneratedStats, generate_dataset

__all__ = ["GeneratedPair", "GeneratedStats", "generate_dataset", "generate_pair"]
