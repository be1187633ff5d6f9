"""One synthetic pair: layers in front of each other, drawn twice, with the flow their motions give.

Both images are sampled from the same oversized textures through one cubic warp each, at random sub-pixel phases, so
neither is sharper than the other.  The flow of a pixel is that of the front-most object covering its centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.synthetic import motion, raster, shapes, textures
from edgeflownas.data.synthetic.draws import Draws
from edgeflownas.errors import ConfigError

__all__ = ["GeneratedPair", "check_size", "generate_pair"]

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]
_SMALLEST, _LARGEST = 32, 4096


@dataclass(frozen=True)
class GeneratedPair:
    """Images uint8 RGB [H,W,3]; flows float32 [H,W,2] in pixels (u right, v down); occlusions bool [H,W].

    ``flow`` lives on image 1 and points into image 2, ``backward_flow`` the other way round.  ``occlusion`` is True
    at pixels of image 1 whose point is not to be seen in image 2: outside the frame, or nearest to a pixel of another
    object.  ``backward_occlusion`` says the same of image 2.
    """

    image1: Image
    image2: Image
    flow: Flow
    backward_flow: Flow
    occlusion: Mask
    backward_occlusion: Mask


@dataclass(frozen=True)
class _Part:
    """A textured outline: ``contours`` None fills the frame; matrices map its coordinates to the two images."""

    contours: list[NDArray[np.float64]] | None
    texture: Image
    from_texture: NDArray[np.float64]
    motion: NDArray[np.float64]
    owner: int


def check_size(height: int, width: int) -> None:
    """Raise ConfigError unless both sides are within 32..4096."""
    for name, value in (("height", height), ("width", width)):
        if not _SMALLEST <= value <= _LARGEST:
            raise ConfigError(f"--{name}: {value} is outside {_SMALLEST}..{_LARGEST}; give a size in pixels within it")


def generate_pair(seed: int, index: int, height: int = 384, width: int = 512) -> GeneratedPair:
    """Pair ``index`` of the set ``seed``: a pure function of the four arguments.

    Raises:
        ConfigError: a side is outside 32..4096 pixels.
    """
    check_size(height, width)
    parts = _scene(seed, index, height, width)
    image1, flow, owner1 = _draw(parts, height, width, second=False)
    image2, backward_flow, owner2 = _draw(parts, height, width, second=True)
    occlusion = _hidden(flow, owner1, owner2)
    return GeneratedPair(image1, image2, flow, backward_flow, occlusion, _hidden(backward_flow, owner2, owner1))


def _scene(seed: int, index: int, height: int, width: int) -> list[_Part]:
    """Background and objects, back to front."""
    draws = Draws(seed, index, 0)
    pace = motion.scene_pace(draws)
    camera = motion.background_motion(draws, pace, height, width)
    parts = [_background(draws, camera, height, width)]
    for number in range(1, 1 + draws.integer(3, 12)):
        parts += _object(Draws(seed, index, number), number, pace, camera, height, width)
    return parts


def _background(draws: Draws, camera: NDArray[np.float64], height: int, width: int) -> _Part:
    """A texture a quarter larger than the frame, turned at random; where it ends it is mirrored."""
    rows, columns = int(1.25 * height), int(1.25 * width)
    texture = textures.background_texture(draws, rows, columns)
    turn = draws.uniform(-0.3, 0.3) + (math.pi if draws.chance(0.3) else 0.0)
    spin = motion.affine((0.0, 0.0), (0.0, 0.0), turn, draws.uniform(0.9, 1.15), 1.0, 0.0)
    place = motion.shift(width / 2 + draws.uniform(), height / 2 + draws.uniform())
    return _Part(None, texture, place @ spin @ motion.shift(-columns / 2, -rows / 2), camera, 0)


def _object(draws: Draws, owner: int, pace: float, camera: NDArray[np.float64], height: int, width: int) -> list[_Part]:
    """One object: its outlines in place, a texture for each, and one motion on top of the camera's."""
    side = min(height, width)
    outlines = shapes.draw_object(draws, side * draws.log_uniform(0.06, 0.42))
    x, y = draws.uniform(-0.08, 1.08) * width, draws.uniform(-0.08, 1.08) * height
    turn = draws.uniform(-0.4, 0.4) if len(outlines) > 1 else draws.uniform(0.0, 2 * math.pi)
    pose = motion.affine((0.0, 0.0), (x, y), turn, 1.0, 1.0, 0.0)
    own = motion.object_motion(draws, pace, (x, y), width)
    parts = []
    for outline in outlines:
        points = np.concatenate(outline)
        corner = np.floor(points.min(axis=0)) - 2.0
        columns, rows = np.ceil(points.max(axis=0) - corner).astype(int) + 2
        texture = textures.object_texture(draws, max(int(rows), 12), max(int(columns), 12))
        placed = [motion.apply(pose, contour) for contour in outline]
        parts.append(_Part(placed, texture, pose @ motion.shift(*corner), camera @ own, owner))
    return parts


def _draw(parts: list[_Part], height: int, width: int, second: bool) -> tuple[Image, Flow, NDArray[np.uint8]]:
    """One of the two images with its flow to the other one and the owner of each pixel centre."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    flow = np.empty((height, width, 2), dtype=np.float32)
    owner = np.zeros((height, width), dtype=np.uint8)
    for part in parts:
        here = part.motion if second else np.eye(3)
        away = _inverse(part.motion) if second else part.motion
        from_texture = here @ part.from_texture
        if part.contours is None:
            image[...] = _sample(part.texture, from_texture, 0, 0, height, width)
            flow[...] = motion.flow_of(away, 0, 0, height, width)
            continue
        patch = raster.fill([motion.apply(here, contour) for contour in part.contours], height, width)
        if patch is None:
            continue
        colour = _sample(part.texture, from_texture, patch.top, patch.left, *patch.inside.shape)
        image[patch.window] = cv2.blendLinear(image[patch.window], colour, 1 - patch.alpha, patch.alpha)
        moved = motion.flow_of(away, patch.top, patch.left, *patch.inside.shape)
        np.copyto(flow[patch.window], moved, where=patch.inside[..., None])
        owner[patch.window][patch.inside] = part.owner
    return image, flow, owner


def _sample(texture: Image, from_texture: NDArray[np.float64], top: int, left: int, height: int, width: int) -> Image:
    """The window of the image that shows ``texture`` placed by ``from_texture``; beyond its ends it is mirrored."""
    to_texture = _inverse(from_texture) @ motion.shift(left, top)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    shown = cv2.warpAffine(texture, to_texture[:2], (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return shown.astype(np.uint8, copy=False)


def _hidden(flow: Flow, owner: NDArray[np.uint8], owner_there: NDArray[np.uint8]) -> Mask:
    """Where the point of a pixel centre leaves the frame or is covered by another object in the other image."""
    height, width = owner.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    nearest = cv2.remap(owner_there, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    hidden: Mask = outside | (nearest != owner)
    return hidden


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
