"""``edgeflownas infer``: the flow of an image pair, a folder of frames or a video."""

from pathlib import Path

from edgeflownas.commands._shared import Overrides, calibrated_elsewhere, example, is_run, print_json, read_size
from edgeflownas.errors import ConfigError, StorageError

FORMATS = ("flo", "color", "arrows", "video")
FRAME = "frame"


def infer(
    *inputs: Path,
    out: Path = Path("flow"),
    arch: str | None = None,
    checkpoint: str = "best",
    weights: str = "model",
    size: str | None = None,
    formats: str | None = None,
    max_flow: float | None = None,
    calibration_data: str | None = None,
    overwrite: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> None:
    """Estimate optical flow.

    Example: edgeflownas infer [RUN|weights:NAME] A.png B.png (or a folder of frames, or a video file)

    Without a run the package's own weights are taken. Writes NAME.flo, NAME-color.png and NAME-arrows.png for each pair
    of consecutive frames, named after the first; of a video one with each frame beside its flow. Images of any size,
    8-bit PNG, JPEG, PPM or PGM; the flow has their size. Batch norm of a run is recalibrated on its training data.

    Args:
        inputs: a run directory, weights:NAME or npz file of TF1 weights, which may be left out, then two images, a
            folder of frames (in order of their names) or a video file.
        out: folder for the results; made if missing.
        arch: arch code such as 0,0,0,0,2,1,2,2,2; default: rank 1 of the run's last evaluation, else the baseline.
        checkpoint: best, latest, or a name such as step-00001234.
        weights: model, or ema for the moving average.
        size: rows x columns that the network sees, such as 192x256; the flow is brought back to the frame's own pixels.
            Or frame, for frames as they are. Default: frame for a run, for weights:NAME the size they are deployed at.
        formats: which files to write, of flo, color, arrows, video; default: video for a video, else the other three.
        max_flow: length in px drawn in full colour, the same for all frames; default: the longest of each pair.
        calibration_data: data set or folder on which batch norm of weights:NAME is recalibrated.
        overwrite: write into a folder that holds files already; those of the same names are replaced.
        json: list of what was written on stdout.
        overrides: configuration keys that are others here, such as --data.train_dir DIR where the data moved.
    """
    led = bool(inputs) and (is_run(inputs[0]) or (len(inputs) == 3 and not inputs[0].is_file()))
    run, pictures = (inputs[0], inputs[1:]) if led else (None, inputs)
    if weights not in ("model", "ema"):
        raise ConfigError(f"--weights {weights!r} is unknown: model or ema; a run stands first: {example(infer)}")
    if not pictures:
        raise ConfigError(f"images missing: {example(infer)}")
    wanted = None if formats is None else _formats(formats)
    asked = None if size in (None, FRAME) else read_size(str(size))
    if max_flow is not None and not 0 < max_flow < 1e9:
        raise ConfigError(f"--max-flow {max_flow:g} must be a length in px above 0")
    if max_flow is not None and wanted is not None and not {"color", "video"} & set(wanted):
        raise ConfigError(
            f"--max-flow scales the colour picture, --formats {formats} makes none: leave one of them out"
        )

    from edgeflownas.data.frames import open_frames
    from edgeflownas.report.console import Console
    from edgeflownas.report.pictures import infer_frames
    from edgeflownas.run.run import SHOWN, Run
    from edgeflownas.run.weights import PREFIX, default_name

    console = Console()
    frames = open_frames(list(pictures))
    wanted = wanted or (FORMATS[3:] if frames.kind == "video" else FORMATS[:3])
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out}: is a file; --out needs a folder")
    if frames.kind == "folder" and out.resolve() == frames.place.resolve():
        raise ConfigError(f"--out {out} is the folder of the frames: pictures of the flow would be frames next time")
    if out.is_dir() and not overwrite and any(out.iterdir()):
        raise StorageError(f"{out}: holds files already; choose another --out, or add --overwrite to replace them")
    run = run or Path(PREFIX + default_name())
    overrides = calibrated_elsewhere(run, calibration_data, overrides)
    opened = Run.open(run, overrides, console.info, used=SHOWN, what="this")
    subnet = opened.subnet(arch, checkpoint, weights, opened.deployed_size if size is None else asked)
    console.info(f"{subnet.name}, arch {subnet.arch} ({subnet.reason})")
    document = infer_frames(subnet, frames, out, wanted, max_flow, console)
    if json:
        print_json(document)
    count = len(document["pairs"])
    rate = f", {document['frames_per_second']:.1f} frames a second"
    console.info(f"{count} flow field{'s' if count > 1 else ''} in {out} ({', '.join(wanted)}){rate}")


def _formats(text: str) -> tuple[str, ...]:
    """The formats of a list, each once.  Raises ConfigError."""
    wanted = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    wrong = [name for name in wanted if name not in FORMATS]
    if wrong or not wanted:
        found = f"{wrong[0]!r} is unknown" if wrong else f"{text!r} names none"
        raise ConfigError(f"--formats: {found}; choose from {', '.join(FORMATS)}, e.g. --formats flo,color")
    return wanted
