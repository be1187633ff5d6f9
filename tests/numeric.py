"""How far two results are apart, relative to the size of what they compare; and a batch of noise to compute on.

A limit on float32 results counts roundings: the order of a sum, and with it the last bits, belongs to the processor
and the number of threads, so a limit in absolute numbers holds on one machine and fails on the next.
"""

import math
from dataclasses import replace

import numpy as np
import torch

from edgeflownas.train.measure import random_batch

FLOAT32 = float(np.finfo(np.float32).eps)  # from 1 to the next float32, one step of the last bit: 1.2e-7


def relative_difference(ours, theirs):
    """The largest difference between two numbers in the same place over the largest number of ``theirs``.

    Arrays, tensors, sequences or numbers, of one shape; nan anywhere gives nan, which is below no limit.
    """
    one, other = (
        values.detach().double().cpu().numpy() if torch.is_tensor(values) else np.asarray(values, np.float64)
        for values in (ours, theirs)
    )
    assert one.shape == other.shape, f"{one.shape} and {other.shape}"
    difference, size = float(np.abs(one - other).max()), float(np.abs(other).max())
    if size == 0.0:
        return math.inf if difference else 0.0
    return difference / size


def noisy_batch(count, seed=0):
    """``count`` pairs of 32x32 pixels of noise, one pixel in ten of them invalid."""
    valid = np.random.default_rng(seed).random((count, 32, 32)) < 0.9
    return replace(random_batch(count, (32, 32), seed), valid=valid)
