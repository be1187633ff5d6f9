"""What things look like: surfaces drawn from a few random numbers, in the manner of photographs.

Photographs are made of overlapping things of all sizes (dead leaves: Baradad et al., "Learning to see by looking at
noise", NeurIPS 2021), of noise whose power falls with the square of the frequency, of repeated structure, of smooth
shading, and of shadows; their colours are mostly dull, and their lights run from black to white.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic.geometry import Draws

Field = NDArray[np.float32]  # [h,w], mean about 0, standard deviation about 1
Texture = NDArray[np.uint8]  # [h,w,3] RGB


def background(draws: Draws, height: int, width: int) -> Texture:
    """What fills the frame: one to three surfaces, cluttered with things that stand on them, in one light."""
    texture = surface(draws, height, width)
    for _ in range(draws.pick([(2.0, 0), (4.0, 1), (2.0, 2)])):
        other = surface(draws, height, width)
        border = fractal(draws, height, width, draws.log_uniform(4.0, 60.0), draws.integer(1, 4), 0.55)
        if draws.chance(0.65):  # regions across the frame, such as sky over trees over water
            angle, place = draws.uniform(-0.5, 0.5), draws.uniform(0.2, 0.8)
            x, y = np.linspace(-0.5, 0.5, width), np.linspace(-place, 1.0 - place, height)[:, None]
            border = draws.log_uniform(0.005, 0.15) * border + (y + angle * x).astype(np.float32)
        else:  # patches
            border = 0.25 * border + np.float32(draws.uniform(-0.25, 0.25))
        cover = border * np.float32(draws.log_uniform(20.0, 200.0)) + np.float32(0.5)
        cv2.copyTo(other, cv2.convertScaleAbs(np.maximum(cover, 0.0), alpha=255.0), texture)
    if draws.chance(0.75):
        _clutter(draws, texture)
    texture = _detailed(draws, texture, draws.log_uniform(4.0, 30.0))
    return _lit(draws, texture) if draws.chance(0.8) else texture


def surface(draws: Draws, height: int, width: int) -> Texture:
    """One material."""
    kinds: list[tuple[float, Callable[[Draws, int, int], Texture]]]
    kinds = [(3.0, _cloudy), (2.0, _grained), (2.0, _repeated), (1.5, _patches), (2.0, _leaves)]
    return draws.pick(kinds)(draws, height, width)


def recoloured(draws: Draws, texture: Texture) -> Texture:
    """The same material in other colours: each channel through its own curve, dark and light turned round in some."""
    low, high = draws.uniform(0.0, 110.0), draws.uniform(120.0, 255.0)
    if draws.chance(0.3):
        low, high = high, low
    tint = draws.uniforms(3, -1.0, 1.0) * draws.pick([(2.0, 10.0), (2.0, 30.0), (1.0, 70.0)])
    place = (np.arange(256.0) / 255.0) ** draws.log_uniform(0.5, 2.0)
    curves = np.clip(low + (high - low) * place[:, None] + tint, 0.0, 255.0).astype(np.uint8)
    return np.asarray(cv2.LUT(texture, curves.reshape(1, 256, 3)), dtype=np.uint8)


def plain(draws: Draws, height: int, width: int) -> Texture:
    """One colour, often nearly black or white, shaded from corner to corner: painted wood, metal, plastic."""
    colour = _palette(draws, 1)[0]
    shade = draws.uniforms(4, 0.45, 1.15).reshape(2, 2, 1)
    corners = np.clip(colour * shade, 0, 255).astype(np.float32)
    return np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def shaded(draws: Draws, texture: Texture) -> Texture:
    """Light that falls off across a thing."""
    height, width = texture.shape[:2]
    light = cv2.resize(draws.bytes(2, 2) // 2 + np.uint8(128), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(texture, cv2.merge([light] * 3), scale=1 / 215), dtype=np.uint8)


def blurred_noise(draws: Draws, height: int, width: int) -> Texture:
    """Three octaves of blurred noise in each channel: easy to match at every scale, so that networks learn it soon."""
    total = np.zeros((height, width, 3), dtype=np.float32)
    for sigma in (1.2, 2.5, 5.0):
        octave = cv2.GaussianBlur(draws.bytes(height, width, 3).astype(np.float32), (0, 0), sigma)
        total += octave * np.float32(1.0 / float(octave.std()))
    return cv2.normalize(total, total, 0.0, 255.0, cv2.NORM_MINMAX).round().astype(np.uint8)


def fractal(draws: Draws, height: int, width: int, cell: float, octaves: int, gain: float) -> Field:
    """Noise of several octaves; ``cell`` is its finest grain in px, ``gain`` the strength of each finer octave.

    Built from the coarsest octave up by doubling, so that the cost is that of the finest one.  A gain of 1 gives the
    spectrum of photographs, 1 / frequency^2 in power; less is smoother.
    """
    total: Field | None = None
    for octave in reversed(range(octaves)):
        step = cell * 2.0**octave
        size = (math.ceil(width / step) + 3, math.ceil(height / step) + 3)
        fresh = draws.bytes(size[1], size[0]).astype(np.float32)
        if total is not None:
            coarse = cv2.resize(total, size, interpolation=cv2.INTER_CUBIC)
            fresh = np.asarray(cv2.addWeighted(coarse, 1.0, fresh, gain ** (octaves - 1 - octave), 0.0), np.float32)
        total = fresh
    assert total is not None
    mean, deviation = cv2.meanStdDev(total)
    scale = 1.0 / max(float(deviation[0, 0]), 1e-6)
    field = cv2.addWeighted(total, scale, total, 0.0, -scale * float(mean[0, 0]))  # before it is made large
    if cell > 8.0:  # so smooth that a quarter of the size does, and straight lines between
        field = cv2.resize(field, (width // 4 + 1, height // 4 + 1), interpolation=cv2.INTER_CUBIC)
        return np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


# --- colours ---


def _palette(draws: Draws, count: int) -> NDArray[np.float32]:
    """``count`` RGB colours of related hue: lights from black to white, mostly dull."""
    light, hue, strength = draws.uniforms(3 * count, -1.0, 1.0).reshape(3, count)
    light = np.clip(draws.uniform(20.0, 235.0) + light * draws.uniform(30.0, 130.0), 4.0, 250.0)
    earth, leaf, sky, other = 0.5, 2.0, 3.7, draws.uniform(0.0, 2 * math.pi)
    common = draws.pick([(2.0, earth), (1.0, leaf), (1.5, sky), (2.0, other)])
    hue = common + hue * draws.pick([(3.0, 0.4), (1.0, 2.0)])
    strength = draws.pick([(3.0, 0.1), (3.0, 0.3), (1.0, 0.8)]) * (0.65 + 0.35 * strength)
    waves = np.cos(hue[:, None] - np.array([0.0, 2.1, 4.2]))
    return np.asarray(np.clip(light[:, None] * (1.0 + strength[:, None] * waves), 0.0, 255.0), dtype=np.float32)


def _coloured(draws: Draws, level: NDArray[np.uint8], count: int) -> Texture:
    """Levels through a run of ``count`` colours."""
    run = cv2.resize(_palette(draws, count)[None], (256, 1), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(level, run.reshape(256, 1, 3)), dtype=np.uint8)


def _level(field: Field) -> NDArray[np.uint8]:
    """Bytes of a field; three standard deviations to each side of the mean are told apart."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(field, -3.0), alpha=42.0, beta=127.0), dtype=np.uint8)


