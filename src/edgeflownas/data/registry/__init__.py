"""Data sets by name: ``NAME[:VARIANT][@ROOT]``, or a folder in FlyingChairs2 layout.

One declaration for each set says which variants it has and how their samples are found below a root.
"""

from __future__ import annotations

from edgeflownas.data.registry.listing import ListedSet, ListedVariant, list_datasets
from edgeflownas.data.registry.opening import DATASETS, is_named, open_dataset

__all__ = ["DATASETS", "ListedSet", "ListedVariant", "is_named", "list_datasets", "open_dataset"]
