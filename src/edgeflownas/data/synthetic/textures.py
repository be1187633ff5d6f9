"""Colour textures, uint8 RGB [h,w,3]: patterns through palettes, dead leaves, and mixtures of them.

Dead leaves (overlapping shapes of all sizes) have the edges, occlusions and 1/f spectrum of photographs, and networks
trained on them learn well (Baradad et al., "Learning to see by looking at noise", NeurIPS 2021); they stand in for
the photographs behind FlyingChairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic import fields
from edgeflownas.data.synthetic.draws import Draws

__all__ = ["background_texture", "object_texture"]

Texture = NDArray[np.uint8]


def background_texture(draws: Draws, height: int, width: int) -> Texture:
    """What fills the frame: mostly dead leaves and large mixtures, as photographs are made of many things."""
    make = draws.pick([(3.5, _leaves), (2.0, _mixture), (3.5, _landscape), (0.8, _pattern)])
    texture = make(draws, height, width)
    if draws.chance(0.6):
        texture = _shaded(draws, texture)
    return _finish(draws, texture, plain=False)


def object_texture(draws: Draws, height: int, width: int) -> Texture:
    """The surface of one part of an object; one in five is nearly plain, as chairs are."""
    if draws.chance(0.2):
        texture = _coloured(fields.gradient(draws, height, width), _palette(draws, narrow=True))
        return _finish(draws, texture, plain=True)
    make = draws.pick([(5.0, _pattern), (2.0, _mixture), (1.5, _leaves)])
    return _finish(draws, make(draws, height, width), plain=False)


def _palette(draws: Draws, narrow: bool = False, cyclic: bool = False, stepped: bool | None = None) -> Texture:
    """256 RGB colours running through two to five related colours of random lightness."""
    count = 2 if narrow else draws.integer(2, 5)
    hue = draws.uniform() + draws.uniforms(count, -1.0, 1.0) * draws.pick([(2.0, 0.04), (2.0, 0.15), (1.0, 0.5)])
    colourful = draws.pick([(2.0, 0.25), (2.0, 0.6), (1.0, 1.0)])
    saturation = draws.uniforms(count) * colourful
    middle, reach = draws.uniform(0.2, 0.85), draws.uniform(0.03, 0.12) if narrow else draws.uniform(0.2, 0.6)
    value = np.clip(middle + draws.uniforms(count, -1.0, 1.0) * reach, 0.04, 1.0)
    colours = _rgb(hue, saturation, value)
    if cyclic:
        colours = np.concatenate([colours, colours[:1]])
    knots = np.linspace(0.0, 1.0, len(colours))
    place = np.linspace(0.0, 1.0, 256)
    if draws.chance(0.4) if stepped is None else stepped:  # plateaus with short ramps instead of blends
        scaled = place * (len(colours) - 1)
        whole = np.floor(scaled)
        place = (whole + np.clip((scaled - whole - 0.5) * 6.0 + 0.5, 0.0, 1.0)) / (len(colours) - 1)
    table = np.stack([np.interp(place, knots, colours[:, channel]) for channel in range(3)], axis=1)
    return np.rint(table * 255.0).astype(np.uint8)


def _rgb(hue: NDArray[np.float64], saturation: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """HSV in 0..1 (hue cyclic) to RGB in 0..1, [count,3]."""
    sector = (hue[:, None] * 6.0 + np.array([5.0, 3.0, 1.0])) % 6.0
    chroma = (value * saturation)[:, None]
    colours: NDArray[np.float64] = value[:, None] - chroma * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)
    return colours


def _coloured(field: NDArray[np.float32], palette: Texture) -> Texture:
    """Look every level of a 0..1 field up in a palette."""
    level = cv2.convertScaleAbs(field, alpha=255.0)
    return cv2.applyColorMap(level, palette.reshape(256, 1, 3)).astype(np.uint8, copy=False)


def _pattern(draws: Draws, height: int, width: int) -> Texture:
    """One scalar pattern through one palette."""
    kind = draws.pick(
        [
            (3.0, "noise"),
            (2.0, "waves"),
            (1.5, "tiles"),
            (1.5, "cells"),
            (1.0, "speckles"),
            (1.0, "strokes"),
            (1.0, "rgb"),
        ]
    )
    if kind == "noise":
        return _coloured(_noise(draws, height, width), _palette(draws))
    if kind == "waves":
        return _coloured(fields.waves(draws, height, width), _palette(draws, cyclic=True, stepped=draws.chance(0.6)))
    if kind == "rgb":
        octaves = draws.integer(2, 5)
        cell = draws.log_uniform(1.5, 12.0)
        tint = _palette(draws, stepped=False)
        noisy = cv2.merge(
            [_coloured(fields.fractal(draws, height, width, cell, octaves, 0.7), tint)[..., c] for c in range(3)]
        )
        return noisy.astype(np.uint8, copy=False)
    simple: dict[str, Callable[[Draws, int, int], NDArray[np.float32]]] = {
        "tiles": fields.tiles,
        "cells": fields.cells,
        "speckles": fields.speckles,
        "strokes": fields.strokes,
    }
    return _coloured(simple[kind](draws, height, width), _palette(draws))


def _noise(draws: Draws, height: int, width: int) -> NDArray[np.float32]:
    """Fractal noise: isotropic, drawn out along one axis (wood, brushed metal), or warped by other noise (marble)."""
    cell, octaves, roughness = draws.log_uniform(1.2, 10.0), draws.integer(2, 6), draws.uniform(0.45, 0.95)
    kind = draws.pick([(2.0, "plain"), (1.0, "long"), (1.0, "warped")])
    if kind == "long":
        narrow = max(8, int(width / draws.log_uniform(3.0, 12.0)))
        field = fields.fractal(draws, height, narrow, cell, octaves, roughness)
        return cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    field = fields.fractal(draws, height, width, cell, octaves, roughness)
    if kind == "plain":
        return field
    reach = np.float32(draws.log_uniform(10.0, 80.0))
    coarse = draws.log_uniform(15.0, 60.0)
    x = np.arange(width, dtype=np.float32) + reach * fields.fractal(draws, height, width, coarse, 2, 0.5)
    y = np.arange(height, dtype=np.float32)[:, None] + reach * fields.fractal(draws, height, width, coarse, 2, 0.5)
    warped = cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return warped.astype(np.float32, copy=False)


def _leaves(draws: Draws, height: int, width: int) -> Texture:
    """Dead leaves: convex shapes of sizes between 4 px and half the texture, many small and few large, textured."""
    longest = max(height, width)
    count = min(700, max(30, int(height * width / 500)))
    smallest, largest = draws.uniform(4.0, 10.0), longest * draws.uniform(0.2, 0.5)
    # Radii with density r^-2 between the limits; r^-3 is the scale-invariant law, which hides all large leaves.
    radius = 1.0 / (1.0 / largest + draws.uniforms(count) * (1.0 / smallest - 1.0 / largest))
    radius = np.sort(radius)[::-1] if draws.chance(0.5) else radius
    corners = draws.integer(3, 6) if draws.chance(0.6) else 14
    angle = 2 * math.pi * (np.arange(corners) + draws.uniforms(count * corners, -0.3, 0.3).reshape(count, -1)) / corners
    stretch = np.exp(draws.uniforms(count, -0.8, 0.8))[:, None]
    turn = draws.uniforms(count, 0.0, math.pi)[:, None]
    along, across = radius[:, None] * stretch * np.cos(angle), radius[:, None] / stretch * np.sin(angle)
    centre = draws.uniforms(2 * count).reshape(count, 2, 1) * np.array([width, height]).reshape(1, 2, 1)
    x = centre[:, 0] + along * np.cos(turn) - across * np.sin(turn)
    y = centre[:, 1] + along * np.sin(turn) + across * np.cos(turn)
    points = np.rint(np.stack([x, y], axis=-1) * 16.0).astype(np.int32)
    palettes = [_palette(draws) for _ in range(draws.integer(1, 3))]
    pick = draws.bytes(count, 2)
    ground = _pattern(draws, height, width)
    strength = np.float32(draws.uniform(0.15, 0.6))
    texture = np.ascontiguousarray(ground)
    for leaf in range(count):
        colour = palettes[pick[leaf, 0] % len(palettes)][pick[leaf, 1]]
        cv2.fillConvexPoly(texture, points[leaf], [int(level) for level in colour], cv2.LINE_AA, 4)
    if draws.chance(0.5):
        return texture
    veil = _pattern(draws, height, width)  # gives the leaves a surface, as one more pattern shining through
    return cv2.addWeighted(texture, 1.0 - float(strength), veil, float(strength), 0.0).astype(np.uint8, copy=False)


def _mixture(draws: Draws, height: int, width: int) -> Texture:
    """Two textures, one showing through large or small openings in the other."""
    first = _pattern(draws, height, width)
    second = _leaves(draws, height, width) if draws.chance(0.3) else _pattern(draws, height, width)
    cell = draws.log_uniform(6.0, 80.0)
    mask = fields.fractal(draws, height, width, cell, draws.integer(1, 3), 0.6)
    sharpness = np.float32(draws.log_uniform(4.0, 60.0))
    return _blend(first, second, np.clip((mask - np.float32(draws.uniform(0.35, 0.65))) * sharpness + 0.5, 0.0, 1.0))


def _landscape(draws: Draws, height: int, width: int) -> Texture:
    """Two or three regions across the frame with a rough border, such as sky over trees over water."""
    texture = _leaves(draws, height, width) if draws.chance(0.5) else _pattern(draws, height, width)
    x = np.arange(width, dtype=np.float32) / np.float32(width)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(height)
    for _ in range(draws.integer(1, 2)):
        angle, place = draws.uniform(-0.6, 0.6), draws.uniform(0.25, 0.75)
        rough = fields.fractal(draws, height, width, draws.log_uniform(4.0, 40.0), 3, 0.5)
        height_above = (y - np.float32(place)) + np.float32(angle) * (x - np.float32(0.5))
        height_above += np.float32(draws.uniform(0.02, 0.3)) * (rough - np.float32(0.5))
        other = _pattern(draws, height, width)
        texture = _blend(texture, other, np.clip(height_above * np.float32(120.0) + 0.5, 0.0, 1.0))
    return texture


def _blend(first: Texture, second: Texture, share: NDArray[np.float32]) -> Texture:
    """``share`` (0..1) of the second texture over the first."""
    return cv2.blendLinear(first, second, np.float32(1.0) - share, share).astype(np.uint8, copy=False)


def _shaded(draws: Draws, texture: Texture) -> Texture:
    """Uneven light: a slow change of brightness across the texture."""
    height, width = texture.shape[:2]
    light = fields.fractal(draws, height, width, max(height, width) / draws.uniform(2.0, 6.0), 1, 1.0)
    depth = draws.uniform(0.2, 0.7)
    level = cv2.convertScaleAbs(light, alpha=255.0 * depth, beta=255.0 * (1.0 - depth))
    return cv2.multiply(texture, cv2.merge([level, level, level]), scale=1.0 / 255.0).astype(np.uint8, copy=False)


def _finish(draws: Draws, texture: Texture, plain: bool) -> Texture:
    """Add grain, then limit the band so that sub-pixel interpolation reproduces the texture."""
    height, width = texture.shape[:2]
    strength = draws.log_uniform(0.03, 0.10) if plain else draws.log_uniform(0.02, 0.25)
    grain = fields.grain(draws, height, width)
    grainy = cv2.addWeighted(texture, 1.0, cv2.merge([grain, grain, grain]), strength, -127.5 * strength)
    return cv2.GaussianBlur(grainy, (0, 0), draws.uniform(0.4, 0.75)).astype(np.uint8, copy=False)