# --- materials ---


def _cloudy(draws: Draws, height: int, width: int) -> Texture:
    """Sky, walls, cloth, stone: fractal noise, smooth to rough."""
    cell, gain = draws.log_uniform(1.5, 24.0), draws.uniform(0.45, 1.05)
    octaves = max(2, int(math.log2(max(height, width) / cell)) - draws.integer(0, 2))
    return _coloured(draws, _level(fractal(draws, height, width, cell, octaves, gain)), draws.integer(2, 5))


def _grained(draws: Draws, height: int, width: int) -> Texture:
    """Wood, water, grass, fur: noise drawn out along one axis."""
    factor = draws.log_uniform(2.0, 12.0)
    across = draws.chance(0.5)
    size = (height, max(8, int(width / factor))) if across else (max(8, int(height / factor)), width)
    field = fractal(draws, *size, draws.log_uniform(1.2, 6.0), draws.integer(3, 6), draws.uniform(0.4, 0.9))
    return _coloured(draws, _level(np.asarray(cv2.resize(field, (width, height)))), draws.integer(2, 4))


def _repeated(draws: Draws, height: int, width: int) -> Texture:
    """Bricks, windows, stripes, planks, knitting: a small cell side by side, seen from a random side."""
    rows, columns = int(draws.log_uniform(5.0, 60.0)), int(draws.log_uniform(5.0, 60.0))
    colours = _palette(draws, 5)
    cell = np.empty((rows, columns, 4), dtype=np.uint8)
    cell[...] = (*colours[0], 255)
    for colour in colours[1 : 1 + draws.integer(1, 4)]:
        top, left = int(draws.uniform(0, rows)), int(draws.uniform(0, columns))
        end = (int(draws.uniform(left, 1.3 * columns)), int(draws.uniform(top, 1.3 * rows)))
        cv2.rectangle(cell, (left, top), end, (*map(float, colour), 255.0), -1)
    reach = int(1.2 * max(height, width))
    sheet = np.tile(cell, (-(-reach // rows), -(-reach // columns), 1))[:reach, :reach]
    turn = draws.uniform(-0.3, 0.3) if draws.chance(0.6) else draws.uniform(0.0, 2 * math.pi)
    cos, sin, zoom = math.cos(turn), math.sin(turn), draws.log_uniform(0.7, 1.3)
    view = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) * [[zoom], [zoom], [1.0]]
    view[2, :2] = draws.uniforms(2, -0.35, 0.35) / reach
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(sheet, view, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_RGBA2RGB), dtype=np.uint8)


def _patches(draws: Draws, height: int, width: int) -> Texture:
    """Stones, foliage, camouflage: even patches with borders bent by noise."""
    cell, bend = draws.log_uniform(5.0, 40.0), draws.uniform(0.15, 0.6)
    levels = np.sort(draws.bytes(math.ceil(height / cell) + 4, math.ceil(width / cell) + 4), axis=0)
    if draws.chance(0.7):
        levels = draws.bytes(*levels.shape)
    x, y = (
        np.float32(bend) * fractal(draws, height, width, draws.log_uniform(2.0, 12.0), 3, 0.6) + start
        for start in (np.arange(width) / cell + 1.5, np.arange(height)[:, None] / cell + 1.5)
    )
    places = x.astype(np.float32), y.astype(np.float32)
    patch = cv2.remap(levels, *places, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return _coloured(draws, patch.astype(np.uint8, copy=False), 5)


def _leaves(draws: Draws, height: int, width: int) -> Texture:
    """Dead leaves on another material: foliage, gravel, crowds."""
    texture = _cloudy(draws, height, width)
    largest = draws.log_uniform(12.0, 0.4 * max(height, width))
    count = 1 + int(min(500.0, 0.25 * height * width / largest**1.5))
    _scatter(draws, texture, count, largest / draws.uniform(2.0, 8.0), largest, draws.integer(3, 7))
    return texture


def _scatter(draws: Draws, texture: Texture, count: int, smallest: float, largest: float, corners: int) -> None:
    """Draw convex shapes, their radius with density r^-2: many small, few large."""
    radius = 1.0 / (1.0 / largest + draws.uniforms(count) * (1.0 / smallest - 1.0 / largest))
    uneven = draws.uniforms(count * corners, -0.3, 0.3).reshape(count, corners)
    angle = 2 * math.pi * (np.arange(corners) + uneven) / corners
    stretch, turn = np.exp(draws.uniforms(count, -0.8, 0.8))[:, None], draws.uniforms(count, 0.0, math.pi)[:, None]
    along, across = radius[:, None] * stretch * np.cos(angle), radius[:, None] / stretch * np.sin(angle)
    middle = draws.uniforms(2 * count).reshape(2, count, 1)
    x = middle[0] * texture.shape[1] + along * np.cos(turn) - across * np.sin(turn)
    y = middle[1] * texture.shape[0] + along * np.sin(turn) + across * np.cos(turn)
    points = np.rint(np.stack([x, y], axis=-1) * 16.0).astype(np.int32)
    colours = _palette(draws, 8)[draws.bytes(count) % 8] * draws.uniforms(count, 0.75, 1.25)[:, None]
    for shape, colour in zip(points, colours.tolist(), strict=True):
        cv2.fillConvexPoly(texture, shape, colour, cv2.LINE_AA, 4)


def _clutter(draws: Draws, texture: Texture) -> None:
    """Things that stand in the picture: boxes and other shapes with a few large ones, poles, wires and writing."""
    height, width = texture.shape[:2]
    side = max(height, width)
    for _ in range(draws.integer(0, 3)):
        corners, count = draws.pick([(2.0, 4), (1.0, 5), (1.0, 12)]), int(draws.log_uniform(3.0, 60.0))
        _scatter(draws, texture, count, 0.01 * side, draws.uniform(0.05, 0.25) * side, corners)
    for _ in range(draws.integer(0, 6)):  # upright boxes, such as houses, doors and signs
        left, top = draws.uniform(-0.1, 1.0) * width, draws.uniform(-0.1, 1.0) * height
        wide, high = draws.log_uniform(0.02, 0.4) * side, draws.log_uniform(0.02, 0.4) * side
        box = np.array([[left, top], [left + wide, top], [left + wide, top + high], [left, top + high]])
        box += draws.uniforms(8, -0.04, 0.04).reshape(4, 2) * wide
        colour = _palette(draws, 1)[0].tolist()
        cv2.fillConvexPoly(texture, np.rint(box * 16.0).astype(np.int32), colour, cv2.LINE_AA, 4)
    for _ in range(draws.integer(0, 4)):  # broken lines
        count, reach = draws.integer(2, 40), draws.log_uniform(0.02, 1.0) * side
        steps = draws.uniforms(2 * count, -1.0, 1.0).reshape(count, 2) * reach * draws.uniforms(2, 0.05, 1.0)
        place = draws.uniforms(2) * (width, height)
        line = np.rint((place + (steps if draws.chance(0.5) else np.cumsum(steps, axis=0) / 4)) * 16.0).astype(np.int32)
        thick = max(1, int(draws.log_uniform(0.8, 6.0)))
        cv2.polylines(texture, [line], False, _palette(draws, 1)[0].tolist(), thick, cv2.LINE_AA, 4)


# --- detail and light ---


def _detailed(draws: Draws, texture: Texture, strength: float) -> Texture:
    """Relief of grey noise, stronger here than there, and a little blur: nothing in a photograph is quite even."""
    height, width = texture.shape[:2]
    cell = draws.log_uniform(1.2, 3.0)
    relief = fractal(draws, height, width, cell, draws.integer(2, 5), draws.uniform(0.5, 0.9))
    where = np.abs(fractal(draws, height, width, draws.log_uniform(20.0, 120.0), 2, 0.5))
    level = cv2.convertScaleAbs(np.maximum(relief * where * np.float32(strength) + np.float32(128.0), 0.0))
    rough = cv2.addWeighted(texture, 1.0, cv2.merge([level] * 3), 1.0, -128.0)
    return np.asarray(cv2.GaussianBlur(rough, (0, 0), draws.uniform(0.45, 0.8)), dtype=np.uint8)


def _lit(draws: Draws, texture: Texture) -> Texture:
    """Uneven light, soft or with the edges of cast shadows."""
    height, width = texture.shape[:2]
    light = fractal(draws, height, width, max(height, width) / draws.uniform(1.5, 8.0), 2, 0.5)
    sharp = draws.log_uniform(2.0, 40.0) if draws.chance(0.35) else 0.4
    dark = draws.uniform(0.2, 0.8)
    share = np.clip(light * np.float32(sharp) + np.float32(0.5), 0.0, 1.0)
    level = cv2.convertScaleAbs(share, alpha=255.0 * (1.0 - dark), beta=255.0 * dark)
    return np.asarray(cv2.multiply(texture, cv2.merge([level] * 3), scale=1 / 225), dtype=np.uint8)
