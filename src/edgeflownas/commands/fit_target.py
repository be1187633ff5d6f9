"""``edgeflownas fit-target``: what fits a chip's memory and a frame rate."""

from pathlib import Path
from typing import Any

from edgeflownas.commands import _shared as shared
from edgeflownas.errors import ConfigError

LEAST_SRAM = 16 * 1024


def fit_target(
    source: Path | None = None,
    *,
    target: str = "grove-vision-ai-v2",
    sram: shared.Bytes | None = None,
    fps: float | None = None,
    flash: shared.Bytes | None = None,
    space: str | None = None,
    width: shared.WholeNumber | None = None,
    where: str = "",
    sizes: str = "",
    outputs: str = "flow,half,quarter",
    top: shared.WholeNumber = 10,
    out: Path | None = None,
    csv: shared.Csv | None = None,
    json: shared.Json = False,
) -> None:
    """Find what fits a chip.

    Example: edgeflownas fit-target [RANKING|RUN] --target grove-vision-ai-v2 --sram 900KiB --fps 5

    Scans subnets, image sizes, outputs and the ways Vela can be asked, and returns what fits, the most accurate
    first, with why the rest does not. Every figure of what is returned is Vela's of the whole graph; a table decides
    only what is compiled. docs/fit_target.md says how.

    Args:
        source: a ranking, weights:NAME, or a run whose ranking is taken where there is one; without: --space, --width.
        target: chip (edgeflownas vela --list-targets), or FILE.ini,ACCELERATOR,SYSTEM_CONFIG,MEMORY_MODE.
        sram: most SRAM, such as 900KiB.
        fps: least frames a second.
        flash: most flash for the weights, such as 4MiB; kernels are made up, and real ones compress a little otherwise.
        space: search space without a source (v1).
        width: channels after E0 (32, or those of the source).
        where: conditions on options of blocks, with a ranking also on its columns, such as "EB0=depth2,macs<2e9".
        sizes: image sizes, such as 192x256,160x208; default: from 96 rows, with the sides of the source.
        outputs: among flow (full size), half and quarter.
        top: how many to return (10), one for each size and outputs.
        out: write what fits and what does not to this CSV file.
    """
    from edgeflownas.hardware.vela_table import vela_of
    from edgeflownas.report.chip_views import fit_table, fit_view
    from edgeflownas.report.console import Console
    from edgeflownas.search.fitting import FINEST, Budget, fit, read_subnets, sizes_of

    if out is not None:
        shared.require_writable(out)
    told = "(not given)" if sram is None else str(sram) if sram % 1024 else f"{sram // 1024}KiB"
    if sram is None or sram < LEAST_SRAM:
        raise ConfigError(f"--sram {told}: the chip's memory, at least 16KiB, is needed: {shared.example(fit_target)}")
    if fps is not None and not 0 < fps < 1e6:
        raise ConfigError(f"--fps {fps}: frames a second, more than 0")
    budget = Budget(sram / 1024, fps and 1e3 / fps, flash and flash / 1024)
    console, subnets = Console(), read_subnets(source, space, width, where)
    chip = vela_of(target, note=console.warn)
    shapes = _sizes(sizes) if sizes else sizes_of(subnets.size, budget.sram_kib)
    asked: Any = tuple(dict.fromkeys(part.strip() for part in outputs.split(",")))
    if not set(asked) <= set(FINEST):
        raise ConfigError(f"--outputs {outputs}: one or more of {', '.join(FINEST)}, separated by commas")
    if not shapes:
        raise ConfigError(f"--sram {told}: not even the images of 96 rows fit; give --sizes")
    document = fit(subnets, budget, shapes, asked, chip, top, console.task)
    written = shared.emit(document, fit_view, json, csv)
    if out is not None:
        written["table"] = shared.write_table([fit_table(document)], out)
    console.wrote(written)


def _sizes(text: str) -> list[tuple[int, int]]:
    found = [shared.read_size(part.strip(), "--sizes") for part in text.split(",")]
    for rows, columns in found:
        if rows % 16 or columns % 16:
            raise ConfigError(f"--sizes {rows}x{columns}: rows and columns must be multiples of 16")
    return list(dict.fromkeys(found))
