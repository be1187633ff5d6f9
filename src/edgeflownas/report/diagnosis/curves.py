"""Where a falling curve stops falling: the smoothest adequate curve, its change point, and a test of what follows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeflownas.report.diagnosis.statistics import Slope, noise_of, outliers, slope_of

Array = NDArray[np.float64]
LEAST = 8
"""Evaluations below which no curve is judged."""
DONE = 0.95
"""Share of the fall after which an exponential approach counts as arrived: three of its time constants."""
PACE = 0.05
"""Largest pace after the change point, as a share of the pace before it, that is called flat."""


class Curve(NamedTuple):
    """A fitted curve."""

    values: Array
    """At the epochs it was fitted to."""
    noise: float
    """Standard deviation of a single value around it."""
    turn: float | None
    """Epoch from which it is level; None where no level is in sight."""

    @property
    def first(self) -> float:
        """Value at the first epoch."""
        return float(self.values[0])

    @property
    def last(self) -> float:
        """Value at the last epoch."""
        return float(self.values[-1])

    @property
    def end_error(self) -> float:
        """Standard error of a value at an end of the curve: up to four parameters share the values."""
        return self.noise * math.sqrt(min(1.0, 8.0 / len(self.values)))


class Plateau(NamedTuple):
    """A stretch to the end of the history in which nothing happens."""

    start: int
    """First epoch of it."""
    after: Slope
    """Change an epoch in its second half."""
    before: float
    """Mean change an epoch up to its start."""
    level: float


def cleaned(epochs: Array, values: Array) -> tuple[Array, Array]:
    """Finite values that are no outliers, with their epochs."""
    finite = np.isfinite(values)
    epochs, values = epochs[finite].astype(np.float64), values[finite]
    keep = ~outliers(values)[1]
    return epochs[keep], values[keep]


def fit(epochs: Array, values: Array) -> Curve:
    """Average of the candidate curves, weighted by their evidence (exp(-BIC / 2)).

    Candidates: a constant, a line, a line that bends (into a level, or into another line), an exponential approach to
    a level, a power law.  Residuals of a curve that fits are the noise; noise below what second differences show is
    not believed.
    """
    count = len(values)
    floor = max(noise_of(values), 1e-12)
    candidates = list(_candidates(epochs, values))
    bics = np.array([count * math.log(max(c.rss / count, floor**2 / 4)) + c.size * math.log(count) for c in candidates])
    weights = np.exp(-0.5 * (bics - bics.min()))
    weights /= weights.sum()
    curve = sum((w * c.values for w, c in zip(weights, candidates, strict=True)), np.zeros(count))
    noise = max(floor, math.sqrt(float(((values - curve) ** 2).sum()) / max(count - 4, 1)))
    levels = [(w, c.turn) for w, c in zip(weights, candidates, strict=True) if c.turn is not None]
    share = sum(w for w, _ in levels)
    turn = sum(w * t for w, t in levels) / share if share > 0.5 else None
    return Curve(curve, noise, turn)


class _Candidate(NamedTuple):
    values: Array
    rss: float
    size: int  # fitted numbers
    turn: float | None


def _candidates(epochs: Array, values: Array) -> Iterator[_Candidate]:
    count, since = len(values), epochs - epochs[0]
    one, span = np.ones(count), max(float(since[-1]), 1.0)
    yield _solve([one], values, 1, float(epochs[0]))
    yield _solve([one, since], values, 2, None)
    bends = epochs[2 : count - 3]
    yield _best(_solve([one, np.minimum(epochs - k, 0.0)], values, 3, float(k)) for k in bends)
    yield _best(_bent(epochs, values, float(k)) for k in bends)
    constants = np.geomspace(0.5, 3.0 * span, 60)
    arrival = -math.log(1.0 - DONE)
    yield _best(
        _solve([one, np.exp(-since / tau)], values, 3, _within(epochs, epochs[0] + arrival * tau)) for tau in constants
    )
    yield _best(_solve([one, (since + 1.0) ** -power], values, 3, None) for power in np.linspace(0.1, 2.0, 20))


def _bent(epochs: Array, values: Array, bend: float) -> _Candidate:
    """Two straight lines that meet; level where the second is nearly so."""
    columns = [np.ones(len(epochs)), np.minimum(epochs - bend, 0.0), np.maximum(epochs - bend, 0.0)]
    weights = np.linalg.lstsq(np.stack(columns, axis=1), values, rcond=None)[0]
    return _solve(columns, values, 4, bend if abs(weights[2]) <= PACE * abs(weights[1]) else None)


def _within(epochs: Array, turn: float) -> float | None:
    return float(turn) if turn <= epochs[-1] else None


def _solve(columns: list[Array], values: Array, size: int, turn: float | None) -> _Candidate:
    design = np.stack(columns, axis=1)
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    fitted = design @ weights
    return _Candidate(fitted, float(((values - fitted) ** 2).sum()), size, turn)


def _best(candidates: Iterator[_Candidate]) -> _Candidate:
    return min(candidates, key=lambda candidate: candidate.rss)


def plateau(epochs: Array, values: Array, noise: float = 0.0) -> Plateau | None:
    """The level stretch at the end of a falling (or constant) series, None where there is none or none can be shown.

    Args:
        epochs: epoch numbers [E], ascending.
        values: the series [E], at least :data:`LEAST` values after :func:`cleaned`.
        noise: standard deviation known from elsewhere; the larger counts.

    The stretch begins at the turn of the fitted curve.  It is level where the pace in its second half is at most
    ``PACE`` of the pace before the turn with 95 % confidence; or, where noise hides that, the stretch is at least half
    as long as the fall before it and its own slope cannot be told from zero, or is at most twice ``PACE``.
    """
    curve = fit(epochs, values)
    if curve.turn is None:
        return None
    noise = max(noise, curve.noise)
    start = int(np.searchsorted(epochs, curve.turn - 0.5))
    tail, times = values[start:], epochs[start:]
    if len(tail) < 5:
        return None
    half = len(tail) // 2
    after = slope_of(times[half:], tail[half:], noise)
    whole = slope_of(times, tail, noise)
    level = float(np.median(tail))
    if start == 0:  # it never fell
        return None if whole.distinguishable else Plateau(int(epochs[0]), whole, 0.0, level)
    before = float(curve.values[start] - curve.first) / float(epochs[start] - epochs[0])
    if before >= 0.0 or (after.distinguishable and after.slope > 0.0):
        return None
    flat = abs(after.slope) + 1.645 * after.error <= PACE * abs(before)
    slow = not whole.distinguishable or abs(whole.slope) + 1.645 * whole.error <= 2 * PACE * abs(before)
    return Plateau(int(times[0]), after, before, level) if flat or (slow and 2 * len(tail) >= start) else None
