"""Pictures of flow: the Middlebury colour wheel, arrows, a prediction beside its truth, and the files of frames.

The wheel: direction is hue, length is saturation: right red, down yellow, left cyan, up violet, no motion white.
Follows Baker, Scharstein, Lewis, Roth, Black, Szeliski: "A Database and Evaluation Methodology for Optical Flow"
(IJCV 2011) and the wheel of their published colour code.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeflownas.data.formats import write_flo
from edgeflownas.data.frames import Frames
from edgeflownas.errors import StorageError
from edgeflownas.files import replace_file, storing
from edgeflownas.report.console import Console
from edgeflownas.run.manifest import memory_in_words
from edgeflownas.run.run import Subnet

FONT = cv2.FONT_HERSHEY_SIMPLEX

Image = NDArray[np.uint8]  # [H, W, 3], RGB
Flow = NDArray[np.floating]  # [H, W, 2], u to the right and v down, px
Mask = NDArray[np.bool_]  # [H, W]

#: (length, channel that moves, whether it rises) of the six arcs RY, YG, GC, CB, BM, MR; the lengths are chosen by eye.
ARCS = ((15, 1, True), (6, 0, False), (4, 2, True), (11, 1, False), (13, 0, True), (6, 2, False))
UNKNOWN = 1e9  # Middlebury: a component beyond this means "flow unknown"


def color_wheel() -> NDArray[np.float64]:
    """The 55 colours of the wheel, float64 [55, 3], RGB in 0..255 (whole numbers)."""
    wheel, color = [], np.array([255.0, 0.0, 0.0])  # every arc starts where the one before it would have ended
    for length, channel, rising in ARCS:
        ramp = np.floor(255.0 * np.arange(length) / length)
        arc = np.tile(color, (length, 1))
        arc[:, channel] = ramp if rising else 255.0 - ramp
        wheel.append(arc)
        color[channel] = 255.0 * rising
    return np.concatenate(wheel)


def _known(flow: Flow, valid: Mask | None) -> Mask:
    """Where the flow is known; False for NaN as well."""
    known: Mask = np.all(np.abs(flow) <= UNKNOWN, axis=-1)
    return known if valid is None else known & valid


def flow_to_color(flow: Flow, max_norm: float | None = None, valid: Mask | None = None) -> Image:
    """Picture of a flow field.

    Args:
        flow: [H, W, 2], u to the right and v down, px.
        max_norm: length in px drawn in full saturation; longer vectors are drawn darker.  None: the longest known
            vector.  Give the same value for two fields that are to be compared.
        valid: [H, W]; False is drawn black, as are non-finite components and those beyond 1e9.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    vectors = np.asarray(flow, dtype=np.float64)
    known = _known(vectors, valid)
    vectors = np.where(known[..., None], vectors, 0.0) + 0.0  # + 0.0 turns -0.0 into 0.0, whose angle is another
    norm = np.hypot(vectors[..., 0], vectors[..., 1])
    scale = float(norm.max(initial=0.0)) if max_norm is None else max_norm
    radius = (norm / (scale if scale > 0.0 else 1.0))[..., None]

    wheel = color_wheel() / 255.0
    angle = np.arctan2(-vectors[..., 1], -vectors[..., 0]) / np.pi  # -1 (right) .. 0 (left) .. 1
    place = (angle + 1.0) / 2.0 * (len(wheel) - 1)
    below = np.floor(place).astype(np.int64)
    fraction = (place - below)[..., None]
    hue = (1.0 - fraction) * wheel[below] + fraction * wheel[(below + 1) % len(wheel)]
    color = np.where(radius <= 1.0, 1.0 - radius * (1.0 - hue), 0.75 * hue)
    color[~known] = 0.0
    return np.floor(255.0 * color).astype(np.uint8)


# -- arrows --

ACROSS = 24  # arrows along the longer side
CLOSEST = 16  # px between arrows; closer ones could not be told apart
SMALLEST_PICTURE = 480  # px of the longer side; smaller images are magnified by a whole factor
STILL = 1.0  # px on the picture; shorter arrows are drawn as a dot
TIP = 0.3  # of an arrow's length


def arrow_scale(lengths: NDArray[np.floating], spacing: float) -> float:
    """How many times longer than the motion arrows are drawn: 1, 2 or 5 times a power of ten.

    The largest that keeps the longer arrows (95th percentile) within 1.2 spacings; 1 where nothing moves.
    """
    long = float(np.percentile(lengths, 95)) if lengths.size else 0.0
    if long < 1e-6:
        return 1.0
    wanted = 1.2 * spacing / long
    power = 10.0 ** math.floor(math.log10(wanted))
    return max(factor * power for factor in (1.0, 2.0, 5.0) if factor * power <= wanted * (1 + 1e-9))


