"""Decoded pairs of any size with a mask of hidden pixels, shared by the tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


def random_pair(height: int, width: int, scale: float = 4.0, seed: int = 0) -> Any:
    """Noise images, normal flow, masks of known and of hidden pixels."""
    rng = np.random.default_rng(seed)
    image1, image2 = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    flow = rng.normal(0, scale, (height, width, 2)).astype(np.float32)
    valid, occluded = rng.random((2, height, width)) < np.array([0.8, 0.3])[:, None, None]
    return SimpleNamespace(image1=image1, image2=image2, flow=flow, valid=valid, occluded=occluded)
