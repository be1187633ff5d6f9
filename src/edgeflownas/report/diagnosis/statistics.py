"""Statistics of short, trending, noisy series; every function takes and returns plain float64 arrays.

Noise is estimated by medians, so that single outliers do not count, and never below the rounding of the text it was
read from.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
MAD_TO_SD = 1.482602  # of a normal distribution
MEDIAN_OF_SEVEN = 0.815
"""Robust spread of white noise minus its running median over seven, for noise of spread 1 (10,000 draws): each value
has a part in its own median, and is it in one case of seven."""
REACH = 15
BOTH = 0.4
"""Least distance to the nearer side, as a share of that to the other and to the trend: about 1 of an outlier, about 0
at a step."""


def robust_sd(values: Array) -> float:
    """Standard deviation from the median absolute deviation (1.4826 x MAD); 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return float(MAD_TO_SD * np.median(np.abs(values - np.median(values))))


def resolution(values: Array) -> float:
    """Step of the last decimal that the values were written with (0.01 for 9.72); 0 where they have more than six."""
    finite = values[np.isfinite(values)]
    for digits in range(7):
        if np.allclose(finite, np.round(finite, digits), rtol=0.0, atol=1e-9):
            return 10.0**-digits
    return 0.0


def noise_of(values: Array) -> float:
    """Standard deviation of the noise around a smooth trend, from second differences (variance 6 sigma^2).

    At least the rounding noise (step / sqrt 12).  Noise that is correlated from epoch to epoch is underestimated;
    :func:`slope_of` corrects for that.
    """
    if len(values) < 3:
        return 0.0
    second = np.diff(values, 2)
    centred = np.concatenate([second, -second])  # around zero: a curve's bend counts as noise, not as offset
    return max(robust_sd(centred) / math.sqrt(6.0), resolution(values) / math.sqrt(12.0))