def flow_arrows(image1: Image, flow: Flow, valid: Mask | None = None, scale: float | None = None) -> Image:
    """Image 1, dimmed and gray, under arrows in the colours of their directions; a line says how long they are drawn.

    Args:
        image1: uint8 [H, W, 3], RGB.
        flow: [H, W, 2], u to the right and v down, px.
        valid: [H, W]; no arrow starts where it is False or the flow is not finite.
        scale: arrow length over motion on the picture; None chooses by :func:`arrow_scale`.

    Returns:
        uint8 RGB picture of the size of the image, or a whole multiple of it.
    """
    height, width = image1.shape[:2]
    assert flow.shape == (height, width, 2)
    zoom = max(1, -(-SMALLEST_PICTURE // max(height, width)))
    spacing = max(CLOSEST, round(max(height, width) * zoom / ACROSS))
    known = _known(flow, valid)
    lengths = np.where(known, np.hypot(flow[..., 0], flow[..., 1]), 0.0)
    rows, columns = _starts(height, spacing / zoom), _starts(width, spacing / zoom)
    grid = np.ix_(rows.astype(np.int64), columns.astype(np.int64))
    times = arrow_scale(lengths[grid][known[grid]] * zoom, spacing) if scale is None else scale
    gray = cv2.cvtColor(_larger(image1, zoom), cv2.COLOR_RGB2GRAY)
    dimmed = cv2.cvtColor(cv2.convertScaleAbs(gray, alpha=0.5, beta=70), cv2.COLOR_GRAY2RGB)
    picture: Image = np.ascontiguousarray(dimmed, dtype=np.uint8)
    for row, column in np.argwhere(known[grid]):
        start = (columns[column] * zoom, rows[row] * zoom)
        _arrow(picture, start, np.asarray(flow[grid][row, column], np.float64) * zoom * times)
    _label(picture, f"arrows {times:g} x motion, longest motion {lengths.max():.1f} px")
    return picture


def _starts(size: int, spacing: float) -> NDArray[np.float64]:
    """Evenly spaced places with equal margins; at least one."""
    count = max(1, int(size / spacing))
    return (np.arange(count) + 0.5) * size / count


def _arrow(picture: Image, start: tuple[float, float], vector: NDArray[np.float64]) -> None:
    """A coloured arrow with a dark rim, cut off where it would leave far beyond the picture; sixteenths of a pixel."""
    length = float(np.hypot(*vector))
    shift, reach = 16, 4.0 * max(picture.shape)
    if length > reach:
        vector, length = vector * (reach / length), reach
    begin, end = (tuple(round(value * shift) for value in place) for place in (start, (start + vector).tolist()))
    thickness = max(1, max(picture.shape) // 800)
    if length < STILL:
        for radius, colour in ((thickness + 1, (0, 0, 0)), (thickness, (255, 255, 255))):
            cv2.circle(picture, begin, radius * shift, colour, -1, cv2.LINE_AA, 4)
        return
    direction = (vector / length).astype(np.float32)[None, None]
    for width, colour in ((thickness + 2, (0, 0, 0)), (thickness, flow_to_color(direction, 1.0)[0, 0].tolist())):
        cv2.arrowedLine(picture, begin, end, colour, width, cv2.LINE_AA, 4, TIP)


def _label(picture: Image, text: str) -> None:
    size = _fitting(text, 0.45 * max(1.0, max(picture.shape) / 1000), 0.25, picture.shape[1] - 8)
    (width, height), below = cv2.getTextSize(text, FONT, size, 1)
    picture[: height + below + 6, : width + 8] = picture[: height + below + 6, : width + 8] // 4
    cv2.putText(picture, text, (4, height + 4), FONT, size, (255, 255, 255), 1, cv2.LINE_AA)


def _fitting(text: str, size: float, least: float, room: int) -> float:
    """Size of letters, at most ``size``, in which the text takes at most ``room`` px, if they need not be too small."""
    while size > least and cv2.getTextSize(text, FONT, size, 1)[0][0] > room:
        size -= 0.025
    return size


# -- a prediction beside its truth --

STRIP = 22  # px of the label strip above every panel
GAP = 4  # px of white between panels
MIN_PANEL_WIDTH = 256  # smaller crops are magnified by a whole factor, or no label would be readable


class Drawing(NamedTuple):
    """A drawn row of panels (uint8 RGB, rows of height 22 + H x zoom) and the text above each of them."""

    picture: Image
    labels: tuple[str, ...]


def draw(images: tuple[Image, Image], predicted: Flow, true: Flow, valid: Mask) -> Drawing:
    """Labelled row of panels for one image pair: both images, predicted flow, true flow, end-point error, colour wheel.

    Both flows use the same colour scale (the longest valid true vector), so that equal colours are equal motions;
    predicted vectors longer than that are drawn darker.  Pixels where the truth is not known (``valid``) are black in
    truth and error.
    """
    height, width = images[0].shape[:2]
    assert predicted.shape == true.shape == (height, width, 2) and valid.shape == (height, width)
    scale = _color_scale(predicted, true, valid)
    panels = (
        (images[0], "image 1"),
        (images[1], "image 2"),
        (flow_to_color(predicted, scale), f"predicted flow, full colour = {scale:.1f} px"),
        (flow_to_color(true, scale, valid), f"true flow, full colour = {scale:.1f} px"),
        _error_panel(predicted, true, valid),
        (_wheel(height, width), f"colour: where to, rim = {scale:.1f} px"),
    )
    zoom = -(-MIN_PANEL_WIDTH // width)
    gap = np.full((STRIP + zoom * height, GAP, 3), 255, np.uint8)
    row = [part for picture, label in panels for part in (gap, _labelled(_larger(picture, zoom), label))]
    return Drawing(np.concatenate(row[1:], axis=1), tuple(label for _, label in panels))


def _wheel(height: int, width: int) -> Image:
    """The legend: each place of a disc in the colour of the motion from its centre to there."""
    radius = min(height, width) / 2 - 1
    place = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) - ((width - 1) / 2, (height - 1) / 2)
    inside = np.hypot(*np.moveaxis(place, -1, 0)) <= radius
    return np.where(inside[..., None], flow_to_color(place, radius), 255).astype(np.uint8)


def _larger(picture: Image, zoom: int) -> Image:
    return picture.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _color_scale(predicted: Flow, true: Flow, valid: Mask) -> float:
    """Longest valid true vector in px; of a motionless truth the longest predicted one, 1 where that is zero too."""
    for norms in (np.hypot(*np.moveaxis(true, -1, 0))[valid], np.hypot(*np.moveaxis(predicted, -1, 0))):
        longest = float(norms[np.isfinite(norms)].max(initial=0.0))
        if longest > 0.0:
            return longest
    return 1.0


def _error_panel(predicted: Flow, true: Flow, valid: Mask) -> tuple[Image, str]:
    """Euclidean error per pixel from black (0) to pale yellow (the largest), with mean and scale in the label."""
    with np.errstate(invalid="ignore", over="ignore"):  # a diverged network predicts inf; that must not end a run
        error = np.linalg.norm(predicted.astype(np.float64) - true, axis=-1)
    known = valid & np.isfinite(error)
    largest = float(error[known].max(initial=0.0))
    mean = float(error[valid].mean()) if valid.any() else float("nan")
    share = np.where(known, error, 0.0) / (largest if largest > 0.0 else 1.0)
    heat = cv2.applyColorMap(np.round(255.0 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    picture = np.where(known[..., None], cv2.cvtColor(heat, cv2.COLOR_BGR2RGB), 0).astype(np.uint8)
    still = float(np.hypot(*np.moveaxis(true, -1, 0))[valid].mean()) if valid.any() else float("nan")
    return picture, f"EPE: mean {mean:.2f} px (zero flow {still:.2f}), yellow = {largest:.1f} px"


def _labelled(picture: Image, label: str) -> Image:
    """The picture below a white strip with its label, in letters small enough to fit."""
    width = picture.shape[1]
    strip = np.full((STRIP, width, 3), 255, np.uint8)
    cv2.putText(strip, label, (2, STRIP - 7), FONT, _fitting(label, 0.45, 0.2, width - 4), (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])


# -- the flow of frames, on disk as people look at it; each file appears whole or not at all --

FORMATS = {"flo": ".flo", "color": "-color.png", "arrows": "-arrows.png"}


def write_flow(paths: dict[str, Path], image1: Image, flow: NDArray[np.float32], max_flow: float | None = None) -> None:
    """Write a pair's files; ``max_flow`` (px) is drawn in full colour, None takes the longest vector of the pair.

    Raises StorageError where the disk refuses.
    """
    for form, path in paths.items():
        if form == "flo":
            write_flo(path, flow)
        else:
            picture = flow_to_color(flow, max_flow) if form == "color" else flow_arrows(image1, flow)
            done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            assert done, "OpenCV encodes any 8-bit picture"
            replace_file(path, [data.data])


class FlowVideo:
    """Each frame beside its flow, as MP4; under its name only once it is whole (:meth:`keep`)."""

    FADE = 0.95  # of the length in full colour from frame to frame, so that colours do not flicker

    def __init__(self, path: Path, rate: float, max_flow: float | None) -> None:
        self.path, self.rate, self.max_flow = path, rate, max_flow
        self._temporary, self._frames = path.with_name(f".tmp-{path.name}"), 0
        self._writer: cv2.VideoWriter | None = None
        self._longest = 0.0

    def add(self, image: Image, flow: NDArray[np.float32]) -> None:
        """Append a frame.  Raises StorageError where no video can be written here."""
        self._longest = max(float(np.hypot(flow[..., 0], flow[..., 1]).max()), self.FADE * self._longest)
        picture = np.concatenate([image, flow_to_color(flow, self.max_flow or self._longest)], axis=1)
        odd = [(0, side % 2) for side in picture.shape[:2]]  # the format takes even sides only
        picture = np.pad(picture, [*odd, (0, 0)], mode="edge")
        if self._writer is None:
            code, size = cv2.VideoWriter.fourcc(*"mp4v"), picture.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self._temporary), code, self.rate, size)
            if not self._writer.isOpened():
                raise StorageError(f"{self.path}: this OpenCV cannot write it: --formats color writes pictures instead")
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def keep(self) -> None:
        """Give the finished video its name.  Raises StorageError where not every frame is in it."""
        assert self._writer is not None, "a video of no frame"
        self._writer.release()
        written = int(cv2.VideoCapture(str(self._temporary)).get(cv2.CAP_PROP_FRAME_COUNT))
        if written != self._frames:  # OpenCV says nothing where the disk is full
            raise StorageError(
                f"{self.path}: {written} of {self._frames} frames could be written: make room on the disk"
            )
        with storing(self.path, "write"):
            os.replace(self._temporary, self.path)

    def close(self) -> None:
        """Remove what was not kept."""
        if self._writer is not None:
            self._writer.release()
        self._temporary.unlink(missing_ok=True)


def infer_frames(
    subnet: Subnet, frames: Frames, out: Path, formats: Sequence[str], max_flow: float | None, console: Console
) -> dict[str, Any]:
    """Estimate and write the flow of pair after pair; what was written, and by which weights, as plain data.

    An interruption leaves whole files only, and says how many pairs.  Raises NonFiniteError for a network that
    diverged, ConfigError for frames too large for this machine, StorageError.
    """
    samples = subnet.calibration or ()
    full = "the run's calibration batches do not fit this machine's memory: free some"
    with console.task("calibrate", len(samples)) as meter, memory_in_words(full):
        subnet.predictor(meter.advance)
    rows: list[dict[str, Any]] = []
    total = frames.count - 1
    video = FlowVideo(out / f"{frames.name}-flow.mp4", frames.rate, max_flow) if "video" in formats else None
    began = time.monotonic()
    with console.task("flow", total) as meter:
        try:
            for first, second in frames.pairs(console.warn):
                height, width = first.image.shape[:2]
                with memory_in_words(f"{first.origin} is {height}x{width}: give smaller images, or --size"):
                    flow = subnet.flow(first.image, second.image)
                out.mkdir(parents=True, exist_ok=True)
                paths = {form: out / f"{first.name}{FORMATS[form]}" for form in formats if form != "video"}
                write_flow(paths, first.image, flow, max_flow)
                if video is not None:
                    video.add(first.image, flow)
                length = np.hypot(flow[..., 0], flow[..., 1])
                row = {"image1": first.origin, "image2": second.origin, "height": height, "width": width}
                row |= {"mean_flow": float(length.mean()), "max_flow": float(length.max())}
                rows.append({**row, "files": {form: str(path) for form, path in paths.items()}})
                meter.update(min(len(rows), total))
            if video is not None:
                video.keep()
        except KeyboardInterrupt:
            console.info(f"interrupted after {len(rows)} of {total} pairs; every file in {out} is whole")
            raise
        finally:
            if video is not None:
                video.close()
    seconds = time.monotonic() - began
    facts: dict[str, Any] = {
        "weights": subnet.name,
        "source": subnet.checkpoint.hash,
        "arch": str(subnet.arch),
        "arch_choice": subnet.reason,
        "size": subnet.size and list(subnet.size),
        "calibration": subnet.calibrated_on or None,
        "calibration_samples": subnet.calibration_samples,
        "out": str(out),
        "video": video and str(video.path),
        "seconds": seconds,
        "frames_per_second": len(rows) / max(seconds, 1e-9),
    }
    return facts | {"pairs": rows}
