"""Image pairs with exact flow, and sets of them on disk: OUT/train, OUT/val in FlyingChairs2 layout, OUT/dataset.json.

A pair is a scene (objects in front of a background) or one texture that moves as a whole, which a small network learns
in a few hundred steps.  Both images are sampled from the same oversized textures through one cubic warp each, at random
sub-pixel phases, so neither is sharper than the other.  The flow of a pixel is that of the front-most object covering
its centre.

Every file is a pure function of the seed, the pair's number and the size, so a set that was interrupted goes on where
it stopped, and the number of workers changes nothing (on one machine; another version of OpenCV may round otherwise).
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.check import FlowStatistics, flow_statistics
from edgeflownas.data.dataset import FlowDataset, Progress, Sample
from edgeflownas.data.formats import flow_size, write_flo, write_png
from edgeflownas.data.parallel import WorkerDied, in_processes
from edgeflownas.data.synthetic import geometry, textures
from edgeflownas.data.synthetic.geometry import Draws
from edgeflownas.errors import BadSample, ConfigError, DataError, StorageError
from edgeflownas.files import replace_file

VERSION = 1  # raised whenever the same seed gives other files: sets of two versions are never mixed
FIRST_VAL = 5_000_000
"""Number of the first evaluation pair: apart from every training pair, and independent of how many there are."""

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]
_SMALLEST, _LARGEST = 32, 4096
_METADATA = "dataset.json"
_PNG_END = b"IEND\xaeB`\x82"
# Fast, since the sets are made to be read.
_PNG_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_MEASURED = 256  # flows that are read back for the statistics, spread over the set


# --- one pair: layers in front of each other, drawn twice ---


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

    contours: list[geometry.Array] | None
    texture: Image
    from_texture: geometry.Array
    motion: geometry.Array
    owner: int


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
    parts = _scene(seed, index, height, width) if motion is None else _texture(seed, index, height, width, motion)
    image1, flow, owner1 = _draw(parts, height, width, second=False)
    image2, backward_flow, owner2 = _draw(parts, height, width, second=True)
    occlusion = _hidden(flow, owner1, owner2)
    return GeneratedPair(image1, image2, flow, backward_flow, occlusion, _hidden(backward_flow, owner2, owner1))


def _scene(seed: int, index: int, height: int, width: int) -> list[_Part]:
    """Background (a texture a quarter larger than the frame, turned at random) and objects, back to front."""
    draws = Draws(seed, index, 0)
    pace = math.exp(1.05 * draws.normal())  # log-normal, so that most scenes are calm and a few are fast
    camera = geometry.background_motion(draws, pace, height, width)
    rows, columns = int(1.25 * height), int(1.25 * width)
    texture = textures.background_texture(draws, rows, columns)
    turn = draws.uniform(-0.3, 0.3) + (math.pi if draws.chance(0.3) else 0.0)
    spin = geometry.affine((0.0, 0.0), (0.0, 0.0), turn, draws.uniform(0.9, 1.15), 1.0, 0.0)
    place = geometry.shift(width / 2 + draws.uniform(), height / 2 + draws.uniform())
    parts = [_Part(None, texture, place @ spin @ geometry.shift(-columns / 2, -rows / 2), camera, 0)]
    for number in range(1, 1 + draws.integer(3, 12)):
        parts += _object(Draws(seed, index, number), number, pace, camera, height, width)
    return parts


def _texture(seed: int, index: int, height: int, width: int, motion: float) -> list[_Part]:
    """One texture that moves by up to ``motion`` px in x and in y, and in a corner by up to a quarter of it more."""
    draws = Draws(seed, index, 0)
    matrix = np.eye(3)
    matrix[:2, :2] += motion * draws.uniforms(4, -0.25, 0.25).reshape(2, 2) / (width, height)
    middle = np.array([width - 1, height - 1]) / 2
    matrix[:2, 2] = motion * draws.uniforms(2, -1.0, 1.0) + middle - matrix[:2, :2] @ middle
    margin = math.ceil(1.25 * motion) + 3
    texture = textures.blurred_noise(draws, height + 2 * margin, width + 2 * margin)
    place = geometry.shift(draws.uniform() - margin, draws.uniform() - margin)
    return [_Part(None, texture, place, matrix, 0)]


def _object(draws: Draws, owner: int, pace: float, camera: geometry.Array, height: int, width: int) -> list[_Part]:
    """One object: its outlines in place, a texture for each, and one motion on top of the camera's."""
    side = min(height, width)
    outlines = geometry.draw_object(draws, side * draws.log_uniform(0.06, 0.42))
    x, y = draws.uniform(-0.08, 1.08) * width, draws.uniform(-0.08, 1.08) * height
    turn = draws.uniform(-0.4, 0.4) if len(outlines) > 1 else draws.uniform(0.0, 2 * math.pi)
    pose = geometry.affine((0.0, 0.0), (x, y), turn, 1.0, 1.0, 0.0)
    own = geometry.object_motion(draws, pace, (x, y), width)
    parts = []
    for outline in outlines:
        points = np.concatenate(outline)
        corner = np.floor(points.min(axis=0)) - 2.0
        columns, rows = np.ceil(points.max(axis=0) - corner).astype(int) + 2
        texture = textures.object_texture(draws, max(int(rows), 12), max(int(columns), 12))
        placed = [geometry.apply(pose, contour) for contour in outline]
        parts.append(_Part(placed, texture, pose @ geometry.shift(*corner), camera @ own, owner))
    return parts


