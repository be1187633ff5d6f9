"""Image pairs with exact flow, and sets of them on disk: OUT/train, OUT/val in FlyingChairs2 layout, OUT/dataset.json.

A pair is a scene (objects in front of a background) or one texture that moves as a whole, which a small network learns
in a few hundred steps.  Both images are sampled from the same pictures, finer than they are, through one warp each at
random sub-pixel phases, so neither is sharper than the other.  The flow of a pixel is that of the front-most object
covering its centre.

Every file is a pure function of the seed, the pair's number and the size, so a set that was interrupted goes on where
it stopped, and the number of workers changes nothing (on one machine; another version of OpenCV may round otherwise).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas import limits
from edgeflownas.data.check import FlowStatistics, flow_statistics
from edgeflownas.data.dataset import FlowDataset, Progress, Sample
from edgeflownas.data.formats import flow_size, image_size, write_flo, write_png
from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.data.synthetic import geometry, textures
from edgeflownas.data.synthetic.geometry import Draws
from edgeflownas.errors import BadSample, ConfigError, DataError, StorageError
from edgeflownas.files import read_json, replace_file

VERSION = 2  # raised whenever the same seed gives other files: sets of two versions are never mixed
FIRST_VAL = 5_000_000
"""Number of the first evaluation pair: apart from every training pair, and independent of how many there are."""

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]
_SMALLEST, _LARGEST = 32, 4096
_METADATA = "dataset.json"
# Stored as they are: a pair takes 0.7 MB at 192x256 instead of 0.55, and writing it a third of the time.
_PNG_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 0, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
_MEASURED = 256  # flows that are read back for the statistics, spread over the set
_FINER = 1.5  # texels of a picture to a pixel of the image
_RIM = 6  # transparent texels around an object, for its edges and blur
_NORMAL = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)])  # of a uniform byte


# --- one pair: layers in front of each other, drawn twice ---


@dataclass(frozen=True)
class GeneratedPair:
    """Images uint8 RGB [H,W,3], and what follows from the motions and the owner (uint8 [H,W]) of each pixel centre.

    Flows are float32 [H,W,2] in pixels (u right, v down).  ``flow`` lives on image 1 and points into image 2,
    ``backward_flow`` the other way round.  ``occlusion``, bool [H,W], is True at pixels of image 1 whose point is not
    to be seen in image 2: outside the frame, or nearest to a pixel of another object.  ``backward_occlusion`` says the
    same of image 2.
    """

    image1: Image
    image2: Image
    owner1: Image
    owner2: Image
    motions: list[geometry.Array]

    @cached_property
    def flow(self) -> Flow:
        """From image 1 to image 2."""
        return geometry.flow_of(self.motions, self.owner1)

    @cached_property
    def backward_flow(self) -> Flow:
        """From image 2 to image 1."""
        return geometry.flow_of(list(np.linalg.inv(self.motions)), self.owner2)

    @property
    def occlusion(self) -> Mask:
        """Of image 1."""
        return _hidden(self.flow, self.owner1, self.owner2)

    @property
    def backward_occlusion(self) -> Mask:
        """Of image 2."""
        return _hidden(self.backward_flow, self.owner2, self.owner1)


@dataclass(frozen=True)
class _Layer:
    """A picture [h,w,4] (its colours times its alpha), where it lies in image 1, and its motion to image 2.

    A pixel belongs to the front-most layer whose alpha is at least a half at its centre.
    """

    picture: Image
    place: geometry.Array  # maps texels to pixels of image 1
    motion: geometry.Array


def _check(height: int, width: int, motion: float | None) -> None:
    if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
        raise ConfigError(
            f"--size: {height}x{width} has a side outside {_SMALLEST}..{_LARGEST}; give rows x columns, px, within it"
        )
    furthest = min(height, width) / 2
    if motion is not None and not 0.1 <= motion <= furthest:
        raise ConfigError(
            f"--motion: {motion:g} is outside 0.1..{furthest:g} (half the shorter side of {height}x{width}); "
            "give pixels within it, such as 3"
        )


def generate_pair(
    seed: int, index: int, height: int = 384, width: int = 512, motion: float | None = None
) -> GeneratedPair:
    """Pair ``index`` of the set ``seed``, a pure function of its arguments; with ``motion`` one texture, else a scene.

    Raises ConfigError: a size or motion that cannot be.
    """
    _check(height, width, motion)
    draws = Draws(seed, index, 0)
    layers = _scene(seed, index, draws, height, width) if motion is None else [_texture(draws, height, width, motion)]
    (image1, owner1), (image2, owner2) = (_draw(layers, height, width, second) for second in (False, True))
    if motion is None:
        image1, image2 = _photographed(draws, image1, image2)
    return GeneratedPair(image1, image2, owner1, owner2, [layer.motion for layer in layers])


def _texture(draws: Draws, height: int, width: int, motion: float) -> _Layer:
    """One texture that moves by up to ``motion`` px in x and in y, and in a corner by up to a quarter of it more."""
    matrix = np.eye(3)
    matrix[:2, :2] += motion * draws.uniforms(4, -0.25, 0.25).reshape(2, 2) / (width, height)
    middle = np.array([width - 1, height - 1]) / 2
    matrix[:2, 2] = motion * draws.uniforms(2, -1.0, 1.0) + middle - matrix[:2, :2] @ middle
    margin = math.ceil(1.25 * motion) + 3
    texture = textures.blurred_noise(draws, height + 2 * margin, width + 2 * margin)
    return _Layer(_opaque(texture), geometry.shift(draws.uniform() - margin, draws.uniform() - margin), matrix)


def _scene(seed: int, index: int, draws: Draws, height: int, width: int) -> list[_Layer]:
    """Background (a quarter larger than the frame, turned at random) and objects, back to front."""
    pace = math.exp(1.05 * draws.normal())  # log-normal, so that most scenes are calm and a few are fast
    shutter = draws.uniform(0.1, 0.6) if draws.chance(0.2) else 0.0
    depth = draws.uniform(0.4, 2.0) if draws.chance(0.2) else 0.0  # how far what is out of focus is blurred
    camera = geometry.background_motion(draws, pace, height, width)
    rows, columns = int(1.25 * _FINER * height), int(1.25 * _FINER * width)
    texture = textures.background(draws, rows, columns)
    turn = draws.uniform(-0.3, 0.3) + (math.pi if draws.chance(0.1) else 0.0)
    spin = geometry.affine((0.0, 0.0), (0.0, 0.0), turn, draws.uniform(0.9, 1.1) / _FINER, 1.0, 0.0)
    place = geometry.shift(width / 2 + draws.uniform(), height / 2 + draws.uniform())
    place = place @ spin @ geometry.shift(-columns / 2, -rows / 2)
    middle = np.array([[width / 2, height / 2]])
    layers = [_exposed(_opaque(texture), place, camera, middle, shutter, depth if draws.chance(0.5) else 0.0)]
    stuffs = [texture, *(textures.surface(draws, height, width) for _ in range(2))]
    for number in range(1, 1 + draws.integer(2, 11)):
        own = Draws(seed, index, number)
        at = np.array([[own.uniform(-0.08, 1.08) * width, own.uniform(-0.08, 1.08) * height]])
        motion = camera @ geometry.object_motion(own, pace, (at[0, 0], at[0, 1]), width)
        picture, place = _object(own, stuffs, min(height, width) * own.log_uniform(0.06, 0.5), at[0])
        layers.append(_exposed(picture, place, motion, at, shutter, depth if own.chance(0.3) else 0.0))
    return layers


def _object(draws: Draws, stuffs: list[Image], radius: float, at: geometry.Array) -> tuple[Image, geometry.Array]:
    """The picture of an object, its parts each of a material of its own, and its place around ``at``."""
    outlines = [[ring * _FINER for ring in outline] for outline in geometry.draw_object(draws, radius)]
    points = np.concatenate([ring for outline in outlines for ring in outline])
    corner = np.floor(points.min(axis=0)) - _RIM
    columns, rows = (np.ceil(points.max(axis=0) - corner) + _RIM).astype(int).tolist()
    picture = np.zeros((rows, columns, 4), dtype=np.uint8)
    for outline in outlines:
        mask = np.zeros((rows, columns), dtype=np.uint8)
        for ring in outline:  # holes come after what they are in
            ends = np.rint((ring - corner) * 16.0).astype(np.int32)
            cv2.fillPoly(mask, [ends], (255.0 if geometry.area(ring) > 0 else 0.0,), cv2.LINE_AA, 4)
        cover = cv2.merge([mask] * 4)
        part = cv2.multiply(_opaque(_material(draws, stuffs, rows, columns)), cover, scale=1 / 255)
        behind = cv2.multiply(picture, cv2.bitwise_not(cover), scale=1 / 255)
        picture = cv2.add(behind, part).astype(np.uint8, copy=False)
    turn = draws.uniform(-0.4, 0.4) if draws.chance(0.6) else draws.uniform(0.0, 2 * math.pi)
    pose = geometry.affine((0.0, 0.0), (at[0], at[1]), turn, 1.0 / _FINER, 1.0, 0.0)
    return picture, pose @ geometry.shift(*corner)


def _material(draws: Draws, stuffs: list[Image], rows: int, columns: int) -> Image:
    """Plain, or a piece of one of the scene's materials, larger or smaller, in other colours."""
    if draws.chance(0.35):
        return textures.plain(draws, rows, columns)
    stuff, zoom = draws.pick([(1.0, stuff) for stuff in stuffs]), draws.log_uniform(0.5, 2.0)
    high, wide = min(int(rows * zoom) + 1, stuff.shape[0]), min(int(columns * zoom) + 1, stuff.shape[1])
    top, left = draws.integer(0, stuff.shape[0] - high), draws.integer(0, stuff.shape[1] - wide)
    piece = cv2.resize(stuff[top : top + high, left : left + wide], (columns, rows), interpolation=cv2.INTER_LINEAR)
    return textures.shaded(draws, textures.recoloured(draws, piece.astype(np.uint8, copy=False)))


