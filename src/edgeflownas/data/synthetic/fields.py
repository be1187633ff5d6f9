"""Scalar patterns that textures are made of: float32 [h,w] in 0..1, each from a handful of random numbers."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic.draws import Draws

__all__ = ["cells", "fractal", "gradient", "grain", "speckles", "strokes", "tiles", "waves"]

Field = NDArray[np.float32]


def fractal(draws: Draws, height: int, width: int, cell: float, octaves: int, roughness: float) -> Field:
    """Multi-octave value noise; ``cell`` is its finest grain in px, ``roughness`` the gain of each finer octave.

    Built from the coarsest octave up by doubling, so that the cost is that of the finest one.
    """
    total: Field | None = None
    for octave in reversed(range(octaves)):
        step = cell * 2.0**octave
        size = (math.ceil(width / step) + 3, math.ceil(height / step) + 3)
        fresh = draws.bytes(size[1], size[0]).astype(np.float32)
        fresh *= np.float32(roughness ** (octaves - 1 - octave))
        if total is not None:
            fresh += np.asarray(cv2.resize(total, size, interpolation=cv2.INTER_CUBIC), dtype=np.float32)
        total = fresh
    assert total is not None
    return _spread(np.asarray(cv2.resize(total, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32))


def _spread(field: NDArray[np.float32]) -> Field:
    """Shift and scale to 0..1: two standard deviations around the mean, the rest clipped."""
    mean, deviation = cv2.meanStdDev(field)
    scale = 0.25 / max(float(deviation[0, 0]), 1e-6)
    return _clipped(field * np.float32(scale) + np.float32(0.5 - scale * float(mean[0, 0])))


def _clipped(field: NDArray[np.float32]) -> Field:
    """Clip a fresh array to 0..1 in place."""
    np.clip(field, 0.0, 1.0, out=field)
    return field


def grain(draws: Draws, height: int, width: int) -> NDArray[np.uint8]:
    """Fine noise of one to three pixels as bytes around 128: what makes flat regions matchable."""
    cell = draws.log_uniform(1.0, 3.0)
    small = draws.bytes(math.ceil(height / cell), math.ceil(width / cell))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _axes(draws: Draws, height: int, width: int, period: float) -> tuple[Field, Field]:
    """Two perpendicular coordinates in periods, turned and shifted at random."""
    angle, offset = draws.uniform(0, 2 * math.pi), draws.uniforms(2)
    x = np.arange(width, dtype=np.float32) / np.float32(period)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(period)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * x + (sin * y + np.float32(offset[0])), cos * y - (sin * x + np.float32(offset[1]))


def waves(draws: Draws, height: int, width: int) -> Field:
    """The phase 0..1 of stripes of one random period, often bent by noise, sometimes rings around a point."""
    period = draws.log_uniform(5.0, 70.0)
    u, v = _axes(draws, height, width, period)
    if draws.chance(0.2):
        centre = draws.uniforms(2, -0.5, 1.5) * (width / period)
        u = np.hypot(u - np.float32(centre[0]), v - np.float32(centre[1]))
    if draws.chance(0.5):
        bend = draws.uniform(0.3, 2.0)
        u = u + np.float32(bend) * fractal(draws, height, width, draws.log_uniform(12.0, 60.0), 2, 0.5)
    phase: Field = u - np.floor(u)
    return phase


def tiles(draws: Draws, height: int, width: int) -> Field:
    """Checkers, bricks or tiles: one random level for each cell of a grid, often with a joint around it."""
    u, v = _axes(draws, height, width, draws.log_uniform(8.0, 80.0))
    v = v * np.float32(draws.log_uniform(0.5, 2.5))
    row: Field = np.floor(v).astype(np.float32, copy=False)
    if draws.chance(0.4):
        u = u + np.float32(0.5) * row  # bricks: every row half a stone further
    column = np.floor(u)
    if draws.chance(0.3):
        checker: Field = np.abs(np.fmod(row + column, np.float32(2.0)))
        return checker
    levels = draws.uniforms(256).astype(np.float32)
    field: Field = levels[(row.astype(np.int32) * 73 + column.astype(np.int32) * 151) & 255]
    joint = np.float32(draws.uniform(0.0, 0.12))
    field[(u - column < joint) | (v - row < joint)] = draws.uniform()
    return field


def cells(draws: Draws, height: int, width: int) -> Field:
    """Voronoi cells: a level for each cell, shaded by the distance to its seed."""
    size = draws.log_uniform(8.0, 60.0)
    count = max(4, int(height * width / size**2))
    seeds = np.full((height, width), 255, dtype=np.uint8)
    place = draws.uniforms(2 * count).reshape(2, count)
    seeds[(place[0] * height).astype(int), (place[1] * width).astype(int)] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    levels = draws.uniforms(int(label.max()) + 1).astype(np.float32)
    shade = np.float32(draws.uniform(-0.6, 0.6) / size)
    return _clipped(levels[label] + shade * np.asarray(distance, dtype=np.float32))


def gradient(draws: Draws, height: int, width: int) -> Field:
    """A smooth ramp across the texture, linear or bent by large noise."""
    u, _ = _axes(draws, height, width, 1.6 * max(height, width))
    if draws.chance(0.5):
        u = u + np.float32(0.4) * fractal(draws, height, width, max(height, width) / 4.0, 1, 1.0)
    ramp: Field = np.abs(u - np.float32(2.0) * np.floor(u * np.float32(0.5)) - np.float32(1.0))
    return ramp


def speckles(draws: Draws, height: int, width: int) -> Field:
    """Sparse spots of one size on an even ground."""
    cell = draws.log_uniform(1.5, 9.0)
    grid = (math.ceil(height / cell), math.ceil(width / cell))
    keep = draws.bytes(*grid) < draws.integer(10, 90)
    spots = np.where(keep, draws.bytes(*grid), np.uint8(0)).astype(np.float32) / np.float32(255.0)
    grown = np.asarray(cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return _clipped(grown * np.float32(1.4))


def strokes(draws: Draws, height: int, width: int) -> Field:
    """Rows of little marks made of a few strokes each, like writing in an unknown script."""
    size = draws.log_uniform(7.0, 40.0)
    rows, columns = max(1, int(height / (1.6 * size))), max(1, int(width / (0.9 * size)))
    while rows * columns > 500:  # fine print costs time and shows no more
        size *= 1.25
        rows, columns = max(1, int(height / (1.6 * size))), max(1, int(width / (0.9 * size)))
    count = rows * columns
    corner = np.stack(np.meshgrid(np.arange(columns) * 0.9, np.arange(rows) * 1.6), axis=-1).reshape(count, 1, 2)
    marks = np.floor(draws.uniforms(count * 8).reshape(count, 4, 2) * 3.0) * np.array([0.3, 0.5])
    lines = ((corner + marks + 0.2) * size * 8.0).astype(np.int32)
    lines = lines[draws.uniforms(count) > 0.15]  # gaps between words
    page = np.zeros((height, width), dtype=np.uint8)
    thickness = max(1, int(size * draws.uniform(0.06, 0.2)))
    cv2.polylines(page, list(lines), False, (255.0,), thickness, cv2.LINE_AA, 3)
    return page.astype(np.float32) / np.float32(255.0)
