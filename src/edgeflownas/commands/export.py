"""``edgeflownas export``: one subnet as files for a device, in a folder with all that firmware has to know."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeflownas.commands._shared import Csv, OtherKeys, Size, WholeNumber, emit, example
from edgeflownas.errors import ConfigError, DataError


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
    csv: Csv | None = None,
    json: bool = False,
    overrides: OtherKeys = (),
) -> int:
    """Write a subnet for a device.

    Example: edgeflownas export RUN --format tflite-int8 --size 192x256 --out DIR

    Batch norm is recalibrated on the run's frozen calibration samples and folded. DIR gets the models and report.json;
    with tflite-int8 also the Vela-compiled model, model.h, test vectors and a README.md with code. docs/export.md.

    Args:
        run: run directory, weights:NAME (edgeflownas weights list), or an npz file of TF1 weights.
        arch: arch code such as 0,0,0,0,2,1,2,2,2; default: rank 1 of the run's last evaluation, else the baseline.
        format: some of tflite-int8, tflite-float, onnx, separated by commas.
        size: rows x columns of the frames, px, multiples of 16.
        out: folder to make; one that holds files is refused.
        outputs: flow (at full size), half, quarter (at 1/2, 1/4), scales (all three), or raw (for summing elsewhere).
        uncertainty: put the uncertainty of each output beside it.
        calibrate: ranges of the integers: minmax (default), percentile:99.99 or mse.
        calibration_pairs: how many pairs give the ranges (32).
        calibration_data: where they come from: a data set or folder, or synth; default: the run's training data, for
            weights:NAME synth. A supernet of the package recalibrates batch norm on that data, too.
        data: pairs to verify on, the same; default: the run's validation data.
        pairs: how many of them (16).
        checkpoint: best, latest, or a name such as step-00001234.
        target: chip for Vela: a name (edgeflownas vela --list-targets; default grove-vision-ai-v2), or
            FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE.
        mode: of Vela: performance (default) or size.
        arena: SRAM that mode performance may use, KiB; often far faster than mode size at almost its SRAM.
        no_verify: do not compare the files with the float model.
        json: report.json on stdout.
    """
    if run is None or size is None or out is None:
        missing = [n for n, v in (("the run", run), ("--size ROWSxCOLUMNS", size), ("--out DIR", out)) if v is None]
        raise ConfigError(f"{' and '.join(missing)} missing: {example(export)}")

    from edgeflownas.export.build import formats_of

    formats = formats_of(format)
    asked = {"calibrate": calibrate, "calibration-pairs": calibration_pairs, "calibration-data": calibration_data}
    asked |= {"target": target, "mode": mode, "arena": arena, "data": data, "pairs": pairs}
    _refuse_idle(asked, formats, no_verify)

    from edgeflownas.export.build import Request, Seconds, build
    from edgeflownas.export.folder import require_free
    from edgeflownas.export.source import extracted, open_exported, open_pairs
    from edgeflownas.hardware.targets import named_target
    from edgeflownas.report.console import Console

    words: Any = (outputs, uncertainty, calibrate or "minmax", named_target(target), mode or "performance", arena)
    request, console, seconds = Request(formats, size, *words), Console(), Seconds()
    require_free(out)
    with seconds.of("open and recalibrate"):
        opened = open_exported(run, overrides, calibration_data, console.info)
        subnet = extracted(opened.subnet(arch, checkpoint, size=size), console.task)
    console.info(f"{subnet.short_name}, arch {subnet.code} ({subnet.reason})")
    with seconds.of("read pairs"):
        calibration, checking = None, None
        if "tflite-int8" in formats:
            place = ("--calibration-data", calibration_data, "train", opened, calibration_pairs or 32)
            calibration = open_pairs(*place, size, console.info)
        if not no_verify:
            checking = open_pairs("--data", data, "val", opened, pairs or 16, size, console.info)
    with console.task("ranges and verification", len(calibration or ()) + len(checking or ())) as meter:
        files, report = build(request, subnet, calibration, checking, seconds, meter.advance)
    return _hand_over(out, files, report, arena, json, csv)


def _refuse_idle(options: dict[str, Any], formats: Sequence[str], no_verify: bool) -> None:
    """Raises ConfigError where one of ``options`` was given though it would do nothing."""
    floats = "tflite-int8" not in formats
    for names, idle, why in (
        (("calibrate", "calibration-pairs", "calibration-data"), floats, "no format is in integers"),
        (("target", "mode", "arena"), floats, "Vela compiles the format tflite-int8 only"),
        (("data", "pairs"), no_verify, "--no-verify compares nothing"),
    ):
        for name in names:
            if idle and options[name] is not None:
                raise ConfigError(f"--{name} {options[name]} would do nothing: {why}; leave it out")


def _hand_over(
    out: Path, files: dict[str, bytes], report: dict[str, Any], arena: int | None, json: bool, csv: Path | None
) -> int:
    """Write the folder and say what came out.  Returns the exit code: that of wrong data where a check failed."""
    from edgeflownas.export.folder import write_folder
    from edgeflownas.report.chip_views import export_view
    from edgeflownas.report.console import Console

    console = Console()
    if arena is not None and (needed := report["vela"]["sram_kib"]) > arena:
        console.warn(f"--arena {arena}: Vela could not keep to it, {needed:.0f} KiB are needed")
    write_folder(out, files)
    console.wrote({"export": out} | emit(report, export_view, json, csv))
    if report["verified"] is not False:
        return 0
    console.warn(f"the verification failed, {out} is marked so: {'; '.join(report['verification']['reasons'])}")
    return DataError.exit_code