def _opaque(texture: Image) -> Image:
    return cv2.cvtColor(texture, cv2.COLOR_RGB2RGBA).astype(np.uint8, copy=False)


def _exposed(
    picture: Image, place: geometry.Array, motion: geometry.Array, at: geometry.Array, shutter: float, blur: float
) -> _Layer:
    """A layer as a lens and a shutter show it: out of focus, and drawn out along its motion, alike in both."""
    if blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur * _FINER).astype(np.uint8, copy=False)
    moved = shutter * np.linalg.inv(place[:2, :2]) @ (geometry.apply(motion, at) - at)[0]
    for part in (4, 2, 1):  # the mean of eight copies along a line, by halves
        x, y = np.rint(moved * part / 7).astype(int).tolist()
        rows, columns = picture.shape[0] - abs(y), picture.shape[1] - abs(x)
        if (x or y) and min(rows, columns) > 8:
            ways = (picture[max(way * y, 0) :, max(way * x, 0) :][:rows, :columns] for way in (1, -1))
            picture = cv2.addWeighted(next(ways), 0.5, next(ways), 0.5, 0.0).astype(np.uint8, copy=False)
            place = place @ geometry.shift(abs(x) / 2, abs(y) / 2)
    return _Layer(picture, place, motion)


def _draw(layers: list[_Layer], height: int, width: int, second: bool) -> tuple[Image, Image]:
    """One of the two images, and the number of the layer that owns each pixel centre."""
    image, owner = np.zeros((height, width, 4), dtype=np.uint8), np.zeros((height, width), dtype=np.uint8)
    for number, layer in enumerate(layers):
        place = layer.motion @ layer.place if second else layer.place
        rows, columns = layer.picture.shape[:2]
        corners = geometry.apply(place, np.array([[-1, -1], [columns, -1], [columns, rows], [-1, rows]], dtype=float))
        left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int).tolist()
        right, bottom = np.minimum(np.ceil(corners.max(axis=0)) + 1, (width, height)).astype(int).tolist()
        if number == 0:
            left, top, right, bottom = 0, 0, width, height
        if left >= right or top >= bottom:
            continue
        window = slice(top, bottom), slice(left, right)
        shown = cv2.warpPerspective(
            layer.picture,
            np.linalg.inv(place) @ geometry.shift(left, top),
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT if number else cv2.BORDER_REFLECT_101,
        )
        alpha = cv2.extractChannel(shown, 3)
        behind = cv2.multiply(image[window], cv2.merge([cv2.bitwise_not(alpha)] * 4), scale=1 / 255)
        image[window] = cv2.add(behind, shown)
        owner[window][alpha > 127] = number
    return cv2.cvtColor(image, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False), owner


