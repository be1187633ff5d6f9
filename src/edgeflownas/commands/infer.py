"""``edgeflownas infer``: the flow of an image pair, a folder of frames or a video, by one subnet of a run."""

from pathlib import Path

from edgeflownas.commands._shared import Overrides, example, print_json
from edgeflownas.errors import ConfigError, StorageError

FORMATS = ("flo", "color", "arrows")


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
) -> None:
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
    wanted = tuple(dict.fromkeys(part.strip() for part in formats.split(",") if part.strip()))
    wrong = [name for name in wanted if name not in FORMATS]
    if wrong or not wanted:
        found = f"{wrong[0]!r} is unknown" if wrong else f"{formats!r} names none"
        raise ConfigError(f"--formats: {found}; choose from {', '.join(FORMATS)}, e.g. --formats flo,color")
    if max_flow is not None and not 0 < max_flow < 1e9:
        raise ConfigError(f"--max-flow {max_flow:g} must be a length in px above 0")
    if max_flow is not None and "color" not in wanted:
        raise ConfigError(
            f"--max-flow scales the colour picture, --formats {formats} makes none: leave one of them out"
        )

    from edgeflownas.data.frames import open_frames
    from edgeflownas.report.console import Console
    from edgeflownas.report.pictures import infer_frames
    from edgeflownas.run.run import SHOWN, Run

    console = Console()
    frames = open_frames(list(inputs))
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: is a file; --out needs a folder")
    if frames.kind == "folder" and out.resolve() == frames.place.resolve():
        raise ConfigError(f"--out {out} is the folder of the frames: pictures of the flow would be frames next time")
    if out.is_dir() and not overwrite and any(out.iterdir()):
        raise StorageError(f"{out}: holds files already; choose another --out, or add --overwrite to replace them")
    subnet = Run.open(weights, overrides, console.info, used=SHOWN, what="this").subnet(arch, checkpoint)
    console.info(f"{subnet.name}, arch {subnet.arch} ({subnet.reason})")
    document = infer_frames(subnet, frames, out, wanted, max_flow, console)
    if json:
        print_json(document)
    count = len(document["pairs"])
    console.info(f"{count} flow field{'s' if count > 1 else ''} in {out} ({', '.join(wanted)})")
