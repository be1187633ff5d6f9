"""Randomness without state: every draw is a pure function of (seed, stream, counters).

Philox-4x64 (Salmon et al., SC 2011) through numpy's raw words, which are stable across numpy versions (the
distribution methods of ``numpy.random.Generator`` are not).  The key is a hash of seed and stream name, so that
streams never overlap; the position in a run is a counter, so nothing has to be saved or replayed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, name: str, *counters: int) -> Callable[[int], NDArray[np.uint64]]:
    """What gives the next so many raw 64-bit words of stream ``name`` at up to three counters."""
    if len(counters) > 3:
        raise ValueError(f"at most three counters, got {len(counters)}")
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)
    counter = np.zeros(4, dtype=np.uint64)
    counter[1 : 1 + len(counters)] = counters  # word 0 runs within the draw
    return np.random.Philox(key=key, counter=counter).random_raw


def words(seed: int, stream_name: str, *counters: int, count: int) -> NDArray[np.uint64]:
    """The first ``count`` raw 64-bit words of a stream at up to three counters (shape [count])."""
    return stream(seed, stream_name, *counters)(count)


def uniforms(seed: int, stream: str, *counters: int, count: int) -> NDArray[np.float64]:
    """``count`` floats in [0, 1) with 53 random bits (shape [count])."""
    return (words(seed, stream, *counters, count=count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(n: int, seed: int, stream: str, *counters: int) -> NDArray[np.int64]:
    """Uniform permutation of 0..n-1 (shape [n]): the order of n random words."""
    return np.argsort(words(seed, stream, *counters, count=n), kind="stable")
