"""``edgeflownas infer``: the flow of an image pair, a folder of frames or a video, by one subnet of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflownas.commands._shared import Overrides, example
from edgeflownas.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from edgeflownas.data.frames import Frames
    from edgeflownas.evaluate.predictors import Predictor
    from edgeflownas.report.console import Console
    from edgeflownas.train.inference import ReadySubnet


def infer(
    *inputs: Path,
    weights: Path | None = None,
    out: Path = Path("flow"),
    arch: str | None = None,
    checkpoint: str = "best",
    formats: str = "flo,color,arrows",
    max_flow: float | None = None,
    overwrite: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Estimate optical flow.

    Example: edgeflownas infer --weights RUN A.png B.png (or a folder of frames, or a video file)

    Writes NAME.flo, NAME-color.png and NAME-arrows.png for each pair of consecutive frames, named after the first.
    Images of any size, 8-bit PNG, JPEG, PPM or PGM; the flow has their size. Batch norm is recalibrated on the run's
    training data.

    Args:
        inputs: two images, a folder of frames (in order of their names) or a video file.
        weights: run directory, or an npz file of TF1 weights.
        out: folder for the results; made if missing.
        arch: arch code such as 0,0,0,0,2,1,2,2,2; default: rank 1 of the run's last evaluation, else the baseline.
        checkpoint: best, latest, or a name such as step-00001234.
        formats: which files to write, of flo, color, arrows.
        max_flow: length in px drawn in full colour, the same for all frames; default: the longest of each pair.
        overwrite: write into a folder that holds files already; those of the same names are replaced.
        json: list of what was written on stdout.
        overrides: configuration keys that are others here, such as --data.train_dir DIR where the data moved.
    """
    if weights is None or not inputs:
        missing = [n for n, v in (("--weights RUN", weights), ("images", inputs)) if not v]
        raise ConfigError(f"{' and '.join(missing)} missing: {example(infer)}")
    wanted = _formats(formats)
    if max_flow is not None and not 0 < max_flow < 1e9:
        raise ConfigError(f"--max-flow {max_flow:g} must be a length in px above 0")
    if max_flow is not None and "color" not in wanted:
        raise ConfigError(
            f"--max-flow scales the colour picture, --formats {formats} makes none: leave one of them out"
        )

    from edgeflownas.data.frames import open_frames
    from edgeflownas.report.console import Console
    from edgeflownas.train.inference import open_subnet

    console = Console()
    frames = open_frames(list(inputs))
    _check_target(out, frames, overwrite)
    ready = open_subnet(weights, arch, checkpoint, overrides, console.info)
    console.info(f"{ready.name}, arch {ready.arch} ({ready.reason})")
    job = _Job(frames, _calibrated(ready, console), out, wanted, max_flow, console)
    pairs = list(job.run())
    if json:
        import json as encoder

        print(encoder.dumps(_document(ready, out, pairs), indent=2))
    console.info(f"{len(pairs)} flow field{'s' if len(pairs) > 1 else ''} in {out} ({', '.join(wanted)})")
    return 0


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = ("flo", "color", "arrows")
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        found = f"{wrong[0]!r} is unknown" if wrong else f"{text!r} names none"
        raise ConfigError(f"--formats: {found}; choose from {', '.join(known)}, e.g. --formats flo,color")
    return names


def _check_target(out: Path, frames: Frames, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: is a file; --out needs a folder")
    if frames.kind == "folder" and out.resolve() == frames.place.resolve():
        raise ConfigError(f"--out {out} is the folder of the frames: pictures of the flow would be frames next time")
    if out.is_dir() and not overwrite and any(out.iterdir()):
        raise StorageError(f"{out}: holds files already; choose another --out, or add --overwrite to replace them")


def _calibrated(ready: ReadySubnet, console: Console) -> Predictor:
    from edgeflownas.evaluate.predictors import SubnetPredictor
    from edgeflownas.evaluate.recalibrate import recalibrate
    from edgeflownas.run.machine import memory_in_words

    with (
        console.task("calibrate", len(ready.calibration)) as meter,
        memory_in_words("the run's calibration batches do not fit this machine's memory: free some"),
    ):
        statistics = recalibrate(ready.net, [ready.arch], ready.calibration, meter.advance)
    parts = (ready.net, [ready.arch], statistics, ready.name, ready.source)
    return SubnetPredictor(*parts, flow_divisor=ready.flow_divisor)


@dataclass(frozen=True)
class _Job:
    """Everything the loop over pairs needs."""

    frames: Frames
    estimate: Predictor
    out: Path
    formats: tuple[str, ...]
    max_flow: float | None
    console: Console

    def run(self) -> Iterator[dict[str, Any]]:
        """Estimate and write pair after pair; an interruption leaves whole files only, and says how many pairs."""
        total = self.frames.count - 1
        done = 0
        with self.console.task("flow", total) as meter:
            try:
                for first, second in self.frames.pairs(self.console.warn):
                    yield self._pair(first, second)
                    done += 1
                    meter.update(min(done, total))
            except KeyboardInterrupt:
                self.console.info(f"interrupted after {done} of {total} pairs; every file in {self.out} is whole")
                raise

    def _pair(self, first: Any, second: Any) -> dict[str, Any]:
        import numpy as np

        from edgeflownas.evaluate.predictors import check_finite
        from edgeflownas.report.flow_files import flow_paths, write_flow
        from edgeflownas.run.machine import memory_in_words

        height, width = first.image.shape[:2]
        with memory_in_words(f"{first.origin} is {height}x{width}: give smaller images"):
            (flow,) = self.estimate.predict(np.concatenate([first.image, second.image], axis=-1))
        check_finite(flow)
        self.out.mkdir(parents=True, exist_ok=True)
        paths = flow_paths(self.out, first.name, self.formats)
        write_flow(paths, first.image, flow, self.max_flow)
        length = np.hypot(flow[..., 0], flow[..., 1])
        return {
            "image1": first.origin,
            "image2": second.origin,
            "height": height,
            "width": width,
            "mean_flow": float(length.mean()),
            "max_flow": float(length.max()),
            "files": {form: str(path) for form, path in paths.items()},
        }


def _document(ready: ReadySubnet, out: Path, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "weights": ready.name,
        "source": ready.source,
        "arch": str(ready.arch),
        "arch_choice": ready.reason,
        "calibration": ready.calibration_label or None,
        "calibration_samples": sum(len(batch.images) for batch in ready.calibration),
        "out": str(out),
        "pairs": pairs,
    }
