"""Statistics of short, trending, noisy series; every function takes and returns plain float64 arrays.

Noise is estimated by medians, so that single outliers do not count, and never below the rounding of the text it was
read from.  Then: where a falling curve stops falling, by the smoothest adequate curve, its change point, and a test of
what follows.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
LEAST = 8  # evaluations below which no curve is judged
MAD_TO_SD = 1.482602  # of a normal distribution
MEDIAN_OF_SEVEN = 0.815
"""Robust spread of white noise minus its running median over seven, for noise of spread 1 (10,000 draws): each value
has a part in its own median, and is it in one case of seven."""
REACH = 15
BOTH = 0.4
"""Least distance to the nearer side, as a share of that to the other and to the trend: about 1 of an outlier, about 0
at a step."""
DONE = 0.95  # share of the fall after which an exponential approach counts as arrived: three of its time constants
PACE = 0.05  # largest pace after the change point, as a share of the pace before it, that is called flat


def sd_around_zero(values: Array) -> float:
    """Standard deviation of at least one value with the mean 0, from the median of their sizes (1.4826 x median)."""
    return float(MAD_TO_SD * np.median(np.abs(values)))


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
    spread = sd_around_zero(np.diff(values, 2))  # around zero: a curve's bend counts as noise, not as offset
    return max(spread / math.sqrt(6.0), resolution(values) / math.sqrt(12.0))


def recent(count: int, least: int = 5) -> slice:
    """The last third of ``count`` evaluations, at least ``least``: what a run is like now."""
    return slice(max(0, count - max(least, -(-count // 3))), count)


def lately(values: Array, least: int = 3) -> float:
    """Median of the :func:`recent` ones of at least one value."""
    return float(np.median(values[recent(len(values), least)]))


def mostly_since(holds: NDArray[np.bool_]) -> int | None:
    """First place that holds and from which nine of ten do; None where there is none."""
    shares = np.cumsum(holds[::-1]) / np.arange(1, len(holds) + 1)
    places = np.nonzero((shares >= 0.9) & holds[::-1])[0]
    return len(holds) - 1 - int(places[-1]) if len(places) else None


def jitter(epes: Array) -> float:
    """Standard deviation in px of one arch's EPE from epoch to epoch.

    The movement common to the pool and each arch's own smooth trend are taken away first: second differences of EPE
    minus the pool's median, by their median absolute deviation.

    Args:
        epes: [e, A], at least three epochs and two archs.
    """
    apart = epes - np.median(epes, axis=1, keepdims=True)
    return max(sd_around_zero(np.diff(apart, 2, axis=0)) / math.sqrt(6.0), resolution(epes) / math.sqrt(12.0))


def recent_levels(epes: Array) -> Array:
    """EPE [A] of each arch in px over the recent evaluations: its median distance to the pool's mean, plus the mean."""
    last = epes[recent(len(epes))]
    means = last.mean(axis=1, keepdims=True)
    return np.asarray(np.median(last - means, axis=0) + float(np.median(means)), dtype=np.float64)


class Slope(NamedTuple):
    """A straight line through a stretch of a series."""

    slope: float  # change an epoch
    error: float  # its standard error, corrected for correlated residuals

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
    reaches = [min(3, place, count - 1 - place) for place in range(count)]  # fewer at the ends, still symmetric
    residuals = values - [np.median(values[place - r : place + r + 1]) for place, r in enumerate(reaches)]
    starts = [min(max(3, place - REACH), max(3, count - 4 - 2 * REACH)) for place in range(count)]
    around = [residuals[start : min(start + 2 * REACH + 1, count - 3)] for start in starts]
    whole = sd_around_zero(residuals[3 : count - 3])
    scales = np.maximum([sd_around_zero(part) for part in around], whole) / MEDIAN_OF_SEVEN
    scales = np.maximum(scales, np.maximum(noise_of(values), least))
    ahead = np.zeros(count)
    for place in range(max(8, count - 19), count):
        line = stats.theilslopes(values[place - 8 : place], np.arange(place - 8, place, dtype=np.float64))
        ahead[place] = values[place] - line.intercept - line.slope * place
    forecasts = sd_around_zero(ahead[max(8, count - 19) : -3])
    residuals[-3:], scales[-3:] = ahead[-3:], max(forecasts, float(scales[-4]))
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


# ---- curves ----


class Curve(NamedTuple):
    """A fitted curve."""

    values: Array  # at the epochs it was fitted to
    noise: float  # standard deviation of a single value around it
    turn: float | None  # epoch from which it is level; None where no level is in sight

    @property
    def end_error(self) -> float:
        """Standard error of a value at an end of the curve: up to four parameters share the values."""
        return self.noise * math.sqrt(min(1.0, 8.0 / len(self.values)))


class Plateau(NamedTuple):
    """A stretch to the end of the history in which nothing happens."""

    start: int  # first epoch of it
    after: Slope  # change an epoch in its second half
    before: float  # mean change an epoch up to its start
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
    weights: NDArray[np.floating]


def _candidates(epochs: Array, values: Array) -> Iterator[_Candidate]:
    def solved(columns: list[Array], size: int, turn: float | None) -> _Candidate:
        design = np.stack(columns, axis=1)
        weights = np.linalg.lstsq(design, values, rcond=None)[0]
        fitted = design @ weights
        return _Candidate(fitted, float(((values - fitted) ** 2).sum()), size, turn, weights)

    def bent(bend: float) -> _Candidate:
        """Two straight lines that meet; level where the second is nearly so."""
        found = solved([one, np.minimum(epochs - bend, 0.0), np.maximum(epochs - bend, 0.0)], 4, bend)
        level = abs(found.weights[2]) <= PACE * abs(found.weights[1])
        return found if level else found._replace(turn=None)

    def arriving(tau: float) -> _Candidate:
        turn = float(epochs[0] - math.log(1.0 - DONE) * tau)
        return solved([one, np.exp(-since / tau)], 3, turn if turn <= epochs[-1] else None)

    best = functools.partial(min, key=operator.attrgetter("rss"))
    since, one = epochs - epochs[0], np.ones(len(values))
    bends = epochs[2 : len(values) - 3].tolist()
    yield solved([one], 1, float(epochs[0]))
    yield solved([one, since], 2, None)
    yield best(solved([one, np.minimum(epochs - bend, 0.0)], 3, bend) for bend in bends)
    yield best(map(bent, bends))
    yield best(map(arriving, np.geomspace(0.5, 3.0 * max(float(since[-1]), 1.0), 60)))
    yield best(solved([one, (since + 1.0) ** -power], 3, None) for power in np.linspace(0.1, 2.0, 20))


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
    before = float(curve.values[start] - curve.values[0]) / float(epochs[start] - epochs[0])
    if before >= 0.0 or (after.distinguishable and after.slope > 0.0):
        return None
    flat = abs(after.slope) + 1.645 * after.error <= PACE * abs(before)
    slow = not whole.distinguishable or abs(whole.slope) + 1.645 * whole.error <= 2 * PACE * abs(before)
    return Plateau(int(times[0]), after, before, level) if flat or (slow and 2 * len(tail) >= start) else None
