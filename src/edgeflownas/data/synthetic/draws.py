"""Sequential draws for one layer of one pair, each a pure function of (seed, index, layer, position).

A scene takes an unknown number of random values, so the counter-based words of ``edgeflownas.randomness`` are
read in blocks.  Every layer has its own counter: a change in how one layer draws leaves the others as they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeflownas.randomness import words

__all__ = ["Draws"]

_BLOCK = 256
_STREAM = "synth"
T = TypeVar("T")


class Draws:
    """Random values of layer ``layer`` of pair ``index`` under ``seed``."""

    def __init__(self, seed: int, index: int, layer: int) -> None:
        self._seed = seed
        self._index = index
        self._layer = layer
        self._block = 0
        self._buffer = np.zeros(0)

    def _words(self, count: int) -> NDArray[np.uint64]:
        self._block += 1
        return words(self._seed, _STREAM, self._index, self._layer, self._block, count=count)

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
        """``count`` floats in [low, high)."""
        while len(self._buffer) < count:
            fresh = (self._words(max(_BLOCK, count)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
            self._buffer = np.concatenate([self._buffer, fresh])
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return low + (high - low) * taken

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One float in [low, high)."""
        return float(self.uniforms(1, low, high)[0])

    def log_uniform(self, low: float, high: float) -> float:
        """One float in [low, high), uniform in its logarithm: every octave equally often."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self) -> float:
        """One standard normal value (Box and Muller 1958)."""
        first, second = self.uniforms(2)
        return math.sqrt(-2.0 * math.log1p(-first)) * math.cos(2.0 * math.pi * second)

    def integer(self, low: int, high: int) -> int:
        """One integer in low..high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, options: Sequence[tuple[float, T]]) -> T:
        """One of ``(weight, option)`` pairs, as often as its weight says."""
        mark = self.uniform() * sum(weight for weight, _ in options)
        for weight, option in options:
            mark -= weight
            if mark < 0:
                return option
        return options[-1][1]

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        """Independent uniform bytes of the given shape (an array of its own)."""
        count = math.prod(shape)
        raw = self._words(-(-count // 8)).astype("<u8").view(np.uint8)
        return raw[:count].reshape(shape)
