"""``edgeflownas export``: one subnet as files for a device, in a folder with all that firmware has to know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeflownas.commands._shared import Overrides, Size, WholeNumber, example
from edgeflownas.errors import ConfigError

if TYPE_CHECKING:
    from edgeflownas.export.artefacts import Format
    from edgeflownas.export.build import Request
    from edgeflownas.report.console import Console

FAILED = 65  # exit code


def export(
    run: Path | None = None,
    /,
    *,
    arch: str | None = None,
    format: str = "tflite-int8",
    size: Size | None = None,
    out: Path | None = None,
    outputs: str = "flow",
    uncertainty: bool = False,
    calibrate: str | None = None,
    calibration_pairs: WholeNumber | None = None,
    calibration_data: str | None = None,
    data: str | None = None,
    pairs: WholeNumber | None = None,
    checkpoint: str = "best",
    target: str | None = None,
    mode: str | None = None,
    arena: WholeNumber | None = None,
    no_verify: bool = False,
    json: bool = False,
    overrides: Overrides = (),
) -> int:
    """Write a subnet for a device.

    Example: edgeflownas export RUN --format tflite-int8 --size 192x256 --out DIR

    Batch norm is recalibrated on the run's frozen calibration samples and folded. DIR gets the models and report.json;
    with tflite-int8 also the Vela-compiled model, model.h, test vectors and a README.md with code. docs/export.md.

    Args:
        run: run directory or weights file (npz of TF1 weights).
        arch: arch code such as 0,0,0,0,2,1,2,2,2; default: rank 1 of the run's last evaluation, else the baseline.
        format: some of tflite-int8, tflite-float, onnx, onnx-int8, separated by commas.
        size: rows x columns of the frames, px, multiples of 16.
        out: folder to make; one that holds files is refused.
        outputs: flow (at full size), half, quarter (at 1/2, 1/4), scales (all three), or raw (for summing elsewhere).
        uncertainty: put the uncertainty of each output beside it.
        calibrate: ranges of the integers: minmax (default), percentile:99.99 or mse.
        calibration_pairs: how many pairs give the ranges (32).
        calibration_data: where they come from: a data set or folder, or synth; default: the run's training data.
        data: pairs to verify on, the same; default: the run's validation data.
        pairs: how many of them (16).
        checkpoint: best, latest, or a name such as step-00001234.
        target: chip for Vela: a name (edgeflownas vela --list-targets; default grove-vision-ai-v2), or
            FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE.
        mode: of Vela: performance (default) or size.
        arena: SRAM that mode performance may use, KiB; often far faster than mode size at almost its SRAM.
        no_verify: do not compare the files with the float model.
        json: report.json on stdout.
        overrides: configuration keys that are others here, such as --data.val_dir DIR where the data moved.
    """
    if run is None or size is None or out is None:
        missing = [n for n, v in (("the run", run), ("--size ROWSxCOLUMNS", size), ("--out DIR", out)) if v is None]
        raise ConfigError(f"{' and '.join(missing)} missing: {example(export)}")
    ranging = {"calibrate": calibrate, "calibration-pairs": calibration_pairs, "calibration-data": calibration_data}
    chip = {"target": target, "mode": mode, "arena": arena}
    formats = _formats(format, ranging, chip, {"data": data, "pairs": pairs} if no_verify else {})
    request = _request(formats, size, outputs, uncertainty, calibrate or "minmax", chip)
    from edgeflownas.export.folder import require_free, write_folder
    from edgeflownas.report.console import Console

    require_free(out)
    console = Console()
    checking = None if no_verify else (data, pairs or 16)
    wanted = _Wanted((calibration_data, calibration_pairs or 32), ranging, checking)
    files, report = _build(run, arch, checkpoint, overrides, request, wanted, console)
    write_folder(out, files)
    return _show(report, out, console, json)


def _refuse_idle(idle: bool, options: dict[str, Any], why: str) -> None:
    """Raises ConfigError where one of ``options`` was given though they would do nothing."""
    for name, value in options.items():
        if idle and value is not None:
            raise ConfigError(f"--{name} {value} would do nothing: {why}; leave it out")


class _Wanted(NamedTuple):
    """Data (None: the run's own) and number of the pairs that give the ranges, and of those that are verified on.

    ``ranging``: the options for the former, as they were given.
    """

    calibration: tuple[str | None, int]
    ranging: dict[str, Any]
    checking: tuple[str | None, int] | None


def _formats(text: str, ranging: dict[str, Any], chip: dict[str, Any], comparing: dict[str, Any]) -> tuple[Format, ...]:
    """The formats of ``--format``.  Raises ConfigError for options that do nothing with them, or without a check."""
    from edgeflownas.export.artefacts import formats_of

    formats = formats_of(text)
    _refuse_idle(not any(name.endswith("int8") for name in formats), ranging, "no format is in integers")
    _refuse_idle("tflite-int8" not in formats, chip, "Vela compiles the format tflite-int8 only")
    _refuse_idle(True, comparing, "--no-verify compares nothing")
    return formats


def _request(
    formats: tuple[Format, ...],
    size: tuple[int, int],
    outputs: str,
    uncertainty: bool,
    method: str,
    chip: dict[str, Any],
) -> Request:
    """The words as an export takes them; everything that can be wrong with them is found here, before long work."""
    from typing import get_args

    from edgeflownas.export.artefacts import need_packages
    from edgeflownas.export.build import Request
    from edgeflownas.export.source import check_export_size
    from edgeflownas.hardware.vela.compiler import Mode, check_request
    from edgeflownas.models.deployed.graph import Outputs
    from edgeflownas.models.deployed.ranges import parse_method

    check_export_size(size)
    mode, arena = chip["mode"] or "performance", chip["arena"]
    for option, value, known in (("outputs", outputs, Outputs), ("mode", mode, Mode)):
        if value not in get_args(known):
            raise ConfigError(f"--{option} {value!r} is unknown: {', '.join(get_args(known))}")
    check_request(mode, arena)
    parse_method(method)
    need_packages(formats)
    from edgeflownas.hardware.vela.targets import named_target

    target = named_target(chip["target"])
    return Request(formats, size, outputs, uncertainty, method, target, mode, arena)  # type: ignore[arg-type]


def _build(
    path: Path,
    arch: str | None,
    checkpoint: str,
    overrides: Sequence[str],
    request: Request,
    wanted: _Wanted,
    console: Console,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files by path, and report.json."""
    from edgeflownas.export.build import Seconds, build
    from edgeflownas.export.pairs import named_pairs
    from edgeflownas.export.source import open_source

    seconds = Seconds()
    with seconds.of("open and recalibrate"):
        source = open_source(path, arch, checkpoint, overrides, console.info, console.task)
    console.info(f"{source.name}, arch {source.code} ({source.reason})")
    with seconds.of("read pairs"):
        calibration, checking = None, None
        _refuse_idle(source.ranges is not None, wanted.ranging, "the run brings the ranges it was trained with")
        if source.ranges is None and any(name.endswith("int8") for name in request.formats):
            spec, count = wanted.calibration
            calibration = named_pairs(
                "--calibration-data", spec, "train", source.config, count, request.size, console.info
            )
        if wanted.checking is not None:
            spec, count = wanted.checking
            checking = named_pairs("--data", spec, "val", source.config, count, request.size, console.info)
    with console.task("ranges and verification", len(calibration or ()) + len(checking or ())) as meter:
        files, report = build(request, source, calibration, checking, seconds, meter.advance)
    if request.arena is not None and (needed := report["vela"]["sram_kib"]) > request.arena:
        console.warn(f"--arena {request.arena}: Vela could not keep to it, {needed:.0f} KiB are needed")
    return files, report


def _show(report: dict[str, Any], out: Path, console: Console, as_json: bool) -> int:
    """Print what was made; the exit code."""
    if as_json:
        import json as encoder

        print(encoder.dumps(report, indent=2, allow_nan=False))
    else:
        from edgeflownas.report.export_text import export_text

        print(export_text(report))
    console.wrote({"export": out})
    if report["verified"] is not False:
        return 0
    console.warn(f"the verification failed, {out} is marked so: {'; '.join(report['verification']['reasons'])}")
    return FAILED