def recent(count: int, least: int = 5) -> slice:
    """The last third of ``count`` evaluations, at least ``least``: what a run is like now."""
    return slice(max(0, count - max(least, -(-count // 3))), count)


class Slope(NamedTuple):
    """A straight line through a stretch of a series."""

    slope: float
    """Change an epoch."""
    error: float
    """Its standard error, corrected for correlated residuals."""

    @property
    def distinguishable(self) -> bool:
        """Whether zero is outside the 95 % interval."""
        return abs(self.slope) > 1.96 * self.error


def slope_of(epochs: Array, values: Array, noise: float) -> Slope:
    """Least-squares slope.

    Its error comes from the larger of ``noise`` and the residuals' spread times sqrt((1 + r) / (1 - r)) for their
    lag-one correlation r: an AR(1) series has that many fewer independent values.
    """
    count = len(values)
    if count < 3:
        return Slope(0.0, math.inf)
    centred = epochs - epochs.mean()
    spread = float(centred @ centred)
    slope = float(centred @ values) / spread
    residuals = values - values.mean() - slope * centred
    sd = float(np.sqrt(residuals @ residuals / (count - 2)))
    power = float(residuals @ residuals)
    lag = float(residuals[1:] @ residuals[:-1]) / power if power > 0 else 0.0
    lag = min(max(lag + 1.0 / count, 0.0), 0.9)  # small samples underestimate it by about 1 / n
    widening = math.sqrt((1.0 + lag) / (1.0 - lag))
    student = float(stats.t.ppf(0.975, count - 2)) / 1.96
    return Slope(slope, max(noise, sd * widening) / math.sqrt(spread) * student)


def _running_median(values: Array, reach: int) -> Array:
    """Median of each value with ``reach`` neighbours on both sides (fewer at the ends, still symmetric)."""
    count = len(values)
    reaches = [min(reach, place, count - 1 - place) for place in range(count)]
    return np.array([np.median(values[p - r : p + r + 1]) for p, r in enumerate(reaches)])


def _step_ahead(values: Array, place: int) -> float:
    """Value minus the forecast of a Theil-Sen line through the eight values before it."""
    before = np.arange(place - 8, place, dtype=np.float64)
    line = stats.theilslopes(values[place - 8 : place], before)
    return float(values[place] - line.intercept - line.slope * place)


def outliers(values: Array, family_error: float = 0.005, least: Array | float = 0.0) -> tuple[Array, NDArray[np.bool_]]:
    """z-scores [E] of values that are unlike both sides of their neighbourhood, and the mask [E] of outliers.

    One at a time: the farthest of the values beyond the limit is taken out, the value that its neighbours say takes its
    place, and all is computed again until none is left (or a fifth of the values is out): an odd value also moves
    the medians of its neighbours, which on a smooth curve would look odd themselves.

    Trend and scale: :func:`_residuals`; no scale is below ``least`` (noise of the rounding, where ``values`` no longer
    show it).  The limit of |z| is the Student quantile at ``family_error`` shared by all judged values (Bonferroni),
    with half as many degrees of freedom as values behind the scale, as for a median's efficiency.  A step to another
    level is none (:func:`_apart`), nor are several values to one side at the very end: they may be a new level.  The
    first three values are never judged: training begins steeply.
    """
    count = len(values)
    scores, odd = np.zeros(count), np.zeros(count, dtype=np.bool_)
    if count < 14:  # eight to forecast from, three to judge by, three at the start that are never judged
        return scores, odd
    limit = float(stats.t.ppf(1.0 - family_error / (2.0 * (count - 3)), min(count, 2 * REACH + 1) / 2.0))
    smooth = values.astype(np.float64)
    for _ in range(count // 5):
        residuals, scales = _residuals(smooth, least)
        now = np.divide(residuals, scales, out=np.where(residuals == 0.0, 0.0, np.inf), where=scales > 0.0)
        now[:3] = 0.0
        scores = np.where(odd, scores, now)
        beyond = np.nonzero(~odd & (np.abs(now) > limit))[0]
        farthest = beyond[np.argsort(-np.abs(residuals[beyond]), kind="stable")]
        least_apart = np.maximum(0.5 * limit * scales, BOTH * np.abs(residuals))
        place = next((int(p) for p in farthest if _apart(smooth, int(p), float(least_apart[p]))), None)
        if place is None:
            break
        odd[place] = True
        around = np.r_[smooth[place - 3 : place], smooth[place + 1 : place + 4]]
        smooth[place] = np.median(around) if place < count - 3 else smooth[place] - residuals[place]
    inside = np.nonzero(~odd)[0]
    last = int(inside[-1]) + 1 if len(inside) else 0
    if count - last > 1 and len(set(np.sign(scores[last:]).tolist())) == 1:
        odd[last:] = False
    return scores, odd


def _residuals(values: Array, least: Array | float) -> tuple[Array, Array]:
    """Values [E] minus their trend, and the scale [E] of such residuals.

    The trend is a running median over seven values: it follows steps and steep monotone stretches, and up to three
    odd values in seven do not move it far.  The last three values, where that has no second side, are compared with a
    robust line through the eight before them, on the scale of such forecasts of the sixteen values before.  Scale: the
    residuals' robust spread, over all values and over the 31 around (noise may change in a run), and :func:`noise_of`:
    the largest.
    """
    count = len(values)
    residuals = values - _running_median(values, 3)
    scales = _local_scales(residuals, np.maximum(noise_of(values), least))
    ahead = np.array([_step_ahead(values, place) for place in range(max(8, count - 19), count)])
    forecasts = max(robust_sd(np.concatenate([ahead[:-3], -ahead[:-3]])), float(scales[-4]))
    residuals[-3:], scales[-3:] = ahead[-3:], forecasts
    return residuals, scales


def _apart(values: Array, place: int, least: float) -> bool:
    """Whether a value is farther than ``least`` to the same side from what each of its two sides continues to.

    A side is the median of its three values, carried on at the slope that both sides share; the last three values have
    one side only.  The first value of a new level continues one of them.
    """
    before, after = values[place - 3 : place], values[place + 1 : place + 4]
    steps, away = np.arange(3, 0, -1), values[place]
    if place >= len(values) - 3:
        slope = float(np.median(np.diff(values[place - 5 : place])))
        return bool(abs(away - np.median(before + slope * steps)) > least)
    slope = float(np.median(np.concatenate([np.diff(before), np.diff(after)])))
    sides = away - np.median(before + slope * steps), away - np.median(after - slope * steps[::-1])
    near, far = sorted(map(abs, sides))
    return bool(sides[0] * sides[1] > 0.0 and near > least and near > BOTH * far)


def _local_scales(residuals: Array, least: Array | float) -> Array:
    """Noise [E] at each value: the larger of the robust spread of all residuals and of those of 31 values around."""
    count = len(residuals)
    inner = residuals[3 : count - 3]

    def spread(part: Array) -> float:
        return robust_sd(np.concatenate([part, -part])) / MEDIAN_OF_SEVEN

    starts = [min(max(3, place - REACH), max(3, count - 4 - 2 * REACH)) for place in range(count)]
    local = np.array([spread(residuals[s : min(s + 2 * REACH + 1, count - 3)]) for s in starts])
    return np.asarray(np.maximum(np.maximum(local, spread(inner)), least), dtype=np.float64)


def extreme_members(levels: Array, family_error: float = 0.01) -> list[int]:
    """Members of a group that are too high for the spread of the others.

    Generalised ESD test (Rosner 1983), upper side, for up to a quarter of the group.
    Returns their places, the highest first; none for groups of fewer than five.
    """
    left = list(range(len(levels)))
    removed: list[int] = []
    found = 0
    for step in range(1, len(levels) // 4 + 1 if len(levels) >= 5 else 1):
        rest = levels[left]
        sd = float(rest.std(ddof=1))
        if sd == 0.0:
            break
        worst = left[int(np.argmax(rest))]
        score = (levels[worst] - float(rest.mean())) / sd
        count = len(rest)
        student = float(stats.t.ppf(1.0 - family_error / count, count - 2))
        removed.append(worst)
        left.remove(worst)
        if score > (count - 1) * student / math.sqrt((count - 2 + student * student) * count):
            found = step
    return removed[:found]


def binomial_interval(hits: float, trials: float) -> tuple[float, float]:
    """Share of hits, 95 % interval by Clopper and Pearson; (0, 1) without trials."""
    if trials <= 0:
        return 0.0, 1.0
    hits = min(max(hits, 0.0), trials)
    low = 0.0 if hits == 0 else float(stats.beta.ppf(0.025, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(stats.beta.ppf(0.975, hits + 1, trials - hits))
    return low, high
