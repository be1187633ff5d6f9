"""Outlines of objects: polygons, ellipses, stars, blobs, rings with holes, and chairs of plates and thin legs.

An outline is a list of closed rings [V,2] in object coordinates (pixels, origin at the object's centre).  Outer rings
have positive signed area, holes negative.  An object is a list of outlines, one for each of its textures, back to
front; all of them share the object's motion.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic.draws import Draws
from edgeflownas.data.synthetic.raster import area

__all__ = ["draw_object"]

Contour = NDArray[np.float64]
Outline = list[Contour]


def draw_object(draws: Draws, radius: float) -> list[Outline]:
    """An object of about the given radius (px): one outline for each of its parts."""
    if draws.chance(0.35):
        return _chair(draws, radius)
    ring = draws.pick([(3.0, _polygon), (2.0, _ellipse), (2.0, _star), (3.0, _blob)])(draws)
    stretch = draws.log_uniform(0.5, 2.0)
    ring = _outer(ring * radius * np.array([math.sqrt(stretch), 1 / math.sqrt(stretch)]))
    outline = [ring, *_holes(draws, ring)]
    if draws.chance(0.3):  # a second texture on an inner copy, or on a band across it
        return [outline, [_outer(ring * draws.uniform(0.3, 0.75))]] if len(outline) == 1 else [outline]
    return [outline]


def _outer(ring: Contour) -> Contour:
    return ring if area(ring) > 0 else ring[::-1].copy()


def _polar(angle: NDArray[np.float64], distance: NDArray[np.float64]) -> Contour:
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _polygon(draws: Draws) -> Contour:
    corners = draws.integer(3, 8)
    angle = 2 * math.pi * (np.arange(corners) + draws.uniforms(corners, -0.35, 0.35)) / corners
    return _polar(angle, draws.uniforms(corners, 0.6, 1.0))


def _ellipse(draws: Draws) -> Contour:
    angle = np.linspace(0.0, 2 * math.pi, 72, endpoint=False)
    power = draws.log_uniform(0.6, 3.0)  # 1 is an ellipse, larger a pillow, towards a rectangle
    distance = (np.abs(np.cos(angle)) ** (2 * power) + np.abs(np.sin(angle)) ** (2 * power)) ** (-0.5 / power)
    return _polar(angle, distance * 0.8)


def _star(draws: Draws) -> Contour:
    spikes = draws.integer(4, 11)
    inner = draws.uniform(0.3, 0.8)
    angle = math.pi * np.arange(2 * spikes) / spikes
    return _polar(angle, np.where(np.arange(2 * spikes) % 2, inner, 1.0))


def _blob(draws: Draws) -> Contour:
    """Closed smooth curve: a circle with a few random harmonics in its radius."""
    angle = np.linspace(0.0, 2 * math.pi, 96, endpoint=False)
    radius = np.ones_like(angle)
    rough = draws.uniform(0.15, 0.5)
    for harmonic in range(2, 2 + draws.integer(2, 6)):
        amplitude = rough * draws.uniform(-1.0, 1.0) / math.sqrt(harmonic)
        radius += amplitude * np.cos(harmonic * angle + draws.uniform(0, 2 * math.pi))
    return _polar(angle, np.clip(radius, 0.25, 1.7) * 0.75)


def _holes(draws: Draws, ring: Contour) -> list[Contour]:
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


def _bar(start: tuple[float, float], end: tuple[float, float], width: float) -> Contour:
    """A straight bar as a rectangle around a line."""
    along = np.subtract(end, start)
    normal = np.array([-along[1], along[0]]) * (width / 2 / max(float(np.hypot(*along)), 1e-9))
    return _outer(np.array([start + normal, end + normal, end - normal, start - normal]))


def _quad(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]) -> Contour:
    return _outer(np.array([a, b, c, d]))


def _chair(draws: Draws, radius: float) -> list[Outline]:
    """Seat, back (a plate or slats in a frame) and four thin legs, seen from a random side."""
    half, depth = radius * draws.uniform(0.35, 0.6), radius * draws.uniform(0.1, 0.35)
    skew = radius * draws.uniform(-0.35, 0.35)
    top, floor = -radius * draws.uniform(0.6, 1.0), radius * draws.uniform(0.5, 1.0)
    lean = radius * draws.uniform(-0.15, 0.15)
    front_l, front_r = (-half, depth / 2), (half, depth / 2)
    rear_l, rear_r = (-half * 0.9 + skew, -depth / 2), (half * 0.9 + skew, -depth / 2)
    head_l, head_r = (rear_l[0] + lean, top), (rear_r[0] + lean, top)
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
    seat = [_quad(front_l, front_r, rear_r, rear_l), _bar(front_l, front_r, thick * 1.6)]
    if draws.chance(0.5):
        back = [_quad(rear_l, rear_r, head_r, head_l)]
    else:
        shares = np.linspace(0.0, 1.0, draws.integer(3, 8))[1:-1]
        back = [_bar(_between(rear_l, rear_r, t), _between(head_l, head_r, t), thick * 0.9) for t in shares]
    return [legs, back, seat] if draws.chance(0.5) else [back, legs, seat]


def _between(a: tuple[float, float], b: tuple[float, float], t: float) -> tuple[float, float]:
    return (1 - t) * a[0] + t * b[0], (1 - t) * a[1] + t * b[1]
