"""The geometry of a scene: random draws, and the motions and outlines made of them.

An outline is a list of closed rings [V,2] of (x, y) points; outer rings have positive signed area, holes negative.  A
pixel (x, y) has its centre at the integer point (x, y) and covers half a pixel to each side: flow is given at centres.
"""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeflownas.randomness import stream

T = TypeVar("T")
Array = NDArray[np.float64]
Point = tuple[float, float]
Outline = list[Array]

_BLOCK = 128  # random words read at once
_NOMINAL_WIDTH = 512.0  # displacements are given for this width and scale with the image
_LARGEST = 100.0  # px; FlyingChairs' nine sample fields end at 112


# --- random draws ---


class Draws:
    """Random values of layer ``layer`` of pair ``index`` under ``seed``, each a function of these and its position.

    Every layer has its own counter: a change in how one layer draws leaves the others as they were.
    """

    def __init__(self, seed: int, index: int, layer: int) -> None:
        self._source = stream(seed, "synth", index, layer)
        self._ready: list[float] = []

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> Array:
        """``count`` floats in [low, high)."""
        return low + (high - low) * ((self._source(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """One float in [low, high)."""
        if not self._ready:  # one by one they would take a hundred times as long
            self._ready = self.uniforms(_BLOCK).tolist()
        return low + (high - low) * self._ready.pop()

    def log_uniform(self, low: float, high: float) -> float:
        """One float in [low, high), uniform in its logarithm: every octave equally often."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self) -> float:
        """One standard normal value (Box and Muller 1958)."""
        first, second = self.uniform(), self.uniform()
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
        return self._source(-(-count // 8)).astype("<u8", copy=False).view(np.uint8)[:count].reshape(shape)


# --- motions: 3x3 matrices that map (x, y, 1) of image 1 to image 2, in pixels ---
#
# The manner is FlyingChairs' (Dosovitskiy et al., ICCV 2015, section 4): the background moves, every object moves
# independently relative to it, and magnitudes have a heavy tail.  One pace per scene scales all of its motions, so
# that a set holds calm scenes of sub-pixel motion as well as fast ones.


def shift(x: float, y: float) -> Array:
    """Translation by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def affine(centre: Point, move: Point, angle: float, zoom: float, stretch: float, shear: float) -> Array:
    """Rotation (radians), zoom (factor), stretch (width over height) and shear about ``centre``, then a translation."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    linear = zoom * turn @ np.array([[math.sqrt(stretch), shear], [0.0, 1.0 / math.sqrt(stretch)]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.asarray(centre) + move - linear @ np.asarray(centre)
    return matrix


def apply(matrix: Array, points: Array) -> Array:
    """Map points [V,2]."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:])


def flow_of(motions: Sequence[Array], owner: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Displacement of each pixel centre under the motion of its owner, float32 [h,w,2] in px (u right, v down)."""
    height, width = owner.shape
    table = np.stack(motions).reshape(-1, 9).T
    a, b, c, d, e, f, g, h, i = table.take(owner.astype(np.intp), axis=1)
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    depth = g * x + h * y + i
    flow = np.empty((height, width, 2), dtype=np.float32)
    flow[..., 0] = (a * x + b * y + c) / depth - x
    flow[..., 1] = (d * x + e * y + f) / depth - y
    return flow


def background_motion(draws: Draws, pace: float, height: int, width: int) -> Array:
    """Motion of the background about a point of the image; exactly none in one scene of twenty (a fixed camera).

    One camera of four turns, comes closer or goes away more than it moves aside; one background of two is a plane that
    is seen at an angle, as the ground is.
    """
    if draws.chance(0.05):
        return np.eye(3)
    centre = (draws.uniform(0, width), draws.uniform(0, height))
    near = draws.chance(0.25)
    move = _displacement(draws, (1.5 if near else 3.0) * pace, 75.0, width)
    scale = min(pace, 4.0) * (2.5 if near else 1.0)
    motion = _drawn_affine(draws, centre, move, scale, 0.6, 0.010, 0.004, 0.003)
    if draws.chance(0.5):
        slant = min(pace, 4.0) * 0.008 / width
        tilt = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [slant * draws.normal(), slant * draws.normal(), 1.0]])
        motion = motion @ shift(*centre) @ tilt @ shift(-centre[0], -centre[1])
    return motion


def object_motion(draws: Draws, pace: float, centre: Point, width: int) -> Array:
    """Motion of an object about its own centre, relative to the background."""
    own = math.sqrt(pace) * math.exp(1.05 * draws.normal())
    move = _displacement(draws, 5.0 * own, _LARGEST, width)
    return _drawn_affine(draws, centre, move, min(own, 3.0), 3.0, 0.03, 0.02, 0.02)


def _drawn_affine(
    draws: Draws, centre: Point, move: Point, scale: float, degrees: float, zoom: float, stretch: float, shear: float
) -> Array:
    """An affine motion whose parts are normal with ``scale`` times the given standard deviations."""
    turn = math.radians(degrees * scale) * draws.normal()
    zoomed, stretched = (math.exp(size * scale * draws.normal()) for size in (zoom, stretch))
    return affine(centre, move, turn, zoomed, stretched, shear * scale * draws.normal())


def _displacement(draws: Draws, scale: float, limit: float, width: int) -> Point:
    """A translation in a uniform direction; Rayleigh length of the given scale, at most ``limit`` at nominal width."""
    length = scale * math.sqrt(-2.0 * math.log1p(-draws.uniform()))
    # Folding the tail back keeps lengths spread out where a clamp would pile them up at one value.
    length = width / _NOMINAL_WIDTH * (length if length <= limit else limit * draws.uniform(0.3, 1.0))
    direction = draws.uniform(0.0, 2.0 * math.pi)
    return length * math.cos(direction), length * math.sin(direction)


# --- outlines of objects: polygons, ellipses, stars, blobs, rings with holes, twigs, and chairs with thin legs ---


def area(contour: Array) -> float:
    """Signed area of a ring [V,2]; the sign is its direction of travel."""
    x, y = contour[:, 0], contour[:, 1]
    return 0.5 * float(x[:-1] @ y[1:] - y[:-1] @ x[1:] + x[-1] * y[0] - y[-1] * x[0])


def draw_object(draws: Draws, radius: float) -> list[Outline]:
    """An object of about the given radius (px): one outline for each of its parts."""
    kind = draws.uniform()
    if kind < 0.4:
        return _chair(draws, radius)
    if kind < 0.5:
        return [_twigs(draws, radius)]
    ring = draws.pick([(3.0, _polygon), (2.0, _ellipse), (2.0, _star), (3.0, _blob)])(draws)
    stretch = draws.log_uniform(0.5, 2.0)
    ring = _outer(ring * radius * np.array([math.sqrt(stretch), 1 / math.sqrt(stretch)]))
    outline = [ring, *_holes(draws, ring)]
    if draws.chance(0.3):  # a second texture on an inner copy, or on a band across it
        return [outline, [_outer(ring * draws.uniform(0.3, 0.75))]] if len(outline) == 1 else [outline]
    return [outline]


def _outer(ring: Array) -> Array:
    return ring if area(ring) > 0 else ring[::-1].copy()


def _polar(angle: Array, distance: Array) -> Array:
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _polygon(draws: Draws) -> Array:
    corners = draws.integer(3, 8)
    angle = 2 * math.pi * (np.arange(corners) + draws.uniforms(corners, -0.35, 0.35)) / corners
    return _polar(angle, draws.uniforms(corners, 0.6, 1.0))


def _ellipse(draws: Draws) -> Array:
    angle = np.linspace(0.0, 2 * math.pi, 72, endpoint=False)
    power = draws.log_uniform(0.6, 3.0)  # 1 is an ellipse, larger a pillow, towards a rectangle
    distance = (np.abs(np.cos(angle)) ** (2 * power) + np.abs(np.sin(angle)) ** (2 * power)) ** (-0.5 / power)
    return _polar(angle, distance * 0.8)


def _star(draws: Draws) -> Array:
    spikes = draws.integer(4, 11)
    inner = draws.uniform(0.3, 0.8)
    angle = math.pi * np.arange(2 * spikes) / spikes
    return _polar(angle, np.where(np.arange(2 * spikes) % 2, inner, 1.0))


def _blob(draws: Draws) -> Array:
    """Closed smooth curve: a circle with a few random harmonics in its radius."""
    angle = np.linspace(0.0, 2 * math.pi, 96, endpoint=False)
    radius = np.ones_like(angle)
    rough = draws.uniform(0.15, 0.5)
    for harmonic in range(2, 2 + draws.integer(2, 6)):
        amplitude = rough * draws.uniform(-1.0, 1.0) / math.sqrt(harmonic)
        radius += amplitude * np.cos(harmonic * angle + draws.uniform(0, 2 * math.pi))
    return _polar(angle, np.clip(radius, 0.25, 1.7) * 0.75)


def _holes(draws: Draws, ring: Array) -> list[Array]:
    """None mostly; else the ring made a frame, or a few round holes that do not touch each other."""
    kind = draws.pick([(6.0, "none"), (1.5, "frame"), (2.5, "round")])
    if kind == "none":
        return []
    if kind == "frame":
        return [(ring * draws.uniform(0.4, 0.8))[::-1].copy()]
    reach = 0.9 * float(np.hypot(ring[:, 0], ring[:, 1]).min())
    count = draws.integer(1, 4)
    size = reach * (0.6 if count == 1 else 0.25) * draws.uniform(0.6, 1.0)
    angle = 2 * math.pi * np.arange(count) / count + draws.uniform(0, math.pi)
    centres = _polar(angle, np.full(count, 0.0 if count == 1 else 0.55 * reach))
    turn = np.linspace(0.0, 2 * math.pi, 32, endpoint=False)
    return [(centre + _polar(turn, np.full(32, size)))[::-1].copy() for centre in centres]


def _bar(start: Point | Array, end: Point | Array, width: float) -> Array:
    """A straight bar as a rectangle around a line."""
    along = np.subtract(end, start)
    normal = np.array([-along[1], along[0]]) * (width / 2 / max(float(np.hypot(*along)), 1e-9))
    return _outer(np.array([start + normal, end + normal, end - normal, start - normal]))


def _twigs(draws: Draws, radius: float) -> Outline:
    """Thin bars side by side or across each other: fences, poles, branches."""
    count, thick = draws.integer(1, 9), max(1.2, radius * draws.log_uniform(0.02, 0.1))
    turn = draws.uniforms(count, 0.0, math.pi) * draws.pick([(1.0, 0.05), (1.0, 1.0)])
    middle = draws.uniforms(2 * count, -0.8, 0.8).reshape(count, 2) * radius
    reach = np.stack([np.sin(turn), np.cos(turn)], axis=1) * radius * draws.uniforms(count, 0.5, 1.1)[:, None]
    return [_bar(m - r, m + r, thick) for m, r in zip(middle, reach, strict=True)]


def _chair(draws: Draws, radius: float) -> list[Outline]:
    """Seat, back (a plate or slats in a frame) and four thin legs, seen from a random side."""
    half, depth = radius * draws.uniform(0.35, 0.6), radius * draws.uniform(0.1, 0.35)
    skew = radius * draws.uniform(-0.35, 0.35)
    top, floor = -radius * draws.uniform(0.6, 1.0), radius * draws.uniform(0.5, 1.0)
    lean = radius * draws.uniform(-0.15, 0.15)
    front_l, front_r = np.array([[-half, depth / 2], [half, depth / 2]])
    rear_l, rear_r = np.array([[-half * 0.9 + skew, -depth / 2], [half * 0.9 + skew, -depth / 2]])
    head_l, head_r = np.array([[rear_l[0] + lean, top], [rear_r[0] + lean, top]])
    thick = max(1.5, radius * draws.log_uniform(0.025, 0.12))
    spread = half * draws.uniform(-0.1, 0.2)
    legs = [
        _bar(rear_l, (rear_l[0] - spread, floor * 0.8), thick),
        _bar(rear_r, (rear_r[0] + spread, floor * 0.8), thick),
        _bar(front_l, (front_l[0] - spread, floor), thick),
        _bar(front_r, (front_r[0] + spread, floor), thick),
        _bar(rear_l, head_l, thick),
        _bar(rear_r, head_r, thick),
        _bar(head_l, head_r, thick * 1.5),
    ]
    if draws.chance(0.5):
        legs.append(_bar((-half, floor * 0.6), (half, floor * 0.6), thick * 0.8))
    seat = [_outer(np.array([front_l, front_r, rear_r, rear_l])), _bar(front_l, front_r, thick * 1.6)]
    if draws.chance(0.5):
        back = [_outer(np.array([rear_l, rear_r, head_r, head_l]))]
    else:
        shares = np.linspace(0.0, 1.0, draws.integer(3, 8))[1:-1]
        back = [_bar((1 - t) * rear_l + t * rear_r, (1 - t) * head_l + t * head_r, thick * 0.9) for t in shares]
    return [legs, back, seat] if draws.chance(0.5) else [back, legs, seat]