def _photographed(draws: Draws, image1: Image, image2: Image) -> tuple[Image, Image]:
    """Both through one tone curve; in some scenes light changes between them; in some each has noise of its own."""
    height, width = image1.shape[:2]
    gain, gamma, images = draws.uniform(0.7, 1.3), draws.log_uniform(0.7, 1.4), [image1, image2]
    if draws.chance(0.2):  # light that is uneven, and not the same in the second image
        light = textures.fractal(draws, height, width, max(height, width) / 2.0, 1, 1.0)
        level = cv2.convertScaleAbs(light, alpha=draws.log_uniform(2.0, 16.0), beta=200.0)
        images[1] = np.asarray(cv2.multiply(image2, cv2.merge([level] * 3), scale=1 / 200), np.uint8)
    strength = draws.log_uniform(0.5, 6.0) if draws.chance(0.4) else 0.0
    changes = draws.chance(0.25)
    for number in range(2):
        if number and changes:
            gain, gamma = gain * draws.uniform(0.9, 1.1), gamma * draws.uniform(0.93, 1.07)
        curve = 255.0 * np.clip(gain * (np.arange(256) / 255.0) ** gamma, 0.0, 1.0)
        images[number] = np.asarray(cv2.LUT(images[number], np.rint(curve).astype(np.uint8)), np.uint8)
        if strength:
            spread = np.clip(128.0 + strength * _NORMAL, 0, 255).astype(np.uint8)
            noise = cv2.LUT(draws.bytes(height, width, 3), spread)
            images[number] = np.asarray(cv2.addWeighted(images[number], 1.0, noise, 1.0, -128.0), np.uint8)
    return images[0], images[1]


