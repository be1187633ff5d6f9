"""Affine motions in pixels: 3x3 matrices that map (x, y, 1) of image 1 to image 2.

The manner is FlyingChairs' (Dosovitskiy et al., ICCV 2015, section 4): the background moves, every object moves
independently relative to it, and magnitudes have a heavy tail.  One ``pace`` per scene scales all of its motions, so
that a set holds calm scenes of sub-pixel motion as well as fast ones.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic.draws import Draws

__all__ = ["affine", "apply", "background_motion", "flow_of", "object_motion", "scene_pace", "shift"]

Matrix = NDArray[np.float64]
_NOMINAL_WIDTH = 512.0  # displacements are given for this width and scale with the image
_LARGEST = 100.0  # px; FlyingChairs' nine sample fields end at 112


def shift(x: float, y: float) -> Matrix:
    """Translation by (x, y)."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def affine(
    centre: tuple[float, float], move: tuple[float, float], angle: float, zoom: float, stretch: float, shear: float
) -> Matrix:
    """Rotation (radians), zoom (factor), stretch (width over height) and shear about ``centre``, then a translation."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    linear = zoom * turn @ np.array([[math.sqrt(stretch), shear], [0.0, 1.0 / math.sqrt(stretch)]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.asarray(centre) + move - linear @ np.asarray(centre)
    return matrix


def apply(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map points [V,2]."""
    mapped: NDArray[np.float64] = points @ matrix[:2, :2].T + matrix[:2, 2]
    return mapped


def flow_of(matrix: Matrix, top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
    """Displacement M(x) - x in pixels at the centres of a window, float32 [height,width,2] (u right, v down)."""
    x = np.arange(left, left + width, dtype=np.float64)
    y = np.arange(top, top + height, dtype=np.float64)[:, None]
    flow = np.empty((height, width, 2), dtype=np.float32)
    flow[..., 0] = (matrix[0, 0] - 1.0) * x + (matrix[0, 1] * y + matrix[0, 2])
    flow[..., 1] = matrix[1, 0] * x + ((matrix[1, 1] - 1.0) * y + matrix[1, 2])
    return flow


def scene_pace(draws: Draws) -> float:
    """How fast a scene is: log-normal, so that most scenes are calm and a few are fast."""
    return math.exp(1.05 * draws.normal())


def background_motion(draws: Draws, pace: float, height: int, width: int) -> Matrix:
    """Motion of the background about a point of the image; exactly none in one scene of twenty (a fixed camera)."""
    if draws.chance(0.05):
        return np.eye(3)
    unit = width / _NOMINAL_WIDTH
    centre = (draws.uniform(0, width), draws.uniform(0, height))
    move = _displacement(draws, 3.5 * pace, 75.0, unit)
    turn = min(pace, 4.0)
    return affine(
        centre,
        move,
        math.radians(0.6 * turn) * draws.normal(),
        math.exp(0.010 * turn * draws.normal()),
        math.exp(0.004 * turn * draws.normal()),
        0.003 * turn * draws.normal(),
    )


def object_motion(draws: Draws, pace: float, centre: tuple[float, float], width: int) -> Matrix:
    """Motion of an object about its own centre, relative to the background."""
    unit = width / _NOMINAL_WIDTH
    own = math.sqrt(pace) * math.exp(1.05 * draws.normal())
    move = _displacement(draws, 6.0 * own, _LARGEST, unit)
    turn = min(own, 3.0)
    return affine(
        centre,
        move,
        math.radians(3.0 * turn) * draws.normal(),
        math.exp(0.03 * turn * draws.normal()),
        math.exp(0.02 * turn * draws.normal()),
        0.02 * turn * draws.normal(),
    )


def _displacement(draws: Draws, scale: float, limit: float, unit: float) -> tuple[float, float]:
    """A translation in a uniform direction; Rayleigh length of the given scale, at most ``limit``, times ``unit``."""
    length = scale * math.sqrt(-2.0 * math.log1p(-draws.uniform()))
    # Folding the tail back keeps lengths spread out where a clamp would pile them up at one value.
    length = unit * (length if length <= limit else limit * draws.uniform(0.3, 1.0))
    direction = draws.uniform(0.0, 2.0 * math.pi)
    return length * math.cos(direction), length * math.sin(direction)
