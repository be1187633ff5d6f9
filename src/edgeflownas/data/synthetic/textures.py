"""Textures: scalar patterns, each from a handful of random numbers, through palettes; dead leaves; mixtures of them.

Dead leaves (overlapping shapes of all sizes) have the edges, occlusions and 1/f spectrum of photographs, and networks
trained on them learn well (Baradad et al., "Learning to see by looking at noise", NeurIPS 2021); they stand in for
the photographs behind FlyingChairs.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic.geometry import Draws

Field = NDArray[np.float32]  # [h,w] in 0..1
Texture = NDArray[np.uint8]  # [h,w,3], RGB


def background_texture(draws: Draws, height: int, width: int) -> Texture:
    """What fills the frame: mostly dead leaves and large mixtures, as photographs are made of many things."""
    make = draws.pick([(3.5, _leaves), (2.0, _mixture), (3.5, _landscape), (0.8, _pattern)])
    texture = make(draws, height, width)
    if draws.chance(0.6):  # uneven light: a slow change of brightness
        light = fractal(draws, height, width, max(height, width) / draws.uniform(2.0, 6.0), 1, 1.0)
        depth = draws.uniform(0.2, 0.7)
        level = cv2.convertScaleAbs(light, alpha=255.0 * depth, beta=255.0 * (1.0 - depth))
        shaded = cv2.multiply(texture, cv2.merge([level, level, level]), scale=1.0 / 255.0)
        texture = shaded.astype(np.uint8, copy=False)
    return _finish(draws, texture, plain=False)


def object_texture(draws: Draws, height: int, width: int) -> Texture:
    """The surface of one part of an object; one in five is nearly plain, as chairs are."""
    if draws.chance(0.2):
        texture = _coloured(gradient(draws, height, width), _palette(draws, narrow=True))
        return _finish(draws, texture, plain=True)
    make = draws.pick([(5.0, _pattern), (2.0, _mixture), (1.5, _leaves)])
    return _finish(draws, make(draws, height, width), plain=False)


def blurred_noise(draws: Draws, height: int, width: int) -> Texture:
    """Three octaves of blurred noise in each channel: easy to match at every scale, so that networks learn it soon."""
    total = np.zeros((height, width, 3), dtype=np.float32)
    for sigma in (1.2, 2.5, 5.0):
        octave = cv2.GaussianBlur(draws.bytes(height, width, 3).astype(np.float32), (0, 0), sigma)
        total += octave * np.float32(1.0 / float(octave.std()))
    return cv2.normalize(total, total, 0.0, 255.0, cv2.NORM_MINMAX).round().astype(np.uint8)


def _palette(draws: Draws, narrow: bool = False, cyclic: bool = False, stepped: bool | None = None) -> Texture:
    """256 RGB colours running through two to five related colours of random lightness."""
    count = 2 if narrow else draws.integer(2, 5)
    hue = draws.uniform() + draws.uniforms(count, -1.0, 1.0) * draws.pick([(2.0, 0.04), (2.0, 0.15), (1.0, 0.5)])
    colourful = draws.pick([(2.0, 0.25), (2.0, 0.6), (1.0, 1.0)])
    saturation = draws.uniforms(count) * colourful
    middle, reach = draws.uniform(0.2, 0.85), draws.uniform(0.03, 0.12) if narrow else draws.uniform(0.2, 0.6)
    value = np.clip(middle + draws.uniforms(count, -1.0, 1.0) * reach, 0.04, 1.0)
    sector = (hue[:, None] * 6.0 + np.array([5.0, 3.0, 1.0])) % 6.0  # from here on RGB
    chroma = (value * saturation)[:, None]
    colours = value[:, None] - chroma * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)
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


def _coloured(field: Field, palette: Texture) -> Texture:
    """Look every level of a 0..1 field up in a palette."""
    level = cv2.convertScaleAbs(field, alpha=255.0)
    return cv2.applyColorMap(level, palette.reshape(256, 1, 3)).astype(np.uint8, copy=False)


def _pattern(draws: Draws, height: int, width: int) -> Texture:
    """One scalar pattern through one palette."""
    common = ((3.0, _noise), (2.0, waves), (1.5, tiles), (1.5, cells))
    kind = draws.pick([*common, (1.0, speckles), (1.0, strokes), (1.0, None)])
    if kind is None:  # noise of its own in each channel
        octaves = draws.integer(2, 5)
        cell = draws.log_uniform(1.5, 12.0)
        tint = _palette(draws, stepped=False)
        channels = [_coloured(fractal(draws, height, width, cell, octaves, 0.7), tint)[..., c] for c in range(3)]
        return cv2.merge(channels).astype(np.uint8, copy=False)
    field = kind(draws, height, width)
    if kind is waves:
        return _coloured(field, _palette(draws, cyclic=True, stepped=draws.chance(0.6)))
    return _coloured(field, _palette(draws))


def _noise(draws: Draws, height: int, width: int) -> Field:
    """Fractal noise: isotropic, drawn out along one axis (wood, brushed metal), or warped by other noise (marble)."""
    cell, octaves, roughness = draws.log_uniform(1.2, 10.0), draws.integer(2, 6), draws.uniform(0.45, 0.95)
    kind = draws.pick([(2.0, "plain"), (1.0, "long"), (1.0, "warped")])
    if kind == "long":
        narrow = max(8, int(width / draws.log_uniform(3.0, 12.0)))
        field = fractal(draws, height, narrow, cell, octaves, roughness)
        return cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    field = fractal(draws, height, width, cell, octaves, roughness)
    if kind == "plain":
        return field
    reach = np.float32(draws.log_uniform(10.0, 80.0))
    coarse = draws.log_uniform(15.0, 60.0)
    x = np.arange(width, dtype=np.float32) + reach * fractal(draws, height, width, coarse, 2, 0.5)
    y = np.arange(height, dtype=np.float32)[:, None] + reach * fractal(draws, height, width, coarse, 2, 0.5)
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
    mask = fractal(draws, height, width, cell, draws.integer(1, 3), 0.6)
    sharpness = np.float32(draws.log_uniform(4.0, 60.0))
    return _blend(first, second, np.clip((mask - np.float32(draws.uniform(0.35, 0.65))) * sharpness + 0.5, 0.0, 1.0))


def _landscape(draws: Draws, height: int, width: int) -> Texture:
    """Two or three regions across the frame with a rough border, such as sky over trees over water."""
    texture = _leaves(draws, height, width) if draws.chance(0.5) else _pattern(draws, height, width)
    x = np.arange(width, dtype=np.float32) / np.float32(width)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(height)
    for _ in range(draws.integer(1, 2)):
        angle, place = draws.uniform(-0.6, 0.6), draws.uniform(0.25, 0.75)
        rough = fractal(draws, height, width, draws.log_uniform(4.0, 40.0), 3, 0.5)
        height_above = (y - np.float32(place)) + np.float32(angle) * (x - np.float32(0.5))
        height_above += np.float32(draws.uniform(0.02, 0.3)) * (rough - np.float32(0.5))
        other = _pattern(draws, height, width)
        texture = _blend(texture, other, np.clip(height_above * np.float32(120.0) + 0.5, 0.0, 1.0))
    return texture


def _blend(first: Texture, second: Texture, share: Field) -> Texture:
    """``share`` (0..1) of the second texture over the first."""
    return cv2.blendLinear(first, second, np.float32(1.0) - share, share).astype(np.uint8, copy=False)


def _finish(draws: Draws, texture: Texture, plain: bool) -> Texture:
    """Add grain (it makes flat regions matchable), then limit the band so that interpolation reproduces the texture."""
    height, width = texture.shape[:2]
    strength = draws.log_uniform(0.03, 0.10) if plain else draws.log_uniform(0.02, 0.25)
    cell = draws.log_uniform(1.0, 3.0)
    small = draws.bytes(math.ceil(height / cell), math.ceil(width / cell))
    level = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    grainy = cv2.addWeighted(texture, 1.0, cv2.merge([level, level, level]), strength, -127.5 * strength)
    return cv2.GaussianBlur(grainy, (0, 0), draws.uniform(0.4, 0.75)).astype(np.uint8, copy=False)


# --- scalar patterns ---


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
    field = np.asarray(cv2.resize(total, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    mean, deviation = cv2.meanStdDev(field)
    scale = 0.25 / max(float(deviation[0, 0]), 1e-6)  # two standard deviations to each side of the mean are kept
    return (field * np.float32(scale) + np.float32(0.5 - scale * float(mean[0, 0]))).clip(0.0, 1.0)


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
    return np.asarray(u - np.floor(u))


def tiles(draws: Draws, height: int, width: int) -> Field:
    """Checkers, bricks or tiles: one random level for each cell of a grid, often with a joint around it."""
    u, v = _axes(draws, height, width, draws.log_uniform(8.0, 80.0))
    v = v * np.float32(draws.log_uniform(0.5, 2.5))
    row: Field = np.floor(v).astype(np.float32, copy=False)
    if draws.chance(0.4):
        u = u + np.float32(0.5) * row  # bricks: every row half a stone further
    column = np.floor(u)
    if draws.chance(0.3):
        return np.asarray(np.abs(np.fmod(row + column, np.float32(2.0))))
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
    field: Field = levels[label] + shade * np.asarray(distance, dtype=np.float32)
    return field.clip(0.0, 1.0)


def gradient(draws: Draws, height: int, width: int) -> Field:
    """A smooth ramp across the texture, linear or bent by large noise."""
    u, _ = _axes(draws, height, width, 1.6 * max(height, width))
    if draws.chance(0.5):
        u = u + np.float32(0.4) * fractal(draws, height, width, max(height, width) / 4.0, 1, 1.0)
    return np.asarray(np.abs(u - np.float32(2.0) * np.floor(u * np.float32(0.5)) - np.float32(1.0)))


def speckles(draws: Draws, height: int, width: int) -> Field:
    """Sparse spots of one size on an even ground."""
    cell = draws.log_uniform(1.5, 9.0)
    grid = (math.ceil(height / cell), math.ceil(width / cell))
    keep = draws.bytes(*grid) < draws.integer(10, 90)
    spots = np.where(keep, draws.bytes(*grid), np.uint8(0)).astype(np.float32) / np.float32(255.0)
    grown = np.asarray(cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return (grown * np.float32(1.4)).clip(0.0, 1.0)


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