def _hidden(flow: Flow, owner: Image, owner_there: Image) -> Mask:
    """Where the point of a pixel centre leaves the frame or is covered by another object in the other image."""
    height, width = owner.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    nearest = cv2.remap(owner_there, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(outside | (nearest != owner))


# --- a set on disk ---


@dataclass(frozen=True)
class GeneratedStats:
    """What a call did: pairs written now, pairs found complete, and the flow of (up to 256 pairs of) the set."""

    written: int
    kept: int
    flow: FlowStatistics


@dataclass(frozen=True)
class _Set:
    """What is generated where; calling it writes one pair."""

    out: Path
    train: int
    val: int
    seed: int
    height: int
    width: int
    motion: float | None
    backward: bool
    occlusion: bool

    def __call__(self, index: int) -> bool:
        """Write pair ``index`` unless it is complete; returns whether it was written."""
        if self._complete(index):
            return False
        pair = generate_pair(self.seed, index, self.height, self.width, self.motion)
        for part, field in self.parts.items():
            path, values = self.file(index, part), getattr(pair, field)
            if part.endswith(".flo"):
                write_flo(path, values)
            else:
                bgr_or_gray = values[..., ::-1] if values.ndim == 3 else values.astype(np.uint8) * np.uint8(255)
                write_png(path, bgr_or_gray, _PNG_FAST)
        return True

    @property
    def parts(self) -> dict[str, str]:
        """The files of a pair in the order they are written in, and the field of the pair that each holds."""
        masks = {"occ_01.png": "occlusion", "occ_10.png": "backward_occlusion"} if self.occlusion else {}
        backward = {"flow_10.flo": "backward_flow"} if self.backward else {}
        return {"img_0.png": "image1", "img_1.png": "image2", **masks, **backward, "flow_01.flo": "flow"}

    def file(self, index: int, part: str) -> Path:
        return self.out / ("val" if index >= FIRST_VAL else "train") / f"{index:07d}-{part}"

    @property
    def indices(self) -> list[int]:
        return [*range(self.train), *range(FIRST_VAL, FIRST_VAL + self.val)]

    @property
    def parameters(self) -> dict[str, Any]:
        asked = {name: value for name, value in vars(self).items() if name != "out"}
        kind = "scenes" if self.motion is None else "texture"
        return {"generated": True, "generator": "edgeflownas data synth", "version": VERSION, "kind": kind, **asked}

    def _complete(self, index: int) -> bool:
        """Whether every file is there in full length; files are renamed into place, so this finds only power cuts."""
        files = [self.file(index, part) for part in self.parts]
        try:
            sizes = {flow_size(path) if path.suffix == ".flo" else image_size(path) for path in files}
        except BadSample:
            return False
        return sizes == {(self.height, self.width)}


def generate_dataset(
    out: Path,
    train: int,
    val: int,
    seed: int,
    height: int = 384,
    width: int = 512,
    motion: float | None = None,
    backward: bool = False,
    occlusion: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> GeneratedStats:
    """Write ``train`` and ``val`` pairs of height x width pixels below ``out``; go on with what is there already.

    Scenes without ``motion``; with it, textures that move as one by up to so many pixels.
    ``backward`` adds NNNNNNN-flow_10.flo; ``occlusion`` adds NNNNNNN-occ_01.png and -occ_10.png, 255 where the pixel
    of image 1 (2) is not to be seen in the other image.  Training pairs are numbered from 0, evaluation pairs from
    5,000,000.  ``progress`` is called with (pairs done, pairs in all).
    Raises ConfigError: a number or size that cannot be; DataError: ``out`` holds something else, or a set generated
    with other parameters; StorageError: a file cannot be written, or a worker process died.
    """
    for name, value in {"train": train, "val": val}.items():
        if not 0 <= value <= FIRST_VAL:
            raise ConfigError(f"--{name}: {value} pairs cannot be generated; expected 0 to {FIRST_VAL:,}")
    if train + val == 0:
        raise ConfigError("--train and --val are both 0; ask for at least one pair")
    if workers < 1:
        raise ConfigError(f"--workers: must be at least 1, got {workers}")
    _check(height, width, motion)
    task = _Set(Path(out), train, val, seed, height, width, motion, backward, occlusion)
    _open(task)
    total, written = train + val, 0
    for done, fresh in enumerate(_run(task, workers), start=1):
        written += fresh
        if progress is not None:
            progress(done, total)
    # The statistics are of pairs spread evenly over the set, read back from disk.
    picked = np.array(task.indices)[np.unique(np.linspace(0, total - 1, _MEASURED).round().astype(int))]
    parts = ("img_0.png", "img_1.png", "flow_01.flo")
    samples = tuple(Sample(f"{index:07d}", *(task.file(index, part) for part in parts)) for index in picked)
    flow = flow_statistics(FlowDataset(task.out, "all", "generated", samples))
    _describe(task, {"complete": True, "statistics": asdict(flow)})
    return GeneratedStats(written, total - written, flow)


def _open(task: _Set) -> None:
    """Make the folders, or make sure that what is there is the same set and drop what a killed writer left."""
    out = task.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / _METADATA).exists():
            _compare(task)
        elif any(out.iterdir()):
            raise DataError(f"--out: {out} is not empty and holds no generated set ({_METADATA}); name a new folder")
        else:
            _describe(task, {"complete": False})
        for folder in [out / split for split, count in (("train", task.train), ("val", task.val)) if count]:
            folder.mkdir(exist_ok=True)
            for leftover in [*folder.glob(".tmp-*"), *folder.glob(".*.tmp")]:  # the second: of older versions
                leftover.unlink(missing_ok=True)
    except StorageError:  # said already
        raise
    except OSError as error:
        raise StorageError(f"--out: {out} cannot be used: {error.strerror}") from error


def _compare(task: _Set) -> None:
    """Raise DataError unless dataset.json describes the set that is asked for."""
    path = task.out / _METADATA
    found = read_json(path, limits.MANIFEST, lambda said: DataError(f"{said}; name a new folder with --out"))
    if not isinstance(found, dict) or found.get("generated") is not True:
        raise DataError(f"{path}: describes a data set that was not generated; name a new folder with --out")
    others = {key: value for key, value in task.parameters.items() if found.get(key) != value}
    if others:
        remedy = "Ask for the same parameters to go on with it, or name a new folder."
        if "version" in others:  # of the generator: nothing that one can ask for
            others = {"version": VERSION}
            remedy = "That version of the generator made other pairs: read the set as it is, or name a new folder."
        rows = [f"  {key}: the set there has {found.get(key)!r}, asked for {value!r}" for key, value in others.items()]
        raise DataError("\n".join([f"--out: {task.out} holds another generated set:", *rows, remedy]))


def _describe(task: _Set, more: dict[str, Any]) -> None:
    libraries = {"numpy": np.__version__, "opencv": cv2.__version__}
    content = {**task.parameters, "first_val": FIRST_VAL, "libraries": libraries, **more}
    replace_file(task.out / _METADATA, [(json.dumps(content, indent=2) + "\n").encode()])


def _run(task: _Set, workers: int) -> Iterator[bool]:
    """Write every pair, yielding in order whether it had to be written."""
    if workers > 1:
        try:
            yield from in_processes(task, task.indices, workers)
        except WorkerDied as error:
            raise StorageError(f"generating into {task.out}: {error}; run the same command again to go on") from error
        return
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as in the worker processes: pairs are too small to gain from more
    try:
        yield from map(task, task.indices)
    finally:
        cv2.setNumThreads(before)