def _draw(parts: list[_Part], height: int, width: int, second: bool) -> tuple[Image, Flow, NDArray[np.uint8]]:
    """One of the two images with its flow to the other one and the owner of each pixel centre."""
    image = np.empty((height, width, 3), dtype=np.uint8)
    flow = np.empty((height, width, 2), dtype=np.float32)
    owner = np.zeros((height, width), dtype=np.uint8)
    for part in parts:
        here = part.motion if second else np.eye(3)
        away = np.linalg.inv(part.motion).astype(np.float64, copy=False) if second else part.motion
        from_texture = here @ part.from_texture
        if part.contours is None:
            image[...] = _sample(part.texture, from_texture, 0, 0, height, width)
            flow[...] = geometry.flow_of(away, 0, 0, height, width)
            continue
        patch = geometry.fill([geometry.apply(here, contour) for contour in part.contours], height, width)
        if patch is None:
            continue
        colour = _sample(part.texture, from_texture, patch.top, patch.left, *patch.inside.shape)
        image[patch.window] = cv2.blendLinear(image[patch.window], colour, 1 - patch.alpha, patch.alpha)
        moved = geometry.flow_of(away, patch.top, patch.left, *patch.inside.shape)
        np.copyto(flow[patch.window], moved, where=patch.inside[..., None])
        owner[patch.window][patch.inside] = part.owner
    return image, flow, owner


def _sample(texture: Image, from_texture: geometry.Array, top: int, left: int, height: int, width: int) -> Image:
    """The window of the image that shows ``texture`` placed by ``from_texture``; beyond its ends it is mirrored."""
    to_texture = np.linalg.inv(from_texture) @ geometry.shift(left, top)
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
            flows = [flow_size(path) for path in files if path.suffix == ".flo"]
            images = [path.read_bytes().endswith(_PNG_END) for path in files if path.suffix != ".flo"]
            return all(images) and set(flows) == {(self.height, self.width)}
        except (FileNotFoundError, BadSample):
            return False


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
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); name a new folder with --out") from None
    if not isinstance(found, dict) or found.get("generated") is not True:
        raise DataError(f"{path}: describes a data set that was not generated; name a new folder with --out")
    others = {key: value for key, value in task.parameters.items() if found.get(key) != value}
    if others:
        rows = [f"  {key}: the set there has {found.get(key)!r}, asked for {value!r}" for key, value in others.items()]
        remedy = "Ask for the same parameters to go on with it, or name a new folder."
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
